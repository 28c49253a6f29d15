"""Messages that come back: whether they can have, and why, in words."""

from __future__ import annotations

from behaviours.wire import Bounced
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason, as_content

_MEANING = {
    "service-unavailable": "there is no such agent, or it is offline",
    "recipient-unavailable": "it is offline",
    "item-not-found": "there is no such agent",
    "remote-server-not-found": "its domain is not served here and no other server was found",
    "remote-server-timeout": "its server did not answer",
    "jid-malformed": "that is no JID",
    "policy-violation": "the server refused the message",
    "not-allowed": "the server does not allow it",
    "resource-constraint": "its mailbox is full",
}


def failure_of(message: AclMessage, me: AgentIdentifier, reason: Reason) -> AclMessage:
    """What the agent management system says of a message that it cannot deliver (FIPA00067)."""
    ams = AgentIdentifier(name=f"ams@{me.domain}")
    content = as_content(reason)
    return message.reply(Performative.FAILURE, sender=ams, receiver=(me,), content=content)


def meaning_of(bounce: Bounced) -> str:
    """Why a message came back, in words."""
    meaning = _MEANING.get(bounce.condition, bounce.condition)
    return f"{meaning} ({bounce.text})" if bounce.text and bounce.text != meaning else meaning


def may_return(bounce: Bounced, to: AgentIdentifier, me: AgentIdentifier) -> bool:
    """Whether a message of ours to that agent can have been returned by whoever the server says it was.

    That is the addressee, or a server on its behalf (RFC 6120, 8.3.1): its own or ours, which may speak for
    itself or for our account. Anybody else has guessed or seen the stanza's id.
    """
    addressee = AgentIdentifier.of(to.jid)
    return bounce.peer in {addressee.name, addressee.domain, me.name, me.domain}
