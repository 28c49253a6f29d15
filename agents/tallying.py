"""Telling what a learner trains, as facts."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Self

from behaviours.events import Hook, RowsTrained, TrainingEnded

TOLD_EVERY = 1.0
"""Seconds between two facts about rows, at least: an epoch of a small dataset takes a millisecond."""


class Tally:
    """`with Tally(...) as tally`: the facts of one training, which is over at the end of the block.

    Args:
        me: the bare JID of the learner.
        hook: sink of facts; it is called on the event loop that this is made on.
        promised: the seconds that the learner bid for it; None where it made no bid.
    """

    def __init__(self, me: str, hook: Hook, promised: float | None) -> None:
        self._me, self._hook, self._promised = me, hook, promised
        self._loop = asyncio.get_running_loop()
        self._rows = 0
        self._began = self._told_at = time.monotonic()
        self.has_trained = False
        """Whether it has come to a model; set it before the end of the block."""

    def trained(self, rows: int) -> None:
        """Take note of rows that have gone through it. From any thread, but from one at a time."""
        self._rows += rows
        now = time.monotonic()
        if now >= self._told_at + TOLD_EVERY:
            self._told_at = now
            told, self._rows = self._rows, 0
            self._loop.call_soon_threadsafe(self._hook, RowsTrained(agent=self._me, rows=told))

    def __enter__(self) -> Self:
        self._began = self._told_at = time.monotonic()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._rows:
            self._hook(RowsTrained(agent=self._me, rows=self._rows))
        failed = "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"
        self._hook(
            TrainingEnded(
                agent=self._me,
                outcome="trained" if self.has_trained else failed,
                seconds=time.monotonic() - self._began,
                promised=self._promised,
            )
        )
