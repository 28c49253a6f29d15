"""Messages for accounts that are away (RFC 6121 §8.5.2.2, XEP-0160), stamped with the time (XEP-0203)."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from datetime import UTC, datetime
from typing import Protocol

from .stanzas import quote


class OfflineStore(Protocol):
    """Port: where waiting messages are kept. Called on the event loop, so it must not wait long.

    User names come prepared (`jid.prepare_local`). The router, the only writer, measures before it appends.
    """

    def append(self, user: str, stanza_xml: str) -> None:
        """Keep one stanza, behind those that wait. It is ready to be sent, with its stamp (`delay`)."""
        ...

    def take(self, user: str) -> list[str]:
        """Remove and return what waits for an account, oldest first, in one step."""
        ...

    def count(self, user: str) -> int:
        """How many wait for an account."""
        ...

    def size(self, user: str) -> int:
        """How many bytes wait for an account."""
        ...

    def total(self) -> int:
        """How many bytes wait for all accounts together."""
        ...


class MemoryOffline:
    """Waiting messages of one process."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, deque[str]] = defaultdict(deque)
        self._bytes: Counter[str] = Counter()

    def append(self, user: str, stanza_xml: str) -> None:
        """See `OfflineStore`."""
        self._waiting[user].append(stanza_xml)
        self._bytes[user] += len(stanza_xml.encode())

    def take(self, user: str) -> list[str]:
        """See `OfflineStore`."""
        self._bytes.pop(user, None)
        return list(self._waiting.pop(user, ()))

    def count(self, user: str) -> int:
        """See `OfflineStore`."""
        return len(self._waiting[user]) if user in self._waiting else 0

    def size(self, user: str) -> int:
        """See `OfflineStore`."""
        return self._bytes[user]

    def total(self) -> int:
        """See `OfflineStore`."""
        return self._bytes.total()


def delay(domain: str, when: datetime) -> bytes:
    """Write the stamp of a message that waited since `when` (XEP-0203, XEP-0082)."""
    stamp = when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f'<delay xmlns="urn:xmpp:delay" from="{quote(domain)}" stamp="{stamp}"/>'.encode()
