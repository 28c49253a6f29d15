"""A voter, or who calls a vote, in a process of its own: `python -m tests.integration.vote_process PLACE`.

A voter keeps its votes and what it applies in files of its folder, by the id of the vote, as a machine would.
It says what happens, a line for each.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agents.base import Ports, Server
from behaviours.handlers import decided, on, votes
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.participating import Participation
from behaviours.polling import Decision
from ontology.content import Done
from resilience.inbox import Terms
from resilience.journal import Policy
from resilience.outbox import Retrying
from resilience.sqlite_journal import SqliteJournal
from tests.behaviours.samples import Add, Asker, Forward, Sum

POLICY = Policy(
    terms=Terms(most_attempts=100), retrying=Retrying(first=0.1, most=0.5, attempts=400), away=60.0
)
"""Messages are asked after often, and nobody is given up soon: processes are killed all the time."""


def say(*words: str) -> None:
    """Tell the test."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def favours(voter: str, number: int) -> bool:
    """Whether a voter is for a number."""
    return number % (len(voter) + 1) != 0


class Voter(Asker):
    """Is for the numbers that do not divide evenly by one more than the length of its name."""

    def __init__(self, *who: Any, folder: Path) -> None:
        super().__init__(*who)
        self.folder = folder

    @votes(Add)
    async def vote(self, action: Add, task: Participation) -> Answer:
        """Vote, and keep it."""
        is_for = favours(self.me.local_name, int(action.a))
        self.keep("voted", task.id, is_for)
        return Done() if is_for else Refuse("odd", f"{action.a:g} does not suit me")

    @decided(Add)
    async def apply(self, action: Add, task: Participation) -> None:
        """Apply it, once for each id."""
        self.keep("applied", task.id, task.is_committed)

    def keep(self, what: str, name: str, value: bool) -> None:
        """Write it down, unless that is done; something else than before is kept beside it, for the test."""
        file = self.folder / f"{what}-{name}"
        told = json.dumps(value)
        if file.exists() and file.read_text() not in {"", told}:
            file = self.folder / f"conflict-{name}"
        file.write_text(told)
        say(what, name)


class Chair(Asker):
    """Has three vote on a number."""

    @on(Forward)
    async def forward(self, action: Forward, task: Participation) -> Answer:
        """Tell by 1 that it was committed, by 0 that it was not."""
        say("asked", task.id)
        decision = await self.call_for_votes(VOTERS, Add(a=float(action.to)), quorum=2, within=120)
        if not isinstance(decision, Decision):
            return Fail("undecided", decision.reason.text)
        say("decided", decision.conversation_id)
        return Sum(value=decision.is_committed)


VOTERS = ("a@localhost", "bb@localhost", "ccc@localhost")


async def main(name: str, port: int, ca_file: str, folder: str) -> None:
    """Take part until somebody ends the process."""
    server, place = Server(host="127.0.0.1", port=port, ca_file=Path(ca_file)), Path(folder)
    ports = Ports(journal=SqliteJournal(place / "journal.sqlite", POLICY))
    who: Any = (f"{name}@localhost", "secret", server, ports)
    agent: Any = Chair(*who) if name == "chair" else Voter(*who, folder=place)
    await agent.start()
    say("ready")
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
