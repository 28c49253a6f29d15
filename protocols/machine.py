"""The engine: one frozen `Conversation` per initiator-participant pair, moved by messages and by time.

A table maps ``(state, sender's role, act)`` to the next state. The table does not know which role we
play, so both sides run the same one. `start` opens a conversation, `say` and `receive` move it,
`expire`, `lose` and `next_deadline` tell it of time and of broken transport. Each returns a new
conversation or raises, and then nothing has changed.

Three things hold in every protocol and stand here, not in the tables:

- **cancel** (FIPA00026 section 2.2 and its twins): the initiator may cancel at any live state; the
  participant answers inform (done) or failure. After a failure the conversation goes on where it
  was, or ends as it ended meanwhile; FIPA leaves that open.
- **not-understood**: whoever got the last message may answer so at any live state, which ends the pair.
- **time**: reply-by is the latest time for the next message (FIPA00061, 2.5.5). What follows when it
  passes is our policy: the conversation is ``EXPIRED``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from ontology.acl import AclMessage, Performative
from ontology.content import Done
from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.table import CANCELLED, CANCELLING, EXPIRED, NOT_UNDERSTOOD, UNREACHABLE, Protocol, Role, kind


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Where one conversation with one peer stands. Written as JSON it goes on after a restart."""

    protocol: str
    conversation_id: str
    role: Role
    """The role that we play."""
    peer: str
    """The name of the agent at the other end."""
    state: str
    last_speaker: Role
    """Who spoke last. A cancel and its answer stand beside the protocol and do not count."""
    opened: datetime
    deadline: datetime | None = None
    """When `expire` moves the conversation, if nothing has been said by then."""
    awaited: str | None = None
    """The reply-with of the last message that we sent: what in-reply-to must name (FIPA00061, 2.5.4)."""
    resume: str | None = None
    """While cancelling: the state to go on in, should the cancellation fail."""
    resume_deadline: datetime | None = None
    """While cancelling: the deadline to go on with, should the cancellation fail."""
    cancelled_with: str | None = None
    """While cancelling: the cancel's reply-with, which tells its answer from one to the request."""

    def to_json(self) -> str:
        """Write the conversation down; `from_json` reads it."""
        record: dict[str, Any] = asdict(self)
        for name in _TIMES:
            record[name] = record[name].isoformat() if record[name] is not None else None
        return json.dumps({"v": 1, **record})

    @classmethod
    def from_json(cls, text: str) -> Conversation:
        """Read a conversation that `to_json` wrote.

        Raises:
            ValueError: it was written by a newer version, or is not a conversation.
        """
        try:
            record = json.loads(text)
            version = record.pop("v", None)
            if version != 1:
                raise ValueError(f"this conversation was written in form {version}, and form 1 is read here")
            record["opened"] = datetime.fromisoformat(record["opened"])
            for name in ("deadline", "resume_deadline"):
                moment = record.get(name)
                record[name] = datetime.fromisoformat(moment) if moment is not None else None
            for name in ("role", "last_speaker"):
                record[name] = Role(record[name])
            read = cls(**record)
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"this is no conversation that was written down: {text[:60]!r}") from error
        if not all(
            isinstance(each, str) for each in (read.protocol, read.conversation_id, read.peer, read.state)
        ):
            raise ValueError(f"this conversation was written down with a wrong value: {text[:60]!r}")
        return read


_TIMES = ("opened", "deadline", "resume_deadline")


def start(protocol: Protocol, role: Role, message: AclMessage, peer: str, now: datetime) -> Conversation:
    """Open a conversation with its first message, which the initiator sends.

    Args:
        protocol: the table.
        role: the role that we play; a participant has received the message, an initiator sends it.
        message: the first message, with a conversation-id.
        peer: the name of the other agent.
        now: the present, aware.

    Raises:
        LocalProtocolError: we are the initiator, and the act does not begin the protocol or the
            conversation-id is missing.
        RemoteProtocolError: the peer is, and the same holds.
    """
    if message.conversation_id is None:
        text = f"a {protocol.name} conversation needs a conversation-id (FIPA00061, 2.5.1)"
        if role is Role.INITIATOR:
            raise LocalProtocolError(text)
        raise RemoteProtocolError(text, answer=message.performative is not Performative.NOT_UNDERSTOOD)
    opening = Conversation(
        protocol=protocol.name,
        conversation_id=message.conversation_id,
        role=role,
        peer=peer,
        state=protocol.start,
        last_speaker=Role.PARTICIPANT,
        opened=now,
    )
    if role is Role.INITIATOR:
        return say(protocol, opening, message)
    return receive(protocol, opening, message)


def say(
    protocol: Protocol, conversation: Conversation, message: AclMessage, deadline: datetime | None = None
) -> Conversation:
    """Move a conversation by a message that we are about to send.

    Args:
        protocol: the table of the conversation.
        conversation: where it stands.
        message: what we say.
        deadline: when to give up waiting for the next message; by default the message's reply-by,
            else what the initiator set before. A participant that has spoken waits without limit.
            After a failed cancellation both go on with the limit that held before it; where none did,
            the initiator, which waits for nothing any more, keeps that of the cancel.

    Raises:
        LocalProtocolError: it is not ours to say that now. Nothing has changed; do not send it.
    """
    try:
        moved = _move(protocol, conversation, conversation.role, message)
    except _OutOfSequenceError as error:
        raise LocalProtocolError(error.text) from None
    limit = deadline or message.reply_by
    if limit is None:
        if _resumes(conversation, moved):
            limit = conversation.resume_deadline
        elif conversation.role is Role.INITIATOR:
            limit = conversation.deadline
    # A cancel and its answer stand beside the protocol: what was awaited before them still is.
    is_aside = message.performative is Performative.CANCEL or _resumes(conversation, moved)
    return replace(
        moved,
        deadline=None if protocol.is_terminal(moved.state) else limit,
        awaited=conversation.awaited if is_aside else message.reply_with,
    )


def receive(
    protocol: Protocol, conversation: Conversation, message: AclMessage, deadline: datetime | None = None
) -> Conversation:
    """Move a conversation by a message that arrived.

    Args:
        protocol: the table of the conversation.
        conversation: where it stands.
        message: what the peer said; its sender is the one that the server stamped.
        deadline: when to give up waiting for the message after this one; by default an initiator
            keeps the limit it had as long as somebody else is to speak (a proposal that came in
            time does not expire at the end of the call), and a participant takes the message's
            reply-by.

    Raises:
        RemoteProtocolError: the peer must not say that now (FIPA00061; G2 and G3 of our policy).
            Nothing has changed.
    """
    fault = _sequence_fault(protocol, conversation, message)
    if fault is None:
        try:
            moved = _move(protocol, conversation, _speaker(conversation, message), message)
        except _OutOfSequenceError as error:
            fault = error.text
    if fault is not None:
        answerable = message.performative is not Performative.NOT_UNDERSTOOD
        raise RemoteProtocolError(fault, answer=answerable and conversation.role is Role.PARTICIPANT)
    limit = deadline
    if limit is None and conversation.role is Role.PARTICIPANT:
        limit = message.reply_by
    elif limit is None and any(
        protocol.awaits(moved.state, each) for each in (Role.PARTICIPANT, Role.TARGET)
    ):
        limit = conversation.deadline
        if _resumes(conversation, moved):
            limit = conversation.resume_deadline or limit
    return replace(moved, deadline=None if protocol.is_terminal(moved.state) else limit)


def expire(protocol: Protocol, conversation: Conversation, now: datetime) -> Conversation:
    """Move a conversation whose deadline has passed; one whose deadline has not stays as it is."""
    if conversation.deadline is None or now < conversation.deadline or is_over(protocol, conversation):
        return conversation
    following = protocol.deadlines.get(conversation.state, EXPIRED)
    return _leave(conversation, _ended_meanwhile(protocol, conversation) or following, deadline=None)


def lose(protocol: Protocol, conversation: Conversation) -> Conversation:
    """End a live conversation whose peer cannot be reached any more, or as it ended before its cancel.

    Where the table has it go on instead, one that stays where it is keeps its deadline.
    """
    state = conversation.state
    if is_over(protocol, conversation):
        return conversation
    following = protocol.losses.get(state)
    if following is not None:
        deadline = conversation.deadline if following == state else None
        return replace(conversation, state=following, deadline=deadline)
    return _leave(conversation, _ended_meanwhile(protocol, conversation) or UNREACHABLE, deadline=None)


def happen(protocol: Protocol, conversation: Conversation, event: str) -> Conversation:
    """Move a conversation by something that no message tells: all sub-protocols of a proxy have ended.

    Raises:
        LocalProtocolError: that cannot happen in this state. Nothing has changed.
    """
    following = protocol.events.get((conversation.state, event))
    if following is None:
        raise LocalProtocolError(f"{event!r} cannot happen in state {conversation.state} of {protocol.name}")
    return replace(conversation, state=following, deadline=None)


def is_over(protocol: Protocol, conversation: Conversation) -> bool:
    """Whether nothing more is expected from either side."""
    return protocol.is_terminal(conversation.state)


def next_deadline(conversation: Conversation) -> datetime | None:
    """When `expire` should be called; None while nothing is waited for."""
    return conversation.deadline


class _OutOfSequenceError(Exception):
    def __init__(self, text: str) -> None:
        self.text = text


def _speaker(conversation: Conversation, message: AclMessage) -> Role:
    """The role of whoever sent a message: the peer's, or a target's."""
    is_peer = message.sender is None or message.sender.name == conversation.peer
    return conversation.role.other if is_peer else Role.TARGET


def _sequence_fault(protocol: Protocol, conversation: Conversation, message: AclMessage) -> str | None:
    """Rule G2: the conversation is known, the sender has a role in it, in-reply-to fits."""
    if message.conversation_id != conversation.conversation_id:
        return f"conversation-id {message.conversation_id!r} is not {conversation.conversation_id!r}"
    if _speaker(conversation, message) is Role.TARGET and not _awaits_targets(protocol, conversation):
        return f"{message.sender} has no part in conversation {conversation.conversation_id!r}"
    if conversation.role is Role.PARTICIPANT and message.performative in _ENDING:
        return None  # it may answer what we said before our last words, as of two notifications the first
    expected = {conversation.awaited} - {None}
    if conversation.role is Role.INITIATOR and conversation.cancelled_with is not None:
        expected.add(conversation.cancelled_with)
    # Lenient where in-reply-to is missing: plain SPADE agents and chat clients never set it.
    if message.in_reply_to is not None and expected and message.in_reply_to not in expected:
        return f"in-reply-to {message.in_reply_to!r} answers no message that awaits an answer"
    return None


def _awaits_targets(protocol: Protocol, conversation: Conversation) -> bool:
    """Whether targets may reply now. They reply to the initiator, also while it is cancelling."""
    state = conversation.state if conversation.resume is None else conversation.resume
    return conversation.role is Role.INITIATOR and protocol.awaits(state, Role.TARGET)


_ENDING = frozenset({Performative.CANCEL, Performative.NOT_UNDERSTOOD})
"""What an initiator may end a conversation by, whoever has the turn."""


def _move(protocol: Protocol, conversation: Conversation, sender: Role, message: AclMessage) -> Conversation:
    state, act = conversation.state, message.performative
    if state == CANCELLING and sender is not Role.INITIATOR:
        return _while_cancelling(protocol, conversation, sender, message)
    following = protocol.following(state, sender, message)
    if following is not None:
        return replace(conversation, state=following, last_speaker=sender)
    is_live = not protocol.is_terminal(state) and state not in {protocol.start, CANCELLING}
    if is_live and act is Performative.NOT_UNDERSTOOD and sender is conversation.last_speaker.other:
        return replace(conversation, state=NOT_UNDERSTOOD, last_speaker=sender)
    if is_live and act is Performative.CANCEL and sender is Role.INITIATOR:
        return replace(
            conversation,
            state=CANCELLING,
            resume=state,
            resume_deadline=conversation.deadline,
            cancelled_with=message.reply_with,
        )
    raise _OutOfSequenceError(
        f"{act.value} from the {sender.value} is out of sequence in state {state} of {protocol.name}"
    )


def _while_cancelling(
    protocol: Protocol, conversation: Conversation, sender: Role, message: AclMessage
) -> Conversation:
    """The participant's answer to the cancel, or an act that was under way when the cancel was sent."""
    act, resume = message.performative, conversation.resume or protocol.start
    following = protocol.following(resume, sender, message)
    if sender is Role.PARTICIPANT:
        ended = _ended_meanwhile(protocol, conversation)
        if act is Performative.NOT_UNDERSTOOD and (following is None or not _is_older(conversation, message)):
            return _leave(conversation, ended or NOT_UNDERSTOOD, last_speaker=sender)
        if _answers_cancel(conversation, message):
            return _leave(conversation, ended or (CANCELLED if act is Performative.INFORM else resume))
    if following is None:
        raise _OutOfSequenceError(
            f"{act.value} from the {sender.value} is out of sequence while {protocol.name} is being cancelled"
        )
    return replace(conversation, resume=following, last_speaker=sender)


def _ended_meanwhile(protocol: Protocol, conversation: Conversation) -> str | None:
    """While cancelling: the terminal state that was reached after the cancel, if one was."""
    resume = conversation.resume
    return resume if resume is not None and protocol.is_terminal(resume) else None


def _leave(conversation: Conversation, state: str, **changes: Any) -> Conversation:
    """Go to a state and forget the cancel, so that a second copy of its answer is out of sequence."""
    return replace(
        conversation, state=state, resume=None, resume_deadline=None, cancelled_with=None, **changes
    )


def _resumes(conversation: Conversation, moved: Conversation) -> bool:
    """Whether this step is the answer that ended a cancellation."""
    return conversation.state == CANCELLING and moved.state != CANCELLING


def _is_older(conversation: Conversation, message: AclMessage) -> bool:
    """Whether a message names what it answers, and that is not the cancel."""
    names = {message.in_reply_to, conversation.cancelled_with}
    return None not in names and len(names) == 2


def _answers_cancel(conversation: Conversation, message: AclMessage) -> bool:
    if message.performative not in {Performative.INFORM, Performative.FAILURE}:
        return False
    if message.in_reply_to is not None and conversation.cancelled_with is not None:
        return not _is_older(conversation, message)
    # Without in-reply-to: done(cancel) has the content `done`, and a failure is the cancel's.
    return message.performative is Performative.FAILURE or kind(message) in {Done.tag, ""}
