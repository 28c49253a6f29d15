"""The one receiving behaviour of an agent: the thin shell around its mailroom."""

from __future__ import annotations

from behaviours.mailroom import Mailroom
from behaviours.queueing import Turns
from behaviours.shells import Shell


class Receiving(Shell):
    """Passes on every stanza to the mailroom, each peer's in order and the peers in turn."""

    def __init__(self, mailroom: Mailroom, turns: Turns) -> None:
        super().__init__()
        self._mailroom, self._turns = mailroom, turns

    async def run(self) -> None:
        """Wait for the next stanza, and handle it.

        SPADE 4.1.4: between two runs of a behaviour the event loop goes round once, which may bring hundreds
        of stanzas: so those of another peer are here before the first one's are handled. Where too many
        wait, none come until that is over.
        """
        self._mailroom.take(await self._turns.get())
        while self._turns.is_full:
            self._mailroom.take(self._turns.get_nowait())
