"""The wall clock, and moments on it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

LONGEST = 10 * 365 * 86_400.0
"""Seconds: a deadline in ten years is as good as none, and every calendar and timer can still hold it."""


def system_now() -> datetime:
    """The wall clock in UTC: what deadlines on the wire are compared with."""
    return datetime.now(UTC)


def after(now: datetime, seconds: float) -> datetime:
    """A deadline that many seconds from now, and never later than `LONGEST`.

    Raises:
        ValueError: that is no number of seconds.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"a deadline needs a number of seconds, not {seconds}")
    return now + timedelta(seconds=max(-LONGEST, min(seconds, LONGEST)))
