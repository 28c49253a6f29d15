"""What an agent says in a conversation of its own accord, without a driver that would say it."""

from __future__ import annotations

import uuid

from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from protocols.machine import Conversation
from protocols.table import CANCELLING


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


def is_news(conversation: Conversation, message: AclMessage, moved: Conversation) -> bool:
    """Whether a message is one of a series that leads nowhere: a notification to a subscriber.

    It is delivered as any other; a publisher that runs again begins anew, and so is not reminded of it.

    Args:
        conversation: as it stood before.
        message: what was said or heard.
        moved: as it stands after that.
    """
    is_inform = message.performative is Performative.INFORM
    return is_inform and moved.state == conversation.state != CANCELLING
