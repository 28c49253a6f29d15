"""Two processes of one agent on one SQLite file: one is killed or frozen, and the other one goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from behaviours.chronicling import CONVERSATION
from behaviours.events import ConversationOpened, MessageReceived, OutOfSequence
from behaviours.outcomes import Outcome, Succeeded
from ontology.acl import Performative
from resilience.memory import MemoryJournal
from resilience.sqlite_journal import SqliteJournal
from tests.behaviours.samples import Add, Asker, Sum
from tests.chaos.processes import Process, says_ready
from tests.conftest import World, becomes
from tests.integration.replica_process import policy

LEASE = 1.0
ME = "adder@localhost"


class Replica:
    """A process, and what it has said."""

    def __init__(self, world: World, folder: Path, name: str) -> None:
        place = {
            "port": world.xmpp.port,
            "ca_file": str(world.authority.file),
            "journal": str(folder / "journal.sqlite"),
            "replica": name,
            "lease": LEASE,
        }
        command = [sys.executable, "-m", "tests.integration.replica_process", json.dumps(place)]
        self.process = Process(name, lambda _life: command, folder, says_ready)
        self.said: list[str] = []
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and listen."""
        await self.process.start()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await self.process.line():
            self.said.append(line)

    async def says(self, line: str) -> None:
        """Wait until it has said that."""
        await becomes(lambda: line in self.said)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.child is not None
        self.process.child.send_signal(number)

    async def end(self) -> None:
        """Kill it."""
        await self.process.kill()
        if self._reading is not None:
            await self._reading
            self._reading = None


@pytest.fixture
async def replicas(world: World, tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas that run."""
    world.account("adder")
    both = Replica(world, tmp_path, "a"), Replica(world, tmp_path, "b")
    try:
        await asyncio.gather(*(each.start() for each in both))
        yield both
    finally:
        for each in both:
            await each.end()


async def holder(replicas: tuple[Replica, Replica], line: str) -> tuple[Replica, Replica]:
    """The replica that has said something, as soon as one has, and the other one."""
    await becomes(lambda: any(line in each.said for each in replicas))
    first, second = sorted(replicas, key=lambda each: line not in each.said)
    assert line not in second.said
    return first, second


def value(outcome: Outcome) -> float:
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(outcome.result, Sum)
    return outcome.result.value


def informs(world: World, asker: Asker) -> dict[str, int]:
    """How many results have come, by protocol."""
    heard = world.of(MessageReceived, agent=asker.me.name, performative="inform")
    return dict(Counter(each.protocol for each in heard if each.protocol))


def out_of_place(world: World) -> list[OutOfSequence]:
    """What was said that did not fit.

    Of a copy of an award that comes when a replica has ended it, and its last word has been acknowledged,
    the other one knows nothing any more; the asker hears so of a conversation that is over.
    """
    not_understood = Performative.NOT_UNDERSTOOD.value
    return [each for each in world.of(OutOfSequence) if each.performative != not_understood]


def freeze(replica: Replica, folder: Path) -> None:
    """Freeze a process, though not while it writes: the file would be locked for all until it goes on."""
    while True:
        replica.signal(signal.SIGSTOP)
        with closing(sqlite3.connect(folder / "journal.sqlite", timeout=0.5, isolation_level=None)) as file:
            try:
                file.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                replica.signal(signal.SIGCONT)
            else:
                file.execute("ROLLBACK")
                return


async def left(journal: SqliteJournal) -> list[str]:
    """Messages on their way, and open conversations."""
    keys = [each.key for each in await journal.snapshots(ME) if each.key.startswith(CONVERSATION)]
    return [*keys, *[each.id for each in await journal.outgoing(ME)]]


async def nothing_is_left(folder: Path) -> None:
    """All conversations of the agent are over, and all its messages acknowledged."""
    journal = SqliteJournal(folder / "journal.sqlite")
    try:
        async with asyncio.timeout(10):
            while await left(journal):  # noqa: ASYNC110 - a store has no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"left: {await left(journal)}")
    finally:
        await journal.close()


async def test_what_a_killed_process_did_another_one_ends(
    world: World, replicas: tuple[Replica, Replica], tmp_path: Path
) -> None:
    asker = await world.start(Asker, "asker", journal=MemoryJournal(policy(LEASE)))
    manners = ("well", "holding", "agreeing", "holding")
    asking = [
        asyncio.create_task(asker.request(ME, Add(a=each, b=1, manner=manners[each % 4])))
        for each in range(20)
    ]
    calling = [
        asyncio.create_task(
            asker.call_for_proposals([ME], Add(a=100 + each, b=1, manner="holding"), lambda found: found[:1])
        )
        for each in range(4)
    ]
    first, second = await holder(replicas, "began 1")
    await becomes(lambda: all(sum(f"began {n}" in each.said for each in replicas) == 1 for n in range(20)))
    await becomes(
        lambda: all(sum(f"began {100 + n}" in each.said for each in replicas) == 1 for n in range(4))
    )
    await first.end()
    await becomes(lambda: all(f"began {n}" in second.said for n in range(20) if n % 4))
    second.process.write("go on\n")
    assert [value(each) for each in await asyncio.wait_for(asyncio.gather(*asking), 20)] == [
        each + 1.0 for each in range(20)
    ]
    for each, contract in enumerate(await asyncio.wait_for(asyncio.gather(*calling), 20)):
        assert value(contract.awards[ME]) == each + 101
    assert informs(world, asker) == {"fipa-request": 20, "fipa-contract-net": 4}
    assert len(world.of(MessageReceived, agent=asker.me.name, performative="propose")) == 4
    assert len(world.of(ConversationOpened, agent=asker.me.name)) == 24
    assert not out_of_place(world)
    await nothing_is_left(tmp_path)


async def test_a_frozen_process_that_comes_back_says_nothing_of_what_another_one_ended(
    world: World, replicas: tuple[Replica, Replica], tmp_path: Path
) -> None:
    asker = await world.start(Asker, "asker", journal=MemoryJournal(policy(LEASE)))
    asking = [
        asyncio.create_task(asker.request(ME, Add(a=each, b=1, manner="holding"))) for each in range(10)
    ]
    first, second = await holder(replicas, "began 1")
    await becomes(lambda: all(sum(f"began {n}" in each.said for each in replicas) == 1 for n in range(10)))
    freeze(first, tmp_path)
    first.process.write("go on\n")  # it comes to its results as soon as it comes back
    await becomes(lambda: all(f"began {n}" in second.said for n in range(10)))
    second.process.write("go on\n")
    assert [value(each) for each in await asyncio.wait_for(asyncio.gather(*asking), 20)] == [
        each + 1.0 for each in range(10)
    ]
    first.signal(signal.SIGCONT)
    await first.says("replaced")
    await nothing_is_left(tmp_path)
    assert informs(world, asker) == {"fipa-request": 10}
    assert not out_of_place(world)
    # It lives on, as a replica like any other.
    await second.end()
    assert value(await asyncio.wait_for(asker.request(ME, Add(a=50, b=1)), 20)) == 51
    await nothing_is_left(tmp_path)
