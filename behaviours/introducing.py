"""Asking for the key of one that is not known yet, while what it says waits: a signature needs one.

It stands before the mailroom. Messages of one agent keep their order; those of others, the answer of the
directory among them, pass. Whoever has no key there is asked for again after a minute at the earliest.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from behaviours.authorising import Authority
from behaviours.signing import is_key, is_signed
from behaviours.wire import Element, Received, parse
from ontology.aid import AgentIdentifier

AGAIN_AFTER = 60.0
"""Seconds after which one without a key is asked for again."""

AT_ONCE = 100
"""Agents that are asked for at a time; what a further one says does not wait, and is refused."""

WAITING = 100
"""Messages of one agent that wait; a further one does not."""

REMEMBERED = 1000
"""Agents without a key that are remembered."""

FindKey = Callable[[AgentIdentifier], Awaitable[str | None]]
"""Finds the public key of an agent; None where it has none. It does not raise."""


class Introducing:
    """Holds back what strangers have signed until their keys have been asked for.

    Args:
        me: who we are.
        authority: what asks for signatures, and keeps keys.
        find_key: asks somebody for a key.
        then: takes each stanza, in the end.
    """

    def __init__(
        self, me: AgentIdentifier, authority: Authority, find_key: FindKey, then: Callable[[Element], None]
    ) -> None:
        self._me, self._authority = me, authority
        self._find_key, self._then = find_key, then
        self._held: dict[str, list[Element]] = {}
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, stanza: Element) -> None:
        """Pass a stanza on, now or later."""
        held = self._held.get(_bare(stanza))
        if held is not None and len(held) < WAITING:
            held.append(stanza)
        elif held is None and self._authority.policy.wants_signatures and (peer := self._stranger(stanza)):
            self._held[peer.name] = [stanza]
            task = asyncio.get_running_loop().create_task(self._introduce(peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._then(stanza)

    def close(self) -> None:
        """Forget what waits; whoever said it is told nothing."""
        for task in self._tasks:
            task.cancel()
        self._held.clear()

    async def _introduce(self, peer: AgentIdentifier) -> None:
        try:
            key = await self._find_key(peer)
            if key is not None and is_key(key):
                self._authority.ring.pin(peer.name, key)
            else:
                self._remember(peer.name)
        finally:
            for stanza in self._held.pop(peer.name, ()):
                self._then(stanza)

    def _stranger(self, stanza: Element) -> AgentIdentifier | None:
        """Who has signed this, if the signature may be needed and the key is not known."""
        name = _bare(stanza)
        now = asyncio.get_running_loop().time()
        if len(self._held) >= AT_ONCE or now < self._asked.get(name, now):
            return None
        try:
            peer = AgentIdentifier(name=name)
        except ValueError:
            return None
        policy, ring = self._authority.policy, self._authority.ring
        if not policy.is_to_be_signed(peer, self._me) or ring.find(peer.name) is not None:
            return None
        incoming = parse(stanza)
        return peer if isinstance(incoming, Received) and is_signed(incoming.message) else None

    def _remember(self, name: str) -> None:
        self._asked[name] = asyncio.get_running_loop().time() + AGAIN_AFTER
        self._asked.move_to_end(name)
        if len(self._asked) > REMEMBERED:
            self._asked.popitem(last=False)


def _bare(stanza: Element) -> str:
    return str(stanza.get("from") or "").partition("/")[0].lower()
