"""Where agents live: what of each outlives its process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agents.base import LocutionAgent, Ports
from society.simulation.connection import SimulatedConnection
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
    agent: LocutionAgent | None = None
    process: Process | None = None
    connections: list[SimulatedConnection] = field(default_factory=list)
    works: dict[int, asyncio.Future[Any]] = field(default_factory=dict)
    number: int = 0


def address_of(agent: LocutionAgent | str) -> str:
    """The bare JID of an agent, of which the name is known or the object at hand."""
    return f"{agent.partition('/')[0]}@{DOMAIN}" if isinstance(agent, str) else agent.me.name
