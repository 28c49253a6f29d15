"""A receiver: `python -m tests.chaos.receiver NAME LIFE PLACE`; it is killed at any moment."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from pathlib import Path

from behaviours.handlers import bids, hears, on
from behaviours.outcomes import Answer, Fail, Succeeded, sentence
from behaviours.participating import Participation
from ontology.aid import AgentIdentifier
from tests.chaos.agent import Historian, live
from tests.chaos.terms import Note, Price, Relay, Result, Tender, Work


class Receiver(Historian):
    """Does what it is asked to, and leaves an effect under the conversation's id."""

    @on(Work)
    async def work(self, action: Work, task: Participation) -> Answer:
        """Do it: the effect is made once for each id, however often this runs."""
        self.history.write("begun", key=action.key, id=task.id)
        await asyncio.sleep(action.seconds)
        self._effect(f"{action.key}.{task.id}")
        token = uuid.uuid4().hex
        self.history.write("effect", key=action.key, id=task.id, token=token)
        return Result(key=action.key, token=token)

    @on(Relay)
    async def relay(self, action: Relay, task: Participation) -> Answer:
        """Have it done by another: it is asked once, however often this runs."""
        self.history.write("begun", key=action.key, id=task.id, is_relay=True)
        asked = Work(key=action.key, seconds=action.seconds)
        outcome = await self.request(action.to, asked, reply_within=20, result_within=30)
        if not isinstance(outcome, Succeeded):
            return Fail("relayed", sentence(outcome))
        assert isinstance(outcome.result, Result)
        self.history.write("effect", key=action.key, id=task.id, token=outcome.result.token, is_relay=True)
        return outcome.result

    @on(Tender)
    async def tender(self, action: Tender, task: Participation) -> Answer:
        """Have it done by the first of the cheapest: it is awarded to one, however often this runs."""
        self.history.write("begun", key=action.key, id=task.id, is_relay=True)
        work = Work(key=action.key, seconds=action.seconds)
        outcome = await self.awarded(action.to, work, reply_within=20, result_within=30)
        if not isinstance(outcome, Succeeded):
            self.history.write("failed", key=action.key, id=task.id, is_relay=True)
            return Fail("tendered", outcome if isinstance(outcome, str) else sentence(outcome))
        assert isinstance(outcome.result, Result)
        self.history.write("effect", key=action.key, id=task.id, token=outcome.result.token, is_relay=True)
        return outcome.result

    @bids(Work)
    async def bid(self, action: Work, task: Participation) -> Answer:
        """Offer it."""
        self.history.write("bid", key=action.key, id=task.id)
        await asyncio.sleep(action.seconds / 4)
        return Price(amount=1.0)  # all ask the same, so the order in which they do matters

    @hears(Note)
    def note(self, note: Note, sender: AgentIdentifier) -> None:
        """Take note."""
        self._effect(note.key)
        self.history.write("noted", key=note.key)

    def _effect(self, name: str) -> None:
        """What is done outside, to a file or a machine: the second time there is nothing left to do."""
        path: Path = self.folder / "effects" / f"{self.me.local_name}.{name}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))


if __name__ == "__main__":
    asyncio.run(live(Receiver, sys.argv[1], int(sys.argv[2]), sys.argv[3]))
