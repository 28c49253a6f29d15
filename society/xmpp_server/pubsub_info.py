"""What the PubSub service tells: of itself (XEP-0030, XEP-0060 §5), and what has been published (§6.5)."""

from __future__ import annotations

from typing import Final
from xml.etree import ElementTree as ET

from .errors import StanzaError
from .jid import Jid
from .limits import Limits
from .pubsub_nodes import NodeStore
from .pubsub_words import IN, PUBSUB, answer, existing, item_xml, subscription_xml
from .stanzas import Stanza, quote
from .switchboard import Session

DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"
PING: Final = "urn:xmpp:ping"

FEATURES: Final = (
    "access-open",
    "config-node",
    "create-and-configure",
    "create-nodes",
    "delete-items",
    "delete-nodes",
    "item-ids",
    "persistent-items",
    "publish",
    "retract-items",
    "retrieve-affiliations",
    "retrieve-items",
    "retrieve-subscriptions",
    "subscribe",
)
"""Of §13.3, those that are there."""


class Discovery:
    """Answers that change nothing."""

    def __init__(self, jid: Jid, nodes: NodeStore, limits: Limits) -> None:
        self._jid = jid
        self._nodes = nodes
        self._limits = limits

    def answer(self, stanza: Stanza) -> str:
        """Return the content of a result.

        Raises:
            StanzaError: there is no such request or node.
        """
        namespace = stanza.children[0].partition("\n")[0]
        if stanza.type != "get" or namespace not in {PING, DISCO_INFO, DISCO_ITEMS}:
            raise StanzaError("service-unavailable")
        if len(stanza.inner) > self._limits.served_bytes:
            raise StanzaError("policy-violation")
        if namespace == PING:
            return ""
        name = stanza.tree()[0].get("node", "")
        if name and self._nodes.node(name) is None:
            raise StanzaError("item-not-found")
        named = f' node="{quote(name)}"' if name else ""
        content = self._info(name) if namespace == DISCO_INFO else self._items(name)
        return f'<query xmlns="{namespace}"{named}>{content}</query>'

    def _info(self, name: str) -> str:
        if name:
            return f'<identity category="pubsub" type="leaf"/><feature var="{PUBSUB}"/>'
        known = (DISCO_INFO, DISCO_ITEMS, PING, PUBSUB, *(f"{PUBSUB}#{each}" for each in FEATURES))
        features = "".join(f'<feature var="{each}"/>' for each in known)
        return f'<identity category="pubsub" type="service" name="Locution"/>{features}'

    def _items(self, name: str) -> str:
        """List nodes, or a node's items; as many as fit into a stanza (XEP-0030 §4.2 lets us choose)."""
        jid, room, written = self._jid.xml, self._limits.stanza_bytes, ""
        entries = (
            (f'<item jid="{jid}" name="{quote(item.id)}"/>' for item in self._nodes.items(name))
            if name
            else (f'<item jid="{jid}" node="{quote(each)}"/>' for each in self._nodes.names())
        )
        for entry in entries:
            room -= len(entry.encode())
            if room < 0:
                break
            written += entry
        return written

    def subscriptions(self, session: Session, _request: ET.Element, verb: ET.Element) -> str:
        """Tell an account its own subscriptions (§5.6), to one node or to all."""
        only = verb.get("node")
        found = "".join(
            subscription_xml(name, jid)
            for name, jid in self._nodes.subscriptions(session.user)
            if only in {None, name}
        )
        return answer(f"<subscriptions>{found}</subscriptions>")

    def affiliations(self, session: Session, _request: ET.Element, verb: ET.Element) -> str:
        """Tell an account its own nodes (§5.7)."""
        only = verb.get("node")
        found = "".join(
            f'<affiliation node="{quote(name)}" affiliation="owner"/>'
            for name in self._nodes.owned(session.user)
            if only in {None, name}
        )
        return answer(f"<affiliations>{found}</affiliations>")

    def items(self, _session: Session, _request: ET.Element, verb: ET.Element) -> str:
        """Return a node's items, oldest first: all, the last so many, or those with given ids (§6.5)."""
        node = existing(self._nodes, verb)
        items = self._nodes.items(node.name)
        wanted = {each.get("id") for each in verb.findall(f"{IN}item")}
        most = verb.get("max_items", str(len(items)))
        if not (most.isascii() and most.isdigit() and len(most) < 10):
            raise StanzaError("bad-request", "max_items is a number")
        found = [item for item in items if not wanted or item.id in wanted]
        written = "".join(item_xml(item) for item in found[max(0, len(found) - int(most)) :])
        return answer(f'<items node="{quote(node.name)}">{written}</items>')
