"""Where agents live: what of each outlives its process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.base import LocutionAgent, Ports
from behaviours.chronicling import CONVERSATION
from resilience.dead_letters import LETTERS
from resilience.journal import Journal
from society.simulation.connection import SimulatedConnection
from society.simulation.happenings import Left
from society.simulation.streams import DOMAIN
from society.simulation.virtual_time import Process


class SimulationError(Exception):
    """A scenario asks for what cannot be done; the text says why."""


@dataclass(frozen=True)
class Crash:
    """What comes of that which an agent was doing when it was killed."""


@dataclass
class Host:
    """An agent with what outlives its process."""

    kind: Callable[..., LocutionAgent]
    ports: Ports
    journal: Journal
    """The one of its ports, which answers at once."""
    agent: LocutionAgent | None = None
    process: Process | None = None
    connections: list[SimulatedConnection] = field(default_factory=list)
    works: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    number: int = 0

    async def left(self, agent: str) -> Left:
        """What lies in its journal, and with its dead letters."""
        letters = [*self.ports.dead_letters.list(agent, LETTERS), *await self.journal.letters(agent, LETTERS)]
        return Left(
            agent=agent,
            outgoing=tuple(each.id for each in await self.journal.outgoing(agent)),
            conversations=await self._open(agent),
            letters=tuple({each.id: each for each in letters}.values()),
        )

    async def has_work(self, agent: str) -> bool:
        """Whether a message is on its way, or a conversation open."""
        return (await self.journal.depth(agent)).outgoing > 0 or bool(await self._open(agent))

    async def _open(self, agent: str) -> tuple[str, ...]:
        keys = [each.key for each in await self.journal.snapshots(agent)]
        return tuple({each.rpartition("#")[0]: None for each in keys if each.startswith(CONVERSATION)})


def address_of(agent: LocutionAgent | str) -> str:
    """The bare JID of an agent, of which the name is known or the object at hand."""
    return f"{agent.partition('/')[0]}@{DOMAIN}" if isinstance(agent, str) else agent.me.name
