"""A connection with topics, and without an agent around it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from behaviours.connection import XmppConnection
from behaviours.readings import Reading
from behaviours.topics import Topics
from tests.conftest import World

PATIENCE = 10.0


class Talker:
    """An account that publishes and reads.

    Attributes:
        heard: the message stanzas that no topic has taken.
        sessions: set each time a session stands.
    """

    def __init__(self, name: str, *, port: int, ca_file: Path, resource: str = "here") -> None:
        self.heard: list[Any] = []
        self.sessions = asyncio.Event()
        self.breaks = asyncio.Event()
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
        self.topics = Topics(self.connection, rng=lambda: 0.0)

    async def stop(self) -> None:
        """Log out."""
        await self.topics.close()
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


async def read(reading: Reading, count: int) -> list[str]:
    """The next so many contents."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(reading) for _ in range(count)]
