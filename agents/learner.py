"""Trains models, wins that work by bidding what it has measured, and answers with the models it keeps.

Training runs in a thread, so that the agent goes on answering; trainings wait for each other, and a
bid counts the time until its turn comes.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar
from weakref import WeakKeyDictionary

from agents.base import Ports, Server
from agents.commitments import Commitments, Tell
from agents.coordinator import INFERENCE, TRAINING
from agents.pacing import Paced
from agents.registered import RegisteredAgent
from agents.tallying import Tally
from behaviours.handlers import bids, on
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.participating import Participation
from learning import inference
from learning.datasets import DataFolder, Dataset
from learning.devices import (
    choose_device,
    describe_device,
    describe_resources,
    estimate_seconds,
    measure_rate,
)
from learning.errors import (
    Cancelled,
    DatasetChangedError,
    DatasetNotFoundError,
    DeviceError,
    LearningError,
    MissingExtraError,
    ModelError,
    NoRoomError,
)
from learning.models import LoadedModel, TrainedModel
from learning.networks import networks as known_networks
from learning.registry import LEAST_ROOM, ModelStore
from learning.training import EpochEnded, check, train
from ontology.errors import Cause
from ontology.management import ServiceDescription
from ontology.models import DeviceDescription, ModelVersion
from ontology.quantities import Count
from ontology.tasks import (
    FASTEST_BID,
    LONGEST_BID,
    Bid,
    Evaluate,
    Evaluation,
    Predict,
    Predictions,
    Progress,
    Resume,
    Train,
    Trained,
)

QUEUE = 4
"""Trainings that may wait for their turn; further calls and requests are refused."""

_OURS = (DatasetChangedError, DatasetNotFoundError, DeviceError, MissingExtraError, ModelError)
"""What is wrong with this learner, not with the task: another one may do better."""

_T = TypeVar("_T")


class Learner(RegisteredAgent):
    """Trains, evaluates and predicts.

    Args:
        jid: bare JID.
        password: of the account.
        server: where to log in.
        ports: collaborators.
        directory: bare JID of the directory facilitator.
        data: the folder that datasets are read from; nothing outside it is.
        models: the folder that models are kept in; learners on one machine may share it.
        device: where to compute; auto takes CUDA where there is a device.
        queue: trainings that may wait for their turn; beyond it nothing but what was bid for is taken.
        networks: modules to import, which register networks of the user's own.

    Raises:
        LearningError: the device is not there.
        ImportError: a module of `networks` cannot be imported.
    """

    def __init__(
        self,
        jid: str,
        password: str,
        server: Server,
        ports: Ports | None = None,
        *,
        directory: str,
        data: Path,
        models: Path,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        queue: Count = QUEUE,
        networks: tuple[str, ...] = (),
    ) -> None:
        super().__init__(jid, password, server, ports, directory=directory)
        for module in networks:
            importlib.import_module(module)
        self._device = choose_device(device)
        self._data, self._store = DataFolder(data), ModelStore(models)
        self._queue = queue
        self._training = asyncio.Lock()
        self._commitments = Commitments(self.submit)
        self._pending: dict[Participation, float] = {}
        """Each training that is under way or waits, with its expected seconds."""
        self._offered: WeakKeyDictionary[Participation, float] = WeakKeyDictionary()
        """Each bid, with its expected seconds, waiting left out."""
        self._working: dict[asyncio.Future[tuple[TrainedModel, ModelVersion]], threading.Event] = {}
        """What runs in a thread now, and what stops it: one training, and one that is being cancelled."""
        self._room = LEAST_ROOM
        """Bytes that the folder is to have room for before anything is trained: what it had not last time."""
        self._rates: dict[tuple[str, int, int, int, str], float] = {}
        self._looked_at: dict[tuple[object, ...], tuple[int, int, int]] = {}
        self._loaded: dict[str, LoadedModel] = {}

    def services(self) -> tuple[ServiceDescription, ...]:
        """Training on our device, and inference with every model that we can read."""
        here = describe_device(self._device)
        training = ServiceDescription(
            name=TRAINING,
            type=TRAINING,
            properties={
                "device": here.kind,
                "device-name": here.name,
                "networks": " ".join(known_networks()),
            },
        )
        models = tuple(ServiceDescription(name=name, type=INFERENCE) for name in self._store.names())
        return (training, *models)

    @bids(Train)
    async def bid(self, action: Train, task: Participation) -> Answer:
        """Offer to train: look at the data, measure the speed, add what waits already."""
        if (mine := self._commitments.same(task, action.task, action)) is not None:
            left = 0.0 if mine.doing.done() else sum(self._pending.values())
            known = min(self._known_rates(action), default=1.0)
            here = describe_device(self._device)
            return Bid(seconds=min(left, LONGEST_BID), rows_per_second=known, device=here, begun=True)
        if (overloaded := self._overloaded()) is not None:
            return overloaded
        try:
            rows, rate, device = await asyncio.to_thread(self._measure, action)
        except LearningError as error:
            return Refuse(Cause.UNSUPPORTED_VALUE, str(error))
        own = estimate_seconds(action, rows, rate)
        self._offered[task] = own
        return Bid(
            seconds=min(own + sum(self._pending.values()), LONGEST_BID),
            rows_per_second=min(rate, FASTEST_BID),
            waiting=len(self._pending),
            device=device,
        )

    @on(Train)
    async def train(self, action: Train, task: Participation) -> Answer:
        """Train, and keep the model."""
        # Whoever awards what we bid for holds our promise; how many are called is bounded by `bid`.
        is_expected = task in self._offered or self._commitments.same(task, action.task, action) is not None
        if not is_expected and (overloaded := self._overloaded()) is not None:
            return overloaded
        task.agree()
        return await self._commitments.fulfil(
            task, action.task, action, lambda tell: self._take_turn(action, task, tell)
        )

    @on(Resume)
    async def resume(self, action: Resume, task: Participation) -> Answer:
        """Go on with what the leader before has awarded us, and answer the one that asks in its place."""
        mine = self._commitments.find(task, action.task)
        if mine is None:
            name = action.task
            text = f"{self.me.local_name} knows nothing of a task {name.id[:80]!r} of {name.client[:80]}"
            return Refuse(Cause.UNSUPPORTED_VALUE, text)
        task.agree()
        return await mine.answer(task)

    @on(Predict)
    async def predict(self, action: Predict, _task: Participation) -> Answer:
        """Apply a model to rows."""

        def work() -> Predictions:
            model = self._load(action.model)
            found = inference.predict(model, action.rows, action.columns)
            values = tuple(found.values)
            return Predictions(model=model.version.label, values=values, confidence=found.confidence)

        return await _answer(work)

    @on(Evaluate)
    async def evaluate(self, action: Evaluate, _task: Participation) -> Answer:
        """Measure a model on a dataset."""

        def work() -> Evaluation:
            model, data = self._load(action.model), self._data.load(action.dataset)
            metrics = inference.evaluate(model, data)
            return Evaluation(model=model.version.label, rows=data.rows, metrics=metrics)

        return await _answer(work)

    def _overloaded(self) -> Refuse | None:
        """Why no further training is taken, if none is."""
        count = len(self._pending)
        if count <= self._queue:
            return None
        are = "training is" if count == 1 else "trainings are"
        text = f"{count} {are} under way or waiting; ask again later"
        # By then the one that is under way should have ended.
        return Refuse(Cause.OVERLOADED, text, retry_after=next(iter(self._pending.values())))

    async def _take_turn(self, action: Train, task: Participation, notify: Tell) -> Answer:
        """Train once that is the next to be trained."""
        self._pending[task] = self._offered.get(task) or self._expected(action)
        try:
            async with self._training:
                with Tally(self.me.name, self.emit, self._offered.get(task)) as tally:
                    name = task.id if action.task is None else action.task.id
                    answer = await self._train(action, name, notify, tally)
                    tally.has_trained = isinstance(answer, Trained)
        finally:
            del self._pending[task]
        if isinstance(answer, Trained):
            await self.describe()
        return answer

    async def _train(self, action: Train, name: str, notify: Tell, tally: Tally) -> Answer:
        loop, cancelled = asyncio.get_running_loop(), threading.Event()
        began = time.monotonic()

        def tell(ended: EpochEnded) -> None:
            progress = Progress(
                task=name,
                epoch=ended.epoch,
                epochs=ended.epochs,
                loss=ended.loss,
                score=ended.score,
            )
            loop.call_soon_threadsafe(notify, progress)

        told = Paced(tell if action.notify else lambda _ended: None)

        def note(ended: EpochEnded) -> None:
            tally.trained(ended.rows)
            told(ended)

        def work() -> tuple[TrainedModel, ModelVersion]:
            self._store.check(action.model, self._room)
            data = self._data.load(action.dataset)
            device = self._device if action.device == "auto" else choose_device(action.device)
            model = train(action, data, device=device, on_progress=note, is_cancelled=cancelled.is_set)
            told.finish()
            if cancelled.is_set():
                raise Cancelled(model.epochs)
            return model, self._save(model)

        # A thread of its own: trainings in the loop's few threads would leave none for predictions.
        thread = ThreadPoolExecutor(1, thread_name_prefix=f"{self.me.local_name}-training")
        working = loop.run_in_executor(thread, work)
        self._working[working] = cancelled
        working.add_done_callback(self._finished)
        thread.shutdown(wait=False)
        try:
            model, version = await asyncio.shield(working)
        except _OURS as error:
            return Fail(Cause.INTERNAL_ERROR, str(error))
        except LearningError as error:
            return Fail(Cause.UNSUPPORTED_VALUE, str(error))
        except asyncio.CancelledError:
            cancelled.set()
            # The thread stops before its next batch; until then it still uses the device.
            await asyncio.wait({working})
            raise
        seconds = time.monotonic() - began
        self._learn_rate(action, model, seconds)
        return Trained(
            model=version,
            learner=self.me.name,
            seconds=seconds,
            epochs=model.epochs,
            resources=describe_resources(),
        )

    def _save(self, model: TrainedModel) -> ModelVersion:
        """Keep a model. Runs in a thread."""
        try:
            version = self._store.save(model, now=self.ports.clock())
        except NoRoomError as error:
            self._room = error.room
            raise
        self._room = LEAST_ROOM
        return version

    async def _async_stop(self) -> None:
        await super()._async_stop()
        for cancelled in self._working.values():
            cancelled.set()
        if self._working:  # afterwards nothing of ours uses the device or the folder
            await asyncio.wait(list(self._working))

    def _finished(self, working: asyncio.Future[tuple[TrainedModel, ModelVersion]]) -> None:
        del self._working[working]
        if not working.cancelled():
            working.exception()  # whoever waits for it gets it; if nobody does, it is no news

    def _measure(self, action: Train) -> tuple[int, float, DeviceDescription]:
        """Rows of the dataset, and rows per second on the device for it. Runs in a thread.

        What could not be kept is not bid for: it would be trained for nothing, each time that it is awarded.
        """
        self._store.check(action.model, self._room)
        device = self._device if action.device == "auto" else choose_device(action.device)
        rows, inputs, outputs = self._look_at(action)
        key = (action.network, inputs, outputs, action.batch_size, str(device))
        if key not in self._rates:
            self._rates[key] = measure_rate(
                action.network, inputs, outputs, action.batch_size, device, kind=action.kind
            )
        return rows, self._rates[key], describe_device(device)

    def _look_at(self, action: Train) -> tuple[int, int, int]:
        """Rows, inputs and outputs of a task. Runs in a thread.

        The data of a digest never change, so they are read for the first bid only; whether the file
        still is what the digest says is looked at again when the training starts.
        """
        key = (
            action.dataset.sha256, action.target, action.drop, action.kind, action.network, action.held_out
        )  # fmt: skip
        if key not in self._looked_at or not self._data.resolve(action.dataset.uri).is_file():
            data: Dataset = self._data.load(action.dataset)
            self._looked_at[key] = (data.rows, *check(action, data))
        return self._looked_at[key]

    def _expected(self, action: Train) -> float:
        """Seconds that a training without a bid will take, as far as we can tell without the data."""
        known = self._known_rates(action)
        return estimate_seconds(action, 1000, min(known)) if known else 10.0

    def _known_rates(self, action: Train) -> list[float]:
        """Rows per second that its network was trained with here, with whatever data."""
        return [rate for key, rate in self._rates.items() if key[0] == action.network]

    def _learn_rate(self, action: Train, model: TrainedModel, seconds: float) -> None:
        """Bid next time what this training showed, data and validation included."""
        rows = sum(model.card.rows.values())
        device = str(model.card.settings["device"])
        key = (action.network, model.card.inputs, model.card.outputs, action.batch_size, device)
        guessed = estimate_seconds(action, rows, 1.0, epochs=model.epochs)
        self._rates[key] = guessed / max(seconds, 1e-3)

    def _load(self, label: str) -> LoadedModel:
        """A model, kept in memory once read. Runs in a thread."""
        version = self._store.describe(label)
        model = self._loaded.get(version.label)
        # The same label names another model where the folder was emptied meanwhile.
        if model is None or model.version.sha256 != version.sha256:
            model = self._store.load(version.label, device=self._device)
            if len(self._loaded) >= 8:
                self._loaded.clear()
            self._loaded[version.label] = model
        return model


async def _answer(work: Callable[[], _T]) -> _T | Refuse:
    """Run work that reads files and computes, in a thread."""
    try:
        return await asyncio.to_thread(work)
    except LearningError as error:
        return Refuse(Cause.UNSUPPORTED_VALUE, str(error))
