"""What tests of the society's agents share: a directory, and learners that do as they are told.

::

    async def test_a_bid_wins(society: Society) -> None:
        await society.coordinator()
        learner = await society.learner("learner", seconds=1)
        outcome = await society.ask(TASK)
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from agents.base import LocutionAgent
from agents.coordinator import INFERENCE, TRAINING, Coordinator
from agents.directory_facilitator import DirectoryFacilitator
from agents.registered import RegisteredAgent
from behaviours.events import ConversationEnded
from behaviours.handlers import bids, on
from behaviours.outcomes import Answer, Fail, Outcome, Refuse
from behaviours.participating import Participation
from ontology.content import Term
from ontology.errors import Cause
from ontology.management import DfAgentDescription, Search, ServiceDescription
from ontology.models import DatasetRef, DeviceDescription, ModelVersion, ResourceDescription
from ontology.tasks import Bid, Evaluate, Evaluation, Predict, Predictions, Progress, Train, Trained
from tests.conftest import World

DIRECTORY = "directory@localhost"
COORDINATOR = "coordinator@localhost"

TASK = Train(dataset=DatasetRef(uri="some.csv", sha256="0" * 64), target="y", notify=True)

CPU = DeviceDescription(kind="cpu", name="abacus", memory_bytes=1)


def trained_by(learner: str) -> Trained:
    """What a learner without torch says that it has trained."""
    version = ModelVersion(
        name="model",
        version=1,
        uri="file:///nowhere",
        sha256="0" * 64,
        data_sha256="0" * 64,
        network="mlp",
        kind="classification",
        metrics={"accuracy": 1.0},
        created=datetime(2026, 11, 20, tzinfo=UTC),
        code_version="0",
    )
    resources = ResourceDescription(cpus=1, memory_bytes=1, devices=(CPU,))
    return Trained(model=version, learner=learner, seconds=0.1, epochs=1, resources=resources)


class Scripted(RegisteredAgent):
    """A learner without torch: it bids and works as it is told.

    Args:
        *args: as for every agent.
        seconds: what it bids.
        bidding: willing, unwilling, finding fault, beside the point, or slow (until `release`).
        working: well, failing, raising, finding fault, or slow (until `release`).
        models: what it can predict with.
        answer: what it answers a question about a model, in place of its name.
    """

    def __init__(
        self,
        *args: Any,
        seconds: float = 1.0,
        bidding: str = "willing",
        working: str = "well",
        models: tuple[str, ...] = (),
        answer: Answer | None = None,
    ) -> None:
        super().__init__(*args, directory=DIRECTORY)
        self.seconds, self.bidding, self.working = seconds, bidding, working
        self.models, self.answer = models, answer
        self.release, self.began, self.was_cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.called = asyncio.Event()
        self.tasks: list[Train] = []
        """The work that was awarded, in order."""
        self.questions: list[Term] = []

    def services(self) -> tuple[ServiceDescription, ...]:
        training = ServiceDescription(name=TRAINING, type=TRAINING)
        return (training, *(ServiceDescription(name=name, type=INFERENCE) for name in self.models))

    @bids(Train)
    async def bid(self, action: Train, task: Participation) -> Answer:
        self.called.set()
        match self.bidding:
            case "unwilling":
                return Refuse(Cause.OVERLOADED, f"{self.me.local_name} is busy")
            case "finding fault":
                return Refuse(Cause.UNSUPPORTED_VALUE, "the task is nonsense")
            case "beside the point":
                return Progress(task=task.id, epoch=0, epochs=1, loss=0.0, score=0.0)
            case "slow":
                await self._hold()
        return Bid(seconds=self.seconds, rows_per_second=1.0, device=CPU)

    @on(Train)
    async def train(self, action: Train, task: Participation) -> Answer:
        self.tasks.append(action)
        self.began.set()
        match self.working:
            case "failing":
                return Fail(Cause.INTERNAL_ERROR, "the abacus is broken")
            case "finding fault":
                return Fail(Cause.UNSUPPORTED_VALUE, "the task is nonsense")
            case "raising":
                raise KeyError("bead")
            case "slow":
                await self._hold()
        if action.notify:
            task.tell(Progress(task=task.id, epoch=1, epochs=1, loss=0.5, score=0.9))
        return trained_by(self.me.name)

    @on(Predict)
    async def predict(self, action: Predict, _task: Participation) -> Answer:
        self.questions.append(action)
        return self.answer or Predictions(model=f"{action.model}:1", values=(self.me.name,))

    @on(Evaluate)
    async def evaluate(self, action: Evaluate, _task: Participation) -> Answer:
        self.questions.append(action)
        return self.answer or Evaluation(model=f"{action.model}:1", rows=1, metrics={"accuracy": 1.0})

    async def _hold(self) -> None:
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise


class Society:
    """A directory, and whoever is started beside it.

    Attributes:
        client: an agent that asks.
        told: every notice that the client got, in order.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.directory: DirectoryFacilitator
        self.client: LocutionAgent
        self.told: list[Term] = []

    async def coordinator(self, name: str = "coordinator", **settings: Any) -> Coordinator:
        """Start a coordinator and wait until it is in the directory; `lock` is its port."""
        ports = {key: settings.pop(key) for key in ("lock",) if key in settings}
        kind = partial(Coordinator, directory=DIRECTORY, **settings)
        coordinator = await self.world.start(kind, name, **ports)
        await self.entered(coordinator, count=2)  # when it starts, and when it is elected
        return coordinator

    async def learner(self, name: str, **script: Any) -> Scripted:
        """Start a learner and wait until it is in the directory."""
        learner = await self.world.start(partial(Scripted, **script), name)
        await self.entered(learner)
        return learner

    async def entered(self, agent: LocutionAgent, count: int = 1) -> None:
        """Wait until the directory has taken what an agent told it so many times."""
        facts = {"agent": agent.me.name, "role": "initiator", "peer": DIRECTORY, "state": "DONE"}
        await self.world.fact(ConversationEnded, count=count, **facts)

    async def ask(self, action: Any, to: str = COORDINATOR, **limits: Any) -> Outcome:
        """Let the client ask somebody, the coordinator by default."""
        return await self.client.request(to, action, on_notice=self.told.append, **limits)

    async def listed(self, type_: str) -> list[str]:
        """Who offers a type of service, by local name."""
        search = Search(template=DfAgentDescription(services=(ServiceDescription(type=type_),)))
        found: Any = await self.client.request(DIRECTORY, search)
        return [each.name.local_name for each in found.result.descriptions]


async def disconnect_for_good(agent: LocutionAgent) -> None:
    """Break an agent's connection as the death of its process would: no goodbye, and no return."""
    client: Any = agent.client
    gone = asyncio.Event()
    client.add_event_handler("disconnected", lambda _reason: gone.set())
    client._is_stopping = True
    client.abort()
    await gone.wait()


@pytest.fixture
async def society(world: World) -> Society:
    """Give a directory and a client."""
    society = Society(world)
    society.directory = await world.start(DirectoryFacilitator, "directory")
    society.client = await world.start(LocutionAgent, "client")
    return society
