"""Coordinators that share the work out: each leads a partition of its own, and others go on for the dead."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents import partitions, registered
from agents.coordinator import COORDINATION, Coordinator
from behaviours.events import ConversationEnded, LeaderDeposed, LeaderElected, OutOfSequence
from behaviours.outcomes import Outcome, Refused, Succeeded
from ontology.tasks import Predict, Trained
from resilience.election import Lock
from resilience.memory import MemoryJournal, MemoryLock
from resilience.rendezvous import ranked
from resilience.sqlite_lock import SqliteLock
from tests import conftest
from tests.agents.conftest import DIRECTORY, TASK, Society
from tests.behaviours.test_enduring_live import die
from tests.conftest import World, becomes

PATIENCE = 60.0
"""Seconds for anything that is waited for: machines stall."""

TASKS, SLOW = 50, 15
"""How many are shared out, and how many of them are under way when one dies."""

NAMES = ("ann", "bob", "cid")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "PATIENCE", PATIENCE)
    monkeypatch.setattr(registered, "TELL_WITHIN", PATIENCE)
    monkeypatch.setattr(partitions, "HELD_LEAST", 0.2)
    monkeypatch.setattr(partitions, "OWNER_FIRST", 10.0)  # this machine may stall
    monkeypatch.setattr(partitions, "LOOK_EVERY", 0.02)


async def _nothing(*_what: Any) -> None:
    """What a dead process does."""


class Shared:
    """A society whose coordinators share the work out."""

    def __init__(self, society: Society, lock: Callable[[], Lock]) -> None:
        self.society, self.world, self._lock = society, society.world, lock
        self.journal = MemoryJournal()
        self.locks: dict[str, Lock] = {}

    async def start(self, name: str) -> Coordinator:
        """Start one, in a process of its own as far as the lock can tell."""
        self.locks[name] = self._lock()
        kind = partial(Coordinator, directory=DIRECTORY, bid_within=60.0, leadership="per-task")
        return await self.world.start(kind, name, lock=self.locks[name], journal=self.journal)

    async def start_all(self, *names: str) -> dict[str, Coordinator]:
        """Start some, and wait until each leads its own partition and stands by for all others."""
        made = {name: await self.start(name) for name in names}
        every = {"coordinators", *(f"coordinators/{name}" for name in names)}
        for each in made.values():
            await becomes(lambda each=each: set(each.groups) == every)  # type: ignore[misc]
        await self.offer(*names)
        assert [group.trouble for each in made.values() for group in each.groups.values()] == [""] * len(
            made
        ) * (len(made) + 1)
        return made

    async def kill(self, coordinator: Coordinator) -> None:
        """End one as a kill would: nothing is given back, and what it holds in a file lapses in time."""
        lock = self.locks[coordinator.me.local_name]
        if isinstance(lock, SqliteLock):
            lock.leave = lock.release = _nothing  # type: ignore[method-assign, assignment]
        await die(coordinator)
        for seat in tuple(lock._seats.values()) if isinstance(lock, SqliteLock) else ():
            await seat.beating.stop()
        if isinstance(lock, SqliteLock):
            lapse = "UPDATE leaders SET beaten_at = beaten_at - ttl WHERE holder = ?"
            await lock._do(partial(lock._file.run, lapse, (coordinator.me.name,)))

    async def offer(self, *names: str) -> None:
        """Wait until just these offer coordination."""
        async with asyncio.timeout(PATIENCE):
            while await self.society.listed(COORDINATION) != sorted(names):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)

    async def choose(self, count: int) -> dict[str, str]:
        """Whom to ask in so many conversations, which are the same each time."""
        names = [f"{name}@localhost" for name in await self.society.listed(COORDINATION)]
        return {f"task-{number}": ranked(f"task-{number}", names)[0] for number in range(count)}

    def ask(self, conversation: str, to: str) -> asyncio.Task[Outcome]:
        """Have the client ask for a training."""
        asking = self.society.client.request(
            to, TASK, reply_within=60.0, on_notice=self.society.told.append, conversation_id=conversation
        )
        return asyncio.create_task(asking)

    async def left(self) -> dict[str, int]:
        """How many tasks stand in each ledger."""
        found = {}
        for name in NAMES:
            snapshots = await self.journal.snapshots(f"group/coordinators/{name}")
            found[name] = len([each for each in snapshots if each.key.startswith("task/")])
        return {name: count for name, count in found.items() if count}

    async def is_empty(self) -> None:
        """Wait until no task stands in any ledger."""
        async with asyncio.timeout(PATIENCE):
            while await self.left():  # noqa: ASYNC110 - a store has no event
                await asyncio.sleep(0.01)


@pytest.fixture(params=["memory", "sqlite"])
async def shared(request: Any, society: Society, tmp_path: Path) -> AsyncIterator[Shared]:
    """Give such a society, over either lock."""
    memory, files = MemoryLock(), list[SqliteLock]()

    def lock() -> Lock:
        if request.param == "memory":
            return memory
        files.append(SqliteLock(tmp_path / "lock.db", ttl=20.0))
        return files[-1]

    yield Shared(society, lock)
    for agent in society.world._agents:
        if isinstance(agent, Coordinator):
            await agent.stop()
    for each in files:
        await each.close()


def trainer(outcome: Outcome) -> str:
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(outcome.result, Trained)
    return outcome.result.learner


def answers(world: World, client: str) -> Counter[str]:
    """How often each of the client's conversations has ended well."""
    ended = world.of(ConversationEnded, agent=client, role="initiator", state="DONE")
    return Counter(each.conversation_id for each in ended if each.peer != DIRECTORY)


@pytest.mark.parametrize("count", [2, 3])
async def test_a_dead_ones_tasks_are_finished_by_others_and_it_comes_back(shared: Shared, count: int) -> None:
    names, world, client = NAMES[:count], shared.world, shared.society.client
    made = await shared.start_all(*names)
    learner = await shared.society.learner("learner")
    chosen = await shared.choose(TASKS)
    asking: dict[str, asyncio.Task[Outcome]] = {}
    for conversation, to in chosen.items():
        asking[conversation] = shared.ask(conversation, to)
        if len(asking) % 10 == 0:
            await becomes(lambda: len(learner.tasks) == len(asking))
        if len(asking) == TASKS - SLOW:
            await asyncio.gather(*asking.values())
            await shared.is_empty()
            learner.working = "slow"
    parts, left = Counter(chosen.values()), Counter(list(chosen.values())[-SLOW:])
    assert len(parts) == count
    assert min(parts.values()) >= TASKS / count / 2, parts
    assert await shared.left() == {name: left[f"{name}@localhost"] for name in names}
    taken_over = left["bob@localhost"]
    assert taken_over > 3, left

    await shared.kill(made["bob"])
    heir = (await world.fact(LeaderElected, group="coordinators/bob", term=2)).agent
    assert heir == ranked("coordinators/bob", [name for name in names if name != "bob"])[0] + "@localhost"
    await becomes(lambda: len(learner.tasks) == TASKS + taken_over)
    assert sum(each.done() for each in asking.values()) == TASKS - SLOW
    again = await shared.start("bob")
    await becomes(lambda: "coordinators/bob" in again.groups)
    assert not again.is_leader, "its former tasks are under way elsewhere"
    await shared.offer(*(name for name in names if name != "bob"))
    refused = await client.request(again.me, TASK)
    assert isinstance(refused, Refused)
    assert refused.reason.text.startswith("bob stands by; ask the leader of coordinators/bob")

    learner.release.set()
    outcomes = {conversation: await asyncio.wait_for(each, PATIENCE) for conversation, each in asking.items()}
    assert {trainer(each) for each in outcomes.values()} == {learner.me.name}
    assert answers(world, client.me.name) == Counter(chosen.keys()), "each in its own conversation, once"
    assert not world.of(OutOfSequence, agent=client.me.name)
    await shared.is_empty()
    await world.fact(LeaderElected, agent=again.me.name, group="coordinators/bob", term=3)
    await shared.offer(*names)
    learner.working = "well"
    conversation = uuid.uuid4().hex
    assert trainer(await shared.ask(conversation, again.me.name)) == learner.me.name
    assert len(learner.tasks) == TASKS + 1 + taken_over
    terms = [(each.agent, each.term) for each in world.of(LeaderElected, group="coordinators/bob")]
    assert terms == [("bob@localhost", 1), (heir, 2), ("bob@localhost", 3)]


async def test_one_that_stops_leaves_its_tasks_to_another_and_finds_them_done(shared: Shared) -> None:
    made = await shared.start_all("ann", "bob")
    learner = await shared.society.learner("learner", working="slow")
    asking = shared.ask("a conversation", "bob@localhost")
    await asyncio.wait_for(learner.began.wait(), PATIENCE)
    await made["bob"].stop()
    await shared.world.fact(LeaderElected, agent="ann@localhost", group="coordinators/bob")
    await becomes(lambda: len(learner.tasks) == 2)
    learner.release.set()
    assert trainer(await asyncio.wait_for(asking, PATIENCE)) == learner.me.name
    await shared.is_empty()
    assert not shared.world.of(LeaderDeposed, agent="ann@localhost"), "nobody is there to have it back"
    again = await shared.start("bob")
    await shared.world.fact(LeaderElected, agent=again.me.name, group="coordinators/bob", term=3)


async def test_what_was_left_when_all_were_gone_is_found(shared: Shared) -> None:
    """The one that comes has never met the one that is dead."""
    made = await shared.start_all("ann", "bob")
    learner = await shared.society.learner("learner", working="slow")
    asking = shared.ask("a conversation", "bob@localhost")
    await asyncio.wait_for(learner.began.wait(), PATIENCE)
    await shared.kill(made["ann"])
    await shared.kill(made["bob"])
    for name in ("ann", "bob"):
        del shared.society.directory._entries[f"{name}@localhost"]  # their leases have run out
    cid = await shared.start("cid")
    for name in ("ann", "bob"):
        await shared.world.fact(LeaderElected, agent=cid.me.name, group=f"coordinators/{name}")
    await becomes(lambda: len(learner.tasks) == 2)
    learner.release.set()
    assert trainer(await asyncio.wait_for(asking, PATIENCE)) == learner.me.name
    await shared.is_empty()


async def test_predictions_are_passed_on_by_whoever_is_asked(shared: Shared) -> None:
    await shared.start_all("ann", "bob")
    await shared.society.learner("learner", models=("blobs",))
    for name in ("ann", "bob"):
        question = Predict(model="blobs", rows=((1.0,),), columns=("x",))
        outcome = await shared.society.ask(question, to=f"{name}@localhost")
        assert isinstance(outcome, Succeeded)


async def test_a_group_with_a_slash_or_too_long_a_name_is_told(world: World) -> None:
    def make(**options: Any) -> Coordinator:
        return world.make(partial(Coordinator, directory=DIRECTORY, **options), "ann")

    with pytest.raises(ValueError, match=r"^'a/b' is no name for a group: behind a slash stands the member "):
        make(group="a/b")
    with pytest.raises(ValueError, match="is no name for a group: write 1 to 100 characters on one line"):
        make(group="x" * 98, leadership="per-task")
