"""A message of ours that stands in the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from behaviours.events import MessageAcknowledged, MessageUndelivered
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import from_json
from ontology.content import Reason
from resilience.breakers import Attempt
from resilience.outbox import Outgoing

ANSWERED_WITHIN = 2
"""Attempts within which a session that is there has said what has become of a message."""

OnLost = Callable[[Outgoing, Reason], None]
"""Told once that a message is given up: how it stood in the outbox, and why."""
OnSettled = Callable[[bool], None]
"""Told once that a message has gone; whether its receiver has acknowledged it."""


@dataclass(frozen=True, kw_only=True)
class Again:
    """A dead letter that is sent anew."""

    id: str
    """The letter's, and its message's."""
    made: datetime | None
    """When it was made, where that is known."""
    until: datetime | None
    """When its receiver may forget that it has had it; None where it has not, or may have it twice."""

    def in_outbox(self, record: Outgoing) -> Outgoing:
        """How it is to stand in the outbox, where one made now would stand so."""
        made, until = self.made or record.made, self.until or record.expires
        return replace(record, made=made, expires=min(until, record.expires))


@dataclass
class Waiting:
    """A message in the outbox."""

    record: Outgoing
    message: AclMessage
    to: AgentIdentifier
    on_lost: OnLost
    on_settled: OnSettled
    stanza: str | None = None
    """As it is to go the first time."""
    is_sent: bool = False
    """Whether it has been handed over by this process."""
    was_asked: bool = False
    is_asked: bool = False
    """Whether the peer has been asked since it was handed over last."""
    was_missing: bool = False
    """Whether its receiver has said once that it never came."""
    is_left: bool = False
    """Whether a former process has left it, and may have handed it over."""
    timer: asyncio.TimerHandle | None = None
    attempt: Attempt | None = None
    """What the peer's breaker is to be told of."""

    @classmethod
    def left(cls, record: Outgoing, on_lost: OnLost) -> Self:
        """What a former process has left."""
        message = from_json(record.message)
        to = message.receiver[0] if message.receiver else AgentIdentifier.of(record.to)
        return cls(record, message, to, on_lost, lambda _is_acknowledged: None, is_left=True)

    def undelivered(self, agent: str, reason: Reason) -> MessageUndelivered:
        """What is told of it when it is given up."""
        return MessageUndelivered(
            agent=agent,
            performative=self.message.performative.value,
            protocol=self.message.protocol or "",
            peer=self.to.name,
            cause=reason.cause,
            text=reason.text,
        )

    def acknowledged(self, agent: str) -> MessageAcknowledged:
        """What is told of it when its receiver has processed it."""
        return MessageAcknowledged(
            agent=agent,
            performative=self.message.performative.value,
            protocol=self.message.protocol or "",
            peer=self.to.name,
        )

    def leave(self, reason: Reason | None) -> None:
        """Let go of it: it stands in the outbox for somebody else. Without a reason nobody is told.

        What belongs to no conversation, and was not even written down, nobody sends any more.
        """
        self.end(has_failed=None)
        if reason is None or self.record.conversation:
            return
        if self.stanza is None:
            self.on_settled(False)
        else:
            self.on_lost(self.record, reason)

    def missed(self, session: str) -> None:
        """Whoever is there, in that session, has said that it never came: it is to be sent again."""
        if self.was_missing or self.record.attempts > ANSWERED_WITHIN:
            # Nobody is any more where it was sent to: the agent lives on in another session. Not at once, as
            # a replica may say so that has nothing to do with the conversation.
            self.to = AgentIdentifier.of(session)
        self.was_missing = True

    def taken(self) -> None:
        """Its receiver has it and has not come to it yet: to have asked counts as no attempt."""
        self.record = replace(self.record, attempts=max(1, self.record.attempts - 1))

    def end(self, *, has_failed: bool | None) -> None:
        """Tell the peer's breaker how the attempt ended; None: nobody knows."""
        if self.attempt is None:
            return
        if has_failed is None:
            self.attempt.withdrawn()
        elif has_failed:
            self.attempt.failed()
        else:
            self.attempt.succeeded()


class Named:
    """The messages in an outbox by what others call them."""

    def __init__(self) -> None:
        self._by_reply: dict[tuple[str, str], str] = {}
        """By the peer and the reply-with of what we said to it."""
        self._agreed: dict[str, str] = {}
        """By the key of a conversation: the agree that we said in it."""

    def add(self, waiting: Waiting) -> None:
        """Take note of a message."""
        record, message = waiting.record, waiting.message
        if message.reply_with is not None:
            self._by_reply[record.to, message.reply_with] = record.id
        if message.performative is Performative.AGREE and record.conversation:
            self._agreed[record.conversation] = record.id

    def drop(self, waiting: Waiting) -> None:
        """Forget a message."""
        record, message = waiting.record, waiting.message
        if message.reply_with is not None and self.answered(record.to, message.reply_with) == record.id:
            del self._by_reply[record.to, message.reply_with]
        if self._agreed.get(record.conversation) == record.id:
            del self._agreed[record.conversation]

    def answered(self, peer: str, in_reply_to: str) -> str | None:
        """The id of what a reply of that peer answers."""
        return self._by_reply.get((peer, in_reply_to))

    def done_before(self, waiting: Waiting) -> str | None:
        """The id of the agree that nobody waits for any more once a message of its conversation is done."""
        return self._agreed.get(waiting.record.conversation)
