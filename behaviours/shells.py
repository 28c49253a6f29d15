"""What our own SPADE behaviours have in common: they take no messages, and they can be cancelled."""

from __future__ import annotations

import asyncio

from spade.behaviour import CyclicBehaviour


class Shell(CyclicBehaviour):
    """A behaviour around code that is free of SPADE."""

    def match(self, _message: object) -> bool:
        """Take nothing from SPADE's own dispatch."""
        return False

    async def _run(self) -> None:
        try:
            await self.run()
        except asyncio.CancelledError:
            # SPADE 4.1.4: a cancelled behaviour is run again, so that a program which ends with an
            # exception would hang: asyncio.run cancels all tasks and waits for them.
            self.kill()
            raise
