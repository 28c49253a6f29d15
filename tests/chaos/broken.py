"""Ways of getting delivery wrong, which the chaos test has to find: its negative controls.

Two part what belongs into one commit: the mark that a message has been processed, and its effect. The third
does not write down what an agent has begun itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from behaviours.chronicling import CONVERSATION
from protocols.table import Role
from resilience.inbox import Claim, Hold, Standing
from resilience.journal import Effects, Journal, Outcome

AFTER = 2.0
"""Seconds that the mark comes after the effect; in a real mistake milliseconds, which takes more kills."""


def is_life(hold: Hold) -> bool:
    """Whether this is no claim to a message, but that of a replica to its name (`behaviours.living`)."""
    return "/" in hold.key.sender


class MarkBefore:
    """Marks a message as processed when it comes: a death in the middle of its handling loses it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def claim(self, hold: Hold, digest: str, dead: Sequence[str] = ()) -> Claim:
        """Claim it, and be done with it."""
        claim = await self._journal.claim(hold, digest, dead)
        if claim.is_ours and not is_life(hold):
            await self._journal.commit(Effects(agent=hold.key.receiver), hold)
        return claim

    async def renew(self, hold: Hold) -> bool:
        """There is nothing left to renew."""
        return not is_life(hold) or await self._journal.renew(hold)

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Write no history of a conversation that somebody else has begun: it is marked already."""
        if hold is None or is_life(hold):
            return await self._journal.commit(effects, hold)
        return await self._journal.commit(replace(effects, put=(), outcome=Outcome.DONE))


class MarkAfter:
    """Answers a message, and marks it as processed a moment later: a death between has it done twice."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._marking: set[asyncio.Task[None]] = set()
        self._digests: dict[Hold, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def claim(self, hold: Hold, digest: str, dead: Sequence[str] = ()) -> Claim:
        """Look whether it is marked; do not claim it."""
        claim = await self._journal.claim(hold, digest, dead)
        if not claim.is_ours or is_life(hold):
            return claim
        await self._journal.release(hold)
        self._digests[hold] = digest
        return Claim(standing=Standing.NEW, attempts=1, is_ours=True)

    async def renew(self, hold: Hold) -> bool:
        """There is nothing to renew."""
        return not is_life(hold) or await self._journal.renew(hold)

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Let the answer out, and mark what it answers later."""
        if hold is None or is_life(hold):
            return await self._journal.commit(effects, hold)
        await self._journal.commit(replace(effects, outcome=Outcome.DONE))
        if effects.outcome is not Outcome.WORKING:
            task = asyncio.get_running_loop().create_task(self._mark(effects, hold))
            self._marking.add(task)
            task.add_done_callback(self._marking.discard)
        return True

    async def _mark(self, effects: Effects, hold: Hold) -> None:
        await asyncio.sleep(AFTER)
        await self._journal.claim(hold, self._digests.pop(hold))
        await self._journal.commit(Effects(agent=effects.agent, reply=effects.reply), hold)


class ForgetBegun:
    """Keeps no history of the conversations that an agent has begun: after a death they are begun anew."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Write down all but that."""
        mine = f"{CONVERSATION}{Role.INITIATOR.value}/"
        put = tuple(each for each in effects.put if not each.key.startswith(mine))
        return await self._journal.commit(replace(effects, put=put), hold)


BROKEN = {"mark-before": MarkBefore, "mark-after": MarkAfter, "forget-begun": ForgetBegun}
