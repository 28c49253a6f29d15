"""The conversations of one agent: begun, served, and let go of.

`Hosting` is what the drivers of conversations have of their agent (`stepping.Room`, `initiating.Hub`). What
derives from it goes on with those that others have left (`restoring`), and brings them what comes in
(`mailroom`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from behaviours.admitting import Admitting
from behaviours.bouncing import failure_of
from behaviours.burying import Burying
from behaviours.chronicling import Chronicle, Work, current, key_of
from behaviours.clocking import system_now
from behaviours.conversing import Seat
from behaviours.delivery import Delivery, DeliveryResult
from behaviours.enduring import Enduring
from behaviours.events import ConversationTaken, Fact, Hook
from behaviours.fencing import acting
from behaviours.handlers import Handlers
from behaviours.inheriting import Inheriting
from behaviours.journaling import Lane
from behaviours.naming import new_id
from behaviours.participating import Job
from behaviours.polling import see_through
from behaviours.seating import Seating
from behaviours.seeking import Seeking
from behaviours.services import serve
from behaviours.settling import send
from behaviours.transport import Transport
from behaviours.understanding import ontology_for
from behaviours.wire import ABOUT
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, Reason, Term
from ontology.errors import Cause
from protocols import machine
from protocols.history import Opened, begun
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
        self._inheriting = Inheriting(me.name, enduring, hook)
        self.seeking = Seeking(enduring, self._inheriting, self._seats, self.keep)
        self._burying = Burying(me.name, dead_letters, self._seats, hook, clock)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._admitting = Admitting(me.local_name)
        self._lane: Lane | None = None
        """While a message that begins nothing is handled: what its answer is written down with."""
        self._left: dict[str, Seat] = {}
        """By key: conversations that a handler has begun before a restart, and not yet again."""

    @property
    def away(self) -> float:
        """Seconds that a peer may be away before a conversation with it is given up."""
        return self._enduring.journaling.journal.policy.away

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

    def _answer(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Send what nobody here waits for; if it is lost, that is a fact and a dead letter already."""
        self.post(message, peer, lambda _reason: None)

    def _mention(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Send what promises nothing, and is said anew should it be lost: it is not written down."""
        message = message.model_copy(update={"sender": self.me, "receiver": (peer,)})
        self._delivery.post(message, peer, lambda _r: None, trace=self._trace, message_id=uuid.uuid4().hex)

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
        return new_id() if work is None else work.next_id()

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
        work, office = self._work(), acting.get()
        message = message.model_copy(update={"sender": self.me, "receiver": (peer,)})
        opened = Opened(
            protocol=protocol.name,
            role=Role.INITIATOR,
            peer=peer.name,
            message=message if office is None else office.stamped(message),
            at=self.now(),
            parent="" if work is None else work.key,
            replica=self._enduring.replica if work is None else "",
        )
        conversation = begun(protocol, opened)
        self._delivery.check(opened.message, peer)  # else nobody would answer
        seat = Seat(self, protocol, conversation, peer, self._enduring.begun(opened, work))
        seat.office = office
        self._seats.add(seat)
        seat.opened(opened)
        return seat

    def seek(self, seat: Seat) -> bool:
        """Ask where a conversation goes on whose peer is not there; whether somebody has said so."""
        return self.seeking.asks(seat)

    def forget(self, seat: Seat) -> None:
        """Keep an ended conversation for a while, then drop it."""
        self._seats.linger(seat)

    def stop(self, cancel: AclMessage, to: AgentIdentifier) -> None:
        """Cancel what an agent does for us at somebody else's request."""
        raise NotImplementedError

    def keep(self, task: asyncio.Task[Any]) -> None:
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

    def seats(self) -> list[Seat]:
        """Our ends of the conversations that are not over."""
        return [seat for seat in self._seats if not seat.is_over]

    def make_no_offers(self) -> None:
        """Refuse every call for proposals from now on."""
        self._admitting.is_closing = True

    async def has_replicas(self) -> bool:
        """Whether the agent has other replicas, or has had some of whom nobody knows that they are gone.

        Raises:
            RecordsError: it cannot be read.
        """
        return bool(await self._enduring.living.others())

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
        self._admitting.serve(task, seat.protocol, seat.peer.name)

    async def _work_on(self, job: Job, work: Work) -> None:
        current.set(work)
        await serve(job)
        self._let_go(work)
        work.served()

    def _let_go(self, work: Work) -> None:
        """Take back what its handler has begun before a restart, and not again: nobody waits for it."""
        self._see_through(self._abandoned(work), None)

    def _abandoned(self, work: Work) -> list[Seat]:
        """What was begun for a work before a restart, and by nobody again, as it stands now."""
        keys = [key for key, seat in self._left.items() if seat.chronicle.work is work]
        seats = [self._left.pop(key) for key in keys]
        for seat in seats:
            seat.resume(is_driven=False)
        return seats

    def _see_through(self, seats: Sequence[Seat], opening: AclMessage | None) -> None:
        for each in see_through(self, seats, opening):
            self.keep(asyncio.ensure_future(each))

    def _taken(self, seat: Seat, task: asyncio.Task[None]) -> None:
        """Another replica has taken a conversation over: here it is as if it had never been."""
        self.emit(ConversationTaken(agent=self.me.name, conversation_id=seat.conversation.conversation_id))
        task.cancel()
        if seat.chronicle.work.guard is not None:
            self._inheriting.miss(seat.chronicle.work.guard)
        for each in self._seats:
            if each.chronicle.work is seat.chronicle.work:
                each.release()
                self._seats.remove(each)
