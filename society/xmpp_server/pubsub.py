"""Publish-subscribe at ``pubsub.<domain>``: the small part of XEP-0060 that topics with many readers need.

Everybody with an account may make nodes, subscribe and read; a node's owner publishes, and everybody where
its `publish_model` is open. One publication is one pass over the subscribers, in the order of subscribing,
and what is published to a node one after the other arrives so. To whom a notification goes, and what becomes
of it when nobody is there, is the business of `messages`: by default it is a headline, which does not wait.

What is not here is refused with feature-not-implemented: collections, whitelists, approval, subscription
options and ids, and lists of affiliations to be set. A subscriber that takes nothing slows the publisher down
until it is given up (`writing`), as with all messages.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from xml.etree import ElementTree as ET

from .elements import standalone
from .errors import JidError, StanzaError
from .jid import Jid
from .limits import Limits
from .messages import Messages
from .pubsub_forms import config_form, read_config
from .pubsub_info import Discovery
from .pubsub_nodes import Config, Item, Node, NodeStore, kept
from .pubsub_words import (
    EVENT,
    IN,
    OWNER,
    PUBSUB,
    answer,
    existing,
    item_xml,
    measured,
    node_name,
    only,
    refused,
    subscription_xml,
    unsupported,
)
from .stanzas import Stanza, quote
from .switchboard import Session, Switchboard

Handler = Callable[[Session, ET.Element, ET.Element], str]


class PubSub:
    """The service.

    A handler takes who asks, the request and its first child; it returns the result's content.
    """

    def __init__(
        self, switchboard: Switchboard, messages: Messages, nodes: NodeStore, limits: Limits
    ) -> None:
        self.jid = Jid("", f"pubsub.{switchboard.domain}", "")
        switchboard.services.add(self.jid.domain)
        self._switchboard = switchboard
        self._messages = messages
        self._nodes = nodes
        self._limits = limits
        self._discovery = Discovery(self.jid, nodes, limits)
        self._handlers: dict[tuple[str, str, str], Handler] = {
            ("set", PUBSUB, "create"): self._create,
            ("set", PUBSUB, "publish"): self._publish,
            ("set", PUBSUB, "retract"): self._retract,
            ("set", PUBSUB, "subscribe"): self._subscribe,
            ("set", PUBSUB, "unsubscribe"): self._unsubscribe,
            ("get", PUBSUB, "items"): self._discovery.items,
            ("get", PUBSUB, "subscriptions"): self._discovery.subscriptions,
            ("get", PUBSUB, "affiliations"): self._discovery.affiliations,
            ("get", OWNER, "configure"): self._get_config,
            ("set", OWNER, "configure"): self._set_config,
            ("set", OWNER, "delete"): self._delete,
        }

    def answer(self, session: Session, stanza: Stanza, target: Jid) -> str:
        """Answer a get or set; return the result's content.

        Raises:
            StanzaError: it must be answered by this error.
        """
        if target.local or target.resource:
            raise StanzaError("service-unavailable")
        namespace, _, local = stanza.children[0].partition("\n")
        if local != "pubsub" or namespace not in {PUBSUB, OWNER}:
            return self._discovery.answer(stanza)
        request = stanza.tree()[0]
        if not len(request):
            raise StanzaError("bad-request", "the request is empty")
        space, _, verb = request[0].tag[1:].rpartition("}")
        handler = self._handlers.get((stanza.type, namespace, verb)) if space == namespace else None
        if handler is None:
            raise unsupported(verb)
        if verb != "publish" and len(stanza.inner) > self._limits.served_bytes:
            text = f"the service reads at most {self._limits.served_bytes} bytes"
            raise StanzaError("policy-violation", text)
        return handler(session, request, request[0])

    def leave(self, session: Session) -> None:
        """End the subscriptions of a full JID whose session has ended."""
        for name, subscriber in self._nodes.subscriptions(session.user):
            if subscriber == session.jid:
                self._nodes.unsubscribe(name, subscriber)

    def forget(self, user: str) -> None:
        """Drop the subscriptions and the nodes of an account that is removed."""
        for name, subscriber in self._nodes.subscriptions(user):
            self._nodes.unsubscribe(name, subscriber)
        for name in self._nodes.owned(user):
            self._remove(name)

    # -- nodes (§8) ----------------------------------------------------------------------------

    def _create(self, session: Session, request: ET.Element, verb: ET.Element) -> str:
        name = node_name(verb, "not-acceptable")  # §8.1.2: there are no instant nodes
        if self._nodes.node(name) is not None:
            raise StanzaError("conflict", "there is such a node already")  # §8.1.3
        if len(self._nodes.owned(session.user)) >= self._limits.pubsub_nodes:
            text = f"an account has at most {self._limits.pubsub_nodes} nodes"
            raise refused("conflict", "max-nodes-exceeded", text)
        only(request, "create", "configure")
        config = read_config(_form(request.find(f"{IN}configure")), self._default(), self._limits)
        self._nodes.put(Node(name=name, owner=session.user, config=config))
        return answer(f'<create node="{quote(name)}"/>')

    def _default(self) -> Config:
        return Config(max_items=min(Config().max_items, self._limits.pubsub_items))

    def _get_config(self, session: Session, _request: ET.Element, verb: ET.Element) -> str:
        node = self._owned(session, verb)
        form = config_form(node.config)
        return answer(f'<configure node="{quote(node.name)}">{form}</configure>', OWNER)

    def _set_config(self, session: Session, _request: ET.Element, verb: ET.Element) -> str:
        node = self._owned(session, verb)
        config = read_config(_form(verb), node.config, self._limits)
        self._nodes.put(Node(name=node.name, owner=node.owner, config=config))
        items = self._nodes.items(node.name)
        most = config.max_items if config.persist_items else 0
        self._nodes.keep(node.name, items[max(0, len(items) - most) :])
        return ""

    def _delete(self, session: Session, _request: ET.Element, verb: ET.Element) -> str:
        self._remove(self._owned(session, verb).name)
        return ""

    def _remove(self, name: str) -> None:
        node = self._nodes.node(name)
        if node is not None:
            self._notify(node, f'<delete node="{quote(name)}"/>')  # §8.4.2
            self._nodes.remove(name)

    # -- publishing (§7) -----------------------------------------------------------------------

    def _publish(self, session: Session, request: ET.Element, verb: ET.Element) -> str:
        node = existing(self._nodes, verb)
        if node.owner != session.user and node.config.publish_model != "open":
            raise StanzaError("forbidden", "only its owner publishes to this node")  # §7.1.3.1
        only(request, "publish")
        if not len(verb):
            raise refused("bad-request", "item-required")
        if len(verb) > 1 or verb[0].tag != f"{IN}item":
            raise refused("bad-request", "invalid-payload", "one item is published at a time")
        if len(verb[0]) != 1:
            why = "invalid-payload" if len(verb[0]) else "payload-required"
            raise refused("bad-request", why, "an item has exactly one element")
        payload = standalone(verb[0][0])
        size = len(payload.encode())
        if size > self._limits.stanza_bytes:
            raise refused("not-acceptable", "payload-too-big")  # written anew it may be longer
        name = measured(verb[0].get("id") or secrets.token_urlsafe(12), "an item's id")
        item = Item(id=name, publisher=session.bare.full, payload=payload, size=size)
        items = kept(self._nodes.items(node.name), item, node.config, self._limits.stanza_bytes)
        self._nodes.keep(node.name, items)
        self._notify(node, f'<items node="{quote(node.name)}">{item_xml(item)}</items>')
        result = f'<publish node="{quote(node.name)}"><item id="{quote(name)}"/></publish>'
        return answer(f"{result}")

    def _retract(self, session: Session, _request: ET.Element, verb: ET.Element) -> str:
        node = existing(self._nodes, verb)
        name = verb[0].get("id") if len(verb) == 1 and verb[0].tag == f"{IN}item" else None
        if not name:
            raise refused("bad-request", "item-required")  # §7.2.3.3
        items = self._nodes.items(node.name)
        found = [item for item in items if item.id == name]
        is_mine = session.user == node.owner or any(item.publisher == session.bare.full for item in found)
        if not is_mine:
            raise StanzaError("forbidden", "only the owner and its publisher retract an item")
        if not found:
            raise StanzaError("item-not-found")
        self._nodes.keep(node.name, [item for item in items if item.id != name])
        retracted = f'<retract id="{quote(name)}"/>'
        self._notify(node, f'<items node="{quote(node.name)}">{retracted}</items>')
        return ""

    def _notify(self, node: Node, content: str) -> None:
        """Tell all subscribers (§7.1.2.1)."""
        event = f'<event xmlns="{EVENT}">{content}</event>'.encode()
        stanza = Stanza("message", {"type": node.config.notification_type}, event)
        for subscriber in self._nodes.subscribers(node.name):
            self._messages.route(self.jid, stanza, subscriber)

    # -- subscribing (§6.1, §6.2) ----------------------------------------------------------

    def _subscribe(self, session: Session, request: ET.Element, verb: ET.Element) -> str:
        subscriber = self._subscriber(session, verb)
        node = existing(self._nodes, verb)
        only(request, "subscribe")
        others = self._nodes.subscribers(node.name)
        if len(others) >= self._limits.pubsub_subscribers and subscriber not in others:
            text = f"a node has at most {self._limits.pubsub_subscribers} subscribers"
            raise refused("policy-violation", "too-many-subscriptions", text)
        if subscriber.resource and self._switchboard.find(subscriber) is None:
            # Nothing would end it, as no session can end.
            raise refused("bad-request", "invalid-jid", "there is no session with this JID")
        self._nodes.subscribe(node.name, subscriber)
        return answer(f"{subscription_xml(node.name, subscriber)}")

    def _unsubscribe(self, session: Session, _request: ET.Element, verb: ET.Element) -> str:
        subscriber = self._subscriber(session, verb)
        node = existing(self._nodes, verb)
        if verb.get("subid"):
            raise refused("not-acceptable", "invalid-subid")
        if (node.name, subscriber) not in self._nodes.subscriptions(session.user):
            raise refused("unexpected-request", "not-subscribed")  # §6.2.3.2
        self._nodes.unsubscribe(node.name, subscriber)
        return ""

    def _subscriber(self, session: Session, verb: ET.Element) -> Jid:
        try:
            subscriber = Jid.parse(verb.get("jid", ""))
        except JidError:
            subscriber = None
        if subscriber is None or subscriber.bare != session.bare.bare:
            raise refused("bad-request", "invalid-jid", "one subscribes oneself")  # §6.1.3.1
        return subscriber

    def _owned(self, session: Session, verb: ET.Element) -> Node:
        node = existing(self._nodes, verb)
        if node.owner != session.user:
            raise StanzaError("forbidden", "this is for its owner")
        return node


def _form(configure: ET.Element | None) -> ET.Element | None:
    return configure[0] if configure is not None and len(configure) else None
