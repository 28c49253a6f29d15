"""The embedded default of the journal: the society's one SQLite file.

What the tasks of the event loop ask for within one turn, or while the transaction before is being written,
goes into one transaction: fifty commits at once cost little more than one. A transaction that only writes
into the system's cache takes less time than to hand it to a thread and back, and is carried out where it is
asked for. The event loop never waits for the disk or for another process: whatever has to, and all
transactions for a while after one that took long, go to a thread.

What is committed survives ``kill -9`` at any moment. On a failing power supply the last moments may be
missing, together and from the end, unless the journal is asked for ``durable="power"``, which costs one
fsync a transaction. Such a loss breaks the promise only where a peer has learnt what was lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from resilience.batching import Batches
from resilience.dead_letters import LETTERS, DeadLetter
from resilience.inbox import Claim, Hold
from resilience.journal import Depth, Effects, Policy, guard
from resilience.outbox import Outgoing
from resilience.snapshots import Snapshot
from resilience.sqlite_file import SCHEMA_VERSION, SqliteFile, StoreError
from resilience.sqlite_tables import SqliteTables

T = TypeVar("T")

CHECKPOINT = 250
"""Pieces of work, each of some 4 pages of 4 KiB, after which the log is copied into the file, with an fsync
of both, in the thread."""

LOOKED_AT = 1.0
"""Seconds between two looks whether the file is still there."""

LONG, AVOIDED = 0.005, 1.0
"""After a transaction of so many seconds the event loop writes nothing itself for so many."""


class SqliteJournal:
    """`Journal` in one file, for any number of agents, replicas and processes of one machine.

    Args:
        path: the file, which is made if it is not there; its folder must exist.
        policy: the numbers of delivery.
        durable: what a commit survives: the death of the process, or of the power supply as well.
        letters: how many dead letters are kept.
        clock: seconds since the epoch, the same for all processes.

    Raises:
        StoreError: it cannot be opened, is no database of ours, or was written by a newer version.
    """

    survives = True

    def __init__(
        self,
        path: Path,
        policy: Policy | None = None,
        *,
        durable: Literal["process", "power"] = "process",
        letters: int = LETTERS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy or Policy()
        self.path = path
        self._is_closed = False
        self._batches = Batches(self._carry_out)
        self._is_durable = durable == "power"
        self._avoid_until = 0.0
        self._look_at = 0.0
        self._since_checkpoint = 0
        self._begins_anew = False
        """Whether the log does, with the next transaction, which waits for the disk."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        try:
            self._file = self._thread.submit(_open, path, durable).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self._tables = SqliteTables(self._file, self.policy.terms, letters, clock)

    async def claim(self, hold: Hold, digest: str, dead: Sequence[str] = ()) -> Claim:
        """Ask for a message."""
        return await self._ask(lambda: self._tables.claim(hold, digest, dead))

    async def renew(self, hold: Hold) -> bool:
        """Prolong the lease; False: it is not ours any more."""
        return await self._ask(lambda: self._tables.renew(hold))

    async def release(self, hold: Hold) -> None:
        """Give a claim back unhandled; one that is not ours is left alone."""
        await self._ask(lambda: self._tables.release(hold))

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Write everything at once; False: the claim is not ours any more."""
        guard(effects, hold)
        return await self._ask(lambda: self._tables.commit(effects, hold))

    async def outgoing(self, agent: str) -> Sequence[Outgoing]:
        """Return all that stands in the outbox, in the order of being put there."""
        return await self._ask(lambda: self._tables.outgoing(agent), is_long=True)

    async def snapshots(self, agent: str) -> Sequence[Snapshot]:
        """Return all snapshots, ordered by key."""
        return await self._ask(lambda: self._tables.snapshots(agent), is_long=True)

    async def snapshot(self, agent: str, key: str) -> Snapshot | None:
        """Return one snapshot, if it is there."""
        return await self._ask(lambda: self._tables.snapshot(agent, key))

    async def letters(self, agent: str, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest dead letters, newest first."""
        return await self._ask(lambda: self._tables.letters(agent, limit), is_long=True)

    async def letter(self, agent: str, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one dead letter, if it is there."""
        return await self._ask(lambda: self._tables.letter(agent, id))

    async def drop(self, agent: str, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a dead letter; whether it was there."""
        return await self._ask(lambda: self._tables.drop(agent, id))

    async def depth(self, agent: str) -> Depth:
        """Say how much there is."""
        return await self._ask(lambda: self._tables.depth(agent), is_long=True)

    async def check(self) -> None:
        """Return if the file can be written just now: a full disk and lost rights show themselves."""
        await self._ask(lambda: self._file.run(f"PRAGMA user_version = {SCHEMA_VERSION}"))

    async def close(self) -> None:
        """Close the file after what is under way; safe to call again."""
        if not self._is_closed:
            self._is_closed = True
            await self._batches.drained()
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
            self._thread.shutdown()

    async def _ask(self, work: Callable[[], T], *, is_long: bool = False) -> T:
        if self._is_closed:
            raise StoreError(self.path, "has been closed")
        answer: T = await self._batches.ask(Work(work, is_long))
        return answer

    async def _carry_out(self, works: list[Work]) -> list[Any]:
        self._since_checkpoint += len(works)
        begun = time.perf_counter()
        if begun >= self._look_at:
            self._look_at = begun + LOOKED_AT
            try:
                self._file.look()
            except StoreError as error:
                self._look_at = 0.0
                return [error] * len(works)
        if not (
            self._is_durable
            or begun < self._avoid_until
            or self._since_checkpoint >= CHECKPOINT
            or self._begins_anew
            or any(work.is_long for work in works)
        ):
            results = self._write(works)
            if not _is_locked(results):
                if time.perf_counter() - begun > LONG:
                    self._avoid_until = begun + AVOIDED
                return results
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._write_patiently, works)

    def _write_patiently(self, works: list[Work]) -> list[Any]:
        """In the thread: wait for other processes, and for the disk now and then."""
        with self._file.patience():
            results = self._write(works)
        self._begins_anew = False
        if self._since_checkpoint >= CHECKPOINT and not _is_locked(results):
            self._since_checkpoint = 0
            self._begins_anew = True
            with suppress(StoreError):  # the log is as good, and grows until the next time
                self._file.run("PRAGMA wal_checkpoint(PASSIVE)")
        return results

    def _write(self, works: list[Work]) -> list[Any]:
        """Do all in one transaction, or where that fails each in its own.

        Returns:
            The result or the error of each.
        """
        try:
            with self._tables.transaction():
                return [work.do() for work in works]
        except StoreError as error:
            if len(works) == 1 or error.is_locked:
                return [error] * len(works)
        # One that is too large for the disk or for SQLite must not take the others with it.
        return [result for work in works for result in self._write([work])]


@dataclass(frozen=True)
class Work:
    """Something to do in a transaction."""

    do: Callable[[], Any]
    is_long: bool
    """Whether it may take long: it reads all there is."""


def _is_locked(results: Sequence[Any]) -> bool:
    return bool(results) and isinstance(results[0], StoreError) and results[0].is_locked


def _open(path: Path, durable: str) -> SqliteFile:
    file = SqliteFile(path, is_handed_on=True)
    file.run(f"PRAGMA synchronous = {'FULL' if durable == 'power' else 'NORMAL'}")
    file.run("PRAGMA wal_autocheckpoint = 0")
    return file
