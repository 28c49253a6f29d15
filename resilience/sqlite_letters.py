"""Dead letters as rows of the SQLite file: what the store of an agent and its journal share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from resilience.dead_letters import DeadLetter
from resilience.sqlite_file import Row, SqliteFile

_COLUMNS = (
    'coalesce(own_id, id), agent, peer, is_inbound, cause, text, original, "when", '
    "conversation_id, protocol, state, attempts, made"
)


class SqliteLetters:
    """`DeadLetters` in a file; within a transaction of its user, or each call in one of its own.

    Args:
        file: the connection.
        limit: how many letters are kept.
    """

    def __init__(self, file: SqliteFile, limit: int) -> None:
        self._file, self._limit = file, limit

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter; the oldest beyond the limit make way."""
        number, added = self._file.write(
            "INSERT INTO dead_letters (own_id, agent, peer, is_inbound, cause, text, original, "
            '"when", conversation_id, protocol, state, attempts, made) '
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (own_id) DO NOTHING",
            (
                letter.id or None,
                letter.agent,
                letter.peer,
                letter.is_inbound,
                letter.cause,
                _utf8(letter.text),
                _utf8(letter.original),
                letter.when.isoformat(),
                letter.conversation_id,
                letter.protocol,
                letter.state,
                letter.attempts,
                letter.made and letter.made.isoformat(),
            ),
        )
        if added:
            self._file.write("DELETE FROM dead_letters WHERE id <= ?", (number - self._limit,))

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""
        query = (
            f"SELECT {_COLUMNS} FROM dead_letters "  # noqa: S608 - a constant
            "WHERE ?1 IS NULL OR agent = ?1 ORDER BY id DESC LIMIT ?2"
        )
        return tuple(map(_letter, self._file.run(query, (agent, limit))))

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one letter, if it is there."""
        query = f"SELECT {_COLUMNS} FROM dead_letters WHERE {_IS}"  # noqa: S608 - constants
        return next(map(_letter, self._file.run(query, (id,))), None)

    def drop(self, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a letter; whether it was there."""
        _row, dropped = self._file.write(f"DELETE FROM dead_letters WHERE {_IS}", (id,))  # noqa: S608 - likewise
        return dropped > 0

    def count(self, agent: str | None = None) -> int:
        """How many letters are kept."""
        query = "SELECT count(*) FROM dead_letters WHERE ?1 IS NULL OR agent = ?1"
        return int(self._file.run(query, (agent,))[0][0])

    def oldest(self, agent: str | None = None) -> datetime | None:
        """When the letter that has lain longest was written."""
        query = 'SELECT "when" FROM dead_letters WHERE ?1 IS NULL OR agent = ?1 ORDER BY id LIMIT 1'
        return next((datetime.fromisoformat(row[0]) for row in self._file.run(query, (agent,))), None)


_IS = "own_id = ?1 OR (own_id IS NULL AND id = CAST(?1 AS INTEGER) AND CAST(id AS TEXT) = ?1)"
"""The first comparison of the numbers finds the row, the second one refuses what merely begins with one."""


def _letter(row: Row) -> DeadLetter:
    return DeadLetter(
        id=str(row[0]),
        agent=row[1],
        peer=row[2],
        is_inbound=bool(row[3]),
        cause=row[4],
        text=row[5],
        original=row[6],
        when=datetime.fromisoformat(row[7]),
        conversation_id=row[8],
        protocol=row[9],
        state=row[10],
        attempts=row[11],
        made=row[12] and datetime.fromisoformat(row[12]),
    )


def _utf8(text: str) -> str:
    """Half of a surrogate pair has no UTF-8; a letter is kept all the same."""
    return text.encode(errors="backslashreplace").decode()
