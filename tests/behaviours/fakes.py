"""A connection that is a list, so that delivery and mailroom are tested without sockets."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from behaviours.authorising import Authority
from behaviours.clocking import system_now
from behaviours.connection import ConnectionFailed, Life
from behaviours.delivery import Delivery
from behaviours.enduring import Enduring
from behaviours.events import Fact
from behaviours.handlers import Handlers
from behaviours.mailroom import Mailroom
from behaviours.wire import Incoming, Received, parse, render
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from resilience.memory import MemoryDeadLetters, MemoryJournal
from tests.behaviours.samples import SUMS

ME = AgentIdentifier(name="me@here")
PEER = AgentIdentifier.of("peer@here/1")

_ids = itertools.count(1)


class FakeTransport:
    """`behaviours.connection.Transport` in memory.

    Attributes:
        sent: the stanzas that were handed over, in order.
        receipts: what was said of messages instead of in messages.
        breaks: the next stanza handed over finds the connection broken, as before it is noticed.
        confirms: what the server says of the stanzas so far.
    """

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.receipts: list[str] = []
        self.breaks = False
        self.confirms = True
        self.confirmations = 0
        self.lives: dict[str, Life] = {}
        self._online = asyncio.Event()
        self._online.set()

    @property
    def is_online(self) -> bool:
        return self._online.is_set()

    @is_online.setter
    def is_online(self, value: bool) -> None:
        if value:
            self._online.set()
        else:
            self._online.clear()

    async def wait_online(self) -> None:
        await self._online.wait()

    def hand_over(self, stanza: str) -> None:
        if self.breaks or not self.is_online:
            raise ConnectionFailed("broken")
        self.sent.append(stanza)

    async def confirm(self, timeout: float) -> bool:
        self.confirmations += 1
        await asyncio.sleep(0)
        return self.confirms

    async def probe(self, jid: str, timeout: float) -> Life:
        await asyncio.sleep(0)
        return self.lives.get(jid, Life.ALIVE)

    def said(self) -> list[AclMessage]:
        """Return what was handed over, as the receiver reads it."""
        return [arrived(stanza) for stanza in self.sent]


class Scene:
    """A mailroom with its delivery over a fake transport, and what came of it."""

    def __init__(
        self,
        handlers: Handlers | None = None,
        *,
        authority: Authority | None = None,
        journal: MemoryJournal | None = None,
        **mailroom: Any,
    ) -> None:
        self.transport = FakeTransport()
        self.facts: list[Fact] = []
        self.letters = MemoryDeadLetters()
        self.delivery = Delivery(ME, self.transport, self.facts.append)
        self.journal = journal or MemoryJournal()
        self.enduring = Enduring(
            me=ME,
            journal=self.journal,
            delivery=self.delivery,
            send=self.transport.receipts.append,
            hook=self.facts.append,
            clock=mailroom.get("clock", system_now),
            monotonic=asyncio.get_running_loop().time,
        )
        self.mailroom = Mailroom(
            me=ME,
            transport=self.transport,
            delivery=self.delivery,
            handlers=handlers or Handlers(),
            ontologies=(SUMS,),
            hook=self.facts.append,
            dead_letters=self.letters,
            enduring=self.enduring,
            authority=authority or Authority(ME, hook=self.facts.append),
            **mailroom,
        )

    async def hear(self, message: AclMessage, sender: AgentIdentifier = PEER) -> list[AclMessage]:
        """Let a message arrive; return what is said to it within a few turns of the loop."""
        return await self.hear_stanza(render(message, "me@here/1", f"id{next(_ids)}"), sender)

    async def hear_stanza(self, stanza: str, sender: AgentIdentifier = PEER) -> list[AclMessage]:
        """Let a stanza arrive."""
        await turns()
        before = len(self.transport.sent)
        self.mailroom.take(element(stanza, sender.jid))
        await turns()
        return self.transport.said()[before:]

    async def close(self) -> None:
        """Stop."""
        await self.enduring.close()
        self.mailroom.close()
        self.delivery.close()
        await self.mailroom.closed()
        await turns()


async def turns(count: int = 10) -> None:
    """Let everything run that is ready."""
    for _each in range(count):
        await asyncio.sleep(0)


def element(stanza: str, sender: str | None = None) -> ElementTree.Element:
    """Read a stanza as the stream's parser does, with the `from` that a server stamps."""
    stamp = "" if sender is None else f" from={quoteattr(sender)}"
    opened = stanza.replace("<message", f"<message{stamp}", 1)
    return ElementTree.fromstring(f'<stream xmlns="jabber:client">{opened}</stream>')[0]


def incoming(stanza: str, sender: str = "peer@here/1") -> Incoming | None:
    """Parse the text of a stanza."""
    return parse(element(stanza, sender))


def arrived(stanza: str, sender: str = "peer@here/1") -> AclMessage:
    """Parse the text of a stanza that holds an ACL message."""
    received = incoming(stanza, sender)
    assert isinstance(received, Received), received
    return received.message
