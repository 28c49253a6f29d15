"""What tests of agents share: a world with an XMPP server, agents, and everything that happened in it.

::

    async def test_an_agent_adds(world: World) -> None:
        adder = await world.start(Adder, "adder")
        asker = await world.start(LocutionAgent, "asker")
        assert await asker.request(adder.me, Add(a=1, b=2)) == ...
        await world.fact(ConversationEnded, agent="adder@localhost", state="DONE")

At the end the world stops all that is still running and looks whether anything was left behind: a
task, or a complaint of asyncio or of SPADE in the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from spade.container import Container

from agents.base import LocutionAgent, Ports, Server
from behaviours.events import Fact
from society.xmpp_server import CertificateAuthority, Interceptor, Limits, XmppServer
from tests.requirements import require_hardware

settings.register_profile("thorough", max_examples=1000)

AgentKind = TypeVar("AgentKind", bound=LocutionAgent)
FactKind = TypeVar("FactKind", bound=Fact)

PATIENCE = 10.0
"""Seconds after which something that a test waits for is taken not to happen. Generous: machines stall."""


class ManualClock:
    """A wall clock that moves when it is told to."""

    def __init__(self, now: datetime = datetime(2026, 11, 20, 12, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


class World:
    """An XMPP server, the agents on it, and the facts of all of them in order.

    Attributes:
        facts: what happened to the agents that were made here.
        complaints: what asyncio, SPADE and slixmpp logged as an error; a test that provokes one excuses it.
    """

    def __init__(self, authority: CertificateAuthority) -> None:
        self.authority = authority
        self.xmpp: XmppServer
        self.facts: list[Fact] = []
        self.complaints: list[str] = []
        self._agents: list[Any] = []
        self._accounts: dict[str, str] = {}
        self._happened = asyncio.Event()

    async def serve(
        self, *, port: int = 0, faults: Interceptor | None = None, limits: Limits | None = None
    ) -> XmppServer:
        """Start the server, or start it anew. Accounts are made by `account` and `make`."""
        self.xmpp = XmppServer(
            domain="localhost",
            port=port,
            authority=self.authority,
            passwords=self._accounts,
            faults=faults,
            limits=limits,
        )
        await self.xmpp.start()
        return self.xmpp

    @property
    def server(self) -> Server:
        """How agents reach the server."""
        return Server(host="127.0.0.1", port=self.xmpp.port, ca_file=self.authority.file)

    def record(self, fact: Fact) -> None:
        """The hook of the agents that are made here."""
        self.facts.append(fact)
        self._happened.set()

    def account(self, name: str, password: str = "secret") -> str:
        """Make an account and return its bare JID."""
        self._accounts[name] = password
        self.xmpp.add_account(name, password)
        return f"{name}@localhost"

    def make(self, kind: Callable[..., AgentKind], name: str, **ports: Any) -> AgentKind:
        """Make an agent with an account; it is stopped when the test ends.

        Args:
            kind: the class, or anything that takes jid, password, server and ports.
            name: the local part of its JID; behind a slash, the resource.
            **ports: collaborators besides the hook.
        """
        user, slash, resource = name.partition("/")
        jid = self.account(user) + slash + resource
        agent = kind(jid, "secret", self.server, Ports(hook=self.record, **ports))
        self.adopt(agent)
        return agent

    def adopt(self, agent: Any) -> None:
        """Stop an agent that was made elsewhere when the test ends."""
        self._agents.append(agent)

    async def start(self, kind: Callable[..., AgentKind], name: str, **ports: Any) -> AgentKind:
        """Make an agent and start it."""
        agent = self.make(kind, name, **ports)
        await agent.start()
        return agent

    def of(self, kind: type[FactKind], **fields: Any) -> list[FactKind]:
        """Return the facts of a kind whose fields have these values."""
        return [
            fact
            for fact in self.facts
            if isinstance(fact, kind) and all(getattr(fact, name) == value for name, value in fields.items())
        ]

    async def fact(self, kind: type[FactKind], *, count: int = 1, **fields: Any) -> FactKind:
        """Wait until something has happened so many times; return the last one."""
        await self.until(lambda: len(self.of(kind, **fields)) >= count, f"{count} x {kind.__name__} {fields}")
        return self.of(kind, **fields)[-1]

    async def until(self, holds: Callable[[], bool], what: str = "it") -> None:
        """Wait until something holds that changes by facts."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    self._happened.clear()
                    await self._happened.wait()
        except TimeoutError:
            told = "\n".join(map(str, self.facts[-30:]))
            pytest.fail(f"{what} did not happen; what did:\n{told}")

    def excuse(self, text: str) -> None:
        """Drop the complaints that a test has provoked; there must be some."""
        assert any(text in complaint for complaint in self.complaints), self.complaints
        self.complaints[:] = [each for each in self.complaints if text not in each]

    async def stop(self) -> None:
        """Stop every agent and the server."""
        for agent in reversed(self._agents):
            await agent.stop()
        await self.xmpp.stop()


class _Complaints(logging.Handler):
    """Keeps what asyncio and SPADE log as an error, with its traceback."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._into = into
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        if record.name.partition(".")[0].lower() in {"asyncio", "spade", "slixmpp"}:
            self._into.append(self.format(record))


async def becomes(holds: Callable[[], bool]) -> None:
    """Wait until something holds of which no fact tells."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - SPADE and slixmpp tell nobody
            await asyncio.sleep(0.001)


async def left_behind(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the tasks that have come since and do not end within a few turns of the loop."""
    for _turn in range(20):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0)
    return left


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """Give one certificate authority to all tests."""
    return CertificateAuthority.open(Path(tmp_path_factory.mktemp("authority")))


@pytest.fixture
async def fresh_container() -> AsyncIterator[None]:
    """SPADE 4.1.4: the container is a singleton that keeps the loop of the first test, and sets a policy."""
    policy = asyncio.get_event_loop_policy()
    Container().reset()
    asyncio.set_event_loop_policy(policy)
    yield
    Container().reset()
    asyncio.set_event_loop_policy(policy)


@pytest.fixture
async def world(authority: CertificateAuthority, fresh_container: None) -> AsyncIterator[World]:
    """Give a running XMPP server and agents on it."""
    before = asyncio.all_tasks()
    world = World(authority)
    handler = _Complaints(world.complaints)
    logging.getLogger().addHandler(handler)
    try:
        await world.serve()
        try:
            yield world
        finally:
            async with asyncio.timeout(30):
                await world.stop()
        assert not await left_behind(before)
        assert world.complaints == []
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    is_there = mount is not None and os.geteuid() == 0
    is_there = (
        is_there and subprocess.run([mount, *options], capture_output=True, check=False).returncode == 0
    )
    require_hardware(is_there, "the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def manual_clock() -> ManualClock:
    """Give a clock that stands still."""
    return ManualClock()
