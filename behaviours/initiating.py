"""The initiator's side: ask one agent (fipa-request), or call many for proposals (fipa-contract-net).

Whoever asks gets a value that says how it ended; nothing is raised for what the peer did. Cancelling
the task that waits sends a cancel to the participants and leaves it to the background to end politely.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Port

from behaviours.conversing import Heard, Lost, Overdue, Room, Seat, Told, after
from behaviours.outcomes import (
    Cancelled,
    Expired,
    Failed,
    NotUnderstood,
    Outcome,
    Refused,
    Succeeded,
)
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, AgentAction, Done, Ontology, Reason, Term, explain
from ontology.errors import Cause, ContentError
from protocols.contract_net import CONTRACT_NET
from protocols.request import REQUEST
from protocols.table import CANCELLED, Protocol

REPLY_WITHIN = 10.0
"""Seconds for the first answer: the reply-by of a request."""

RESULT_WITHIN = 300.0
"""Seconds for the result after an agree or an award."""

CANCEL_WITHIN = 10.0
"""Seconds for the answer to a cancel."""

OnNotice = Callable[[Term], None]


class Hub(Room, Port):
    """What starting a conversation needs of the mailroom."""

    def open(self, protocol: Protocol, message: AclMessage, peer: AgentIdentifier) -> Seat:
        """Start a conversation as its initiator."""

    def ontology_of(self, message: AclMessage) -> Ontology:
        """The ontology that a message's content is read with."""

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a background task until it is done."""


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

    on_answer: Callable[[str, Proposal | Outcome], None] = field(default=lambda _name, _answer: None)
    on_award: Callable[[str], None] = field(default=lambda _name: None)
    on_notice: Callable[[str, Term], None] = field(default=lambda _name, _term: None)


ResultWithin = float | None | Callable[[Proposal], float | None]
"""Seconds for a winner's result: a number, None for no limit, or told from its proposal."""

Choose = Callable[[Sequence[Proposal]], Iterable[Proposal]]
"""Which proposals to accept: none, one or several. It is called once, after the last answer."""


def opening(
    hub: Hub, performative: Performative, protocol: Protocol, ontology: Ontology, term: Term, seconds: float
) -> AclMessage:
    """Make the first message of a conversation."""
    return AclMessage(
        performative=performative,
        sender=hub.me,
        content=ontology.render(term),
        language=LANGUAGE,
        ontology=ontology.label,
        protocol=protocol.name,
        conversation_id=uuid.uuid4().hex,
        reply_with=uuid.uuid4().hex,
        reply_by=after(hub.now(), seconds),
    )


async def request(
    hub: Hub,
    to: AgentIdentifier,
    ontology: Ontology,
    action: AgentAction,
    *,
    reply_within: float = REPLY_WITHIN,
    result_within: float | None = RESULT_WITHIN,
    on_notice: OnNotice | None = None,
) -> Outcome:
    """Ask one agent to do something (FIPA00026).

    Args:
        hub: our mailroom.
        to: whom to ask.
        ontology: the one that the action is a term of.
        action: what to do.
        reply_within: seconds for the first answer.
        result_within: seconds for the result once it has agreed, after which it is told to stop; None
            waits as long as it is there.
        on_notice: called with what the participant tells meanwhile, progress for instance.
    """
    message = opening(hub, Performative.REQUEST, REQUEST, ontology, action, reply_within)
    message = message.model_copy(update={"receiver": (to,)})
    seat = hub.open(REQUEST, message, to)
    try:
        return await _result(hub, seat, message, result_within, on_notice)
    except asyncio.CancelledError:
        cancel(hub, seat, message)
        raise


async def call_for_proposals(
    hub: Hub,
    participants: Iterable[AgentIdentifier],
    ontology: Ontology,
    action: AgentAction,
    choose: Choose,
    *,
    reply_within: float = REPLY_WITHIN,
    result_within: ResultWithin = RESULT_WITHIN,
    observer: Observer | None = None,
) -> Contract:
    """Call for proposals, award the chosen ones and wait for every winner (FIPA00029).

    The call ends as soon as everyone has answered, at the latest after `reply_within` seconds. Each
    proposal is answered exactly once; one that comes later is rejected with the reason.

    Args:
        hub: our mailroom.
        participants: whom to call.
        ontology: the one that the action is a term of.
        action: what is to be done.
        choose: picks the winners.
        reply_within: seconds for the proposals.
        result_within: seconds for a winner's result, or how to tell them from its proposal; after that
            it is told to stop. None waits as long as it is there.
        observer: sees answers, awards and notices as they come.
    """
    observer = observer or Observer()
    message = opening(hub, Performative.CFP, CONTRACT_NET, ontology, action, reply_within)
    seats: dict[str, Seat] = {}
    proposals: list[Proposal] = []
    declined: dict[str, Outcome] = {}
    try:
        for peer in participants:
            if peer.name not in seats:
                call = message.model_copy(update={"receiver": (peer,)})
                seats[peer.name] = hub.open(CONTRACT_NET, call, peer)
        answers = [asyncio.ensure_future(_proposal(hub, seat)) for seat in seats.values()]
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
        # The peer may have gone between proposing and now.
        standing = [each for each in proposals if not seats[each.participant.name].is_over]
        chosen = {each.participant.name for each in choose(tuple(standing))} if standing else set()
        for proposal in standing:
            name = proposal.participant.name
            if name in chosen:
                _accept(seats[name], proposal, message)
                observer.on_award(name)
            else:
                _reject(seats[name], proposal)
        won = [each for each in standing if each.participant.name in chosen]
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


def cancel(hub: Hub, seat: Seat, message: AclMessage) -> None:
    """Take a conversation back (FIPA00026, 2.2): say so, and let the answer come in the background."""
    if seat.is_over:
        return
    seat.say(
        message.model_copy(
            update={
                "performative": Performative.CANCEL,
                "receiver": (seat.peer,),
                "reply_with": uuid.uuid4().hex,
                "reply_by": after(hub.now(), CANCEL_WITHIN),
            }
        )
    )

    async def wait_for_answer() -> None:
        while not seat.is_over:
            await seat.step()

    hub.keep(asyncio.ensure_future(wait_for_answer()))


async def _proposal(hub: Hub, seat: Seat) -> Proposal | tuple[str, Outcome]:
    """Wait for one participant's first answer to a cfp."""
    while True:
        match await seat.step():
            case Heard(message) if message.performative is Performative.PROPOSE:
                try:
                    term = hub.ontology_of(message).parse(message.content)
                except ContentError as error:
                    _reject_unreadable(seat, message, error)
                    return seat.peer.name, NotUnderstood(
                        Reason(cause=error.cause, text=f"the proposal cannot be read: {error.text}")
                    )
                # Learn now whether this peer answers probes, while it certainly is there.
                hub.keep(asyncio.ensure_future(_greet(hub, seat)))
                return Proposal(seat.peer, term, message)
            case Told():
                continue
            case step:
                return seat.peer.name, _ending(hub, seat, step)


async def _greet(hub: Hub, seat: Seat) -> None:
    await hub.transport.probe(seat.peer.jid, 2.0)


def _reject_unreadable(seat: Seat, message: AclMessage, error: ContentError) -> None:
    content = explain(error.cause, error.text, error.about)
    seat.say(message.reply(Performative.NOT_UNDERSTOOD, content=content, receiver=(seat.peer,)))


def _reject(seat: Seat, proposal: Proposal) -> None:
    content = explain(Cause.NOT_CHOSEN, "another proposal was better")
    seat.say(proposal.message.reply(Performative.REJECT_PROPOSAL, content=content))


def _accept(seat: Seat, proposal: Proposal, call: AclMessage) -> None:
    # No reply-by: it would ask the winner for its result by then; how long we wait is our own affair.
    accept = Performative.ACCEPT_PROPOSAL
    seat.say(proposal.message.reply(accept, content=call.content, reply_with=uuid.uuid4().hex))


def _seconds(within: ResultWithin, proposal: Proposal) -> float | None:
    return within(proposal) if callable(within) else within


async def _award(hub: Hub, seat: Seat, call: AclMessage, within: float | None, observer: Observer) -> Outcome:
    """Wait for a winner's result."""
    seat.await_result(None if within is None else after(hub.now(), within))
    name = seat.peer.name
    return await _result(hub, seat, call, within, lambda term: observer.on_notice(name, term))


async def _result(
    hub: Hub, seat: Seat, opening: AclMessage, within: float | None, on_notice: OnNotice | None
) -> Outcome:
    """Wait for the end of a conversation."""
    while True:
        match await seat.step():
            case Told(term):
                if on_notice is not None:
                    on_notice(term)
            case Heard(message) if message.performative is Performative.AGREE:
                seat.await_result(None if within is None else after(hub.now(), within))
            case step:
                if isinstance(step, Overdue):
                    cancel(hub, seat, opening)
                return _ending(hub, seat, step)


def _ending(hub: Hub, seat: Seat, step: Heard | Lost | Overdue | Told) -> Outcome:
    """Read how a conversation ended off its last step."""
    match step:
        case Lost(reason):
            return Failed(reason)
        case Heard(message):
            return _heard_ending(hub, seat, message)
        case _:
            text = f"{seat.peer} did not answer in time"
            return Expired(Reason(cause=Cause.EXPIRED, text=text, about=seat.peer.name))


def _heard_ending(hub: Hub, seat: Seat, message: AclMessage) -> Outcome:
    if seat.conversation.state == CANCELLED:
        return Cancelled()
    match message.performative:
        case Performative.INFORM:
            if message.content is None:
                return Succeeded(Done(), message)
            try:
                return Succeeded(hub.ontology_of(message).parse(message.content), message)
            except ContentError as error:
                text = f"the result of {seat.peer} cannot be read: {error.text}"
                return Failed(Reason(cause=error.cause, text=text, about=error.about))
        case Performative.REFUSE:
            return Refused(_reason(hub, message))
        case Performative.NOT_UNDERSTOOD:
            return NotUnderstood(_reason(hub, message))
        case _:
            return Failed(_reason(hub, message))


def _reason(hub: Hub, message: AclMessage) -> Reason:
    """The reason in a message's content; what a peer of other habits writes is taken as its text."""
    try:
        term = hub.ontology_of(message).parse(message.content)
    except ContentError:
        term = None
    if isinstance(term, Reason):
        return term
    told = (message.content or "").strip() or f"{message.performative.value} without a reason"
    return Reason(cause=message.performative.value, text=told[:1000])
