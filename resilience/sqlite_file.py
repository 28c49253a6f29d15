"""One SQLite file that several processes share: how it is opened, kept up to date and spoken of.

The only `import sqlite3`. Write-ahead logging lets readers and one writer go on beside each other, and a
writer waits for another's lock for `BUSY_SECONDS`. What is committed survives the death of the process in
any case, and that of the machine where the writer has asked for ``synchronous=FULL``.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from resilience.records import RecordsError

Row = tuple[Any, ...]

STEPS = (
    """
CREATE TABLE records (
    collection TEXT NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (collection, key)
) WITHOUT ROWID;
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    peer TEXT NOT NULL,
    is_inbound INTEGER NOT NULL,
    cause TEXT NOT NULL,
    text TEXT NOT NULL,
    original TEXT NOT NULL,
    "when" TEXT NOT NULL  -- ISO 8601 with its zone
);
CREATE INDEX dead_letters_by_agent ON dead_letters (agent, id);
""",
    """
-- A letter without an id of its own is filed under its number.
ALTER TABLE dead_letters ADD COLUMN own_id TEXT;
ALTER TABLE dead_letters ADD COLUMN conversation_id TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN protocol TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN state TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letters ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX dead_letters_by_own_id ON dead_letters (own_id);
CREATE TABLE inbox (
    receiver TEXT NOT NULL,
    sender TEXT NOT NULL,
    message_id TEXT NOT NULL,
    phase TEXT NOT NULL,
    owner TEXT NOT NULL,
    leased_at REAL NOT NULL,  -- seconds since the epoch, like kept_until
    lease REAL NOT NULL,
    attempts INTEGER NOT NULL,
    digest TEXT NOT NULL,
    reply TEXT NOT NULL,
    kept_until REAL NOT NULL,
    PRIMARY KEY (receiver, sender, message_id)
) WITHOUT ROWID;
CREATE INDEX inbox_by_end ON inbox (kept_until);
CREATE TABLE outgoing (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    id TEXT NOT NULL,
    text TEXT NOT NULL,  -- JSON that says its form
    UNIQUE (agent, id)
);
CREATE TABLE snapshots (
    agent TEXT NOT NULL,
    key TEXT NOT NULL,
    form INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (agent, key)
) WITHOUT ROWID;
""",
    """
-- ISO 8601 with its zone, like "when".
ALTER TABLE dead_letters ADD COLUMN made TEXT;
""",
    """
CREATE TABLE leaders (
    group_name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,  -- whoever leads, or led last; empty after it has given the lock back
    token TEXT NOT NULL,  -- of one leadership
    term INTEGER NOT NULL,
    boot TEXT NOT NULL,  -- what tells the runs of the machine apart
    beaten_at REAL NOT NULL,  -- seconds by the machine's monotonic clock
    ttl REAL NOT NULL,
    since TEXT NOT NULL  -- ISO 8601 with its zone
) WITHOUT ROWID;
""",
    """
-- Seconds from the end of the leadership before, which stands in beaten_at, to this one.
ALTER TABLE leaders ADD COLUMN failover REAL;
""",
)
"""What leads from each form of the file to the next, from nothing to form 1 onwards. Never edit a step."""

SCHEMA_VERSION = len(STEPS)

BUSY_SECONDS = 5.0
"""How long a writer waits for another process. A write takes milliseconds; more means that one hangs."""


class StoreError(RecordsError):
    """The file cannot be used; the text is one sentence: which file, why, how to mend it.

    Attributes:
        path: the file.
        is_locked: whether another process holds it, so that the next try would wait as long again.
    """

    def __init__(self, path: Path, fault: str, *, is_locked: bool = False) -> None:
        super().__init__(f"the database {path} {fault}")
        self.path, self.is_locked = path, is_locked


class SqliteFile:
    """A connection to the file, which is made if it is not there. It belongs to the thread that made it.

    Args:
        path: the file; its folder must exist, as SQLite keeps two more files beside it.
        is_handed_on: whether threads hand it on to each other, one at a time. It then waits for another
            process's lock only with `patience`.

    Raises:
        StoreError: it cannot be opened, is no database of ours, or was written by a newer version.
    """

    def __init__(self, path: Path, *, is_handed_on: bool = False) -> None:
        self.path = path
        with self._alone(), self.told():
            self._make()
            # Transactions are written out, so that nothing is left open by an implicit BEGIN.
            self.connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=not is_handed_on
            )
            try:
                self._open()
                self._opened = path.stat()
                if is_handed_on:
                    self._wait_for_lock(0)
            except BaseException:
                self.connection.close()
                raise

    def look(self) -> None:
        """Return if the file is still where it was opened.

        Raises:
            StoreError: somebody has removed or replaced it: what is written is lost with this process.
        """
        try:
            is_there = os.path.samestat(self.path.stat(), self._opened)
        except OSError:
            is_there = False
        if not is_there:
            raise StoreError(
                self.path,
                "was removed or replaced while it was in use; put it back, and start again whoever uses it",
            )

    def close(self) -> None:
        """Close the file; safe to call again."""
        with self._alone():
            self.connection.close()

    def run(self, statement: str, values: Sequence[object] = ()) -> list[Row]:
        """Run one statement and return its rows."""
        try:
            return self.connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._told(error) from error

    def write(self, statement: str, values: Sequence[object] = ()) -> tuple[int, int]:
        """Run one statement and return the last row inserted by this connection, and how many it changed."""
        try:
            done = self.connection.execute(statement, values)
        except sqlite3.Error as error:
            raise self._told(error) from error
        return done.lastrowid or 0, done.rowcount

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Wait within for another process's lock, for `BUSY_SECONDS`."""
        self._wait_for_lock(BUSY_SECONDS)
        try:
            yield
        finally:
            self._wait_for_lock(0)

    def _wait_for_lock(self, seconds: float) -> None:
        self.run(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done within, or nothing of it.

        The lock to write is taken at the beginning: what is read within is what is overwritten.
        """
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            # A full disk has rolled back already.
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn SQLite's errors into sentences."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._told(error) from error

    def _told(self, error: sqlite3.Error) -> StoreError:
        return StoreError(self.path, _sentence(error), is_locked=_code(error) == "BUSY")

    def _make(self) -> None:
        """Make the file for this user only; SQLite gives the two beside it the same rights.

        Only where there is none: to close a file that is open elsewhere in the process ends SQLite's locks
        on it (https://sqlite.org/howtocorrupt.html, section 2.2).
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with suppress(OSError):  # it is there, or SQLite says what is wrong
            os.close(os.open(self.path, flags, 0o600))

    def _open(self) -> None:
        run = self.connection.execute
        # A database of another program, or a newer one of ours, must be left as it is.
        version = run("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                self.path,
                f"was written in form {version} by a newer version of Locution, and this one reads form "
                f"{SCHEMA_VERSION}; update Locution, or name another state folder",
            )
        if version == 0 and run("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise StoreError(self.path, "belongs to another program; name another state folder")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA wal_autocheckpoint = 200")
        if version < SCHEMA_VERSION:
            with self.transaction():
                for step in STEPS[version:]:
                    for statement in step.split(";\n"):
                        run(statement)
                run(f"PRAGMA user_version = {SCHEMA_VERSION}")

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


_MEND_FOLDER = "its folder must exist and belong to this user"


def _code(error: sqlite3.Error) -> str:
    """SQLite's primary result code, without its prefix."""
    name: str = getattr(error, "sqlite_errorname", "")
    return name.removeprefix("SQLITE_").partition("_")[0]


def _sentence(error: sqlite3.Error) -> str:
    match _code(error):
        case "NOTADB" | "CORRUPT":
            return f"is damaged ({error}); restore it, or move it away to begin with an empty one"
        case "READONLY":
            return "cannot be written; give its folder and files to this user, or name another state folder"
        case "FULL":
            return "cannot grow, because the disk is full; make room"
        case "IOERR":
            return f"cannot be read or written ({error}); see whether its disk is full or failing"
        case "CANTOPEN":
            return f"cannot be opened; {_MEND_FOLDER}"
        case "BUSY":
            return f"has been locked for {BUSY_SECONDS:g} s by another process that hangs; find and stop it"
        case _:
            return f"cannot be used: {error}"
