"""What an agent says to messages that it cannot take: not-understood, refuse, cancel, or nothing.

Every complaint is a fact; whether it is also an answer depends on who is told and how often, so that
two machines that do not understand each other do not say so for ever.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable

from behaviours.events import ConversationRefused, Fact, MessageNotUnderstood, OutOfSequence
from behaviours.seating import HEARERS
from behaviours.wire import Unreadable
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, Done, explain
from ontology.errors import Cause
from protocols.table import Protocol, kind

A_MINUTE = 10
"""Not-understoods to one peer within 60 s; further ones are facts only."""

REMEMBERED_PEERS = 1000
"""Of how many we know what we have told them."""

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
        mention: sends one that is not even written down.
    """

    def __init__(self, me: str, emit: Callable[[Fact], None], answer: Answer, mention: Answer) -> None:
        self._me, self._emit, self._answer, self._mention = me, emit, answer, mention
        self._told: dict[str, tuple[float, int]] = {}
        self._stopped: OrderedDict[tuple[str, str], str] = OrderedDict()
        """By peer and conversation-id: the reply-with of the cancel."""

    def not_understood(
        self, message: AclMessage, peer: AgentIdentifier, cause: Cause, text: str, about: str | None = None
    ) -> None:
        """Answer not-understood; never to a not-understood (G3 of our policy)."""
        self._emit(MessageNotUnderstood(agent=self._me, peer=peer.name, cause=cause, text=text))
        if message.performative is not Performative.NOT_UNDERSTOOD and self._may_answer(peer):
            content = explain(cause, text, about)
            for each in _askers(message, peer):
                self._tell(message, each, Performative.NOT_UNDERSTOOD, content)

    def unreadable(self, unreadable: Unreadable) -> None:
        """Answer something that is no ACL message; never what is meant as a not-understood."""
        error, peer = unreadable.error, unreadable.sender
        self._emit(MessageNotUnderstood(agent=self._me, peer=peer.name, cause=error.cause, text=error.text))
        if not unreadable.is_not_understood and self._may_answer(peer):
            content = explain(error.cause, error.text, error.about)
            answer = AclMessage(
                performative=Performative.NOT_UNDERSTOOD,
                content=content,
                language=LANGUAGE,
                protocol=unreadable.protocol,
                conversation_id=unreadable.conversation_id,
                in_reply_to=unreadable.reply_with,
            )
            self._answer(answer, peer)

    def refuse(self, message: AclMessage, peer: AgentIdentifier, cause: Cause, text: str) -> None:
        """Refuse to open a conversation, by the act that its protocol has for that."""
        self._refuse(message, peer, cause, text, explain(cause, text), self._answer)

    def put_off(self, message: AclMessage, peer: AgentIdentifier, text: str, retry_after: float) -> None:
        """Refuse to open a conversation now.

        Nothing of that is written down, so that it costs next to nothing: the message counts as never
        processed, and whoever misses the refusal asks after it and says it again.
        """
        content = explain(Cause.OVERLOADED, text, retry_after=retry_after)
        self._refuse(message, peer, Cause.OVERLOADED, text, content, self._mention)

    def _refuse(
        self,
        message: AclMessage,
        peer: AgentIdentifier,
        cause: Cause,
        text: str,
        content: str,
        answer: Answer,
    ) -> None:
        opening = message.performative
        fact = ConversationRefused(
            agent=self._me,
            performative=opening.value,
            protocol=message.protocol or "",
            peer=peer.name,
            cause=cause,
            text=text,
        )
        self._emit(fact)
        act = _REFUSALS.get(opening, Performative.REFUSE)
        for each in _askers(message, peer):
            answer(_reply(message, act, content), each)

    def too_late_to_cancel(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Tell an initiator whose cancel crossed our last word that there is nothing to cancel any more."""
        content = explain(Cause.UNEXPECTED_ACT, "it was finished before the cancel came")
        self._tell(message, peer, Performative.FAILURE, content)

    def reject_late(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Release a participant that proposes for a call that is over."""
        self.out_of_sequence(message, peer, "a proposal for a call that is over")
        content = explain(Cause.LATE, "the proposal came after the call was over")
        self._tell(message, peer, Performative.REJECT_PROPOSAL, content)

    def stop(self, message: AclMessage, peer: AgentIdentifier, protocol: Protocol) -> None:
        """Cancel, once, what a participant goes on with and nobody here waits for (FIPA00026, 2.2)."""
        if message.performative is Performative.NOT_UNDERSTOOD:
            return  # as G3 of our policy says
        is_answer = kind(message) == Done.tag  # to a cancel that somebody else has sent
        if _key(message, peer) not in self._stopped and not is_answer and protocol.goes_on_after(message):
            self.cancel(message.reply(Performative.CANCEL, protocol=protocol.name), peer)

    def cancel(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Say a cancel beside all conversations of ours: its answer is expected, and nobody waits for it."""
        self._stopped[_key(message, peer)] = name = uuid.uuid4().hex
        if len(self._stopped) > REMEMBERED_PEERS:
            self._stopped.popitem(last=False)
        self._answer(message.model_copy(update={"reply_with": name}), peer)

    def is_stopped(self, message: AclMessage, peer: AgentIdentifier) -> bool:
        """Whether a message answers a `cancel`."""
        stopped = self._stopped.get(_key(message, peer))
        return stopped is not None and message.in_reply_to == stopped

    def out_of_sequence(self, message: AclMessage, peer: AgentIdentifier, text: str) -> None:
        """Count a message that is not to be answered."""
        act, protocol = message.performative.value, message.protocol or ""
        fact = OutOfSequence(agent=self._me, performative=act, protocol=protocol, peer=peer.name, text=text)
        self._emit(fact)

    def _tell(self, message: AclMessage, to: AgentIdentifier, act: Performative, content: str) -> None:
        self._answer(_reply(message, act, content), to)

    def _may_answer(self, peer: AgentIdentifier) -> bool:
        now = asyncio.get_running_loop().time()
        since, count = self._told.get(peer.name, (now, 0))
        if now - since > 60:
            since, count = now, 0
        if len(self._told) >= REMEMBERED_PEERS:
            self._told.clear()
        self._told[peer.name] = (since, count + 1)
        return count < A_MINUTE


def _reply(message: AclMessage, act: Performative, content: str) -> AclMessage:
    """An answer in words of our own: JSON, whatever the language and encoding of what it answers."""
    return message.reply(act, content=content, language=LANGUAGE, encoding=None)


def _askers(message: AclMessage, peer: AgentIdentifier) -> tuple[AgentIdentifier, ...]:
    """Who wait for the answer: the reply-to (FIPA00061, 2.2.3), as when a recruiter asks for another."""
    return message.reply_to if 0 < len(message.reply_to) <= HEARERS else (peer,)


def _key(message: AclMessage, peer: AgentIdentifier) -> tuple[str, str]:
    return peer.name, message.conversation_id or ""
