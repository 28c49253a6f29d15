"""What the examples of the protocols share: a kitchen to talk about, and a stage for a few agents.

::

    python examples/kitchen/request.py
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agents.base import LocutionAgent, Server
from ontology.content import AgentAction, Concept, Ontology, Predicate
from society.xmpp_server import CertificateAuthority, XmppServer


# [shared]
class Boil(AgentAction):
    """Boil water."""

    litres: float


class IsEmpty(Predicate):
    """There is no water in it."""


class Temperatures(Predicate):
    """How warm is it?"""


class Temperature(Predicate):
    """So warm."""

    celsius: float


class Offer(Predicate):
    """What it would take."""

    minutes: float


class Teapot(Concept):
    """Something to be sold."""

    maker: str


KITCHEN = Ontology(
    name="kitchen", version=(1, 0), terms=(Boil, IsEmpty, Temperatures, Temperature, Offer, Teapot)
)


class Cook(LocutionAgent):
    """An agent that knows about kitchens."""

    ontologies = (KITCHEN,)


# [end]


Play = Callable[[Any], Awaitable[None]]


def perform(play: Play, **cast: type[LocutionAgent]) -> None:
    """Start a server and these agents, and let a cook talk to them; they are called ``name@localhost``."""
    asyncio.run(_perform(play, {**cast, "cook": Cook}))


async def _perform(play: Play, cast: dict[str, type[LocutionAgent]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        authority = CertificateAuthority.open(Path(folder))
        passwords = dict.fromkeys(cast, "secret")
        async with XmppServer(domain="localhost", port=0, passwords=passwords, authority=authority) as xmpp:
            server = Server(host="127.0.0.1", port=xmpp.port, ca_file=authority.file)
            agents = [kind(f"{name}@localhost", "secret", server) for name, kind in cast.items()]
            try:
                for agent in agents:
                    await agent.start()
                await play(agents[-1])
                # Somebody may still have to be told how it ended.
                while any(agent.mailroom.conversations() for agent in agents):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.01)
            finally:
                for agent in agents:
                    await agent.stop()
