"""A journal that takes its time, so that a crash can come before a commit, and after it as well.

What it has carried out it tells: the truth about what an agent may say that it has done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

from behaviours.events import Fact
from resilience.dead_letters import DeadLetter
from resilience.inbox import Claim, Hold
from resilience.journal import Depth, Effects, Journal
from resilience.outbox import Outgoing
from resilience.snapshots import Snapshot
from society.simulation.happenings import Committed

SPAN = (0.0, 0.004)
"""Seconds that a call takes: before it is carried out, or until its caller learns of it, or neither."""

_Result = TypeVar("_Result")


class SlowJournal:
    """`Journal` around another one.

    Args:
        journal: keeps everything; each of its calls is carried out at once and as a whole.
        rng: of all durations.
        record: gets the fact of each commit.
    """

    def __init__(self, journal: Journal, rng: Random, record: Callable[[Fact], None]) -> None:
        self.policy, self.survives = journal.policy, journal.survives
        self._journal, self._rng, self._record = journal, rng, record

    async def claim(self, hold: Hold, digest: str, dead: Sequence[str] = ()) -> Claim:
        """See `resilience.journal.Journal`, as for all that follow."""
        return await self._slowly(self._journal.claim(hold, digest, dead))

    async def renew(self, hold: Hold) -> bool:
        """Likewise."""
        return await self._slowly(self._journal.renew(hold))

    async def release(self, hold: Hold) -> None:
        """Likewise."""
        await self._slowly(self._journal.release(hold))

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Likewise."""
        return await self._slowly(self._commit(effects, hold))

    async def outgoing(self, agent: str) -> Sequence[Outgoing]:
        """Likewise."""
        return await self._slowly(self._journal.outgoing(agent))

    async def snapshots(self, agent: str) -> Sequence[Snapshot]:
        """Likewise."""
        return await self._slowly(self._journal.snapshots(agent))

    async def snapshot(self, agent: str, key: str) -> Snapshot | None:
        """Likewise."""
        return await self._slowly(self._journal.snapshot(agent, key))

    async def letters(self, agent: str, limit: int = 100) -> Sequence[DeadLetter]:
        """Likewise."""
        return await self._slowly(self._journal.letters(agent, limit))

    async def letter(self, agent: str, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Likewise."""
        return await self._slowly(self._journal.letter(agent, id))

    async def drop(self, agent: str, id: str) -> bool:  # noqa: A002 - the port's word
        """Likewise."""
        return await self._slowly(self._journal.drop(agent, id))

    async def depth(self, agent: str) -> Depth:
        """Likewise."""
        return await self._slowly(self._journal.depth(agent))

    async def check(self) -> None:
        """Likewise."""
        await self._slowly(self._journal.check())

    async def close(self) -> None:
        """Likewise."""
        await self._slowly(self._journal.close())

    async def _commit(self, effects: Effects, hold: Hold | None) -> bool:
        is_written = await self._journal.commit(effects, hold)
        if is_written:
            sent = tuple(each.id for each in effects.send)
            self._record(Committed(agent=effects.agent, sent=sent, settled=effects.settled, effects=effects))
        return is_written

    async def _slowly(self, call: Coroutine[Any, Any, _Result]) -> _Result:
        pause, when = self._rng.uniform(*SPAN), self._rng.random()
        if when > 0.4:
            result = await call
            if when > 0.8:
                await asyncio.sleep(pause)
            return result
        try:
            await asyncio.sleep(pause)
            return await call
        finally:
            call.close()  # where it was cancelled before it was carried out
