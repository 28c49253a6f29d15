"""Each peer is heard in order: what it says waits until we know whose that is to handle which it said before.

Of several replicas of an agent one handles a message that begins something, and to ask for that takes as long
as the store does. Others are heard meanwhile; and what certainly begins something is claimed while it waits,
so that the store is asked for many messages of one peer at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from behaviours.enduring import Claimed
from behaviours.queueing import size
from behaviours.sorting import only_begins
from behaviours.wire import Element, Received
from ontology.aid import AgentIdentifier

WAITING = 10_000
"""Messages of one peer that may wait. Those that begin something are refused long before (`admitting`); what
goes on with a conversation waits as long as the store does not answer."""


MOST = 50_000_000
"""About how many bytes of all peers may wait, likewise."""

Ahead = asyncio.Task[Claimed]


class Claiming:
    """The peers of one agent of which a message is being claimed.

    Args:
        take: handles a message, unless it may begin something and is to be claimed: then it says True.
        claim: claims a message, unless that is under way, and handles it. Neither raises.
        ask: claims a message, and leaves it to `claim` to handle it.
        keep: holds on to a task until it is done or the agent ends.
    """

    def __init__(
        self,
        take: Callable[[Received, AgentIdentifier, Element], bool],
        claim: Callable[[Received, AgentIdentifier, Element, Ahead | None], Awaitable[None]],
        ask: Callable[[Received, AgentIdentifier], Coroutine[Any, Any, Claimed]],
        keep: Callable[[Ahead], None],
    ) -> None:
        self._take, self._claim, self._ask, self._keep = take, claim, ask, keep
        self._lines: dict[str, deque[tuple[Received, AgentIdentifier, Element, Ahead | None]]] = {}
        self._size = 0

    def waiting(self, peer: AgentIdentifier) -> int | None:
        """How many messages of a peer wait; None where none has to."""
        line = self._lines.get(peer.name)
        return None if line is None else len(line)

    def wait(self, received: Received, peer: AgentIdentifier, stanza: Element) -> bool:
        """Have a message wait, while one of its peer is being claimed; False: too many do already."""
        line = self._lines[peer.name]
        if len(line) < WAITING and self._size < MOST:
            self._size += size(stanza)
            line.append((received, peer, stanza, self._asked(received, peer)))
            return True
        return False

    def begin(self, received: Received, peer: AgentIdentifier, stanza: Element) -> Coroutine[Any, Any, None]:
        """Claim a message, and then go on with whatever its peer has said meanwhile."""
        self._lines[peer.name] = deque()
        return self._go_on(received, peer, stanza)

    async def _go_on(self, received: Received, peer: AgentIdentifier, stanza: Element) -> None:
        line = self._lines[peer.name]
        try:
            await self._claim(received, peer, stanza, None)
            while line:
                await asyncio.sleep(0)  # others have their turn
                received, peer, stanza, asked = line.popleft()
                self._size -= size(stanza)
                if self._take(received, peer, stanza):
                    await self._claim(received, peer, stanza, asked)
                elif asked is not None:
                    asked.cancel()  # a second copy, which has the claim of the first, or one out of place
        finally:
            self._size -= sum(size(each[2]) for each in line)
            del self._lines[peer.name]

    def _asked(self, received: Received, peer: AgentIdentifier) -> Ahead | None:
        if not only_begins(received.message):
            return None
        asked = asyncio.get_running_loop().create_task(self._ask(received, peer))
        asked.add_done_callback(lambda _asked: asked.cancelled() or asked.exception())
        self._keep(asked)
        return asked
