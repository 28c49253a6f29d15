"""Nobody hears of what is not written down: an agent's commits, in order, and what may follow each.

Whatever belongs to one piece of work goes into its `Lane`: what is to be kept, what is to be sent, and what
may be done once that is safe. A lane is committed as a whole, one commit after the other; different lanes do
not wait for each other, and all that comes up while a commit is under way goes into the next one.

While the store cannot be written nothing is let out. What was to be written waits, is tried again until it
succeeds, and the agent is not ready (`Journaling.is_up`); nobody was told of any of it, so if the process
dies meanwhile, its peers send again what it has not acknowledged.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from behaviours.events import HandlerFailed, Hook, StoreDown, StoreUp
from resilience.backoff import delay
from resilience.dead_letters import DeadLetter
from resilience.inbox import Hold
from resilience.journal import Effects, Journal, Outcome
from resilience.outbox import Outgoing
from resilience.records import RecordsError
from resilience.snapshots import Snapshot

RETRY_FIRST, RETRY_MOST = 0.05, 2.0
"""Seconds between two attempts to write while the store is down."""

CLOSE_WITHIN = 2.0
"""Seconds in which what has come up is written at the end."""

Then = Callable[[], None]

_Answer = TypeVar("_Answer")


@dataclass
class _Draft:
    """What has come up in a lane since its last commit."""

    put: list[Snapshot] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    send: list[Outgoing] = field(default_factory=list)
    tried: list[Outgoing] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    bury: list[DeadLetter] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    then: list[Then] = field(default_factory=list)
    outcome: Outcome = Outcome.WORKING
    reply: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        lists = (self.put, self.remove, self.send, self.tried, self.settled, self.bury, self.drop)
        return not any(lists) and self.outcome is Outcome.WORKING


class Lane:
    """The commits of one piece of work.

    Args:
        journaling: the agent's.
        hold: the claim without which nothing of it may be written; None where no message caused it.
        on_taken: called once if another replica has taken the work over: nothing is written any more.
    """

    def __init__(
        self, journaling: Journaling, hold: Hold | None = None, on_taken: Then = lambda: None
    ) -> None:
        self.hold = hold
        self.on_taken = on_taken
        self.is_taken = False
        self._journaling = journaling
        self._draft = _Draft()
        self._is_writing = False

    def note(
        self,
        *,
        put: tuple[Snapshot, ...] = (),
        remove: tuple[str, ...] = (),
        send: tuple[Outgoing, ...] = (),
        tried: tuple[Outgoing, ...] = (),
        settled: tuple[str, ...] = (),
        bury: tuple[DeadLetter, ...] = (),
        drop: tuple[str, ...] = (),
        then: Then | None = None,
    ) -> None:
        """Have something written with the next commit; all that is noted in one go is written at once.

        Args:
            put: see `resilience.journal.Effects`, as for all but the last.
            remove: likewise.
            send: likewise.
            tried: likewise.
            settled: likewise.
            bury: likewise.
            drop: likewise.
            then: called as soon as it is written, in the order of noting; never, if it is taken over.
        """
        draft = self._draft
        draft.put.extend(put)
        draft.remove.extend(remove)
        draft.send.extend(send)
        draft.tried.extend(tried)
        draft.settled.extend(settled)
        draft.bury.extend(bury)
        draft.drop.extend(drop)
        if then is not None:
            draft.then.append(then)
        self._stir()

    def finish(self, reply: str = "", outcome: Outcome = Outcome.DONE) -> None:
        """Have the claim ended with the next commit; a later copy of its message is answered `reply`."""
        self._draft.outcome, self._draft.reply = outcome, reply
        self._stir()

    def _stir(self) -> None:
        if self.is_taken:
            self._draft = _Draft()
        elif self._draft.is_empty and not self._is_writing and self._journaling.is_up:
            ready, self._draft.then = self._draft.then, []  # nothing to wait for
            for each in ready:
                self._journaling.carry_out(each)
        else:
            self._journaling.stir(self)

    async def commit(self) -> bool:
        """Write what has come up; whether there was anything to write. For `Journaling` only.

        Raises:
            RecordsError: it could not be written, and stays to be written.
        """
        draft, self._draft = self._draft, _Draft()
        self._is_writing = True
        try:
            is_ours = draft.is_empty or await self._journaling.write(draft, self.hold)
        except (RecordsError, asyncio.CancelledError):
            self._restore(draft)
            raise
        finally:
            self._is_writing = False
        if is_ours:
            for each in draft.then:
                self._journaling.carry_out(each)
        else:
            self.give_up()
        return not draft.is_empty

    def give_up(self) -> None:
        """Another replica has taken the work over. For `Journaling` only."""
        if not self.is_taken:
            self.is_taken = True
            self._draft = _Draft()
            self._journaling.drop(self)
            self.on_taken()

    @property
    def has_more(self) -> bool:
        """Whether something has come up that is not written yet."""
        return not self._draft.is_empty or bool(self._draft.then)

    def _restore(self, draft: _Draft) -> None:
        """Put a draft that could not be written in front of what has come up since."""
        later = self._draft
        for name in ("put", "remove", "send", "tried", "settled", "bury", "drop", "then"):
            getattr(draft, name).extend(getattr(later, name))
        if later.outcome is not Outcome.WORKING:
            draft.outcome, draft.reply = later.outcome, later.reply
        self._draft = draft


class Journaling:
    """All lanes of one agent, and the one task that commits them.

    Args:
        agent: its bare JID.
        journal: where to write.
        hook: sink of facts.
        rng: source of jitter.
    """

    def __init__(
        self, agent: str, journal: Journal, hook: Hook, rng: Callable[[], float] = random.random
    ) -> None:
        self.agent, self.journal = agent, journal
        self._hook, self._rng = hook, rng
        self.is_up = True
        """Whether the last attempt to write succeeded."""
        self.open = Lane(self)
        """The lane of what no message caused."""
        self._dirty: dict[Lane, None] = {}
        self._stirred = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._held: dict[Lane, None] = {}

    def lane(self, hold: Hold, on_taken: Then) -> Lane:
        """Begin a piece of work that a claim guards; its lease is renewed until `drop`."""
        lane = Lane(self, hold, on_taken)
        self._held[lane] = None
        return lane

    def drop(self, lane: Lane) -> None:
        """Renew the lease of a piece of work no longer: it is done, or somebody else's."""
        self._held.pop(lane, None)

    def stir(self, lane: Lane) -> None:
        """Have a lane committed soon."""
        if self._is_closed:
            return
        self._dirty[lane] = None
        self._idle.clear()
        self._stirred.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def settled(self) -> None:
        """Return once everything noted so far is written, and what follows it has been done."""
        await self._idle.wait()

    async def write(self, draft: _Draft, hold: Hold | None) -> bool:
        """Commit one draft; whether it was still ours to write."""
        effects = Effects(
            agent=self.agent,
            outcome=draft.outcome,
            reply=draft.reply,
            put=tuple(draft.put),
            remove=tuple(draft.remove),
            send=tuple(draft.send),
            tried=tuple(draft.tried),
            settled=tuple(draft.settled),
            bury=tuple(draft.bury),
            drop=tuple(draft.drop),
        )
        return await self.journal.commit(effects, hold)

    async def insist(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask the store for something until it answers."""
        attempt = 0
        while True:
            try:
                answer = await ask()
            except RecordsError as error:
                attempt += 1
                self._down(error)
                await asyncio.sleep(delay(attempt, self._rng, first=RETRY_FIRST, most=RETRY_MOST))
            else:
                if attempt:
                    self._up()
                return answer

    async def renewing(self) -> None:
        """Renew all leases as long as it runs."""
        while True:
            await asyncio.sleep(self.journal.policy.terms.renew_every)
            await self._renew()

    async def _renew(self) -> None:
        for lane in tuple(self._held):
            if lane.hold is None:
                continue
            try:
                is_ours = await self.journal.renew(lane.hold)
            except RecordsError as error:
                self._down(error)
                return
            if not is_ours and lane in self._held:
                lane.give_up()

    async def close(self) -> None:
        """Write what can be written now, and give back what is held: the next one is to find it at once."""
        if self.is_up:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.settled(), CLOSE_WITHIN)
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for lane in tuple(self._held):
            if lane.hold is not None and not lane.is_taken:
                with suppress(RecordsError):
                    await self.journal.release(lane.hold)

    async def _run(self) -> None:
        attempt = 0
        while True:
            lanes, self._dirty = tuple(self._dirty), {}
            if not lanes:
                self._idle.set()
                self._stirred.clear()
                await self._stirred.wait()
                continue
            results = await asyncio.gather(*(lane.commit() for lane in lanes), return_exceptions=True)
            failed, has_written = None, False
            for lane, result in zip(lanes, results, strict=True):
                if isinstance(result, RecordsError):
                    failed = result
                elif isinstance(result, BaseException):
                    # A mistake of ours: it can never be written, and must not hold up all the rest.
                    self._stumble(result)
                else:
                    has_written |= result
                if lane.has_more and not lane.is_taken:
                    self._dirty[lane] = None
            if failed is None:
                attempt = 0
                if has_written:
                    self._up()
            else:
                attempt += 1
                self._down(failed)
                await asyncio.sleep(delay(attempt, self._rng, first=RETRY_FIRST, most=RETRY_MOST))

    def carry_out(self, then: Then) -> None:
        """Do what may be done now; a mistake in it must not end the one task that writes."""
        try:
            then()
        except Exception as error:  # noqa: BLE001 - as said
            self._stumble(error)

    def _stumble(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        told = "".join(traceback.format_exception(error))
        self._hook(HandlerFailed(agent=self.agent, peer=self.agent, text=text, traceback=told))

    def _down(self, error: RecordsError) -> None:
        if self.is_up:
            self.is_up = False
            self._hook(StoreDown(agent=self.agent, text=str(error)))

    def _up(self) -> None:
        if not self.is_up:
            self.is_up = True
            self._hook(StoreUp(agent=self.agent))
