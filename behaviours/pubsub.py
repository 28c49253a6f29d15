"""What topics say to a PubSub service and hear from it (XEP-0060), rendered and read directly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from behaviours.wire import Element
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.codecs import from_json
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


def create(topic: str, most: int) -> str:
    """Make a topic that everybody reads, that its maker publishes to, and that holds so many items."""
    fields = {
        "FORM_TYPE": f"{PUBSUB}#node_config",
        "pubsub#access_model": "open",
        "pubsub#publish_model": "publishers",
        "pubsub#max_items": str(most),
    }
    form = "".join(f'<field var="{name}"><value>{value}</value></field>' for name, value in fields.items())
    configure = f'<configure><x xmlns="jabber:x:data" type="submit">{form}</x></configure>'
    return _pubsub(f"<create node={quoteattr(topic)}/>{configure}")


def publish(topic: str, item: str, acl: str) -> str:
    """Publish a message, written as JSON, under an item's id."""
    payload = f'<acl xmlns="{ACL}">{escape(acl)}</acl>'
    return _pubsub(f"<publish node={quoteattr(topic)}><item id={quoteattr(item)}>{payload}</item></publish>")


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
    return f'<pubsub xmlns="{PUBSUB}">{content}</pubsub>'


def _entry(item: Element) -> Entry:
    identity = item.get("id", "")
    acl = item.find(f"{{{ACL}}}acl")
    if acl is None:
        why = f"the item holds no <acl xmlns='{ACL}'/>"
        return Entry(id=identity, message=MessageError(Cause.UNRECOGNISED_VALUE, why))
    try:
        message = from_json(acl.text or "")
    except MessageError as error:
        return Entry(id=identity, message=error)
    publisher = item.get("publisher")
    sender = AgentIdentifier.of(publisher) if publisher else None
    return Entry(id=identity, message=message.model_copy(update={"sender": sender}))
