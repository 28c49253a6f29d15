"""A group's lock in the society's SQLite file: the election of a society on one machine.

The holder writes down each sign of life, by the machine's own monotonic clock, which all its processes share
and no change of the wall clock moves. After a restart of the machine nobody holds anything. Whoever waits
looks again every twentieth of the TTL.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from resilience.beating import Beating
from resilience.election import TTL, ElectionError, Led
from resilience.sqlite_file import SqliteFile, StoreError

T = TypeVar("T")

LOOKS = 20
"""How often whoever waits looks in the time of the TTL."""

LOOK_MOST = 0.2
"""Seconds between two looks at most: what is given back is to be found soon, however long the TTL."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class _Seat:
    candidate: str
    token: str
    beating: Beating


class SqliteLock:
    """`Lock` in a file that the processes of one machine share.

    Args:
        path: the file, which is made if it is not there; its folder must exist.
        ttl: seconds after which a holder that gives no sign of life is dead.
        clock: seconds by the machine's monotonic clock.
        wall: the wall clock, for people to read.
        boot: what tells this run of the machine from others.

    Raises:
        StoreError: the file cannot be opened, is no database of ours, or was written by a newer version.
    """

    def __init__(
        self,
        path: Path,
        *,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = _now,
        boot: str | None = None,
    ) -> None:
        self._ttl, self._clock, self._wall = ttl, clock, wall
        self._boot = _booted() if boot is None else boot
        self._seats: dict[tuple[str, int], _Seat] = {}
        self._is_closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lock")
        try:
            self._file = self._thread.submit(SqliteFile, path).result()
        except BaseException:
            self._thread.shutdown()
            raise

    async def acquire(self, group: str, candidate: str) -> int | None:
        """Try to take the lock at once: the term, or None where somebody else has it."""
        token = uuid.uuid4().hex
        term = await self._do(lambda: self._take(group, candidate, token))
        if term is not None:
            beating = Beating(lambda: self._do(lambda: self._renew(group, token)), self._ttl, self._clock)
            self._seats[group, term] = _Seat(candidate=candidate, token=token, beating=beating)
        return term

    async def wait_free(self, group: str) -> None:
        """Return once the lock may be free."""
        while await self._do(lambda: self._is_held(group)):  # noqa: ASYNC110 - the file tells nobody
            await asyncio.sleep(min(self._ttl / LOOKS, LOOK_MOST))

    def holds(self, group: str, term: int) -> bool:
        """Whether the lock of that term is held for certain, now."""
        seat = self._seats.get((group, term))
        return seat is not None and seat.beating.is_good

    async def wait_lost(self, group: str, term: int) -> None:
        """Return once the lock of that term is not held any more, or nobody can say that it is."""
        seat = self._seats.get((group, term))
        if seat is not None:
            await seat.beating.lost()
            await self._drop(group, term)

    async def release(self, group: str, term: int) -> None:
        """Give up the lock of that term; one that is not held any more is no error."""
        seat = await self._drop(group, term)
        if seat is not None:
            await self._do(lambda: self._file.run(_FREE, (self._clock(), group, seat.token)))

    async def leave(self, group: str, candidate: str) -> None:
        """Stand no more."""
        for (name, term), seat in tuple(self._seats.items()):
            if (name, seat.candidate) == (group, candidate):
                await self.release(group, term)

    async def groups(self) -> Mapping[str, Led | None]:
        """Who leads each group that somebody has led, by its name; None where nobody does now."""
        return await self._do(self._groups)

    async def close(self) -> None:
        """Hold nothing any more, and close the file; safe to call again."""
        for group, term in tuple(self._seats):
            await self.release(group, term)
        if not self._is_closed:
            self._is_closed = True
            await self._do(self._file.close)
            self._thread.shutdown()

    async def _drop(self, group: str, term: int) -> _Seat | None:
        seat = self._seats.pop((group, term), None)
        if seat is not None:
            await seat.beating.stop()
        return seat

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except StoreError as error:
            raise ElectionError(str(error)) from error

    # -- in the thread ---------------------------------------------------------------------------

    def _take(self, group: str, candidate: str, token: str) -> int | None:
        with self._file.transaction():
            if self._is_held(group):
                return None
            now, since = self._clock(), self._wall().isoformat()
            ended = (at for boot, at in self._file.run(_ENDED, (group,)) if boot == self._boot and at <= now)
            failover = next((now - at for at in ended), None)
            row = (group, candidate, token, self._boot, now, self._ttl, since, failover)
            ((term,),) = self._file.run(_TAKE, row)
            return int(term)

    def _renew(self, group: str, token: str) -> bool:
        _row, changed = self._file.write(_BEAT, (self._clock(), group, token))
        return changed == 1

    def _is_held(self, group: str) -> bool:
        return any(self._is_alive(*row) for row in self._file.run(_HOLDER, (group,)))

    def _is_alive(self, token: str, boot: str, beaten_at: float, ttl: float) -> bool:
        # A sign of life in the future is of another run of the machine that could not be told apart.
        return token != "" and boot == self._boot and 0 <= self._clock() - beaten_at < ttl

    def _groups(self) -> Mapping[str, Led | None]:
        return {
            group: Led(leader=holder, term=term, since=datetime.fromisoformat(since), failover=failover)
            if self._is_alive(*alive)
            else None
            for group, holder, term, since, failover, *alive in self._file.run(_GROUPS)
        }


_HOLDER = "SELECT token, boot, beaten_at, ttl FROM leaders WHERE group_name = ?"
_GROUPS = (
    "SELECT group_name, holder, term, since, failover, token, boot, beaten_at, ttl FROM leaders "
    "ORDER BY group_name"
)
_ENDED = "SELECT boot, beaten_at FROM leaders WHERE group_name = ?"
_TAKE = (
    "INSERT INTO leaders (group_name, holder, token, boot, beaten_at, ttl, since, failover, term) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1) "
    "ON CONFLICT (group_name) DO UPDATE SET holder = excluded.holder, token = excluded.token, "
    "boot = excluded.boot, beaten_at = excluded.beaten_at, ttl = excluded.ttl, since = excluded.since, "
    "failover = excluded.failover, term = term + 1 RETURNING term"
)
_BEAT = "UPDATE leaders SET beaten_at = ? WHERE group_name = ? AND token = ?"
_FREE = "UPDATE leaders SET token = '', holder = '', beaten_at = ? WHERE group_name = ? AND token = ?"


def _booted() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
