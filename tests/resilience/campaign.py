"""Candidates of one group in one process, and who of them led when, by one clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from resilience.election import ElectionError, Lock

GROUP = "g"


@dataclass(kw_only=True)
class Reign:
    """One leadership."""

    leader: str
    term: int
    begun: float
    ended: float | None = None
    """When whoever led was told that it does no more; None as long as it leads."""


class Campaign:
    """Lets candidates stand for election again and again, as `behaviours.leading` does.

    Attributes:
        reigns: all of them, in the order of their beginning.
        troubles: why nobody could say who leads, of each candidate.
    """

    def __init__(self, group: str = GROUP) -> None:
        self.group = group
        self.reigns: list[Reign] = []
        self.troubles: dict[str, str] = {}
        self._standing: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    def enter(self, name: str, lock: Lock) -> None:
        """Have one more candidate stand."""
        self._standing[name] = asyncio.create_task(self._stand(f"{name}@here", lock))

    async def _stand(self, name: str, lock: Lock) -> None:
        while True:
            try:
                await lock.wait_free(self.group)
                term = await lock.acquire(self.group, name)
            except ElectionError as error:
                self.troubles[name] = str(error)
                await asyncio.sleep(0.05)
                continue
            if term is not None:
                reign = Reign(leader=name, term=term, begun=time.monotonic())
                self.reigns.append(reign)
                self._changed.set()
                await lock.wait_lost(self.group, term)
                assert not lock.holds(self.group, term)
                reign.ended = time.monotonic()
                self._changed.set()

    @property
    def leader(self) -> Reign | None:
        """Whoever leads now."""
        return self.reigns[-1] if self.reigns and self.reigns[-1].ended is None else None

    async def until(self, holds: Callable[[], bool], within: float) -> None:
        """Wait until something holds that changes with the reigns."""
        async with asyncio.timeout(within):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def led(self, within: float, above: int = 0) -> Reign:
        """Wait until somebody leads in a term above that one."""
        await self.until(lambda: self.leader is not None and self.leader.term > above, within)
        assert self.leader is not None
        return self.leader

    async def stop(self) -> None:
        """Let nobody stand any more."""
        for each in self._standing.values():
            each.cancel()
        for each in self._standing.values():
            with suppress(asyncio.CancelledError):
                await each

    def faults(self) -> list[str]:
        """Where two led at once, or a term did not grow."""
        found = []
        for before, after in zip(self.reigns, self.reigns[1:], strict=False):
            if before.ended is None or before.ended > after.begun:
                found.append(f"{after} began while {before} had not ended")
            if after.term <= before.term:
                found.append(f"{after} has no higher term than {before}")
        return found
