"""A member of a task group in a process of its own: `python -m tests.failover.member PLACE`.

While it leads it keeps a worker busy. It says, a line for each, when it begins and ceases to lead, and what
has become of each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from agents.base import Ports, Server
from behaviours.fencing import Office, acting
from behaviours.grouping import Group, NotLeadingError
from behaviours.outcomes import Succeeded
from resilience.consul_lock import ConsulLock
from resilience.election import Lock
from resilience.sqlite_lock import SqliteLock
from tests.behaviours.samples import Add, Asker, Sum

GROUP = "sums"


def say(*words: object) -> None:
    """Tell whoever started us."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Member(Asker):
    """Asks for so many sums at once, as long as it leads."""

    def __init__(self, *who: Any, worker: str, in_flight: int, is_stubborn: bool) -> None:
        super().__init__(*who)
        self.worker, self.in_flight, self.is_stubborn = worker, in_flight, is_stubborn
        self.asking: list[asyncio.Task[None]] = []
        self.numbers = itertools.count(1)

    async def on_elected(self, group: Group) -> None:
        """Begin to ask."""
        say("elected", group.term, time.monotonic())
        self.asking = [self.submit(self.ask(group)) for _each in range(self.in_flight)]

    async def on_deposed(self, group: Group) -> None:
        """Ask no more."""
        for each in [] if self.is_stubborn else self.asking:
            each.cancel()
        say("deposed", group.term, time.monotonic())

    async def ask(self, group: Group) -> None:
        """Ask again and again; if we are stubborn, in our former office as well."""
        if self.is_stubborn:
            acting.set(Office(group=group.name, term=group.term))
        while True:
            office = contextlib.nullcontext() if self.is_stubborn else group.acting()
            with contextlib.suppress(NotLeadingError), office:
                # No other request of anybody has these two numbers.
                life, number = os.getpid(), next(self.numbers)
                outcome = await self.request(self.worker, Add(a=life, b=number))
                is_right = isinstance(outcome, Succeeded) and outcome.result == Sum(value=life + number)
                say("ended", life, number, "well" if is_right else type(outcome).__name__)
            await asyncio.sleep(0.01)


def lock_of(kind: str, where: str, ttl: float) -> Lock:
    """The lock that decides."""
    if kind == "consul":
        return ConsulLock(where, society="failover", ttl=ttl)
    return SqliteLock(Path(where), ttl=ttl)


async def main(place: dict[str, Any]) -> None:
    """Stand for election until somebody ends the process."""
    server = Server(host="127.0.0.1", port=place["port"], ca_file=Path(place["ca_file"]))
    ports = Ports(lock=lock_of(place["lock"], place["where"], place["ttl"]))
    member = Member(
        place["jid"],
        "secret",
        server,
        ports,
        worker=place["worker"],
        in_flight=place["in_flight"],
        is_stubborn=place["is_stubborn"],
    )
    await member.start()
    say("ready")
    await member.group(GROUP).join()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
