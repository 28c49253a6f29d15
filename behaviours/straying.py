"""What is said to us in a conversation that another replica of this agent has.

Servers hand it to us when that replica is not there, and to both where it was said to the bare JID. Should
the other one live, it hears of it: who asks after the message is told that it is missing, and says it again.
Should it be dead, we are going to have its conversations; until then what has come is kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from behaviours.chronicling import key_of
from behaviours.conversing import Seat
from behaviours.enduring import Enduring
from behaviours.inheriting import Inheriting
from behaviours.seating import Seating
from behaviours.sorting import only_begins, protocol_of
from behaviours.wire import Received
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from protocols.table import Role

KEPT = 1_000
"""Messages that are kept; beyond that the oldest make way."""

LEASES = 3
"""For so many leases they are kept. If the other replica is dead, we have its conversations sooner."""

Take = Callable[[Seat, Received, AgentIdentifier], None]


class Straying:
    """The messages that have come to us instead of another replica.

    Args:
        enduring: what lets conversations outlive a process.
        inheriting: knows which there are.
        seats: the conversations that are here.
        look: goes on with what other replicas have left that live no more.
        take: lets a conversation go on with a message.
    """

    def __init__(
        self,
        enduring: Enduring,
        inheriting: Inheriting,
        seats: Seating,
        look: Callable[[], Awaitable[None]],
        take: Take,
    ) -> None:
        self._enduring, self._inheriting, self._seats = enduring, inheriting, seats
        self._look, self._take = look, take
        self._kept: deque[tuple[float, Received, AgentIdentifier]] = deque(maxlen=KEPT)
        self.concluded: set[str] = set()
        """Keys of conversations that a former process has brought to an end, and whose last words were on
        their way when this one began. What is said in them now is a copy, or has crossed them."""

    async def takes(self, received: Received, peer: AgentIdentifier) -> bool:
        """Whether a message is one of a conversation that another replica has, or had until now, or is over.

        Args:
            received: a message that belongs to no conversation here.
            peer: who has said it.
        """
        message = received.message
        name = message.conversation_id
        if name is None or only_begins(message):
            return False
        key, insist = key_of(Role.PARTICIPANT, peer.name, name), self._enduring.journaling.insist
        if key not in self.concluded and await insist(lambda: self._inheriting.is_elsewhere(peer.name, name)):
            self._enduring.acknowledging.drop(peer.jid, received.stanza_id)
            self._kept.append((asyncio.get_running_loop().time(), received, peer))
            await self._look()
            self.come()
            return True
        is_answered = not (key in self.concluded or _begins(message)) and await insist(
            lambda: self._inheriting.is_answered(peer.name, name)
        )
        if key in self.concluded:  # it may be so by now
            self._enduring.done_with(received, peer)
            return True
        if is_answered:  # another replica has ended it, and its last word acknowledges what that answers
            self._enduring.acknowledging.drop(peer.jid, received.stanza_id)
        return is_answered

    def come(self) -> None:
        """Conversations have come to us: hand over what was said in them meanwhile."""
        oldest = asyncio.get_running_loop().time() - LEASES * self._enduring.lease
        kept, self._kept = self._kept, deque(maxlen=KEPT)
        for since, received, peer in kept:
            seat = self._seats.find(received.message, peer)
            if seat is None:
                if since > oldest:
                    self._kept.append((since, received, peer))
            elif not (received.is_marked and self._enduring.is_second(received, peer)):
                self._take(seat, received, peer)


def _begins(message: AclMessage) -> bool:
    """Whether a message can stand at the beginning of a conversation."""
    protocol = protocol_of(message)
    return protocol is not None and protocol.opens_with(message.performative)
