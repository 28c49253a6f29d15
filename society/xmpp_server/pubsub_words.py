"""The words of XEP-0060: namespaces, its own error conditions, and what several requests have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree as ET

from .errors import StanzaError
from .jid import MAX_PART_BYTES, Jid
from .pubsub_nodes import Item, Node, NodeStore
from .stanzas import quote

PUBSUB: Final = "http://jabber.org/protocol/pubsub"
OWNER: Final = f"{PUBSUB}#owner"
EVENT: Final = f"{PUBSUB}#event"
ERRORS: Final = f"{PUBSUB}#errors"

IN: Final = f"{{{PUBSUB}}}"

_UNSUPPORTED: Final[Mapping[str, str]] = {
    "affiliations": "modify-affiliations",
    "default": "retrieve-default",
    "options": "subscription-options",
    "publish-options": "publish-options",
    "purge": "purge-nodes",
    "subscriptions": "manage-subscriptions",
}
"""By element, the feature (§13.3) that we do not have."""


def refused(condition: str, specific: str, text: str = "") -> StanzaError:
    """An error with one of the conditions of §15.2 beside XMPP's own."""
    return StanzaError(condition, text, f'<{specific} xmlns="{ERRORS}"/>')


def unsupported(local: str) -> StanzaError:
    """The error for an element that means a feature we do not have."""
    feature = _UNSUPPORTED.get(local)
    named = f' feature="{feature}"' if feature else ""
    return StanzaError("feature-not-implemented", "", f'<unsupported xmlns="{ERRORS}"{named}/>')


def node_name(verb: ET.Element, condition: str = "bad-request") -> str:
    """Read which node a request is about.

    Raises:
        StanzaError: it does not say, or the name is too long.
    """
    name = verb.get("node")
    if not name:
        raise refused(condition, "nodeid-required")
    return measured(name, "a node's name")


def existing(nodes: NodeStore, verb: ET.Element) -> Node:
    """Find the node that a request is about.

    Raises:
        StanzaError: it does not say, or there is none.
    """
    node = nodes.node(node_name(verb))
    if node is None:
        raise StanzaError("item-not-found", "there is no such node")
    return node


def measured(name: str, what: str) -> str:
    """See that a name is not too long.

    Raises:
        StanzaError: it is.
    """
    if len(name.encode()) > MAX_PART_BYTES:
        raise StanzaError("bad-request", f"{what} has at most {MAX_PART_BYTES} bytes")
    return name


def only(request: ET.Element, *verbs: str) -> None:
    """See that nothing else stands in a request, such as <options/>, which must not be ignored.

    Raises:
        StanzaError: something does.
    """
    for each in request:
        local = each.tag.rpartition("}")[2]
        if each.tag != IN + local or local not in verbs:
            raise unsupported(local)


def item_xml(item: Item) -> str:
    """Write an item, with its publisher as the server knows it (§7.1.2.3)."""
    return f'<item id="{quote(item.id)}" publisher="{quote(item.publisher)}">{item.payload}</item>'


def subscription_xml(name: str, subscriber: Jid) -> str:
    """Write a subscription; there is no other state than subscribed."""
    return f'<subscription node="{quote(name)}" jid="{subscriber.xml}" subscription="subscribed"/>'


def answer(content: str, namespace: str = PUBSUB) -> str:
    """Write the content of a result."""
    return f'<pubsub xmlns="{namespace}">{content}</pubsub>'
