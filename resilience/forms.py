"""Records as JSON that says which form it is of, so that a newer version of the code reads an older one's.

Whoever changes what a record holds raises its form by one and adds the step from the form before. A form
is never reused, and a step is never removed while files of that age may be about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from resilience.records import FormError

Fields = dict[str, Any]
Step = Callable[[Fields], Fields]


@dataclass(frozen=True, kw_only=True)
class Form:
    """How one kind of record is written down.

    Raises:
        ValueError: a step is missing.
    """

    what: str
    """The kind of record with its article, for sentences."""
    newest: int = 1
    steps: Mapping[int, Step] = field(default_factory=dict)
    """Each turns the fields of its form into those of the next one."""

    def __post_init__(self) -> None:
        if set(self.steps) != set(range(1, self.newest)):
            raise ValueError(f"{self.what} needs a step from each form below {self.newest} and no other")

    def write(self, fields: Fields) -> str:
        """Write fields of the newest form down; moments become ISO 8601."""
        return _ENCODE({"v": self.newest, **fields})

    def read(self, text: str) -> Fields:
        """Read what `write` wrote, now or in an older version; moments stay text.

        Raises:
            FormError: it is of a newer form, or no such record.
        """
        try:
            fields = json.loads(text)
            form = fields.pop("v")
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise self.foreign(text) from error
        if not isinstance(form, int) or form < 1:
            raise self.foreign(text)
        if form > self.newest:
            raise FormError(self.what, newer(form, self.newest))
        for each in range(form, self.newest):
            fields = self.steps[each](fields)
        return dict(fields)

    def foreign(self, text: str) -> FormError:
        """Say that a text is no such record."""
        return FormError(
            self.what, f"was expected where there is {text[:60]!r}; the store has been tampered with"
        )


def newer(form: int, newest: int) -> str:
    """Say that something is of a form that only a newer version reads."""
    return (
        f"was written in form {form} by a newer version of Locution, and this one reads form {newest}; "
        "update Locution"
    )


def storable(text: str, what: str, most: int | None = None) -> str:
    """Return a text as it is, if it can be kept.

    Args:
        text: what is to be kept.
        what: what it is, with its article, for the sentence.
        most: bytes of UTF-8 that it may have; such a text must not be empty either.

    Raises:
        ValueError: it is empty or too long, or holds half of a surrogate pair, which has no UTF-8.
    """
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds half of a surrogate pair at character {error.start}") from None
    if most is not None and not 0 < length <= most:
        fault = f"is {length:,} bytes long, and at most {most:,} are kept" if length else "is empty"
        raise ValueError(f"{what} {fault}")
    return text


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} cannot be written down")


_ENCODE = json.JSONEncoder(default=_plain, separators=(",", ":")).encode
"""Made once: `json.dumps` makes another one each time."""
