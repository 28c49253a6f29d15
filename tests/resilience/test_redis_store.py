"""What only a server can do: `resilience.redis_store` under kill -9, a stall, and wrong settings."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis

from resilience.inbox import Standing
from resilience.journal import Effects
from resilience.redis_store import CLOCK_LIMIT, RedisJournal, RedisStoreError
from tests.resilience.records import ME, NOW, hold, letter, outgoing, snapshot
from tests.resilience.redis_server import RedisServer

pytestmark = pytest.mark.redis

StartServer = Callable[..., RedisServer]


@pytest.fixture
def server(own_redis: StartServer) -> RedisServer:
    return own_redis()


@pytest.fixture
async def journal(server: RedisServer) -> AsyncIterator[RedisJournal]:
    journal = await opened(server.url, timeout=1)
    yield journal
    await journal.close()


async def opened(url: str, **options: Any) -> RedisJournal:
    """Open a server, and be patient: a machine that runs other tests may stall."""
    return await RedisJournal.open(url, **{"timeout": 10, **options})


async def refused(url: str, **options: Any) -> str:
    """Open a server that must not be used; the sentence."""
    with pytest.raises(RedisStoreError) as caught:
        await opened(url, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- a server that dies or stalls ------------------------------------------------------------------


async def test_what_was_committed_survives_the_death_of_the_server(journal, server):
    told: set[str] = set()
    enough = asyncio.Event()

    async def write(first: int) -> None:
        for number in range(first, 10_000, 8):
            name = f"{number}"
            await journal.claim(hold(name, name), "d")
            effects = Effects(agent=ME, reply=name, put=(snapshot(name),), send=(outgoing(name),))
            await journal.commit(effects, hold(name, name))
            told.add(name)
            if len(told) == 400:
                enough.set()

    writing = [asyncio.ensure_future(write(first)) for first in range(8)]
    await enough.wait()
    server.kill()
    results = await asyncio.gather(*writing, return_exceptions=True)
    assert {type(each) for each in results} == {RedisStoreError}
    with pytest.raises(RedisStoreError, match=r"cannot be reached \(.+\); start it, or correct its address"):
        await journal.check()
    server.start()
    await journal.check()
    kept = {each.key for each in await journal.snapshots(ME)}
    assert told <= kept
    assert {each.id for each in await journal.outgoing(ME)} == kept
    for name in kept:
        assert (await journal.claim(hold("again", name), "d")).standing is Standing.DONE
    unsure = {f"{number}" for number in range(2_000)} - kept
    for name in sorted(unsure)[:50]:  # a claim that may have been made before the death
        assert (await journal.claim(hold(name, name), "d")).standing is Standing.NEW


async def test_a_server_that_stalls_is_given_up_soon_and_a_repeated_claim_is_ours(journal, server):
    await journal.check()
    server.freeze()
    began = time.monotonic()
    results = await asyncio.gather(
        *(journal.claim(hold(f"{n}", f"m{n}"), "d") for n in range(10)), return_exceptions=True
    )
    assert time.monotonic() - began < 5
    assert {str(each) for each in results} == {
        f"the Redis server at 127.0.0.1:{server.port}/0 did not answer in time; see whether it, its machine "
        "or this one is overloaded"
    }
    server.thaw()
    for number in range(10):
        claim = await journal.claim(hold(f"{number}", f"m{number}"), "d")
        assert (claim.standing, claim.attempts) == (Standing.NEW, 1)


async def test_a_commit_may_be_repeated_after_a_stall(journal, server):
    await journal.claim(hold(), "d")
    effects = Effects(agent=ME, reply="r", bury=(letter(),))
    server.freeze()
    with pytest.raises(RedisStoreError, match="did not answer"):
        await journal.commit(effects, hold())
    server.thaw()
    assert await journal.commit(effects, hold())
    assert len(await journal.letters(ME)) == 1


async def test_a_server_that_lost_its_scripts_is_taught_them_again(journal, server):
    await journal.claim(hold(), "d")
    with redis.Redis.from_url(server.url) as client:
        client.script_flush()
    effects = [Effects(agent=ME, send=(outgoing(f"{n}"),)) for n in range(5)]
    assert await asyncio.gather(*(journal.commit(each) for each in effects)) == [True] * 5
    assert [each.id for each in await journal.outgoing(ME)] == ["0", "1", "2", "3", "4"]


# -- a server that must not be used ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"appendonly": "no"}, "its append-only file is off; set appendonly yes"),
        (
            {"maxmemory-policy": "allkeys-lru"},
            "(maxmemory-policy allkeys-lru): messages would be handled twice",
        ),
        ({"requirepass": "secret"}, "refuses us: Authentication required; correct user and password"),
        ({"replicaof": "127.0.0.1 1"}, "is a read-only replica; name its primary"),
    ],
)
async def test_wrong_settings_are_refused(own_redis, settings, told):
    server = own_redis(**settings)
    assert told in await refused(server.url)


async def test_a_wrong_password_is_refused_and_not_repeated(own_redis):
    server = own_redis(requirepass="right")
    told = await refused(f"redis://:wrong-one@127.0.0.1:{server.port}/0")
    assert f"the Redis server at 127.0.0.1:{server.port}/0 refuses us: " in told
    assert "wrong-one" not in told
    journal = await opened(f"redis://:right@127.0.0.1:{server.port}/0")
    await journal.close()


async def test_where_no_server_is_that_is_told():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        told = await refused(f"redis://127.0.0.1:{port}")
    assert told.startswith(f"the Redis server at 127.0.0.1:{port} cannot be reached (")


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://localhost", "redis://localhost:x", "redis://h:99999"]
)
async def test_what_is_no_address_is_told(url):
    assert "has no usable address: " in await refused(url)


@pytest.mark.parametrize(("seconds", "told"), [(-600, "600 s ahead of"), (600, "600 s behind")])
async def test_a_clock_that_is_off_is_told(server, seconds, told):
    assert f"has a clock {told} that of this machine; set both by NTP" in await refused(
        server.url, clock=lambda: time.time() + seconds
    )
    off = CLOCK_LIMIT - 5
    journal = await opened(server.url, clock=lambda: time.time() + off)
    await journal.close()


async def test_records_of_a_newer_version_are_refused_and_left_alone(server):
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        client.set("locution:form", "2")
        told = await refused(server.url)
        assert "holds records in form 2 of a newer version of Locution under 'locution'" in told
        assert client.get("locution:form") == "2"
    journal = await opened(server.url, prefix="other")
    await journal.close()


async def test_a_server_without_memory_writes_nothing_and_says_so(journal, server):
    await journal.claim(hold(), "d")
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "1")
        effects = Effects(agent=ME, put=(snapshot(),), send=(outgoing(),), bury=(letter(),))
        told = r"has no memory left \(maxmemory\) and cannot write; give it more"
        with pytest.raises(RedisStoreError, match=told):
            await journal.commit(effects, hold())
        with pytest.raises(RedisStoreError, match=told):
            await journal.check()
        assert (await journal.depth(ME)).letters == 0
        client.config_set("maxmemory", "0")
    assert await journal.commit(effects, hold())
    assert (await journal.depth(ME)).oldest_letter == NOW


async def test_a_full_disk_is_told(small_disk, own_redis):
    server = own_redis(small_disk)
    journal = await opened(server.url)
    large = [Effects(agent=ME, put=(snapshot(f"{n}", "x" * 500_000),)) for n in range(20)]
    with pytest.raises(RedisStoreError, match="cannot write its file; make room on its disk"):
        await _until_refused(journal, large)
    await journal.close()


async def _until_refused(journal: RedisJournal, effects: list[Effects]) -> None:
    for each in effects:
        await journal.commit(each)


async def test_keys_of_another_program_are_told(journal, server):
    with redis.Redis.from_url(server.url) as client:
        client.set(f"locution:{{{ME}}}:snapshots", "x")
    with pytest.raises(RedisStoreError, match="holds something else under our keys; name another prefix"):
        await journal.snapshots(ME)


async def test_all_keys_of_an_agent_lie_together_and_only_ids_are_forgotten(journal, server):
    agent = "a}{:b@localhost"
    key = hold(receiver=agent, sender="s:{x}@localhost")
    await journal.claim(key, "d")
    record = snapshot(agent=agent), outgoing(agent=agent), letter(agent=agent)
    await journal.commit(Effects(agent=agent, put=record[:1], send=record[1:2], bury=record[2:]), key)
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        ttl = {each: client.ttl(each) for each in client.scan_iter() if each != "locution:form"}
    names = ("snapshots", "outgoing", "letters", "order", "number")
    entry = "locution:{a%7D%7B%3Ab@localhost}:in:s%3A%7Bx%7D@localhost:m1"
    assert ttl.pop(entry) == pytest.approx(journal.policy.terms.retention, abs=5)
    assert ttl == {f"locution:{{a%7D%7B%3Ab@localhost}}:{name}": -1 for name in names}
