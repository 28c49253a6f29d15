"""A society in Consul's catalogue, in one process and as a user runs it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from behaviours.events import CatalogueDown, CatalogueUp
from resilience import consul_catalogue
from society import cataloguing, commands
from society.cataloguing import service_name
from society.config import SocietyFile, load
from tests.conftest import becomes
from tests.e2e.conftest import Running
from tests.requirements import require
from tests.resilience import dns
from tests.resilience.consul_server import PATH, ConsulServer
from tests.society.conftest import Told, WriteFile

pytestmark = [pytest.mark.consul, pytest.mark.xdist_group("consul")]

PATIENCE = 30.0

States = dict[str, tuple[str, str]]
"""Of each agent: the state of its check, and what it says."""


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    """Run a server of Consul for all tests."""
    require(PATH is not None, "consul")
    server = ConsulServer(tmp_path_factory.mktemp("consul"))
    try:
        server.ready()
        yield server
    finally:
        server.stop()


@pytest.fixture
def file(write_file: WriteFile, consul: ConsulServer) -> Path:
    """Write a society of a directory and a coordinator that has a Consul."""
    return elected_by(write_file(), consul)


def elected_by(path: Path, consul: ConsulServer) -> Path:
    path.write_text(path.read_text() + f'\n[election]\nlock = "consul"\nconsul = "{consul.url}"\n')
    return path


def states(server: ConsulServer) -> States:
    """Who is in the catalogue, and the state and the output of its check."""
    found: States = {}
    for kind in ("coordinator", "directory-facilitator"):
        for each in server.get(f"/v1/health/service/{kind}"):
            (check,) = [check for check in each["Checks"] if check["CheckID"].startswith("service:")]
            found[each["Service"]["Meta"]["agent"]] = check["Status"], check["Output"]
    return found


def until(server: ConsulServer, holds: Callable[[States], bool]) -> float:
    """Wait until the catalogue is so; how many seconds that took."""
    begun = time.monotonic()
    while not holds(found := states(server)):
        if time.monotonic() > begun + PATIENCE:
            pytest.fail(f"the catalogue has {found}")
        time.sleep(0.02)  # a name server tells nobody
    return time.monotonic() - begun


READY = ("passing", "ready")


def all_well(found: States) -> bool:
    """Whether both agents are there, and ready."""
    return found == {"coordinator": READY, "directory": READY}


async def test_an_agent_is_found_while_it_is_ready(
    file: Path, consul: ConsulServer, start: Any, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cataloguing, "STORE_WITHIN", 0.3)
    society = await start(read := load(file))
    await asyncio.to_thread(until, consul, all_well)
    (entry,) = consul.get("/v1/health/service/coordinator")
    assert entry["Service"]["Meta"] == {
        "jid": "coordinator@localhost",
        "agent": "coordinator",
        "kind": "coordinator",
        "society": "test",
        "replica": "main",
    }
    for name in ("coordinator", "test.coordinator", "coordinator.coordinator"):
        found = dns.ask(consul.dns, f"{name}.service.consul", dns.SRV)
        assert [each.port for each in found if each.kind == dns.SRV] == [read.xmpp.port], name
        assert [each.data for each in found if each.kind == dns.A] == ["127.0.0.1"], name
    listed = Told()
    assert await commands.groups(read, listed) == 0
    assert listed.events[0][1]["leader"] == "coordinator@localhost"
    # While the store does not answer nobody is ready.
    with closing(sqlite3.connect(read.society.state / "society.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        fault = ("critical", "the store has not answered within 0.3 s")
        await asyncio.to_thread(until, consul, lambda found: found == dict.fromkeys(found, fault))
        assert dns.ask(consul.dns, "coordinator.service.consul", dns.SRV) == []
        other.execute("ROLLBACK")
    await asyncio.to_thread(until, consul, all_well)
    # Nor is one without a session.
    await society._server.stop()
    away = ("critical", "it has no session with the XMPP server")
    await asyncio.to_thread(until, consul, lambda found: found == dict.fromkeys(found, away))
    await society._server.start()
    await asyncio.to_thread(until, consul, all_well)
    # One that was stopped is gone, and with the society all are.
    await society._agents["coordinator"].stop()
    await asyncio.to_thread(until, consul, lambda found: found == {"directory": READY})
    await society.stop()
    assert states(consul) == {}


async def test_the_society_goes_on_while_consul_is_away(
    write_file: WriteFile, start: Any, told: Told, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def facts() -> list[str]:
        return [row["fact"] for row in society._telemetry.recent("directory@localhost")]

    server = ConsulServer(tmp_path / "late")
    server.kill()
    try:
        with caplog.at_level(logging.WARNING, "locution"):
            society = await start(load(elected_by(write_file(), server)))
            await told.wait_for("ready")
            await becomes(lambda: "catalogue down" in facts())
            server.start()
            await asyncio.to_thread(server.ready)
            await asyncio.to_thread(until, server, all_well)
            await becomes(lambda: "catalogue up" in facts())
        await society.stop()
    finally:
        server.stop()
    lines = [text for text in caplog.messages if "catalogue" in text]
    down, up = lines
    assert down.startswith(
        f"the agents go on, and are not kept in the catalogue: Consul does not answer at {server.url} ("
    )
    assert up == "the agents are kept in the catalogue of Consul again"


class Command:
    """A society as a user runs it, started again and again."""

    def __init__(self, file: Path, consul: ConsulServer) -> None:
        self._file, self._consul = file, consul
        self.running: Running

    def start(self) -> None:
        """Start it, and wait until it is found."""
        self.running = Running(("up", "--json", "--file", str(self._file)), self._file.parent, {})
        self.running.event("ready")
        until(self._consul, all_well)

    @staticmethod
    def failed(found: Mapping[str, tuple[str, str]]) -> bool:
        """Whether both are there, and neither gives a sign of life."""
        return len(found) == 2 and {state for state, _text in found.values()} == {"critical"}


def test_a_process_that_is_killed_or_frozen_is_not_found_and_one_that_is_stopped_is_not_there(
    file: Path, consul: ConsulServer
) -> None:
    command = Command(file, consul)
    within = consul_catalogue.TTL + 1.0
    try:
        command.start()
        command.running.process.send_signal(signal.SIGSTOP)
        assert until(consul, command.failed) < within
        assert dns.ask(consul.dns, "coordinator.service.consul", dns.A) == []
        command.running.process.send_signal(signal.SIGCONT)
        assert until(consul, all_well) < within
        assert command.running.end(signal.SIGKILL) == -signal.SIGKILL
        assert until(consul, command.failed) < within
        command.running.put_away()
        command.start()
        assert len(states(consul)) == 2, "it has its former place"
        assert command.running.end(signal.SIGTERM) == 0, command.running.told()
        assert states(consul) == {}
    finally:
        command.running.put_away()


@pytest.mark.parametrize("lock", ["sqlite", "memory"])
async def test_without_consul_there_is_no_catalogue(write_file: WriteFile, start: Any, lock: str) -> None:
    path = write_file()
    path.write_text(path.read_text() + f'\n[election]\nlock = "{lock}"\n')
    society = await start(load(path))
    assert society._catalogue is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("coordinator", "coordinator"),
        ("directory-facilitator", "directory-facilitator"),
        ("parcels:Carrier", "carrier"),
        ("a.b:NightCarrier2", "night-carrier2"),
        ("a:_", "agent"),
    ],
)
def test_agents_are_found_by_their_kind(kind: str, name: str) -> None:
    assert service_name(kind) == name


def test_replicas_of_an_agent_stand_beside_each_other(write_file: WriteFile) -> None:
    read = load(write_file())
    services = {listing(read, replica).service for replica in ("main", "b")}
    assert services == {f"locution-test-coordinator@localhost-{replica}" for replica in ("main", "b")}


def test_a_server_on_all_addresses_is_that_of_the_machine(write_file: WriteFile) -> None:
    for host, address in (("0.0.0.0", None), ("::", None), ("127.0.0.1", "127.0.0.1")):
        read = load(write_file(xmpp=f'host = "{host}"'))
        assert listing(read).address == address


def listing(read: SocietyFile, replica: str = "main") -> Any:
    class Agent:
        class me:  # noqa: N801 - as the agent has it
            name = "coordinator@localhost"

    return cataloguing._listing(read, read.agents[1], Agent, replica)  # type: ignore[arg-type]


def test_the_facts_say_what_happened() -> None:
    assert CatalogueDown(agent="a@here", text="gone").text == "gone"
    assert not CatalogueDown.is_trouble, "one sentence in the log tells of all agents"
    assert not CatalogueUp.is_trouble
