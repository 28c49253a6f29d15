"""Votes among processes that are killed with signal 9, whoever they are, at moments that a seed chooses."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from behaviours.outcomes import Outcome, Succeeded
from resilience.memory import MemoryJournal
from tests.behaviours.samples import Asker, Forward, Sum
from tests.chaos.processes import Process, says_ready
from tests.conftest import World
from tests.integration.vote_process import POLICY, VOTERS, favours

VOTES, KILLS = 20, 8
NAMES = ("chair", *(each.partition("@")[0] for each in VOTERS))


class Agent:
    """A process, what it has said, and the folder that it leaves to the next one."""

    def __init__(self, world: World, folder: Path, name: str) -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        world.account(name)
        place = {"port": world.xmpp.port, "ca_file": str(world.authority.file), "folder": str(self.folder)}
        command = [
            sys.executable,
            "-m",
            "tests.integration.vote_process",
            json.dumps({"name": name, **place}),
        ]
        self.process = Process(name, lambda _life: command, folder, says_ready)
        self.kept: dict[str, dict[str, bool]] = {}

    def read(self) -> dict[str, dict[str, bool]]:
        """What it has kept: ``voted``, ``applied`` and ``conflict``, each by the id of the vote."""
        found: dict[str, dict[str, bool]] = {"voted": {}, "applied": {}, "conflict": {}}
        for file in self.folder.glob("*-*"):
            what, _, name = file.name.partition("-")
            if what in found:
                found[what][name] = json.loads(file.read_text())
        return found


class Killer:
    """Kills one of the processes after some of the lines that they say, and starts it anew."""

    def __init__(self, agents: list[Agent], seed: int) -> None:
        self._agents, self._random = agents, random.Random(seed)
        self.killed: list[str] = []
        self._busy: set[str] = set()
        self._due: asyncio.Queue[Agent] = asyncio.Queue()

    def heard(self, words: list[str]) -> None:
        """Somebody has said something."""
        if len(self.killed) < KILLS and words[0] != "ready" and self._random.random() < 0.15:
            victim = self._random.choice(self._agents)
            if victim.name not in self._busy:
                self._busy.add(victim.name)
                self.killed.append(f"{victim.name} after {words[0]}")
                assert victim.process.child is not None
                victim.process.child.kill()

    async def watch(self, agent: Agent) -> None:
        """Read what one says, and start it anew when it has ended."""
        while True:
            while line := await agent.process.line():
                self.heard(line.split())
            await agent.process.kill()
            await agent.process.start()
            self._busy.discard(agent.name)


@pytest.fixture
async def agents(world: World, tmp_path: Path) -> AsyncIterator[list[Agent]]:
    """Three voters and who calls the votes."""
    found = [Agent(world, tmp_path, name) for name in NAMES]
    try:
        await asyncio.gather(*(each.process.start() for each in found))
        yield found
    finally:
        for each in found:
            await each.process.kill()


def value(outcome: Outcome) -> bool:
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(outcome.result, Sum)
    return bool(outcome.result.value)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whoever_is_killed_all_apply_the_same_and_each_of_it_once(
    world: World, agents: list[Agent], seed: int
) -> None:
    client = await world.start(Asker, "client", journal=MemoryJournal(POLICY))
    killer, voters = Killer(agents, seed), agents[1:]
    watching = [asyncio.create_task(killer.watch(each)) for each in agents]
    answers: list[bool] = []
    try:
        for first in range(0, VOTES, 4):
            asking = [
                client.request(
                    "chair@localhost", Forward(to=str(number)), reply_within=100, result_within=100
                )
                for number in range(first, first + 4)
            ]
            answers += [value(each) for each in await asyncio.wait_for(asyncio.gather(*asking), 100)]
        async with asyncio.timeout(60):
            while any(len(each.read()["applied"]) < VOTES for each in voters):  # noqa: ASYNC110 - files
                await asyncio.sleep(0.05)
    finally:
        for each in watching:
            each.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    kept = {each.name: each.read() for each in voters}
    assert len(killer.killed) >= 4, killer.killed
    first, *others = (each["applied"] for each in kept.values())
    assert len(first) == VOTES, "each was decided once"
    assert all(other == first for other in others), "no two have applied different decisions"
    assert not any(each["conflict"] for each in kept.values()), "nobody voted or applied two ways"
    for name, is_committed in first.items():
        accepted = sum(each["voted"].get(name, False) for each in kept.values())
        assert accepted >= 2 or not is_committed, "what is committed has had its quorum"
    names = [each.name for each in voters]
    wanted = [sum(favours(name, number) for name in names) >= 2 for number in range(VOTES)]
    assert answers == wanted, "nobody's vote was lost"
    assert sorted(answers) == sorted(first.values()), "the client was told what they have applied"
