r"""A whole ACL message as text: one JSON object with FIPA's parameter names.

::

    {"performative": "request", "sender": "ann@example.org", "receiver": ["coordinator@example.org"],
     "protocol": "fipa-request", "conversation-id": "c1", "content": "{\"train\": {...}}"}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import read_json
from ontology.errors import Cause, MessageError, shown

TEXT_PARAMETERS: Mapping[str, str] = {
    "language": "language",
    "encoding": "encoding",
    "ontology": "ontology",
    "protocol": "protocol",
    "conversation-id": "conversation_id",
    "reply-with": "reply_with",
    "in-reply-to": "in_reply_to",
}
"""FIPA's parameter names for the fields of `AclMessage` that are plain text."""


def to_json(message: AclMessage) -> str:
    """Write a message as one JSON object; absent parameters are left out."""
    record: dict[str, Any] = {"performative": message.performative.value}
    if message.sender is not None:
        record["sender"] = message.sender.jid
    for name, agents in (("receiver", message.receiver), ("reply-to", message.reply_to)):
        if agents:
            record[name] = [agent.jid for agent in agents]
    for name, attribute in TEXT_PARAMETERS.items():
        value = getattr(message, attribute)
        if value is not None:
            record[name] = value
    if message.reply_by is not None:
        record["reply-by"] = write_time(message.reply_by)
    if message.content is not None:
        record["content"] = message.content
    return json.dumps({**record, **message.user_parameters}, ensure_ascii=False)


def from_json(text: str) -> AclMessage:
    """Read a message that `to_json` or a person wrote; content may be an object instead of a string.

    Raises:
        MessageError: it is no ACL message; the error says why in one sentence.
    """
    try:
        record = read_json(text)
    except ValueError as error:
        raise MessageError(Cause.UNRECOGNISED_VALUE, f"the message is {error}") from error
    if not isinstance(record, dict):
        raise MessageError(Cause.UNRECOGNISED_VALUE, "the message is not a JSON object")
    fields: dict[str, Any] = {}
    user: dict[str, str] = {}
    for name, value in record.items():
        if name in TEXT_PARAMETERS:
            fields[TEXT_PARAMETERS[name]] = value
        elif name == "content":
            is_text = value is None or isinstance(value, str)
            fields["content"] = value if is_text else json.dumps(value, ensure_ascii=False)
        elif name in {"receiver", "reply-to"}:
            several = value if isinstance(value, list) else [value]
            fields[name.replace("-", "_")] = tuple(read_agent(name, each) for each in several)
        elif name == "sender":
            fields["sender"] = read_agent(name, value)
        elif name == "reply-by":
            fields["reply_by"] = read_time(str(value))
        elif name.startswith("X-"):
            user[name] = str(value)
        elif name != "performative":
            raise MessageError(
                Cause.UNEXPECTED_PARAMETER,
                f"{shown(name)!r} is no ACL parameter (FIPA00061); user-defined ones start with X-",
                shown(name),
            )
    return build(record.get("performative"), {**fields, "user_parameters": user})


def build(performative: object, fields: Mapping[str, Any]) -> AclMessage:
    """Make a message from parameters of unknown origin.

    Raises:
        MessageError: a parameter is missing or malformed; the error names the first one.
    """
    if performative is None or performative == "":
        raise MessageError(
            Cause.MISSING_PARAMETER,
            "the message has no performative, which FIPA00061 requires",
            "performative",
        )
    try:
        return AclMessage.model_validate({"performative": performative, **fields})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in fault["loc"]).replace("_", "-")
        if name == "performative":
            text = f"{shown(performative)!r} is none of the 22 acts of FIPA00037"
            raise MessageError(Cause.UNSUPPORTED_ACT, text, shown(performative)) from error
        told = fault["msg"].removeprefix("Value error, ")
        text = f"{name}: {told}" if name else told
        raise MessageError(Cause.UNRECOGNISED_PARAMETER_VALUE, text, name or None) from error


def write_time(moment: datetime) -> str:
    """Write a time as ISO 8601 in UTC with milliseconds, e.g. ``2026-11-20T07:06:34.120Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(text: str) -> datetime:
    """Read a time in ISO 8601, or in FIPA00070's form ``20261120T070634120Z``; without zone it is UTC.

    Raises:
        MessageError: it is neither.
    """
    stripped = text.strip()
    try:
        compact = stripped.rstrip("Zz")
        if len(compact) == 18 and compact[8:9] == "T" and (compact[:8] + compact[9:]).isdigit():
            return datetime.strptime(compact + "000", "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
        moment = datetime.fromisoformat(stripped)
        # RFC 3339 times at the ends of the calendar leave it when moved to UTC.
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MessageError(
            Cause.UNRECOGNISED_PARAMETER_VALUE,
            f"reply-by {text[:40]!r} is no time; write e.g. 2026-11-20T07:06:34.120Z",
            "reply-by",
        ) from error


def read_agent(name: str, value: object) -> AgentIdentifier:
    """Read the JID in the parameter of that name.

    Raises:
        MessageError: it is no agent's name.
    """
    if not isinstance(value, str):
        raise MessageError(Cause.UNRECOGNISED_PARAMETER_VALUE, f"{name} is a JID in quotes", name)
    try:
        return AgentIdentifier.of(value)
    except ValidationError as error:
        raise MessageError(
            Cause.UNRECOGNISED_PARAMETER_VALUE, f"{name}: {value[:60]!r} is no agent's name", name
        ) from error
