"""The conversations of one agent: which of its seats a message belongs to, in constant time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from behaviours.conversing import Seat
from behaviours.fencing import GROUP
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from protocols.recruiting import RECRUITING
from protocols.table import Role

HEARERS = 16
"""Agents that a reply-to may name at most: one small message must not have large ones sent to everybody."""

LINGER = 30.0
"""Seconds that an ended conversation is kept, so that what comes late is told from what is unknown."""

Key = tuple[str, str, Role]


class Seating:
    """The seats of one agent, by conversation-id, peer and role.

    Args:
        me: the agent's name. It may speak with itself, and then has both seats.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self._seats: dict[Key, Seat] = {}
        self._shared: dict[str, Seat] = {}
        """By conversation-id: where others than the peer speak as well. Somebody else has found them for us,
        or has told us to answer them."""
        self._begun: dict[str, dict[Key, None]] = {}
        """By conversation-id: the conversations that we have begun."""
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def __iter__(self) -> Iterator[Seat]:
        return iter(tuple(self._seats.values()))

    def add(self, seat: Seat) -> None:
        """Have what is said in a conversation come to this seat."""
        key = _key(seat)
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()  # one that has ended is begun once more: it was left to somebody, who is followed
        self._seats[key] = seat
        if key[2] is Role.INITIATOR:
            self._begun.setdefault(key[0], {})[key] = None
        if seat.replies_to or (seat.protocol is RECRUITING and seat.conversation.role is Role.INITIATOR):
            self._shared[key[0]] = seat

    def remove(self, seat: Seat) -> None:
        """Forget a conversation at once."""
        self._drop(_key(seat))

    def linger(self, seat: Seat) -> None:
        """Forget a conversation that has ended in `LINGER` seconds."""
        key = _key(seat)
        if key not in self._timers:
            self._timers[key] = asyncio.get_running_loop().call_later(LINGER, self._drop, key)

    def close(self) -> None:
        """Forget nothing any more."""
        for timer in self._timers.values():
            timer.cancel()

    def begun(self, conversation_id: str, peer: AgentIdentifier) -> Seat | None:
        """The seat of a conversation that we have begun with that agent."""
        return self._seats.get((conversation_id, peer.name, Role.INITIATOR))

    def told(self, conversation_id: str, notice: AclMessage, peer: AgentIdentifier) -> Seat | None:
        """The seat of a conversation that we have begun, and that an agent tells us something about."""
        return self.begun(conversation_id, peer) or self._find_followed(conversation_id, notice)

    def of(self, conversation_id: str, peer: str) -> list[Seat]:
        """The seats of a conversation with that agent that is not over."""
        seats = (self._seats.get((conversation_id, peer, role)) for role in Role)
        return [seat for seat in seats if seat is not None and not seat.is_over]

    def find(self, message: AclMessage, peer: AgentIdentifier) -> Seat | None:
        """The seat that a message of this agent is for; None if it belongs to no conversation here."""
        if message.conversation_id is None:
            return None
        seats = [
            seat
            for role in (Role.INITIATOR, Role.PARTICIPANT)
            if (seat := self._seats.get((message.conversation_id, peer.name, role))) is not None
        ]
        if (
            peer.name == self._me
            and [seat.conversation.role for seat in seats] == [Role.INITIATOR]
            and seats[0].protocol.opens_with(message.performative)
        ):
            return None  # our own first message has come back to us: we are the participant as well
        if len(seats) == 2:  # we speak with ourselves: the one whose turn it is to listen
            for seat in seats:
                if seat.accepts(message):
                    return seat
        if seats:
            return seats[0]
        return self._find_shared(message) or self._find_followed(message.conversation_id, message)

    def _find_followed(self, conversation_id: str, message: AclMessage) -> Seat | None:
        """The seat of a conversation that a later leader goes on with, in place of the one we had asked."""
        if GROUP not in message.user_parameters:
            return None
        seats = (self._seats[key] for key in self._begun.get(conversation_id, ()))
        return next((seat for seat in seats if seat.is_followed_by(message)), None)

    def _find_shared(self, message: AclMessage) -> Seat | None:
        seat = self._shared.get(message.conversation_id or "")
        is_ours = seat is not None and seat.conversation.role is Role.INITIATOR
        return seat if seat is not None and (is_ours or seat.is_cancelled_by(message)) else None

    def _drop(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        seat = self._seats.pop(key, None)
        begun = self._begun.get(key[0], {})
        begun.pop(key, None)
        if not begun:
            self._begun.pop(key[0], None)
        if seat is not None and self._shared.get(key[0]) is seat:
            del self._shared[key[0]]


def _key(seat: Seat) -> Key:
    conversation = seat.conversation
    return conversation.conversation_id, conversation.peer, conversation.role
