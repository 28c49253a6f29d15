"""What the guarantees cost: `python -m tests.chaos.cost --requests 1000 --rounds 5`.

Two agents, each in a process of its own, hold fipa-request conversations over a real Prosody, once as they
are, with their journal in SQLite and in Redis, and once without any guarantee: no journal, no outbox worth
the name, no acknowledgements, no stream management; the protocols stay enforced. The same is asked of two
hand-written agents of plain SPADE. All kinds take turns in one run, and the last line gives the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from society.xmpp_server import CertificateAuthority
from tests.chaos import processes
from tests.chaos.processes import Process, says_ready

SIDES = ("asker", "adder")

AT_ONCE = 50


@dataclass(frozen=True)
class Figure:
    """What one kind did in one round."""

    rate: float
    """Requests a second."""
    cpu: tuple[float, ...]
    """Microseconds of processor time for each request: asker, adder, Prosody, Redis."""


async def measure(folder: Path, kinds: Sequence[str], requests: int, rounds: int) -> dict[str, list[Figure]]:
    """By kind and how many at once: what was found in each round."""
    CertificateAuthority.open(folder / "authority")
    names = [f"{side}{kind}" for kind in kinds for side in SIDES]
    server, port = processes.prosody(folder, dict.fromkeys(names, "secret"))
    redis, address = processes.redis(folder)
    stores = {"redis": address, "sqlite": str(folder / "journal.sqlite")}

    def agent(side: str, kind: str) -> Process:
        command = processes.module("cost_agents", side, kind, str(port), str(folder), stores.get(kind, ""))
        return Process(f"{side}{kind}", lambda _life: command, folder, says_ready)

    pairs = {kind: (agent("asker", kind), agent("adder", kind)) for kind in kinds}
    await asyncio.gather(server.start(), redis.start())
    found: dict[str, list[Figure]] = {}
    try:
        for asker, adder in pairs.values():
            await adder.start()
            await asker.start()
        for at_once in (AT_ONCE, *(each for _ in range(rounds) for each in (1, AT_ONCE))):
            is_warm = bool(found) or at_once == 1
            for kind, pair in pairs.items():
                everybody = (*pair, server, redis)
                before = [_cpu(each) for each in everybody]
                pair[0].write(f"{requests} {at_once}\n")
                line = await pair[0].line()
                if not line:
                    raise RuntimeError(pair[0].errors())
                rate = requests / float(line)
                spent = (_cpu(each) - was for each, was in zip(everybody, before, strict=True))
                cpu = tuple(each / requests * 1e6 for each in spent)
                if is_warm:
                    found.setdefault(f"{kind} {at_once}", []).append(Figure(rate, cpu))
    finally:
        for process in (*(each for pair in pairs.values() for each in pair), redis, server):
            await process.stop()
    return found


def _cpu(process: Process) -> float:
    """Seconds of processor time that a process has used."""
    assert process.child is not None
    fields = Path(f"/proc/{process.child.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.cost", description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default="without,sqlite,redis,spade")
    told = parser.parse_args()
    kinds = told.kinds.split(",")
    with tempfile.TemporaryDirectory(prefix="cost-") as folder:
        found = asyncio.run(measure(Path(folder), kinds, told.requests, told.rounds))
    for at_once in (1, AT_ONCE):
        without = found.get(f"without {at_once}", [])
        for kind in kinds:
            say(kind, at_once, found[f"{kind} {at_once}"], without)


def say(kind: str, at_once: int, figures: Sequence[Figure], without: Sequence[Figure]) -> None:
    """Say what was found of one kind, and compare it, round by round, with those without guarantees."""
    rates = [each.rate for each in figures]
    cpu = [statistics.median(each) for each in zip(*(each.cpu for each in figures), strict=True)]
    pairs = list(zip(without, figures, strict=False))
    time = statistics.median([was.rate / now.rate for was, now in pairs] or [1])
    # The processor's time comes in ticks of a hundredth of a second: few requests may have taken none.
    processor = statistics.median([sum(now.cpu) / sum(was.cpu) for was, now in pairs if sum(was.cpu)] or [1])
    print(  # noqa: T201 - it is what was asked for
        f"{at_once:2} at once, {kind:8} {statistics.median(rates):6,.0f} requests/s "
        f"({min(rates):,.0f} to {max(rates):,.0f}), "
        f"µs of processor {'+'.join(f'{each:.0f}' for each in cpu)}: "
        f"time ratio {time:.2f}, processor ratio {processor:.2f}"
    )


if __name__ == "__main__":
    main()
