"""What the PubSub service keeps (XEP-0060): nodes, their last items, and who is subscribed.

A node belongs to the account that made it. Subscriptions are to bare JIDs, which last until they are taken
back, and to full JIDs, which end with the session.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from .jid import Jid


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a node's owner may choose."""

    title: str = ""
    max_items: int = 20
    """How many items are kept for those who ask for them; the oldest go first."""
    persist_items: bool = True
    """Whether any are kept."""
    publish_model: Literal["publishers", "open"] = "publishers"
    """Who may publish: the owner, or everybody."""
    notification_type: Literal["headline", "normal"] = "headline"
    """headline: to whoever is there; normal: waits, as other messages do, for a bare JID that is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One topic."""

    name: str
    owner: str
    """An account's name."""
    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One publication."""

    id: str
    publisher: str
    """The bare JID, as the server knows it."""
    payload: str
    """One element that stands by itself."""
    size: int
    """Of the payload, in bytes."""


class NodeStore(Protocol):
    """Port: where nodes are kept. Called on the event loop, so it must not wait long.

    Every method may raise StoreError. Names of unknown nodes have no items and no subscribers. A store that
    outlives the process drops subscriptions of full JIDs when it is opened: their sessions are gone.
    """

    def node(self, name: str) -> Node | None:
        """Return one node."""
        ...

    def names(self) -> Collection[str]:
        """Return the names of all nodes."""
        ...

    def owned(self, owner: str) -> Collection[str]:
        """Return the names of an account's nodes."""
        ...

    def put(self, node: Node) -> None:
        """Add a node, or replace its owner and configuration."""
        ...

    def remove(self, name: str) -> None:
        """Forget a node with its items and subscriptions."""
        ...

    def items(self, name: str) -> Sequence[Item]:
        """Return the items that are kept, oldest first."""
        ...

    def keep(self, name: str, items: Sequence[Item]) -> None:
        """Replace the items that are kept."""
        ...

    def subscribers(self, name: str) -> Collection[Jid]:
        """Return who is told of what is published."""
        ...

    def subscribe(self, name: str, subscriber: Jid) -> None:
        """Add a subscriber; harmless when repeated."""
        ...

    def unsubscribe(self, name: str, subscriber: Jid) -> None:
        """Remove a subscriber; nothing happens when it is none."""
        ...

    def subscriptions(self, user: str) -> Collection[tuple[str, Jid]]:
        """Return an account's subscriptions: the node's name, and the JID that is subscribed."""
        ...


class MemoryNodes:
    """Nodes of one process."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._owned: dict[str, dict[str, None]] = {}
        self._items: dict[str, Sequence[Item]] = {}
        self._subscribers: dict[str, dict[Jid, None]] = {}
        self._subscriptions: dict[str, dict[tuple[str, Jid], None]] = {}

    def node(self, name: str) -> Node | None:
        """See `NodeStore`."""
        return self._nodes.get(name)

    def names(self) -> Collection[str]:
        """See `NodeStore`."""
        return list(self._nodes)

    def owned(self, owner: str) -> Collection[str]:
        """See `NodeStore`."""
        return list(self._owned.get(owner, ()))

    def put(self, node: Node) -> None:
        """See `NodeStore`."""
        self._nodes[node.name] = node
        self._owned.setdefault(node.owner, {})[node.name] = None

    def remove(self, name: str) -> None:
        """See `NodeStore`."""
        for subscriber in self.subscribers(name):
            self.unsubscribe(name, subscriber)
        node = self._nodes.pop(name, None)
        self._items.pop(name, None)
        if node is not None:
            _discard(self._owned, node.owner, name)

    def items(self, name: str) -> Sequence[Item]:
        """See `NodeStore`."""
        return self._items.get(name, ())

    def keep(self, name: str, items: Sequence[Item]) -> None:
        """See `NodeStore`."""
        self._items[name] = items

    def subscribers(self, name: str) -> Collection[Jid]:
        """See `NodeStore`."""
        return list(self._subscribers.get(name, ()))

    def subscribe(self, name: str, subscriber: Jid) -> None:
        """See `NodeStore`."""
        self._subscribers.setdefault(name, {})[subscriber] = None
        self._subscriptions.setdefault(subscriber.local, {})[name, subscriber] = None

    def unsubscribe(self, name: str, subscriber: Jid) -> None:
        """See `NodeStore`."""
        _discard(self._subscribers, name, subscriber)
        _discard(self._subscriptions, subscriber.local, (name, subscriber))

    def subscriptions(self, user: str) -> Collection[tuple[str, Jid]]:
        """See `NodeStore`."""
        return list(self._subscriptions.get(user, ()))


K = TypeVar("K")


def _discard(index: dict[str, dict[K, None]], key: str, entry: K) -> None:
    """Remove an entry, and with the last one the key."""
    entries = index.get(key, {})
    entries.pop(entry, None)
    if not entries:
        index.pop(key, None)


def kept(items: Sequence[Item], new: Item, config: Config, most_bytes: int) -> Sequence[Item]:
    """Return the items that are kept once a new one is published, oldest first.

    It takes the place of one with the same id (XEP-0060 §7.1.2) and is the newest then. Together they are no
    larger than `most_bytes`, so that they fit into one answer.
    """
    if not config.persist_items:
        return ()
    found = [*(item for item in items if item.id != new.id), new]
    found = found[len(found) - min(config.max_items, len(found)) :]
    room = most_bytes
    for number, item in enumerate(reversed(found)):
        room -= item.size
        if room < 0:
            return found[len(found) - number :]
    return found
