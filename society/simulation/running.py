"""Running a scenario: once, or under many seeds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any

from society.simulation.happenings import Complained, Happening, written
from society.simulation.invariants import Invariant, nothing_hangs
from society.simulation.machine import sealed, uncollected
from society.simulation.network import Faults
from society.simulation.virtual_time import Stuck, VirtualLoop
from society.simulation.world import Simulation

LIMIT = 86_400.0
"""Simulated seconds within which a scenario must end."""

SHARES = 4
"""Parts of its work that each process gets, one after the other."""

Scenario = Callable[[Simulation], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of a scenario under one seed."""

    seed: int
    history: Sequence[Happening]
    failures: tuple[str, ...]
    """What went wrong, in sentences: what the scenario raised, and which invariants do not hold."""
    result: Any = None
    """What the scenario returned."""
    error: Exception | None = None
    """What it raised."""

    @property
    def text(self) -> str:
        """The history as text: the same, to the letter, for the same scenario, faults and seed."""
        return written(self.history)

    def __repr__(self) -> str:
        told = "; ".join(self.failures) or "nothing went wrong"
        return f"<seed {self.seed}: {told} ({len(self.history)} happenings)>"


class SeedFailed(AssertionError):  # noqa: N818 - it reads as what happened
    """A scenario failed; its cause is what the scenario raised.

    Attributes:
        run: everything about it.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(repr(run))
        self.run = run


def simulate(
    scenario: Scenario,
    seed: int,
    *,
    faults: Faults | None = None,
    invariants: Iterable[Invariant] = (),
    within: float = LIMIT,
) -> Run:
    """Run a scenario in a world of its own, and see it succeed.

    Args:
        scenario: a coroutine function, or whatever makes a coroutine of a `Simulation`.
        seed: of all chance.
        faults: of the network; by default there are none.
        invariants: what must hold of the history.
        within: simulated seconds after which the scenario is taken to hang.

    Raises:
        SeedFailed: it raised something, or an invariant does not hold.
        RuntimeError: an event loop is running already.
    """
    run = _run(scenario, seed, faults=faults or Faults(), invariants=tuple(invariants), within=within)
    if run.failures:
        raise SeedFailed(run) from run.error
    return run


def _run(
    scenario: Scenario, seed: int, *, faults: Faults, invariants: Sequence[Invariant], within: float
) -> Run:
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the only question that does not raise
        raise RuntimeError("a simulation brings its own event loop: call it from a plain function")
    with uncollected():
        return _played(scenario, seed, faults, invariants, within)


def _played(
    scenario: Scenario, seed: int, faults: Faults, invariants: Sequence[Invariant], within: float
) -> Run:
    loop = VirtualLoop(within)
    asyncio.set_event_loop(loop)
    result, error = None, None
    with sealed(loop, seed):
        world = Simulation(seed, faults, loop)
        loop.set_exception_handler(lambda _loop, context: world.record(_complaint(context)))
        try:
            result = loop.run_until_complete(_play(scenario, world))
        except Exception as raised:  # noqa: BLE001 - whatever it is, it is told with its seed
            error = raised
        finally:
            world.is_over = True
            loop.bury()
            asyncio.set_event_loop(None)
    failures = [] if error is None else [f"{type(error).__name__}: {error}"]
    failures += loop.escapes
    asked = (nothing_hangs, *invariants) if isinstance(error, Stuck) else invariants
    failures += [told for invariant in asked for told in invariant(world.history)]
    return Run(
        seed=seed,
        history=tuple(world.history),
        failures=tuple(dict.fromkeys(failures)),
        result=result,
        error=error,
    )


def explore(
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    faults: Faults | None = None,
    invariants: Iterable[Invariant] = (),
    within: float = LIMIT,
    most: int = 10,
    processes: int = 1,
) -> list[Run]:
    """Run a scenario under many seeds and return the runs that failed, in the order of the seeds.

    Args:
        scenario: as for `simulate`.
        seeds: which ones.
        faults: as for `simulate`.
        invariants: likewise.
        within: likewise.
        most: failed runs after which no further seed is tried.
        processes: with more than one the work is shared out, and what is given here must be importable by
            its name. They tell which seeds have failed; those are run again here.
    """
    play = partial(_run, scenario, faults=faults or Faults(), invariants=tuple(invariants), within=within)
    if processes > 1:
        seeds = _failing(play, seeds, processes)
    failed: list[Run] = []
    for seed in seeds:
        run = play(seed)
        if run.failures:
            failed.append(run)
            if len(failed) == most:
                break
    return failed


def _failing(play: Callable[[int], Run], seeds: Iterable[int], processes: int) -> list[int]:
    seeds = list(seeds)
    # Forked, a process would have the locks of threads that it has not.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        share = math.ceil(len(seeds) / processes / SHARES)
        verdicts = pool.map(partial(_has_failed, play), seeds, chunksize=max(share, 1))
        return [seed for seed, has_failed in zip(seeds, verdicts, strict=True) if has_failed]


def _has_failed(play: Callable[[int], Run], seed: int) -> bool:
    return bool(play(seed).failures)


async def _play(scenario: Scenario, world: Simulation) -> Any:
    return await scenario(world)


def _complaint(context: dict[str, Any]) -> Complained:
    error = context.get("exception")
    told = str(context.get("message", "")) if error is None else f"{type(error).__name__}: {error}"
    return Complained(agent="", text=told)
