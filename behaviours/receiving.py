"""The one receiving behaviour of an agent: the thin shell around its mailroom."""

from __future__ import annotations

import asyncio

from spade.behaviour import CyclicBehaviour

from behaviours.mailroom import Mailroom
from behaviours.wire import Element


class Receiving(CyclicBehaviour):
    """Passes on every stanza, in order, to the mailroom."""

    def __init__(self, mailroom: Mailroom, stanzas: asyncio.Queue[Element]) -> None:
        super().__init__()
        self._mailroom, self._stanzas = mailroom, stanzas

    def match(self, _message: object) -> bool:
        """Take nothing from SPADE's own dispatch: stanzas come straight from the connection."""
        return False

    async def run(self) -> None:
        """Wait for the next stanza and handle it."""
        self._mailroom.take(await self._stanzas.get())
