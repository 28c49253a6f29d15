"""Keeping a group's ledger of tasks: what its leader has accepted, the next one goes on with.

What stands there decides, also for a leader that is started anew: its handler does not run again from its
beginning, as others' do, but goes on from the ledger, as any other leader's would.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from behaviours.participating import Participation
from ontology.codecs import from_json, to_json
from resilience.ledger import DeposedError, Ledger, Stage, Task
from resilience.records import RecordsError

if TYPE_CHECKING:
    from agents.base import LocutionAgent

WRITTEN_EVERY = 1.0
"""Seconds in which progress is gathered before it is written; all else is written at once."""


AGAIN = 0.1
"""Seconds between two looks whether an answer can go out."""


class Entry:
    """What the ledger says of one task that is under way here. No method waits for the store."""

    def __init__(self, books: Bookkeeping, task: Task, *, is_followed: bool) -> None:
        self._books, self.task = books, task
        self.is_followed = is_followed
        """Whether we go on with it in place of a leader before."""

    def called(self, attempt: int, conversation: str) -> None:
        """A call for proposals is about to go out."""
        self._change(stage=Stage.CALLED, attempt=attempt, conversation=conversation, winner="", progress="")

    def awarded(self, winner: str, promised: float) -> None:
        """Somebody has won it."""
        self._change(stage=Stage.AWARDED, winner=winner, promised=promised)

    def lost(self, winner: str, why: str) -> None:
        """It was awarded in vain."""
        lost = {**self.task.lost, winner: why}
        self._change(stage=Stage.ACCEPTED, winner="", progress="", lost=lost)

    def progressed(self, progress: str) -> None:
        """Its winner has told how far it is."""
        self.task = replace(self.task, progress=progress)
        self._books.note(self.task, is_urgent=False)

    def _change(self, **fields: Any) -> None:
        self.task = replace(self.task, since=self._books.now(), **fields)
        self._books.note(self.task, is_urgent=True)


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
        self._found: dict[str, Task] = {}
        """What the leader before has left, by key, until we go on with it."""
        self._under_way: dict[Participation, Entry] = {}
        self._open: set[str] = set()
        """By key: what we have begun, or gone on with, and the ledger may still hold."""
        self._unwritten: dict[str, tuple[Task, bool]] = {}
        """By key: what the ledger is to say, and whether it is to be forgotten."""
        self._due = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self._leading: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    def begin(self, term: int) -> None:
        """We lead: take the ledger, and go on with all that stands in it."""
        self._leading = self._agent.submit(self._lead(term))

    def end(self) -> None:
        """We lead no more: whoever does goes on with what we have under way."""
        self._is_taken.clear()
        self._open.clear()
        leading, self._leading = self._leading, None
        if not self._agent.enduring.is_closed:
            for task in tuple(self._under_way):
                task.leave(f"{self._agent.me.local_name} does not lead {self._group} any more")
        if leading is not None:
            leading.cancel()
            self._leaving = self._agent.submit(self._leave(leading))

    @property
    def is_idle(self) -> bool:
        """Whether we have the ledger, and nothing that we do, or have done, stands in it any more."""
        return self._is_taken.is_set() and not self._open

    def leaves(self, task: Participation) -> bool:
        """Whether a task was accepted before a restart: whoever leads goes on with it, maybe we.

        It is left then, unless it is just what we have from the ledger as the leader.
        """
        is_leader = self._agent.group(self._group).is_leader
        if not task.has_agreed or (is_leader and self._task(task).key in self._found):
            return False
        task.leave(f"{self._agent.me.local_name} goes on with the tasks of {self._group} only as its leader")
        return True

    @asynccontextmanager
    async def kept(self, task: Participation) -> AsyncIterator[Entry]:
        """Have what is done within stand in the ledger, until its client's answer has gone out.

        Raises:
            DeposedError: somebody else leads; nothing was accepted.
        """
        found, fresh = self._found.pop(self._task(task).key, None), self._task(task)
        entry = self._under_way[task] = Entry(self, found or fresh, is_followed=found is not None)
        self._open.add(entry.task.key)
        try:
            await self._is_taken.wait()
            if found is None:
                await self._agent.enduring.journaling.insist(lambda: self._ledger.write(fresh))
            leading = self._leading
            task.then(lambda: self._answered(entry, leading))
            yield entry
        except asyncio.CancelledError:
            # Its client has stopped it, or is gone; if it is only we that end, somebody else goes on with it.
            if not (task.is_left or self._agent.enduring.is_closed):
                self._forget(entry)
            raise
        finally:
            self._under_way.pop(task, None)

    def now(self) -> str:
        """The present, as it stands in the ledger."""
        return self._agent.ports.clock().isoformat(timespec="milliseconds")

    def note(self, task: Task, *, is_urgent: bool) -> None:
        """Have a task written down as it stands: at once, or with others in a moment."""
        if task.key not in self._unwritten or not self._unwritten[task.key][1]:
            self._unwritten[task.key] = task, False
        if is_urgent:
            self._due.set()
        elif self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(WRITTEN_EVERY, self._due.set)

    def _answered(self, entry: Entry, leading: object) -> None:
        """Its client's answer is written down: forget the task once it has gone out, if we lead as we did."""

        async def wait() -> None:
            while not self._agent.is_connected:  # noqa: ASYNC110 - SPADE's agents tell nobody
                await asyncio.sleep(AGAIN)
            if self._leading is leading:
                self._forget(entry)

        if self._leading is leading and self._agent.is_connected:
            self._forget(entry)
        else:
            self._agent.submit(wait())

    def _forget(self, entry: Entry) -> None:
        # Should that fail it is done once more, and its client hears of it when it waits no longer.
        self._unwritten[entry.task.key] = entry.task, True
        self._due.set()

    async def _lead(self, term: int) -> None:
        journaling = self._agent.enduring.journaling
        if self._leaving is not None:
            await asyncio.wait({self._leaving})
        with suppress(DeposedError):  # then `end` comes
            tasks = await journaling.insist(lambda: self._ledger.take(term))
            await journaling.settled()  # what we had left ourselves is ended, before it is begun once more
            self._found = {each.key: each for each in tasks}
            self._is_taken.set()
            for each in tasks:
                await self._agent.mailroom.take_over(from_json(each.opening), f"ledger {term} {each.key}")
            await asyncio.gather(self._renew(), self._write_on())

    async def _leave(self, leading: asyncio.Task[None]) -> None:
        """Tell the next leader what is over, as far as we still may."""
        await asyncio.wait({leading})
        self._unwritten = {key: each for key, each in self._unwritten.items() if each[1]}
        with suppress(DeposedError, RecordsError):
            await self._write()
        self._unwritten.clear()

    async def _renew(self) -> None:
        journaling = self._agent.enduring.journaling
        while await journaling.insist(self._ledger.renew):  # noqa: ASYNC110 - a lease is renewed by the clock
            await asyncio.sleep(journaling.journal.policy.terms.renew_every)

    async def _write_on(self) -> None:
        """Write down what has come up, whenever there is something."""
        while True:
            await self._due.wait()
            self._due.clear()
            if self._soon is not None:
                self._soon.cancel()
                self._soon = None
            await self._agent.enduring.journaling.insist(self._write)

    async def _write(self) -> None:
        """Write down what has come up, all of it at once; what cannot be written stays to be written."""
        unwritten, self._unwritten = self._unwritten, {}
        stands = [task for task, is_over in unwritten.values() if not is_over]
        over = [task for task, is_over in unwritten.values() if is_over]
        try:
            if stands:
                await self._ledger.write(*stands)
            if over:
                await self._ledger.forget(*over)
                self._open.difference_update(task.key for task in over)
        except BaseException:
            self._unwritten = {**unwritten, **self._unwritten}
            raise

    def _task(self, task: Participation) -> Task:
        return Task(id=task.id, client=task.initiator.name, opening=to_json(task.message), since=self.now())
