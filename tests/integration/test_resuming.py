"""Connections break under load, with the embedded server and Prosody: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from behaviours import connection as module
from behaviours.connection import XmppConnection
from behaviours.delivery import Delivery
from behaviours.events import ignore
from behaviours.wire import Received, parse
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason
from society.xmpp_server import CertificateAuthority
from tests.conftest import World
from tests.gates import Gate
from tests.integration.prosody import BINARY, prosody
from tests.requirements import require

MESSAGES = 300
EVERY = 0.01
"""Seconds between two of them."""


class End:
    """One agent's way to the server, through a gate."""

    def __init__(self, gate: Gate, user: str, ca_file: Path) -> None:
        self.gate = gate
        self.heard: list[str] = []
        self.told: list[str] = []
        self.lost: list[Reason] = []
        self.arrived = asyncio.Event()
        self.me = AgentIdentifier(name=f"{user}@localhost")
        self.connection = XmppConnection(
            f"{user}@localhost/here",
            "secret",
            host="127.0.0.1",
            port=gate.port,
            ca_file=ca_file,
            on_message=self._hear,
            on_online=self._came_online,
            on_offline=lambda _why: self.told.append("offline"),
            on_fatal=self.told.append,
        )
        self.delivery = Delivery(self.me, self.connection, ignore)

    def _came_online(self, _jid: str) -> None:
        self.told.append("online")
        self.delivery.came_online()

    def _hear(self, stanza: Any) -> None:
        incoming = parse(stanza)
        assert isinstance(incoming, Received), incoming
        self.heard.append(incoming.message.content or "")
        self.arrived.set()

    def say(self, number: int, to: str) -> None:
        message = AclMessage(performative=Performative.INFORM, content=str(number))
        self.delivery.post(message, AgentIdentifier.of(to), self.lost.append)

    async def hears(self, count: int) -> list[str]:
        async with asyncio.timeout(30):
            while len(self.heard) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.heard


@pytest.fixture(params=["embedded", pytest.param("prosody", marks=pytest.mark.prosody)])
async def ends(
    request: pytest.FixtureRequest,
    world: World,
    authority: CertificateAuthority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[End, End]]:
    """Two that are connected to either server, each through a gate of its own."""
    monkeypatch.setattr(module, "RECONNECT_MOST", 0.2)
    async with AsyncExitStack() as stack:
        port = world.xmpp.port
        if request.param == "prosody":
            require(BINARY is not None, "prosody on the path")
            passwords = {"ann": "secret", "bob": "secret"}
            running = await stack.enter_async_context(
                prosody(tmp_path, authority, passwords, modules=["smacks"])
            )
            port = running.port
        both = []
        for user in ("ann", "bob"):
            world.account(user)
            gate = await stack.enter_async_context(Gate(port))
            end = End(gate, user, authority.file)
            await end.connection.open()
            stack.push_async_callback(end.connection.close)
            stack.callback(end.delivery.close)
            both.append(end)
        yield both[0], both[1]


@pytest.mark.parametrize("to", ["bob@localhost/here", "bob@localhost"])
async def test_cuts_under_load(ends: tuple[End, End], to: str) -> None:
    ann, bob = ends
    rng = random.Random(7)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(MESSAGES):
        ann.say(number, to)
        bob.say(number, "ann@localhost/here")
        if rng.random() < 0.03:
            rng.choice((ann, bob)).gate.cut()
        if number == MESSAGES // 2:
            ann.gate.cut()
            bob.gate.cut()
        await asyncio.sleep(max(0.0, began + number * EVERY - loop.time()))
    numbers = [str(number) for number in range(MESSAGES)]
    assert await bob.hears(MESSAGES) == numbers
    assert await ann.hears(MESSAGES) == numbers
    assert await ann.connection.confirm(10)
    assert await bob.connection.confirm(10)
    assert bob.heard == ann.heard == numbers
    assert ann.lost == bob.lost == []
    assert ann.gate.passed > 3
    assert bob.gate.passed > 3
