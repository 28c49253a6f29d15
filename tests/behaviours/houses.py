"""Agents that do what a test tells them to, in every role, and an ontology for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, ClassVar

import pytest

from agents.base import LocutionAgent
from behaviours import watching
from behaviours.connection import Life, XmppConnection
from behaviours.events import ConversationEnded
from behaviours.handlers import (
    answers,
    bids,
    brokers,
    confirms,
    considers,
    decided,
    hears,
    holds,
    on,
    publishes,
    values,
    votes,
)
from behaviours.outcomes import Cancelled, Failed, Outcome, Succeeded, sentence
from behaviours.participating import Participation
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Concept, Ontology, Predicate, Term
from ontology.interaction import AuctionEnded, Proxy, Sale
from ontology.management import DfAgentDescription, ServiceDescription
from tests.conftest import World


class Move(AgentAction):
    """Go to a room."""

    to: str = "kitchen"


class IsFree(Predicate):
    """Nobody is in a room."""

    room: str = "kitchen"


class Temperatures(Predicate):
    """A question: how warm is it there?"""

    room: str = "kitchen"


class Temperature(Predicate):
    """So warm."""

    celsius: float = 20.5


class Offer(Predicate):
    """What it costs."""

    euros: float


class Painting(Concept):
    """A lot."""

    title: str = "a cow"


class Foreign(Predicate):
    """A term of no ontology here."""


HOUSE = Ontology(
    name="house", version=(1, 0), terms=(Move, IsFree, Temperatures, Temperature, Offer, Painting)
)

ANYBODY = DfAgentDescription(services=(ServiceDescription(type="moving"),))

WORN = "a\uffffb"
"""What XML cannot carry."""

Play = Callable[[Any, Participation], Awaitable[Any]]


class House(LocutionAgent):
    """Has every handler.

    Args:
        *who: of the agent.
        **parts: handler's name to what it does: return this, raise it, or await it with its arguments.
    """

    ontologies: ClassVar[tuple[Ontology, ...]] = (HOUSE,)

    def __init__(self, *who: Any, **parts: Any) -> None:
        super().__init__(*who)
        self.parts = parts
        self.started, self.was_cancelled, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.told: list[Term] = []
        self.terms: list[Term] = []
        self.tasks: list[Participation] = []

    async def play(self, part: str, term: Term, task: Participation) -> Any:
        """Do what the test says."""
        self.started.set()
        self.terms.append(term)
        self.tasks.append(task)
        plan = self.parts[part]
        if isinstance(plan, BaseException):
            raise plan
        if not callable(plan):
            return plan
        try:
            return await plan(term, task)
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise

    @on(Move)
    async def move(self, action: Move, task: Participation) -> Any:
        """Carry it out."""
        return await self.play("move", action, task)

    @bids(Move)
    async def bid(self, action: Move, task: Participation) -> Any:
        """Offer it."""
        return await self.play("bid", action, task)

    @answers(Temperatures)
    async def answer(self, query: Temperatures, task: Participation) -> Any:
        """Answer a query-ref."""
        return await self.play("answer", query, task)

    @confirms(IsFree)
    async def confirm(self, proposition: IsFree, task: Participation) -> Any:
        """Answer a query-if."""
        return await self.play("confirm", proposition, task)

    @holds(IsFree)
    async def wait_until(self, condition: IsFree, task: Participation) -> Any:
        """Wait for a condition."""
        return await self.play("hold", condition, task)

    @considers(Move)
    async def consider(self, action: Move, task: Participation) -> Any:
        """Decide on a proposal."""
        return await self.play("consider", action, task)

    @votes(Move)
    async def vote(self, action: Move, task: Participation) -> Any:
        """Vote on it."""
        return await self.play("vote", action, task)

    @decided(Move)
    async def apply(self, action: Move, task: Participation) -> Any:
        """Apply what was decided."""
        return await self.play("apply", action, task)

    @publishes(Temperatures)
    async def publish(self, query: Temperatures, task: Participation) -> AsyncIterator[Any]:
        """Notify."""
        self.started.set()
        try:
            async for each in self.parts["publish"](query, task):
                yield each
        finally:
            self.closed.set()

    @values(Painting)
    async def value(self, lot: Painting, task: Participation) -> Any:
        """Value a lot."""
        return await self.play("value", lot, task)

    @brokers(Proxy)
    async def find(self, wanted: Proxy, task: Participation) -> Any:
        """Find targets."""
        return await self.play("find", wanted, task)

    @hears(AuctionEnded)
    @hears(Sale)
    def hear(self, term: Term, sender: AgentIdentifier) -> None:
        """Take note."""
        self.told.append(term)


def look_often(monkeypatch: pytest.MonkeyPatch, name: str) -> asyncio.Event:
    """Let agents look often whether a peer is still there; set once this one was found there.

    Only one that has answered such a look before is ever taken as gone.
    """
    looked, ask = asyncio.Event(), XmppConnection._ping

    async def ping(connection: XmppConnection, jid: str, timeout: float) -> Life:
        life = await ask(connection, jid, timeout)
        if life is Life.ALIVE and jid.startswith(f"{name}@"):
            looked.set()
        return life

    monkeypatch.setattr(watching, "PROBE_EVERY", 0.01)
    monkeypatch.setattr(XmppConnection, "_ping", ping)
    return looked


async def forever(_term: Any, _task: Participation) -> Any:
    """Work without end."""
    await asyncio.Event().wait()


def why(outcome: Any, kind: type[Outcome] = Failed) -> tuple[str, str]:
    """Cause and text of an outcome of this kind."""
    assert isinstance(outcome, kind), outcome
    assert not isinstance(outcome, Succeeded | Cancelled)
    assert sentence(outcome) == outcome.reason.text
    return outcome.reason.cause, outcome.reason.text


def result(outcome: Any) -> Term:
    """The result of an outcome."""
    assert isinstance(outcome, Succeeded), outcome
    return outcome.result


def opens(act: Performative, protocol: str, term: Term, **parameters: Any) -> AclMessage:
    """A puppet's first message."""
    fields: dict[str, Any] = {
        "performative": act,
        "content": HOUSE.render(term) if HOUSE.by_tag.get(term.tag) is type(term) else None,
        "protocol": protocol,
        "conversation_id": "c1",
        "reply_with": "r1",
        **parameters,
    }
    return AclMessage(**fields)


async def ended(world: World, agent: str, state: str, count: int = 1) -> None:
    """Wait until conversations of an agent have ended so."""
    await world.fact(ConversationEnded, agent=f"{agent}@localhost", state=state, count=count)


async def all_over(world: World, *agents: LocutionAgent) -> None:
    """Wait until none of these has an open conversation left."""
    await world.until(
        lambda: all(agent.mailroom.conversations() == [] for agent in agents),
        f"the end of all conversations; open are {[agent.mailroom.conversations() for agent in agents]}",
    )
