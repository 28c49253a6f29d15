"""A peer on a real socket that says exactly what the test tells it to, and knows no protocol."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Self

from behaviours.connection import XmppConnection
from behaviours.wire import Bounced, Incoming, Received, parse, render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason
from tests.behaviours.samples import SUMS
from tests.conftest import PATIENCE, World

_ids = itertools.count(1)


class Puppet:
    """An account with a connection; the world stops it."""

    def __init__(self, world: World, name: str) -> None:
        self.jid = AgentIdentifier.of(world.account(name.partition("/")[0]))
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self.went_offline = asyncio.Event()
        self.connection = XmppConnection(
            f"{self.jid.name}/{name.partition('/')[2] or 'puppet'}",
            "secret",
            host="127.0.0.1",
            port=world.xmpp.port,
            ca_file=world.authority.file,
            on_message=self._queue.put_nowait,
            on_online=lambda _jid: None,
            on_offline=lambda _reason: self.went_offline.set(),
            on_fatal=lambda _reason: None,
        )
        world.adopt(self)

    @classmethod
    async def start(cls, world: World, name: str) -> Self:
        """Log in."""
        puppet = cls(world, name)
        await puppet.connection.open()
        return puppet

    async def stop(self) -> None:
        """Log out."""
        await self.connection.close()

    def say(self, message: AclMessage, to: AgentIdentifier) -> None:
        """Send a message; its id is new."""
        self.connection.hand_over(render(message, to.jid, f"puppet{next(_ids)}"))

    def write(self, stanza: str) -> None:
        """Send a stanza as it is."""
        self.connection.hand_over(stanza)

    async def next(self) -> Incoming:
        """Wait for the next thing that comes in."""
        async with asyncio.timeout(PATIENCE):
            while True:
                incoming = parse(await self._queue.get())
                if incoming is not None:
                    return incoming

    async def hear(self, performative: Performative) -> AclMessage:
        """Wait for the next message, which has this act."""
        incoming = await self.next()
        assert isinstance(incoming, Received), incoming
        assert incoming.message.performative is performative, incoming.message
        return incoming.message

    async def hear_reason(self, performative: Performative) -> Reason:
        """Wait for the next message, which has this act and gives a reason."""
        reason = SUMS.parse((await self.hear(performative)).content)
        assert isinstance(reason, Reason)
        return reason

    async def bounce(self) -> Bounced:
        """Wait for the next stanza, which comes back."""
        incoming = await self.next()
        assert isinstance(incoming, Bounced), incoming
        return incoming

    async def hears_nothing(self, agent: AgentIdentifier) -> None:
        """Nothing was said to us before the answer to a question that is asked now."""
        probe = AclMessage(performative=Performative.QUERY_IF, reply_with="probe")
        self.say(probe, agent)
        assert (await self.hear(Performative.NOT_UNDERSTOOD)).in_reply_to == "probe"
