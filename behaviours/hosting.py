"""The conversations of one agent: begun, served, gone on with after a restart, and let go of.

`Hosting` is what the drivers of conversations have of their agent (`stepping.Room`, `initiating.Hub`); the
`mailroom` that derives from it brings them what comes in.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial

from behaviours.admitting import Admitting
from behaviours.bouncing import failure_of
from behaviours.burying import Burying
from behaviours.chronicling import Chronicle, Restored, Work, current, key_of
from behaviours.clocking import system_now
from behaviours.conversing import Seat
from behaviours.delivery import Delivery, DeliveryResult
from behaviours.enduring import Enduring
from behaviours.events import ConversationTaken, Fact, Hook
from behaviours.following import follow
from behaviours.handlers import Handlers
from behaviours.journaling import Lane
from behaviours.participating import Job
from behaviours.posting import OnLost
from behaviours.seating import Seating
from behaviours.services import incapable, is_capable, serve
from behaviours.settling import send
from behaviours.transport import Transport
from behaviours.understanding import ontology_for
from behaviours.wire import ABOUT
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import from_json
from ontology.content import Ontology, Reason, Term, explain
from ontology.errors import Cause, ContentError
from protocols import machine
from protocols.history import Opened, begun, replayed
from protocols.registry import PROTOCOLS
from protocols.table import Protocol, Role
from resilience.dead_letters import DeadLetters
from resilience.outbox import Outgoing

UNNAMED = "unnamed-"
"""What the ids begin with that we give to conversations without one."""

Trace = Callable[[AclMessage, AgentIdentifier], None]


class Hosting:
    """The hub of one agent's conversations.

    Args:
        me: who we are.
        transport: the connection.
        delivery: the outgoing side.
        handlers: what the agent can do.
        ontologies: what it understands, in order of preference.
        hook: sink of facts.
        dead_letters: where the unreadable and undeliverable is kept.
        enduring: what lets conversations outlive the process.
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
        enduring: Enduring,
        trace: Trace = lambda _message, _peer: None,
        clock: Callable[[], datetime] = system_now,
    ) -> None:
        self.me = me
        self.transport = transport
        self._delivery, self._handlers, self._hook = delivery, handlers, hook
        self.ontologies = tuple(ontologies)
        self._enduring, self._clock, self._trace = enduring, clock, trace
        self._seats = Seating(me.name)
        self._burying = Burying(me.name, dead_letters, self._seats, hook, clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self._admitting = Admitting(me.local_name)
        self._lane: Lane | None = None
        """While a message that begins nothing is handled: what its answer is written down with."""
        self._left: dict[str, Seat] = {}
        """By key: conversations that a handler has begun before a restart, and not yet again."""

    def now(self) -> datetime:
        """The present, aware."""
        return self._clock()

    def emit(self, fact: Fact) -> None:
        """Tell the hook."""
        self._hook(fact)

    def post(
        self,
        message: AclMessage,
        to: AgentIdentifier,
        on_lost: Callable[[Reason], None],
        chronicle: Chronicle | None = None,
    ) -> None:
        """Send without waiting; what is lost becomes a dead letter, and `on_lost` is told.

        It is written down first, together with what else the conversation writes down; a notice, which is of
        no use later, is not.

        Raises:
            ValueError: XML cannot carry it. Nothing was sent or traced.
        """

        def lost(record: Outgoing | None, reason: Reason) -> None:
            self._burying.lost(message, to, record, reason)
            self._trace(failure_of(message, self.me, reason), to)
            on_lost(reason)

        message = message.model_copy(update={"sender": self.me, "receiver": (to,)})
        lane = self._lane if chronicle is None else chronicle.work.lane
        if ABOUT in message.user_parameters:
            self._delivery.check(message, to)
            told = partial(self._tell, message, to, partial(lost, None))
            (lane or self._enduring.journaling.open).note(then=told)
            return
        key = "" if chronicle is None else chronicle.key
        self._enduring.outbox.post(message, to, lost, lane=lane, conversation=key, trace=self._trace)

    def _tell(self, notice: AclMessage, to: AgentIdentifier, on_lost: Callable[[Reason], None]) -> None:
        self._delivery.post(notice, to, on_lost, trace=self._trace)

    async def send(self, message: AclMessage) -> DeliveryResult:
        """Send to every receiver, and wait for what becomes of it; see `settling.send`.

        Raises:
            ValueError: nobody is addressed, or XML cannot carry it. Nothing was sent or traced.
        """
        message = message.model_copy(update={"sender": self.me})

        def lost(record: Outgoing, reason: Reason) -> None:
            self._burying.lost(message, AgentIdentifier.of(record.to), record, reason)

        outbox = self._enduring.outbox
        return await send(outbox, self._delivery, self.me, message, on_lost=lost, trace=self._trace)

    def new_id(self) -> str:
        """A conversation-id: for a handler that runs again the one that it had before."""
        work = self._work()
        return uuid.uuid4().hex if work is None else work.next_id()

    def _work(self) -> Work | None:
        """The work whose handler is running, if it is one of this agent."""
        work = current.get()
        return work if work is not None and work.agent == self.me.name and not work.is_over else None

    def open(self, protocol: Protocol, message: AclMessage, peer: AgentIdentifier) -> Seat:
        """Start a conversation as its initiator and send its first message.

        Raises:
            LocalProtocolError: the message does not begin the protocol. Nothing was sent.
            ValueError: it holds a character that XML cannot carry. Likewise.
        """
        left = self._left.pop(key_of(Role.INITIATOR, peer.name, message.conversation_id or ""), None)
        if left is not None:
            return left
        work = self._work()
        opened = Opened(
            protocol=protocol.name,
            role=Role.INITIATOR,
            peer=peer.name,
            message=message.model_copy(update={"sender": self.me, "receiver": (peer,)}),
            at=self.now(),
            parent="" if work is None else work.key,
        )
        conversation = begun(protocol, opened)
        self._delivery.check(opened.message, peer)  # else nobody would answer
        seat = Seat(self, protocol, conversation, peer, self._enduring.begun(opened, work))
        self._seats.add(seat)
        seat.opened(opened)
        return seat

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

    def _start(self, seat: Seat, opening: AclMessage, term: Term, ontology: Ontology) -> None:
        """Have a conversation served by its handler."""
        job = Job(
            room=self,
            seat=seat,
            opening=opening,
            term=term,
            ontology=ontology,
            handlers=self._handlers,
            ontologies=self.ontologies,
        )
        work = seat.chronicle.work
        task = asyncio.get_running_loop().create_task(self._work_on(job, work))
        work.lane.on_taken = partial(self._taken, seat, task)
        self.keep(task)
        self._admitting.serve(task, seat.protocol)

    async def _work_on(self, job: Job, work: Work) -> None:
        current.set(work)
        await serve(job)
        for key in [key for key, seat in self._left.items() if seat.chronicle.work is work]:
            # Begun before the restart, and not again: nobody waits for it any more.
            self.keep(asyncio.ensure_future(follow(self, self._left.pop(key), is_wanted=False)))
        work.served()

    def _taken(self, seat: Seat, task: asyncio.Task[None]) -> None:
        """Another replica has taken a conversation over: here it is as if it had never been."""
        self.emit(ConversationTaken(agent=self.me.name, conversation_id=seat.conversation.conversation_id))
        task.cancel()
        for each in self._seats:
            if each.chronicle.work is seat.chronicle.work:
                each.release()
                self._seats.remove(each)

    async def restore(self) -> None:
        """Go on with what a former process has left: conversations, and messages on their way.

        Raises:
            RecordsError: it cannot be read; nothing has begun.
        """
        found, outgoing, snapshots = await self._enduring.restored()
        seats: dict[str, Seat] = {}
        for each, work in found:
            seat = seats[each.key] = self._seated(each, work)
            if each.opened.parent:
                seat.resume(is_driven=True)
                self._left[each.key] = seat
        for each, _work in found:
            if not each.opened.parent:
                self._resume(each, seats[each.key])
        self._enduring.outbox.restore(outgoing, snapshots, partial(self._lost_later, seats))

    def _seated(self, each: Restored, work: Work) -> Seat:
        protocol, opened = PROTOCOLS[each.opened.protocol], each.opened
        is_ours = opened.role is Role.INITIATOR
        written = opened.message.receiver[0] if is_ours else opened.message.sender
        peer = written or AgentIdentifier(name=opened.peer)
        seat = Seat(self, protocol, begun(protocol, opened), peer, work.chronicle(each.key, each.events))
        if not is_ours:
            seat.replies_to = opened.message.reply_to
        self._seats.add(seat)
        return seat

    def _resume(self, each: Restored, seat: Seat) -> None:
        """Go on with a conversation of its own right."""
        if each.opened.role is Role.INITIATOR:
            seat.resume(is_driven=False)
            self.keep(asyncio.ensure_future(follow(self, seat, is_wanted=True)))
            return
        if machine.is_over(seat.protocol, replayed(seat.protocol, each.events)):
            seat.resume(is_driven=False)
            seat.chronicle.work.served()
            return
        message = each.opened.message
        if (message.conversation_id or "").startswith(UNNAMED):
            message = message.model_copy(update={"conversation_id": None})
        try:
            ontology = self.ontology_of(message)
            term = ontology.parse(message.content)
            if not is_capable(message.performative, term, self._handlers, self.ontologies):
                text = incapable(self.me.local_name, message.performative, term, self._handlers)
                raise ContentError(Cause.UNSUPPORTED_FUNCTION, text)  # noqa: TRY301
        except ContentError as error:
            seat.resume(is_driven=False)
            self._fail(seat, message, error.cause, error.text)
            return
        guard = seat.chronicle.work.guard
        if guard is not None and self._enduring.is_poison(guard):
            seat.resume(is_driven=False)
            text = f"{term.tag} has ended {self.me.local_name} {guard.begun - 1} times; it is not tried again"
            attempts = guard.begun - 1
            self._burying.unhandled(message, seat.peer, Cause.INTERNAL_ERROR, text, attempts=attempts)
            self._fail(seat, message, Cause.INTERNAL_ERROR, text)
            return
        seat.resume(is_driven=True)
        self._start(seat, message, term, ontology)

    def _fail(self, seat: Seat, message: AclMessage, cause: Cause, text: str) -> None:
        """End a conversation that cannot go on."""
        for act in (Performative.FAILURE, Performative.REFUSE, Performative.REJECT_PROPOSAL):
            if seat.may_say(act):
                seat.say(message.reply(act, content=explain(cause, text)))
                break
        else:
            seat.lose(Reason(cause=cause, text=text))
        seat.chronicle.work.served()

    def _lost_later(self, seats: Mapping[str, Seat], left: Outgoing) -> OnLost:
        """What is to happen if a message of a former process is lost."""
        seat = seats.get(left.conversation)

        def lost(record: Outgoing, reason: Reason) -> None:
            self._burying.lost(from_json(record.message), AgentIdentifier.of(record.to), record, reason)
            if seat is not None:
                seat.lose(reason)

        return lost
