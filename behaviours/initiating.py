"""The initiator's side: ask one agent something, and get a value that says how it ended.

Nothing is raised for what the peer did. Cancelling the task that waits sends a cancel to the participant
and leaves it to the background to end politely. `contracting`, `publishing`, `auctioning` and
`brokering` build on what stands here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Protocol as Port

from behaviours.conversing import Heard, Lost, Overdue, Room, Seat, Step, Told, after
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
from ontology.content import LANGUAGE, Done, Ontology, Reason, Term
from ontology.errors import Cause, ContentError
from protocols.request import REQUEST
from protocols.table import CANCELLED, CANCELLING, Protocol

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


async def ask(
    hub: Hub,
    to: AgentIdentifier,
    ontology: Ontology,
    term: Term,
    *,
    performative: Performative = Performative.REQUEST,
    protocol: Protocol = REQUEST,
    reply_within: float = REPLY_WITHIN,
    result_within: float | None = RESULT_WITHIN,
    on_notice: OnNotice | None = None,
) -> Outcome:
    """Say something to one agent and wait for what it says last: a request, a query, a proposal.

    Args:
        hub: our mailroom.
        to: whom to ask.
        ontology: the one that the term is of.
        term: what it is about.
        performative: the act that opens the protocol.
        protocol: one between two: request, query, request-when, propose.
        reply_within: seconds for the first answer.
        result_within: seconds for the result once it has agreed, after which it is told to stop; None
            waits as long as it is there.
        on_notice: called with what the participant tells meanwhile, progress for instance.
    """
    message = opening(hub, performative, protocol, ontology, term, reply_within)
    message = message.model_copy(update={"receiver": (to,)})
    seat = hub.open(protocol, message, to)
    try:
        return await result_of(hub, seat, message, result_within, on_notice)
    except asyncio.CancelledError:
        cancel(hub, seat, message)
        raise


def cancel(hub: Hub, seat: Seat, message: AclMessage) -> None:
    """Take a conversation back (FIPA00026, 2.2): say so, and let the answer come in the background."""
    if withdraw(hub, seat, message):
        hub.keep(asyncio.ensure_future(wait_for_end(seat)))


async def wait_for_end(seat: Seat) -> None:
    """See a cancelled conversation to its end; one whose cancel is never answered is let go of."""
    while not seat.is_over:
        let_go(seat, await seat.step())


def let_go(seat: Seat, step: Step) -> None:
    """End a conversation whose cancel was not answered in time."""
    if isinstance(step, Overdue) and seat.conversation.state == CANCELLING:
        text = f"{seat.peer} did not answer the cancel"
        seat.lose(Reason(cause=Cause.EXPIRED, text=text, about=seat.peer.name))


def withdraw(hub: Hub, seat: Seat, message: AclMessage) -> bool:
    """Say that a conversation is taken back; whether there was anything to be taken back."""
    if seat.is_over or seat.conversation.state == CANCELLING:
        return False
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
    return True


async def result_of(
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
                return outcome_of(hub, seat, step)


def outcome_of(hub: Hub, seat: Seat, step: Step) -> Outcome:
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
        case Performative.INFORM | Performative.ACCEPT_PROPOSAL:
            if message.content is None:
                return Succeeded(Done(), message)
            try:
                return Succeeded(hub.ontology_of(message).parse(message.content), message)
            except ContentError as error:
                text = f"the result of {seat.peer} cannot be read: {error.text}"
                return Failed(Reason(cause=error.cause, text=text, about=error.about))
        case Performative.REFUSE | Performative.REJECT_PROPOSAL:
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
