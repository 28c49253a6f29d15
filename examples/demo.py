"""The main job in one command: a society in one process, its clients in others.

Starts the society of digits.toml in a temporary folder and on free ports, has a classifier trained on
digits.csv by whoever bids best, and asks it for ten predictions. Ends with exit code 0 if the held-out
accuracy is 0.95 or more and everything went well, else with 1.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ACCURACY = 0.95
READY_WITHIN = 40.0
COMMAND_WITHIN = 40.0
STOP_WITHIN = 15.0
AGENTS = 4
"""As many as digits.toml has; their dashboards have the ports behind the first."""


class DemoFailed(Exception):  # noqa: N818 - it reads as what happened
    """The demo cannot go on; one sentence says why."""


def main() -> int:
    """Run the demo; return its exit code."""
    began = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        with tempfile.TemporaryDirectory(prefix="locution-demo-") as name:
            folder = Path(name)
            for file in ("digits.toml", "digits.csv"):
                shutil.copy(HERE / file, folder)
            environment = _environment(folder)
            with _society(folder, environment) as ready:
                for agent in ready["agents"]:
                    _say(f"  {agent['name']:12} {agent['dashboard']}")
                _say()
                train = f"train digits.csv --target digit --network cnn --at-least {ACCURACY}"
                _locution(folder, environment, train)
                _locution(folder, environment, "predict digits digits.csv --first 10 --compare digit")
    except DemoFailed as error:
        print(f"demo: {error}", file=sys.stderr)  # noqa: T201 - a script talks to its user
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)  # noqa: T201
        return 130
    _say(f"The society has stopped. All of this took {time.monotonic() - began:.0f} s.")
    return 0


@contextmanager
def _society(folder: Path, environment: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Run the society in a process of its own; stop it by SIGTERM, and look how it ended."""
    _say("$ locution up --file digits.toml")
    process = subprocess.Popen(  # noqa: S603 - our own command
        _command("up", "--json"), cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        yield _ready(process)
    except BaseException:
        _stop(process)
        raise
    code = _stop(process)
    if code != 0:
        raise DemoFailed(f"the society ended with exit code {code}")


def _ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for the line that tells that the society is ready."""
    too_late = Timer(READY_WITHIN, process.kill)
    too_late.start()
    try:
        for line in process.stdout or ():
            told: dict[str, Any] = json.loads(line)
            if told["event"] == "ready":
                return told
    finally:
        too_late.cancel()
    raise DemoFailed(f"the society did not start within {READY_WITHIN:g} s; see above")


def _locution(folder: Path, environment: dict[str, str], arguments: str) -> None:
    """Run a client of the society to its end."""
    _say(f"$ locution {arguments}")
    try:
        command = _command(*shlex.split(arguments))
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=folder, env=environment, timeout=COMMAND_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"'locution {arguments}' was not done within {COMMAND_WITHIN:g} s") from None
    if done.returncode != 0:
        raise DemoFailed(f"'locution {arguments}' ended with exit code {done.returncode}")
    _say()


def _stop(process: subprocess.Popen[str]) -> int:
    process.terminate()
    try:
        return process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()


def _command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "society", name, *arguments, "--file", "digits.toml"]


def _environment(folder: Path) -> dict[str, str]:
    """This process's environment, with the repository on the path and ports that are free now."""
    temporary = folder / "tmp"  # torch and others leave files behind; they go with the folder
    temporary.mkdir()
    path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    addresses = {"LOCUTION_XMPP_HOST": "127.0.0.1", "LOCUTION_DASHBOARD_HOST": "127.0.0.1"}
    if not _is_free(5222):
        addresses["LOCUTION_XMPP_PORT"] = str(next(port for port in range(15222, 65000) if _is_free(port)))
    base = next(
        base
        for base in range(10000, 65000, 10)
        if all(_is_free(base + number) for number in range(1, AGENTS + 1))
    )
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCUTION_")}
    addresses |= {"LOCUTION_DASHBOARD_PORT": str(base), "PYTHONPATH": path, "TMPDIR": str(temporary)}
    return {**inherited, **addresses}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _say(text: str = "") -> None:
    print(text, flush=True)  # noqa: T201 - a script talks to its user


def _interrupted(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
