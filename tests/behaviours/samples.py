"""A small ontology and agents that speak it: sums that can be quick, slow, refused or wrong."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from agents.base import LocutionAgent
from behaviours.handlers import bids, hears, on
from behaviours.outcomes import Answer, Fail, Refuse, Succeeded, sentence
from behaviours.participating import Participation
from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Ontology, Predicate


class Add(AgentAction):
    """Add two numbers; `manner` says how the adder behaves."""

    a: float = 1
    b: float = 2
    manner: str = "well"


class Forward(AgentAction):
    """Ask another adder."""

    to: str


class Unknown(AgentAction):
    """An action that no agent here does."""


class Sum(Predicate):
    """What was added."""

    value: float


class Price(Predicate):
    """What an adder asks."""

    amount: float


class Half(Predicate):
    """A notice meanwhile."""

    done: float


SUMS = Ontology(name="sums", version=(1, 2), terms=(Add, Forward, Unknown, Sum, Price, Half))


class Asker(LocutionAgent):
    """Speaks of sums, and does none."""

    ontologies: ClassVar[tuple[Ontology, ...]] = (SUMS,)


class Adder(Asker):
    """Adds, in the manner that it is asked to."""

    def __init__(self, *args: Any, price: float = 1.0, mood: str = "well") -> None:
        super().__init__(*args)
        self.price, self.mood = price, mood
        self.release = asyncio.Event()
        """Lets the handlers that hold go on."""
        self.was_cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.heard: list[tuple[Predicate, str]] = []

    @on(Add)
    async def add(self, action: Add, task: Participation) -> Answer:
        """Add."""
        self.started.set()
        manner = self.mood if self.mood != "well" else action.manner.rstrip()
        try:
            match manner:
                case "holding" | "stubborn" | "unwilling later":
                    await self.release.wait()
                case "agreeing":
                    task.agree()
                    task.agree()  # once is enough
                    task.tell(Half(done=0.5))
                    await self.release.wait()
                case "telling":
                    task.tell(Half(done=0.5))
        except asyncio.CancelledError:
            self.was_cancelled.set()
            if manner != "stubborn":
                raise
        match manner:
            case "refusing" | "unwilling later":
                return Refuse("busy", "I am busy")
            case "failing":
                return Fail("broken", "the abacus is broken")
            case "raising":
                raise KeyError("bead")
        return Sum(value=action.a + action.b)

    @bids(Add)
    async def bid(self, action: Add, task: Participation) -> Answer:
        """Offer to add."""
        match self.mood:
            case "silent" | "late":
                await self.release.wait()
            case "too busy":
                return Refuse("busy", "I am busy")
            case "raising in bid":
                raise RuntimeError("no idea")
        return Price(amount=self.price)

    @on(Forward)
    async def forward(self, action: Forward, task: Participation) -> Answer:
        """Ask another one and pass its answer on."""
        outcome = await self.request(action.to, Add(a=20, b=22))
        if isinstance(outcome, Succeeded):
            result = outcome.result
            assert isinstance(result, Sum)
            return result
        return Fail("forwarded", sentence(outcome))

    @hears(Half)
    def hear(self, notice: Half, sender: AgentIdentifier) -> None:
        """Take note."""
        self.heard.append((notice, sender.name))
