"""What a command has to tell while it runs: events, shown on a terminal or written as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TELL_AFTER = 1.0
"""Seconds after which people want to know what is waited for."""

Tell = Callable[..., None]
"""Called with the event's name and its fields, which JSON can hold."""


def tell_as_json(event: str, **fields: Any) -> None:
    """Write one event as one line on standard output, at once."""
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def told_if_slow(tell: Tell, event: str, **fields: Any) -> Iterator[None]:
    """Tell an event if what is done here takes longer than `TELL_AFTER`."""
    timer = asyncio.get_running_loop().call_later(TELL_AFTER, lambda: tell(event, **fields))
    try:
        yield
    finally:
        timer.cancel()
