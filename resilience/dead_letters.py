"""What could not be delivered, read or handled, kept for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One message that came to nothing, and why."""

    agent: str
    """The agent that kept it."""
    peer: str
    is_inbound: bool
    cause: str
    text: str
    """One sentence: what happened."""
    original: str
    """The message as JSON where it could be read, else its body, cut at `ORIGINAL_LIMIT`."""
    when: datetime


ORIGINAL_LIMIT = 100_000
"""Characters of an original that are kept."""


class DeadLetters(Protocol):
    """Where dead letters lie. Adding one is quick and does not fail for want of room: old ones make way."""

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter."""

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""
