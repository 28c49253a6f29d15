"""What has come in and waits to be handled: each peer in its turn, however much another says.

The stanzas of all peers come in one stream. It is read as quickly as it comes, and each peer, a bare JID, has
a line of its own; whoever handles them takes one of each in turn. So a thousand messages of one peer cost
another the time of one. Within a line nobody overtakes.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from behaviours.wire import CLIENT, Element

MOST = 50_000_000
"""About how many bytes may wait; where there are more, no further are read until some are handled."""

LEAST = 2_500
"""What the smallest stanza counts: its elements take more room than its text."""


class Turns:
    """The stanzas that wait, by whoever wrote them; used as an `asyncio.Queue` is."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[Element]] = OrderedDict()
        """By bare JID, whoever is next first; none is empty."""
        self._size = 0
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    @property
    def is_full(self) -> bool:
        """Whether more waits than should."""
        return self._size >= MOST

    def put_nowait(self, stanza: Element) -> None:
        """Have a stanza wait behind what its sender has said before."""
        self._lines.setdefault(bare(stanza), deque()).append(stanza)
        self._size += size(stanza)
        self._arrived.set()

    def get_nowait(self) -> Element:
        """Take the first stanza of the peer whose turn it is.

        Raises:
            asyncio.QueueEmpty: there is none.
        """
        if not self._lines:
            raise asyncio.QueueEmpty
        peer, line = self._lines.popitem(last=False)
        stanza = line.popleft()
        if line:
            self._lines[peer] = line  # behind all others
        self._size -= size(stanza)
        return stanza

    async def get(self) -> Element:
        """Wait for the next stanza. Safe to cancel: nothing is lost."""
        while not self._lines:
            self._arrived.clear()
            await self._arrived.wait()
        return self.get_nowait()


def bare(stanza: Element) -> str:
    """The bare JID that the server has stamped."""
    return str(stanza.get("from") or "").partition("/")[0].lower()


def size(stanza: Element) -> int:
    """About how many bytes it takes."""
    body = stanza.find(CLIENT + "body")
    return LEAST + len((body is not None and body.text) or "")
