"""ACL messages as XMPP stanzas: the only code that knows stanzas. Rendered and read directly.

The form is the one that SPADE 4 writes, so that plain SPADE agents and ours understand each other: the
content is the body, the parameters are fields of a data form (XEP-0004) titled ``spade:x:metadata``.

A client without data forms may put the whole message into the body, in any form that `ontology.codecs` knows,
and is answered in the same (`behaviours.wording`). So does JADE's XMPP transport, which puts an envelope
beside it, an element of ``jabber:x:fipa``; the envelope is not read, because the server has said whence and
whither, and not written either: JADE is answered in SPADE's form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from ontology.acl import AclMessage, Performative
from ontology.acl_xml import ILLEGAL, cannot_carry, escaped
from ontology.aid import AgentIdentifier
from ontology.codecs import (
    FORMATS,
    TEXT_PARAMETERS,
    build,
    detect,
    read,
    read_agent,
    read_time,
    texts_of,
    to_json,
    write_time,
)
from ontology.content import read_json
from ontology.errors import Cause, MessageError

FORM_TITLE = "spade:x:metadata"
CLIENT = "{jabber:client}"
DATA = "{jabber:x:data}"
ENVELOPE = "{jabber:x:fipa}x"
"""JADE's envelope: it says that the body is a whole ACL message."""
SPADE = "spade"
"""SPADE's form, beside those that `ontology.codecs` names."""
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
MESSAGE = CLIENT + "message"

_quoted = lru_cache(maxsize=1000)(quoteattr)
"""For names: there are few of them, in every message."""

_USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_READ_BY_NAME = {*TEXT_PARAMETERS, "performative", "reply-by", "reply-to", "_thread_node"}


class Element(Protocol):
    """The part of xml.etree's Element that is read here."""

    tag: str
    text: str | None

    def get(self, key: str, default: Any = None) -> Any:
        """An attribute."""

    def find(self, path: str) -> Any:
        """The first child at a path."""

    def findall(self, path: str) -> Any:
        """All children at a path."""

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True, kw_only=True)
class Received:
    """An ACL message as it arrived."""

    message: AclMessage
    stanza_id: str
    is_stored: bool
    """Whether the server kept it for a while before it was delivered (XEP-0203)."""
    is_marked: bool = False
    """Whether its sender waits for an acknowledgement (`behaviours.receipts`)."""
    form: str = SPADE
    """The form in which its sender is to be answered."""


@dataclass(frozen=True, kw_only=True)
class Bounced:
    """The server or the peer's client returned a stanza of ours (RFC 6120, 8.3)."""

    stanza_id: str
    peer: str
    condition: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A message that is no ACL message."""

    sender: AgentIdentifier
    stanza_id: str
    body: str
    error: MessageError
    conversation_id: str | None = None
    """As far as it could be read: by this and the next two the sender knows what the answer is about."""
    reply_with: str | None = None
    protocol: str | None = None
    """Only beside a conversation-id."""
    is_not_understood: bool = False
    """Whether it is meant as a not-understood, which is never answered."""
    form: str = SPADE
    """The form in which its sender is to be answered."""


Incoming = Received | Bounced | Unreadable


ID_LIMIT = 1_000
"""Bytes of the longest id of a stanza that is read: it is remembered, so that a second copy is told."""

STANZA_LIMIT = 1_000_000
"""Bytes of the largest stanza that is sent. A server takes no larger ones (ours 1 MiB), and would say so
to us alone: whoever waits for the answer would never learn."""

AGENTS = 1000
"""Agents in a reply-to that are read: a megabyte of them would hold up the agent for a second."""

ABOUT = "X-about"
"""The user-defined parameter in which a notice names the conversation that it belongs to."""

ACKNOWLEDGEABLE = "{urn:locution:delivery:1}acknowledgeable"
"""What is found in a message that its sender wants acknowledged (`behaviours.receipts`)."""

NO_STORE = '<no-store xmlns="urn:xmpp:hints"/>'


def render(message: AclMessage, to: str, stanza_id: str, form: str = SPADE, mark: str = "") -> str:
    """Write a message as one stanza. There is no `from`: the server stamps it.

    Args:
        message: what to say.
        to: the JID of the one receiver that this copy is for.
        stanza_id: the id that a bounce will carry.
        form: SPADE's, or one of `ontology.codecs.FORMATS`, with the whole message in the body.
        mark: an element beside them (`behaviours.receipts.MARK`), or nothing.

    Raises:
        ValueError: a text holds a character that XML cannot carry, or it is larger than `STANZA_LIMIT`.
    """
    text = (
        f'<message type="chat" to={quoteattr(to)} id={quoteattr(stanza_id)}>'
        f"{_in_form(message) if form == SPADE else _in_body(message, form)}"
        # What is told beside a conversation is of no use to one that comes back later (XEP-0334).
        f"{NO_STORE if ABOUT in message.user_parameters else ''}{mark}</message>"
    )
    illegal = ILLEGAL.search(text)
    if illegal:
        raise ValueError(cannot_carry(illegal.group()))
    size = len(text.encode())
    if size > STANZA_LIMIT:
        raise ValueError(
            f"the message has {size:,} bytes as a stanza, {STANZA_LIMIT:,} are sent; "
            "send a reference to larger data (uri and sha256)"
        )
    return text


def _in_form(message: AclMessage) -> str:
    """The content as the body, and the parameters in a data form."""
    fields = [("performative", message.performative.value), *texts_of(message)]
    if message.reply_by is not None:
        fields.append(("reply-by", write_time(message.reply_by)))
    if message.reply_to:
        fields.append(("reply-to", " ".join(agent.jid for agent in message.reply_to)))
    fields.extend(message.user_parameters.items())
    if message.conversation_id is not None:
        # SPADE 4.1.4: the thread travels as a field of the form, and templates match on it.
        fields.append(("_thread_node", message.conversation_id))
    form = "".join(
        f'<field var={_quoted(name)} type="text-single"><value>{escaped(value)}</value></field>'
        for name, value in fields
    )
    # SPADE 4.1.4: a message without body never reaches a plain agent, so no content is one blank.
    return (
        f"<body>{escaped(message.content or ' ')}</body>"
        f'<x xmlns="jabber:x:data" type="form"><title>{FORM_TITLE}</title>{form}</x>'
    )


def _in_body(message: AclMessage, form: str) -> str:
    """The whole message as the body; who speaks to whom, the stanza says."""
    message = message.model_copy(update={"sender": None, "receiver": ()})
    text = _as_people_write(message) if form == "json" else FORMATS[form].write(message)
    return f"<body>{escaped(text)}</body>"


def _as_people_write(message: AclMessage) -> str:
    """JSON with the content as an object, right behind the act: that is what somebody looks for."""
    as_text = to_json(message)
    try:
        content = read_json(message.content or "")
        record = json.loads(as_text) | {"content": content}
        first = {name: record[name] for name in ("performative", "content")}
        text = json.dumps(first | record, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):  # it is no JSON, or cannot be written again, such as 1e999
        return as_text
    # Only an object is told from a text when it is read; and an escape may have become a character.
    return text if isinstance(content, dict) and not ILLEGAL.search(text) else as_text


def legible(text: str) -> str:
    """The text with a replacement character for each that XML cannot carry."""
    return ILLEGAL.sub("\ufffd", text)


def parse(stanza: Element, now: datetime | None = None) -> Incoming | None:
    """Read a `message` stanza; None where it says nothing (a receipt, a chat state).

    The sender is the `from` that the server stamped, whatever the fields, the body or the envelope claim.

    Args:
        stanza: the element.
        now: what a relative reply-by counts from; by default the wall clock.
    """
    now = now or datetime.now(UTC)
    sender = AgentIdentifier.of(stanza.get("from", "") or "nobody")
    stanza_id = stanza.get("id") or ""
    if stanza.get("type") == "error":
        return _bounce(stanza, sender, stanza_id)
    body = stanza.find(CLIENT + "body")
    text = (body.text or "") if body is not None else ""
    form = _form(stanza)
    if form is None and body is None:
        return None
    has_envelope = stanza.find(ENVELOPE) is not None
    is_in_body = form is None and not has_envelope
    try:
        _check_id(stanza_id)
        if form is not None:
            message = _from_form(form, text, sender, stanza, now)
        else:
            message = _from_body(text, sender, now, is_acl=has_envelope)
    except MessageError as error:
        about = form if form is not None else _named(text)
        conversation_id = _short(about.get("conversation-id") or about.get("_thread_node"))
        return Unreadable(
            sender=sender,
            stanza_id=stanza_id[:ID_LIMIT],
            body=text,
            error=error,
            conversation_id=conversation_id,
            reply_with=_short(about.get("reply-with")),
            protocol=_short(about.get("protocol")) if conversation_id else None,
            is_not_understood=about.get("performative", "").lower() == Performative.NOT_UNDERSTOOD
            or (form is None and _SAYS_NOT_UNDERSTOOD.match(text) is not None),
            form="json" if is_in_body and _is_json(text) else SPADE,
        )
    is_stored = stanza.find("{urn:xmpp:delay}delay") is not None
    answer_in = detect(text) if is_in_body else SPADE
    is_marked = bool(stanza_id) and stanza.find(ACKNOWLEDGEABLE) is not None
    return Received(
        message=message, stanza_id=stanza_id, is_stored=is_stored, is_marked=is_marked, form=answer_in
    )


def _check_id(stanza_id: str) -> None:
    size = len(stanza_id.encode())
    if size > ID_LIMIT:
        text = f"the stanza's id has {size:,} bytes, and {ID_LIMIT:,} are remembered; make a shorter one"
        raise MessageError(Cause.UNRECOGNISED_PARAMETER_VALUE, text, "id")


def as_spade_stanza(stanza: Element, client: Any) -> Any:
    """Wrap an element in the stanza class that `spade.message.Message.from_node` wants."""
    return client.Message(xml=stanza)


def as_stanza(message: AclMessage, sender: str, to: str, stanza_id: str) -> Element:
    """The stanza in which a message of another would come here.

    Raises:
        ValueError: as `render`.
    """
    text = render(message, to, stanza_id).replace("<message", f"<message from={quoteattr(sender)}", 1)
    stream = ElementTree.fromstring(f'<stream xmlns="jabber:client">{text}</stream>')  # noqa: S314 - our own text
    return stream[0]


_SAYS_NOT_UNDERSTOOD = re.compile(
    r"""\s*(\(\s*|<[^>]*\bact\s*=\s*["']|\{[^{}]*"performative"\s*:\s*")not-understood(?![\w-])""",
    re.IGNORECASE,
)
"""How a not-understood begins in each written form, whatever is wrong with the rest."""


def _named(body: str) -> dict[str, str]:
    """The parameters in a body that is no ACL message, but JSON."""
    try:
        found = read_json(body) if body.lstrip().startswith("{") else None
    except ValueError:
        found = None
    named = found if isinstance(found, dict) else {}
    return {name: value for name, value in named.items() if isinstance(value, str)}


def _short(text: str | None) -> str | None:
    return text if text and len(text) <= 1024 and not ILLEGAL.search(text) else None


def _form(stanza: Element) -> dict[str, str] | None:
    for form in stanza.findall(DATA + "x"):
        title = form.find(DATA + "title")
        if title is not None and title.text == FORM_TITLE:
            fields = {}
            for each in form.findall(DATA + "field"):
                value = each.find(DATA + "value")
                if value is not None and each.get("var"):
                    fields[str(each.get("var"))] = value.text or ""
            return fields
    return None


def _from_body(text: str, sender: AgentIdentifier, now: datetime, *, is_acl: bool) -> AclMessage:
    if not (is_acl or _is_json(text) or text.lstrip().startswith(("(", "<fipa-message", "<?xml"))):
        raise MessageError(
            Cause.MISSING_PARAMETER,
            'this agent speaks FIPA ACL; write e.g. {"performative": "request", "content": {...}}',
            "performative",
        )
    message = read(text, now)
    # JSON can escape what XML cannot carry; an answer repeats it, so it could never be sent.
    names = TEXT_PARAMETERS.values()
    for each in (
        message.content,
        *(getattr(message, name) for name in names),
        *message.user_parameters.values(),
    ):
        if each is not None and (illegal := ILLEGAL.search(each)):
            raise MessageError(Cause.UNRECOGNISED_PARAMETER_VALUE, cannot_carry(illegal.group()))
    return message.model_copy(update={"sender": sender})


def _is_json(text: str) -> bool:
    """Whether a body is meant as an ACL message in JSON; a plain agent without metadata may write other."""
    return text.lstrip().startswith("{") and '"performative"' in text


def _from_form(
    form: dict[str, str], text: str, sender: AgentIdentifier, stanza: Element, now: datetime
) -> AclMessage:
    fields: dict[str, Any] = {
        attribute: form[name] for name, attribute in TEXT_PARAMETERS.items() if form.get(name)
    }
    if "conversation_id" not in fields:
        # SPADE users and chat clients speak of threads; a thread is a conversation.
        thread = stanza.find(CLIENT + "thread")
        named = form.get("_thread_node") or (thread.text if thread is not None else None)
        if named:
            fields["conversation_id"] = named
    if form.get("reply-by"):
        fields["reply_by"] = read_time(form["reply-by"], now)
    if form.get("reply-to"):
        jids = form["reply-to"].split()
        if len(jids) > AGENTS:
            told = f"reply-to names {len(jids):,} agents; {AGENTS:,} are read"
            raise MessageError(Cause.UNRECOGNISED_PARAMETER_VALUE, told, "reply-to")
        fields["reply_to"] = tuple(read_agent("reply-to", jid) for jid in jids)
    to = stanza.get("to")
    user = {}
    for name, value in form.items():
        if name not in _READ_BY_NAME and _USER_NAME.fullmatch(name):
            # SPADE lets users name metadata as they like; FIPA00061 wants X- in front.
            user[name if name.startswith("X-") else f"X-{name}"] = value
    return build(
        form.get("performative"),
        {
            **fields,
            "sender": sender,
            "receiver": (AgentIdentifier.of(to),) if to else (),
            "content": text if text.strip() else None,
            "user_parameters": user,
        },
    )


def _bounce(stanza: Element, sender: AgentIdentifier, stanza_id: str) -> Bounced:
    error = stanza.find(CLIENT + "error")
    condition, text = "undefined-condition", ""
    for child in error if error is not None else ():
        if child.tag == STANZAS + "text":
            text = child.text or ""
        elif child.tag.startswith(STANZAS):
            condition = child.tag.removeprefix(STANZAS)
    return Bounced(stanza_id=stanza_id, peer=sender.name, condition=condition, text=text)
