"""Doing with a dead letter what FIPA still allows, because somebody who has looked at it wants that.

What we had said is said again where its receiver can take it: outside any conversation, in one that is open,
or as the last word of one, which the peer may still wait for. It goes under the id that it had, so whoever
has processed it after all drops the copy. What opened a conversation that is over is not said again, as
nobody waits for its answer; an award that nobody waits for is called off instead.

What had been said to us is handled as if it came now: held against the rules, and against the table of its
protocol, by which for example a proposal for a call that is over is rejected.

Asked for twice, it is done once. But a receiver forgets what it has processed (`resilience.inbox.Terms`), and
whoever looks at letters comes hours or days later. What may have been sent so long ago is said again only
where that is asked for in so many words.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from behaviours.authorising import Authority
from behaviours.burying import Burying
from behaviours.clocking import after
from behaviours.conversing import Seat
from behaviours.enduring import Claimed, Enduring
from behaviours.outcomes import Answer, Fail
from behaviours.posting import Again
from behaviours.seating import Seating
from behaviours.sorting import ANSWERS, protocol_of
from behaviours.wire import Element, Received, as_stanza
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import read
from ontology.content import Reason
from ontology.errors import Cause, MessageError
from ontology.management import Replayed
from resilience.dead_letters import ORIGINAL_LIMIT, DeadLetter
from resilience.journal import CLOCK_ERROR
from resilience.outbox import Outgoing
from resilience.records import RecordsError

Trace = Callable[[AclMessage, AgentIdentifier], None]

LAST_WORDS = ANSWERS | {Performative.REJECT_PROPOSAL}
"""Acts that an agent may still wait for, though whoever has said them does not: how a conversation ends, and
what a participant says, whose initiator alone knows whether it is over."""

CALLED_OFF = frozenset({Performative.ACCEPT_PROPOSAL, Performative.CANCEL})
"""Acts by an initiator of a conversation that is over, of which its participant has to hear one thing only:
that it need not go on."""


class Room(Protocol):
    """What is needed of the mailroom."""

    def now(self) -> datetime:
        """The present, aware."""

    @property
    def me(self) -> AgentIdentifier:
        """Who we are."""

    def take_step(self, seat: Seat, received: Received, peer: AgentIdentifier) -> None:
        """Let a conversation go on with a message."""

    def handle(self, claimed: Claimed, received: Received, peer: AgentIdentifier, stanza: Element) -> None:
        """Handle a message that belongs to no conversation here, if it is ours to handle."""

    def stop(self, cancel: AclMessage, to: AgentIdentifier) -> None:
        """Cancel something, without waiting for the answer."""


class Replaying:
    """The dead letters of one agent, to be looked at again.

    Args:
        room: the agent's mailroom.
        enduring: its lasting side.
        seats: its conversations.
        authority: says what others may begin with it.
        burying: where its letters lie beside the journal, and go if it fails again.
        trace: shown what is said.
    """

    def __init__(
        self,
        room: Room,
        enduring: Enduring,
        seats: Seating,
        authority: Authority,
        burying: Burying,
        trace: Trace,
    ) -> None:
        self._room, self._enduring, self._seats = room, enduring, seats
        self._authority, self._burying, self._trace = authority, burying, trace

    async def replay(self, me: str, id: str, *, again: bool = False) -> Answer:  # noqa: A002 - as the field is called
        """Replay a dead letter, and drop it. Safe to cancel, and to call again.

        Args:
            me: the bare JID of the agent.
            id: what it is filed under.
            again: say it again even where its receiver may have had it and forgotten that.
        """
        try:
            found = await self._enduring.journaling.journal.letter(me, id)
            # Beside the journal lies what that could not take, or does not keep.
            letter = found or self._burying.dead_letters.get(id)
        except RecordsError as error:
            return Fail(Cause.INTERNAL_ERROR, str(error))
        if letter is None or letter.agent != me:
            text = f"{me} has no dead letter {id[:80]!r}; it may have been replayed, dropped or crowded out"
            return Fail(Cause.UNSUPPORTED_VALUE, text)
        try:
            message = read(letter.original, self._room.now())
        except MessageError as error:
            cut = ", as only its beginning was kept" if len(letter.original) >= ORIGINAL_LIMIT else ""
            text = f"the letter cannot be read as a message{cut}: {error.text}"
            return Fail(Cause.UNSUPPORTED_VALUE, text)
        try:
            done = await (
                self._in(letter, message) if letter.is_inbound else self._out(letter, message, again)
            )
        except ValueError as error:
            return Fail(Cause.UNSUPPORTED_VALUE, str(error))
        if isinstance(done, Replayed) and found is None:
            with suppress(RecordsError):
                self._burying.dead_letters.drop(letter.id)
        return done

    async def _in(self, letter: DeadLetter, message: AclMessage) -> Answer:
        # Not the sender that the text names: of what could not be read, nobody has stamped that.
        peer = AgentIdentifier(name=letter.peer)
        message = message.model_copy(update={"sender": peer})
        if self._is_late(message) and message.performative not in ANSWERS:
            return _late(message)
        # Claimed under an id of its own, it is handled once however often that is asked for.
        received = Received(message=message, stanza_id=f"letter-{letter.id}", is_stored=False)
        seat = self._seats.find(message, peer)
        if seat is not None:
            self._room.take_step(seat, received, peer)
            seat.chronicle.work.lane.note(drop=(letter.id,))
        else:
            # Whoever asks for it vouches for its signature, which was made for another moment.
            why_not = self._authority.forbids(message, peer, protocol_of(message))
            if why_not is not None:
                return Fail(Cause.UNAUTHORISED, why_not)
            stanza = as_stanza(message, peer.jid, self._room.me.jid, received.stanza_id)
            claimed = replace(await self._enduring.claim(received, peer), letters=(letter.id,))
            self._room.handle(claimed, received, peer, stanza)
            if not claimed.is_ours:
                self._enduring.journaling.open.note(drop=claimed.letters)
        text = f"{_what(message)} of {peer} was handled again"
        return Replayed(letter=letter.id, done="handled", text=text)

    async def _out(self, letter: DeadLetter, message: AclMessage, again: bool) -> Answer:
        to = message.receiver[0] if message.receiver else AgentIdentifier(name=letter.peer)
        seat = self._seats.find(message, to)
        is_open = message.conversation_id is None or message.protocol is None
        is_open = is_open or (seat is not None and not seat.is_over)
        lane = self._enduring.journaling.open
        if letter.id in self._enduring.outbox:
            text = f"{_what(message)} is on its way to {to} already"
            return Replayed(letter=letter.id, done="sent", text=text)
        if not is_open and message.performative in CALLED_OFF:
            cancel = message.model_copy(
                update={"performative": Performative.CANCEL, "content": None, "reply_by": None}
            )
            self._room.stop(cancel, to)
            lane.note(drop=(letter.id,))
            text = f"the conversation is over here: {to} is told to stop by a cancel"
            return Replayed(letter=letter.id, done="cancelled", text=text)
        if self._is_late(message):
            return _late(message)
        if not is_open and message.performative not in LAST_WORDS:
            text = f"its conversation is over: nobody waits for an answer to the {_what(message)}; begin anew"
            return Fail(Cause.LATE, text)
        is_unsent = letter.made is not None and letter.attempts == 0
        until = None if again or is_unsent else self._remembered_until(letter)
        if until is not None and self._room.now() >= until:
            return Fail(Cause.LATE, self._may_come_twice(letter, message, to))

        def lost(record: Outgoing, reason: Reason) -> None:
            self._burying.lost(message, to, record, reason)
            if seat is not None:
                seat.lose(reason)

        # One commit: a crash leaves either the letter or the message that is to be sent.
        anew = Again(id=letter.id, made=letter.made, until=until)
        trace = self._trace if is_unsent else _untold  # a copy is not said a second time
        self._enduring.outbox.post(message, to, lost, trace=trace, again=anew)
        text = f"{_what(message)} is on its way to {to} again"
        return Replayed(letter=letter.id, done="sent", text=text)

    def _remembered_until(self, letter: DeadLetter) -> datetime:
        """When its receiver may forget what we had said, should it have processed it at once."""
        if letter.made is None:
            return self._room.now()
        remembered = self._enduring.journaling.journal.policy.terms.retention - CLOCK_ERROR
        return after(letter.made, remembered)

    def _may_come_twice(self, letter: DeadLetter, message: AclMessage, to: AgentIdentifier) -> str:
        hours = self._enduring.journaling.journal.policy.terms.retention / 3600
        since = "" if letter.made is None else f" at {letter.made.isoformat(timespec='seconds')}"
        return (
            f"the {_what(message)} may have come to {to}{since} already, which it remembers for {hours:g} h "
            "only, so it could take effect twice; to send it all the same, replay it with --again"
        )

    def _is_late(self, message: AclMessage) -> bool:
        return message.reply_by is not None and message.reply_by < self._room.now()


def _untold(_message: AclMessage, _peer: AgentIdentifier) -> None:
    """Nobody is shown it."""


def _what(message: AclMessage) -> str:
    return message.performative.value


def _late(message: AclMessage) -> Fail:
    text = f"the reply-by of the {_what(message)} has passed: nobody waits for its answer; drop the letter"
    return Fail(Cause.LATE, text)
