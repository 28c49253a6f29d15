"""A group's lock in Consul.

Keys of the store::

    PREFIX/SOCIETY/GROUP/leader    held by the session of the leader; its value says who leads, or led last

Each candidate is a service of that name with a health check of its own, which it must confirm within the
TTL (`election.TTL`); its session hangs on that check and on the node's, with a lock-delay of 1 ms. So a
death, a frozen process and a lost network end the session alike, and the others, who wait for the key by a
blocking query, hear of it. The term is the key's ModifyIndex read right after it was acquired: it only
grows, and unlike LockIndex no plain write sets it back.

A holder reads its key, as agreed by a majority of the servers, with each sign of life: a candidate beside a
server that is cut off from the others does not lead.

An operator may end a session or delete the key while its holder lives. Whoever takes the lock then leads only
after the time in which that one must have noticed.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from resilience.beating import Beating
from resilience.consul_client import (
    ANSWER,
    PREFIX,
    URL,
    ConsulClient,
    UnknownError,
    dns_name,
)
from resilience.election import STEP_DOWN, TTL, ElectionError, Led

WAIT = 5.0
"""Seconds of one blocking query."""

POLL = 0.05
"""Seconds between two attempts at a free key: nothing tells when a lock-delay ends."""

INSISTS = 60.0
"""Seconds in which one that has lost the lock tells Consul so, again and again where that does not answer."""

_EXPIRED = "TTL expired"
"""What Consul puts before the last note of a check that was not confirmed in time."""


def since_boot() -> float:
    """Seconds that no wall clock moves and that pass while the machine sleeps: others do not sleep then."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(kw_only=True)
class _Seat:
    """One candidate's standing."""

    service: str
    session: str
    beating: Beating | None = None
    term: int | None = None
    told: dict[str, object] = field(default_factory=dict)
    """What the key says of our term."""


@dataclass(frozen=True, kw_only=True)
class _Former:
    """The leadership before ours."""

    knows: bool
    """Whether whoever led knows that it does so no more."""
    seen: datetime | None = None
    """Its last sign of life, or when it gave up the lock."""


class ConsulLock:
    """`Lock` in Consul.

    Args:
        url: where an agent of Consul is, ``http`` or ``https``.
        token: an ACL token; see `ConsulClient`.
        society: what tells this society's groups from those of others on the same Consul.
        ttl: seconds after which a candidate that gives no sign of life is dead.
        clock: seconds that no wall clock moves.
        wall: the wall clock, for people to read.

    Raises:
        ElectionError: the address cannot be one.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        token: str | None = None,
        society: str = "localhost",
        ttl: float = TTL,
        clock: Callable[[], float] = since_boot,
        wall: Callable[[], datetime] = _now,
    ) -> None:
        self._client = ConsulClient(url, token)
        self._society, self._ttl, self._clock, self._wall = society, ttl, clock, wall
        self._seats: dict[tuple[str, str], _Seat] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def acquire(self, group: str, candidate: str) -> int | None:
        """Try to take the lock at once: the term, or None where somebody else has it."""
        seat = self._seats.get((group, candidate)) or await self._sit(group, candidate)
        key = self._key(group)
        try:
            former = await self._former(group, seat)
            seat.told = self._told(group, candidate, seat, former)
            value = json.dumps(seat.told)
            is_taken = await self._client.ask(lambda consul: consul.kv.put(key, value, acquire=seat.session))
            entry = await self._read(group)
        except ElectionError:
            await self._leave_later(group, candidate)  # its session may be gone
            raise
        if is_taken and entry is not None and entry.get("Session") == seat.session:
            seat.term = int(entry["ModifyIndex"])
            if not former.knows:
                await asyncio.sleep(STEP_DOWN * self._ttl)
            if seat.beating and seat.beating.is_good:
                return seat.term
        if not (seat.beating and seat.beating.is_good):
            await self.leave(group, candidate)
        if entry is None or not entry.get("Session"):
            await asyncio.sleep(POLL)
        else:
            await self._look_at(group, entry)
        return None

    async def wait_free(self, group: str) -> None:
        """Return once the lock may be free."""
        key, index = self._key(group), None
        while True:
            now = index

            def read(consul: Any, now: str | None = now) -> Awaitable[Any]:
                query: Awaitable[Any] = consul.kv.get(key, index=now, wait=f"{WAIT:.0f}s")
                return query

            index, entry = await self._client.ask(read, WAIT + ANSWER)
            if entry is None or not entry.get("Session"):
                return
            await self._look_at(group, entry)

    def holds(self, group: str, term: int) -> bool:
        """Whether the lock of that term is held for certain, now."""
        seat = self._of_term(group, term)
        return seat is not None and seat.beating is not None and seat.beating.is_good

    async def wait_lost(self, group: str, term: int) -> None:
        """Return once the lock of that term is not held any more, or nobody can say that it is."""
        for (name, candidate), seat in tuple(self._seats.items()):
            if name == group and seat.term == term and seat.beating is not None:
                await seat.beating.lost()
                if self._seats.get((group, candidate)) is seat:
                    await self._leave_later(group, candidate)

    async def release(self, group: str, term: int) -> None:
        """Give up the lock of that term; one that is not held any more is no error."""
        seat = self._of_term(group, term)
        if seat is not None:
            seat.term = None
            await self._give_back(group, seat)

    async def leave(self, group: str, candidate: str) -> None:
        """Stand no more; what cannot be taken back now lapses by itself."""
        seat = await self._stand_up(group, candidate)
        if seat is not None:
            with suppress(ElectionError):
                await self._take_leave(group, seat)

    async def _leave_later(self, group: str, candidate: str) -> None:
        """Stand no more; Consul, which may not answer for long, is told in the background.

        It is told again and again. Where the server is frozen that led the servers, its agent may take half a
        minute to tell the others itself that the check has failed.
        """
        seat = await self._stand_up(group, candidate)
        if seat is not None:
            leaving = asyncio.get_running_loop().create_task(self._take_leave_at_last(group, seat))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def _take_leave_at_last(self, group: str, seat: _Seat) -> None:
        end = self._clock() + INSISTS
        while self._clock() < end:
            try:
                await self._take_leave(group, seat)
            except ElectionError:
                await asyncio.sleep(POLL)
            else:
                return

    async def _stand_up(self, group: str, candidate: str) -> _Seat | None:
        """Give no sign of life any more."""
        seat = self._seats.pop((group, candidate), None)
        if seat is not None and seat.beating is not None:
            await seat.beating.stop()
        return seat

    async def _take_leave(self, group: str, seat: _Seat) -> None:
        """Take back all that Consul has of a candidate.

        Raises:
            ElectionError: not all of it could be taken back.
        """
        if seat.term is not None:
            await self._give_back(group, seat, self._ttl)
        if seat.session:
            await self._client.ask(lambda consul: consul.session.destroy(seat.session), self._ttl)
        await self._client.withdraw(seat.service, self._ttl)

    async def groups(self) -> Mapping[str, Led | None]:
        """Who leads each group that somebody has led, by its name; None where nobody does now."""
        start, end = f"{PREFIX}/{self._society}/", "/leader"
        _index, entries = await self._client.ask(lambda consul: consul.kv.get(start, recurse=True))
        keys = {entry["Key"]: entry for entry in entries or () if entry["Key"].endswith(end)}
        named = {unquote(key.removeprefix(start).removesuffix(end)): each for key, each in keys.items()}
        return {name: _led(named[name]) for name in sorted(named)}

    async def close(self) -> None:
        """Stand nowhere any more, and close the connections; safe to call again."""
        for group, candidate in tuple(self._seats):
            await self.leave(group, candidate)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=self._ttl)
        for each in tuple(self._leaving):
            each.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._client.close()

    def _key(self, group: str) -> str:
        return f"{PREFIX}/{self._society}/{_quoted(group)}/leader"

    def _of_term(self, group: str, term: int) -> _Seat | None:
        seats = (seat for (name, _), seat in self._seats.items() if name == group)
        return next((seat for seat in seats if seat.term == term), None)

    async def _sit(self, group: str, candidate: str) -> _Seat:
        """Become a candidate: a service with a check, and a session that hangs on it."""
        # A name of its own for each life: the check of a dead one must not be confirmed by the next.
        service = f"{_quoted(group)}-{candidate}-{uuid.uuid4().hex[:8]}"
        meta = {"society": self._society, "group": group, "jid": candidate}
        await self._client.enter(service, _service_of(group), ttl=self._ttl, meta=meta)
        seat = _Seat(service=service, session="")
        # From here on it lives by its signs of life: to open a session may take longer than the TTL.
        seat.beating = Beating(lambda: self._beat(group, seat), self._ttl, self._clock)
        self._seats[group, candidate] = seat
        try:
            seat.session = await self._open(self._session_name(group, candidate), service)
        except BaseException:
            await self.leave(group, candidate)
            raise
        return seat

    def _session_name(self, group: str, candidate: str) -> str:
        return f"{PREFIX} {self._society} {group} {candidate}"

    async def _open(self, name: str, service: str) -> str:
        deadline = self._clock() + ANSWER
        while True:
            try:
                return await self._client.open_session(name, service)
            except ElectionError:
                # A check is known to the servers a moment after it was registered.
                if self._clock() > deadline:
                    raise
                await asyncio.sleep(POLL)

    async def _beat(self, group: str, seat: _Seat) -> bool:
        try:
            # Should it be the last one, Consul keeps the note: whoever follows reads it (`_former`).
            await self._client.confirm(seat.service, self._wall().isoformat(), self._ttl)
        except UnknownError:
            return False
        if seat.term is None:
            return True
        entry = await self._read(group)
        return entry is not None and entry.get("Session") == seat.session

    async def _read(self, group: str) -> Mapping[str, Any] | None:
        key = self._key(group)
        _index, entry = await self._client.ask(
            lambda consul: consul.kv.get(key, consistency="consistent"), self._ttl
        )
        found: Mapping[str, Any] | None = entry
        return found

    async def _give_back(self, group: str, seat: _Seat, within: float = ANSWER) -> None:
        value = json.dumps({**seat.told, "released": self._wall().isoformat()})
        key, session = self._key(group), seat.session
        await self._client.ask(lambda consul: consul.kv.put(key, value, release=session), within)

    def _told(self, group: str, candidate: str, seat: _Seat, former: _Former) -> dict[str, object]:
        now = self._wall()
        failover = None if former.seen is None else max(0.0, (now - former.seen).total_seconds())
        return {
            "locution": 1,
            "group": group,
            "leader": candidate,
            "service": seat.service,
            "since": now.isoformat(),
            "failover": failover,
        }

    async def _former(self, group: str, seat: _Seat) -> _Former:
        """Find out about the leadership before ours: when it ended, and whether whoever led knows."""
        entry, name = await self._read(group), _service_of(group)
        if entry is None:  # nobody has ever led, or somebody has deleted the key
            _index, found = await self._client.ask(lambda consul: consul.health.service(name, passing=True))
            metas = (each["Service"]["Meta"] for each in found if each["Service"]["ID"] != seat.service)
            ours = {"society": self._society, "group": group}
            return _Former(knows=not any(ours.items() <= (meta or {}).items() for meta in metas))
        told = _read_value(entry)
        with suppress(ValueError, TypeError, KeyError):
            return _Former(knows=True, seen=datetime.fromisoformat(told["released"]))
        check = f"service:{told.get('service')}"
        _index, found = await self._client.ask(lambda consul: consul.health.checks(name))
        note = next((each["Output"] for each in found if each["CheckID"] == check), "")
        if not note.startswith(_EXPIRED):
            return _Former(knows=False)
        with suppress(ValueError):
            return _Former(knows=True, seen=datetime.fromisoformat(note.rpartition(" ")[2]))
        return _Former(knows=True)

    async def _look_at(self, group: str, entry: Mapping[str, Any]) -> None:
        """Whoever holds the key must be one of us.

        Raises:
            ElectionError: it is a stranger.
        """
        if _read_value(entry).get("locution") == 1:
            return
        session = entry["Session"]
        _index, found = await self._client.ask(lambda consul: consul.session.info(session))
        found = found or {"Name": "", "Node": "unknown"}
        if found["Name"].startswith(self._session_name(group, "")):
            return  # somebody has only overwritten what one of us wrote there
        whose = f"{found['Name']!r} of the node {found['Node']}"
        raise ElectionError(
            f"the key {self._key(group)} in Consul is held by a session that is none of ours, {session} "
            f"({whose}): nobody leads until it is released; find out whose it is, or take another name for "
            "the group"
        )


def _quoted(group: str) -> str:
    """A group as one part of a path, whatever characters it has."""
    name = quote(group, safe="")
    return name if name.strip(".") else name.replace(".", "%2E")


def _service_of(group: str) -> str:
    return dns_name(group) or "group"


def _read_value(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a key says; nothing where it is none of ours."""
    try:
        told = json.loads(entry["Value"] or b"")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _led(entry: Mapping[str, Any]) -> Led | None:
    """Who holds a key; None where nobody does, or a stranger."""
    told = _read_value(entry)
    if not entry.get("Session"):
        return None
    try:
        since, failover = datetime.fromisoformat(told["since"]), told.get("failover")
        return Led(
            leader=str(told["leader"]),
            term=int(entry["ModifyIndex"]),
            since=since,
            failover=None if failover is None else float(failover),
        )
    except (ValueError, TypeError, KeyError):
        return None
