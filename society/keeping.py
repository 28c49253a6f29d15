"""What the agents of a society share with other processes: stores, and the lock of elections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from resilience.dead_letters import DeadLetter, DeadLetters
from resilience.election import ElectionError, Lock
from resilience.journal import Effects, Journal
from resilience.memory import MemoryDeadLetters, MemoryJournal, MemoryLock
from resilience.records import Records, RecordsError
from resilience.sqlite_journal import SqliteJournal
from resilience.sqlite_lock import SqliteLock
from resilience.sqlite_store import SqliteStore, StoreError
from society.config import SocietyFile
from society.errors import StartError, StateError
from society.state import StateFolder

_log = logging.getLogger("locution")

POSTED_AT_ONCE = 1_000
"""Dead letters that are on their way to a server; further ones stay in memory."""


def open_store(state: StateFolder) -> SqliteStore:
    """Open the society's database.

    Raises:
        StateError: it cannot be used.
    """
    try:
        return SqliteStore(state.database)
    except StoreError as error:
        raise StateError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What the agents of one process share with others: what they must not lose, and the election."""

    journal: Journal
    letters: DeadLetters
    """Dead letters, as an agent keeps them: at once, and without failing."""
    lock: Lock

    async def close(self) -> None:
        """Let go of it, after the last agent has stopped."""
        if isinstance(self.letters, Posted):
            await self.letters.settled()
        await self.lock.close()
        await self.journal.close()


async def open_keeping(file: SocietyFile, state: StateFolder, store: SqliteStore) -> Keeping:
    """Open what ``[delivery]`` and ``[election]`` name.

    Raises:
        StateError: the database cannot be used.
        StartError: the Redis server cannot be used, or Consul has no such address.
    """
    memory, lock = MemoryDeadLetters(), open_lock(file, state)
    if file.delivery.store == "memory":
        return Keeping(journal=MemoryJournal(file.delivery.policy, memory), letters=memory, lock=lock)
    try:
        journal = await open_journal(file, state)
    except BaseException:
        await lock.close()
        raise
    is_file = file.delivery.store == "sqlite"
    letters = Sheltered(store, memory) if is_file else Posted(journal, memory)
    return Keeping(journal=journal, letters=letters, lock=lock)


def open_lock(file: SocietyFile, state: StateFolder) -> Lock:
    """Open what ``[election]`` names; Consul is not asked for anything yet.

    Raises:
        StateError: the database cannot be used.
        StartError: Consul has no such address.
    """
    table = file.election
    match table.lock:
        case "memory":
            return MemoryLock()
        case "sqlite":
            try:
                return SqliteLock(state.database, ttl=table.ttl)
            except StoreError as error:
                raise StateError(str(error)) from error
        case "consul":
            from resilience.consul_lock import ConsulLock  # noqa: PLC0415 - only who wants it waits for it

            # The keys of several societies may lie in one Consul.
            society = quote(file.society.name, safe="")
            try:
                return ConsulLock(table.url, society=society, ttl=table.ttl)
            except ElectionError as error:
                raise StartError(f"{file.path}: [election] consul: {error}") from error


async def open_journal(file: SocietyFile, state: StateFolder) -> Journal:
    """Open the store of ``[delivery]`` that other processes see as well.

    Raises:
        StateError: the database cannot be used.
        StartError: the Redis server cannot be used, or there is no such store.
    """
    table = file.delivery
    try:
        match table.store:
            case "sqlite":
                return SqliteJournal(state.database, table.policy, durable=table.durable)
            case "redis":
                from resilience.redis_store import RedisJournal  # noqa: PLC0415 - only who wants it waits for it

                # The keys of several societies may lie on one server; a brace would part those of an agent.
                prefix = f"locution:{quote(file.society.name, safe='')}"
                return await RedisJournal.open(table.url, table.policy, prefix=prefix)
            case _:
                raise StartError(
                    f'{file.path}: [delivery] store is "memory": what it keeps, only its own process sees'
                )
    except StoreError as error:
        raise StateError(str(error)) from error
    except RecordsError as error:
        raise StartError(f"{error}, or choose another store in [delivery]") from error


class OwnRecords:
    """The records of one agent: two agents of a kind do not write each other's."""

    def __init__(self, records: Records, agent: str) -> None:
        self._records, self._agent = records, agent

    def put(self, collection: str, key: str, text: str) -> None:
        """Write or replace a record."""
        self._records.put(f"{self._agent}/{collection}", key, text)

    def remove(self, collection: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""
        self._records.remove(f"{self._agent}/{collection}", key)

    def all(self, collection: str) -> Mapping[str, str]:
        """Return every record of a collection, ordered by key."""
        return self._records.all(f"{self._agent}/{collection}")


class Posted:
    """Dead letters that go to the journal in the background, as where that is a server.

    What it cannot take stays in memory, and the log says so; that is also all that can be listed here.

    Args:
        journal: where they go.
        memory: where else.
    """

    def __init__(self, journal: Journal, memory: MemoryDeadLetters) -> None:
        self._journal, self._memory = journal, memory
        self._posting: set[asyncio.Task[None]] = set()

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter, soon."""
        if len(self._posting) >= POSTED_AT_ONCE:
            self._memory.add(letter)
            return
        task = asyncio.get_running_loop().create_task(self._post(letter))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post(self, letter: DeadLetter) -> None:
        try:
            await self._journal.commit(Effects(agent=letter.agent, bury=(letter,)))
        except (RecordsError, ValueError) as error:
            _log.warning("%s: a dead letter is kept in memory only: %s", letter.agent, error)
            self._memory.add(letter)

    async def settled(self) -> None:
        """Return when all that was added is kept."""
        await asyncio.gather(*self._posting)

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters in memory, newest first."""
        return self._memory.list(agent, limit)

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one letter, if it lies in memory."""
        return self._memory.get(id)

    def drop(self, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a letter from memory; whether it was there."""
        return self._memory.drop(id)

    def count(self, agent: str | None = None) -> int:
        """How many letters lie in memory."""
        return self._memory.count(agent)

    def oldest(self, agent: str | None = None) -> datetime | None:
        """When the letter in memory that has lain longest was written."""
        return self._memory.oldest(agent)


class Sheltered:
    """Dead letters that never fail: an agent must not fall because a disk is full.

    What the first store cannot take goes to the second, and the log says so.
    """

    def __init__(self, first: DeadLetters, second: DeadLetters) -> None:
        self._first, self._second = first, second

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter."""
        try:
            self._first.add(letter)
        except StoreError as error:
            _log.warning("%s: a dead letter is kept in memory only: %s", letter.agent, error)
            self._second.add(letter)

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""
        found = [*self._first.list(agent, limit), *self._second.list(agent, limit)]
        return sorted(found, key=lambda letter: letter.when, reverse=True)[:limit]

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one letter, if it is there."""
        return self._first.get(id) or self._second.get(id)

    def drop(self, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a letter; whether it was there."""
        return self._first.drop(id) or self._second.drop(id)

    def count(self, agent: str | None = None) -> int:
        """How many letters are kept."""
        return self._first.count(agent) + self._second.count(agent)

    def oldest(self, agent: str | None = None) -> datetime | None:
        """When the letter that has lain longest was written."""
        both = (self._first.oldest(agent), self._second.oldest(agent))
        return min((each for each in both if each is not None), default=None)
