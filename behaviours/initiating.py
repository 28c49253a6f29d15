"""The initiator's side: ask one agent something, and get a value that says how it ended.

Nothing is raised for what the peer did. Cancelling the task that waits sends a cancel to the participant,
and the conversation ends politely by itself. `contracting`, `publishing`, `auctioning` and
`brokering` build on what stands here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any
from typing import Protocol as Port

from behaviours.clocking import after
from behaviours.conversing import CANCEL_WITHIN, Seat
from behaviours.following import is_left
from behaviours.outcomes import (
    Cancelled,
    Expired,
    Failed,
    NotUnderstood,
    Outcome,
    Refused,
    Succeeded,
)
from behaviours.stepping import Heard, Lost, Overdue, Room, Step, Told
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

GREET_WITHIN = 2.0
"""Seconds for the answer to a first probe."""

OnNotice = Callable[[Term], None]


class Hub(Room, Port):
    """What starting a conversation needs of the mailroom."""

    def open(self, protocol: Protocol, message: AclMessage, peer: AgentIdentifier) -> Seat:
        """Start a conversation as its initiator."""

    def new_id(self) -> str:
        """A conversation-id; for a handler that runs again after a restart, the one that it had before."""

    def ontology_of(self, message: AclMessage) -> Ontology:
        """The ontology that a message's content is read with."""

    def stop(self, cancel: AclMessage, to: AgentIdentifier) -> None:
        """Cancel what an agent does for us at somebody else's request."""

    def keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a background task until it is done."""


def opening(
    hub: Hub,
    performative: Performative,
    protocol: Protocol,
    ontology: Ontology,
    term: Term,
    seconds: float,
    conversation_id: str | None = None,
) -> AclMessage:
    """Make the first message of a conversation, under a new id or the one that is given."""
    return AclMessage(
        performative=performative,
        sender=hub.me,
        content=ontology.render(term),
        language=LANGUAGE,
        ontology=ontology.label,
        protocol=protocol.name,
        conversation_id=conversation_id or hub.new_id(),
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
    conversation_id: str | None = None,
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
        conversation_id: a new one of the caller's, which chooses by it whom to ask; by default one is made.
    """
    message = opening(hub, performative, protocol, ontology, term, reply_within, conversation_id)
    message = message.model_copy(update={"receiver": (to,)})
    seat = hub.open(protocol, message, to)
    try:
        return await result_of(hub, seat, message, result_within, on_notice)
    except asyncio.CancelledError:
        cancel(hub, seat, message)
        raise


def greet(hub: Hub, seat: Seat) -> None:
    """Learn, in the background, whether a peer that certainly is there now answers probes."""

    async def probe() -> None:
        await hub.transport.probe(seat.peer.jid, GREET_WITHIN)

    hub.keep(asyncio.ensure_future(probe()))


def cancel(hub: Hub, seat: Seat, message: AclMessage) -> bool:
    """Take a conversation back (FIPA00026, 2.2), if there is anything to take back; whether there was.

    It then ends by itself: when the answer comes, or its time is up.
    """
    if seat.is_over or seat.conversation.state == CANCELLING or is_left(seat):
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
