"""What a command has to tell while it runs: events, shown on a terminal or written as lines of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

Tell = Callable[..., None]
"""Called with the event's name and its fields, which JSON can hold."""


def tell_as_json(event: str, **fields: Any) -> None:
    """Write one event as one line on standard output, at once."""
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n")
    sys.stdout.flush()
