"""Small durable records by name: what an agent must still know after a restart.

The directory keeps its registrations here. A record is text; whoever writes it says what is in it.

Every binding of every port in this package speaks of what it cannot do by one tree::

    RecordsError           what is kept cannot be read or written; the text is one sentence
    ├── StoreError         (sqlite_file) the file: full disk, no rights, damaged, locked
    ├── RedisStoreError    (redis_store) the server: gone, slow, full, wrongly set up
    └── FormError          a record is of a form that this version of the code does not read
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class RecordsError(Exception):
    """What is kept cannot be read or written: the disk is full, the file damaged, the service gone."""


class FormError(RecordsError):
    """A record was written by a newer version of the code, or is none of ours.

    Attributes:
        what: the kind of record, as in "an outgoing message".
    """

    def __init__(self, what: str, fault: str) -> None:
        super().__init__(f"{what} {fault}")
        self.what = what


class Records(Protocol):
    """A mapping from ``(collection, key)`` to text. Each call is atomic and durable when it returns.

    Every call may raise `RecordsError`; nothing has changed then.
    """

    def put(self, collection: str, key: str, text: str) -> None:
        """Write or replace a record."""

    def remove(self, collection: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""

    def all(self, collection: str) -> Mapping[str, str]:
        """Return every record of a collection, ordered by key."""
