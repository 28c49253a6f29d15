"""A group's lock in Consul, when the network fails and when somebody meddles: never two lead."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from resilience import consul_lock
from resilience.consul_lock import ConsulLock
from resilience.election import STEP_DOWN, ElectionError
from tests.chaos.proxy import Proxy
from tests.resilience.campaign import Campaign
from tests.resilience.consul_server import ConsulServer

pytestmark = [pytest.mark.consul, pytest.mark.xdist_group("consul")]

TTL = 1.0

MakeLock = Callable[..., ConsulLock]


@pytest.fixture
async def make(consul: ConsulServer) -> AsyncIterator[MakeLock]:
    """Make locks of one society of each test, by default on the server of all tests."""
    made: list[ConsulLock] = []
    society = uuid.uuid4().hex

    def another(url: str = consul.url, **settings: Any) -> ConsulLock:
        made.append(ConsulLock(url, **{"society": society, "ttl": TTL, **settings}))
        return made[-1]

    yield another
    for each in made:
        await each.close()


@pytest.fixture
async def campaign() -> AsyncIterator[Campaign]:
    """Give a campaign that is over when the test ends."""
    campaign = Campaign()
    yield campaign
    await campaign.stop()
    assert campaign.faults() == []


@pytest.fixture
async def proxy(consul: ConsulServer) -> AsyncIterator[Proxy]:
    """Give one candidate's way to Consul."""
    proxy = Proxy(consul.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


def url_of(proxy: Proxy) -> str:
    return f"http://127.0.0.1:{proxy.port}"


def key_of(lock: ConsulLock, group: str = "g") -> str:
    return f"/v1/kv/locution/{lock._society}/{group}/leader"


# -- the network -----------------------------------------------------------------------------------


async def test_one_that_is_cut_off_steps_down_before_another_leads(
    make: MakeLock, campaign: Campaign, proxy: Proxy
) -> None:
    campaign.enter("ann", make(url_of(proxy)))
    first = await campaign.led(10)
    campaign.enter("ben", make())
    await asyncio.sleep(TTL)  # it stands by
    cut = time.monotonic()
    proxy.swallow()
    second = await campaign.led(10, above=first.term)
    assert second.leader == "ben@here"
    assert first.ended is not None
    assert first.ended < cut + STEP_DOWN * TTL + 0.2, "it is told by its own clock, whoever answers"
    assert second.begun < cut + TTL + 1.0
    proxy.go_on()
    with pytest.raises(TimeoutError):
        await campaign.until(lambda: second.ended is not None, 2 * TTL)


async def test_one_that_was_cut_off_tells_consul_so_as_soon_as_it_can(
    make: MakeLock, proxy: Proxy, consul: ConsulServer
) -> None:
    lock = make(url_of(proxy))
    term = await lock.acquire("g", "ann@here")
    assert term is not None
    (seat,) = lock._seats.values()
    proxy.swallow()
    await lock.wait_lost("g", term)
    await asyncio.sleep(1.5 * TTL)  # longer than it waits for an answer
    assert seat.service in consul.get("/v1/agent/services")
    proxy.go_on()
    async with asyncio.timeout(10):
        while seat.service in consul.get("/v1/agent/services"):  # noqa: ASYNC110 - Consul tells nobody
            await asyncio.sleep(0.05)


async def test_an_election_while_all_is_cut_off_makes_nobody_the_leader(
    make: MakeLock, campaign: Campaign, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for patience in ("WAIT", "ANSWER"):
        monkeypatch.setattr(consul_lock, patience, 0.5)
    proxy.swallow()
    campaign.enter("ann", make(url_of(proxy)))
    with pytest.raises(TimeoutError):
        await campaign.led(1.5)
    assert "does not answer" in campaign.troubles["ann@here"]
    proxy.go_on()
    await campaign.led(15)


# -- an operator -----------------------------------------------------------------------------------


@asynccontextmanager
async def leader_that_hears_nothing(
    make: MakeLock, campaign: Campaign, proxy: Proxy
) -> AsyncIterator[ConsulLock]:
    """Have one lead and another stand by; then the leader hears nothing, and somebody meddles."""
    lock = make(url_of(proxy))
    campaign.enter("ann", lock)
    first = await campaign.led(10)
    campaign.enter("ben", make())
    await asyncio.sleep(TTL / 2)
    proxy.swallow()
    yield lock
    second = await campaign.led(10, above=first.term)
    assert second.leader == "ben@here"
    assert first.ended is not None
    assert first.ended <= second.begun


async def test_who_follows_one_whose_session_was_ended_waits_until_it_knows(
    make: MakeLock, campaign: Campaign, proxy: Proxy, consul: ConsulServer
) -> None:
    async with leader_that_hears_nothing(make, campaign, proxy) as lock:
        (entry,) = consul.get(key_of(lock))
        consul.put(f"/v1/session/destroy/{entry['Session']}")


async def test_who_follows_one_whose_key_was_deleted_waits_until_it_knows(
    make: MakeLock, campaign: Campaign, proxy: Proxy, consul: ConsulServer
) -> None:
    async with leader_that_hears_nothing(make, campaign, proxy) as lock:
        consul.delete(key_of(lock))


async def test_who_follows_one_that_was_taken_out_of_the_catalogue_waits_until_it_knows(
    make: MakeLock, campaign: Campaign, proxy: Proxy, consul: ConsulServer
) -> None:
    async with leader_that_hears_nothing(make, campaign, proxy) as lock:
        (seat,) = lock._seats.values()
        consul.put(f"/v1/agent/service/deregister/{seat.service}")


async def test_who_follows_one_whose_check_somebody_has_failed_waits_until_it_knows(
    make: MakeLock, campaign: Campaign, proxy: Proxy, consul: ConsulServer
) -> None:
    async with leader_that_hears_nothing(make, campaign, proxy) as lock:
        (seat,) = lock._seats.values()
        consul.put(f"/v1/agent/check/fail/service:{seat.service}?note=maintenance")


async def test_a_key_that_is_deleted_deposes_its_holder(make: MakeLock, consul: ConsulServer) -> None:
    lock = make()
    term = await lock.acquire("g", "a@here")
    assert term is not None
    consul.delete(key_of(lock))
    await asyncio.wait_for(lock.wait_lost("g", term), TTL)
    again = await lock.acquire("g", "a@here")
    assert again is not None
    assert again > term


async def test_a_key_that_is_overwritten_has_its_holder_all_the_same(
    make: MakeLock, consul: ConsulServer
) -> None:
    lock, other = make(), make()
    term = await lock.acquire("g", "a@here")
    assert term is not None
    consul.put(key_of(lock), "something else")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(other.wait_free("g"), TTL)
    assert lock.holds("g", term)
    assert await other.groups() == {"g": None}, "it says nobody's name"
    await lock.release("g", term)
    assert await other.acquire("g", "b@here") is not None


async def test_whoever_follows_an_orderly_end_need_not_wait(make: MakeLock) -> None:
    locks = [make(), make()]
    begun = time.monotonic()
    for each in range(6):
        term = await locks[each % 2].acquire("g", f"{each % 2}@here")
        assert term is not None
        await locks[each % 2].release("g", term)
    assert time.monotonic() - begun < STEP_DOWN * TTL


async def test_whoever_stands_alone_need_not_wait(make: MakeLock) -> None:
    alone, elsewhere = make(), make(society=uuid.uuid4().hex)
    assert await elsewhere.acquire("g", "a@here") is not None, "another society's group of the same name"
    begun = time.monotonic()
    assert await alone.acquire("g", "a@here") is not None
    assert time.monotonic() - begun < STEP_DOWN * TTL


@pytest.mark.parametrize("name", ["a b", "a//b", "..", "../other", "é?x=1#%41", "100%", "Straße 7/2"])
async def test_a_group_may_have_any_name(make: MakeLock, name: str) -> None:
    first, second = make(), make()
    term = await first.acquire(name, "a@here")
    assert term is not None
    assert await second.acquire(name, "b@here") is None
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(first.wait_lost(name, term), 1.5 * TTL)
    assert first.holds(name, term)
    assert list(await second.groups()) == [name]
    await first.leave(name, "a@here")
    assert await second.acquire(name, "b@here") is not None


# -- Consul itself ---------------------------------------------------------------------------------


async def test_consul_is_killed_and_started_anew(make: MakeLock, tmp_path: Path) -> None:
    server = ConsulServer(tmp_path / "mortal")
    campaign = Campaign()
    try:
        server.ready()
        for name in ("ann", "ben"):
            campaign.enter(name, make(server.url))
        first = await campaign.led(10)
        killed = time.monotonic()
        server.kill()
        await campaign.until(lambda: campaign.leader is None, 5)
        assert first.ended is not None
        assert first.ended < killed + STEP_DOWN * TTL + 0.2
        server.start()
        await asyncio.to_thread(server.ready)
        second = await campaign.led(10, above=first.term)
        lock = make(server.url)
        told = (await lock.groups())["g"]
        assert told is not None
        assert (told.leader, told.term) == (second.leader, second.term)
        assert campaign.faults() == []
    finally:
        await campaign.stop()
        server.stop()


async def test_a_token_that_may_do_no_more_than_is_asked_for_will_do(make: MakeLock, tmp_path: Path) -> None:
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"master": "root", "agent": "root"}}
    server = ConsulServer(tmp_path / "acl", acl=acl)
    try:
        server.ready("root")
        rules = """
            key_prefix "locution/" { policy = "write" }
            session_prefix "" { policy = "write" }
            service_prefix "" { policy = "write" }
            node_prefix "" { policy = "read" }
        """
        policy = server.put("/v1/acl/policy?token=root", {"Name": "locution", "Rules": rules})["ID"]
        token = server.put("/v1/acl/token?token=root", {"Policies": [{"ID": policy}]})["SecretID"]
        first, second = make(server.url, token=token), make(server.url, token=token)
        term = await first.acquire("g", "a@here")
        assert term is not None
        (seat,) = first._seats.values()
        assert seat.beating is not None
        seat.beating._task.cancel()  # it dies
        await second.wait_free("g")
        assert await second.acquire("g", "b@here") is not None
        told = (await second.groups())["g"]
        assert told is not None
        assert told.failover is not None, "its check could be read"
    finally:
        server.stop()


async def test_what_is_wrong_at_the_start_is_told_and_nobody_leads(make: MakeLock, tmp_path: Path) -> None:
    server = ConsulServer(tmp_path / "late")
    server.kill()
    campaign = Campaign()
    try:
        campaign.enter("ann", make(server.url))
        with pytest.raises(TimeoutError):
            await campaign.led(0.5)
        text = campaign.troubles["ann@here"]
        assert text.startswith(f"Consul does not answer at {server.url} (")
        assert text.endswith("); start it, or correct its address")
        server.start()
        await asyncio.to_thread(server.ready)
        await campaign.led(10)
    finally:
        await campaign.stop()
        server.stop()


async def test_a_check_of_ours_that_nobody_knows_ends_the_standing(
    make: MakeLock, consul: ConsulServer
) -> None:
    lock = make()
    term = await lock.acquire("g", "a@here")
    assert term is not None
    (seat,) = lock._seats.values()
    consul.put(f"/v1/agent/service/deregister/{seat.service}")
    await asyncio.wait_for(lock.wait_lost("g", term), TTL)
    with pytest.raises(ElectionError, match=r"cannot do it: 500 CheckID .* does not have associated TTL"):
        await lock._client.confirm(seat.service, "")
