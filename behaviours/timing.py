"""The clock of plain SPADE behaviours.

SPADE 4.1.4: its periodic and timeout behaviours ask the system for the time, whatever clock their agent has,
by a name of their module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from spade import behaviour


@contextmanager
def timed_by(clock: Callable[[], datetime]) -> Iterator[None]:
    """Have all plain behaviours of this process go by a clock.

    Args:
        clock: tells local time, naive as `datetime.now` does.
    """
    former = behaviour.now
    behaviour.now = clock
    try:
        yield
    finally:
        behaviour.now = former
