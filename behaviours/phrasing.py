"""What an agent says in a conversation of its own accord, without a driver that would say it."""

from __future__ import annotations

import uuid

from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from protocols.machine import Conversation


def saying(
    conversation: Conversation, peer: AgentIdentifier, act: Performative, content: str | None = None
) -> AclMessage:
    """Make a message of a conversation that replies to nothing: a cancel, a late rejection."""
    return AclMessage(
        performative=act,
        receiver=(peer,),
        content=content,
        protocol=conversation.protocol,
        conversation_id=conversation.conversation_id,
        reply_with=uuid.uuid4().hex,
    )


def unechoed(conversation: Conversation, message: AclMessage) -> AclMessage:
    """A message as an answer to our last one, where it only looks like a question."""
    # SPADE 4.1.4: `make_reply` copies every parameter. A reply that bears the reply-with of our own
    # last message is an answer to it, whatever in-reply-to came along from before.
    ours = conversation.awaited
    if ours is None or message.reply_with != ours:
        return message
    return message.model_copy(update={"in_reply_to": ours, "reply_with": None})
