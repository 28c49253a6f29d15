r"""A recorded trace: who said what to whom and when, one JSON object a line.

::

    {"time": "2026-11-20T07:06:34.120Z", "message": {"performative": "request", "sender": "ann@example.org",
     "receiver": ["bob@example.org"], "protocol": "fipa-request", "conversation-id": "c1", ...}}

Each message stands there once, as its sender said it. The message is ontology.codecs' JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ontology.acl import AclMessage
from ontology.codecs import from_json, to_json
from ontology.content import read_json
from ontology.errors import MessageError, shown
from protocols.errors import TraceError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One message of a trace."""

    line: int
    """From 1: where it stands in the file."""
    time: datetime
    """When it was sent, aware."""
    message: AclMessage
    """With sender and receiver. Unlike elsewhere, a protocol may stand without a conversation-id."""

    @property
    def sender(self) -> str:
        """The name of the agent that said it."""
        return self.message.sender.name if self.message.sender is not None else ""

    @property
    def receivers(self) -> tuple[str, ...]:
        """The names of the agents that it was said to."""
        return tuple(each.name for each in self.message.receiver)


def write(time: datetime, message: AclMessage) -> str:
    """Write one line, without its line feed."""
    return f'{{"time": {json.dumps(time.isoformat())}, "message": {to_json(message)}}}'


def read(lines: Iterable[str]) -> Iterator[Entry]:
    """Read the lines of a trace; empty ones are skipped.

    Raises:
        TraceError: a line is none of a trace; the error says why in one sentence.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _read_line(number, line)


SKEW = timedelta(seconds=2)
"""How far the clocks of two processes may differ."""


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """Bring a trace into the order in which it was said: by time, and answers behind what they answer.

    Two processes that write to one file may swap a question and a quick answer to it.
    """
    found = sorted(entries, key=lambda each: each.time)
    named = {each.message.reply_with: place for place, each in enumerate(found) if each.message.reply_with}
    keys = [(place, 0) for place in range(len(found))]
    has_changed = True
    for _ in range(10):  # each turn moves a chain of answers on by one; longer ones have an error in them
        if not has_changed:
            break
        has_changed = False
        latest: dict[str, tuple[int, int]] = {}
        for place, each in enumerate(found):
            least = latest.get(each.sender, (-1, 0))
            asked = named.get(each.message.in_reply_to) if each.message.in_reply_to is not None else None
            if asked is not None and timedelta(0) <= found[asked].time - each.time <= SKEW:
                least = max(least, keys[asked])
            if keys[place] <= least and asked != place:
                keys[place], has_changed = (least[0], least[1] + 1), True
            latest[each.sender] = keys[place]
    return [found[place] for place in sorted(range(len(found)), key=lambda place: keys[place])]


def _read_line(number: int, line: str) -> Entry:
    try:
        record = read_json(line)
    except ValueError as error:
        raise TraceError(number, f"the line is {error}") from error
    if not isinstance(record, dict) or record.keys() != {"time", "message"}:
        raise TraceError(number, 'the line is not of the form {"time": "...", "message": {...}}')
    message = _read_message(number, record["message"])
    for name, value in (("sender", message.sender), ("receiver", message.receiver)):
        if not value:
            raise TraceError(number, f"the message has no {name}: nobody can be told who broke which rule")
    return Entry(line=number, time=_read_time(number, record["time"]), message=message)


def _read_time(number: int, value: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError as error:
        told = f"time {shown(value)!r} is none; write e.g. 2026-11-20T07:06:34.120Z"
        raise TraceError(number, told) from error
    if time.tzinfo is None:
        raise TraceError(number, f"time {shown(value)!r} has no zone; write e.g. {shown(value)}Z")
    return time


def _read_message(number: int, value: object) -> AclMessage:
    record = dict(value) if isinstance(value, dict) else value
    protocol = None
    if isinstance(record, dict) and record.get("conversation-id") is None:
        # No such message can be made, as FIPA00061 forbids it (2.5.1); here it is to be told, not refused.
        protocol = record.pop("protocol", None)
    try:
        message = from_json(json.dumps(record))
    except MessageError as error:
        raise TraceError(number, error.text) from error
    if protocol is None:
        return message
    if not isinstance(protocol, str):
        raise TraceError(number, f"protocol {shown(protocol)} is no token")
    return message.model_copy(update={"protocol": protocol})
