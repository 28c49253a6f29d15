r"""A whole ACL message as text: one JSON object with FIPA's parameter names.

::

    {"performative": "request", "sender": "ann@example.org", "receiver": ["coordinator@example.org"],
     "protocol": "fipa-request", "conversation-id": "c1", "content": "{\"train\": {...}}"}
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ontology.acl import AclMessage
from ontology.acl_parameters import TEXT_PARAMETERS, build, read_agent, read_time, texts_of, write_time
from ontology.content import read_json
from ontology.errors import Cause, MessageError, shown


def to_json(message: AclMessage) -> str:
    """Write a message as one JSON object; absent parameters are left out."""
    record: dict[str, Any] = {"performative": message.performative.value}
    if message.sender is not None:
        record["sender"] = message.sender.jid
    for name, agents in (("receiver", message.receiver), ("reply-to", message.reply_to)):
        if agents:
            record[name] = [agent.jid for agent in agents]
    record.update(texts_of(message))
    if message.reply_by is not None:
        record["reply-by"] = write_time(message.reply_by)
    if message.content is not None:
        record["content"] = message.content
    return json.dumps({**record, **message.user_parameters}, ensure_ascii=False)


def from_json(text: str, now: datetime | None = None) -> AclMessage:
    """Read a message that `to_json` or a person wrote; content may be an object instead of a string.

    Args:
        text: one JSON object.
        now: what a relative reply-by counts from; None where none can be understood.

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
            fields["reply_by"] = read_time(str(value), now)
        elif name.startswith("X-"):
            user[name] = str(value)
        elif name != "performative":
            raise MessageError(
                Cause.UNEXPECTED_PARAMETER,
                f"{shown(name)!r} is no ACL parameter (FIPA00061); user-defined ones start with X-",
                shown(name),
            )
    return build(record.get("performative"), {**fields, "user_parameters": user})
