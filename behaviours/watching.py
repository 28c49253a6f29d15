"""Looking after a peer that works for us, or for whom we work: whether it is still there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from behaviours.connection import Life, Transport

PROBE_EVERY = 1.0
"""Seconds between two looks at whether a peer that works for us is still there."""

SILENT_AFTER = 2
"""Looks in a row without any answer, each of `PROBE_WITHIN` seconds: at least so many, and more where a peer
may be away for longer than that."""

PROBE_WITHIN = 5.0


async def absence(
    transport: Transport,
    jid: Callable[[], str],
    away: float,
    is_elsewhere: Callable[[], bool] = lambda: False,
) -> str:
    """Return once a peer is not there any more: how that is told of it.

    A peer that is found gone is looked after once a second, and each look in a row counts as a second that it
    is away. A moment in which we were held up counts for nothing.

    Args:
        transport: our connection.
        jid: where it was heard of last.
        away: seconds that it may be away, as while it is started anew.
        is_elsewhere: asked each time that it is not there: whether it counts as being there all the same.
    """
    gone = silent = 0
    gone_after, silent_after = math.ceil(away), max(SILENT_AFTER, math.ceil(away / (PROBE_WITHIN + 1.0)))
    while True:
        # Only a full JID names a session; a bare one is answered by the server.
        if "/" in jid() and transport.is_online:
            life = await transport.probe(jid(), PROBE_WITHIN)
            if life is Life.SILENT and not await transport.confirm(PROBE_WITHIN):
                life = Life.ALIVE  # it is our own connection that is silent
            if life is not Life.ALIVE and is_elsewhere():
                life = Life.ALIVE
            gone = gone + 1 if life is Life.GONE else 0
            silent = silent + 1 if life is Life.SILENT else 0
            if gone >= gone_after or silent >= silent_after:
                return told_of(Life.GONE if gone else Life.SILENT)
        await asyncio.sleep(PROBE_EVERY)


def told_of(life: Life) -> str:
    """What is said of a peer that does not live."""
    return "has left" if life is Life.GONE else "has stopped answering"
