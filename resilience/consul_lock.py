"""A group's lock in Consul: the only `import consul`.

Keys of the store::

    PREFIX/SOCIETY/GROUP/leader    held by the session of the leader; its value says who that is

Each candidate is a service of that name with a health check of its own, which it must confirm within the
TTL (`election.TTL`); its session hangs on that check and on the node's, with a lock-delay of 1 ms. So a
death, a frozen process and a lost network end the session alike, and the others, who wait for the key by a
blocking query, hear of it. The term is the key's ModifyIndex read right after it was acquired: it only
grows, and unlike LockIndex no plain write sets it back.

A holder reads its key, as agreed by a majority of the servers, with each sign of life: a candidate beside a
server that is cut off from the others does not lead.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from consul import ACLDisabled, ACLPermissionDenied, ConsulException
from consul.aio import Consul
from consul.callback import CB

from resilience.beating import Beating
from resilience.election import TTL, ElectionError, Led

T = TypeVar("T")

URL = "http://127.0.0.1:8500"
"""Where an agent of Consul is unless somebody says otherwise."""

PREFIX = "locution"

WAIT = 5.0
"""Seconds of one blocking query."""

ANSWER = 2.0
"""Seconds in which anything else is answered, and a blocking query after its time."""

POLL = 0.05
"""Seconds between two attempts at a free key: nothing tells when a lock-delay ends."""

_FORGOTTEN_AFTER = "1m"
"""How long a candidate that has died stands in the catalogue as failing. Consul allows no less."""

_NO_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(kw_only=True)
class _Seat:
    """One candidate's standing."""

    service: str
    session: str
    beating: Beating | None = None
    term: int | None = None


class ConsulLock:
    """`Lock` in Consul.

    Args:
        url: where an agent of Consul is, ``http`` or ``https``.
        token: an ACL token that may write keys below `PREFIX`, sessions, and services; CONSUL_HTTP_TOKEN
            stands above it.
        society: what tells this society's groups from those of others on the same Consul.
        ttl: seconds after which a candidate that gives no sign of life is dead.
        clock: seconds that no wall clock moves.

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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._token, self._society, self._ttl, self._clock = url, token, society, ttl, clock
        self._address = _address(url)
        self._client: Consul | None = None
        self._seats: dict[tuple[str, str], _Seat] = {}

    async def acquire(self, group: str, candidate: str) -> int | None:
        """Try to take the lock at once: the term, or None where somebody else has it."""
        seat = self._seats.get((group, candidate)) or await self._sit(group, candidate)
        told = {"locution": 1, "group": group, "leader": candidate, "since": datetime.now(UTC).isoformat()}
        key, value = self._key(group), json.dumps(told)
        try:
            is_taken = await self._ask(lambda consul: consul.kv.put(key, value, acquire=seat.session))
            entry = await self._read(group)
        except ElectionError:
            await self.leave(group, candidate)  # its session may be gone
            raise
        if is_taken and entry is not None and entry.get("Session") == seat.session:
            seat.term = int(entry["ModifyIndex"])
            return seat.term
        if not (seat.beating and seat.beating.is_good):
            await self.leave(group, candidate)
        if entry is None or not entry.get("Session"):
            await asyncio.sleep(POLL)
        return None

    async def wait_free(self, group: str) -> None:
        """Return once the lock may be free."""
        key, index = self._key(group), None
        while True:
            now = index

            def read(consul: Consul, now: str | None = now) -> Awaitable[Any]:
                query: Awaitable[Any] = consul.kv.get(key, index=now, wait=f"{WAIT:.0f}s")
                return query

            index, entry = await self._ask(read, WAIT + ANSWER)
            if entry is None or not entry.get("Session"):
                return
            self._look_at(key, entry)

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
                    await self.leave(group, candidate)

    async def release(self, group: str, term: int) -> None:
        """Give up the lock of that term; one that is not held any more is no error."""
        seat = self._of_term(group, term)
        if seat is not None:
            session, seat.term = seat.session, None
            await self._ask(lambda consul: consul.kv.put(self._key(group), "", release=session))

    async def leave(self, group: str, candidate: str) -> None:
        """Stand no more; what cannot be taken back now lapses by itself."""
        seat = self._seats.pop((group, candidate), None)
        if seat is None:
            return
        if seat.beating is not None:
            await seat.beating.stop()
        with suppress(ElectionError):
            if seat.term is not None:
                await self._ask(
                    lambda consul: consul.kv.put(self._key(group), "", release=seat.session), self._ttl
                )
            await self._ask(lambda consul: consul.session.destroy(seat.session), self._ttl)
            await self._ask(lambda consul: consul.agent.service.deregister(seat.service), self._ttl)

    async def groups(self) -> Mapping[str, Led | None]:
        """Who leads each group that somebody has led, by its name; None where nobody does now."""
        start, end = self._key("").removesuffix("/leader"), "/leader"
        _index, entries = await self._ask(lambda consul: consul.kv.get(start, recurse=True))
        keys = {entry["Key"]: entry for entry in entries or () if entry["Key"].endswith(end)}
        return {key.removeprefix(start).removesuffix(end): _led(keys[key]) for key in sorted(keys)}

    async def close(self) -> None:
        """Stand nowhere any more, and close the connections; safe to call again."""
        for group, candidate in tuple(self._seats):
            await self.leave(group, candidate)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _key(self, group: str) -> str:
        return f"{PREFIX}/{self._society}/{group}/leader"

    def _of_term(self, group: str, term: int) -> _Seat | None:
        seats = (seat for (name, _), seat in self._seats.items() if name == group)
        return next((seat for seat in seats if seat.term == term), None)

    async def _sit(self, group: str, candidate: str) -> _Seat:
        """Become a candidate: a service with a check, and a session that hangs on it."""
        # A name of its own for each life: the check of a dead one must not be confirmed by the next.
        service = f"{group}-{candidate}-{uuid.uuid4().hex[:8]}"
        check = {
            "TTL": f"{self._ttl:g}s",
            "Status": "passing",
            "DeregisterCriticalServiceAfter": _FORGOTTEN_AFTER,
        }
        meta = {"society": self._society, "group": group, "jid": candidate}
        name = _NO_NAME.sub("-", group.lower()).strip("-") or "group"
        await self._ask(
            lambda consul: consul.agent.service.register(name, service_id=service, check=check, meta=meta)
        )
        seat = _Seat(service=service, session="")
        # From here on it lives by its signs of life: to open a session may take longer than the TTL.
        seat.beating = Beating(lambda: self._beat(group, seat), self._ttl, self._clock)
        self._seats[group, candidate] = seat
        try:
            seat.session = await self._open(f"{PREFIX} {self._society} {group} {candidate}", service)
        except BaseException:
            await self.leave(group, candidate)
            raise
        return seat

    async def _open(self, name: str, service: str) -> str:
        """Open a session. The client's own call knows neither checks of services nor delays below 1 s."""
        told = json.dumps(
            {
                "Name": name,
                "LockDelay": "1ms",
                "Behavior": "release",
                "NodeChecks": ["serfHealth"],
                "ServiceChecks": [{"ID": f"service:{service}"}],
            }
        )

        def create(consul: Consul) -> Awaitable[str]:
            headers = consul.prepare_headers()
            made: Awaitable[str] = consul.http.put(
                CB.json(is_id=True), "/v1/session/create", headers=headers, data=told
            )
            return made

        deadline = self._clock() + ANSWER
        while True:
            try:
                return await self._ask(create)
            except ElectionError:
                # A check is known to the servers a moment after it was registered.
                if self._clock() > deadline:
                    raise
                await asyncio.sleep(POLL)

    async def _beat(self, group: str, seat: _Seat) -> bool:
        try:
            await self._ask(lambda consul: consul.agent.check.ttl_pass(f"service:{seat.service}"), self._ttl)
        except _UnknownError:
            return False
        if seat.term is None:
            return True
        entry = await self._read(group)
        return entry is not None and entry.get("Session") == seat.session

    async def _read(self, group: str) -> Mapping[str, Any] | None:
        key = self._key(group)
        _index, entry = await self._ask(
            lambda consul: consul.kv.get(key, consistency="consistent"), self._ttl
        )
        found: Mapping[str, Any] | None = entry
        return found

    def _look_at(self, key: str, entry: Mapping[str, Any]) -> None:
        """Whoever holds the key must be one of us.

        Raises:
            ElectionError: it is a stranger.
        """
        try:
            is_ours = json.loads(entry["Value"] or b"").get("locution") == 1
        except (ValueError, AttributeError):
            is_ours = False
        if not is_ours:
            raise ElectionError(
                f"the key {key} in Consul is held by a session that is none of ours, {entry['Session']}: "
                "nobody leads until it is released; find out whose it is, or take another name for the group"
            )

    async def _ask(self, call: Callable[[Consul], Awaitable[T]], within: float = ANSWER) -> T:
        try:
            async with asyncio.timeout(within):
                return await call(self._connected())
        except (ACLDisabled, ACLPermissionDenied) as error:
            raise ElectionError(
                f"Consul at {self._url} does not allow it ({_first_line(error)}); give a token that may "
                f"write keys below {PREFIX}/, sessions and services"
            ) from error
        except ConsulException as error:
            text = _first_line(error)
            kind = _UnknownError if "CheckID" in text or "unknown check" in text.lower() else ElectionError
            raise kind(f"Consul at {self._url} cannot say who leads: {text}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # OSError: TimeoutError among them
            why = _first_line(error) or f"no answer within {within:g} s"
            raise ElectionError(
                f"Consul does not answer at {self._url} ({why}); start it, or correct its address"
            ) from error

    def _connected(self) -> Consul:
        if self._client is None:
            host, port, scheme = self._address
            with warnings.catch_warnings():
                # py-consul 1.8.0 makes its connections as older versions of aiohttp wanted them made.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._client = Consul(host, port, self._token, scheme)
        return self._client


def _led(entry: Mapping[str, Any]) -> Led | None:
    """Who holds a key; None where nobody does, or a stranger."""
    try:
        told = json.loads(entry["Value"] or b"")
        since = datetime.fromisoformat(told["since"])
        return Led(leader=str(told["leader"]), term=int(entry["ModifyIndex"]), since=since)
    except (ValueError, TypeError, KeyError):
        return None


class _UnknownError(ElectionError):
    """Consul does not know our check any more."""


def _address(url: str) -> tuple[str, int, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in {"http", "https"} or parts.path.strip("/"):
        raise ElectionError(f"{url[:80]!r} is no address of a Consul agent; write e.g. {URL}")
    return host, port or (8501 if parts.scheme == "https" else 8500), parts.scheme


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
