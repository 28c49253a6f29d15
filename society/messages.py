"""Whole messages that come from a file and go to the screen, in any form that `ontology.codecs` knows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.codecs import FORMATS, read, texts_of, write_time
from ontology.errors import MessageError
from society.errors import SocietyError


def load(source: str) -> AclMessage:
    """Read a message from a file, or from standard input where a hyphen stands for it.

    A relative reply-by counts from now.

    Raises:
        SocietyError: it cannot be read, or is no ACL message.
    """
    name = "standard input" if source == "-" else source
    try:
        # Bytes, because line ends are part of a content, and FIPA00070 counts bytes.
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return read(data.decode("utf-8-sig"), datetime.now(UTC))
    except FileNotFoundError as error:
        raise SocietyError(f"{name}: there is no such file") from error
    except OSError as error:
        raise SocietyError(f"{name}: it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SocietyError(f"{name}: it is not UTF-8 at byte {error.start}") from error
    except MessageError as error:
        raise SocietyError(f"{name}: {error.text}") from error


def written(message: AclMessage, form: str) -> str:
    """Write a message in the form of that name.

    Raises:
        SocietyError: the form cannot carry it.
    """
    try:
        return FORMATS[form].write(message)
    except ValueError as error:
        raise SocietyError(str(error)) from error


def readable(message: AclMessage) -> str:
    """Write a message for people: a parameter a line, and the content below."""
    lines = list(_parameters(message))
    width = max((len(name) for name, _value in lines), default=0)
    text = [message.performative.value, *(f"  {name:{width}}  {_shown(value)}" for name, value in lines)]
    if message.content is not None:
        text += ["", message.content]
    return "\n".join(text)


def _parameters(message: AclMessage) -> Iterator[tuple[str, str]]:
    if message.sender is not None:
        yield "sender", _agent(message.sender)
    for name, agents in (("receiver", message.receiver), ("reply-to", message.reply_to)):
        for agent in agents:
            yield name, _agent(agent)
    yield from texts_of(message)
    if message.reply_by is not None:
        yield "reply-by", write_time(message.reply_by)
    yield from message.user_parameters.items()


def _agent(agent: AgentIdentifier) -> str:
    at = f" at {', '.join(agent.addresses)}" if agent.addresses else ""
    by = f", resolved by {', '.join(each.name for each in agent.resolvers)}" if agent.resolvers else ""
    return f"{agent.name}{at}{by}"


def _shown(value: str) -> str:
    """A value on one line, without what would move the cursor."""
    return value if value.isprintable() else repr(value)[1:-1]
