"""The receiver's side of receipts: what has been processed is acknowledged, by a reply if one is on its way.

An acknowledgement is owed from the moment that a message's effect is written down. If we reply to the
message within `ACKNOWLEDGE_AFTER`, the reply says it all; else the ids owed to one peer go together in one
stanza. An acknowledgement that is lost does no harm: the peer asks after the message.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from behaviours.receipts import Receipts, render

ACKNOWLEDGE_AFTER = 0.1
"""Seconds that a reply has to come, before an acknowledgement goes by itself."""

REMEMBERED = 50_000
"""Ids of messages of which we remember how far they have come."""

Send = Callable[[str], None]


class Acknowledging:
    """What one agent owes its peers.

    Args:
        send: writes one stanza; what it cannot write it drops.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._owed: dict[str, dict[str, str | None]] = {}
        """By the peer's JID: id to the reply-with that a reply would bear."""
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._known: OrderedDict[tuple[str, str], bool] = OrderedDict()
        """By bare JID and id: whether the effect is written down."""
        self._said: dict[tuple[str, str], int] = {}
        """What was said under an id that this process has seen."""

    def take(self, peer: str, message_id: str, said: int = 0) -> bool:
        """A message has come and is being processed; False: it is known already, and need not be.

        Args:
            peer: the full JID that it came from.
            message_id: the stanza's.
            said: a hash of what it says; under the same id another message is no second copy.
        """
        key = (_bare(peer), message_id)
        is_done = self._known.get(key)
        if is_done is None:
            self._said[key] = said
            self._remember(peer, message_id, is_done=False)
            return True
        if self._said.get(key, said) != said:
            return True
        if is_done:
            self.owe(peer, message_id, None)
        return False

    def drop(self, peer: str, message_id: str) -> None:
        """A message is not processed after all: if it is asked after, it never came."""
        self._known.pop((_bare(peer), message_id), None)
        self._said.pop((_bare(peer), message_id), None)

    def owe(self, peer: str, message_id: str, reply_with: str | None) -> None:
        """The effect of a message is written down.

        Args:
            peer: the full JID that it came from.
            message_id: the stanza's.
            reply_with: of the message; a reply to it is acknowledgement enough.
        """
        self._remember(peer, message_id, is_done=True)
        self._owed.setdefault(peer, {})[message_id] = reply_with
        if peer not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[peer] = loop.call_later(ACKNOWLEDGE_AFTER, self._pay, peer)

    def replied(self, peer: str, in_reply_to: str) -> None:
        """A reply that is kept until it is acknowledged has gone to that JID."""
        bare = _bare(peer)
        for jid in tuple(self._owed):
            if _bare(jid) != bare:
                continue
            owed = self._owed[jid]
            for message_id in [each for each, name in owed.items() if name == in_reply_to]:
                del owed[message_id]

    def answer(self, peer: str, asked: tuple[str, ...]) -> None:
        """Say what has become of messages."""
        known = {each: self._known.get((_bare(peer), each)) for each in asked}
        done = tuple(each for each, is_done in known.items() if is_done)
        taken = tuple(each for each, is_done in known.items() if is_done is False)
        missing = tuple(each for each, is_done in known.items() if is_done is None)
        for stanza in render(peer, Receipts(acknowledged=done, taken=taken, missing=missing)):
            self._send(stanza)

    def close(self) -> None:
        """Pay all that is owed."""
        for peer in tuple(self._timers):
            self._pay(peer)

    def _remember(self, peer: str, message_id: str, *, is_done: bool) -> None:
        key = (_bare(peer), message_id)
        self._known[key] = is_done
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            oldest, _is_done = self._known.popitem(last=False)
            self._said.pop(oldest, None)

    def _pay(self, peer: str) -> None:
        timer = self._timers.pop(peer, None)
        if timer is not None:
            timer.cancel()
        owed = tuple(self._owed.pop(peer, {}))
        for stanza in render(peer, Receipts(acknowledged=owed)):
            self._send(stanza)


def _bare(jid: str) -> str:
    return jid.partition("/")[0]
