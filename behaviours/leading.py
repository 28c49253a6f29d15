"""Holding a group's lock: leader-only work starts when it is won and stops when it is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from behaviours.events import Hook, LeaderDeposed, LeaderElected
from behaviours.shells import Shell
from resilience.election import Candidacy, Event, Lock, advance

OnChange = Callable[[], Awaitable[None]]


class Leading(Shell):
    """Stands for election, again and again.

    Args:
        me: the bare JID of the candidate.
        group: whose leader is elected.
        lock: decides.
        on_elected: awaited when we have won, before anything else.
        on_deposed: awaited when we have lost, or resign.
        hook: sink of facts.
    """

    def __init__(
        self, *, me: str, group: str, lock: Lock, on_elected: OnChange, on_deposed: OnChange, hook: Hook
    ) -> None:
        super().__init__()
        self._me, self._lock, self._hook = me, lock, hook
        self._on_elected, self._on_deposed = on_elected, on_deposed
        self.candidacy = Candidacy(group=group)

    @property
    def is_leader(self) -> bool:
        """Whether we lead now."""
        return self.candidacy.is_leader

    async def run(self) -> None:
        """One round: wait for the lock, try to take it, lead until it is lost."""
        group = self.candidacy.group
        await self._lock.wait_free(group)
        self.candidacy = advance(self.candidacy, Event.LOCK_FREE)
        term = await self._lock.acquire(group, self._me)
        if term is None:
            self.candidacy = advance(self.candidacy, Event.BEATEN)
            return
        self.candidacy = advance(self.candidacy, Event.ACQUIRED, term)
        if self.is_killed():  # we have resigned while we reached for it
            self.candidacy = advance(self.candidacy, Event.RESIGNED)
            await self._lock.release(group, term)
            return
        self._hook(LeaderElected(agent=self._me, group=group, term=term))
        try:
            await self._on_elected()
            await self._lock.wait_lost(group, term)
        except Exception:
            # Whoever cannot lead must not keep others from it.
            await self.resign()
            raise
        if self.is_leader:
            await self._step_down(Event.LOST)

    async def resign(self) -> None:
        """Give the lock to the next, if we have it, and stand no more. For when the agent stops."""
        self.kill()
        if self.is_leader:
            term = self.candidacy.term
            try:
                with contextlib.suppress(ConnectionError):
                    await self._step_down(Event.RESIGNED)
            finally:
                await self._lock.release(self.candidacy.group, term)

    async def _step_down(self, event: Event) -> None:
        self.candidacy = advance(self.candidacy, event)
        self._hook(LeaderDeposed(agent=self._me, group=self.candidacy.group, term=self.candidacy.term))
        await self._on_deposed()
