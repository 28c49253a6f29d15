"""A replica of an adder in a process of its own: `python -m tests.integration.replica_process PLACE`.

It says what happens, a line for each, and lets those go on who hold when it is told to by a line.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agents.base import Ports, Server
from behaviours.events import Fact, ReplicaFollowed, ReplicaReplaced
from behaviours.handlers import on
from behaviours.outcomes import Answer
from behaviours.participating import Participation
from resilience.inbox import Terms
from resilience.journal import Policy
from resilience.outbox import Retrying
from resilience.sqlite_journal import SqliteJournal
from tests.behaviours.samples import Add, Adder


def policy(lease: float) -> Policy:
    """The numbers of delivery: messages are asked after often."""
    return Policy(terms=Terms(lease=lease), retrying=Retrying(first=0.1, most=0.5, attempts=40))


class Worker(Adder):
    """Says when it begins."""

    @on(Add)
    async def add(self, action: Add, task: Participation) -> Answer:
        """Add."""
        say("began", f"{action.a:g}")
        return await super().add(action, task)


def say(*words: str) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def told(fact: Fact) -> None:
    """Tell the test of what has to do with replicas."""
    match fact:
        case ReplicaFollowed(replica=replica):
            say("followed", replica)
        case ReplicaReplaced():
            say("replaced")


async def main(port: int, ca_file: str, journal: str, replica: str, lease: float) -> None:
    """Add until somebody ends the process."""
    server = Server(host="127.0.0.1", port=port, ca_file=Path(ca_file))
    ports = Ports(hook=told, journal=SqliteJournal(Path(journal), policy(lease)), replica=replica)
    worker: Any = Worker("adder@localhost", "secret", server, ports)
    await worker.start()
    say("ready")
    while await asyncio.to_thread(sys.stdin.readline):
        worker.release.set()


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
