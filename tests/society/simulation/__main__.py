"""Play a scenario under many seeds: `python -m tests.society.simulation --seeds 1000`.

With `--seed 17` one seed is played, and its whole history shown: the same each time, to the letter.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Sequence

from society.simulation import SeedFailed, explore, simulate
from tests.society.simulation.scenarios import PROMISES, WEATHER, storm, upheaval

SCENARIOS = {"storm": storm, "upheaval": upheaval}


def main(told: Sequence[str] | None = None) -> int:
    """Play it and say what was found; 1 where anything was."""
    parser = argparse.ArgumentParser(prog="python -m tests.society.simulation", description=__doc__)
    parser.add_argument("scenario", nargs="?", choices=SCENARIOS, default="storm")
    parser.add_argument("--seeds", type=int, default=1000, help="how many, from 0")
    parser.add_argument("--seed", type=int, help="this one alone, with its history")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    wanted = parser.parse_args(told)
    scenario = SCENARIOS[wanted.scenario]
    if wanted.seed is not None:
        try:
            run = simulate(scenario, wanted.seed, faults=WEATHER, invariants=PROMISES)
        except SeedFailed as failed:
            run = failed.run
        print(run.text)  # noqa: T201 - it is what was asked for
        print(repr(run))  # noqa: T201
        return 1 if run.failures else 0
    began, spent = time.perf_counter(), processor_seconds()
    failed = explore(
        scenario,
        range(wanted.seeds),
        faults=WEATHER,
        invariants=PROMISES,
        processes=wanted.processes,
    )
    seconds, spent = time.perf_counter() - began, processor_seconds() - spent
    for each in failed:
        print(repr(each))  # noqa: T201
    print(  # noqa: T201
        f"{wanted.seeds:,} seeds of {wanted.scenario}, {len(failed)} failed: "
        f"{seconds:.1f} s, {spent:.1f} s of a processor"
    )
    return 1 if failed else 0


def processor_seconds() -> float:
    """What this process and those that it has waited for have used of a processor."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    sys.exit(main())
