"""A candidate in a process of its own: `python -m tests.resilience.holder KIND WHERE TTL`.

It stands for election, and says, a line for each, when it leads and when it does no more. Whatever it is told
it answers with whether it leads, and with the time by its wall clock.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from resilience.consul_lock import ConsulLock
from resilience.election import Lock
from resilience.sqlite_lock import SqliteLock


def say(*words: object) -> None:
    """Tell whoever started us."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def stand(lock: Lock, reign: list[int]) -> None:
    """Lead again and again."""
    while True:
        await lock.wait_free("g")
        term = await lock.acquire("g", "me@here")
        if term is not None:
            reign[:] = [term]
            say("leads", term)
            await lock.wait_lost("g", term)
            say("lost", term)


async def main(kind: str, where: str, ttl: str) -> None:
    """Stand for election until nobody tells us anything more."""
    lock: Lock
    lock = ConsulLock(where, ttl=float(ttl)) if kind == "consul" else SqliteLock(Path(where), ttl=float(ttl))
    reign: list[int] = []
    task = asyncio.create_task(stand(lock, reign))
    while await asyncio.to_thread(sys.stdin.readline):
        is_leader = bool(reign) and lock.holds("g", reign[0])
        say("now", int(is_leader), time.time())
    task.cancel()
    await lock.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
