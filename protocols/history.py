"""What has happened in one conversation, in order: enough to bring it back after a restart.

A `Conversation` says where one stands; its history also says how it came there, so that whoever drives it
can be led there again. `begun` and `after` turn a history into a conversation; they apply the same table
that moved it the first time. Pure, as all of this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ontology.acl import AclMessage
from ontology.codecs import from_json, to_json
from ontology.content import Reason
from ontology.errors import MessageError
from protocols import machine
from protocols.errors import ProtocolError
from protocols.machine import Conversation
from protocols.table import Protocol, Role

FORM = 1
"""The written form of an event. Older ones are read for as long as anything may be written in them."""


class HistoryError(ValueError):
    """What was written down is no history of ours, or one of a newer version; the text says which."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The conversation began. The first event of every history, and of no other place."""

    protocol: str
    role: Role
    peer: str
    """The name of the agent at the other end."""
    message: AclMessage
    at: datetime
    id: str = ""
    """The id under which the message came or went."""
    parent: str = ""
    """Key of the conversation whose handler opened this one; empty where that was none."""
    replica: str = ""
    """Which replica of ours opened it of its own accord; empty where a message was the cause."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """We said something."""

    message: AclMessage
    deadline: datetime | None = None
    """As it was handed to `machine.say`."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The peer said something that fitted."""

    message: AclMessage
    id: str = ""
    """The id under which it came."""
    at: datetime | None = None
    """When: what came first in several conversations comes first again; None where nobody looks at it."""


@dataclass(frozen=True, kw_only=True)
class Waits:
    """From now on we wait for the result until then; None without limit."""

    deadline: datetime | None


@dataclass(frozen=True, kw_only=True)
class Passed:
    """The deadline passed."""

    at: datetime
    ends: bool = True
    """Whether that moved the conversation; else whoever drives it was told to do so."""


@dataclass(frozen=True, kw_only=True)
class WasLost:
    """The peer cannot be reached any more."""

    reason: Reason


@dataclass(frozen=True, kw_only=True)
class Happened:
    """Something that no message tells; see `machine.happen`."""

    event: str


Event = Opened | Said | Heard | Waits | Passed | WasLost | Happened


def begun(protocol: Protocol, event: Opened) -> Conversation:
    """Open the conversation again."""
    return machine.start(protocol, event.role, event.message, event.peer, event.at)


def after(protocol: Protocol, conversation: Conversation, event: Event) -> Conversation:
    """Where a conversation stands once that has happened.

    Raises:
        ProtocolError: it cannot have: the history is not one of this table.
    """
    match event:
        case Said(message=message, deadline=deadline):
            return machine.say(protocol, conversation, message, deadline)
        case Heard(message=message):
            return machine.receive(protocol, conversation, message)
        case Waits(deadline=deadline):
            return replace(conversation, deadline=deadline)
        case Passed(ends=False):
            return replace(conversation, deadline=None)
        case Passed(at=at):
            return machine.expire(protocol, conversation, at)
        case WasLost():
            return machine.lose(protocol, conversation)
        case Happened(event=name):
            return machine.happen(protocol, conversation, name)
        case Opened():
            raise HistoryError("a conversation is opened once, and this history opens it a second time")


def replayed(protocol: Protocol, events: Iterable[Event]) -> Conversation:
    """Where a conversation stands after a whole history.

    Raises:
        HistoryError: it is none.
    """
    conversation: Conversation | None = None
    try:
        for event in events:
            if conversation is not None:
                conversation = after(protocol, conversation, event)
            elif isinstance(event, Opened):
                conversation = begun(protocol, event)
            else:
                raise HistoryError(f"a history begins with its opening, and this one with {event}"[:200])
    except ProtocolError as error:
        raise HistoryError(f"the history breaks {protocol.name}: {error}") from error
    if conversation is None:
        raise HistoryError("the history is empty")
    return conversation


_KINDS: dict[str, type[Event]] = {
    "opened": Opened,
    "said": Said,
    "heard": Heard,
    "waits": Waits,
    "passed": Passed,
    "lost": WasLost,
    "happened": Happened,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def write(event: Event) -> str:
    """Write an event down; `read` reads it."""
    record: dict[str, Any] = {"v": FORM, "is": _NAMES[type(event)]}
    message = ""
    for name, value in vars(event).items():
        match value:
            case AclMessage():
                # Whole, as it stood: in a conversation the sender's resource matters.
                message = f', "{name}": {to_json(value)}'
            case datetime():
                record[name] = value.isoformat()
            case Reason():
                record[name] = value.model_dump(mode="json")
            case _:
                record[name] = value
    return f"{json.dumps(record, ensure_ascii=False)[:-1]}{message}}}"


def read(text: str) -> Event:
    """Read an event that `write` wrote.

    Raises:
        HistoryError: a newer version wrote it, or it is no event.
    """
    try:
        record = json.loads(text)
        form, kind = record.pop("v", None), record.pop("is", None)
        _check(form)
        for name, value in record.items():
            if name == "message":
                record[name] = from_json(json.dumps(value))
            elif name in {"at", "deadline"} and value is not None:
                record[name] = datetime.fromisoformat(value)
            elif name == "role":
                record[name] = Role(value)
            elif name == "reason":
                record[name] = Reason.model_validate(value)
        return _KINDS[kind](**record)
    except HistoryError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, MessageError) as error:
        raise HistoryError(f"this is no event of a conversation: {text[:60]!r}") from error


def _check(form: object) -> None:
    if form != FORM:
        what = f"this conversation was written in form {form!r}"
        raise HistoryError(f"{what}, and form {FORM} is read here; update Locution")
