"""What topics say to a PubSub service and hear from it (XEP-0060), rendered and read directly."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, Protocol
from xml.sax.saxutils import escape, quoteattr

from behaviours.connection import RequestRefused
from behaviours.wire import STANZA_LIMIT, Element
from ontology.acl import AclMessage
from ontology.acl_xml import ILLEGAL, cannot_carry
from ontology.codecs import from_json, read_agent, to_json
from ontology.content import Reason
from ontology.errors import Cause, MessageError

ACL: Final = "urn:locution:acl"
PUBSUB: Final = "http://jabber.org/protocol/pubsub"
EVENT: Final = f"{PUBSUB}#event"
DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"

FIND: Final = f'<query xmlns="{DISCO_ITEMS}"/>'
"""Asks a server for its services."""
DESCRIBE: Final = f'<query xmlns="{DISCO_INFO}"/>'
"""Asks a service what it is."""

TOPIC: Final = "X-topic"
"""The user-defined parameter in which a publication names its topic."""

ANSWER_WITHIN = 15.0
"""Seconds in which the service must answer."""

SERVICES = 20
"""Services of a server that are asked what they are."""

UNAUTHORISED = frozenset({"forbidden", "not-allowed", "not-authorized"})


class Line(Protocol):
    """What topics need of a connection; see `behaviours.connection.XmppConnection`."""

    @property
    def is_online(self) -> bool:
        """Whether a session stands."""

    @property
    def full_jid(self) -> str:
        """The session's full JID."""

    async def wait_online(self) -> None:
        """Return once a session stands."""

    async def ask(self, kind: Literal["get", "set"], to: str, payload: str, timeout: float) -> Element:
        """Send a request and return the answer."""

    def watch(self, on_message: Callable[[Element], bool], on_online: Callable[[], None]) -> None:
        """Offer messages and presences, and tell of sessions."""


class Service:
    """The PubSub service of our server.

    Args:
        line: the way to it.
        domain: of the server.

    Attributes:
        jid: its address; "" until it has been found.
    """

    def __init__(self, line: Line, domain: str) -> None:
        self.line = line
        self.jid = ""
        self._domain = domain
        self.usual = f"pubsub.{domain}"
        """Where a service is that the server does not list."""

    async def ask(self, kind: Literal["get", "set"], payload: str) -> Element:
        """Send a request and return the answer.

        Raises:
            RequestRefused: the answer is an error.
            ConnectionFailed: see `behaviours.connection.XmppConnection.ask`.
        """
        return await self.line.ask(kind, self.jid or await self.find(), payload, ANSWER_WITHIN)

    async def find(self) -> str:
        """Find it, where that is not done yet: what the server lists, or else the usual name.

        Raises:
            ConnectionFailed: the server could not be asked.
        """
        listed: list[str] = []
        if not self.jid:
            with suppress(RequestRefused):
                listed = services(await self.line.ask("get", self._domain, FIND, ANSWER_WITHIN))
            for jid in listed[:SERVICES]:
                with suppress(RequestRefused):
                    if is_pubsub(await self.line.ask("get", jid, DESCRIBE, ANSWER_WITHIN)):
                        self.jid = jid
                        break
            self.jid = self.jid or self.usual
        return self.jid


def reason(topic: str, cause: Cause, text: str) -> Reason:
    """Why something came to nothing with a topic."""
    return Reason(cause=cause, text=f"topic {topic[:80]!r}: {text}", about=topic[:80])


def why(topic: str, error: RequestRefused, meaning: str | None = None) -> Reason:
    """Why the service has refused.

    Args:
        topic: what it was about.
        error: the refusal.
        meaning: what it means where something is not allowed.
    """
    match error.condition:
        case "forbidden" | "not-allowed" if meaning is not None:
            return reason(topic, Cause.UNAUTHORISED, meaning)
        case "service-unavailable" | "remote-server-not-found":
            told = "the XMPP server has no PubSub service; embedded and Prosody servers can have one"
            return reason(topic, Cause.UNREACHABLE, told)
    cause = Cause.UNAUTHORISED if error.condition in UNAUTHORISED else Cause.UNREACHABLE
    return reason(topic, cause, f"the XMPP server refuses: {error}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One publication as it was read."""

    id: str
    message: AclMessage | MessageError
    """The sender is the publisher that the service names, and None where it names none."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a service tells its subscribers of one topic."""

    topic: str
    entries: tuple[Entry, ...] = ()
    is_deleted: bool = False


def create(topic: str, most: int, *, is_shared: bool) -> str:
    """Make a topic that everybody reads and that holds so many items.

    Its maker publishes to it; everybody does where it is shared.
    """
    fields = {
        "FORM_TYPE": f"{PUBSUB}#node_config",
        "pubsub#access_model": "open",
        "pubsub#publish_model": "open" if is_shared else "publishers",
        "pubsub#max_items": str(most),
    }
    form = "".join(f'<field var="{name}"><value>{value}</value></field>' for name, value in fields.items())
    configure = f'<configure><x xmlns="jabber:x:data" type="submit">{form}</x></configure>'
    return _pubsub(f"<create node={quoteattr(topic)}/>{configure}")


def publish(topic: str, item: str, message: AclMessage) -> str:
    """Publish a message under an item's id.

    Raises:
        ValueError: a text holds a character that XML cannot carry, or it is larger than `STANZA_LIMIT`.
    """
    payload = f'<acl xmlns="{ACL}">{escape(to_json(message))}</acl>'
    item = f"<item id={quoteattr(item)}>{payload}</item>"
    request = _pubsub(f"<publish node={quoteattr(topic)}>{item}</publish>")
    size = len(request.encode())
    if size > STANZA_LIMIT:
        raise ValueError(
            f"the publication has {size:,} bytes as a stanza, {STANZA_LIMIT:,} are sent; "
            "publish a reference to larger data (uri and sha256)"
        )
    return request


def subscribe(topic: str, jid: str) -> str:
    """Subscribe one's own JID."""
    return _pubsub(f"<subscribe node={quoteattr(topic)} jid={quoteattr(jid)}/>")


def unsubscribe(topic: str, jid: str) -> str:
    """Take a subscription back."""
    return _pubsub(f"<unsubscribe node={quoteattr(topic)} jid={quoteattr(jid)}/>")


def retrieve(topic: str, most: int | None = None) -> str:
    """Ask for what a topic holds, or for the last so many."""
    wish = "" if most is None else f' max_items="{most}"'
    return _pubsub(f"<items node={quoteattr(topic)}{wish}/>")


def retrieved(answer: Element) -> list[Entry]:
    """Read the answer to `retrieve`, oldest first."""
    return [_entry(item) for item in answer.findall(f"{{{PUBSUB}}}pubsub/{{{PUBSUB}}}items/{{{PUBSUB}}}item")]


def told(stanza: Element) -> Notice | None:
    """Read a notification; None where the stanza is none."""
    event = stanza.find(f"{{{EVENT}}}event")
    if event is None or stanza.get("type") == "error":
        return None
    deleted, items = event.find(f"{{{EVENT}}}delete"), event.find(f"{{{EVENT}}}items")
    if deleted is not None:
        return Notice(topic=deleted.get("node", ""), is_deleted=True)
    if items is None:
        return Notice(topic="")
    entries = tuple(_entry(item) for item in items.findall(f"{{{EVENT}}}item"))
    return Notice(topic=items.get("node", ""), entries=entries)


def services(answer: Element) -> list[str]:
    """Read the answer to `FIND`: the JIDs of services."""
    found = answer.findall(f"{{{DISCO_ITEMS}}}query/{{{DISCO_ITEMS}}}item")
    return [item.get("jid") for item in found if item.get("jid") and not item.get("node")]


def is_pubsub(answer: Element) -> bool:
    """Read the answer to `DESCRIBE`: whether it comes from a PubSub service."""
    found = answer.findall(f"{{{DISCO_INFO}}}query/{{{DISCO_INFO}}}identity")
    return any((each.get("category"), each.get("type")) == ("pubsub", "service") for each in found)


def _pubsub(content: str) -> str:
    illegal = ILLEGAL.search(content)
    if illegal:
        raise ValueError(cannot_carry(illegal.group()))
    return f'<pubsub xmlns="{PUBSUB}">{content}</pubsub>'


def _entry(item: Element) -> Entry:
    identity = item.get("id", "")
    acl = item.find(f"{{{ACL}}}acl")
    if acl is None:
        why = f"the item holds no <acl xmlns='{ACL}'/>"
        return Entry(id=identity, message=MessageError(Cause.UNRECOGNISED_VALUE, why))
    publisher = item.get("publisher")
    try:
        sender = read_agent("publisher", publisher) if publisher else None
        message = from_json(acl.text or "").model_copy(update={"sender": sender})
    except MessageError as error:
        return Entry(id=identity, message=error)
    return Entry(id=identity, message=message)
