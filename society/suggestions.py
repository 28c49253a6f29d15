"""The sentence about a word that is none of the known ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 10
"""Names in a sentence, at most."""


def unknown_among(where: str, what: str, key: str, known: Iterable[str]) -> str:
    """The sentence about a word that is none of the known ones."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1)
    if near:
        return f"{where} has no {what} {key!r}; did you mean {near[0]!r}?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{where} has no {what} {key!r}; it has {', '.join(names[:LISTED]) or 'none'}{more}"
