"""Where a conversation goes on, once the replica of a peer that had it is not there any more.

Whoever looks after a peer asks the peer's account, each time that it finds nobody. The replica that has the
conversation says that it is **here**, and is the one to look after from then on. One that has it not, and
finds it written down, says that it is **kept**: another replica lives, or this one is going to have it. As
long as somebody says so the peer counts as being there. Where an agent has one replica nobody does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import compress
from weakref import WeakSet

from behaviours.conversing import Seat
from behaviours.enduring import Enduring
from behaviours.inheriting import Inheriting
from behaviours.peering import bare
from behaviours.receipts import Receipts, render
from behaviours.seating import Seating
from ontology.aid import AgentIdentifier

AT_ONCE = 20
"""Conversations of one question that are looked for in the journal."""

ASKING = 100
"""Peers whose questions are looked into at once."""


class Seeking:
    """The questions of one agent, and its answers to those of others.

    Args:
        enduring: what lets conversations outlive a process.
        inheriting: knows which there are.
        seats: the conversations that are here.
        keep: holds on to a task until it is done.
    """

    def __init__(
        self,
        enduring: Enduring,
        inheriting: Inheriting,
        seats: Seating,
        keep: Callable[[asyncio.Task[None]], None],
    ) -> None:
        self._enduring, self._inheriting, self._seats, self._keep = enduring, inheriting, seats, keep
        self._found: WeakSet[Seat] = WeakSet()
        self._asking: set[str] = set()

    def asks(self, seat: Seat) -> bool:
        """Ask where a conversation goes on; whether the question before was answered."""
        conversation = seat.conversation
        self._say(conversation.peer, Receipts(sought=(conversation.conversation_id,)))
        is_found = seat in self._found
        self._found.discard(seat)
        return is_found

    def take(self, told: Receipts, peer: str) -> None:
        """Somebody has asked, or answered.

        Args:
            told: what was said.
            peer: the full JID that it came from.
        """
        for name in (*told.here, *told.kept):
            for seat in self._seats.of(name, bare(peer)):
                self._found.add(seat)
                if name in told.here:
                    seat.peer = AgentIdentifier.of(peer)
        if not told.sought:
            return
        here = tuple(name for name in told.sought if self._seats.of(name, bare(peer)))
        self._say(peer, Receipts(here=here))
        others = [name for name in told.sought if name not in here]
        # A question that is not answered comes again; one peer has one at a time looked for, and few have.
        if others and bare(peer) not in self._asking and len(self._asking) < ASKING:
            self._asking.add(bare(peer))
            self._keep(asyncio.get_running_loop().create_task(self._look_for(others[:AT_ONCE], peer)))

    async def _look_for(self, names: list[str], peer: str) -> None:
        insist, ask = self._enduring.journaling.insist, self._inheriting.is_elsewhere
        try:
            are_kept = [await insist(partial(ask, bare(peer), name)) for name in names]
        finally:
            self._asking.discard(bare(peer))
        self._say(peer, Receipts(kept=tuple(compress(names, are_kept))))

    def _say(self, peer: str, receipts: Receipts) -> None:
        for stanza in render(peer, receipts):
            self._enduring.send(stanza)
