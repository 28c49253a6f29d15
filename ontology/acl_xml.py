"""A whole ACL message as XML: FIPA00071 (SC00071), ``fipa.acl.rep.xml.std``.

::

    <fipa-message act="request"><sender><agent-identifier><name id="ann@example.org"/>
    </agent-identifier></sender><content>{"train": {}}</content><reply-by time="20261120T070634120Z"/>
    <user-defined href="X-Trace">7</user-defined></fipa-message>

What stands within an element is taken with all its white space. Each receiver has an element of its own, as
JADE writes it. A document type is refused, and with it every entity that could grow or be fetched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from xml.sax.saxutils import escape, quoteattr

from ontology.acl import AclMessage
from ontology.acl_elements import Element, build
from ontology.acl_parameters import Gathering, make_agent, placed, texts_of, write_fipa_time
from ontology.aid import AgentIdentifier
from ontology.errors import Cause

ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""A character that XML 1.0 cannot carry, not even as a reference."""


def to_xml(message: AclMessage) -> str:
    """Write a message as one element without line breaks; absent parameters are left out.

    Raises:
        ValueError: a text holds a character that XML cannot carry.
    """
    text = f'<fipa-message act="{message.performative.value}">{"".join(_parts(message))}</fipa-message>'
    illegal = ILLEGAL.search(text)
    if illegal:
        raise ValueError(cannot_carry(illegal.group()))
    return text


def from_xml(text: str, now: datetime | None = None) -> AclMessage:
    """Read a message that any FIPA platform wrote.

    Args:
        text: one XML document without a document type.
        now: what a relative reply-by counts from; None where none can be understood.

    Raises:
        MessageError: it is no ACL message; the error says why and where in one sentence.
    """
    root = build(text)
    gathered = Gathering(now)
    identifier = root.attributes.get("conversation-id")
    if identifier is not None:
        gathered.take_text("conversation-id", identifier, root.place)
    for element in root.children:
        match element.tag:
            case "sender":
                gathered.once("sender", element.place)
                gathered.take_sender(_one(element))
            case "receiver" | "reply-to":
                gathered.take_agents(element.tag, [_agent(each) for each in element.children])
            case "user-defined":
                gathered.take_text(_named(element, "href"), element.text, element.place)
            case "reply-by":
                time = element.attributes.get("time", element.text)
                gathered.take_text("reply-by", time, element.place)
            case _:
                # As in JADE, a reference stands for the text and is not followed.
                text = element.text or element.attributes.get("href", "")
                gathered.take_text(element.tag, text, element.place)
    return gathered.message(root.attributes.get("act", ""), root.place)


def _parts(message: AclMessage) -> Iterator[str]:
    if message.sender is not None:
        yield f"<sender>{_agents([message.sender])}</sender>"
    for name, agents in (("receiver", message.receiver), ("reply-to", message.reply_to)):
        for agent in agents:
            yield f"<{name}>{_agents([agent])}</{name}>"
    if message.content is not None:
        yield f"<content>{escaped(message.content)}</content>"
    for name, value in texts_of(message):
        yield f"<{name}>{escaped(value)}</{name}>"
    if message.reply_by is not None:
        yield f'<reply-by time="{write_fipa_time(message.reply_by)}"/>'
    for name, value in message.user_parameters.items():
        yield f'<user-defined href="{name}">{escaped(value)}</user-defined>'


def _agents(agents: Iterable[AgentIdentifier]) -> str:
    return "".join(_agent_parts(agents))


def _agent_parts(agents: Iterable[AgentIdentifier]) -> Iterator[str]:
    for agent in agents:
        yield f"<agent-identifier><name id={quoteattr(agent.name)}/>"
        if agent.addresses:
            urls = "".join(f"<url href={quoteattr(each)}/>" for each in agent.addresses)
            yield f"<addresses>{urls}</addresses>"
        if agent.resolvers:
            yield f"<resolvers>{_agents(agent.resolvers)}</resolvers>"
        yield "</agent-identifier>"


def escaped(text: str) -> str:
    """Write a text so that it may stand within an element."""
    # XML 1.0, 2.11: a parser turns a carriage return that is not escaped into a line feed.
    return escape(text, {"\r": "&#13;"})


def cannot_carry(character: str) -> str:
    """Tell that a message with this character cannot be written."""
    return (
        f"the message holds the character U+{ord(character):04X}, which XML cannot carry; "
        "write it as an escape within the content, e.g. \\u0000 in JSON"
    )


def _one(element: Element) -> AgentIdentifier:
    if len(element.children) != 1:
        told = f"<{element.tag}> holds one <agent-identifier>, not {len(element.children)}"
        raise placed(Cause.UNRECOGNISED_PARAMETER_VALUE, told, element.place, element.tag)
    return _agent(element.children[0])


def _agent(element: Element) -> AgentIdentifier:
    names: list[str] = []
    addresses: list[str] = []
    resolvers: list[AgentIdentifier] = []
    for child in element.children:
        match child.tag:
            case "name":
                names.append(_named(child, "id"))
            case "addresses":
                addresses.extend(_named(each, "href") for each in child.children)
            case "resolvers":
                resolvers.extend(_agent(each) for each in child.children)
            case _:
                pass  # user-defined: an AgentIdentifier has no place for it
    if len(names) != 1:
        told = f"an <agent-identifier> has one <name>, not {len(names)}"
        raise placed(Cause.UNRECOGNISED_PARAMETER_VALUE, told, element.place, "name")
    return make_agent(names[0], addresses, resolvers, element.place)


def _named(element: Element, attribute: str) -> str:
    value = element.attributes.get(attribute)
    if value is None:
        told = f"<{element.tag}> needs the attribute {attribute}"
        raise placed(Cause.MISSING_PARAMETER, told, element.place, element.tag)
    return value
