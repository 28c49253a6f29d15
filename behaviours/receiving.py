"""The one receiving behaviour of an agent: the thin shell around its mailroom."""

from __future__ import annotations

import asyncio

from behaviours.mailroom import Mailroom
from behaviours.shells import Shell
from behaviours.wire import Element


class Receiving(Shell):
    """Passes on every stanza, in order, to the mailroom."""

    def __init__(self, mailroom: Mailroom, stanzas: asyncio.Queue[Element]) -> None:
        super().__init__()
        self._mailroom, self._stanzas = mailroom, stanzas

    async def run(self) -> None:
        """Wait for the next stanza, and handle it and all that have come with it.

        SPADE 4.1.4: between two runs of a behaviour the event loop goes round once, which may bring hundreds
        of stanzas. One at a time, what waits here would grow without bound under a flood.
        """
        self._mailroom.take(await self._stanzas.get())
        while not self._stanzas.empty():
            self._mailroom.take(self._stanzas.get_nowait())
