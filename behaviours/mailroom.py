"""Where an agent's messages come in: read, told apart, and routed by conversation-id in constant time.

One behaviour receives everything (`receiving`); the mailroom behind it is free of SPADE and of sockets.
What happens to a message:

1. a bounce goes to `delivery`; what is no ACL message is answered not-understood;
2. a second copy is dropped;
3. a message of a known conversation goes to its `Seat`, which holds it against the protocol's table;
4. what begins something is held against the policy, and refused if that does not allow it (`authorising`);
   a message that opens a protocol is read under its ontology and given to the agent's handler;
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

from behaviours.authorising import Authority
from behaviours.burying import Burying
from behaviours.complaints import Complaints
from behaviours.connection import Transport
from behaviours.conversing import HEARERS, Seat, system_now
from behaviours.delivery import Delivery, failure_of
from behaviours.duplicates import Seen
from behaviours.events import DuplicateDropped, Fact, HandlerFailed, Hook, MessageReceived
from behaviours.handlers import Handlers
from behaviours.participating import Job
from behaviours.seating import Seating
from behaviours.services import incapable, is_capable, serve
from behaviours.sorting import is_answer, is_told, may_be_refused
from behaviours.understanding import ontology_for
from behaviours.wire import ABOUT, Bounced, Element, Incoming, Received, Unreadable, parse
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import to_json
from ontology.content import Ontology, Reason, explain
from ontology.errors import Cause, ContentError
from protocols import machine
from protocols.contract_net import CONTRACT_NET
from protocols.errors import RemoteProtocolError
from protocols.registry import PROTOCOLS
from protocols.request import REQUEST
from protocols.table import EXPIRED, Protocol, Role
from resilience.dead_letters import DeadLetters

_OPENING_WITHOUT_PROTOCOL = {Performative.REQUEST: REQUEST, Performative.CFP: CONTRACT_NET}
"""How acts are taken that name no protocol, as chat clients and many plain agents write them."""

Trace = Callable[[AclMessage, AgentIdentifier], None]


class Mailroom:
    """The incoming side of one agent, and the hub of its conversations.

    Args:
        me: who we are.
        transport: the connection.
        delivery: the outgoing side.
        handlers: what the agent can do.
        ontologies: what it understands, in order of preference.
        hook: sink of facts.
        dead_letters: where the unreadable and undeliverable is kept.
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
        otherwise: Callable[[Element], bool] = lambda _stanza: False,
        trace: Trace = lambda _message, _peer: None,
        clock: Callable[[], datetime] = system_now,
    ) -> None:
        self.me = me
        self.transport = transport
        self._delivery, self._handlers, self._hook = delivery, handlers, hook
        self.ontologies = tuple(ontologies)
        self._authority, self._otherwise = authority, otherwise
        self._clock, self._trace = clock, trace
        self._bury = Burying(me.name, dead_letters, hook, clock).bury
        self._seats = Seating(me.name)
        self._seen = Seen()
        self._complaints = Complaints(me.name, hook, self._answer)
        self._tasks: set[asyncio.Task[None]] = set()

    # -- what seats and drivers need ---------------------------------------------------------

    def now(self) -> datetime:
        """The present, aware."""
        return self._clock()

    def emit(self, fact: Fact) -> None:
        """Tell the hook."""
        self._hook(fact)

    def post(self, message: AclMessage, to: AgentIdentifier, on_lost: Callable[[Reason], None]) -> None:
        """Send without waiting; what is lost becomes a dead letter, and `on_lost` is told.

        Raises:
            ValueError: XML cannot carry it. Nothing was sent or traced.
        """

        def lost(reason: Reason) -> None:
            self._bury(to.name, to_json(message), reason.cause, reason.text, is_inbound=False)
            self._trace(failure_of(message, self.me, reason), to)
            on_lost(reason)

        message = message.model_copy(update={"sender": self.me, "receiver": (to,)})
        self._delivery.post(message, to, lost, trace=self._trace)

    def open(self, protocol: Protocol, message: AclMessage, peer: AgentIdentifier) -> Seat:
        """Start a conversation as its initiator and send its first message.

        Raises:
            LocalProtocolError: the message does not begin the protocol. Nothing was sent.
            ValueError: it holds a character that XML cannot carry. Likewise.
        """
        conversation = machine.start(protocol, Role.INITIATOR, message, peer.name, self.now())
        seat = Seat(self, protocol, conversation, peer)
        self._seats.add(seat)
        try:
            seat.opened(message)
        except ValueError:  # XML cannot carry it: nothing was sent, nobody will answer
            seat.release()
            self._seats.remove(seat)
            raise
        return seat

    def stop(self, cancel: AclMessage, to: AgentIdentifier) -> None:
        """Cancel what an agent does for us at somebody else's request; whether it stops is not waited for."""
        self._complaints.cancel(cancel, to)

    def forget(self, seat: Seat) -> None:
        """Keep an ended conversation for a while, then drop it."""
        self._seats.linger(seat)

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a background task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def ontology_of(self, message: AclMessage) -> Ontology:
        """The ontology that a message's content is to be read with.

        Without an ontology parameter it is the first of ours that has the content's term.

        Raises:
            ContentError: we speak no such ontology, language or term.
        """
        return ontology_for(message, self.ontologies)

    def conversations(self) -> list[machine.Conversation]:
        """The conversations that are not over, oldest first."""
        live = (seat.conversation for seat in self._seats if not seat.is_over)
        return sorted(live, key=lambda each: each.opened)

    def close(self) -> None:
        """End all work without a word to any peer; whoever waits here for one is told."""
        for task in self._tasks:
            task.cancel()
        for seat in self._seats:
            seat.lose(Reason(cause=Cause.UNREACHABLE, text=f"{self.me.local_name} was stopped"))
            seat.release()
        self._seats.close()

    async def closed(self) -> None:
        """Return once all work has ended that `close` has ended; a handler may clean up."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what comes in -----------------------------------------------------------------------

    def take(self, stanza: Element) -> None:
        """Handle one message stanza. Returns at once; never raises for what a peer wrote."""
        incoming: Incoming | None = None
        try:
            incoming = parse(stanza)
            self._delivery.heard(incoming)
            self._sort(incoming, stanza)
        except Exception as error:  # noqa: BLE001 - nobody's mistake, not even ours, may deafen the agent
            self._stumble(error, incoming, stanza)

    def _sort(self, incoming: Incoming | None, stanza: Element) -> None:
        match incoming:
            case Bounced():
                self._delivery.bounced(incoming)
            case Unreadable(error=error) if not (self._authority.hears(incoming) and self._otherwise(stanza)):
                self._bury(incoming.sender.name, incoming.body, error.cause, error.text, is_inbound=True)
                self._complaints.unreadable(incoming)
            case Received():
                self._take_message(incoming, stanza)

    def _take_message(self, received: Received, stanza: Element) -> None:
        message = received.message
        peer = message.sender or AgentIdentifier(name="nobody")
        if received.stanza_id and self._seen.is_second(peer.jid, received.stanza_id, message):
            self.emit(DuplicateDropped(agent=self.me.name, peer=peer.name))
            return
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
            return  # what it has gone on with it has stopped, or cannot: nobody here waits for it
        elif seat := self._seats.find(message, peer):
            if self._authority.believes(received, peer, seat):
                self._take_step(seat, message, peer)
        else:
            self._take_first(received, message, peer, stanza)

    def _take_step(self, seat: Seat, message: AclMessage, peer: AgentIdentifier) -> None:
        try:
            seat.receive(message)
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
        message, seat = received.message, self._seats.begun(about, peer)
        if seat is None:
            return  # the conversation is over: its notices are of no use any more
        if (objection := self._authority.objection(received, peer, None)) is not None:
            self._authority.doubt(received, peer, objection)
            return
        try:
            seat.tell(self.ontology_of(message).parse(message.content))
        except ContentError as error:
            self._complaints.not_understood(message, peer, error.cause, error.text, error.about)

    def _take_first(
        self, received: Received, message: AclMessage, peer: AgentIdentifier, stanza: Element
    ) -> None:
        """A message that belongs to no conversation here."""
        act, name = message.performative, message.protocol
        protocol = PROTOCOLS.get(name) if name is not None else _OPENING_WITHOUT_PROTOCOL.get(act)
        opens = protocol is not None and protocol.opens_with(act)
        objection = self._authority.objection(received, peer, protocol)
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
        elif act is Performative.PROPOSE and _takes_late(protocol, message):
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
            is_able = is_capable(message.performative, action, self._handlers, self.ontologies)
        except ContentError as error:
            if not self._otherwise(stanza):
                self._complaints.not_understood(message, peer, error.cause, error.text, error.about)
            return
        if len(message.reply_to) > HEARERS:
            text = f"reply-to names {len(message.reply_to)} agents; {HEARERS} are answered at most"
            self._complaints.refuse(message, peer, Cause.UNSUPPORTED_VALUE, text)
            return
        if message.reply_by is not None and message.reply_by < self.now():
            why = "the server stored it" if received.is_stored else "it took too long, or our clocks differ"
            self._complaints.refuse(message, peer, Cause.LATE, f"the message came after its reply-by: {why}")
            return
        if not is_able:
            if not self._otherwise(stanza):
                text = incapable(self.me.local_name, message.performative, action, self._handlers)
                self._complaints.refuse(message, peer, Cause.UNSUPPORTED_FUNCTION, text)
            return
        seat_key = message.conversation_id or f"unnamed-{uuid.uuid4().hex}"
        named = message.model_copy(update={"conversation_id": seat_key})
        conversation = machine.start(protocol, Role.PARTICIPANT, named, peer.name, self.now())
        seat = Seat(self, protocol, conversation, peer)
        seat.replies_to = message.reply_to
        self._seats.add(seat)
        job = Job(
            room=self,
            seat=seat,
            opening=message,
            term=action,
            ontology=ontology,
            handlers=self._handlers,
            ontologies=self.ontologies,
        )
        self.keep(asyncio.get_running_loop().create_task(serve(job)))

    def _hear(self, message: AclMessage, peer: AgentIdentifier) -> bool:
        try:
            term = self.ontology_of(message).parse(message.content)
        except ContentError:
            return False
        listener = self._handlers.hears.get(type(term))
        if listener is not None:
            listener(term, peer)
        return listener is not None

    def _answer(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Send what nobody here waits for; if it is lost, that is a fact and a dead letter already."""
        self.post(message, peer, lambda _reason: None)

    def _stumble(self, error: Exception, incoming: Incoming | None, stanza: Element) -> None:
        """A handler of notices or our own code raised: keep the message, tell the operator and the peer."""
        message = incoming.message if isinstance(incoming, Received) else None
        peer = message.sender if message is not None else None
        name = peer.name if peer is not None else stanza.get("from") or "nobody"
        text = f"{type(error).__name__}: {error}"
        self.emit(HandlerFailed(agent=self.me.name, peer=name, text=text))
        original = to_json(message) if message is not None else f"a stanza of {name}"
        self._bury(name, original, Cause.INTERNAL_ERROR, text, is_inbound=True)
        if message is not None and peer is not None and message.performative in _OPENING_WITHOUT_PROTOCOL:
            told = f"{self.me.local_name} could not handle the message: {type(error).__name__}"
            content = explain(Cause.INTERNAL_ERROR, told)
            self._answer(message.reply(Performative.FAILURE, content=content), peer)


def _takes_late(protocol: Protocol | None, message: AclMessage) -> bool:
    """Whether a protocol answers what a participant says when its time is up, as the contract nets do."""
    return protocol is not None and protocol.following(EXPIRED, Role.PARTICIPANT, message) is not None
