"""Keeping a group's ledger of tasks: what its leader has accepted, the next one goes on with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from behaviours.participating import Participation
from ontology.codecs import from_json, to_json
from resilience.ledger import DeposedError, Ledger, Task
from resilience.records import RecordsError

if TYPE_CHECKING:
    from agents.base import LocutionAgent


class Bookkeeping:
    """The ledger of one member of a group; only the leader writes it.

    Args:
        agent: the member.
        group: the name of the group.
    """

    def __init__(self, agent: LocutionAgent, group: str) -> None:
        self._agent, self._group = agent, group
        self._ledger = Ledger(agent.ports.journal, group)
        self._is_taken = asyncio.Event()
        self.is_decided = asyncio.Event()
        """To be set once it is known whether we lead."""
        self._under_way: dict[Participation, Task] = {}
        self._leading: asyncio.Task[None] | None = None

    def begin(self, term: int) -> None:
        """We lead: take the ledger, and go on with all that stands in it."""
        self._leading = self._agent.submit(self._lead(term))

    def end(self) -> None:
        """We lead no more: whoever does goes on with what we have under way."""
        self._is_taken.clear()
        if self._leading is not None:
            self._leading.cancel()
            self._leading = None
        if not self._agent.enduring.is_closed:
            for task in tuple(self._under_way):
                task.leave(self._why)

    async def goes_on(self, task: Participation) -> bool:
        """Whether a handler that runs again after a restart goes on here; else whoever leads does."""
        if not task.has_agreed:
            return False
        self._under_way[task] = self._task(task)
        await self.is_decided.wait()
        if self._agent.group(self._group).is_leader:
            return True
        del self._under_way[task]
        task.leave(self._why)
        return False

    @asynccontextmanager
    async def kept(self, task: Participation) -> AsyncIterator[None]:
        """Have what is done within stand in the ledger, until its client's answer is written down."""
        kept = self._under_way[task] = self._task(task)
        try:
            await self._is_taken.wait()
            await self._write(kept)
            task.then(lambda: self._forget(kept))
            yield
        except asyncio.CancelledError:
            # Its client has stopped it, or is gone; if it is only we that end, somebody else goes on with it.
            if not self._agent.enduring.is_closed and self._is_taken.is_set():
                self._forget(kept)
            raise
        finally:
            self._under_way.pop(task, None)

    async def _lead(self, term: int) -> None:
        journaling = self._agent.enduring.journaling
        try:
            tasks = await journaling.insist(lambda: self._ledger.take(term))
        except DeposedError:
            return
        self._is_taken.set()
        here = {each.key for each in self._under_way.values()}
        for each in tasks:
            if each.key not in here:
                await self._agent.mailroom.take_over(from_json(each.opening), f"ledger {term} {each.key}")
        while await journaling.insist(self._ledger.renew):  # noqa: ASYNC110 - a lease is renewed by the clock
            await asyncio.sleep(journaling.journal.policy.terms.renew_every)

    @property
    def _why(self) -> str:
        return f"{self._agent.me.local_name} does not lead {self._group} any more"

    def _task(self, task: Participation) -> Task:
        return Task(id=task.id, client=task.initiator.name, opening=to_json(task.message))

    async def _write(self, task: Task) -> None:
        with suppress(DeposedError):  # `end` comes
            await self._agent.enduring.journaling.insist(lambda: self._ledger.write(task))

    def _forget(self, task: Task) -> None:
        async def forget() -> None:
            with suppress(DeposedError, RecordsError):  # then it is done once more, and the answer comes late
                await self._ledger.forget(task)

        self._agent.submit(forget())
