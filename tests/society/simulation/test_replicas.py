"""Many seeds: of the replicas of one agent some die, some are cut off from their store, and come back."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any

import pytest

from behaviours.events import ReplicaFollowed, ReplicaReplaced
from behaviours.handlers import on
from behaviours.outcomes import Outcome, Succeeded
from behaviours.participating import Participation
from resilience.inbox import Terms
from resilience.journal import Policy
from resilience.memory import MemoryDeadLetters, MemoryJournal
from society.simulation import (
    Faults,
    Simulation,
    done_once,
    explore,
    nothing_hangs,
    nothing_lost,
    nothing_raised,
    simulate,
)
from tests.behaviours.samples import Add, Adder, Asker, Forward, Half
from tests.behaviours.test_replicas_live import Cut
from tests.society.simulation.scenarios import WEATHER

CHUNKS = 4
SEEDS = int(os.environ.get("LOCUTION_SEEDS", "200")) // (4 * CHUNKS)
"""Seeds of a chunk: each takes several times as long as those of other societies."""

PROMISES = (nothing_hangs, nothing_raised, done_once, nothing_lost)
WITHIN = {"reply_within": 30, "result_within": 90}


class Slow(Adder):
    """Takes as long as it is told to."""

    @on(Add)
    async def add(self, action: Add, task: Participation) -> Any:
        await asyncio.sleep(action.b)
        return await super().add(action, task)


def journal(world: Simulation, lease: float) -> MemoryJournal:
    policy = Policy(terms=Terms(lease=lease))
    return MemoryJournal(policy, clock=lambda: world.clock().timestamp())


async def ask(world: Simulation, asker: Asker, to: str) -> list[Outcome]:
    """Ask, call and tell, one after the other."""
    found: list[Outcome] = []
    for turn in range(4):
        seconds = world.rng.choice([0, 0.1, 1.0, 5.0])
        found.append(await asker.request(to, Add(a=turn, b=seconds), **WITHIN))
        if to == "adder@simulation":
            found.append(await asker.request(to, Forward(to="leaf@simulation")))
        await asker.inform(to, Half(done=turn / 10))
        contract = await asker.call_for_proposals(
            [to], Add(a=turn, b=seconds / 2), lambda bids: bids[:1], **WITHIN
        )
        found += [*contract.declined.values(), *contract.awards.values()]
    return found


async def replicas(world: Simulation, lease: float, doings: tuple[str, ...]) -> list[Outcome]:
    """Two or three replicas serve somebody, and ask somebody of their own accord."""
    shared, letters, rng = journal(world, lease), MemoryDeadLetters(), world.rng
    cuts = {f"adder/{name}": Cut(shared) for name in "abc"[: rng.randint(2, 3)]}
    agents = [
        await world.start(Slow, name, journal=cut, replica=name[-1], dead_letters=letters)
        for name, cut in cuts.items()
    ]
    await world.start(Slow, "leaf", journal=journal(world, lease))
    alice = await world.start(Asker, "alice", journal=journal(world, lease))
    doing = [world.run(alice, ask(world, alice, "adder@simulation")) for _each in range(3)]
    for each in agents:
        world.run(each, ask(world, each, "leaf@simulation"))
    dead: set[str] = set()
    for _each in range(rng.randint(2, 8)):
        await asyncio.sleep(rng.uniform(0.0, 6.0))
        await disturb(world, rng.choice(doings), cuts, dead)
    for cut in cuts.values():
        cut.can_pass.set()
    outcomes = [outcome for each in doing for outcome in await each]
    await world.rest()
    return outcomes


async def disturb(world: Simulation, doing: str, cuts: dict[str, Cut], dead: set[str]) -> None:
    """Do something to one of them."""
    name = world.rng.choice(sorted(cuts.keys() - dead))
    match doing:
        case "crash" if len(dead) + 1 < len(cuts):
            await world.crash(name)
            dead.add(name)
        case "restart" if dead:
            name = world.rng.choice(sorted(dead))
            dead.discard(name)
            cuts[name].can_pass.set()
            await world.restart(name)
        case "freeze":
            cuts[name].can_pass.clear()
        case "thaw":
            for each in cuts.values():
                each.can_pass.set()
        case "cut":
            world.cut(name, world.rng.uniform(0.0, 3.0))


DOINGS = ("crash", "restart", "freeze", "thaw", "cut")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_many_seeds_in_a_storm(chunk: int) -> None:
    scenario = partial(replicas, lease=3.0, doings=DOINGS)
    seeds = range(chunk * SEEDS, (chunk + 1) * SEEDS)
    assert explore(scenario, seeds, faults=WEATHER, invariants=PROMISES) == []


def test_where_the_network_is_whole_nobody_notices_that_a_replica_dies() -> None:
    followed = 0
    for seed in range(SEEDS):
        scenario = partial(replicas, lease=10.0, doings=("crash", "restart"))
        run = simulate(scenario, seed, faults=Faults(), invariants=PROMISES)
        assert all(isinstance(each, Succeeded) for each in run.result), seed
        followed += sum(isinstance(each.fact, ReplicaFollowed) for each in run.history)
        assert not any(isinstance(each.fact, ReplicaReplaced) for each in run.history)
    assert followed > SEEDS / 4
