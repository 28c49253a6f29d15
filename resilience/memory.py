"""The ports bound to memory: for tests, for users' tests, and for societies that need no memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from resilience.dead_letters import DeadLetter


class MemoryDeadLetters:
    """`DeadLetters` in memory; the oldest make way beyond `limit`."""

    def __init__(self, limit: int = 10_000) -> None:
        self._letters: deque[DeadLetter] = deque(maxlen=limit)

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter."""
        self._letters.append(letter)

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""
        chosen = [letter for letter in reversed(self._letters) if agent in {None, letter.agent}]
        return tuple(chosen[:limit])


class MemoryRecords:
    """`Records` in memory."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, str]] = {}

    def put(self, collection: str, key: str, text: str) -> None:
        """Write or replace a record."""
        self._records.setdefault(collection, {})[key] = text

    def remove(self, collection: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""
        self._records.get(collection, {}).pop(key, None)

    def all(self, collection: str) -> Mapping[str, str]:
        """Return every record of a collection, ordered by key."""
        return dict(sorted(self._records.get(collection, {}).items()))


class MemoryLock:
    """`Lock` within one process: the election of a society that runs in one."""

    def __init__(self) -> None:
        self._terms: dict[str, int] = {}
        self._holders: dict[str, str] = {}
        self._changed = asyncio.Condition()

    async def acquire(self, group: str, candidate: str) -> int | None:
        """Try to take the lock at once: the term, or None where somebody else has it."""
        if group in self._holders:
            return None
        self._terms[group] = self._terms.get(group, 0) + 1
        self._holders[group] = candidate
        return self._terms[group]

    async def wait_free(self, group: str) -> None:
        """Return once the lock may be free."""
        async with self._changed:
            await self._changed.wait_for(lambda: group not in self._holders)

    async def wait_lost(self, group: str, term: int) -> None:
        """Return once the lock of that term is not held any more."""
        async with self._changed:
            await self._changed.wait_for(lambda: group not in self._holders or self._terms[group] != term)

    async def release(self, group: str, term: int) -> None:
        """Give up the lock of that term; one that is not held any more is no error."""
        if self._terms.get(group) == term and self._holders.pop(group, None) is not None:
            async with self._changed:
                self._changed.notify_all()
