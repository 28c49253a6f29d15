"""One end of one conversation: the pure `Conversation`, its clock, and what the peer says next.

`Seat` applies the table to everything that is said, on both sides, before it is sent and before it is
acted on. The drivers in `initiating` and `participating` sit on it.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol as Port

from behaviours.connection import Life, Transport
from behaviours.events import ConversationEnded, ConversationOpened, Fact
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, Reason, Term, explain
from ontology.errors import Cause
from protocols import machine
from protocols.errors import RemoteProtocolError
from protocols.machine import Conversation
from protocols.table import ANY, Protocol, Role

PROBE_EVERY = 1.0
"""Seconds between two looks at whether a peer that works for us is still there."""

GONE_AFTER = 3
"""Looks in a row that find it gone, before it is believed: time enough to come back from a short cut."""

SILENT_AFTER = 2
"""Looks in a row without any answer, each of `PROBE_WITHIN` seconds."""

PROBE_WITHIN = 5.0


LONGEST = 10 * 365 * 86_400.0
"""Seconds: a deadline in ten years is as good as none, and every calendar and timer can still hold it."""


@dataclass(frozen=True)
class Heard:
    """The peer said something that fits."""

    message: AclMessage


@dataclass(frozen=True)
class Told:
    """The peer let us know something beside the protocol: progress, a notice."""

    term: Term


@dataclass(frozen=True)
class Lost:
    """Our message did not get through, or the peer has vanished."""

    reason: Reason


@dataclass(frozen=True)
class Overdue:
    """The deadline passed."""


Step = Heard | Told | Lost | Overdue


class Room(Port):
    """What a seat needs of the mailroom it is in."""

    @property
    def me(self) -> AgentIdentifier:
        """Who we are."""

    @property
    def ontologies(self) -> tuple[Ontology, ...]:
        """What we understand, in order of preference."""

    @property
    def transport(self) -> Transport:
        """The connection."""

    def now(self) -> datetime:
        """The present, aware."""

    def emit(self, fact: Fact) -> None:
        """Tell the hook."""

    def post(self, message: AclMessage, to: AgentIdentifier, on_lost: Callable[[Reason], None]) -> None:
        """Send a message without waiting."""

    def forget(self, seat: Seat) -> None:
        """The seat is over: route to it only what comes late."""


class Seat:
    """Our end of a conversation with one peer.

    Not safe to share between tasks: one driver reads `step`, and the mailroom calls `receive`.
    """

    def __init__(
        self, room: Room, protocol: Protocol, conversation: Conversation, peer: AgentIdentifier
    ) -> None:
        self.protocol = protocol
        self.conversation = conversation
        self.peer = peer
        """The peer with the address that it last wrote from."""
        self.replies_to: AgentIdentifier | None = None
        """Who gets what we say instead of the peer: the reply-to of its first message (FIPA00061, 2.2.3)."""
        self.has_complained = False
        """Whether we have answered an act out of sequence once."""
        self.cancel: AclMessage | None = None
        """The initiator's cancel, once it has come."""
        self._room = room
        self._steps: deque[Step] = deque()
        self._arrived = asyncio.Event()
        self._awaits_result = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.Task[None] | None = None
        self._set_timer()
        room.emit(
            ConversationOpened(
                agent=room.me.name,
                conversation_id=conversation.conversation_id,
                protocol=protocol.name,
                role=conversation.role.value,
                peer=peer.name,
            )
        )

    @property
    def is_over(self) -> bool:
        """Whether the conversation has reached a terminal state."""
        return machine.is_over(self.protocol, self.conversation)

    @property
    def has_steps(self) -> bool:
        """Whether something has happened that nobody has looked at yet."""
        return bool(self._steps)

    def happen(self, event: str) -> None:
        """Move the conversation by something that no message tells (`protocols.machine.happen`)."""
        self._move(machine.happen(self.protocol, self.conversation, event))

    def may_say(self, act: Performative) -> bool:
        """Whether the table lets us say that now."""
        state, role = self.conversation.state, self.conversation.role
        return any((state, role, each) in self.protocol.transitions for each in (act.value, ANY))

    def say(self, message: AclMessage, deadline: datetime | None = None) -> None:
        """Send a message of this conversation.

        Raises:
            LocalProtocolError: it is not ours to say now. Nothing was sent and nothing has changed.
            ValueError: the message cannot be written as XML. Likewise.
        """
        moved = machine.say(self.protocol, self.conversation, message, deadline)
        self._room.post(message, self.replies_to or self.peer, self.lose)
        self._move(moved)

    def opened(self, message: AclMessage) -> None:
        """Send the first message, by which the conversation was started."""
        self._room.post(message, self.peer, self.lose)

    def receive(self, message: AclMessage) -> None:
        """Take a message that the mailroom routed here.

        Raises:
            RemoteProtocolError: the peer must not say that now. Nothing has changed.
        """
        message = self._unechoed(message)
        moved = machine.receive(self.protocol, self.conversation, message)
        if message.sender is not None and message.sender.name == self.conversation.peer:
            self.peer = message.sender
        if message.performative is Performative.CANCEL:
            self.cancel = message
        self._add(Heard(message))
        self._move(moved)
        if moved.state == "LATE":
            reason = explain(Cause.LATE, "the proposal came after the deadline")
            self.say(message.reply(Performative.REJECT_PROPOSAL, content=reason, receiver=(self.peer,)))

    def accepts(self, message: AclMessage) -> bool:
        """Whether the table lets the peer say that now."""
        try:
            machine.receive(self.protocol, self.conversation, self._unechoed(message))
        except RemoteProtocolError:
            return False
        return True

    def tell(self, term: Term) -> None:
        """Take a notice about this conversation."""
        if not self.is_over:
            self._add(Told(term))

    def lose(self, reason: Reason) -> None:
        """End the conversation: the peer cannot be reached."""
        if not self.is_over:
            self._add(Lost(reason))
            self._move(machine.lose(self.protocol, self.conversation))

    def await_result(self, deadline: datetime | None) -> None:
        """Now that the peer works for us, look that it is there, and wait until then; None, without limit.

        When that time comes the conversation does not expire by itself: whoever drives it is told by
        `Overdue` and cancels, so that the peer does not go on working for nobody.
        """
        if not self.is_over:
            self._awaits_result = True
            self._move(replace(self.conversation, deadline=deadline))
            self.watch()

    async def step(self) -> Step:
        """Wait for what happens next. Safe to cancel: nothing is lost."""
        while not self._steps:
            self._arrived.clear()
            await self._arrived.wait()
        return self._steps.popleft()

    def watch(self, gone_after: int | None = None) -> None:
        """From now on look whether the peer is still there, until the conversation is over.

        Args:
            gone_after: looks in a row that must find it gone; by default `GONE_AFTER`.
        """
        if self._watch is None and not self.is_over:
            self._watch = asyncio.get_running_loop().create_task(self._look(gone_after or GONE_AFTER))

    async def _look(self, gone_after: int) -> None:
        gone = silent = 0
        while not self.is_over:
            # Only a full JID names a session; a bare one is answered by the server.
            if "/" in self.peer.jid and self._room.transport.is_online:
                life = await self._room.transport.probe(self.peer.jid, PROBE_WITHIN)
                if life is Life.SILENT and not await self._room.transport.confirm(PROBE_WITHIN):
                    life = Life.ALIVE  # it is our own connection that is silent
                gone = gone + 1 if life is Life.GONE else 0
                silent = silent + 1 if life is Life.SILENT else 0
                if gone >= gone_after or silent >= SILENT_AFTER:
                    how = "has left" if gone else "has stopped answering"
                    self._take_back()
                    self.lose(Reason(cause=Cause.VANISHED, text=f"{self.peer} {how}", about=self.peer.name))
            await asyncio.sleep(PROBE_EVERY)

    def _unechoed(self, message: AclMessage) -> AclMessage:
        # SPADE 4.1.4: `make_reply` copies every parameter. A reply that bears the reply-with of our own
        # last message is an answer to it, whatever in-reply-to came along from before.
        ours = self.conversation.awaited
        if ours is None or message.reply_with != ours:
            return message
        return message.model_copy(update={"in_reply_to": ours, "reply_with": None})

    def _take_back(self) -> None:
        """Leave a cancel for a peer that seems to be gone: should it only be frozen, it need not go on."""
        if self.conversation.role is Role.INITIATOR:
            message = AclMessage(
                performative=Performative.CANCEL,
                receiver=(self.peer,),
                protocol=self.conversation.protocol,
                conversation_id=self.conversation.conversation_id,
                reply_with=uuid.uuid4().hex,
            )
            self._room.post(message, self.peer, lambda _reason: None)

    def _add(self, step: Step) -> None:
        self._steps.append(step)
        self._arrived.set()

    def _move(self, moved: Conversation) -> None:
        was_over = self.is_over
        self.conversation = moved
        self._set_timer()
        if self.is_over and not was_over:
            if self._watch is not None:
                self._watch.cancel()
            self._room.emit(
                ConversationEnded(
                    agent=self._room.me.name,
                    conversation_id=moved.conversation_id,
                    protocol=moved.protocol,
                    role=moved.role.value,
                    peer=moved.peer,
                    state=moved.state,
                    seconds=(self._room.now() - moved.opened).total_seconds(),
                )
            )
            self._room.forget(self)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = machine.next_deadline(self.conversation)
        if deadline is not None:
            wait = max(0.0, (deadline - self._room.now()).total_seconds())
            self._timer = asyncio.get_running_loop().call_later(wait, self._expire)

    def _expire(self) -> None:
        deadline = self.conversation.deadline
        if self._awaits_result and deadline is not None and self._room.now() >= deadline:
            self._awaits_result = False
            self._add(Overdue())
            self._move(replace(self.conversation, deadline=None))
            return
        moved = machine.expire(self.protocol, self.conversation, self._room.now())
        if moved is self.conversation:
            self._set_timer()  # the loop's clock was ahead of the wall clock
            return
        self._add(Overdue())
        self._move(moved)

    def release(self) -> None:
        """Drop timer and watch, without a word to the peer. For when the agent stops."""
        for handle in (self._timer, self._watch):
            if handle is not None:
                handle.cancel()


def system_now() -> datetime:
    """The wall clock in UTC: what deadlines on the wire are compared with."""
    return datetime.now(UTC)


def after(now: datetime, seconds: float) -> datetime:
    """A deadline that many seconds from now, and never later than `LONGEST`.

    Raises:
        ValueError: that is no number of seconds.
    """
    if not math.isfinite(seconds):
        raise ValueError(f"a deadline needs a number of seconds, not {seconds}")
    return now + timedelta(seconds=max(-LONGEST, min(seconds, LONGEST)))
