"""The journal as rows of the SQLite file: claims, snapshots, the outbox. Plain calls, for one thread.

Each call is part of a transaction that its user has begun, and stands or falls with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from resilience import inbox
from resilience.dead_letters import DeadLetter
from resilience.inbox import Claim, Entry, Hold, InboxKey, Phase, Terms
from resilience.journal import Depth, Effects, Outcome
from resilience.outbox import Outgoing
from resilience.snapshots import Snapshot
from resilience.sqlite_file import Row, SqliteFile
from resilience.sqlite_letters import SqliteLetters

FORGOTTEN_EVERY, FORGOTTEN_AT_ONCE = 10, 50
"""One claim in so many clears so many ids away that are past their retention: more than have come meanwhile,
and never a long pause."""


class SqliteTables:
    """What `resilience.journal.Journal` promises, on rows.

    Args:
        file: the connection.
        terms: on what terms messages are claimed.
        letters: how many dead letters are kept.
        clock: seconds since the epoch, the same for all processes.
    """

    def __init__(self, file: SqliteFile, terms: Terms, letters: int, clock: Callable[[], float]) -> None:
        self._file, self._terms, self._clock = file, terms, clock
        self._letters = SqliteLetters(file, letters)
        self._claimed = 0
        self._held: Hold | None = None
        """A claim that was found ours in this transaction, in which nobody else writes."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done within, or nothing of it."""
        self._held = None
        with self._file.transaction():
            yield

    def claim(self, hold: Hold, digest: str, dead: Sequence[str]) -> Claim:
        """Ask for a message."""
        # The clock is read while nobody else can write: no claim is older than the one before it.
        now = self._clock()
        self._forget(now)
        entry, claim = inbox.claim(None, hold.owner, digest, now, self._terms)
        _number, added = self._file.write(_ADD, _row(hold.key, entry))
        if added:  # it is new, like nearly all
            return claim
        self._held = None
        known = self._find(hold.key)
        entry, claim = inbox.claim(known, hold.owner, digest, now, self._terms, dead)
        if entry is not known:
            self._keep(hold.key, entry)
        return claim

    def renew(self, hold: Hold) -> bool:
        """Prolong the lease; False: it is not ours any more."""
        now = self._clock()
        held = inbox.held(self._find(hold.key), hold.owner, now)
        if held is not None:
            self._keep(hold.key, inbox.renewed(held, now, self._terms))
        return held is not None

    def release(self, hold: Hold) -> None:
        """Give a claim back unhandled; one that is not ours is left alone."""
        self._held = None
        held = inbox.held(self._find(hold.key), hold.owner, self._clock())
        if held is None:
            return
        left = inbox.released(held)
        if left is None:
            self._file.run(_REMOVE, _key(hold.key))
        else:
            self._keep(hold.key, left)

    def commit(self, effects: Effects, hold: Hold | None) -> bool:
        """Write everything; False: the claim is not ours any more."""
        goes_on = effects.outcome is Outcome.WORKING
        if hold is not None and not (goes_on and hold == self._held):
            now, entry = self._clock(), self._find(hold.key)
            if inbox.has_ended(entry, hold.owner, now):
                return True
            held = inbox.held(entry, hold.owner, now)
            if held is None:
                return False
            if goes_on:
                self._held = hold
            else:
                phase = Phase(effects.outcome.value)
                self._keep(hold.key, inbox.ended(held, phase, effects.reply, now, self._terms))
        self._apply(effects)
        return True

    def _apply(self, effects: Effects) -> None:
        agent, run = effects.agent, self._file.run
        for snapshot in effects.put:
            row = (agent, snapshot.key, snapshot.form, snapshot.text)
            run("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", row)
        for key in effects.remove:
            run("DELETE FROM snapshots WHERE agent = ? AND key = ?", (agent, key))
        for sent in effects.send:
            run(
                "INSERT INTO outgoing (agent, id, text) VALUES (?, ?, ?) "
                "ON CONFLICT (agent, id) DO UPDATE SET text = excluded.text",
                (agent, sent.id, sent.to_json()),
            )
        for tried in effects.tried:
            values = (tried.to_json(), agent, tried.id)
            run("UPDATE outgoing SET text = ? WHERE agent = ? AND id = ?", values)
        for settled in effects.settled:
            run("DELETE FROM outgoing WHERE agent = ? AND id = ?", (agent, settled))
        for letter in effects.bury:
            self._letters.add(letter)
        for dropped in effects.drop:
            self.drop(agent, dropped)

    def outgoing(self, agent: str) -> Sequence[Outgoing]:
        """Return all that stands in the outbox, in the order of being put there."""
        query = "SELECT text FROM outgoing WHERE agent = ? ORDER BY number"
        return tuple(Outgoing.from_json(row[0]) for row in self._file.run(query, (agent,)))

    def snapshots(self, agent: str) -> Sequence[Snapshot]:
        """Return all snapshots, ordered by key."""
        query = "SELECT key, form, text FROM snapshots WHERE agent = ? ORDER BY key"
        rows = self._file.run(query, (agent,))
        return tuple(Snapshot(agent=agent, key=row[0], form=row[1], text=row[2]) for row in rows)

    def snapshot(self, agent: str, key: str) -> Snapshot | None:
        """Return one snapshot, if it is there."""
        query = "SELECT form, text FROM snapshots WHERE agent = ? AND key = ?"
        for form, text in self._file.run(query, (agent, key)):
            return Snapshot(agent=agent, key=key, form=form, text=text)
        return None

    def letters(self, agent: str, limit: int) -> Sequence[DeadLetter]:
        """Return the newest dead letters, newest first."""
        return self._letters.list(agent, limit)

    def letter(self, agent: str, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one dead letter, if it is there."""
        found = self._letters.get(id)
        return found if found is not None and found.agent == agent else None

    def drop(self, agent: str, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a dead letter; whether it was there."""
        return self.letter(agent, id) is not None and self._letters.drop(id)

    def depth(self, agent: str) -> Depth:
        """Say how much there is."""

        def count(table: str) -> int:
            query = f"SELECT count(*) FROM {table} WHERE agent = ?"  # noqa: S608 - ours
            return int(self._file.run(query, (agent,))[0][0])

        return Depth(
            outgoing=count("outgoing"),
            snapshots=count("snapshots"),
            letters=self._letters.count(agent),
            oldest_letter=self._letters.oldest(agent),
        )

    def _find(self, key: InboxKey) -> Entry | None:
        for row in self._file.run(_FIND, _key(key)):
            return Entry(
                phase=Phase(row[0]),
                owner=row[1],
                leased_at=row[2],
                lease=row[3],
                attempts=row[4],
                digest=row[5],
                reply=row[6],
                kept_until=row[7],
            )
        return None

    def _keep(self, key: InboxKey, entry: Entry) -> None:
        self._file.run(f"INSERT OR REPLACE {_INBOX}", _row(key, entry))

    def _forget(self, now: float) -> None:
        self._claimed += 1
        if self._claimed % FORGOTTEN_EVERY:
            return
        query = "SELECT receiver, sender, message_id FROM inbox WHERE kept_until <= ? LIMIT ?"
        for row in self._file.run(query, (now, FORGOTTEN_AT_ONCE)):
            self._file.run(_REMOVE, row)


_FIND = (
    "SELECT phase, owner, leased_at, lease, attempts, digest, reply, kept_until FROM inbox "
    "WHERE receiver = ? AND sender = ? AND message_id = ?"
)
_INBOX = "INTO inbox VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD = f"INSERT {_INBOX} ON CONFLICT DO NOTHING"
_REMOVE = "DELETE FROM inbox WHERE receiver = ? AND sender = ? AND message_id = ?"


def _key(key: InboxKey) -> tuple[str, str, str]:
    return key.receiver, key.sender, key.message_id


def _row(key: InboxKey, entry: Entry) -> Row:
    return (
        *_key(key),
        entry.phase.value,
        entry.owner,
        entry.leased_at,
        entry.lease,
        entry.attempts,
        entry.digest,
        entry.reply,
        entry.kept_until,
    )
