"""Every act that a table does not have, said to a running agent in both roles of each protocol.

What the tables allow is the affair of `tests.protocols`. Here it is seen that agents keep to them: an act out
of sequence moves nothing, a participant says so once, an initiator never.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from behaviours import participating
from behaviours.events import OutOfSequence
from ontology.acl import AclMessage, Performative
from ontology.content import Ontology, Term
from ontology.errors import Cause
from ontology.interaction import INTERACTION, AuctionStarted, Nested, Proxy, When
from protocols.machine import Conversation
from protocols.registry import PROTOCOLS, TABLES
from protocols.table import Protocol, Role
from tests.behaviours.houses import (
    ANYBODY,
    HOUSE,
    House,
    IsFree,
    Move,
    Painting,
    Temperatures,
    forever,
)
from tests.behaviours.puppets import Puppet
from tests.conftest import World

HELPER = "helper@localhost"


async def never(_query: Any, _task: Any) -> Any:
    """Publish nothing."""
    await asyncio.Event().wait()
    yield


BUSY = functools.partial(
    House,
    publish=never,
    **dict.fromkeys(
        ("move", "bid", "answer", "confirm", "hold", "consider", "vote", "value", "find"), forever
    ),
)
"""Takes whatever it is asked, and never comes to an end with it."""


def nested(term: Term) -> Nested:
    return Nested(ontology=HOUSE.label, content={term.tag: term.model_dump()})


PROXY = Proxy(template=ANYBODY, performative="query-ref", message=nested(Temperatures()))


@dataclass(frozen=True, kw_only=True)
class Opening:
    """How a protocol begins: what the initiator says, and what it calls for that."""

    act: Performative
    term: Term
    ask: Callable[[House, Any], Awaitable[Any]]
    state: str
    """In which the participant then is, and an initiator that has heard nothing yet."""
    ontology: Ontology = HOUSE

    def message(self, protocol: Protocol) -> AclMessage:
        """The opening message."""
        return AclMessage(
            performative=self.act,
            content=self.ontology.render(self.term),
            ontology=self.ontology.label,
            protocol=protocol.name,
            conversation_id="c1",
            reply_with="r1",
        )


async def _subscribed(house: House, to: Any) -> None:
    async with house.subscribe(to, Temperatures()) as updates:
        async for _update in updates:
            pass


def _auction(kind: str, **rules: float) -> Callable[[House, Any], Awaitable[Any]]:
    return lambda house, to: getattr(house, kind)([to], Painting(), round_within=60, **rules)


OPENINGS: Mapping[str, Opening] = {
    "fipa-request": Opening(
        act=Performative.REQUEST, term=Move(), ask=lambda house, to: house.request(to, Move()), state="S1"
    ),
    "fipa-query": Opening(
        act=Performative.QUERY_IF,
        term=IsFree(),
        ask=lambda house, to: house.query_if(to, IsFree()),
        state="S1i",
    ),
    "fipa-request-when": Opening(
        act=Performative.REQUEST_WHEN,
        term=When(action=nested(Move()), condition=nested(IsFree())),
        ask=lambda house, to: house.request_when(to, Move(), IsFree()),
        state="S1",
        ontology=INTERACTION,
    ),
    "fipa-contract-net": Opening(
        act=Performative.CFP,
        term=Move(),
        ask=lambda house, to: house.call_for_proposals([to], Move(), lambda _proposals: []),
        state="C1",
    ),
    "fipa-iterated-contract-net": Opening(
        act=Performative.CFP,
        term=Move(),
        ask=lambda house, to: house.call_for_proposals(
            [to], Move(), lambda _proposals: [], revise=lambda _proposals: None
        ),
        state="C1",
    ),
    "fipa-english-auction": Opening(
        act=Performative.INFORM,
        term=AuctionStarted(lot=nested(Painting())),
        ask=_auction("english_auction", start=1, increment=1),
        state="E1",
        ontology=INTERACTION,
    ),
    "fipa-dutch-auction": Opening(
        act=Performative.INFORM,
        term=AuctionStarted(lot=nested(Painting())),
        ask=_auction("dutch_auction", start=9, decrement=1, reserve=1),
        state="D1",
        ontology=INTERACTION,
    ),
    "fipa-brokering": Opening(
        act=Performative.PROXY,
        term=PROXY,
        ask=lambda house, to: house.broker(to, ANYBODY, Temperatures(), performative="query-ref"),
        state="B1",
        ontology=INTERACTION,
    ),
    "fipa-recruiting": Opening(
        act=Performative.PROXY,
        term=PROXY,
        ask=lambda house, to: house.recruit(to, ANYBODY, Temperatures(), performative="query-ref"),
        state="R1",
        ontology=INTERACTION,
    ),
    "fipa-subscribe": Opening(act=Performative.SUBSCRIBE, term=Temperatures(), ask=_subscribed, state="S1"),
    "fipa-propose": Opening(
        act=Performative.PROPOSE, term=Move(), ask=lambda house, to: house.propose(to, Move()), state="P1"
    ),
    "locution-vote": Opening(
        act=Performative.PROPOSE,
        term=Move(),
        ask=lambda house, to: house.call_for_votes([to], Move()),
        state="V1",
    ),
}


def illegal(protocol: Protocol, conversation: Conversation, opening: AclMessage) -> list[AclMessage]:
    """Every act that the peer of a conversation must not say there; a cancel is the initiator's right."""
    speaker = conversation.role.other
    found = []
    for act in Performative:
        message = opening.model_copy(update={"performative": act, "reply_with": f"again-{act}"})
        if protocol.following(conversation.state, speaker, message) is not None:
            continue
        if act is Performative.CANCEL and speaker is Role.INITIATOR:
            continue
        if act is Performative.NOT_UNDERSTOOD and conversation.last_speaker is not speaker:
            continue
        found.append(message)
    return found


async def settled(world: World, house: House, state: str) -> Conversation:
    """Wait until an agent has one conversation, in this state."""

    def found() -> list[str]:
        return [each.state for each in house.mailroom.conversations()]

    await world.until(lambda: found() == [state], f"{state}, not {found()}")
    return house.mailroom.conversations()[0]


def test_there_is_an_opening_of_each_protocol() -> None:
    assert set(OPENINGS) == {each.name for each in TABLES}


@pytest.mark.parametrize("name", OPENINGS)
async def test_to_a_participant(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participating, "AGREE_AFTER", 60.0)
    protocol, opening = PROTOCOLS[name], OPENINGS[name].message(PROTOCOLS[name])
    puppet, helper = await Puppet.start(world, "puppet"), await world.start(BUSY, "helper")
    puppet.say(opening, helper.me)
    state = OPENINGS[name].state
    if name == "fipa-request-when":  # it agrees at once: that is not optional there
        await puppet.hear(Performative.AGREE)
        state = "S2"
    before = await settled(world, helper, state)
    wrong = illegal(protocol, before, opening)
    assert len(wrong) >= len(Performative) - 4
    for message in wrong:
        puppet.say(message, helper.me)
    answer = await puppet.hear(Performative.NOT_UNDERSTOOD)
    kept = (answer.protocol, answer.conversation_id, answer.in_reply_to, answer.ontology)
    assert kept == (name, "c1", wrong[0].reply_with, opening.ontology)
    reason = INTERACTION.parse(answer.content)
    assert getattr(reason, "cause", None) == Cause.UNEXPECTED_ACT
    await world.fact(OutOfSequence, agent=HELPER, count=len(wrong))
    await puppet.hears_nothing(helper.me)  # by an act that is counted as well
    assert len(world.of(OutOfSequence)) == len(wrong) + 1
    assert helper.mailroom.conversations() == [before]
    assert not helper.was_cancelled.is_set()


@pytest.mark.parametrize("name", OPENINGS)
async def test_to_an_initiator(world: World, name: str) -> None:
    protocol = PROTOCOLS[name]
    puppet, house = await Puppet.start(world, "puppet"), await world.start(BUSY, "helper")
    asking = asyncio.ensure_future(OPENINGS[name].ask(house, puppet.jid))
    heard = await puppet.hear(OPENINGS[name].act)
    state = OPENINGS[name].state
    if "auction" in name:  # the first call comes at once
        heard = await puppet.hear(Performative.CFP)
        state = state.replace("1", "2")
    before = await settled(world, house, state)
    wrong = illegal(protocol, before, heard.reply(Performative.INFORM))
    assert len(wrong) >= len(Performative) - 6
    for message in wrong:
        puppet.say(message, house.me)
    await world.fact(OutOfSequence, agent=HELPER, count=len(wrong))
    await puppet.hears_nothing(house.me)
    assert len(world.of(OutOfSequence)) == len(wrong) + 1
    assert house.mailroom.conversations() == [before]
    assert not asking.done()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
