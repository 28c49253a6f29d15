"""One end of one conversation: the pure `Conversation`, its clock, and what the peer says next.

`Seat` applies the table to everything that is said, on both sides, before it is sent and before it is
acted on. The drivers in `initiating` and `participating` sit on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from datetime import datetime
from functools import partial

from behaviours.chronicling import Chronicle
from behaviours.clocking import after
from behaviours.events import ConversationEnded, ConversationOpened
from behaviours.fencing import FOLLOWED_WITHIN, Office, Succession
from behaviours.phrasing import is_news, saying, unechoed
from behaviours.stepping import Heard, Lost, Overdue, Room, Step, Told
from behaviours.watching import absence
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason, Term, explain
from ontology.errors import Cause
from protocols import history, machine
from protocols.errors import RemoteProtocolError
from protocols.machine import Conversation
from protocols.table import ANY, CANCELLING, EXPIRED, UNREACHABLE, Protocol, Role

CANCEL_WITHIN = 10.0
"""Seconds for the answer to a cancel."""

WAITING = 10_000
"""What a peer has said that may wait to be looked at: one more thing, and it is told to stop."""


class Seat:
    """Our end of a conversation with one peer.

    Not safe to share between tasks: one driver reads `step`, and the mailroom calls `receive`.
    """

    def __init__(
        self,
        room: Room,
        protocol: Protocol,
        conversation: Conversation,
        peer: AgentIdentifier,
        chronicle: Chronicle,
    ) -> None:
        self.protocol = protocol
        self.conversation = conversation
        self.peer = peer
        """The peer with the address that it last wrote from."""
        self.replies_to: tuple[AgentIdentifier, ...] = ()
        """Who get what we say instead of the peer: the reply-to of its first message (FIPA00061, 2.2.3)."""
        self.has_complained = False  # of an act out of sequence, which is done once
        self.lost: Reason | None = None
        """Why something that we said has not got through, our last word included."""
        self.office: Office | None = None  # in which we say all of it
        self.succession = Succession()
        self.cancel: AclMessage | None = None  # the initiator's, once it has come
        self.chronicle = chronicle  # what has happened, as it is written down
        self._tip: Conversation | None = None
        """While we go through the chronicle again: where the conversation really stands."""
        self._room = room
        self._steps: deque[Step] = deque()
        self._arrived = asyncio.Event()
        self._awaits_result = False
        self._is_deaf = False
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
    def is_given_up(self) -> bool:
        """Whether we have stopped waiting for a participant that need not know of it, nor is bound."""
        is_ours = self.conversation.role is Role.INITIATOR and not self.protocol.losses
        return is_ours and self.conversation.state in {EXPIRED, UNREACHABLE}

    @property
    def has_steps(self) -> bool:
        """Whether something has happened that nobody has looked at yet."""
        return bool(self._steps)

    def happen(self, event: str) -> None:
        """Move the conversation by something that no message tells (`protocols.machine.happen`)."""
        if self.chronicle.is_behind:
            happened = self.chronicle.happens()
            if happened is not None:
                self._go(happened)
            return
        moved = machine.happen(self.protocol, self.conversation, event)
        self.chronicle.write(history.Happened(event=event))
        self._move(moved)

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
        if self.chronicle.is_behind:
            self._go(self.chronicle.again(message))
            return
        message = message if self.office is None else self.office.stamped(message)
        moved = machine.say(self.protocol, self.conversation, message, deadline)
        for each in self._hearers(message):
            self._room.post(message, each, partial(self._unheard, each), self.chronicle)
        if not is_news(self.conversation, message, moved):
            self.chronicle.write(history.Said(message=message, deadline=deadline))
        self.chronicle.work.say(message)
        if message.performative is Performative.CANCEL:
            self._awaits_result = False  # whoever cancels waits for no result, so nobody need be told
        self._move(moved)

    def opened(self, event: history.Opened) -> None:
        """Send the first message, by which the conversation was started."""
        self._room.post(event.message, self.peer, self.lose, self.chronicle)
        self.chronicle.write(event)

    def resume(self, *, is_driven: bool) -> None:
        """Go through what a former process has written down; at once, if nobody is there to drive it."""
        conversation = self.conversation
        for event in self.chronicle.left:
            conversation = history.after(self.protocol, conversation, event)
        self._tip = conversation
        self._go(*(() if is_driven else self.chronicle.all()))

    def receive(self, message: AclMessage, message_id: str = "") -> None:
        """Take a message that the mailroom routed here.

        Args:
            message: what the peer says.
            message_id: the id under which it came.

        Raises:
            RemoteProtocolError: the peer must not say that now. Nothing has changed.
        """
        message = unechoed(self.conversation, message)
        now = self._room.now()
        heard = history.Heard(message=self._as_of_peer(message), id=message_id, at=now)
        if self._tip is not None:
            self._tip = history.after(self.protocol, self._tip, heard)
            self.chronicle.add(heard)
            return
        moved = machine.receive(self.protocol, self.conversation, self._as_of_peer(message))
        self._meet(message)
        if message.performative is Performative.CANCEL:
            self.cancel = message
        is_too_much = self._is_full and not self.protocol.is_terminal(moved.state)
        if not is_too_much:
            self._add(Heard(message, now))
        if not is_news(self.conversation, message, moved):
            self.chronicle.write(heard)
        self._move(moved)
        if is_too_much:
            self._turn_deaf()
        if moved.state == "LATE":
            reason = explain(Cause.LATE, "the proposal came after the deadline")
            self.say(message.reply(Performative.REJECT_PROPOSAL, content=reason, receiver=(self.peer,)))

    def accepts(self, message: AclMessage) -> bool:
        """Whether the table lets the peer say that now."""
        try:
            machine.receive(self.protocol, self.conversation, unechoed(self.conversation, message))
        except RemoteProtocolError:
            return False
        return True

    def tell(self, term: Term, notice: AclMessage) -> None:
        """Take a notice about this conversation, and what it says."""
        self._meet(notice)
        if self._is_full:
            self._turn_deaf()
        elif not self.is_over:
            self._add(Told(term))

    def lose(self, reason: Reason) -> None:
        """End the conversation, if it is not over yet: the peer cannot be reached."""
        self.lost = self.lost or reason
        if self._tip is not None:
            self._tip = machine.lose(self.protocol, self._tip)
            self.chronicle.add(history.WasLost(reason=reason))
        elif not self.is_over:
            self.chronicle.write(history.WasLost(reason=reason))
            self._add(Lost(reason))
            self._move(machine.lose(self.protocol, self.conversation))

    def _unheard(self, hearer: AgentIdentifier, reason: Reason) -> None:
        """One of those that hear us cannot be reached; the conversation is lost with the last of them."""
        self.replies_to = tuple(each for each in self.replies_to if each is not hearer)
        if not self.replies_to:
            self.lose(reason)

    def await_result(self, deadline: datetime | None) -> None:
        """Now that the peer works for us, look that it is there, and wait until then; None, without limit.

        When that time comes the conversation does not expire by itself: whoever drives it is told by
        `Overdue` and cancels, so that the peer does not go on working for nobody. Once it is cancelled it
        needs no driver, and ends by itself.
        """
        if self.is_over or self.conversation.state == CANCELLING:
            return
        self._awaits_result = True
        if self.chronicle.is_behind:
            waited = self.chronicle.waits()
            if waited is not None:
                self._go(waited)
        else:
            self.chronicle.write(history.Waits(deadline=deadline))
            self._move(replace(self.conversation, deadline=deadline))
        self.watch()

    async def step(self) -> Step:
        """Wait for what happens next. Safe to cancel: nothing is lost."""
        if not self._steps:
            for event in self.chronicle.withdrawn():
                self._go(event)
        while not self._steps:
            self._arrived.clear()
            await self._arrived.wait()
        return self._steps.popleft()

    def watch(self, away: float = 0.0) -> None:
        """From now on look whether the peer is still there, until the conversation is over.

        Args:
            away: seconds that it may be away in any case, however few the room allows.
        """
        if self._watch is None and not self.is_over:
            longest = max(away, self._room.away, FOLLOWED_WITHIN if self.succession.office else 0.0)
            self._watch = asyncio.get_running_loop().create_task(self._look(longest))

    async def _look(self, away: float) -> None:
        room = self._room
        how = await absence(room.transport, lambda: self.peer.jid, away, lambda: room.seek(self))
        self._take_back()
        self.lose(Reason(cause=Cause.VANISHED, text=f"{self.peer} {how}", about=self.peer.name))

    def _meet(self, message: AclMessage) -> None:
        """Take note of where the peer is now, or of who goes on in its place."""
        is_of_peer = self._is_of_peer(message) or self.is_followed_by(message)
        if self.succession.note(message) and is_of_peer and message.sender is not None:
            self.peer = message.sender

    def _as_of_peer(self, message: AclMessage) -> AclMessage:
        """What one says that hears us, or goes on, instead of the peer counts as the peer's."""
        if self._is_of_peer(message) or not (self.is_cancelled_by(message) or self.is_followed_by(message)):
            return message
        return message.model_copy(update={"sender": AgentIdentifier(name=self.conversation.peer)})

    def _is_of_peer(self, message: AclMessage) -> bool:
        return message.sender is not None and message.sender.name == self.conversation.peer

    def is_followed_by(self, message: AclMessage) -> bool:
        """Whether this is of a later leader of the group as whose leader the peer has answered."""
        is_ours = self.conversation.role is Role.INITIATOR and not self.is_over
        return is_ours and self.succession.admits(message, self.peer)

    def is_cancelled_by(self, message: AclMessage) -> bool:
        """Whether this is a cancel of one that hears us instead of the peer, and may speak for it."""
        sender = message.sender
        is_hearer = sender is not None and any(map(sender.is_same_agent, self.replies_to))
        return is_hearer and message.performative is Performative.CANCEL

    def _hearers(self, message: AclMessage) -> tuple[AgentIdentifier, ...]:
        cancel = self.cancel
        answered = cancel.reply_with if cancel is not None else None
        if cancel is not None and cancel.sender and answered and message.in_reply_to == answered:
            return cancel.reply_to or (cancel.sender,)
        return self.replies_to or (self.peer,)

    def _take_back(self) -> None:
        """Leave a cancel for a peer that seems to be gone: should it only be frozen, it need not go on."""
        if self.conversation.role is Role.INITIATOR:
            self._room.post(self._cancel(), self.peer, lambda _reason: None)

    def _cancel(self) -> AclMessage:
        return saying(self.conversation, self.peer, Performative.CANCEL)

    @property
    def _is_full(self) -> bool:
        """Whether too much waits to be looked at. Only a participant tells without end."""
        return self.conversation.role is Role.INITIATOR and len(self._steps) >= WAITING

    def _turn_deaf(self) -> None:
        """Have the peer stop, which tells faster than we read, and drop what it says until it has."""
        if self._is_deaf or self.is_over:
            return
        text = f"more than {WAITING:,} messages of {self.peer} wait to be read; read faster, and begin again"
        self._add(Lost(Reason(cause=Cause.OVERLOADED, text=text, about=self.peer.name)))
        self._is_deaf = True
        if self.conversation.state != CANCELLING:
            self.say(self._cancel(), after(self._room.now(), CANCEL_WITHIN))

    def _go(self, *again: history.Event) -> None:
        """Let things happen again that are written down, and what followed them by itself."""
        for event in (*again, *self.chronicle.come()):
            self._happen_again(event)
        if not self.chronicle.is_behind:
            self._tip = None
            self._set_timer()

    def _happen_again(self, event: history.Event) -> None:
        match event:
            case history.Heard(message=message, at=at):
                self._meet(message)
                if message.performative is Performative.CANCEL:
                    self.cancel = message
                self._add(Heard(message, at or self.conversation.opened))
            case history.Passed(ends=ends):
                self._awaits_result = self._awaits_result and ends
                self._add(Overdue())
            case history.WasLost(reason=reason):
                self.lost = self.lost or reason
                self._add(Lost(reason))
            case history.Said(message=message) if message.performative is Performative.CANCEL:
                self._awaits_result = False
        self._move(history.after(self.protocol, self.conversation, event))

    def _add(self, step: Step) -> None:
        if not self._is_deaf:
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
            self.chronicle.ended()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.chronicle.is_behind:
            return
        deadline = machine.next_deadline(self.conversation)
        if deadline is not None:
            wait = max(0.0, (deadline - self._room.now()).total_seconds())
            self._timer = asyncio.get_running_loop().call_later(wait, self._expire)

    def _expire(self) -> None:
        deadline = self.conversation.deadline
        if deadline is None:
            return
        now = max(self._room.now(), deadline)  # that much time has passed, though the clock was set back
        if self._awaits_result:
            self._awaits_result = False
            self.chronicle.write(history.Passed(at=now, ends=False))
            self._add(Overdue())
            self._move(replace(self.conversation, deadline=None))
            return
        moved = machine.expire(self.protocol, self.conversation, now)
        self.chronicle.write(history.Passed(at=now))
        self._add(Overdue())
        self._move(moved)

    def release(self) -> None:
        """Drop timer and watch, without a word to the peer. For when the agent stops."""
        for handle in (self._timer, self._watch):
            if handle is not None:
                handle.cancel()
