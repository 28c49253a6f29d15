"""The manager's side of the contract net: call for proposals, award, wait (FIPA00029, FIPA00030).

Which proposals win is the caller's choice; `vickrey` is the rule of a sealed-bid second-price auction.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from behaviours.clocking import after
from behaviours.conversing import Seat
from behaviours.initiating import (
    REPLY_WITHIN,
    RESULT_WITHIN,
    Hub,
    cancel,
    greet,
    opening,
    outcome_of,
    result_of,
)
from behaviours.outcomes import NotUnderstood, Outcome
from behaviours.participating import PRICE
from behaviours.stepping import Heard, Told
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Ontology, Reason, Term, explain
from ontology.errors import Cause, ContentError
from protocols.contract_net import CONTRACT_NET
from protocols.iterated_contract_net import ITERATED_CONTRACT_NET


@dataclass(frozen=True)
class Proposal:
    """What one participant offers."""

    participant: AgentIdentifier
    term: Term
    message: AclMessage


@dataclass(frozen=True, kw_only=True)
class Contract:
    """How a call for proposals ended."""

    conversation_id: str
    proposals: tuple[Proposal, ...]
    """Proposals that came in time, in order of arrival."""
    declined: Mapping[str, Outcome]
    """Participant's name to why it made none: Refused, NotUnderstood, Failed or Expired."""
    awards: Mapping[str, Outcome]
    """Winner's name to what became of its award; empty when nobody was chosen."""


@dataclass(kw_only=True)
class Observer:
    """What a caller wants to see while a contract net runs. Each is called at once, in order."""

    on_call: Callable[[str], None] = field(default=lambda _conversation_id: None)
    """Before the call is said; a further round is of the same conversation."""
    on_answer: Callable[[str, Proposal | Outcome], None] = field(default=lambda _name, _answer: None)
    on_award: Callable[[str], None] = field(default=lambda _name: None)
    on_notice: Callable[[str, Term], None] = field(default=lambda _name, _term: None)


ResultWithin = float | None | Callable[[Proposal], float | None]
"""Seconds for a winner's result: a number, None for no limit, or told from its proposal."""


@dataclass(frozen=True)
class Award:
    """A winner, and what it is told to be the price where that is not what it offered."""

    proposal: Proposal
    price: float | None = None


Choose = Callable[[Sequence[Proposal]], Iterable[Proposal | Award]]
"""Which proposals to accept: none, one or several. It is called once, after the last answer."""

Revise = Callable[[Sequence[Proposal]], AgentAction | None]
"""The call of a further round to all that have proposed, or None when it is time to choose."""


async def call_for_proposals(
    hub: Hub,
    participants: Iterable[AgentIdentifier],
    ontology: Ontology,
    action: AgentAction,
    choose: Choose,
    *,
    revise: Revise | None = None,
    reply_within: float = REPLY_WITHIN,
    result_within: ResultWithin = RESULT_WITHIN,
    observer: Observer | None = None,
) -> Contract:
    """Call for proposals, award the chosen ones and wait for every winner.

    The call ends as soon as everyone has answered, at the latest after `reply_within` seconds. Each
    proposal is answered exactly once; one that comes later is rejected with the reason.

    Args:
        hub: our mailroom.
        participants: whom to call.
        ontology: the one that the action is a term of.
        action: what is to be done.
        choose: picks the winners.
        revise: makes it an iterated contract net: asked after each round for the next one's call.
        reply_within: seconds for the proposals of a round.
        result_within: seconds for a winner's result, or how to tell them from its proposal; after that
            it is told to stop. None waits as long as it is there.
        observer: sees answers, awards and notices as they come.
    """
    observer = observer or Observer()
    protocol = CONTRACT_NET if revise is None else ITERATED_CONTRACT_NET
    message = opening(hub, Performative.CFP, protocol, ontology, action, reply_within)
    seats: dict[str, Seat] = {}
    declined: dict[str, Outcome] = {}
    observer.on_call(message.conversation_id or "")
    try:
        for peer in participants:
            if peer.name not in seats:
                call = message.model_copy(update={"receiver": (peer,)})
                seats[peer.name] = hub.open(protocol, call, peer)
        called = list(seats.values())
        while True:
            proposals = await _collect(hub, called, declined, observer)
            # The peer may have gone between proposing and now.
            standing = [each for each in proposals if not seats[each.participant.name].is_over]
            following = revise(tuple(standing)) if revise is not None and standing else None
            if following is None:
                break
            action = following
            called = [seats[each.participant.name] for each in standing]
            for seat, proposal in zip(called, standing, strict=True):
                _call_again(hub, seat, proposal, ontology.render(action), reply_within)
        won = _decide(seats, standing, choose, ontology.render(action), observer)
        winners = [seats[each.participant.name] for each in won]
        outcomes = await asyncio.gather(
            *(
                _award(hub, seat, message, _seconds(result_within, each), observer)
                for seat, each in zip(winners, won, strict=True)
            )
        )
    except BaseException:
        for seat in seats.values():
            cancel(hub, seat, message)
        raise
    return Contract(
        conversation_id=message.conversation_id or "",
        proposals=tuple(proposals),
        declined=declined,
        awards={seat.conversation.peer: outcome for seat, outcome in zip(winners, outcomes, strict=True)},
    )


def vickrey(price: Callable[[Proposal], float]) -> Choose:
    """The award rule of a sealed-bid second-price auction, for services that are bought.

    The lowest bid wins and is paid what the second lowest asks; a single bid is paid what it asks. Of
    equal bids the one that came first wins. The winner finds the price in `Participation.price`.

    Args:
        price: what a proposal asks for.
    """

    def choose(proposals: Sequence[Proposal]) -> list[Award]:
        ranked = sorted(proposals, key=price)
        return [Award(ranked[0], price(ranked[min(1, len(ranked) - 1)]))] if ranked else []

    return choose


async def _collect(
    hub: Hub, seats: Sequence[Seat], declined: dict[str, Outcome], observer: Observer
) -> list[Proposal]:
    """Wait for the answers of one round, in order of arrival."""
    proposals: list[Proposal] = []
    came: dict[str, datetime] = {}
    answers = [asyncio.ensure_future(_proposal(hub, seat, came)) for seat in seats]
    try:
        for next_one in asyncio.as_completed(answers):
            answer = await next_one
            if isinstance(answer, Proposal):
                proposals.append(answer)
                observer.on_answer(answer.participant.name, answer)
            else:
                declined[answer[0]] = answer[1]
                observer.on_answer(*answer)
    finally:
        for each in answers:
            each.cancel()
    # A handler that runs again is to make the same choice, and hears all of this at once.
    places = {seat.peer.name: place for place, seat in enumerate(seats)}
    return sorted(proposals, key=lambda each: (came[each.participant.name], places[each.participant.name]))


def _decide(
    seats: Mapping[str, Seat], standing: Sequence[Proposal], choose: Choose, content: str, observer: Observer
) -> list[Proposal]:
    """Answer every proposal exactly once; return the accepted ones."""
    prices: dict[str, float | None] = {}
    for each in choose(tuple(standing)) if standing else ():
        award = each if isinstance(each, Award) else Award(each)
        prices[award.proposal.participant.name] = award.price
    for proposal in standing:
        name = proposal.participant.name
        if name in prices:
            _accept(seats[name], proposal, content, prices[name])
            observer.on_award(name)
        else:
            _reject(seats[name], proposal)
    return [each for each in standing if each.participant.name in prices]


def _call_again(hub: Hub, seat: Seat, proposal: Proposal, content: str, within: float) -> None:
    seat.say(
        proposal.message.reply(
            Performative.CFP,
            content=content,
            reply_with=uuid.uuid4().hex,
            reply_by=after(hub.now(), within),
        )
    )


async def _proposal(hub: Hub, seat: Seat, came: dict[str, datetime]) -> Proposal | tuple[str, Outcome]:
    """Wait for one participant's first answer to a cfp; when a proposal came is noted."""
    while True:
        match await seat.step():
            case Heard(message, at) if message.performative is Performative.PROPOSE:
                came[seat.peer.name] = at
                try:
                    term = hub.ontology_of(message).parse(message.content)
                except ContentError as error:
                    _reject_unreadable(seat, message, error)
                    return seat.peer.name, NotUnderstood(
                        Reason(cause=error.cause, text=f"the proposal cannot be read: {error.text}")
                    )
                greet(hub, seat)
                return Proposal(seat.peer, term, message)
            case Told():
                continue
            case step:
                return seat.peer.name, outcome_of(hub, seat, step)


def _reject_unreadable(seat: Seat, message: AclMessage, error: ContentError) -> None:
    content = explain(error.cause, error.text, error.about)
    seat.say(message.reply(Performative.NOT_UNDERSTOOD, content=content, receiver=(seat.peer,)))


def _reject(seat: Seat, proposal: Proposal) -> None:
    content = explain(Cause.NOT_CHOSEN, "another proposal was better")
    seat.say(proposal.message.reply(Performative.REJECT_PROPOSAL, content=content))


def _accept(seat: Seat, proposal: Proposal, content: str, price: float | None) -> None:
    # No reply-by: it would ask the winner for its result by then; how long we wait is our own affair.
    seat.say(
        proposal.message.reply(
            Performative.ACCEPT_PROPOSAL,
            content=content,
            reply_with=uuid.uuid4().hex,
            user_parameters={} if price is None else {PRICE: repr(price)},
        )
    )


def _seconds(within: ResultWithin, proposal: Proposal) -> float | None:
    return within(proposal) if callable(within) else within


async def _award(hub: Hub, seat: Seat, call: AclMessage, within: float | None, observer: Observer) -> Outcome:
    """Wait for a winner's result."""
    seat.await_result(None if within is None else after(hub.now(), within))
    name = seat.peer.name
    return await result_of(hub, seat, call, within, lambda term: observer.on_notice(name, term))
