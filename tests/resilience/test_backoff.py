"""`resilience.backoff`: laws of the delay."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.backoff import delay

ATTEMPTS = st.integers(1, 10_000)
SECONDS = st.floats(0.001, 1000)
DRAWS = st.floats(0, 1, exclude_max=True)


@given(attempt=ATTEMPTS, drawn=DRAWS, first=SECONDS, most=SECONDS)
def test_a_delay_lies_between_half_of_the_full_one_and_the_full_one(
    attempt: int, drawn: float, first: float, most: float
) -> None:
    full = min(most, first * 2.0 ** min(attempt - 1, 60))
    assert full / 2 <= delay(attempt, lambda: drawn, first=first, most=most) <= full <= most


@given(attempt=ATTEMPTS, drawn=DRAWS, first=SECONDS, most=SECONDS)
def test_delays_never_shrink_and_at_most_double(
    attempt: int, drawn: float, first: float, most: float
) -> None:
    now, later = (delay(each, lambda: drawn, first=first, most=most) for each in (attempt, attempt + 1))
    assert now <= later <= now * 2.000001


def test_the_defaults_double_from_one_second_to_eight() -> None:
    assert [delay(attempt, lambda: 0.999999) for attempt in range(1, 7)] == pytest.approx([1, 2, 4, 8, 8, 8])


def test_agents_that_were_cut_off_together_do_not_come_back_together() -> None:
    rng = random.Random(7)
    moments = sorted(delay(5, rng.random) for _agent in range(100))
    assert moments[-1] - moments[0] > 3
    assert len(set(moments)) == 100


@pytest.mark.parametrize("attempt", [0, -1])
def test_there_is_no_attempt_before_the_first(attempt: int) -> None:
    with pytest.raises(ValueError, match=f"the first attempt is 1, not {attempt}"):
        delay(attempt, lambda: 0.5)
