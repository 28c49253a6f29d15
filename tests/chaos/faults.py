"""A connection that says some messages twice, at once or later, and some behind those that follow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from behaviours.connection import XmppConnection
from behaviours.transport import ConnectionFailed

LATER = 4.0
"""Seconds within which the second copy comes: long enough for its receiver to have died meanwhile."""

BEHIND = 0.05
"""Seconds by which a message falls behind."""


class Unreliable(XmppConnection):
    """See the module. Receipts are messages as well."""

    odds: tuple[float, float] = (0.0, 0.0)
    """Of a second copy, and of falling behind."""
    dice: random.Random

    def hand_over(self, stanza: str) -> None:
        """Write a stanza never or once now, and perhaps once later."""
        duplicate, behind = self.odds
        loop = asyncio.get_running_loop()
        if self.is_online and self.dice.random() < behind:
            loop.call_later(self.dice.uniform(0, BEHIND), self._again, stanza)
        else:
            super().hand_over(stanza)
        if self.dice.random() < duplicate:
            loop.call_later(self.dice.uniform(0, LATER), self._again, stanza)

    def _again(self, stanza: str) -> None:
        with suppress(ConnectionFailed):
            super().hand_over(stanza)


def unreliable(seed: str, duplicate: float, behind: float) -> Callable[..., Unreliable]:
    """Make connections of these odds; given as `Ports.connect`."""

    def connect(*args: Any, **options: Any) -> Unreliable:
        connection = Unreliable(*args, **options)
        connection.odds, connection.dice = (duplicate, behind), random.Random(seed)
        return connection

    return connect
