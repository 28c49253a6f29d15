"""Holding a group's lock: leader-only work starts when it is won and stops when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from behaviours.events import ElectionDown, ElectionUp, Hook, LeaderDeposed, LeaderElected
from behaviours.shells import Shell
from resilience.backoff import delay
from resilience.election import Candidacy, ElectionError, Event, Lock, Standing, advance

OnChange = Callable[[], Awaitable[None]]

RETRY_FIRST, RETRY_MOST = 0.05, 1.0
"""Seconds between two attempts while the lock cannot be asked."""


class Leading(Shell):
    """Stands for election, again and again.

    Args:
        me: the bare JID of the candidate.
        group: whose leader is elected.
        lock: decides.
        on_elected: awaited when we have won, before anything else.
        on_deposed: awaited when we have lost, or resign.
        hook: sink of facts.
        rng: source of jitter.
        hesitation: seconds that a free lock is left to others who should have it first; by default it is
            reached for at once, and at the start without a look whether it is free.
    """

    def __init__(
        self,
        *,
        me: str,
        group: str,
        lock: Lock,
        on_elected: OnChange,
        on_deposed: OnChange,
        hook: Hook,
        rng: Callable[[], float] = random.random,
        hesitation: Callable[[], float] | None = None,
    ) -> None:
        super().__init__()
        self._me, self._lock, self._hook, self._rng = me, lock, hook, rng
        self._on_elected, self._on_deposed = on_elected, on_deposed
        self._hesitation = hesitation
        self.candidacy = Candidacy(group=group)
        self._failures = 0
        self.trouble = ""
        """Why nobody can say who leads, in one sentence; empty while somebody can."""
        self.tried = asyncio.Event()
        """Set once we have reached for the lock: we lead, and have said so, or somebody else does."""

    @property
    def is_leader(self) -> bool:
        """Whether we lead now: a process that was frozen does not, from its first moment on."""
        return self.candidacy.is_leader and self._lock.holds(self.candidacy.group, self.candidacy.term)

    @property
    def term(self) -> int:
        """The term of our present or latest leadership."""
        return self.candidacy.term

    async def run(self) -> None:
        """One round: wait for the lock, try to take it, lead until it is lost.

        At first, and after trouble, it is tried without a wait, so that it is soon known that somebody leads.
        """
        try:
            term = await self._reach()
        except ElectionError as error:
            self.tried.set()
            await self._stumble(error)
            return
        self._recover()
        if term is not None:
            await self._lead(term)
        self.tried.set()

    async def _reach(self) -> int | None:
        group = self.candidacy.group
        if self._hesitation is not None and self.trouble:
            await self._lock.groups()  # that it answers is known before it is free
            self.trouble = ""
        if self._hesitation is not None or (self.tried.is_set() and not self.trouble):
            await self._lock.wait_free(group)
        if self._hesitation is not None:
            await asyncio.sleep(self._hesitation())
        self.candidacy = advance(self.candidacy, Event.LOCK_FREE)
        try:
            term = await self._lock.acquire(group, self._me)
        except ElectionError:
            self.candidacy = advance(self.candidacy, Event.LOST)
            raise
        event = Event.BEATEN if term is None else Event.ACQUIRED
        self.candidacy = advance(self.candidacy, event, term)
        return term

    async def _lead(self, term: int) -> None:
        group = self.candidacy.group
        if self.is_killed():  # we have resigned while we reached for it
            self.candidacy = advance(self.candidacy, Event.RESIGNED)
            await self._leave()
            return
        self._hook(LeaderElected(agent=self._me, group=group, term=term))
        try:
            await self._on_elected()
            self.tried.set()
            await self._lock.wait_lost(group, term)
        except Exception:
            # Whoever cannot lead must not keep others from it.
            await self.resign()
            raise
        if self.candidacy.is_leader:
            await self._step_down(Event.LOST)

    async def resign(self) -> None:
        """Give the lock to the next, if we have it, and stand no more. For when the agent stops."""
        self.kill()
        try:
            if self.candidacy.is_leader:
                with contextlib.suppress(ConnectionError):
                    await self._step_down(Event.RESIGNED)
        finally:
            if self.candidacy.standing is not Standing.CANDIDATE:  # else it leaves once it has been answered
                await self._leave()

    async def _leave(self) -> None:
        with contextlib.suppress(ElectionError):  # then it lapses
            await self._lock.leave(self.candidacy.group, self._me)

    async def _step_down(self, event: Event) -> None:
        self.candidacy = advance(self.candidacy, event)
        self._hook(LeaderDeposed(agent=self._me, group=self.candidacy.group, term=self.candidacy.term))
        await self._on_deposed()

    async def _stumble(self, error: ElectionError) -> None:
        self.trouble = str(error)
        if self._failures == 0:
            self._hook(ElectionDown(agent=self._me, group=self.candidacy.group, text=str(error)))
        self._failures += 1
        await asyncio.sleep(delay(self._failures, self._rng, first=RETRY_FIRST, most=RETRY_MOST))

    def _recover(self) -> None:
        if self._failures:
            self._failures, self.trouble = 0, ""
            self._hook(ElectionUp(agent=self._me, group=self.candidacy.group))
