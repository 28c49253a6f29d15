"""How long to wait before trying again: a pure function of the attempt and a source of randomness."""

from __future__ import annotations

from collections.abc import Callable


def delay(attempt: int, rng: Callable[[], float], *, first: float = 1.0, most: float = 8.0) -> float:
    """Exponential backoff with jitter.

    Half of the delay is fixed and half is random, so that agents cut off together do not come back
    together, and none comes back at once.

    Args:
        attempt: how many attempts have failed, from 1.
        rng: gives a float in [0, 1), e.g. ``random.Random(seed).random``.
        first: the longest delay after the first failure, in seconds.
        most: the longest delay ever, in seconds.

    Returns:
        Seconds to wait, from half of the full delay up to the full delay.
    """
    if attempt < 1:
        raise ValueError(f"the first attempt is 1, not {attempt}")
    # An exponent that big would overflow; the cap holds long before.
    full = min(most, first * 2.0 ** min(attempt - 1, 60))
    return full * (0.5 + rng() / 2)
