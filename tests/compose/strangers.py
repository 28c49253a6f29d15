"""What strangers do from outside of the containers, by the commands that docs/deployment.md shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.compose.outside import society_file
from tests.compose.stack import ROOT, Stack, StackError, say

ANSWER_WITHIN = 20.0
"""Seconds for an answer to arrive at a chat client."""

QUESTION = {
    "performative": "request",
    "conversation-id": "hello",
    "reply-to": "stranger@localhost",
    "content": {"search": {}},
}


def locution(file: Path, *command: str) -> list[dict[str, object]]:
    """Run the command line outside of the containers; what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "society", *command, "--file", str(file), "--json"],
        cwd=file.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"locution {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def train(stack: Stack, folder: Path) -> None:
    """Have digits learned, as the README does, and look at the accuracy."""
    file = society_file(stack, folder, "trainer")
    began = time.monotonic()
    told = locution(
        file, "train", "digits.csv", "--target", "digit", "--network", "cnn", "--at-least", "0.95"
    )
    (trained,) = (each for each in told if each["event"] == "trained")
    seconds = time.monotonic() - began
    say(f"{trained['label']} trained by {trained['learner']} for a client outside: {seconds:.1f} s")


def talk(stack: Stack, folder: Path) -> int:
    """Ask the directory by `locution send` and by go-sendxmpp; how many answers came."""
    file = society_file(stack, folder, "stranger")
    (answer,) = locution(file, "send", "directory", "request", '{"search": {}}')
    if "learner-1@localhost" not in json.dumps(answer):
        raise StackError(f"locution send was answered: {answer}")
    heard = _chat(stack, folder)
    if "directory@localhost: " not in heard or "learner-1@localhost" not in heard:
        raise StackError(f"go-sendxmpp has heard: {heard[:500]}")
    say("locution send and go-sendxmpp were answered")
    return 2


def _chat(stack: Stack, folder: Path) -> str:
    """Send an ACL act with a chat client, and listen with another one of the same account."""
    program = shutil.which("go-sendxmpp")
    if program is None:
        raise StackError("go-sendxmpp is not installed: apt-get install go-sendxmpp")
    password = os.environ["LOCUTION_PASSWORD_STRANGER"]
    login = [program, "-u", "stranger@localhost", "-p", password, "-j", f"localhost:{stack.port}"]
    trusting = {**os.environ, "SSL_CERT_FILE": str(folder / "ca.pem")}
    heard = folder / "heard.txt"
    with heard.open("w") as out:
        listener = subprocess.Popen([*login, "--listen"], env=trusting, stdout=out, stderr=out)
        try:
            deadline = time.monotonic() + ANSWER_WITHIN
            # Nothing tells that the listener is there, so the question is asked until the answer is heard.
            while time.monotonic() < deadline and "found" not in heard.read_text():
                subprocess.run(
                    [*login, "directory@localhost"],
                    env=trusting,
                    input=json.dumps({**QUESTION, "conversation-id": f"hello-{time.monotonic_ns()}"}) + "\n",
                    text=True,
                    timeout=ANSWER_WITHIN,
                    check=True,
                )
                time.sleep(1.0)
        finally:
            listener.terminate()
            listener.wait(10)
    return heard.read_text()
