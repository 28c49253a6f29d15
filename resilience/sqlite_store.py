"""The embedded default: records and dead letters in one SQLite file that several processes share.

What is written survives the death of the process in any case; on a failing power supply:

- **a record** is on the disk when `put` returns (``synchronous=FULL``): a waiting message that the server
  has taken must not vanish. That costs one fsync.
- **a removal** of the last moments may come undone, and **dead letters** of the last moments be lost
  (``synchronous=NORMAL``): emptying a mailbox or a flood of unreadable messages must not hold up an
  agent by a thousand fsyncs. The file stays whole either way.

A store belongs to the thread that made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from resilience.dead_letters import LETTERS, DeadLetter
from resilience.sqlite_file import SCHEMA_VERSION, SqliteFile, StoreError
from resilience.sqlite_letters import SqliteLetters

__all__ = ["LETTERS", "SCHEMA_VERSION", "SqliteStore", "StoreError"]


class SqliteStore:
    """`Records` and `DeadLetters` in one file, which is made if it is not there.

    Args:
        path: the file; its folder must exist, as SQLite keeps two more files beside it.
        letters: how many dead letters are kept.

    Raises:
        StoreError: it cannot be opened, is no database of ours, or was written by a newer version.
    """

    def __init__(self, path: Path, letters: int = LETTERS) -> None:
        self.path = path
        self._file = SqliteFile(path)
        self._connection = self._file.connection
        self._letters = SqliteLetters(self._file, letters)

    def look(self) -> None:
        """Return if the file is still where it was opened.

        Raises:
            StoreError: somebody has removed or replaced it.
        """
        self._file.look()

    def close(self) -> None:
        """Close the file; safe to call again."""
        self._file.close()

    # -- Records ---------------------------------------------------------------------------------

    def put(self, collection: str, key: str, text: str) -> None:
        """Write or replace a record."""
        self._sync("FULL")
        self._file.write("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (collection, key, text))

    def remove(self, collection: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""
        self._sync("NORMAL")
        self._file.write("DELETE FROM records WHERE collection = ? AND key = ?", (collection, key))

    def all(self, collection: str) -> Mapping[str, str]:
        """Return every record of a collection, ordered by key."""
        query = "SELECT key, text FROM records WHERE collection = ? ORDER BY key"
        rows: list[tuple[str, str]] = self._file.run(query, (collection,))
        return dict(rows)

    # -- DeadLetters -----------------------------------------------------------------------------

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter; the oldest beyond the limit make way."""
        self._sync("NORMAL")
        self._letters.add(letter)

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""
        return self._letters.list(agent, limit)

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one letter, if it is there."""
        return self._letters.get(id)

    def drop(self, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a letter; whether it was there."""
        self._sync("NORMAL")
        return self._letters.drop(id)

    def count(self, agent: str | None = None) -> int:
        """How many letters are kept."""
        return self._letters.count(agent)

    def oldest(self, agent: str | None = None) -> datetime | None:
        """When the letter that has lain longest was written."""
        return self._letters.oldest(agent)

    def _sync(self, synchronous: str) -> None:
        self._file.run(f"PRAGMA synchronous = {synchronous}")
