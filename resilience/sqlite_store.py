"""The embedded default: records and dead letters in one SQLite file that several processes share.

The only `import sqlite3`. Write-ahead logging lets readers and one writer go on beside each other, and a
writer waits for another's lock for `BUSY_SECONDS`. What is written survives the death of the process in
any case; on a failing power supply:

- **a record** is on the disk when `put` returns (``synchronous=FULL``): a waiting message that the server
  has taken must not vanish. That costs one fsync.
- **a removal** of the last moments may come undone, and **dead letters** of the last moments be lost
  (``synchronous=NORMAL``): emptying a mailbox or a flood of unreadable messages must not hold up an
  agent by a thousand fsyncs. The file stays whole either way.

A store belongs to the thread that made it.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from resilience.dead_letters import DeadLetter
from resilience.records import RecordsError

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    peer TEXT NOT NULL,
    is_inbound INTEGER NOT NULL,
    cause TEXT NOT NULL,
    text TEXT NOT NULL,
    original TEXT NOT NULL,
    "when" TEXT NOT NULL  -- ISO 8601 with its zone
);
CREATE INDEX IF NOT EXISTS dead_letters_by_agent ON dead_letters (agent, id);
"""

BUSY_SECONDS = 5.0
"""How long a writer waits for another process. A write takes milliseconds; more means that one hangs."""

LETTERS = 10_000
"""Dead letters that are kept; beyond that the oldest make way."""


class StoreError(RecordsError):
    """The file cannot be used; the text is one sentence: which file, why, how to mend it.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"the database {path} {fault}")
        self.path = path


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
        self._letters = letters
        with self._alone(), self._told():
            self._make()
            # Transactions are written out, so that nothing is left open by an implicit BEGIN.
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        """Close the file; safe to call again."""
        with self._alone():
            self._connection.close()

    # -- Records ---------------------------------------------------------------------------------

    def put(self, collection: str, key: str, text: str) -> None:
        """Write or replace a record."""
        self._write("FULL", "INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (collection, key, text))

    def remove(self, collection: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""
        self._write("NORMAL", "DELETE FROM records WHERE collection = ? AND key = ?", (collection, key))

    def all(self, collection: str) -> Mapping[str, str]:
        """Return every record of a collection, ordered by key."""
        query = "SELECT key, text FROM records WHERE collection = ? ORDER BY key"
        with self._told():
            return dict(self._connection.execute(query, (collection,)))

    # -- DeadLetters -----------------------------------------------------------------------------

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter; the oldest beyond the limit make way."""
        values = (
            letter.agent,
            letter.peer,
            letter.is_inbound,
            letter.cause,
            letter.text,
            letter.original,
            letter.when.isoformat(),
        )
        columns = 'agent, peer, is_inbound, cause, text, original, "when"'
        added = self._write(
            "NORMAL",
            f"INSERT INTO dead_letters ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            values,
        )
        self._write("NORMAL", "DELETE FROM dead_letters WHERE id <= ?", (added - self._letters,))

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""
        query = (
            'SELECT agent, peer, is_inbound, cause, text, original, "when" FROM dead_letters '
            "WHERE ?1 IS NULL OR agent = ?1 ORDER BY id DESC LIMIT ?2"
        )
        with self._told():
            rows = self._connection.execute(query, (agent, limit)).fetchall()
        return tuple(
            DeadLetter(
                agent=row[0],
                peer=row[1],
                is_inbound=bool(row[2]),
                cause=row[3],
                text=row[4],
                original=row[5],
                when=datetime.fromisoformat(row[6]),
            )
            for row in rows
        )

    # -- the file --------------------------------------------------------------------------------

    def _make(self) -> None:
        """Make the file for this user only; SQLite gives the two beside it the same rights.

        Only where there is none: to close a file that is open elsewhere in the process ends SQLite's locks
        on it (https://sqlite.org/howtocorrupt.html, section 2.2).
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with suppress(OSError):  # it is there, or SQLite says what is wrong
            os.close(os.open(self.path, flags, 0o600))

    def _open(self) -> None:
        run = self._connection.execute
        # A database of another program, or a newer one of ours, must be left as it is.
        version = run("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                self.path,
                f"was written in form {version} by a newer version of Locution, and this one reads form "
                f"{SCHEMA_VERSION}; update Locution, or name another state folder",
            )
        tables = {row[0] for row in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version == 0 and tables - {"records", "dead_letters", "sqlite_sequence"}:
            raise StoreError(self.path, "belongs to another program; name another state folder")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA wal_autocheckpoint = 200")
        run("BEGIN IMMEDIATE")
        try:
            for statement in SCHEMA.split(";\n"):
                run(statement)
            run(f"PRAGMA user_version = {SCHEMA_VERSION}")
            run("COMMIT")
        except BaseException:
            run("ROLLBACK")
            raise

    def _write(self, synchronous: str, statement: str, values: tuple[object, ...]) -> int:
        """Run one statement as a transaction of its own; the id of the row it inserted, if it did."""
        with self._told():
            self._connection.execute(f"PRAGMA synchronous = {synchronous}")
            return self._connection.execute(statement, values).lastrowid or 0

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Open and close one after the other.

        SQLite does not wait, whatever its timeout, for a process that changes the journal's mode or
        cleans up as the last one: https://sqlite.org/wal.html, section 8.
        """
        try:
            descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(self.path, f"cannot be opened: {error.strerror}; {_MEND_FOLDER}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors into sentences."""
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(self.path, _sentence(error)) from error


_MEND_FOLDER = "its folder must exist and belong to this user"


def _sentence(error: sqlite3.Error) -> str:
    match getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_").partition("_")[0]:
        case "NOTADB" | "CORRUPT":
            return f"is damaged ({error}); restore it, or move it away to begin with an empty one"
        case "READONLY":
            return "cannot be written; give its folder and files to this user, or name another state folder"
        case "FULL":
            return "cannot grow, because the disk is full; make room"
        case "CANTOPEN":
            return f"cannot be opened; {_MEND_FOLDER}"
        case "BUSY":
            return f"has been locked for {BUSY_SECONDS:g} s by another process that hangs; find and stop it"
        case _:
            return f"cannot be used: {error}"
