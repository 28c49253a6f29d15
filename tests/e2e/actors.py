"""What `test_protocols` runs in processes of their own: a server, participants, and an initiator.

::

    python -m tests.e2e.actors server FOLDER              tells its port and the file of its authority
    python -m tests.e2e.actors participants PORT CA_FILE  tells that it is ready
    python -m tests.e2e.actors initiator PORT CA_FILE     reads names of protocols, tells what came of each

Every line of output is JSON. Each ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from agents.base import LocutionAgent, Server
from agents.broker import Broker
from agents.directory_facilitator import DirectoryFacilitator
from agents.registered import RegisteredAgent
from behaviours.contracting import Proposal
from behaviours.handlers import answers, bids, considers, decided, hears, holds, on, publishes, values, votes
from behaviours.outcomes import Refuse, Succeeded
from behaviours.participating import Participation
from behaviours.polling import Decision
from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Concept, Done, Ontology, Predicate, Term
from ontology.interaction import Sale
from ontology.management import DfAgentDescription, ServiceDescription
from society.xmpp_server import CertificateAuthority, XmppServer


class Move(AgentAction):
    """Go to a room."""

    to: str


class IsFree(Predicate):
    """Nobody is in a room."""

    room: str


class Where(Predicate):
    """A question: in which process do you live?"""


class Here(Predicate):
    """In this one."""

    pid: int
    number: int = 0


class Offer(Predicate):
    """What it costs."""

    euros: float


class Painting(Concept):
    """A lot."""

    title: str


HOUSE = Ontology(name="house", version=(1, 0), terms=(Move, IsFree, Where, Here, Offer, Painting))


LIVING = ServiceDescription(type="living")


class Resident(RegisteredAgent):
    """Takes part in every protocol; its name says how much it would pay or asks."""

    ontologies: ClassVar[tuple[Ontology, ...]] = (HOUSE,)

    def __init__(self, *who: Any, directory: str) -> None:
        super().__init__(*who, directory=directory)
        self.worth = {"ann": 3.0, "bob": 5.0}[self.me.local_name]

    def services(self) -> tuple[ServiceDescription, ...]:
        """What the broker finds it by."""
        return (LIVING,)

    @on(Move)
    async def move(self, action: Move, task: Participation) -> Here:
        """Carry it out."""
        return Here(pid=os.getpid())

    @bids(Move)
    async def bid(self, action: Move, task: Participation) -> Offer:
        """Offer it, more cheaply in a second round."""
        return Offer(euros=self.worth if action.to != "again" else self.worth / 2)

    @answers(Where)
    async def answer(self, query: Where, task: Participation) -> Here:
        """Answer a query."""
        return Here(pid=os.getpid())

    @holds(IsFree)
    async def wait_until(self, condition: IsFree, task: Participation) -> None:
        """It becomes true soon."""
        await asyncio.sleep(0)

    @considers(Move)
    async def consider(self, action: Move, task: Participation) -> Done | Refuse:
        """Decide on a proposal."""
        return Done() if action.to == "here" else Refuse("far", "that is too far")

    @votes(Move)
    async def vote(self, action: Move, task: Participation) -> Done | Refuse:
        """Vote on it; ann is against going there."""
        is_for = action.to == "here" or self.me.local_name == "bob"
        return Done() if is_for else Refuse("far", "that is too far")

    @decided(Move)
    async def apply(self, action: Move, task: Participation) -> None:
        """Tell on standard output."""
        tell({"decided": task.is_committed, "of": self.me.local_name})

    @publishes(Where)
    async def publish(self, query: Where, task: Participation) -> AsyncIterator[Here]:
        """Notify without end."""
        number = 0
        while True:
            yield Here(pid=os.getpid(), number=number)
            number += 1
            await asyncio.sleep(0.001)

    @values(Painting)
    async def value(self, lot: Painting, task: Participation) -> float | None:
        """Pay that much, and leave when it costs more."""
        assert task.call is not None
        return self.worth if lot.title == "dutch" or task.call.price <= self.worth else None

    @hears(Sale)
    def buy(self, sale: Sale, seller: AgentIdentifier) -> None:
        """Tell on standard output."""
        tell({"bought": sale.price, "by": self.me.local_name})


class Scribe(LocutionAgent):
    """Hears what others have asked, and tells it on standard output."""

    ontologies: ClassVar[tuple[Ontology, ...]] = (HOUSE,)

    @hears(Here)
    def hear(self, here: Here, sender: AgentIdentifier) -> None:
        """Tell it."""
        tell({"heard": here.pid, "of": sender.name})


ANN, BOB, BROKER, DIRECTORY, SCRIBE = (
    f"{name}@localhost" for name in ("ann", "bob", "broker", "directory", "scribe")
)
TEMPLATE = DfAgentDescription(services=(LIVING,))


def cheapest(proposals: Sequence[Proposal]) -> Sequence[Proposal]:
    """Choose one."""
    return sorted(proposals, key=lambda each: each.term.euros)[:1]  # type: ignore[attr-defined]


def told(outcome: Any) -> Any:
    """An outcome as JSON: the result, or the name of what it is."""
    if isinstance(outcome, Succeeded):
        return told(outcome.result)
    if isinstance(outcome, Term):
        return {outcome.tag: outcome.model_dump()}
    return type(outcome).__name__


class Initiator(LocutionAgent):
    """Begins every protocol."""

    ontologies: ClassVar[tuple[Ontology, ...]] = (HOUSE,)


async def request(me: Initiator) -> Any:
    """What ann answers."""
    return told(await me.request(ANN, Move(to="here")))


async def query(me: Initiator) -> Any:
    """What ann answers."""
    return told(await me.query_ref(ANN, Where()))


async def request_when(me: Initiator) -> Any:
    """What ann answers in the end."""
    return told(await me.request_when(ANN, Move(to="here"), IsFree(room="here")))


async def propose(me: Initiator) -> Any:
    """How ann decides on two proposals."""
    return [told(await me.propose(ANN, Move(to=where))) for where in ("here", "there")]


async def vote(me: Initiator) -> Any:
    """Whether that was decided, and who was for it."""
    decision = await me.call_for_votes([ANN, BOB], Move(to="there"), quorum="all")
    assert isinstance(decision, Decision)
    return [decision.is_committed, decision.rejected]


async def contract_net(me: Initiator) -> Any:
    """Who was awarded, and what it answered."""
    contract = await me.call_for_proposals([ANN, BOB], Move(to="here"), cheapest)
    return {name: told(outcome) for name, outcome in contract.awards.items()}


async def iterated_contract_net(me: Initiator) -> Any:
    """What was offered in two rounds, and who was awarded."""
    offers: list[list[float]] = []

    def revise(proposals: Sequence[Proposal]) -> Move | None:
        offers.append(sorted(each.term.euros for each in proposals))  # type: ignore[attr-defined]
        return Move(to="again") if len(offers) < 2 else None

    contract = await me.call_for_proposals([ANN, BOB], Move(to="here"), cheapest, revise=revise)
    return offers, {name: told(outcome) for name, outcome in contract.awards.items()}


async def subscribe(me: Initiator) -> Any:
    """The first three notifications."""
    async with me.subscribe(ANN, Where()) as updates:
        return [told(await anext(updates)) for _each in range(3)]


async def english_auction(me: Initiator) -> Any:
    """Who bought it."""
    auction = await me.english_auction([ANN, BOB], Painting(title="english"), start=3, increment=2, reserve=3)
    return [(each.winner.name, each.price) for each in auction.sales]


async def dutch_auction(me: Initiator) -> Any:
    """Who bought it."""
    auction = await me.dutch_auction(
        [ANN, BOB], Painting(title="dutch"), start=6, decrement=1, round_within=0.5
    )
    return [(each.winner.name, each.price) for each in auction.sales]


async def brokering(me: Initiator) -> Any:
    """Who replied what, and who passed it on."""
    found: Any = await me.broker(BROKER, TEMPLATE, Where(), performative="query-ref")
    return {name: (told(each), each.message.sender.name) for name, each in found.replies.items()}


async def recruiting(me: Initiator) -> Any:
    """Who replied what."""
    found: Any = await me.recruit(BROKER, TEMPLATE, Where(), performative="query-ref")
    return {name: (told(each), each.message.sender.name) for name, each in found.replies.items()}


async def designated(me: Initiator) -> Any:
    """Who was recruited, and replies to the scribe; and how many replies came to us."""
    found: Any = await me.recruit(BROKER, TEMPLATE, Where(), performative="query-ref", designated=[SCRIBE])
    return found.targets, len(found.replies)


SCENES: dict[str, Callable[[Initiator], Awaitable[Any]]] = {
    f"{'locution' if scene is vote else 'fipa'}-{scene.__name__.replace('_', '-')}": scene
    for scene in (
        request, query, request_when, propose, vote, contract_net, iterated_contract_net,
        subscribe, english_auction, dutch_auction, brokering, recruiting,
    )
}  # fmt: skip


ASIDE = {"designated": designated}
"""Scenes of what a protocol has besides."""


def tell(line: Any) -> None:
    """Say something to the test."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def lines() -> AsyncIterator[str]:
    """What the test says, until it has no more to say."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line.strip()


async def serve(folder: str) -> None:
    """Run the server."""
    authority = CertificateAuthority.open(Path(folder))
    names = ("ann", "bob", "broker", "directory", "scribe", "initiator")
    passwords = dict.fromkeys(names, "secret")
    async with XmppServer(domain="localhost", port=0, passwords=passwords, authority=authority) as server:
        tell({"port": server.port, "ca_file": str(authority.file)})
        async for _line in lines():
            pass


async def participate(server: Server) -> None:
    """Run the participants."""
    residents = [Resident(jid, "secret", server, directory=DIRECTORY) for jid in (ANN, BOB)]
    others = [
        DirectoryFacilitator(DIRECTORY, "secret", server),
        Broker(BROKER, "secret", server, directory=DIRECTORY),
        Scribe(SCRIBE, "secret", server),
    ]
    for each in (*others, *residents):
        await each.start()
    for resident in residents:
        await resident.describe()  # now it stands in the directory
    tell("ready")
    async for _line in lines():
        found = (each.mailroom.conversations() for each in (*residents, *others))
        tell([each.protocol for conversations in found for each in conversations])
    for each in (*residents, *reversed(others)):
        await each.stop()


async def initiate(server: Server) -> None:
    """Run the initiator."""
    me = Initiator("initiator@localhost", "secret", server)
    await me.start()
    tell("ready")
    async for line in lines():
        tell(
            await {**SCENES, **ASIDE}[line](me)
            if line
            else [each.protocol for each in me.mailroom.conversations()]
        )
    await me.stop()


def main(part: str, *arguments: str) -> None:
    """Play a part."""
    if part == "server":
        asyncio.run(serve(*arguments))
        return
    port, ca_file = arguments
    server = Server(host="127.0.0.1", port=int(port), ca_file=Path(ca_file))
    asyncio.run({"participants": participate, "initiator": initiate}[part](server))


if __name__ == "__main__":
    main(*sys.argv[1:])
