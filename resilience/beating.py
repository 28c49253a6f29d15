"""A candidate's signs of life, given by the event loop: a loop that stalls or is frozen gives none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from resilience.election import BEATS, STEP_DOWN, ElectionError

Beat = Callable[[], Awaitable[bool]]
"""Gives a sign of life: False where the lock, or what it hangs on, is not ours any more. It may raise
`ElectionError`: nobody answers."""


class Beating:
    """Gives signs of life until it is stopped, and knows how old the last one is that was answered.

    Args:
        beat: gives one.
        ttl: seconds after which others may take the lock.
        clock: seconds that no wall clock moves.
    """

    def __init__(self, beat: Beat, ttl: float, clock: Callable[[], float]) -> None:
        self._beat, self._ttl, self._clock = beat, ttl, clock
        self._answered = clock()
        self._is_lost = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def is_good(self) -> bool:
        """Whether the lock cannot be anybody else's yet."""
        return not self._is_lost.is_set() and self._left > 0

    async def lost(self) -> None:
        """Return once it may be."""
        while self.is_good:
            try:
                async with asyncio.timeout(self._left):
                    await self._is_lost.wait()
            except TimeoutError:
                pass  # there may have been an answer meanwhile

    async def stop(self) -> None:
        """Give no more."""
        self._is_lost.set()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _left(self) -> float:
        return self._answered + STEP_DOWN * self._ttl - self._clock()

    async def _run(self) -> None:
        while True:
            begun = self._clock()  # what is answered late was true when it was asked
            try:
                async with asyncio.timeout(self._ttl):
                    is_ours = await self._beat()
            except (ElectionError, TimeoutError):
                pass
            else:
                if not is_ours:
                    self._is_lost.set()
                    return
                self._answered = begun
            await asyncio.sleep(max(0.0, begun + self._ttl / BEATS - self._clock()))
