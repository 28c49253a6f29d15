"""One run of docker-compose.yml under a name and on ports of its own; gone at the end, with its volumes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

IMAGE = "locution:compose-test"

PATIENCE = 120.0
"""Seconds after which something that is waited for is taken not to happen."""

LOOK_EVERY = 0.2


class StackError(Exception):
    """Something of the containers is not as it should be."""


def say(text: str) -> None:
    """Tell what is done, with the time."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(holds: Callable[[], bool], what: str, within: float = PATIENCE) -> None:
    """Wait until something holds that another process does."""
    deadline = time.monotonic() + within
    while not holds():
        if time.monotonic() > deadline:
            raise StackError(f"{what} has not come within {within:g} s")
        time.sleep(LOOK_EVERY)


class Stack:
    """The containers of one project.

    Args:
        name: of the project.
        learners: how many.
    """

    def __init__(self, name: str, learners: int = 2) -> None:
        self.name, self.learners = name, learners
        self.port = free_port()
        self.variables = {
            "COMPOSE_PROJECT_NAME": name,
            "AGENT_IMAGE": IMAGE,
            "XMPP_PORT": str(self.port),
            "PROMETHEUS_PORT": str(free_port()),
            "GRAFANA_PORT": str(free_port()),
        }

    def run(
        self, *command: str, check: bool = True, within: float = 300.0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`; what it says comes back, and goes into the error if it fails."""
        known = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("LOCUTION_", "COMPOSE_"))
        }
        done = subprocess.run(
            ["docker", "compose", "--ansi", "never", "--progress", "plain", *command],
            cwd=ROOT,
            env={**known, **self.variables, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )
        if check and done.returncode != 0:
            told = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise StackError(f"docker compose {' '.join(command)} ended with {done.returncode}:\n{told}")
        return done

    def up(self, *more: str, **variables: str) -> None:
        """Start everything, and wait until it is healthy."""
        self.run("up", "--wait", "--scale", f"learner={self.learners}", *more, **variables)

    def down(self) -> None:
        """Remove every container, network and volume."""
        self.run("down", "--volumes", "--remove-orphans", "--timeout", "1")

    def services(self) -> list[dict[str, Any]]:
        """What `docker compose ps --all` says of each container."""
        lines = self.run("ps", "--all", "--format", "json").stdout.splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def containers(self, service: str) -> list[str]:
        """The containers of a service, by name."""
        return sorted(str(each["Name"]) for each in self.services() if each["Service"] == service)

    def logs(self, container: str) -> list[str]:
        """What a container has said so far."""
        done = subprocess.run(
            ["docker", "logs", container], capture_output=True, text=True, timeout=30, check=True
        )
        return (done.stdout + done.stderr).splitlines()

    def container_of(self, agent: str) -> str:
        """The container in which an agent runs."""
        for service in self.services():
            ready = [line for line in self.logs(service["Name"]) if line.startswith('{"event": "ready"')]
            if ready and json.loads(ready[-1])["agents"][0]["name"] == agent:
                return str(service["Name"])
        raise StackError(f"no container runs {agent}")

    def kill(self, container: str) -> None:
        """End a container with signal 9."""
        docker("kill", container)

    def start(self, container: str) -> None:
        """Start a container that has ended."""
        docker("start", container)

    def are_healthy(self) -> bool:
        """Whether every container that should run does, and says that it is well."""
        return all(
            each["ExitCode"] == 0
            if each["Service"] in {"setup", "accounts"}
            else each["State"] == "running" and each["Health"] in {"healthy", ""}
            for each in self.services()
        )

    def inside(self, service: str, *command: str) -> str:
        """What a command says in a container."""
        return self.run("exec", "--no-TTY", service, *command).stdout


def docker(*command: str) -> str:
    """What `docker` says."""
    done = subprocess.run(["docker", *command], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise StackError(f"docker {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def stack(name: str, learners: int = 2) -> Iterator[Stack]:
    """Give a stack that is not started yet, and remove it in the end whatever happens."""
    found = Stack(name, learners)
    try:
        yield found
    except BaseException:
        told = found.run("ps", "--all", check=False).stdout
        told += found.run("logs", "--no-color", "--tail", "25", check=False).stdout
        say(f"the containers, before they are removed:\n{told}")
        raise
    finally:
        found.down()
