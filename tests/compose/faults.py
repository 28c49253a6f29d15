"""Mistakes of whoever runs the containers: each ends one with a sentence and a code, which `ps` shows."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tests.compose.stack import ROOT, Stack, StackError, docker, say, until

SOCIETY = ROOT / "deploy" / "locution" / "society.toml"


def all_told(stack: Stack, folder: Path) -> int:
    """Make every mistake, and mend it; how many there were."""
    _wrong_society_file(stack, folder)
    _missing_secret(stack)
    _no_redis(stack)
    _too_many_learners(stack)
    _taken_port(stack)
    return 5


def _wrong_society_file(stack: Stack, folder: Path) -> None:
    text = SOCIETY.read_text()
    wrong = folder / "wrong.toml"
    wrong.write_text(text.replace('lock = "consul"', 'lok = "consul"'))
    wrong.chmod(0o644)
    folder.chmod(0o755)
    line = next(number for number, each in enumerate(text.splitlines(), 1) if each.startswith("lock ="))
    stack.run("up", "--detach", "--no-deps", "directory", SOCIETY_FILE=str(wrong))
    _ends(stack, "directory", rf"locution: society\.toml:{line}: .*lok.*")
    stack.run("up", "--detach", "--no-deps", "directory")


def _missing_secret(stack: Stack) -> None:
    stack.inside("coordinator-1", "rm", "/state/redis")
    container = stack.containers("coordinator-1")[0]
    docker("restart", container)
    _ends(stack, "coordinator-1", r"locution: LOCUTION_REDIS_FILE: /state/redis cannot be read \(No such .*")
    stack.up()  # makes it again, and the same


def _no_redis(stack: Stack) -> None:
    docker("kill", stack.containers("redis")[0])
    docker("restart", stack.containers("coordinator-1")[0])
    _ends(stack, "coordinator-1", r"locution: .*[Rr]edis.*")
    stack.up()


def _too_many_learners(stack: Stack) -> None:
    """A container too many says so; the others are not touched."""
    accounts = len(re.findall(r'^name = "learner-', SOCIETY.read_text(), re.MULTILINE))
    held = " ".join(f"/state/running/learner-{number}" for number in range(1, accounts + 1))
    hold = f'for each in {held}; do exec {{fd}}>>"$each"; flock -n "$fd" || true; done; "$@"'
    told = stack.run(
        "run", "--rm", "--no-deps", "--no-TTY", "--entrypoint", "bash", "learner",
        "-c", hold, "bash", "locution", "up", "--any", "learner", check=False,
    ).stderr  # fmt: skip
    sentence = (
        rf"locution: society\.toml: all {accounts} agents of kind 'learner' run already; add another .*"
    )
    _say_told("a learner too many", told, sentence)


def _taken_port(stack: Stack) -> None:
    """Docker itself says that a port is taken; the containers behind it are not started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        done = stack.run("up", "--detach", "prosody", check=False, XMPP_PORT=str(port))
        if done.returncode == 0:
            raise StackError(f"prosody was started on port {port}, which is taken")
        _say_told("a taken port", done.stdout + done.stderr, rf".*127\.0\.0\.1:{port}.*(already|in use).*")
    stack.run("up", "--detach", "prosody")


def _ends(stack: Stack, service: str, sentence: str) -> None:
    """See that a container ends with a code and one sentence, again and again, and that `ps` shows it."""

    def is_shown() -> bool:
        (found,) = (each for each in stack.services() if each["Service"] == service)
        return re.match(r"(Restarting|Exited) \(1\)", found["Status"]) is not None

    until(is_shown, f"the end of {service} in docker compose ps", within=60)
    _say_told(service, "\n".join(stack.logs(stack.containers(service)[0])[-3:]), sentence)


def _say_told(what: str, told: str, sentence: str) -> None:
    found = re.search(f"^{sentence}$", told, re.MULTILINE)
    if found is None:
        raise StackError(f"{what} should end with {sentence!r}, and says:\n{told}")
    say(f"mistake told: {found[0][:200]}")
