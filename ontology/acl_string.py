r"""A whole ACL message as a string: FIPA00070 (SC00070), ``fipa.acl.rep.string.std``.

::

    (request :sender (agent-identifier :name ann@example.org)
      :receiver (set (agent-identifier :name bob@example.org :addresses (sequence xmpp:bob@example.org)))
      :content "{\"train\": {}}" :reply-by 20261120T070634120Z)

Within quotes only the quote itself is escaped; any other backslash stands for itself, as in JADE. So a
text that ends in a backslash cannot stand in quotes: it is written as ``#<number of bytes>"<bytes>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

from ontology.acl import AclMessage, Performative
from ontology.acl_parameters import (
    Gathering,
    Place,
    is_user_defined,
    make_agent,
    placed,
    texts_of,
    write_fipa_time,
)
from ontology.acl_tokens import DEPTH, Tokens
from ontology.aid import AgentIdentifier
from ontology.errors import Cause, shown

_PLAIN = re.compile(r"[A-Za-z_/][!#-'*-~]*")
"""A word for every reader: FIPA00070 lets most characters stand in one, JADE only those of ASCII."""


def to_string(message: AclMessage) -> str:
    """Write a message on one line, if its values have no line breaks; absent parameters are left out."""
    return f"({' '.join(_parts(message))})"


def from_string(text: str, now: datetime | None = None) -> AclMessage:
    """Read a message that any FIPA platform wrote.

    Args:
        text: the message, with nothing but white space around it.
        now: what a relative reply-by counts from; None where none can be understood.

    Raises:
        MessageError: it is no ACL message; the error says why and where in one sentence.
    """
    tokens = Tokens(text)
    tokens.open("an ACL message begins with a parenthesis")
    act = tokens.next()
    place = tokens.place(act.at)
    if act.kind == "close":
        told = "the message has no performative, which FIPA00061 requires"
        raise placed(Cause.MISSING_PARAMETER, told, place, "performative")
    try:
        performative = Performative(act.value)
    except ValueError as error:
        told = f"{shown(act.value)!r} is none of the 22 acts of FIPA00037"
        raise placed(Cause.UNSUPPORTED_ACT, told, place, shown(act.value)) from error
    gathered = Gathering(now)
    for name, at in _parameters(tokens):
        _take(tokens, gathered, name, tokens.place(at))
    tokens.end()
    return gathered.message(performative, place)


def _parts(message: AclMessage) -> Iterator[str]:
    yield message.performative.value
    if message.sender is not None:
        yield f":sender {_agent(message.sender)}"
    for name, agents in (("receiver", message.receiver), ("reply-to", message.reply_to)):
        if agents:
            yield f":{name} (set {_agents(agents)})"
    if message.content is not None:
        yield f":content {_quoted(message.content)}"
    for name, value in texts_of(message):
        yield f":{name} {_expression(value)}"
    if message.reply_by is not None:
        yield f":reply-by {write_fipa_time(message.reply_by)}"
    for name, value in message.user_parameters.items():
        yield f":{name} {_expression(value)}"


def _agents(agents: Iterable[AgentIdentifier]) -> str:
    return " ".join(_agent(agent) for agent in agents)


def _agent(agent: AgentIdentifier) -> str:
    text = f"(agent-identifier :name {_expression(agent.name)}"
    if agent.addresses:
        text += f" :addresses (sequence {' '.join(_expression(each) for each in agent.addresses)})"
    if agent.resolvers:
        text += f" :resolvers (sequence {_agents(agent.resolvers)})"
    return text + ")"


def _expression(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else _quoted(value)


def _quoted(value: str) -> str:
    if value.endswith("\\"):
        return f'#{len(value.encode())}"{value}'
    return '"' + value.replace('"', '\\"') + '"'


def _take(tokens: Tokens, gathered: Gathering, name: str, place: Place) -> None:
    match name.lower():
        case "sender":
            gathered.once("sender", place)
            gathered.take_sender(_read_agent(tokens))
        case "receiver" | "reply-to" as known:
            gathered.once(known, place)
            gathered.take_agents(known, _read_agents(tokens, "set"))
        case _:
            gathered.take_text(name, tokens.value(name), place)


def _parameters(tokens: Tokens) -> Iterator[tuple[str, int]]:
    """Yield the names up to the closing parenthesis; the caller reads each one's value."""
    while not tokens.closes():
        token = tokens.next()
        if token.kind != "word" or not token.value.startswith(":"):
            told = f"the name of a parameter begins with a colon, which {shown(token.value)!r} does not"
            tokens.fail(told, token.at)
        yield token.value[1:], token.at


def _read_agent(tokens: Tokens, depth: int = 0) -> AgentIdentifier:
    begin = tokens.open("an agent is written (agent-identifier :name ...)")
    tokens.keyword("agent-identifier")
    if depth > DEPTH:
        tokens.fail("resolvers are nested too deeply", begin)
    seen: set[str] = set()
    name = ""
    addresses: list[str] = []
    resolvers: list[AgentIdentifier] = []
    for slot, at in _parameters(tokens):
        known = slot.lower()
        if known in seen:
            tokens.fail(f"an agent's {shown(known)} is given twice", at)
        seen.add(known)
        match known:
            case "name":
                name = tokens.value(known)
            case "addresses":
                addresses = _read_addresses(tokens)
            case "resolvers":
                resolvers = _read_agents(tokens, "sequence", depth + 1)
            case _ if is_user_defined(known):
                tokens.value(known)  # an AgentIdentifier has no place for it
            case _:
                tokens.fail(f"{shown(slot)!r} is no parameter of an agent (FIPA00023, 3.1)", at)
    if "name" not in seen:
        tokens.fail("an agent has no :name", begin)
    return make_agent(name, addresses, resolvers, tokens.place(begin))


def _read_agents(tokens: Tokens, kind: str, depth: int = 0) -> list[AgentIdentifier]:
    tokens.open(f"agents are written ({kind} (agent-identifier :name ...) ...)")
    tokens.keyword(kind)
    agents = []
    while not tokens.closes():
        agents.append(_read_agent(tokens, depth))
    return agents


def _read_addresses(tokens: Tokens) -> list[str]:
    tokens.open("addresses are written (sequence xmpp:ann@example.org ...)")
    tokens.keyword("sequence")
    addresses = []
    while not tokens.closes():
        token = tokens.next()
        if token.kind == "open":
            tokens.fail("an address is a word or a string", token.at)
        addresses.append(token.value)
    return addresses
