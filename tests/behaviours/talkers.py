"""A connection with topics, and without an agent around it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from behaviours.connection import XmppConnection
from behaviours.delivery import Delivered, DeliveryResult, Undelivered
from behaviours.events import Fact
from behaviours.readings import Reading
from behaviours.topics import Topics
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, Predicate
from tests.conftest import World

PATIENCE = 10.0


class Note(Predicate):
    """What is published."""

    text: str


NOTES = Ontology(name="notes", version=(1, 0), terms=(Note,))


class Talker:
    """An account that publishes and reads.

    Attributes:
        heard: the message stanzas that no topic has taken.
        sessions: set each time a session stands.
        breaks: set each time it is gone.
        facts: what the topics told.
        traced: what they said and read.
    """

    def __init__(self, name: str, *, port: int, ca_file: Path, resource: str = "here") -> None:
        self.heard: list[Any] = []
        self.sessions = asyncio.Event()
        self.breaks = asyncio.Event()
        self.facts: list[Fact] = []
        self.traced: list[AclMessage] = []
        jid = f"{name}@localhost/{resource}" if resource else f"{name}@localhost"
        self.connection = XmppConnection(
            jid,
            "secret",
            host="127.0.0.1",
            port=port,
            ca_file=ca_file,
            on_message=self.heard.append,
            on_online=lambda _jid: self.sessions.set(),
            on_offline=lambda _reason: self.breaks.set(),
            on_fatal=lambda _reason: None,
            rng=lambda: 0.0,
        )
        self.topics = Topics(
            AgentIdentifier(name=f"{name}@localhost"),
            self.connection,
            (NOTES,),
            hook=self.facts.append,
            trace=lambda message, _peer: self.traced.append(message),
            rng=lambda: 0.0,
        )

    async def publish(self, topic: str, text: str, *, shared: bool = False) -> None:
        """Publish a note, which is to succeed."""
        assert await publish(self.topics, topic, text, shared=shared) == Delivered()

    async def fail(self, topic: str, text: str = "x") -> str:
        """Publish a note in vain; return why."""
        match await publish(self.topics, topic, text):
            case Undelivered(reason=reason):
                return reason.text
        raise AssertionError("it was published")

    async def read(self, topic: str) -> Reading:
        """Read a topic from now on."""
        reading = self.topics.read(topic)
        async with asyncio.timeout(PATIENCE):
            await reading.begun()
        return reading

    async def stop(self) -> None:
        """Log out."""
        self.topics.close()
        await self.topics.closed()
        await self.connection.close()


async def talker(world: World, name: str, **settings: Any) -> Talker:
    """Log in, on the world's server unless settings say otherwise."""
    if "port" not in settings:
        world.account(name)
        settings |= {"port": world.xmpp.port, "ca_file": world.authority.file}
    made = Talker(name, **settings)
    world.adopt(made)
    await made.connection.open()
    return made


async def publish(topics: Topics, topic: str, text: str, *, shared: bool = False) -> DeliveryResult:
    """Publish a note."""
    return await topics.publish(topic, NOTES.render(Note(text=text)), NOTES.label, shared=shared)


async def read(reading: Reading, count: int) -> list[str]:
    """The texts of the next so many notes."""
    found = []
    async with asyncio.timeout(PATIENCE):
        for _ in range(count):
            note = await anext(reading)
            assert isinstance(note, Note), note
            found.append(note.text)
    return found
