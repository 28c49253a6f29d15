"""Deadlines: reckoned from seconds, whatever a peer or a caller made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from behaviours.conversing import LONGEST, after

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "reckoned"), [(1.5, 1.5), (0, 0), (1e10, LONGEST), (1e300, LONGEST), (-1e300, -LONGEST)]
)
def test_a_deadline_never_overflows(seconds: float, reckoned: float) -> None:
    assert after(NOW, seconds) == NOW + timedelta(seconds=reckoned)


@pytest.mark.parametrize("seconds", [float("inf"), float("-inf"), float("nan")])
def test_a_deadline_needs_a_number(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"^a deadline needs a number of seconds, not {seconds}$"):
        after(NOW, seconds)
