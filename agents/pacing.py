"""How often those that wait for a training are told how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from learning.training import EpochEnded

PROGRESS_EVERY = 0.1
"""Seconds between two notices of progress, at least."""


class Paced:
    """Passes progress on, but not every epoch of a small dataset: the last one always, before the result.

    Args:
        tell: told of an epoch at most every `PROGRESS_EVERY` seconds.
    """

    def __init__(self, tell: Callable[[EpochEnded], None]) -> None:
        self._tell = tell
        self._told_at = -math.inf
        self._untold: EpochEnded | None = None

    def __call__(self, ended: EpochEnded) -> None:
        """Take an epoch that has ended."""
        now = time.monotonic()
        self._untold = ended
        if now >= self._told_at + PROGRESS_EVERY:
            self._told_at = now
            self.finish()

    def finish(self) -> None:
        """Tell of the last epoch, unless that has been done."""
        if self._untold is not None:
            self._tell(self._untold)
        self._untold = None
