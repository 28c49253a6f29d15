"""What a coordinator has accepted, the next one goes on with; its client has nothing to do for that."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from agents.coordinator import Coordinator
from behaviours import watching
from behaviours.events import ConversationTaken, LeaderElected, MessageReceived, OutOfSequence
from behaviours.outcomes import Outcome, Succeeded
from ontology.tasks import Trained
from resilience.ledger import Ledger
from resilience.memory import MemoryJournal, MemoryLock
from tests.agents.conftest import COORDINATOR, DIRECTORY, TASK, Scripted, Society
from tests.behaviours.test_enduring_live import die
from tests.conftest import becomes


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.05)


class Coordinators:
    """Two of them, with one lock and one journal."""

    bid_within = 1.0

    def __init__(self, society: Society) -> None:
        self.society, self.lock, self.journal = society, MemoryLock(), MemoryJournal()

    async def start(self, name: str) -> Coordinator:
        """Start one; the first one leads."""
        kind = partial(Coordinator, directory=DIRECTORY, bid_within=self.bid_within)
        return await self.society.world.start(kind, name, lock=self.lock, journal=self.journal)

    async def left(self) -> int:
        """How many tasks stand in the ledger."""
        found = await self.journal.snapshots("group/coordinators")
        return len([each for each in found if each.key.startswith("task/")])


@pytest.fixture
async def coordinators(society: Society) -> Coordinators:
    return Coordinators(society)


def trainer(outcome: Outcome) -> str:
    """Who has trained the model."""
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(outcome.result, Trained)
    return outcome.result.learner


async def asked(society: Society) -> tuple[Scripted, asyncio.Task[Outcome]]:
    """Have the client ask the coordinator for a training, on which a learner has begun to work."""
    learner = await society.learner("anna", working="slow")
    asking = asyncio.create_task(society.ask(TASK, to=COORDINATOR))
    await asyncio.wait_for(learner.began.wait(), 5)
    return learner, asking


@pytest.mark.parametrize("way", ["killed", "stopped", "deposed"])
async def test_its_client_is_answered_by_the_next_one(
    society: Society, coordinators: Coordinators, way: str
) -> None:
    first = await coordinators.start("coordinator")
    learner, asking = await asked(society)
    assert await coordinators.left() == 1
    second = await coordinators.start("second")
    match way:
        case "killed":
            await die(first)
        case "stopped":
            await first.stop()
        case "deposed":
            await first.group("coordinators").leave()
    await society.world.fact(LeaderElected, agent=second.me.name)
    await becomes(lambda: len(learner.tasks) == 2)
    assert not asking.done()
    learner.release.set()
    assert trainer(await asyncio.wait_for(asking, 10)) == "anna@localhost"
    answers = society.world.of(
        MessageReceived, agent=society.client.me.name, performative="inform", protocol="fipa-request"
    )
    assert [each.peer for each in answers if each.peer != DIRECTORY] == [second.me.name]
    async with asyncio.timeout(5):
        while await coordinators.left():  # noqa: ASYNC110 - a store has no event
            await asyncio.sleep(0.01)
    assert not society.world.of(OutOfSequence, agent=society.client.me.name)


async def test_one_that_is_started_anew_leaves_it_to_the_leader(
    society: Society, coordinators: Coordinators
) -> None:
    """It finds the conversation in its own journal, and leads no more."""
    first = await coordinators.start("coordinator")
    learner, asking = await asked(society)
    await first.enduring.journaling.settled()
    second = await coordinators.start("second")
    await die(first)
    await society.world.fact(LeaderElected, agent=second.me.name)
    again = await coordinators.start("coordinator")
    assert not again.is_leader
    client = society.client.me.name
    await becomes(lambda: client not in {each.peer for each in again.mailroom.conversations()})
    learner.release.set()
    assert trainer(await asyncio.wait_for(asking, 10)) == "anna@localhost"


async def test_the_only_one_goes_on_itself_when_it_is_started_anew(
    society: Society, coordinators: Coordinators
) -> None:
    first = await coordinators.start("coordinator")
    learner, asking = await asked(society)
    await first.enduring.journaling.settled()
    await die(first)
    again = await coordinators.start("coordinator")
    assert again.is_leader
    learner.release.set()
    assert trainer(await asyncio.wait_for(asking, 10)) == "anna@localhost"
    assert not society.world.of(ConversationTaken)


async def test_what_is_done_or_cancelled_is_in_no_ledger(
    society: Society, coordinators: Coordinators
) -> None:
    await coordinators.start("coordinator")
    learner = await society.learner("anna")
    assert trainer(await society.ask(TASK, to=COORDINATOR)) == "anna@localhost"
    async with asyncio.timeout(5):
        while await coordinators.left():  # noqa: ASYNC110 - a store has no event
            await asyncio.sleep(0.01)
    learner.working = "slow"
    learner.began.clear()
    asking = asyncio.create_task(society.ask(TASK, to=COORDINATOR))
    await asyncio.wait_for(learner.began.wait(), 5)
    assert await coordinators.left() == 1
    asking.cancel()
    async with asyncio.timeout(5):
        while await coordinators.left():  # noqa: ASYNC110 - a store has no event
            await asyncio.sleep(0.01)
    assert await Ledger(coordinators.journal, "coordinators").take(99) == ()
