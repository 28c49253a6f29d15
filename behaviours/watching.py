"""Looking after a peer that works for us, or for whom we work: whether it is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from behaviours.connection import Life, Transport

PROBE_EVERY = 1.0
"""Seconds between two looks at whether a peer that works for us is still there."""

GONE_AFTER = 3
"""Looks in a row that find it gone, before it is believed: time enough to come back from a short cut."""

SILENT_AFTER = 2
"""Looks in a row without any answer, each of `PROBE_WITHIN` seconds."""

PROBE_WITHIN = 5.0


async def absence(transport: Transport, jid: Callable[[], str], gone_after: int | None) -> str:
    """Return once a peer is not there any more: how that is told of it.

    Args:
        transport: our connection.
        jid: where it was heard of last.
        gone_after: looks in a row that must find it gone; by default `GONE_AFTER`.
    """
    gone = silent = 0
    while True:
        # Only a full JID names a session; a bare one is answered by the server.
        if "/" in jid() and transport.is_online:
            life = await transport.probe(jid(), PROBE_WITHIN)
            if life is Life.SILENT and not await transport.confirm(PROBE_WITHIN):
                life = Life.ALIVE  # it is our own connection that is silent
            gone = gone + 1 if life is Life.GONE else 0
            silent = silent + 1 if life is Life.SILENT else 0
            if gone >= (gone_after or GONE_AFTER) or silent >= SILENT_AFTER:
                return told_of(Life.GONE if gone else Life.SILENT)
        await asyncio.sleep(PROBE_EVERY)


def told_of(life: Life) -> str:
    """What is said of a peer that does not live."""
    return "has left" if life is Life.GONE else "has stopped answering"
