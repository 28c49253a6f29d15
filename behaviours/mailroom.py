"""Where an agent's messages come in: read, told apart, and routed by conversation-id in constant time.

One behaviour receives everything (`receiving`); the mailroom behind it is free of SPADE and of sockets.
What happens to a message:

1. a bounce goes to `delivery`; what is no ACL message is answered not-understood;
2. a second copy is dropped;
3. a message of a known conversation goes to its `Seat`, which holds it against the protocol's table;
4. what begins something is refused if the policy does not allow it (`authorising`) or it is too much now
   (`admitting`); what opens a protocol is read under its ontology and given to the agent's handler;
5. an inform outside any protocol goes to the listener for its predicate, and so does what ends a
   conversation of others: somebody has named us as a designated receiver (FIPA00034), or in a reply-to;
6. anything else goes to the agent's plain SPADE behaviours, if one of them wants it;
7. the rest is answered not-understood with the reason, once, and never if it is a not-understood.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime

from behaviours import receipts
from behaviours.admitting import RETRY_AFTER, unfit
from behaviours.authorising import Authority
from behaviours.claiming import Ahead, Claiming
from behaviours.clocking import system_now
from behaviours.complaints import Complaints
from behaviours.connection import Transport
from behaviours.conversing import Seat
from behaviours.delivery import Delivery
from behaviours.enduring import Claimed, Enduring
from behaviours.events import DuplicateDropped, HandlerFailed, Hook, MessageReceived
from behaviours.handlers import Handlers
from behaviours.hosting import UNNAMED, Trace
from behaviours.receipts import Receipts
from behaviours.replaying import Replaying
from behaviours.restoring import Restoring
from behaviours.services import incapable, is_capable
from behaviours.sorting import (
    OPENING_WITHOUT_PROTOCOL,
    is_answer,
    is_told,
    may_be_refused,
    protocol_of,
    takes_late,
)
from behaviours.wire import ABOUT, Bounced, Element, Incoming, Received, Unreadable, parse
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, explain
from ontology.errors import Cause, ContentError
from protocols.errors import RemoteProtocolError
from protocols.history import Opened, begun
from protocols.registry import PROTOCOLS
from protocols.table import Protocol, Role
from resilience.dead_letters import DeadLetters
from resilience.inbox import Claim, Standing


class Mailroom(Restoring):
    """The incoming side of one agent.

    Args:
        me: who we are.
        transport: the connection.
        delivery: the outgoing side.
        handlers: what the agent can do.
        ontologies: what it understands, in order of preference.
        hook: sink of facts.
        dead_letters: where the unreadable and undeliverable is kept.
        enduring: what lets conversations outlive the process.
        authority: says what others may begin with us, and whether they are who they say; others are refused.
        otherwise: offered what nobody here wants; says whether somebody took it.
        trace: shown every message that is sent or was read, and who is at the other end.
        clock: the wall clock, aware.
    """

    def __init__(
        self,
        *,
        me: AgentIdentifier,
        transport: Transport,
        delivery: Delivery,
        handlers: Handlers,
        ontologies: Iterable[Ontology],
        hook: Hook,
        dead_letters: DeadLetters,
        authority: Authority,
        enduring: Enduring,
        otherwise: Callable[[Element], bool] = lambda _stanza: False,
        trace: Trace = lambda _message, _peer: None,
        clock: Callable[[], datetime] = system_now,
    ) -> None:
        super().__init__(
            me=me,
            transport=transport,
            delivery=delivery,
            handlers=handlers,
            ontologies=ontologies,
            hook=hook,
            dead_letters=dead_letters,
            enduring=enduring,
            trace=trace,
            clock=clock,
        )
        self.authority, self._otherwise = authority, otherwise
        authority.fence = enduring.fence
        self._complaints = Complaints(me.name, hook, self._answer, self._mention)
        self.replaying = Replaying(self, enduring, self._seats, authority, self._burying, trace)
        self._claiming = Claiming(self._take_again, self._claim, enduring.claim, self.keep)
        self._claimed: Claimed | None = None
        """While a message is handled that may begin something: the claim to it, until something is begun."""

    def stop(self, cancel: AclMessage, to: AgentIdentifier) -> None:
        """Cancel what an agent does for us at somebody else's request; whether it stops is not waited for."""
        self._complaints.cancel(cancel, to)

    def take(self, stanza: Element) -> None:
        """Handle one message stanza. Returns at once; never raises for what a peer wrote."""
        incoming: Incoming | None = None
        try:
            told = receipts.read(stanza)
            if told is not None:
                self._take_receipts(told, stanza.get("from") or "")
                return
            incoming = parse(stanza)
            self._delivery.heard(incoming)
            self._sort(incoming, stanza)
        except Exception as error:  # noqa: BLE001 - nobody's mistake, not even ours, may deafen the agent
            self._stumble(error, incoming, stanza)

    def _sort(self, incoming: Incoming | None, stanza: Element) -> None:
        match incoming:
            case Bounced():
                self._delivery.bounced(incoming)
            case Unreadable(error=error) if not (self.authority.hears(incoming) and self._otherwise(stanza)):
                self._burying.unreadable(incoming.sender.name, incoming.body, error.cause, error.text)
                self._complaints.unreadable(incoming)
            case Received():
                self._take_message(incoming, stanza)

    def _take_receipts(self, told: Receipts, peer: str) -> None:
        self._enduring.outbox.told(peer, told)
        self._enduring.acknowledging.answer(peer, told.asked)
        self.seeking.take(told, peer)

    def _take_message(self, received: Received, stanza: Element) -> None:
        message = received.message
        peer = message.sender or AgentIdentifier(name="nobody")
        self._enduring.outbox.heard_from(peer.jid, is_marked=received.is_marked)
        if self._enduring.is_second(received, peer):  # of one that waits, too
            self.emit(DuplicateDropped(agent=self.me.name, peer=peer.name))
            return
        waiting = self._claiming.waiting(peer)
        too_much = self._admitting.objection(message, peer.name, waiting or 0)
        if waiting is not None and (too_much is None or self._seats.find(message, peer) is not None):
            if not self._claiming.wait(received, peer, stanza):
                self._enduring.acknowledging.drop(peer.jid, received.stanza_id)  # it is said again, if marked
                if not received.is_marked:
                    text = f"{waiting:,} messages of {peer} wait already"
                    self._burying.unhandled(message, peer, Cause.OVERLOADED, text)
        elif self._take_next(received, peer, stanza, too_much):
            self.keep(asyncio.get_running_loop().create_task(self._claiming.begin(received, peer, stanza)))

    def _take_next(
        self, received: Received, peer: AgentIdentifier, stanza: Element, too_much: str | None
    ) -> bool:
        """Handle a message, unless it may begin something: then it is to be claimed, and this is True."""
        message = received.message
        self.emit(
            MessageReceived(
                agent=self.me.name,
                performative=message.performative.value,
                protocol=message.protocol or "",
                peer=peer.name,
            )
        )
        self._trace(message, peer)
        about = message.user_parameters.get(ABOUT)
        if about is not None and message.protocol is None and message.performative is Performative.INFORM:
            self._take_notice(received, peer, about)
        elif self._complaints.is_stopped(message, peer):
            self._enduring.done_with(received, peer)  # it has stopped, or cannot: nobody waits for it here
        elif seat := self._seats.find(message, peer):
            self.take_in(seat, received, peer)
        elif (objection := self.authority.objection(received, peer, protocol_of(message))) is not None:
            self._take_first(received, message, peer, stanza, objection)
            self._enduring.done_with(received, peer)
        elif too_much is not None:
            self._complaints.put_off(message, peer, too_much, RETRY_AFTER)
            if received.is_marked:
                self._enduring.acknowledging.drop(peer.jid, received.stanza_id)
        else:
            return True
        return False

    def _take_again(self, received: Received, peer: AgentIdentifier, stanza: Element) -> bool:
        try:
            too_much = self._admitting.objection(received.message, peer.name, 0)
            return self._take_next(received, peer, stanza, too_much)
        except Exception as error:  # noqa: BLE001 - as in `take`
            self._stumble(error, received, stanza)
            return False

    async def _claim(
        self, received: Received, peer: AgentIdentifier, stanza: Element, asked: Ahead | None
    ) -> None:
        """Handle a message that belongs to no conversation here, if no replica of ours does."""
        try:
            if not await self._straying.takes(received, peer):
                claimed = await (asked or self._enduring.claim(received, peer))
                if (ours := await self.resumes(claimed)) is not None:
                    self.handle(ours, received, peer, stanza)
        except ValueError as error:
            self._complaints.refuse(received.message, peer, Cause.UNSUPPORTED_VALUE, str(error))
        except Exception as error:  # noqa: BLE001 - as in `take`
            self._stumble(error, received, stanza)

    def handle(self, claimed: Claimed, received: Received, peer: AgentIdentifier, stanza: Element) -> None:
        """Handle a message that belongs to no conversation here, if it is ours to handle."""
        message, claim = received.message, claimed.claim
        if claim.standing is Standing.MISMATCH:
            known = f"another message has come under the id {received.stanza_id[:80]!r}"
            text = f"{known}; make a new one for each"
            self._complaints.refuse(message, peer, Cause.UNSUPPORTED_VALUE, text)
            return
        if not claim.is_ours:
            self.leave(claimed, received, peer)
            return
        lane = self._enduring.lane(claimed)
        self._lane, self._claimed = lane, claimed
        try:
            if claim.standing is Standing.DEAD:
                self._bury(claim, message, peer)
            else:
                self._take_first(received, message, peer, stanza, None)
        except Exception as error:  # noqa: BLE001 - as in `take`
            self._stumble(error, received, stanza)
        finally:
            self._lane = None
        if self._claimed is not None:  # nothing was begun: it is done with
            self._claimed = None
            lane.finish()
            self._enduring.journaling.drop(lane)
        self._enduring.count(lane, received, peer, claimed.letters)

    def _bury(self, claim: Claim, message: AclMessage, peer: AgentIdentifier) -> None:
        text = self._burying.poison(message, peer, message.performative.value, claim.attempts - 1)
        if may_be_refused(message):
            self._complaints.refuse(message, peer, Cause.INTERNAL_ERROR, text)

    def take_in(self, seat: Seat, received: Received, peer: AgentIdentifier) -> None:
        """Let a conversation go on with what was said in it."""
        if self.authority.believes(received, peer, seat):
            self.take_step(seat, received, peer)
        self._enduring.count(seat.chronicle.work.lane, received, peer)

    def take_step(self, seat: Seat, received: Received, peer: AgentIdentifier) -> None:
        """Let a conversation go on with a message."""
        message = received.message
        try:
            seat.receive(message, received.stanza_id if received.is_marked else "")
        except RemoteProtocolError as error:
            self._complaints.out_of_sequence(message, peer, error.text)
            if seat.is_given_up and peer.name == seat.conversation.peer:
                self._complaints.stop(message, peer, seat.protocol)
            if not error.answer or seat.has_complained:
                return
            seat.has_complained = True
            if seat.is_over and message.performative is Performative.CANCEL:
                # Rule G5: a cancel is answered inform or failure, also when it crossed the result.
                self._complaints.too_late_to_cancel(message, peer)
            else:
                self._complaints.not_understood(message, peer, Cause.UNEXPECTED_ACT, error.text)

    def _take_notice(self, received: Received, peer: AgentIdentifier, about: str) -> None:
        message, seat = received.message, self._seats.told(about, received.message, peer)
        if seat is None:
            return  # the conversation is over: its notices are of no use any more
        if (objection := self.authority.objection(received, peer, None)) is not None:
            self.authority.doubt(received, peer, objection)
            return
        try:
            seat.tell(self.ontology_of(message).parse(message.content), message)
        except ContentError as error:
            self._complaints.not_understood(message, peer, error.cause, error.text, error.about)

    def _take_first(
        self,
        received: Received,
        message: AclMessage,
        peer: AgentIdentifier,
        stanza: Element,
        objection: str | None,
    ) -> None:
        """A message that belongs to no conversation here."""
        act, name = message.performative, message.protocol
        protocol = protocol_of(message)
        opens = protocol is not None and protocol.opens_with(act)
        if objection is not None and (opens or may_be_refused(message)):
            self._complaints.refuse(message, peer, Cause.UNAUTHORISED, objection)
        elif protocol is not None and opens:
            self._serve(received, message, peer, protocol, stanza)
        elif objection is None and (
            (is_told(message, protocol) and self._hear(message, peer)) or self._otherwise(stanza)
        ):
            return
        elif name is not None and protocol is None:
            known = ", ".join(PROTOCOLS)
            self._complaints.not_understood(
                message,
                peer,
                Cause.UNSUPPORTED_VALUE,
                f"protocol {name[:80]!r} is not spoken here; {known} are",
                "protocol",
            )
        elif act is Performative.PROPOSE and takes_late(protocol, message):
            self._complaints.reject_late(message, peer)
        elif is_answer(message):
            self._complaints.out_of_sequence(message, peer, f"{act.value} belongs to no conversation here")
            if protocol is not None and protocol.may_repeat(act):
                self._complaints.stop(message, peer, protocol)
        else:
            text = f"{act.value} opens no conversation here"
            self._complaints.out_of_sequence(message, peer, text)
            self._complaints.not_understood(message, peer, Cause.UNEXPECTED_ACT, text, act.value)

    def _serve(
        self,
        received: Received,
        message: AclMessage,
        peer: AgentIdentifier,
        protocol: Protocol,
        stanza: Element,
    ) -> None:
        """Open a conversation as its participant, if there is something to answer it with."""
        try:
            ontology = self.ontology_of(message)
            action = ontology.parse(message.content)
            is_able = is_capable(message, action, self._handlers, self.ontologies)
        except ContentError as error:
            if not self._otherwise(stanza):
                self._complaints.not_understood(message, peer, error.cause, error.text, error.about)
            return
        why_not = unfit(received, self.now())
        if why_not is not None:
            self._complaints.refuse(message, peer, *why_not)
            return
        if not is_able:
            if not self._otherwise(stanza):
                text = incapable(self.me.local_name, message, action, self._handlers)
                self._complaints.refuse(message, peer, Cause.UNSUPPORTED_FUNCTION, text)
            return
        seat_key = message.conversation_id or f"{UNNAMED}{uuid.uuid4().hex}"
        named = message.model_copy(update={"conversation_id": seat_key})
        opened = Opened(
            protocol=protocol.name,
            role=Role.PARTICIPANT,
            peer=peer.name,
            message=named,
            at=self.now(),
            id=received.stanza_id if received.is_marked else "",
        )
        conversation = begun(protocol, opened)
        if self._claimed is None or self._lane is None:
            raise TypeError("a conversation is begun under a claim")
        chronicle = self._enduring.served(opened, self._claimed.guard, self._lane)
        self._claimed = None
        seat = Seat(self, protocol, conversation, peer, chronicle)
        seat.replies_to = message.reply_to
        self._seats.add(seat)
        self._start(seat, message, action, ontology)

    def _hear(self, message: AclMessage, peer: AgentIdentifier) -> bool:
        try:
            term = self.ontology_of(message).parse(message.content)
        except ContentError:
            return False
        listener = self._handlers.hears.get(type(term))
        if listener is not None:
            listener(term, peer)
        return listener is not None

    def _stumble(self, error: Exception, incoming: Incoming | None, stanza: Element) -> None:
        """A handler of notices or our own code raised: keep the message, tell the operator and the peer."""
        message = incoming.message if isinstance(incoming, Received) else None
        peer = message.sender if message is not None else None
        name = peer.name if peer is not None else stanza.get("from") or "nobody"
        text = f"{type(error).__name__}: {error}"
        self.emit(HandlerFailed(agent=self.me.name, peer=name, text=text))
        if message is not None and peer is not None:
            self._burying.unhandled(message, peer, Cause.INTERNAL_ERROR, text)
        else:
            self._burying.unreadable(name, f"a stanza of {name}", Cause.INTERNAL_ERROR, text)
        if message is not None and peer is not None and message.performative in OPENING_WITHOUT_PROTOCOL:
            told = f"{self.me.local_name} could not handle the message: {type(error).__name__}"
            content = explain(Cause.INTERNAL_ERROR, told)
            self._answer(message.reply(Performative.FAILURE, content=content), peer)
