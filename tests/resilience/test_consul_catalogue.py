"""Agents in Consul's catalogue: found by DNS while they are ready, and by nobody when they are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from resilience import consul_catalogue
from resilience.consul_catalogue import ConsulCatalogue, Listing
from resilience.consul_client import ConsulClient, ConsulError, dns_name
from tests.conftest import PATIENCE, becomes
from tests.resilience import dns
from tests.resilience.consul_server import ConsulServer

pytestmark = [pytest.mark.consul, pytest.mark.xdist_group("consul")]

TTL = 1.0

ANN = Listing(service="s-ann@here-main", name="adder", tags=("s", "ann"), meta={"jid": "ann@here"}, port=5222)
BEN = Listing(service="s-ben@here-main", name="adder", tags=("s", "ben"), address="127.0.0.9", port=5223)


class Agents:
    """What a process says of its agents, and what it is told."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {ANN.service: "", BEN.service: ""}
        self.told: list[str] = []

    async def look(self) -> Mapping[str, str]:
        return dict(self.faults)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: a test waits for what is seen."""
    monkeypatch.setattr(consul_catalogue, "LOOK", 0.05)


@pytest.fixture
def agents() -> Agents:
    return Agents()


@pytest.fixture
async def begin(agents: Agents, consul: ConsulServer) -> AsyncIterator[Callable[..., ConsulCatalogue]]:
    """Keep agents in a catalogue, by default both in that of all tests."""
    made: list[ConsulCatalogue] = []

    def begin(*listings: Listing, server: ConsulServer = consul, token: str | None = None) -> ConsulCatalogue:
        client = ConsulClient(server.url, token)
        catalogue = ConsulCatalogue(
            client,
            listings or (ANN, BEN),
            agents.look,
            on_down=agents.told.append,
            on_up=lambda: agents.told.append("up"),
            ttl=TTL,
        )
        made.append(catalogue)
        catalogue.begin()
        return catalogue

    yield begin
    for each in made:
        await each.close()


Begin = Callable[..., ConsulCatalogue]


def states(server: ConsulServer) -> dict[str, str]:
    """Who is in the catalogue, and the state of each."""
    return {
        each["Service"]["ID"]: next(
            check["Status"] for check in each["Checks"] if check["CheckID"].startswith("service:")
        )
        for each in server.get("/v1/health/service/adder")
    }


async def until(server: ConsulServer, expected: Mapping[str, str]) -> float:
    """Wait until the catalogue is so; how many seconds that took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while (found := await asyncio.to_thread(states, server)) != expected:
        if loop.time() > begun + PATIENCE:
            pytest.fail(f"the catalogue has {found}, not {expected}")
        await asyncio.sleep(0.02)
    return loop.time() - begun


WELL = {ANN.service: "passing", BEN.service: "passing"}


async def test_who_is_ready_is_found_by_dns(begin: Begin, agents: Agents, consul: ConsulServer) -> None:
    begin()
    await until(consul, WELL)
    (service,) = [
        each["Service"]
        for each in consul.get("/v1/health/service/adder?passing=1")
        if each["Service"]["ID"] == ANN.service
    ]
    assert service["Meta"] == {"jid": "ann@here"}
    found = dns.ask(consul.dns, "adder.service.consul", dns.SRV)
    assert sorted(each.port for each in found if each.kind == dns.SRV) == [5222, 5223]
    assert {each.data for each in found if each.kind == dns.A} == {"127.0.0.1", "127.0.0.9"}
    (one,) = dns.ask(consul.dns, "ben.adder.service.consul", dns.A)
    assert one.data == "127.0.0.9"
    agents.faults[BEN.service] = "it has no session with the XMPP server"
    await until(consul, {ANN.service: "passing", BEN.service: "critical"})
    assert [each.data for each in dns.ask(consul.dns, "adder.service.consul", dns.A)] == ["127.0.0.1"]
    assert dns.ask(consul.dns, "ben.adder.service.consul", dns.A) == []
    outputs = {each["ServiceID"]: each["Output"] for each in consul.get("/v1/health/checks/adder")}
    assert outputs == {ANN.service: "ready", BEN.service: "it has no session with the XMPP server"}
    agents.faults[BEN.service] = ""
    await until(consul, WELL)


async def test_it_is_kept_there_while_nothing_changes(begin: Begin, consul: ConsulServer) -> None:
    begin()
    await until(consul, WELL)
    index = consul.index("/v1/health/service/adder")
    later = await asyncio.to_thread(consul.index, f"/v1/health/service/adder?index={index}&wait={2 * TTL:g}s")
    assert later == index, "nothing has changed meanwhile"
    assert states(consul) == WELL


async def test_who_says_nothing_fails_and_is_to_be_forgotten(begin: Begin, consul: ConsulServer) -> None:
    catalogue = begin()
    await until(consul, WELL)
    assert catalogue._task is not None
    catalogue._task.cancel()  # as a process that was killed or frozen
    assert await until(consul, dict.fromkeys(WELL, "critical")) < TTL + 1
    assert dns.ask(consul.dns, "adder.service.consul", dns.A) == []


async def test_who_has_stopped_is_not_there(begin: Begin, agents: Agents, consul: ConsulServer) -> None:
    catalogue = begin()
    await until(consul, WELL)
    del agents.faults[BEN.service]
    await until(consul, {ANN.service: "passing"})
    agents.faults[BEN.service] = ""
    await until(consul, WELL)
    await catalogue.close()
    assert states(consul) == {}
    await catalogue.close()


async def test_whoever_was_taken_out_by_somebody_comes_back(begin: Begin, consul: ConsulServer) -> None:
    begin()
    await until(consul, WELL)
    consul.put(f"/v1/agent/service/deregister/{ANN.service}")
    assert ANN.service not in states(consul)
    await until(consul, WELL)


async def test_while_consul_is_away_that_is_told_once_and_after_it_all_are_back(
    begin: Begin, agents: Agents, tmp_path: Path
) -> None:
    server = ConsulServer(tmp_path / "mortal")
    try:
        server.ready()
        begin(server=server)
        await until(server, WELL)
        server.kill()
        await becomes(lambda: bool(agents.told))
        server.start()
        await asyncio.to_thread(server.ready)
        await until(server, WELL)
        await becomes(lambda: len(agents.told) > 1)
    finally:
        server.stop()
    down, up = agents.told
    assert down.startswith(f"Consul does not answer at {server.url} (")
    assert up == "up"


async def test_it_begins_where_consul_is_not_there_yet(begin: Begin, agents: Agents, tmp_path: Path) -> None:
    server = ConsulServer(tmp_path / "late")
    server.kill()
    try:
        begin(server=server)
        await becomes(lambda: bool(agents.told))
        server.start()
        await asyncio.to_thread(server.ready)
        await until(server, WELL)
    finally:
        server.stop()


async def test_a_token_that_may_not_is_one_sentence(begin: Begin, agents: Agents, tmp_path: Path) -> None:
    acl = {"enabled": True, "default_policy": "deny", "tokens": {"master": "root", "agent": "root"}}
    server = ConsulServer(tmp_path / "acl", acl=acl)
    try:
        server.ready("root")
        catalogue = begin(server=server, token="stranger")
        await becomes(lambda: bool(agents.told))
        await catalogue.close()
    finally:
        server.stop()
    (text,) = agents.told
    assert text.startswith(f"Consul at {server.url} does not allow it (")
    assert text.endswith(
        "; give a token that may write keys below locution/, sessions and services, and read nodes"
    )


async def test_a_mistake_of_ours_is_not_taken_for_one_of_consul(begin: Begin, agents: Agents) -> None:
    catalogue = begin()

    async def tell(*_each: object) -> None:
        raise ZeroDivisionError("by nothing")

    catalogue._tell = tell  # type: ignore[method-assign]
    assert catalogue._task is not None
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(catalogue._task, PATIENCE)
    assert agents.told == ["it has failed for good: ZeroDivisionError: by nothing"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("directory-facilitator", "directory-facilitator"),
        ("Ann.B_c", "ann-b-c"),
        ("é!", ""),
        ("x" * 99, "x" * 63),
    ],
)
def test_a_part_of_a_name_in_dns(text: str, name: str) -> None:
    assert dns_name(text) == name


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(ConsulError, match=r"is no address of a Consul agent"):
        ConsulClient("here")
