"""The lock that decides elections: one body of tests for memory, SQLite and Consul."""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from resilience.consul_lock import ConsulLock
from resilience.election import ElectionError, Led, Lock
from resilience.memory import MemoryLock
from resilience.sqlite_lock import SqliteLock
from tests.resilience.consul_server import ConsulServer

TTL = 0.6

Make = Callable[[], Lock]


CONSUL = pytest.param("consul", marks=[pytest.mark.consul, pytest.mark.xdist_group("consul")])


async def making(kind: str, request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Make]:
    """Make the lock as another process would have it; in memory there is one for all."""
    made: list[SqliteLock | ConsulLock] = []
    memory, society = MemoryLock(), uuid.uuid4().hex
    url = request.getfixturevalue("consul").url if kind == "consul" else ""

    def another() -> Lock:
        if kind == "memory":
            return memory
        made.append(ConsulLock(url, society=society, ttl=TTL) if url else SqliteLock(path, ttl=TTL))
        return made[-1]

    yield another
    for each in made:
        await each.close()


@pytest.fixture(params=["memory", "sqlite", CONSUL])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Make a lock of each kind."""
    async for each in making(request.param, request, tmp_path / "a.sqlite"):
        yield each


@pytest.fixture(params=["sqlite", CONSUL])
async def lasting(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Make a lock that outlives the death of a process; one in memory ends with it."""
    async for each in making(request.param, request, tmp_path / "a.sqlite"):
        yield each


async def taken(lock: Lock, candidate: str = "a@here", group: str = "g") -> int:
    """Take the lock, as soon as it is to be had; the term."""
    async with asyncio.timeout(10):
        while True:
            await lock.wait_free(group)
            term = await lock.acquire(group, candidate)
            if term is not None:
                return term


async def test_one_holds_it_and_the_others_do_not(make: Make) -> None:
    first, second = make(), make()
    term = await taken(first)
    assert first.holds("g", term)
    assert await second.acquire("g", "b@here") is None
    assert not second.holds("g", term + 1)
    assert not first.holds("g", term + 1)
    assert not first.holds("other", term)


async def test_each_term_is_above_the_one_before(make: Make) -> None:
    locks, terms = [make(), make()], []
    for each in range(6):
        lock = locks[each % 2]
        terms.append(await taken(lock, f"{each % 2}@here"))
        await lock.release("g", terms[-1])
        assert not lock.holds("g", terms[-1])
    assert terms == sorted(set(terms))


async def test_whoever_waits_hears_of_a_release_at_once(make: Make) -> None:
    first, second = make(), make()
    term = await taken(first)
    waiting = asyncio.create_task(second.wait_free("g"))
    await asyncio.sleep(TTL / 2)
    assert not waiting.done()
    begun = time.monotonic()
    await first.release("g", term)
    await asyncio.wait_for(waiting, 5)
    assert time.monotonic() - begun < TTL, "and not when the lease has run out"


async def test_who_stands_no_more_holds_nothing(make: Make) -> None:
    first, second = make(), make()
    term = await taken(first)
    lost = asyncio.create_task(first.wait_lost("g", term))
    await first.leave("g", "a@here")
    await asyncio.wait_for(lost, 5)
    assert not first.holds("g", term)
    assert await taken(second, "b@here") > term
    await first.leave("g", "a@here")


async def test_a_lock_of_the_past_is_no_error(make: Make) -> None:
    first = make()
    term = await taken(first)
    await first.release("g", term)
    await first.release("g", term)
    await asyncio.wait_for(first.wait_lost("g", term), 5)
    again = await taken(first)
    await first.release("g", term)
    assert first.holds("g", again)


async def test_groups_are_apart(make: Make) -> None:
    lock = make()
    one, other = await taken(lock, group="one"), await taken(lock, group="other")
    assert lock.holds("one", one)
    assert lock.holds("other", other)


async def test_it_is_held_as_long_as_the_holder_lives(make: Make) -> None:
    first, second = make(), make()
    term = await taken(first)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.wait_free("g"), 3 * TTL)
    assert first.holds("g", term)


async def test_of_many_that_reach_for_it_one_has_it(make: Make) -> None:
    locks = [make() for _each in range(5)]
    terms = await asyncio.gather(*(lock.acquire("g", f"{n}@here") for n, lock in enumerate(locks)))
    assert len([each for each in terms if each is not None]) == 1


async def test_who_leads_is_told(make: Make) -> None:
    first, second = make(), make()
    assert await second.groups() == {}
    before = datetime.now(UTC)
    term = await taken(first, "a@here", "one")
    gone = await taken(first, "a@here", "two")
    await first.release("two", gone)
    told = await second.groups()
    assert list(told) == ["one", "two"]
    assert told["two"] is None
    led = told["one"]
    assert led is not None
    assert (led.leader, led.term) == ("a@here", term)
    assert before <= led.since <= datetime.now(UTC)
    assert led.failover is None, "there was nobody before"


async def led(lock: Lock, group: str = "g") -> Led:
    """Who leads, which somebody does."""
    found = (await lock.groups())[group]
    assert found is not None
    return found


async def test_how_long_nobody_led_is_told_after_a_release(make: Make) -> None:
    first, second = make(), make()
    term = await taken(first)
    await first.release("g", term)
    released = time.monotonic()
    await asyncio.sleep(0.2)  # it is what is told
    await taken(second, "b@here")
    most = time.monotonic() - released + 0.2
    failover = (await led(first)).failover
    assert failover is not None
    assert 0.2 <= failover < most
    await second.leave("g", "b@here")
    await taken(first)
    assert ((await led(second)).failover or 0.0) < 0.2, "the last one is told"


# -- what memory has not: death --------------------------------------------------------------------


def die(lock: Lock) -> None:
    """Give no sign of life any more, as a frozen process."""
    assert isinstance(lock, SqliteLock | ConsulLock)
    for seat in lock._seats.values():
        assert seat.beating is not None
        seat.beating._task.cancel()


async def test_after_a_death_it_is_free_when_the_time_has_run_out(lasting: Make) -> None:
    first, second = lasting(), lasting()
    term = await taken(first)
    waiting = asyncio.create_task(taken(second, "b@here"))
    begun = time.monotonic()
    die(first)
    following = await asyncio.wait_for(waiting, 5)
    assert following > term
    taking = time.monotonic() - begun
    assert 0.5 * TTL < taking < 3 * TTL
    failover = (await led(second)).failover
    assert failover is not None
    assert taking - 0.1 < failover < taking + TTL / 4 + 0.3, "from the last sign of life on"


async def test_the_dead_lead_no_more(lasting: Make) -> None:
    first, second = lasting(), lasting()
    term = await taken(first)
    die(first)
    await asyncio.wait_for(second.wait_free("g"), 5)
    assert await second.groups() == {"g": None}
    await first.wait_lost("g", term)


async def test_who_gives_no_sign_of_life_knows_it_before_anybody_else(lasting: Make) -> None:
    first, second = lasting(), lasting()
    term = await taken(first)
    waiting = asyncio.create_task(taken(second, "b@here"))
    die(first)
    await asyncio.wait_for(first.wait_lost("g", term), 5)
    assert not waiting.done()
    assert not first.holds("g", term)
    await asyncio.wait_for(waiting, 5)


async def test_who_was_frozen_holds_nothing_from_its_first_moment_on(lasting: Make) -> None:
    first = lasting()
    term = await taken(first)
    time.sleep(TTL)  # noqa: ASYNC251 - it is what is tested: the event loop stands still
    assert not first.holds("g", term)


# -- SQLite ----------------------------------------------------------------------------------------


async def test_a_restart_of_the_machine_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    before = SqliteLock(path, boot="before", ttl=3600, clock=lambda: 1000.0)
    term = await taken(before)
    after = SqliteLock(path, boot="after", ttl=3600, clock=lambda: 5.0)
    assert await taken(after, "b@here") == term + 1
    unknown = SqliteLock(path, boot="after", ttl=3600, clock=lambda: 4.0)
    assert (await led(after)).failover is None, "clocks of two runs of the machine tell nothing"
    assert await taken(unknown, "c@here") == term + 2, "a sign of life of the future is none"
    for each in (before, after, unknown):
        await each.close()


async def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    lock = SqliteLock(tmp_path / "a.sqlite")
    lock._thread.submit(lock._file.run, "DROP TABLE leaders").result()
    with pytest.raises(ElectionError, match=r"the database .*a\.sqlite cannot be used: no such table"):
        await lock.acquire("g", "a@here")
    await lock.close()
    await lock.close()


# -- Consul ----------------------------------------------------------------------------------------


@pytest.fixture
async def consul_lock(consul: ConsulServer) -> AsyncIterator[Callable[..., ConsulLock]]:
    """Make locks on a server, by default the one of all tests."""
    made: list[ConsulLock] = []

    def another(server: ConsulServer = consul, **settings: Any) -> ConsulLock:
        made.append(ConsulLock(server.url, **{"ttl": TTL, "society": "here", **settings}))
        return made[-1]

    yield another
    for each in made:
        await each.close()


MakeConsul = Callable[..., ConsulLock]
of_consul = [pytest.mark.consul, pytest.mark.xdist_group("consul")]


def group() -> str:
    """A group that no other test has."""
    return uuid.uuid4().hex


async def fails(asking: Awaitable[object]) -> str:
    """The sentence with which it fails."""
    with pytest.raises(ElectionError) as caught:
        await asking
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestConsul:
    """What only Consul can do to us."""

    pytestmark = of_consul

    async def test_where_nobody_answers_is_one_sentence(self) -> None:
        with socket.socket() as probe:  # bound, and not listening
            probe.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{probe.getsockname()[1]}"
            lock = ConsulLock(url)
            text = await fails(lock.acquire("g", "a@here"))
            await lock.close()
        assert text.startswith(f"Consul does not answer at {url} (")
        assert text.endswith("); start it, or correct its address")

    @pytest.mark.parametrize("url", ["here:8500", "ftp://here", "http://", "http://h:port", "http://h/v1"])
    async def test_what_is_no_address_is_told(self, url: str) -> None:
        with pytest.raises(ElectionError, match=r"is no address of a Consul agent; write e\.g\. http://127"):
            ConsulLock(url)

    async def test_a_token_that_may_not_is_one_sentence(
        self, consul_lock: MakeConsul, tmp_path: Path
    ) -> None:
        acl = {"enabled": True, "default_policy": "deny", "tokens": {"master": "root", "agent": "root"}}
        server = ConsulServer(tmp_path / "acl", acl=acl)
        try:
            server.ready("root")
            for token in ("stranger", None):
                lock = consul_lock(server, token=token)
                text = await fails(lock.acquire("g", "a@here"))
                assert text.startswith(f"Consul at {server.url} does not allow it (")
                assert text.endswith(
                    "; give a token that may write keys below locution/, sessions and services, and read "
                    "nodes"
                )
                assert "does not allow it" in await fails(lock.wait_free("g"))
            assert await taken(consul_lock(server, token="root")) > 0
        finally:
            server.stop()

    async def test_a_key_that_a_stranger_holds_is_told_and_nobody_leads(
        self, consul: ConsulServer, consul_lock: MakeConsul
    ) -> None:
        lock, name = consul_lock(), group()
        session = consul.put("/v1/session/create", {"Name": "stranger", "LockDelay": "0s"})["ID"]
        assert consul.put(f"/v1/kv/locution/here/{name}/leader?acquire={session}", "mine")
        text = await fails(lock.wait_free(name))
        assert text == (
            f"the key locution/here/{name}/leader in Consul is held by a session that is none of ours, "
            f"{session} ('stranger' of the node {consul.folder.name}): nobody leads until it is released; "
            "find out whose it is, or take another name for the group"
        )
        assert await fails(lock.acquire(name, "a@here")) == text
        consul.put(f"/v1/session/destroy/{session}")
        assert await taken(lock, group=name) > 0

    async def test_groups_of_one_name_in_two_societies_are_apart(self, consul_lock: MakeConsul) -> None:
        name = group()
        here, there = consul_lock(society="here"), consul_lock(society="there")
        terms = await taken(here, group=name), await taken(there, group=name)
        assert here.holds(name, terms[0])
        assert there.holds(name, terms[1])

    async def test_whoever_writes_the_key_does_not_unseat_its_holder(
        self, consul: ConsulServer, consul_lock: MakeConsul
    ) -> None:
        lock, other, name = consul_lock(), consul_lock(), group()
        term = await taken(lock, group=name)
        consul.put(f"/v1/kv/locution/here/{name}/leader", "something else")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(lock.wait_lost(name, term), 2 * TTL)
        await lock.release(name, term)
        assert await taken(other, "b@here", group=name) > term

    async def test_an_operator_that_ends_the_session_deposes_its_holder(
        self, consul: ConsulServer, consul_lock: MakeConsul
    ) -> None:
        lock, name = consul_lock(), group()
        term = await taken(lock, group=name)
        (entry,) = consul.get(f"/v1/kv/locution/here/{name}/leader")
        consul.put(f"/v1/session/destroy/{entry['Session']}")
        await asyncio.wait_for(lock.wait_lost(name, term), 5)
        assert await taken(lock, group=name) > term

    async def test_who_stands_no_more_has_left_the_catalogue(
        self, consul: ConsulServer, consul_lock: MakeConsul
    ) -> None:
        lock, name = consul_lock(), group()
        await taken(lock, group=name)
        (service,) = consul.get(f"/v1/health/service/{name}?passing=1")
        assert service["Service"]["Meta"] == {"society": "here", "group": name, "jid": "a@here"}
        await lock.leave(name, "a@here")
        assert consul.get("/v1/agent/services").get(service["Service"]["ID"]) is None
        (entry,) = consul.get(f"/v1/kv/locution/here/{name}/leader")
        assert "Session" not in entry

    async def test_while_consul_is_away_nobody_leads_and_after_it_somebody_does(
        self, consul_lock: MakeConsul, tmp_path: Path
    ) -> None:
        server = ConsulServer(tmp_path / "mortal")
        try:
            server.ready()
            first, second = consul_lock(server), consul_lock(server)
            term = await taken(first)
            waiting = asyncio.create_task(second.wait_free("g"))
            begun = time.monotonic()
            server.kill()
            await asyncio.wait_for(first.wait_lost("g", term), 5)
            assert time.monotonic() - begun < TTL
            assert not first.holds("g", term)
            assert "does not answer" in await fails(waiting)
            server.start()
            server.ready()
            assert await again(second) > term
        finally:
            server.stop()

    async def test_a_frozen_consul_is_as_one_that_is_away(
        self, consul_lock: MakeConsul, tmp_path: Path
    ) -> None:
        server = ConsulServer(tmp_path / "frozen")
        try:
            server.ready()
            first = consul_lock(server)
            term = await taken(first)
            server.freeze()
            await asyncio.wait_for(first.wait_lost("g", term), 5)
            server.thaw()
            assert await again(first) > term
        finally:
            server.stop()


async def again(lock: Lock) -> int:
    """As `taken`, while Consul comes back."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await taken(lock, "b@here")
            except ElectionError:
                await asyncio.sleep(0.05)
