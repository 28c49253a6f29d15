"""An agent that comes back has the address that it had, on our own server and on Prosody."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from agents.base import LocutionAgent, Server
from behaviours import connection as module
from behaviours import watching
from behaviours.connection import XmppConnection
from behaviours.delivery import Delivered
from behaviours.events import ConversationOpened, MessageReceived, MessageUndelivered, OutOfSequence
from behaviours.outcomes import Outcome, Succeeded
from behaviours.transport import Life
from ontology.aid import AgentIdentifier
from resilience.journal import Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from resilience.sqlite_journal import SqliteJournal
from society.xmpp_server import CertificateAuthority, negotiation
from tests.behaviours.samples import Add, Adder, Asker, Half, Sum
from tests.behaviours.test_enduring_live import die
from tests.conftest import World, becomes
from tests.gates import Gate
from tests.integration.prosody import BINARY, prosody
from tests.requirements import require

ROOT = Path(__file__).parents[2]
ADDER = "adder@localhost/main"
PASSWORDS = {"adder": "secret", "asker": "secret"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and come back soon."""
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.05)
    monkeypatch.setattr(module, "RECONNECT_MOST", 0.2)


@pytest.fixture
def is_counting(request: pytest.FixtureRequest) -> bool:
    """Whether the server has stream management (XEP-0198)."""
    return getattr(request, "param", True)


@pytest.fixture(params=["embedded", pytest.param("prosody", marks=pytest.mark.prosody)])
async def town(
    request: pytest.FixtureRequest,
    world: World,
    authority: CertificateAuthority,
    tmp_path: Path,
    is_counting: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    """A world whose agents live on either server."""
    async with AsyncExitStack() as stack:
        if request.param == "prosody":
            require(BINARY is not None, "prosody on the path")
            modules = ["smacks"] if is_counting else []
            running = await stack.enter_async_context(
                prosody(tmp_path, authority, PASSWORDS, modules=modules)
            )
            server = Server(host="127.0.0.1", port=running.port, ca_file=authority.file)
            monkeypatch.setattr(World, "server", server)
        elif not is_counting:
            monkeypatch.setattr(negotiation, "FEATURE_OF_SM", "")
        yield world
        for agent in reversed(world._agents):
            await agent.stop()


@pytest.fixture
async def journals(tmp_path: Path) -> AsyncIterator[Any]:
    """Open the adder's journal, for one life of it after the other."""
    opened: list[SqliteJournal] = []

    def again() -> SqliteJournal:
        opened.append(SqliteJournal(tmp_path / "journal.sqlite"))
        return opened[-1]

    yield again
    for each in opened:
        await each.close()


class Looks:
    """What the asker finds when it looks after the adder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[Life] = []
        self.at: set[str] = set()
        self._news = asyncio.Event()
        ask = XmppConnection._ping

        async def ping(connection: XmppConnection, jid: str, timeout: float) -> Life:
            life = await ask(connection, jid, timeout)
            if jid.startswith("adder@"):
                self.at.add(jid)
                self.found.append(life)
                self._news.set()
            return life

        monkeypatch.setattr(XmppConnection, "_ping", ping)

    async def finds(self, life: Life, count: int = 1) -> None:
        """From now on it is found so, so many times in a row."""
        begin = len(self.found)
        async with asyncio.timeout(20):
            while self.found[begin:][-count:] != [life] * count:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def away(seconds: float) -> MemoryJournal:
    """A journal of one that waits so many looks for a peer that is away."""
    return MemoryJournal(Policy(away=seconds, retrying=Retrying(first=0.05, most=0.2)))


def value(outcome: Outcome) -> float:
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(outcome.result, Sum)
    return outcome.result.value


async def vanish(agent: LocutionAgent) -> None:
    """End an agent as a kill would: the server hears no farewell."""
    connection = agent.connection
    assert isinstance(connection, XmppConnection)
    connection._is_stopping = True
    connection.abort()
    await becomes(lambda: not connection.is_connected())
    await die(agent)


async def ask(asker: LocutionAgent, town: World) -> asyncio.Task[Outcome]:
    """Ask for something that takes long, and wait until it is being worked on."""
    asking = asyncio.create_task(
        asker.request("adder@localhost", Add(a=1, b=2, manner="agreeing"), result_within=None)
    )
    await town.fact(MessageReceived, agent=asker.me.name, performative="agree")
    return asking


async def test_who_works_for_us_comes_back_and_goes_on(town: World, journals: Any, looks: Looks) -> None:
    asker = await town.start(Asker, "asker", journal=away(100))
    first = await town.start(Adder, "adder", journal=journals())
    assert first.connection is not None
    assert first.connection.full_jid == ADDER
    asking = await ask(asker, town)
    await looks.finds(Life.ALIVE)
    await vanish(first)
    second = await town.start(Adder, "adder", journal=journals())
    await looks.finds(Life.ALIVE, 3)
    assert looks.at == {ADDER}
    second.release.set()
    assert value(await asyncio.wait_for(asking, 10)) == 3
    assert len(town.of(ConversationOpened, agent=asker.me.name)) == 1
    assert len(town.of(MessageReceived, agent=asker.me.name, performative="agree")) == 1
    assert not town.of(OutOfSequence)


async def test_a_killed_process_that_is_started_again_was_never_gone(
    town: World, tmp_path: Path, looks: Looks
) -> None:
    town.account("adder")
    place = str(town.server.port), str(town.server.ca_file), str(tmp_path / "journal.sqlite")
    lives: list[asyncio.subprocess.Process] = []

    async def load() -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "tests.integration.adder_process", *place)
        pipe = asyncio.subprocess.PIPE
        life = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)
        lives.append(life)
        assert life.stdout is not None
        assert await asyncio.wait_for(life.stdout.readline(), 30) == b"loaded\n"
        return life

    async def next_line(life: asyncio.subprocess.Process) -> bytes:
        assert life.stdin is not None
        assert life.stdout is not None
        life.stdin.write(b"\n")
        return await asyncio.wait_for(life.stdout.readline(), 30)

    try:
        first, second = await load(), await load()
        assert await next_line(first) == b"ready\n"
        asker = await town.start(Asker, "asker", journal=away(200))
        asking = await ask(asker, town)
        await looks.finds(Life.ALIVE)
        first.kill()
        await first.wait()
        assert await next_line(second) == b"ready\n"
        await looks.finds(Life.ALIVE, 3)
        assert looks.at == {ADDER}
        assert second.stdin is not None
        second.stdin.write(b"\n")
        assert value(await asyncio.wait_for(asking, 10)) == 3
        assert len(town.of(ConversationOpened, agent=asker.me.name)) == 1
    finally:
        for life in lives:
            with suppress(ProcessLookupError):
                life.kill()
            await life.communicate()


@pytest.mark.parametrize("seconds", [1, 6])
async def test_who_does_not_come_back_in_time_has_left(
    town: World, journals: Any, looks: Looks, seconds: int
) -> None:
    asker = await town.start(Asker, "asker", journal=away(seconds))
    adder = await town.start(Adder, "adder", journal=journals())
    asking = await ask(asker, town)
    await looks.finds(Life.ALIVE)
    await die(adder)  # with a farewell: a session that Prosody keeps for a killed client is silent, not gone
    outcome = await asyncio.wait_for(asking, 10)
    assert not isinstance(outcome, Succeeded)
    last_seen = len(looks.found) - looks.found[::-1].index(Life.ALIVE)
    assert looks.found[last_seen:] == [Life.GONE] * seconds


# -- the former session ---------------------------------------------------------------------------


async def test_of_two_processes_with_one_replica_name_the_older_stops_for_good(
    town: World, journals: Any
) -> None:
    first = await town.start(Adder, "adder", journal=journals())
    second = await town.start(Adder, "adder", journal=journals())
    await becomes(lambda: not first.is_alive())
    assert first.stopped_because == (
        f"{ADDER}: another process has logged in under this name (conflict), and of two the server keeps the "
        "newer; stop one of them, or give each a replica name of its own"
    )
    assert isinstance(first.connection, XmppConnection)
    assert first.connection._coming_back is None
    asker = await town.start(Asker, "asker")
    assert value(await asker.request(second.me, Add(a=2, b=2))) == 4
    assert second.is_connected
    assert second.stopped_because is None


async def test_replicas_have_addresses_of_their_own(town: World, journals: Any) -> None:
    both = [await town.start(Adder, "adder", journal=journals(), replica=name) for name in ("a", "b")]
    assert [each.connection.full_jid for each in both if each.connection] == [
        "adder@localhost/a",
        "adder@localhost/b",
    ]
    assert all(each.is_connected for each in both)


@pytest.mark.parametrize("is_counting", [True, False], indirect=True)
async def test_an_agents_own_former_connection_is_nobody_else(
    town: World, journals: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes silent, the agent comes back over another one, and the server's last words come late."""
    async with Gate(town.server.port) as gate:
        server = Server(host="127.0.0.1", port=gate.port, ca_file=town.server.ca_file)
        monkeypatch.setattr(World, "server", server)
        monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.05)
        monkeypatch.setattr(module, "KEEPALIVE_TIMEOUT", 0.2)
        adder = await town.start(Adder, "adder", journal=journals())
        connection = adder.connection
        assert isinstance(connection, XmppConnection)
        for _time in range(3):
            gate.hold()
            await becomes(lambda: not adder.is_connected)
            await asyncio.wait_for(connection.wait_online(), 10)
            gate.let_go()
            assert await connection.confirm(5)
        assert adder.is_alive()
        assert adder.stopped_because is None
        assert connection.full_jid == ADDER
        assert gate.held >= 3


async def test_what_was_on_its_way_to_a_replica_is_not_lost(
    town: World, journals: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed while another one lives. Our server hands it to the next life, Prosody returns it."""
    asker = await town.start(Asker, "asker", journal=away(100))
    first = await town.start(Adder, "adder", journal=journals(), replica="a")
    other = await town.start(Adder, "adder", journal=journals(), replica="b")
    await vanish(first)
    telling = asyncio.create_task(asker.inform(AgentIdentifier.of("adder@localhost/a"), Half(done=0.5)))
    asking = asyncio.create_task(asker.inform(AgentIdentifier.of("adder@localhost"), Half(done=0.7)))
    await town.fact(MessageReceived, agent=other.me.name)
    second = await town.start(Adder, "adder", journal=journals(), replica="a")
    assert [await asyncio.wait_for(each, 15) for each in (telling, asking)] == [Delivered(True)] * 2
    heard = [half.done for each in (second, other) for half, _name in each.heard if isinstance(half, Half)]
    assert sorted(heard) == [0.5, 0.7]
    assert not town.of(MessageUndelivered)
