"""How soon a group has a new leader: `python -m tests.failover --kills 20 --freezes 20`.

Three agents, each in a process of its own, stand for election in a real Consul, or in an SQLite file. The
leader keeps a worker busy with many requests at once; it is killed with signal 9 again and again, and frozen.
What the worker did shows that no leader of the past was obeyed.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from resilience.election import TTL
from tests.failover.plotting import plot
from tests.failover.running import Found, Running
from tests.resilience.consul_server import PATH

LOCKS = ("consul", "sqlite")


def main() -> None:
    """Measure, and say what was found; the last line has the figures of all."""
    parser = argparse.ArgumentParser(prog="python -m tests.failover", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--freezes", type=int, default=20)
    parser.add_argument("--in-flight", type=int, default=100)
    parser.add_argument("--ttl", type=float, default=TTL)
    parser.add_argument("--locks", default=",".join(LOCKS))
    parser.add_argument("--plot", type=Path, help="where to draw the times, as SVG")
    told = parser.parse_args()
    locks = told.locks.split(",")
    if "consul" in locks and PATH is None:
        sys.exit("consul is not on the path; install it, or leave it out: --locks sqlite")
    found: dict[str, Found] = {}
    with tempfile.TemporaryDirectory(prefix="failover-") as folder:
        for lock in locks:
            running = Running(Path(folder) / lock, lock, told.ttl, told.in_flight)
            found[lock] = asyncio.run(running.run(told.kills, told.freezes))
            _say(lock, found[lock])
    times = [each for one in found.values() for each in (*one.killed, *one.frozen)]
    if told.plot is not None:
        told.plot.write_text(plot(found, told.ttl))
    faults = [fault for one in found.values() for fault in one.faults]
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    sys.stdout.write(f"median {statistics.median(times):.2f} s, worst {max(times):.2f} s\n")
    sys.exit(bool(faults))


def _say(lock: str, found: Found) -> None:
    for name, times in (("killed", found.killed), ("frozen", found.frozen)):
        if times:
            sys.stdout.write(
                f"{lock}, leader {name} {len(times)} times: "
                f"median {statistics.median(times):.2f} s, worst {max(times):.2f} s\n"
            )
    sys.stdout.write(
        f"{lock}: {len(found.terms)} terms, {len(found.accepted):,} requests accepted, "
        f"{len(found.obeyed)} of a leader of the past\n"
    )
    counted = (
        f"{len(found.miscounted):,} did not end once"
        if found.miscounted
        else f"each was done once and answered once, {found.unanswered:,} more were done as their leader fell"
    )
    sys.stdout.write(f"{lock}: {len(found.ended):,} requests ended: {counted}\n")


if __name__ == "__main__":
    main()
