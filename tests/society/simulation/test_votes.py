"""Votes under many seeds: whoever crashes, and whatever the network does, all voters apply the same."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from behaviours import polling
from behaviours.handlers import decided, votes
from behaviours.outcomes import Answer, Refuse
from behaviours.participating import Participation
from behaviours.polling import Decision
from ontology.content import Done
from society.simulation import (
    Happening,
    Simulation,
    done_once,
    explore,
    nothing_hangs,
    nothing_raised,
)
from society.simulation.happenings import Noted
from tests.behaviours.samples import Add, Asker
from tests.society.simulation.scenarios import WEATHER
from tests.society.simulation.test_seeds import FEW, is_traced

VOTERS = ("ann", "bob", "cleo")
QUORUM, VOTES = 2, 4
CHUNKS, SEEDS = 4, 25


class Voter(Asker):
    """Votes by the number, and notes how, and what it applies."""

    def __init__(self, world: Simulation, *args: Any) -> None:
        super().__init__(*args)
        self.world = world

    @votes(Add)
    async def vote(self, action: Add, task: Participation) -> Answer:
        await asyncio.sleep(0.2 * len(self.me.local_name))
        is_for = action.a % len(self.me.local_name) != 0
        self.world.note(self, f"voted {task.id} {is_for}")
        return Done() if is_for else Refuse("odd", "it does not suit me")

    @decided(Add)
    async def apply(self, action: Add, task: Participation) -> None:
        self.world.note(self, f"applied {task.id} {task.is_committed}")


def told(history: Sequence[Happening], what: str) -> dict[str, dict[str, set[str]]]:
    """What was noted, by the vote and by the agent."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for each in history:
        if isinstance(each.fact, Noted) and each.fact.text.startswith(what):
            _what, name, value = each.fact.text.split()
            found[name][each.fact.agent].add(value)
    return found


def one_decision(history: Sequence[Happening]) -> Iterator[str]:
    """No two voters apply different decisions, and what is committed has had its quorum."""
    voted = told(history, "voted")
    for name, applied in told(history, "applied").items():
        if len(set().union(*applied.values())) > 1:
            yield f"{name} was decided in two ways: { {each: sorted(how) for each, how in applied.items()} }"
        accepted = [agent for agent, how in voted[name].items() if "True" in how]
        if {"True"} in applied.values() and len(accepted) < QUORUM:
            yield f"{name} was committed, and only {accepted} were for it"


def all_learn(history: Sequence[Happening]) -> Iterator[str]:
    """Where one voter has applied a decision, all that have voted on it have."""
    voted = told(history, "voted")
    for name, applied in told(history, "applied").items():
        missing = set(voted[name]) - set(applied)
        if missing:
            yield f"{sorted(missing)} voted on {name} and never learnt what was decided"


PROMISES = (nothing_hangs, nothing_raised, done_once, one_decision, all_learn)


async def hold_votes(asker: Asker, first: int) -> list[Decision]:
    names = [f"{name}@simulation" for name in VOTERS]
    found = []
    for number in range(first, first + VOTES):
        decision = await asker.call_for_votes(names, Add(a=number), quorum=QUORUM, within=5)
        assert isinstance(decision, Decision)
        found.append(decision)
    return found


async def storm(world: Simulation) -> None:
    """Who calls the votes crashes as well as the voters, and connections break."""
    for name in VOTERS:
        await world.start(partial(Voter, world), name)
    alice = await world.start(Asker, "alice")
    doing = [world.run(alice, hold_votes(alice, 1))]
    rng = world.rng
    for each in range(rng.randint(2, 6)):
        await asyncio.sleep(rng.uniform(0.0, 2.0))
        name = rng.choice((*VOTERS, "alice", "alice"))
        if rng.random() < 0.7:
            await world.crash(name)
            await asyncio.sleep(rng.uniform(0.0, 4.0))
            again: Any = await world.restart(name)
            if name == "alice":
                doing.append(world.run(again, hold_votes(again, 10 * (each + 1))))
        else:
            world.cut(name, rng.uniform(0.0, 3.0))
    known = told(world.history, "applied")
    for decisions in [await each for each in doing]:
        for decision in decisions if isinstance(decisions, list) else ():
            assert set().union(*known[decision.conversation_id].values()) <= {str(decision.is_committed)}
    await world.rest()


@pytest.fixture(autouse=True)
def _told_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a simulation waits for a day for a voter whose last word was lost."""
    monkeypatch.setattr(polling, "BOUND_WITHIN", 300.0)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_all_voters_apply_the_same_whoever_crashes(chunk: int) -> None:
    size = FEW if is_traced() else SEEDS
    seeds = range(chunk * size, (chunk + 1) * size)
    assert explore(storm, seeds, faults=WEATHER, invariants=PROMISES) == []
