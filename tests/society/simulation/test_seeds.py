"""Many seeds: whatever the network does the promises hold, and what fails replays to the letter."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from behaviours.mailroom import Mailroom
from behaviours.outcomes import Succeeded
from society.simulation import (
    Faults,
    Happening,
    SeedFailed,
    Simulation,
    explore,
    handled_once,
    noted_once,
    nothing_hangs,
    nothing_raised,
    simulate,
    written,
)
from society.simulation.happenings import Begun, Crashed, Cut, Doubled, Dropped, Overtaken
from tests.behaviours.samples import Adder, Asker, Half
from tests.society.simulation.__main__ import main
from tests.society.simulation.scenarios import (
    ADDERS,
    DISORDER,
    PROMISES,
    WEATHER,
    Noting,
    disorder,
    storm,
    upheaval,
)

CHUNKS = 8
SEEDS = int(os.environ.get("LOCUTION_SEEDS", "200")) // CHUNKS
"""Seeds of a chunk."""

FEW = 10
"""Seeds of a chunk while coverage is measured, which takes several times as long."""

SECONDS_A_SEED = 0.12
"""Of one processor: a thousand seeds in a minute, on two."""


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_many_seeds_in_a_storm(chunk):
    began = time.process_time()
    seeds = range(chunk * SEEDS, chunk * SEEDS + (FEW if is_traced() else SEEDS))
    assert explore(storm, seeds, faults=WEATHER, invariants=PROMISES) == []
    assert is_traced() or time.process_time() - began < SECONDS_A_SEED * SEEDS


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_many_seeds_in_which_everybody_may_die(chunk):
    size = 3 if is_traced() else SEEDS // 2
    seeds = range(chunk * size, (chunk + 1) * size)
    assert explore(upheaval, seeds, faults=WEATHER, invariants=PROMISES) == []


def test_nothing_is_handled_twice_for_all_disorder():
    invariants = [nothing_hangs, nothing_raised, handled_once, noted_once]
    seeds = range(FEW if is_traced() else 100)
    assert explore(disorder, seeds, faults=DISORDER, invariants=invariants) == []


def is_traced() -> bool:
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    tools = [] if monitoring is None else [monitoring.get_tool(each) for each in range(6)]
    return sys.gettrace() is not None or any(tools)


def test_a_quiet_network_lets_all_succeed_that_may():
    run = simulate(disorder, 0)
    succeeded = [isinstance(each, Succeeded) for each in run.result]
    assert sum(succeeded) == len(run.result) - 2 * len(ADDERS)  # those that are refused or fail
    kinds = {type(each.fact) for each in run.history}
    assert not kinds & {Dropped, Doubled, Overtaken, Cut, Crashed}


def test_the_storm_is_one():
    kinds = {type(each.fact) for seed in range(20) for each in simulate(storm, seed, faults=WEATHER).history}
    assert {Dropped, Doubled, Overtaken, Cut, Crashed} <= kinds


@pytest.mark.parametrize("seed", range(0, 200, 10))
def test_a_seed_has_one_history(seed):
    first, second = (simulate(storm, seed, faults=WEATHER) for _ in "12")
    assert first.text == second.text
    assert first.result == second.result


def test_seeds_have_different_histories():
    assert len({simulate(storm, seed, faults=WEATHER).text for seed in range(20)}) == 20


def digest() -> str:
    texts = [simulate(storm, seed, faults=WEATHER).text for seed in range(10)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def test_another_process_with_other_hashes_has_the_same_histories():
    told = {digest()}
    for hash_seed in ("1", "2"):
        program = f"from {__name__} import digest; print(digest())"
        told.add(
            subprocess.run(
                [sys.executable, "-c", program],
                cwd=Path(__file__).parents[3],
                env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": "."},
                check=True,
                capture_output=True,
                text=True,
            ).stdout.strip()
        )
    assert len(told) == 1


# -- agents that are broken on purpose ---------------------------------------------------------


class Forgetful(Noting):
    """Takes a second copy for something new."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        connect, known = self.ports.connect, set[str]()

        def connect_badly(*args: Any, on_message: Callable[[Any], None], **how: Any) -> Any:
            def take(stanza: Any) -> None:
                name = stanza.get("id", "")
                if name in known:
                    stanza.set("id", f"another {name}")
                known.add(name)
                on_message(stanza)

            return connect(*args, on_message=take, **how)

        self.ports = replace(self.ports, connect=connect_badly)


async def notices(world: Simulation, kind: type[Noting]) -> None:
    listener = await world.start(partial(kind, world), "listener")
    teller = await world.start(Asker, "teller")
    for done in range(5):
        await teller.inform(listener.me, Half(done=done))
    await asyncio.sleep(60)


async def remembered(world: Simulation) -> None:
    await notices(world, Noting)


async def forgotten(world: Simulation) -> None:
    await notices(world, Forgetful)


def test_an_agent_that_forgets_what_it_has_heard_is_caught_and_its_seed_replays():
    doubled = Faults(duplicate=0.02)
    assert explore(remembered, range(200), faults=doubled, invariants=[noted_once]) == []
    failed = explore(forgotten, range(200), faults=doubled, invariants=[noted_once], most=200)
    assert 0 < len(failed) < 100
    assert "listener@simulation has noted 2 times: half " in failed[0].failures[0]
    for run in failed[:3]:
        with pytest.raises(SeedFailed, match=f"seed {run.seed}: listener@simulation has noted") as caught:
            simulate(forgotten, run.seed, faults=doubled, invariants=[noted_once])
        assert caught.value.run.text == run.text
        assert caught.value.run.failures == run.failures


async def trusting(world: Simulation) -> None:
    """Wait for somebody who may never come back, and set no limit."""
    listener, teller = await world.start(Adder, "listener"), await world.start(Adder, "teller")

    async def wait() -> None:
        await teller.inform(listener.me, Half(done=1))
        while not listener.heard:  # noqa: ASYNC110 - that is what is wrong with it
            await asyncio.sleep(1)

    doing = world.run(teller, wait())
    if world.rng.random() < 0.1:
        await world.crash("listener")
    await doing


def test_one_that_waits_for_ever_is_caught_and_its_seed_replays():
    failed = explore(trusting, range(100), within=600, most=100)
    assert 0 < len(failed) < 30
    stuck, hangs = failed[0].failures
    assert stuck == "Stuck: it has not ended within 600 simulated seconds"
    assert hangs.startswith("teller@simulation has begun trusting.<locals>.wait at 0.0")
    (again,) = explore(trusting, [failed[0].seed], within=600)
    assert again.text == failed[0].text


def test_several_processes_find_the_same_seeds_as_one():
    alone, together = (
        explore(trusting, range(60), invariants=[nothing_raised], within=600, most=4, processes=processes)
        for processes in (1, 2)
    )
    assert [run.seed for run in together] == [run.seed for run in alone]
    assert [run.text for run in together] == [run.text for run in alone]


def test_a_command_plays_seeds_and_shows_one(capsys):
    assert main(["--seeds", "3", "--processes", "1"]) == 0
    assert "3 seeds of storm, 0 failed: " in capsys.readouterr().out
    texts = [(main(["upheaval", "--seed", "1"]), capsys.readouterr().out) for _ in "12"]
    assert texts[0] == texts[1]
    assert texts[0][0] == 0
    assert texts[0][1].endswith("happenings)>\n")


def test_a_table_that_raises_is_caught(monkeypatch):
    def stumble(*_args: object) -> None:
        raise KeyError("bead")

    monkeypatch.setattr(Mailroom, "_take_message", stumble)
    (run,) = explore(disorder, [0], invariants=[nothing_raised], most=1)
    assert "@simulation: KeyError: 'bead'" in run.failures[0]


def test_an_invariant_is_a_function_over_a_history():
    begun = Begun(agent="a@simulation", work=1, what="waiting")
    history = [Happening(1.5, begun)]
    assert list(nothing_hangs(history)) == [
        "a@simulation has begun waiting at 1.500 s, and it has never ended"
    ]
    assert written(history) == "    1.500000 Begun agent='a@simulation' work=1 what='waiting'"
