"""What every written form of an ACL message shares: the names of its parameters, and how values are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
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


def texts_of(message: AclMessage) -> Iterator[tuple[str, str]]:
    """The parameters of plain text that a message has, under FIPA's names."""
    for name, attribute in TEXT_PARAMETERS.items():
        value = getattr(message, attribute)
        if value is not None:
            yield name, value


def write_time(moment: datetime) -> str:
    """Write a time as ISO 8601 in UTC with milliseconds, e.g. ``2026-11-20T07:06:34.120Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_fipa_time(moment: datetime) -> str:
    """Write a time as FIPA00070 has it, in UTC: ``20261120T070634120Z``."""
    return re.sub("[-:.]", "", write_time(moment))


def read_time(text: str, now: datetime | None = None) -> datetime:
    """Read a time in ISO 8601, or in FIPA00070's form ``20261120T070634120Z``; without zone it is UTC.

    FIPA00070 would have a time without Z be local, which says nothing to an agent elsewhere.

    Args:
        text: the time; with a sign it is relative: ``+00000000T000010000`` is in ten seconds.
        now: what a relative time counts from; None where none can be understood.

    Raises:
        MessageError: it is neither.
    """
    stripped = text.strip()
    try:
        if _RELATIVE.fullmatch(stripped):
            return _from_now(stripped, now)
        compact = stripped.rstrip("Zz")
        if len(compact) == 18 and compact[8:9] in {"T", "t"} and (compact[:8] + compact[9:]).isdigit():
            return datetime.strptime(compact.upper() + "000", "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
        moment = datetime.fromisoformat(stripped)
        # RFC 3339 times at the ends of the calendar leave it when moved to UTC.
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MessageError(
            Cause.UNRECOGNISED_PARAMETER_VALUE,
            f"reply-by {text[:40]!r} is no time; write e.g. 2026-11-20T07:06:34.120Z",
            "reply-by",
        ) from error


_RELATIVE = re.compile(r"[+-][0-9]{8}[Tt][0-9]{9}[Zz]?")


def _from_now(text: str, now: datetime | None) -> datetime:
    if now is None:
        raise MessageError(
            Cause.UNRECOGNISED_PARAMETER_VALUE,
            f"reply-by {text!r} is relative, and here is no clock; write e.g. 2026-11-20T07:06:34.120Z",
            "reply-by",
        )
    # Years and months have no fixed length; 365 and 30 days are what JADE makes of them.
    days = 365 * int(text[1:5]) + 30 * int(text[5:7]) + int(text[7:9])
    hours, minutes, milliseconds = int(text[10:12]), int(text[12:14]), int(text[14:19])
    span = timedelta(days=days, hours=hours, minutes=minutes, milliseconds=milliseconds)
    return (now - span if text[0] == "-" else now + span).astimezone(UTC)


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


Place = Callable[[], str]
"""Tells where in the text something stands, e.g. ``line 1, column 5``."""


def placed(cause: Cause, text: str, place: Place, about: str | None = None) -> MessageError:
    """Make the error that tells in one sentence what is wrong and where."""
    return MessageError(cause, f"{text} ({place()})", about)


def make_agent(
    name: str, addresses: Iterable[str], resolvers: Iterable[AgentIdentifier], place: Place
) -> AgentIdentifier:
    """Make an identifier of parts of unknown origin; the name is taken as it is, and not as a JID.

    Raises:
        MessageError: it is no agent's name.
    """
    try:
        return AgentIdentifier(name=name, addresses=tuple(addresses), resolvers=tuple(resolvers))
    except ValidationError as error:
        told = f"{shown(name)!r} is no agent's name"
        raise placed(Cause.UNRECOGNISED_PARAMETER_VALUE, told, place, "name") from error


def is_user_defined(name: str) -> bool:
    """Whether a parameter of this name is the user's own (FIPA00061, 2.6); FIPA00070 ignores case."""
    return name[:2] in {"X-", "x-"}


class Gathering:
    """The parameters of one message as they are met in a text, each at most once.

    Args:
        now: what a relative reply-by counts from.
    """

    def __init__(self, now: datetime | None) -> None:
        self._now = now
        self._fields: dict[str, Any] = {}
        self._user: dict[str, str] = {}
        self._places: dict[str, Place] = {}

    def once(self, name: str, place: Place) -> None:
        """Note where a parameter stands.

        Raises:
            MessageError: it has stood elsewhere already.
        """
        if name in self._places:
            raise placed(Cause.UNEXPECTED_PARAMETER, f"{shown(name)} is given twice", place, shown(name))
        self._places[name] = place

    def take_text(self, name: str, value: str, place: Place) -> None:
        """Take any parameter but those that name agents.

        Raises:
            MessageError: there is no such parameter, it was given before, or its value is malformed.
        """
        known = "X-" + name[2:] if is_user_defined(name) else name.lower()
        self.once(known, place)
        if known in TEXT_PARAMETERS:
            self._fields[TEXT_PARAMETERS[known]] = value
        elif known == "content":
            self._fields["content"] = value
        elif known == "reply-by":
            try:
                self._fields["reply_by"] = read_time(value, self._now)
            except MessageError as error:
                raise placed(error.cause, error.text, place, error.about) from error
        elif is_user_defined(known):
            self._user[known] = value
        else:
            raise placed(
                Cause.UNEXPECTED_PARAMETER,
                f"{shown(name)!r} is no ACL parameter (FIPA00061); user-defined ones start with X-",
                place,
                shown(name),
            )

    def take_agents(self, name: str, agents: Iterable[AgentIdentifier]) -> None:
        """Take some receivers, or whom to reply to: ``receiver`` or ``reply-to``."""
        field = name.replace("-", "_")
        self._fields[field] = (*self._fields.get(field, ()), *agents)

    def take_sender(self, sender: AgentIdentifier) -> None:
        """Take who claims to speak."""
        self._fields["sender"] = sender

    def message(self, performative: str, place: Place) -> AclMessage:
        """Make the message of what was gathered.

        Raises:
            MessageError: a parameter is missing or malformed.
        """
        try:
            return build(performative, {**self._fields, "user_parameters": self._user})
        except MessageError as error:
            at = self._places.get(error.about or "", place)
            raise placed(error.cause, error.text, at, error.about) from error
