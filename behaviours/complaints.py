"""What an agent says to messages that it cannot take: not-understood, refuse, or nothing.

Every complaint is a fact; whether it is also an answer depends on who is told and how often, so that
two machines that do not understand each other do not say so for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from behaviours.events import Fact, MessageNotUnderstood, OutOfSequence
from behaviours.wire import Unreadable
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, explain
from ontology.errors import Cause

A_MINUTE = 10
"""Not-understoods to one peer within 60 s; further ones are facts only."""

REMEMBERED_PEERS = 1000

Answer = Callable[[AclMessage, AgentIdentifier], None]

_REFUSALS = {
    Performative.PROPOSE: Performative.REJECT_PROPOSAL,  # FIPA00036
    Performative.INFORM: Performative.NOT_UNDERSTOOD,  # the auctions: a bidder leaves (FIPA00031, FIPA00032)
}
"""How an opening act is refused in a protocol that has no refuse."""


class Complaints:
    """The complaints of one agent.

    Args:
        me: the bare JID of the agent, for the facts.
        emit: sink of facts.
        answer: sends a message whose loss changes nothing.
    """

    def __init__(self, me: str, emit: Callable[[Fact], None], answer: Answer) -> None:
        self._me, self._emit, self._answer = me, emit, answer
        self._told: dict[str, tuple[float, int]] = {}

    def not_understood(
        self, message: AclMessage, peer: AgentIdentifier, cause: Cause, text: str, about: str | None = None
    ) -> None:
        """Answer not-understood; never to a not-understood (G3 of our policy)."""
        self._emit(MessageNotUnderstood(agent=self._me, peer=peer.name, cause=cause, text=text))
        if message.performative is not Performative.NOT_UNDERSTOOD and self._may_answer(peer):
            content = explain(cause, text, about)
            self._answer(message.reply(Performative.NOT_UNDERSTOOD, content=content), _asker(message, peer))

    def unreadable(self, unreadable: Unreadable) -> None:
        """Answer something that is no ACL message."""
        error, peer = unreadable.error, unreadable.sender
        self._emit(MessageNotUnderstood(agent=self._me, peer=peer.name, cause=error.cause, text=error.text))
        if self._may_answer(peer):
            content = explain(error.cause, error.text, error.about)
            answer = AclMessage(
                performative=Performative.NOT_UNDERSTOOD,
                content=content,
                language=LANGUAGE,
                conversation_id=unreadable.conversation_id,
                in_reply_to=unreadable.reply_with,
            )
            self._answer(answer, peer)

    def refuse(self, message: AclMessage, peer: AgentIdentifier, cause: Cause, text: str) -> None:
        """Refuse to open a conversation, by the act that its protocol has for that."""
        self._emit(MessageNotUnderstood(agent=self._me, peer=peer.name, cause=cause, text=text))
        act = _REFUSALS.get(message.performative, Performative.REFUSE)
        self._answer(message.reply(act, content=explain(cause, text)), _asker(message, peer))

    def too_late_to_cancel(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Tell an initiator whose cancel crossed our last word that there is nothing to cancel any more."""
        content = explain(Cause.UNEXPECTED_ACT, "it was finished before the cancel came")
        self._answer(message.reply(Performative.FAILURE, content=content), peer)

    def reject_late(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Release a participant that proposes for a call that is over."""
        self.out_of_sequence(message, peer, "a proposal for a call that is over")
        content = explain(Cause.LATE, "the proposal came after the call was over")
        self._answer(message.reply(Performative.REJECT_PROPOSAL, content=content), peer)

    def out_of_sequence(self, message: AclMessage, peer: AgentIdentifier, text: str) -> None:
        """Count a message that is not to be answered."""
        act = message.performative.value
        self._emit(OutOfSequence(agent=self._me, performative=act, peer=peer.name, text=text))

    def _may_answer(self, peer: AgentIdentifier) -> bool:
        now = asyncio.get_running_loop().time()
        since, count = self._told.get(peer.name, (now, 0))
        if now - since > 60:
            since, count = now, 0
        if len(self._told) >= REMEMBERED_PEERS:
            self._told.clear()
        self._told[peer.name] = (since, count + 1)
        return count < A_MINUTE


def _asker(message: AclMessage, peer: AgentIdentifier) -> AgentIdentifier:
    """Who waits for the answer: the reply-to (FIPA00061, 2.2.3), as when a recruiter asks for another."""
    return message.reply_to[0] if message.reply_to else peer
