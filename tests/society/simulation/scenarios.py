"""The societies that are simulated under many seeds, and the weather that they get."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from behaviours.contracting import Contract
from behaviours.delivery import Delivered
from behaviours.handlers import hears, on
from behaviours.outcomes import Answer, Fail, Outcome, Succeeded, sentence
from behaviours.participating import Participation
from society.simulation import Faults, Simulation, done_once, nothing_hangs, nothing_lost, nothing_raised
from society.simulation.happenings import Noted
from tests.behaviours.samples import Add, Adder, Asker, Forward, Half

ADDERS = ("bob", "carol", "dave")
EQUALS = ("ann", "ben", "cid")

PROMISES = (nothing_hangs, nothing_raised, done_once, nothing_lost)
"""What holds of every society here, whatever the weather."""

WEATHER = Faults(drop=0.02, duplicate=0.1, reorder=0.1, cut=0.003)
DISORDER = Faults(duplicate=0.2, reorder=0.2, delay=(0.001, 0.3))


class Noting(Adder):
    """An adder that notes each of its effects."""

    def __init__(self, world: Simulation, *args: Any) -> None:
        super().__init__(*args)
        self.world = world

    @on(Add)
    async def add(self, action: Add, task: Participation) -> Answer:
        self.world.note(self, f"{action.tag} {task.id}")
        if action.manner == "slow":
            await asyncio.sleep(0.8)
        return await super().add(action, task)

    @on(Forward)
    async def forward(self, action: Forward, task: Participation) -> Answer:
        asked = Add(a=20, b=22, manner="slow")
        outcome = await self.request(action.to, asked, reply_within=5, result_within=8)
        if isinstance(outcome, Succeeded):
            return outcome.result
        return Fail("forwarded", sentence(outcome))

    @hears(Half)
    def hear(self, notice: Half, sender: Any) -> None:
        self.world.note(self, f"{notice.tag} {notice.done} of {sender}")


Kind = Callable[..., Any]


# -- one asks, three answer --------------------------------------------------------------------


async def requests(asker: Asker, to: str) -> list[object]:
    manners = ("well", "telling", "refusing", "well", "well", "failing")
    return [
        await asker.request(f"{to}@simulation", Add(a=turn, manner=manner), reply_within=5, result_within=8)
        for turn, manner in enumerate((*manners, *["well"] * 4))
    ]


async def call(asker: Asker, to: tuple[str, ...], turn: int) -> list[object]:
    contract = await asker.call_for_proposals(
        [f"{name}@simulation" for name in to],
        Add(a=turn),
        lambda bids: bids[:1],
        reply_within=5,
        result_within=8,
    )
    assert isinstance(contract, Contract)
    return [*contract.declined.values(), *contract.awards.values()]


async def calls(asker: Asker) -> list[object]:
    return [each for turn in range(3) for each in await call(asker, ADDERS, turn)]


async def society(world: Simulation) -> list[asyncio.Future[Any]]:
    """Start four agents, and have the first one hold thirty requests and three contract nets."""
    for name in ADDERS:
        await world.start(partial(Noting, world), name)
    asker = await world.start(Asker, "alice")
    asking = [world.run(asker, requests(asker, name)) for name in ADDERS]
    return [*asking, world.run(asker, calls(asker))]


async def check(world: Simulation, doing: list[asyncio.Future[Any]]) -> list[Outcome]:
    """Whatever is told is an outcome, and what is told to have succeeded has been done."""
    outcomes = [outcome for each in doing for outcome in await each]
    assert all(isinstance(outcome, Outcome) for outcome in outcomes), outcomes
    noted = notes(world)
    for each in outcomes:
        if isinstance(each, Succeeded):
            assert f"add {each.message.conversation_id}" in noted
    return outcomes


def notes(world: Simulation) -> set[str]:
    return {each.fact.text for each in world.history if isinstance(each.fact, Noted)}


async def storm(world: Simulation) -> list[Outcome]:
    """Agents crash, their connections break, and the network falls apart, while they talk."""
    doing = await society(world)
    rng = world.rng
    for _each in range(rng.randint(1, 5)):
        await asyncio.sleep(rng.uniform(0.0, 3.0))
        name = rng.choice(ADDERS)
        match rng.choice(("crash", "stop", "cut", "partition")):
            case "crash":
                await world.crash(name)
                await asyncio.sleep(rng.uniform(0.0, 3.0))
                await world.restart(name)
            case "stop":
                await world.stop(name)
                await world.restart(name)
            case "cut":
                world.cut(rng.choice([name, "alice"]), rng.uniform(0.0, 3.0))
            case "partition":
                world.network.partition(["alice"], [name])
                await asyncio.sleep(rng.uniform(0.0, 3.0))
                world.network.heal()
    outcomes = await check(world, doing)
    await world.rest()
    return outcomes


async def disorder(world: Simulation) -> list[Outcome]:
    """Nothing is lost; messages come late, twice and out of order."""
    doing = await society(world)
    outcomes = await check(world, doing)
    await asyncio.sleep(60)  # what is still under way comes, too late
    return outcomes


# -- everybody asks everybody ------------------------------------------------------------------


async def errands(world: Simulation, agent: Noting, first: int) -> None:
    """Ask both others for everything there is, and tell them something each time."""
    others = tuple(each for each in EQUALS if each != agent.me.local_name)
    for turn in range(2):
        for name in others:
            asked = Add(a=turn, manner=("slow", "well")[turn])
            await agent.request(f"{name}@simulation", asked, reply_within=5, result_within=8)
        forwarded = Forward(to=f"{others[1]}@simulation")
        await agent.request(f"{others[0]}@simulation", forwarded, reply_within=5, result_within=8)
        notice = Half(done=first + turn)
        told = await agent.inform(f"{others[1]}@simulation", notice)
        if isinstance(told, Delivered) and told.is_acknowledged:
            world.note(agent, f"acknowledged: {notice.tag} {notice.done} of {agent.me.name}")
        await call(agent, others, turn)


async def upheaval(world: Simulation, kind: Kind = Noting) -> None:
    """Everybody asks everybody, and each of them may die at any moment, whoever it is that asks."""
    numbers = itertools.count(0, 10)
    agents = {name: await world.start(partial(kind, world), name) for name in EQUALS}
    doing = [world.run(each, errands(world, each, next(numbers))) for each in agents.values()]
    rng = world.rng
    for _each in range(rng.randint(2, 6)):
        await asyncio.sleep(rng.choice((0.3, 2.0)) * rng.random())
        name = rng.choice(EQUALS)
        match rng.choice(("crash", "crash", "cut", "partition")):
            case "crash":
                await world.crash(name)
                await asyncio.sleep(rng.uniform(0.0, 3.0))
                agent: Any = await world.restart(name)
                if rng.random() < 0.5:
                    doing.append(world.run(agent, errands(world, agent, next(numbers))))
            case "cut":
                world.cut(name, rng.uniform(0.0, 3.0))
            case "partition":
                world.network.partition([name], [each for each in EQUALS if each != name])
                await asyncio.sleep(rng.uniform(0.0, 3.0))
                world.network.heal()
    for each in doing:
        await each  # a crash is a value
    await world.rest()
    noted = notes(world)
    for each in sorted(noted):
        assert each.removeprefix("acknowledged: ") in noted, f"{each}, and nobody has heard it"
