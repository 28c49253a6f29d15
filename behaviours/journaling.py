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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import TypeVar

from behaviours.drafting import Draft, Put, Then
from behaviours.events import HandlerFailed, Hook, StoreDown, StoreUp
from resilience.backoff import delay
from resilience.dead_letters import DeadLetter
from resilience.inbox import RENEWALS, Hold
from resilience.journal import Effects, Journal, Outcome
from resilience.outbox import Outgoing
from resilience.records import RecordsError

RETRY_FIRST, RETRY_MOST = 0.05, 2.0
"""Seconds between two attempts to write while the store is down."""

GATHERED = 0.02
"""Seconds in which what nobody waits for is gathered: what is over by then is never written. What is to be
sent is written at once, with all of its lane."""

CLOSE_WITHIN = 2.0
"""Seconds in which what has come up is written at the end."""

Rng = Callable[[], float]

_Answer = TypeVar("_Answer")

_NONE: Mapping[str, Put] = {}


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
        self._draft = Draft()
        self._is_writing = False
        self._known: set[str] = set()
        """Keys of snapshots that may stand in the store."""

    def known(self, keys: Iterable[str]) -> None:
        """Take note of snapshots that somebody else has written."""
        self._known.update(keys)

    def note(
        self,
        *,
        put: Mapping[str, Put] = _NONE,
        remove: tuple[str, ...] = (),
        send: tuple[Outgoing, ...] = (),
        tried: tuple[Outgoing, ...] = (),
        settled: tuple[str, ...] = (),
        bury: tuple[DeadLetter, ...] = (),
        drop: tuple[str, ...] = (),
        then: Then | None = None,
        lost: Then | None = None,
    ) -> None:
        """Have something written with the next commit; all that is noted in one go is written at once.

        Args:
            put: snapshots by their keys; see `resilience.journal.Effects`, as for all but the last.
            remove: likewise; what was never written need not be.
            send: likewise.
            tried: likewise.
            settled: likewise.
            bury: likewise.
            drop: likewise.
            then: called as soon as it is written, in the order of noting; never, if it is taken over.
            lost: called if it is taken over before it is written.
        """
        draft = self._draft
        for key, snapshot in put.items():
            draft.keep(key, snapshot)
        for key in remove:
            draft.forget(key, self._known)
        draft.send.extend(send)
        draft.tried.extend(tried)
        draft.settled.extend(settled)
        draft.bury.extend(bury)
        draft.drop.extend(drop)
        if then is not None:
            draft.then.append(then)
        if lost is not None:
            draft.lost.append(lost)
        self._stir()

    def finish(self, reply: str = "", outcome: Outcome = Outcome.DONE) -> None:
        """Have the claim ended with the next commit; a later copy of its message is answered `reply`."""
        self._draft.outcome, self._draft.reply = outcome, reply
        self._stir()

    def _stir(self) -> None:
        if self.is_taken:
            self._lose()
        elif self._draft.is_empty and not self._is_writing and self._journaling.is_up:
            ready, self._draft = self._draft.then, Draft()  # nothing to wait for
            for each in ready:
                self._journaling.carry_out(each)
        else:
            self._journaling.stir(self, is_urgent=self._draft.is_urgent)

    async def commit(self) -> bool:
        """Write what has come up; whether there was anything to write. For `Journaling` only.

        Raises:
            RecordsError: it could not be written, and stays to be written.
        """
        draft, self._draft = self._draft, Draft()
        self._is_writing = True
        self._known.update(draft.put)
        try:
            is_ours = draft.is_empty or await self._journaling.write(draft, self.hold)
        except (RecordsError, asyncio.CancelledError):
            draft.go_on(self._draft)
            self._draft = draft
            raise
        finally:
            self._is_writing = False
        if is_ours:
            for each in draft.then:
                self._journaling.carry_out(each)
        else:
            draft.go_on(self._draft)
            self._draft = draft
            self.give_up()
        return not draft.is_empty

    def give_up(self) -> None:
        """Another replica has taken the work over. For `Journaling` only."""
        if not self.is_taken:
            self.is_taken = True
            self._journaling.drop(self)
            self.on_taken()
            self._lose()

    def _lose(self) -> None:
        draft, self._draft = self._draft, Draft()
        for each in draft.lost:
            self._journaling.carry_out(each)

    def go_on(self) -> None:
        """Have written what has come up meanwhile. For `Journaling` only."""
        if not self.is_taken and (self._draft.then or not self._draft.is_empty):
            self._journaling.stir(self, is_urgent=self._draft.is_urgent)


class Journaling:
    """All lanes of one agent, and the one task that commits them.

    Args:
        agent: its bare JID.
        journal: where to write.
        hook: sink of facts.
        rng: source of jitter.
        replica: which one of the agent writes.
    """

    def __init__(
        self, agent: str, journal: Journal, hook: Hook, rng: Rng = random.random, replica: str = ""
    ) -> None:
        self.agent, self.journal, self.replica = agent, journal, replica
        self._hook, self._rng = hook, rng
        self.is_up = True
        """Whether the last attempt to write succeeded."""
        self.open = Lane(self)
        """The lane of what no message caused."""
        self._dirty: dict[Lane, None] = {}
        self._gathered: dict[Lane, None] = {}
        self._gathering: asyncio.TimerHandle | None = None
        self._stirred = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._held: dict[Lane, None] = {}
        self._awaited: Hold | None = None
        self._waiting: dict[Lane, None] = {}  # for that claim
        self.on_renewed: Then = lambda: None
        """Called after each renewal of all leases, once the store has answered for the length of a lease."""

    def wait_to_live(self, hold: Hold, on_taken: Then) -> None:
        """From now on write what no message has caused under this claim, once it is ours and we `live`."""
        self.open, self._awaited = Lane(self, hold, on_taken), hold

    def live(self) -> None:
        """Write what has waited for that."""
        self._held[self.open] = self._awaited = None
        waiting, self._waiting = self._waiting, {}
        for lane in waiting:
            self.stir(lane, is_urgent=True)

    def lane(self, hold: Hold, on_taken: Then) -> Lane:
        """Begin a piece of work that a claim guards; its lease is renewed until `drop`."""
        lane = Lane(self, hold, on_taken)
        self._held[lane] = None
        return lane

    def drop(self, lane: Lane) -> None:
        """Renew the lease of a piece of work no longer: it is done, or somebody else's."""
        self._held.pop(lane, None)

    def stir(self, lane: Lane, *, is_urgent: bool) -> None:
        """Have a lane committed: now, or with others in a moment."""
        if self._is_closed:
            return
        if self._awaited is not None and lane.hold == self._awaited:
            self._waiting[lane] = None
            return
        self._idle.clear()
        if is_urgent:
            self._gathered.pop(lane, None)
            self._dirty[lane] = None
            self._wake()
        elif lane not in self._dirty:
            self._gathered[lane] = None
            if self._gathering is None:
                loop = asyncio.get_running_loop()
                self._gathering = loop.call_later(GATHERED, self._take_gathered, context=Context())

    def _take_gathered(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if self._gathered:
            self._dirty.update(self._gathered)
            self._gathered = {}
            self._wake()

    def _wake(self) -> None:
        self._stirred.set()
        if (self._task is None or self._task.done()) and not self._is_closed:
            # It belongs to no work, whichever has woken it.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())

    async def settled(self) -> None:
        """Return once everything noted so far is written, and what follows it has been done."""
        while not self._idle.is_set():
            self._take_gathered()
            await self._idle.wait()

    async def write(self, draft: Draft, hold: Hold | None) -> bool:
        """Commit one draft; whether it was still ours to write."""
        effects = Effects(
            agent=self.agent,
            outcome=draft.outcome,
            reply=draft.reply,
            put=tuple(each() for each in draft.put.values()),
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
        renewed = 0
        while True:
            await asyncio.sleep(self.journal.policy.terms.renew_every)
            renewed = renewed + 1 if await self._renew() else 0
            if renewed >= RENEWALS:  # after a failure of the store the others must have had time to renew
                self.on_renewed()

    async def _renew(self) -> bool:
        """Renew all leases; False: the store does not answer."""
        held = [(lane, lane.hold) for lane in self._held if lane.hold is not None]
        try:
            answers = await asyncio.gather(*(self.journal.renew(hold) for _lane, hold in held))
        except RecordsError as error:
            self._down(error)
            return False
        for (lane, _hold), is_ours in zip(held, answers, strict=True):
            if not is_ours and lane in self._held:
                lane.give_up()
        return True

    async def concluded(self) -> None:
        """As `settled`, as far as that can be had soon."""
        if self.is_up:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.settled(), CLOSE_WITHIN)

    async def close(self) -> None:
        """Write what can be written now, and give back our life: what we had is for others from now on."""
        await self.concluded()
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.open in self._held and self.open.hold is not None:
            with suppress(RecordsError, TimeoutError):
                await asyncio.wait_for(self.journal.release(self.open.hold), CLOSE_WITHIN)

    async def _run(self) -> None:
        attempt = 0
        while True:
            lanes, self._dirty = tuple(self._dirty), {}
            if not lanes:
                if not self._gathered:
                    self._idle.set()
                self._stirred.clear()
                await self._stirred.wait()
                continue
            results = await self._commit(lanes)
            failed, has_written = None, False
            for lane, result in zip(lanes, results, strict=True):
                if isinstance(result, RecordsError):
                    failed = result
                elif isinstance(result, BaseException):
                    # A mistake of ours: it can never be written, and must not hold up all the rest.
                    self._stumble(result)
                else:
                    has_written |= result
                lane.go_on()
            if failed is None:
                attempt = 0
                if has_written:
                    self._up()
            else:
                attempt += 1
                self._down(failed)
                await asyncio.sleep(delay(attempt, self._rng, first=RETRY_FIRST, most=RETRY_MOST))

    async def _commit(self, lanes: tuple[Lane, ...]) -> Sequence[bool | BaseException]:
        if len(lanes) > 1:
            return await asyncio.gather(*(lane.commit() for lane in lanes), return_exceptions=True)
        try:
            return (await lanes[0].commit(),)
        except Exception as error:  # noqa: BLE001 - `_run` tells what it is
            return (error,)

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
