"""What could not be delivered, read or handled, kept for a person to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from resilience.forms import Form

FORM = Form(what="a dead letter", newest=2, steps={1: lambda fields: {**fields, "made": None}})


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One message that came to nothing, and why; and where its conversation stood, if it has one."""

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
    conversation_id: str = ""
    protocol: str = ""
    state: str = ""
    """Where the protocol stood."""
    attempts: int = 0
    """How often it was sent or begun; 0 where nobody counted, or, where `made` says when, for never sent."""
    made: datetime | None = None
    """When what the agent had said was first written down to be sent; None where that is not known. Its
    receiver forgets its id `resilience.inbox.Terms.retention` later, at the earliest."""
    id: str = field(default="", compare=False)
    """What it is filed under, and no part of what it says. The store gives a number where it is empty;
    whoever makes one makes it afresh, and a second letter under it is not added."""

    def to_json(self) -> str:
        """Write it down without its id; `from_json` reads it."""
        return FORM.write({name: value for name, value in vars(self).items() if name != "id"})

    @classmethod
    def from_json(cls, text: str, id: str) -> DeadLetter:  # noqa: A002 - as the field is called
        """Read what `to_json` wrote, now or in an older version.

        Raises:
            FormError: it is of a newer form, or no dead letter.
        """
        fields = FORM.read(text)
        try:
            made = fields["made"] and datetime.fromisoformat(fields["made"])
            return cls(**{**fields, "id": id, "when": datetime.fromisoformat(fields["when"]), "made": made})
        except (KeyError, TypeError, ValueError) as error:
            raise FORM.foreign(text) from error


ORIGINAL_LIMIT = 100_000
"""Characters of an original that are kept."""

LETTERS = 10_000
"""Letters that a store keeps unless told otherwise; beyond that the oldest make way."""


class DeadLetters(Protocol):
    """Where dead letters lie. Adding one is quick and does not fail for want of room: old ones make way.

    An id is unique in one store.
    """

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter."""

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - as the field is called
        """Return one letter, if it is there."""

    def drop(self, id: str) -> bool:  # noqa: A002 - as the field is called
        """Remove a letter; whether it was there."""

    def count(self, agent: str | None = None) -> int:
        """How many letters are kept."""

    def oldest(self, agent: str | None = None) -> datetime | None:
        """When the letter that has lain longest was written."""
