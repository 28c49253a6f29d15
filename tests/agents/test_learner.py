"""The learner: what it bids, how it trains beside its conversations, and what it answers with its models."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import os
import random
import shutil
import statistics
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
from torch import nn

import agents.learner
import agents.pacing
import behaviours.initiating
import learning.networks
from agents.base import LocutionAgent
from agents.coordinator import INFERENCE, TRAINING
from agents.learner import Learner
from behaviours.contracting import Contract, Proposal
from behaviours.events import ConversationEnded, HandlerFailed, MessageReceived
from behaviours.outcomes import Failed, Outcome, Refused, Succeeded
from learning import inference
from learning.datasets import DataFolder, reference
from learning.errors import DeviceError
from learning.registry import ModelStore
from ontology.acl import AclMessage
from ontology.errors import Cause
from ontology.management import Search
from ontology.models import DatasetRef
from ontology.tasks import (
    Awarded,
    Bid,
    Called,
    Evaluate,
    Evaluation,
    Predict,
    Predictions,
    Progress,
    Proposed,
    Train,
    Trained,
)
from tests.agents.conftest import DIRECTORY, Society
from tests.conftest import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"


class Lab:
    """A society with learners, a folder of small data, and a folder of models that they share.

    `blobs.csv` has the columns a, b, c and `kind`, whose classes cat, dog and owl a line tells apart;
    `slope.csv` has a and b, and y on a plane.
    """

    def __init__(self, society: Society, folder: Path) -> None:
        self.society, self.world = society, society.world
        self.data, self.models = folder / "data", folder / "models"
        self.data.mkdir()
        rng = random.Random(1)
        kinds = ("cat", "dog", "owl")
        self.rows = [[rng.gauss(4.0 * (row % 3 == place), 1.0) for place in range(3)] for row in range(120)]
        self._write(
            "blobs.csv", ["a", "b", "c", "kind"], [[*it, kinds[n % 3]] for n, it in enumerate(self.rows)]
        )
        self._write("slope.csv", ["a", "b", "y"], [[a, b, 3 * a - 2 * b] for a, b, _c in self.rows])
        self.store = ModelStore(self.models)

    def _write(self, name: str, header: list[str], rows: list[list[Any]]) -> None:
        with (self.data / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])

    async def learner(self, name: str = "learner", **settings: Any) -> Learner:
        settings = {"data": self.data, "models": self.models, "device": "cpu", **settings}
        learner = await self.world.start(partial(Learner, directory=DIRECTORY, **settings), name)
        await self.society.entered(learner)
        return learner

    def ref(self, name: str = "blobs.csv") -> DatasetRef:
        return reference(self.data / name, self.data)

    def task(self, **changes: Any) -> Train:
        small = {"dataset": self.ref(), "target": "kind", "model": "blobs", "epochs": 12, "batch_size": 16}
        return Train(**{**small, "learning_rate": 0.01, **changes})

    async def ask(self, action: Any, to: str = "learner", **limits: Any) -> Outcome:
        return await self.society.ask(action, to=f"{to}@localhost", **limits)

    async def trained(self, to: str = "learner", **changes: Any) -> Trained:
        outcome = await self.ask(self.task(**changes), to)
        assert isinstance(outcome, Succeeded), outcome
        assert isinstance(outcome.result, Trained)
        return outcome.result

    async def call(self, action: Train, to: str = "learner") -> Contract:
        """Call for proposals and award none."""
        return await self.society.client.call_for_proposals([f"{to}@localhost"], action, lambda _bids: ())

    async def bid(self, **changes: Any) -> Bid:
        contract = await self.call(self.task(**changes))
        (proposal,) = contract.proposals
        assert isinstance(proposal.term, Bid)
        return proposal.term


class Gate:
    """Stands before every batch of every training: it runs on once the gate is open.

    Attributes:
        started: set when a training has come to its first batch.
        ended: set when a training has ended, in whatever way.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.open, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []
        train = agents.learner.train

        def gated(action: Train, data: Any, *, is_cancelled: Any, **more: Any) -> Any:
            self.threads.append(threading.current_thread())

            def asked() -> bool:
                self.started.set()
                if not self.open.wait(PATIENCE):
                    raise TimeoutError("the test has not opened the gate")
                return bool(is_cancelled())

            try:
                return train(action, data, is_cancelled=asked, **more)
            finally:
                self.ended.set()

        monkeypatch.setattr(agents.learner, "train", gated)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self.started.wait, PATIENCE)

    @property
    def is_left(self) -> bool:
        """Whether every thread that trained has ended."""
        for thread in self.threads:
            thread.join(PATIENCE)
        return not any(thread.is_alive() for thread in self.threads)


@pytest.fixture
def lab(society: Society, tmp_path: Path) -> Lab:
    return Lab(society, tmp_path)


@pytest.fixture
def gate(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the networks that a test registers."""
    monkeypatch.setattr(learning.networks, "_registered", {})


def file_of(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))


# -- bidding --------------------------------------------------------------------------------


async def test_a_bid_says_what_was_measured(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []

    def measure_rate(*args: Any, **settings: Any) -> float:
        measured.append((*args, settings))
        return 1000.0

    monkeypatch.setattr(agents.learner, "measure_rate", measure_rate)
    await lab.learner()
    bid = await lab.bid(epochs=10)
    assert measured == [("mlp", 3, 3, 16, torch.device("cpu"), {"kind": "classification"})]
    assert bid.rows_per_second == 1000.0
    # 120 rows, 24 held out, 10 for validation: 6 batches of 16 and a third of the work for 10 rows.
    assert bid.seconds == pytest.approx(10 * (6 * 16 + 9.6 / 3) / 1000, rel=0.05)
    assert bid.waiting == 0
    assert bid.device.kind == "cpu"
    assert (await lab.bid(epochs=20)).seconds == pytest.approx(2 * bid.seconds)
    assert len(measured) == 1  # it knows by now


async def test_a_bid_learns_from_what_training_took(lab: Lab) -> None:
    await lab.learner()
    first = await lab.bid()
    assert first.rows_per_second > 0
    await lab.trained()
    assert (await lab.bid()).rows_per_second != first.rows_per_second


async def test_a_bid_counts_what_waits(lab: Lab, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents.learner, "measure_rate", lambda *_args, **_settings: 1000.0)
    await lab.learner()
    free = await lab.bid()
    client = lab.society.client
    working = [
        asyncio.ensure_future(
            client.call_for_proposals(["learner@localhost"], lab.task(epochs=epochs), lambda bids: bids)
        )
        for epochs in (12, 24)
    ]
    await gate.reached()
    await lab.world.fact(MessageReceived, agent="learner@localhost", performative="accept-proposal", count=2)
    busy = await lab.bid()
    assert busy.waiting == 2
    assert busy.seconds == pytest.approx(free.seconds * (1 + 1 + 2))
    gate.open.set()
    for contract in await asyncio.gather(*working):
        (outcome,) = contract.awards.values()
        assert isinstance(outcome, Succeeded)
    assert (await lab.bid()).waiting == 0


async def test_a_bid_that_was_not_chosen_does_not_count(lab: Lab) -> None:
    await lab.learner()
    for _time in range(3):
        bid = await lab.bid()
    assert bid.waiting == 0


async def test_no_bid_for_what_cannot_be_trained(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    await lab.learner()
    for changes, told in (
        (
            {"dataset": DatasetRef(uri="nope.csv", sha256="0" * 64)},
            "nope.csv: there is no such file in the data folder; it has blobs.csv, slope.csv",
        ),
        (
            {"dataset": DatasetRef(uri="../nope.csv", sha256="0" * 64)},
            "../nope.csv: the path is empty or holds '..'",
        ),
        (
            {"dataset": DatasetRef(uri="blobs.csv", sha256="0" * 64)},
            f"blobs.csv: the file's sha256 is {lab.ref().sha256}, not 0000",
        ),
        ({"target": "size"}, "blobs.csv, column 'size': there is no such column; it has a, b, c, kind"),
        ({"target": "a"}, "blobs.csv, line 2, column 'kind': 'cat' is no number; features must be numbers"),
        (
            {"network": "brain"},
            "network 'brain': there is no such network; there are cnn, logistic, mlp",
        ),
        ({"network": "cnn"}, "network 'cnn': 3 features form no square image"),
        ({"device": "cuda"}, "there is no CUDA device here"),
    ):
        contract = await lab.call(lab.task(**changes))
        assert contract.proposals == ()
        (declined,) = contract.declined.values()
        assert isinstance(declined, Refused)
        assert declined.reason.cause == Cause.UNSUPPORTED_VALUE
        assert declined.reason.text.startswith(told)
        assert "\n" not in declined.reason.text


async def test_no_bid_when_too_much_waits(lab: Lab, gate: Gate) -> None:
    await lab.learner(queue=0)
    working = asyncio.ensure_future(lab.trained())
    await gate.reached()
    (declined,) = (await lab.call(lab.task())).declined.values()
    assert isinstance(declined, Refused)
    assert declined.reason.cause == Cause.OVERLOADED
    assert declined.reason.text == "1 training is under way or waiting; ask again later"
    gate.open.set()
    await working
    assert (await lab.call(lab.task())).declined == {}


async def test_a_request_is_refused_when_too_much_waits(lab: Lab, gate: Gate) -> None:
    await lab.learner(queue=0)
    working = asyncio.ensure_future(lab.trained())
    await gate.reached()
    refused = await lab.ask(lab.task())
    assert isinstance(refused, Refused)
    assert refused.reason.cause == Cause.OVERLOADED
    assert refused.reason.text == "1 training is under way or waiting; ask again later"
    assert refused.reason.retry_after == 10.0  # as nobody has bid for what is under way
    gate.open.set()
    await working
    await lab.trained()


async def test_what_was_bid_for_is_done_though_much_waits_meanwhile(lab: Lab) -> None:
    learner = await lab.learner(queue=0)
    other: Any = object()

    def choose(proposals: Sequence[Proposal]) -> Sequence[Proposal]:
        learner._pending[other] = 1.0
        return proposals

    contract = await lab.society.client.call_for_proposals(["learner@localhost"], lab.task(), choose)
    (outcome,) = contract.awards.values()
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(await lab.ask(lab.task()), Refused)


def test_a_device_that_is_not_there(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    make = partial(Learner, directory=DIRECTORY, data=lab.data, models=lab.models, device="cuda")
    with pytest.raises(DeviceError, match="there is no CUDA device here"):
        lab.world.make(make, "learner")


# -- training -------------------------------------------------------------------------------


async def test_digits_are_learnt_and_told_of(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the client's request to the model's file, over the coordinator."""
    monkeypatch.setattr(agents.pacing, "PROGRESS_EVERY", 0.0)
    shutil.copy(EXAMPLES / "digits.csv", lab.data)
    await lab.society.coordinator()
    await lab.learner()
    task = lab.task(
        dataset=lab.ref("digits.csv"),
        target="digit",
        model="digits",
        batch_size=64,
        learning_rate=0.002,
        notify=True,
    )
    outcome = await lab.society.ask(task)
    assert isinstance(outcome, Succeeded), outcome
    result = outcome.result
    assert isinstance(result, Trained)
    assert result.learner == "learner@localhost"
    assert result.epochs == 12
    assert result.seconds > 0
    assert result.resources.devices[-1].kind == "cpu"
    model = result.model
    assert (model.name, model.version, model.network, model.kind) == ("digits", 1, "mlp", "classification")
    assert model.metrics["accuracy"] >= 0.95
    assert model.data_sha256 == task.dataset.sha256
    assert hashlib.sha256(file_of(model.uri).read_bytes()).hexdigest() == model.sha256
    assert [type(notice) for notice in lab.society.told[:3]] == [Called, Proposed, Awarded]
    progress = lab.society.told[3:]
    assert all(isinstance(notice, Progress) for notice in progress)
    told: list[Any] = progress
    assert [(each.task, each.epoch, each.epochs) for each in told] == [
        (outcome.message.conversation_id, epoch, 12) for epoch in range(1, 13)
    ]
    assert told[-1].loss < told[0].loss
    assert told[-1].score > 0.9


async def test_progress_is_told_now_and_then_and_at_the_end(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents.pacing, "PROGRESS_EVERY", 1e9)
    await lab.learner()
    result = await lab.trained(notify=True, epochs=1000, patience=3)
    assert 2 < result.epochs < 1000  # it has stopped early: nobody knew that this was the last one
    told: list[Any] = lab.society.told
    assert [each.epoch for each in told] == [1, result.epochs]


async def test_columns_are_left_out_when_asked(lab: Lab) -> None:
    await lab.learner()
    result = await lab.trained(target="a", kind="regression", network="logistic", drop=("kind", "c"))
    assert lab.store.load(result.model.label).card.features == ("b",)
    for drop, told in (
        (("kin",), "column 'kin': there is no such column; it has a, b, c, kind; did you mean 'kind'?"),
        (("a",), "column 'a': this is the target, which cannot be left out"),
        (("b", "c", "kind"), "column 'a': this is the only column that is left; training needs at least one"),
        (("c",), "line 2, column 'kind': 'cat' is no number; features must be numbers: mend the value, "
         "encode the text, or leave the column out with --drop COLUMN"),
    ):  # fmt: skip
        (declined,) = (await lab.call(lab.task(target="a", kind="regression", drop=drop))).declined.values()
        assert isinstance(declined, Refused)
        assert declined.reason.text.startswith(f"blobs.csv, {told}")


async def test_without_notify_there_is_no_progress(lab: Lab) -> None:
    await lab.learner()
    await lab.trained()
    assert lab.society.told == []


async def test_a_regression(lab: Lab) -> None:
    await lab.learner()
    result = await lab.trained(
        dataset=lab.ref("slope.csv"),
        target="y",
        kind="regression",
        network="logistic",
        epochs=60,
        learning_rate=0.1,
    )
    assert result.model.metrics["r2"] > 0.9
    outcome = await lab.ask(Predict(model="blobs", rows=((1.0, 1.0),)))
    assert isinstance(outcome, Succeeded)
    assert isinstance(outcome.result, Predictions)
    assert outcome.result.values == (pytest.approx(1.0, abs=1.5),)
    assert outcome.result.confidence == ()


async def test_trainings_wait_for_each_other(lab: Lab, gate: Gate) -> None:
    await lab.learner()
    both = [asyncio.ensure_future(lab.trained(seed=seed)) for seed in (1, 2)]
    await gate.reached()
    assert isinstance(await lab.ask(Predict(model="none", rows=((1.0,),))), Refused)  # it has heard both
    assert len(gate.threads) == 1
    gate.open.set()
    results = await asyncio.gather(*both)
    assert [each.model.version for each in results] == [1, 2]
    assert len(gate.threads) == 2
    assert gate.is_left


async def test_diverging_is_a_failure(lab: Lab, registered: None) -> None:
    class Exploding(nn.Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return super().forward(features) * (float("inf") if self.training else 1.0)

    learning.networks.register_network("exploding", Exploding)
    await lab.learner()
    outcome = await lab.ask(lab.task(network="exploding"))
    assert isinstance(outcome, Failed)
    assert outcome.reason.cause == Cause.UNSUPPORTED_VALUE
    assert outcome.reason.text == "epoch 1: the loss is nan; lower the learning rate (it is 0.01)"
    assert lab.store.names() == ()


async def test_a_failure_tells_whether_another_learner_may_do_better(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    await lab.learner()
    for changes, cause in (
        ({"dataset": DatasetRef(uri="nope.csv", sha256="0" * 64)}, Cause.INTERNAL_ERROR),
        ({"dataset": DatasetRef(uri="blobs.csv", sha256="0" * 64)}, Cause.INTERNAL_ERROR),
        ({"device": "cuda"}, Cause.INTERNAL_ERROR),
        ({"target": "size"}, Cause.UNSUPPORTED_VALUE),
        ({"network": "brain"}, Cause.UNSUPPORTED_VALUE),
    ):
        outcome = await lab.ask(lab.task(**changes))
        assert isinstance(outcome, Failed)
        assert (changes, outcome.reason.cause) == (changes, cause)
        assert "\n" not in outcome.reason.text
    assert not lab.world.of(HandlerFailed)


async def test_on_a_full_disk_nothing_is_trained(lab: Lab, small_disk: Path) -> None:
    await lab.learner(models=small_disk)
    await lab.society.coordinator()
    filler = small_disk / "filler"
    with suppress(OSError):  # until it is full
        filler.write_bytes(bytes(8_000_000))
    for to in ("learner", "coordinator"):
        outcome = await lab.ask(lab.task(notify=True), to)
        assert isinstance(outcome, Failed)
        assert outcome.reason.text.endswith(
            f"model 'blobs': it cannot be kept in {small_disk}: No space left on device; "
            "make room there, at least 1,000,000 bytes"
        )
    assert not [each for each in lab.society.told if isinstance(each, Progress | Awarded)]
    filler.unlink()
    await lab.trained("coordinator")


async def test_what_does_not_fit_the_disk_is_not_trained_again(
    lab: Lab, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents.learner, "LEAST_ROOM", 1_000)  # now there seems to be enough
    await lab.learner(models=small_disk)
    await lab.society.coordinator()
    filler = small_disk / "filler"

    def fill() -> None:
        with suppress(OSError):
            filler.write_bytes(bytes(8_000_000))
        os.truncate(filler, filler.stat().st_size - 12_000)

    fill()
    outcome = await lab.ask(lab.task(notify=True), "coordinator")
    assert isinstance(outcome, Failed)
    assert "\n" not in outcome.reason.text
    assert "No space left on device; make room there, at least" in outcome.reason.text
    assert len([each for each in lab.society.told if isinstance(each, Awarded)]) == 1
    filler.unlink()
    await lab.trained("coordinator")
    fill()
    assert (await lab.call(lab.task())).declined == {}  # a smaller one may fit


async def test_a_folder_that_cannot_be_written_is_a_failure(lab: Lab) -> None:
    lab.models.write_text("no folder")
    await lab.learner()
    outcome = await lab.ask(lab.task())
    assert isinstance(outcome, Failed)
    assert outcome.reason.cause == Cause.INTERNAL_ERROR
    assert "cannot be kept" in outcome.reason.text


async def test_a_network_of_the_users_own(
    lab: Lab, registered: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from torch import nn\n"
        "from learning.networks import register_network\n"
        "register_network('deep', lambda inputs, outputs: nn.Sequential(\n"
        "    nn.Linear(inputs, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, outputs)))\n"
    )
    (tmp_path / "networks_of_a_user.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "networks_of_a_user", raising=False)
    learner = await lab.learner(networks=("networks_of_a_user",))
    assert learner.services()[0].properties["networks"] == "cnn deep logistic mlp"
    assert (await lab.bid(network="deep")).rows_per_second > 0
    result = await lab.trained(network="deep", epochs=30)
    assert result.model.network == "deep"
    outcome = await lab.ask(Predict(model="blobs", rows=((4.0, 0.0, 0.0),)))
    assert isinstance(outcome, Succeeded)
    monkeypatch.delitem(sys.modules, "networks_of_a_user")


def test_a_module_of_networks_that_is_not_there(lab: Lab) -> None:
    make = partial(
        Learner, directory=DIRECTORY, data=lab.data, models=lab.models, networks=("no_such_module",)
    )
    with pytest.raises(ImportError, match="no_such_module"):
        lab.world.make(make, "learner")


async def test_two_clients_may_choose_the_same_conversation_id(
    lab: Lab, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = behaviours.initiating.opening

    def alike(*args: Any) -> AclMessage:
        message = opening(*args)
        is_ours = isinstance(args[4], Train)
        return message.model_copy(update={"conversation_id": "the-same"}) if is_ours else message

    monkeypatch.setattr(behaviours.initiating, "opening", alike)
    await lab.learner()
    other = await lab.world.start(LocutionAgent, "other")
    both = [
        asyncio.ensure_future(client.request("learner@localhost", lab.task()))
        for client in (lab.society.client, other)
    ]
    await gate.reached()
    gate.open.set()
    assert [type(outcome) for outcome in await asyncio.gather(*both)] == [Succeeded, Succeeded]


# -- beside its conversations ---------------------------------------------------------------


async def test_it_answers_while_it_trains(lab: Lab, gate: Gate) -> None:
    """Training stands still as long as the test likes; on the event loop, nothing would be answered."""
    await lab.learner()
    gate.open.set()
    await lab.trained()
    gate.open.clear()
    gate.started.clear()
    working = asyncio.ensure_future(lab.trained())
    await gate.reached()
    for _time in range(3):
        assert isinstance(await lab.ask(Predict(model="blobs", rows=((1.0, 2.0, 3.0),))), Succeeded)
        assert isinstance(await lab.ask(Evaluate(model="blobs", dataset=lab.ref())), Succeeded)
        assert (await lab.bid()).waiting == 1
    assert not working.done()
    gate.open.set()
    assert (await working).model.version == 2


async def test_training_leaves_the_loops_threads_to_others(lab: Lab, gate: Gate) -> None:
    """A machine with few processors gives a loop few threads; predictions and look-ups need them."""
    with ThreadPoolExecutor(1) as only:
        asyncio.get_running_loop().set_default_executor(only)
        await lab.learner()
        gate.open.set()
        await lab.trained()
        gate.open.clear()
        gate.started.clear()
        working = asyncio.ensure_future(lab.trained())
        with ThreadPoolExecutor(1) as waiting:
            await asyncio.get_running_loop().run_in_executor(waiting, gate.started.wait, PATIENCE)
        assert isinstance(await lab.ask(Predict(model="blobs", rows=((1.0, 2.0, 3.0),))), Succeeded)
        gate.open.set()
        await working


async def test_the_event_loop_is_not_held_up_by_training(lab: Lab) -> None:
    """Predictions are asked for, one after another, from the first epoch to the last."""
    shutil.copy(EXAMPLES / "digits.csv", lab.data)
    await lab.learner()
    await lab.trained()
    loop, question = asyncio.get_running_loop(), Predict(model="blobs", rows=((1.0, 2.0, 3.0),))
    working = asyncio.ensure_future(
        lab.trained(dataset=lab.ref("digits.csv"), target="digit", model="digits", epochs=10, batch_size=32)
    )
    gaps, answers = [], []

    async def tick() -> None:
        while not working.done():
            began = loop.time()
            await asyncio.sleep(0.005)
            gaps.append(loop.time() - began)

    ticking = asyncio.ensure_future(tick())
    while not working.done():
        began = loop.time()
        assert isinstance(await lab.ask(question), Succeeded)
        answers.append(loop.time() - began)
    await ticking
    result = await working
    # The median: one stall of the machine must not fail this, and a loop that trains would not tick at all.
    assert len(gaps) > 5
    assert statistics.median(gaps) < 0.1
    assert statistics.median(answers) < 0.25
    assert result.epochs == 10


async def test_a_cancel_stops_the_thread(lab: Lab, gate: Gate) -> None:
    await lab.learner()
    asked = asyncio.ensure_future(lab.ask(lab.task(epochs=100_000, patience=100_000)))
    await gate.reached()
    asked.cancel()
    await lab.world.fact(MessageReceived, agent="learner@localhost", performative="cancel")
    assert not gate.ended.is_set()
    assert not lab.world.of(
        ConversationEnded, agent="learner@localhost", role="participant", state="CANCELLED"
    )
    gate.open.set()
    # It is confirmed when the thread no longer uses the device.
    await lab.world.fact(ConversationEnded, agent="learner@localhost", role="participant", state="CANCELLED")
    assert gate.ended.is_set()
    assert gate.is_left
    assert lab.store.names() == ()
    await lab.world.fact(ConversationEnded, agent="client@localhost", state="CANCELLED")
    assert (await lab.trained()).model.version == 1


async def test_a_cancel_after_the_last_batch_keeps_no_model(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, go_on = threading.Event(), threading.Event()
    train = agents.learner.train

    def pausing(*args: Any, **settings: Any) -> Any:
        model = train(*args, **settings)
        trained.set()
        go_on.wait(PATIENCE)
        return model

    monkeypatch.setattr(agents.learner, "train", pausing)
    learner = await lab.learner()
    asked = asyncio.ensure_future(lab.ask(lab.task()))
    assert await asyncio.to_thread(trained.wait, PATIENCE)
    (cancelled,) = learner._working.values()
    asked.cancel()
    assert await asyncio.to_thread(cancelled.wait, PATIENCE)
    go_on.set()
    await lab.world.fact(ConversationEnded, agent="client@localhost", state="CANCELLED")
    assert lab.store.names() == ()


async def test_a_cancel_of_what_waits_leaves_what_runs(lab: Lab, gate: Gate) -> None:
    await lab.learner()
    running = asyncio.ensure_future(lab.trained())
    await gate.reached()
    waiting = asyncio.ensure_future(lab.ask(lab.task()))
    assert (await lab.bid()).waiting == 2
    waiting.cancel()
    await lab.world.fact(ConversationEnded, agent="client@localhost", state="CANCELLED")
    assert (await lab.bid()).waiting == 1
    gate.open.set()
    assert (await running).model.version == 1
    assert len(gate.threads) == 1


async def test_stopping_the_agent_stops_the_thread(lab: Lab, gate: Gate) -> None:
    learner = await lab.learner()
    asked = asyncio.ensure_future(lab.ask(lab.task(epochs=100_000, patience=100_000, notify=True)))
    await gate.reached()
    gate.open.set()
    await learner.stop()
    assert gate.ended.is_set()
    assert gate.is_left
    assert lab.store.names() == ()
    asked.cancel()


# -- models ---------------------------------------------------------------------------------


async def test_predictions_are_those_of_the_model(lab: Lab) -> None:
    await lab.learner()
    trained = await lab.trained()
    rows = tuple(map(tuple, lab.rows[:20]))
    outcome = await lab.ask(Predict(model="blobs", rows=rows))
    assert isinstance(outcome, Succeeded)
    expected = inference.predict(lab.store.load(trained.model.label), rows)
    assert outcome.result == Predictions(
        model="blobs:1", values=expected.values, confidence=expected.confidence
    )
    assert set(expected.values) <= {"cat", "dog", "owl"}


async def test_predictions_go_by_the_names_of_columns(lab: Lab) -> None:
    await lab.learner()
    await lab.trained()
    rows = tuple(map(tuple, lab.rows[:20]))
    expected = await lab.ask(Predict(model="blobs", rows=rows))
    turned = tuple((c, 7.0, b, a) for a, b, c in rows)
    found = await lab.ask(Predict(model="blobs", rows=turned, columns=("c", "kind", "b", "a")))
    assert isinstance(expected, Succeeded)
    assert isinstance(found, Succeeded)
    assert found.result == expected.result
    missed = await lab.ask(Predict(model="blobs", rows=turned, columns=("c", "kind", "b", "d")))
    assert isinstance(missed, Refused)
    assert missed.reason.text == "the model needs the column 'a'; the rows have c, kind, b, d"


async def test_an_evaluation_is_that_of_the_model(lab: Lab) -> None:
    await lab.learner()
    await lab.trained()
    outcome = await lab.ask(Evaluate(model="blobs:1", dataset=lab.ref()))
    assert isinstance(outcome, Succeeded)
    expected = inference.evaluate(lab.store.load("blobs"), DataFolder(lab.data).load(lab.ref()))
    assert outcome.result == Evaluation(model="blobs:1", rows=120, metrics=expected)
    assert expected["accuracy"] > 0.8


async def test_a_question_that_does_not_fit_is_refused(lab: Lab) -> None:
    await lab.learner()
    await lab.trained()
    for action, told in (
        (
            Predict(model="blobs", rows=((1.0, 2.0),)),
            "row 1: it holds 2 numbers, the model takes 3: a, b, c",
        ),
        (
            Predict(model="blobs", rows=((1.0, 2.0, 3.0), (1.0, 2.0, 3.0, 4.0))),
            "row 2: it holds 4 numbers, the model takes 3: a, b, c",
        ),
        (
            Predict(model="blob", rows=((1.0,),)),
            "model 'blob': there is no such model; there are: blobs",
        ),
        (
            Predict(model="blobs:7", rows=((1.0,),)),
            "model 'blobs:7': there is no such version; blobs has 1",
        ),
        (
            Evaluate(model="blobs", dataset=DatasetRef(uri="nope.csv", sha256="0" * 64)),
            "nope.csv: there is no such file in the data folder; it has blobs.csv, slope.csv",
        ),
    ):
        outcome = await lab.ask(action)
        assert isinstance(outcome, Refused)
        assert outcome.reason.cause == Cause.UNSUPPORTED_VALUE
        assert outcome.reason.text == told


async def test_a_damaged_model_is_refused(lab: Lab) -> None:
    await lab.learner()
    trained = await lab.trained()
    file_of(trained.model.uri).write_bytes(b"")
    outcome = await lab.ask(Predict(model="blobs", rows=((1.0, 2.0, 3.0),)))
    assert isinstance(outcome, Refused)
    assert outcome.reason.text.startswith("model 'blobs:1': model.safetensors is not what manifest.json says")


async def test_the_newest_version_answers(lab: Lab) -> None:
    await lab.learner()
    await lab.trained()
    for label, version in (("blobs", "blobs:1"), ("blobs:1", "blobs:1")):
        outcome: Any = await lab.ask(Predict(model=label, rows=((1.0, 2.0, 3.0),)))
        assert outcome.result.model == version
    await lab.trained(seed=1)
    for label, version in (("blobs", "blobs:2"), ("blobs:1", "blobs:1")):
        outcome = await lab.ask(Predict(model=label, rows=((1.0, 2.0, 3.0),)))
        assert outcome.result.model == version


async def test_a_model_that_was_replaced_under_its_label_is_loaded_anew(lab: Lab) -> None:
    await lab.learner()
    row = (tuple(lab.rows[0]),)
    await lab.trained(seed=1)
    before: Any = await lab.ask(Predict(model="blobs", rows=row))
    shutil.rmtree(lab.models)
    await lab.trained(seed=2)
    after: Any = await lab.ask(Predict(model="blobs", rows=row))
    assert after.result.model == before.result.model == "blobs:1"
    expected = inference.predict(lab.store.load("blobs"), row)
    assert after.result.confidence == expected.confidence != before.result.confidence


async def test_a_model_that_is_forgotten_at_once_answers_all_the_same(lab: Lab) -> None:
    """Only so many models stay in memory, and questions are answered in several threads."""

    class Forgetful(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            pass

    learner = await lab.learner()
    await lab.trained()
    learner._loaded = Forgetful()
    assert isinstance(await lab.ask(Predict(model="blobs", rows=((1.0, 2.0, 3.0),))), Succeeded)


async def test_many_models_are_asked_at_once(lab: Lab) -> None:
    learner = await lab.learner()
    for number in range(10):
        await lab.trained(model=f"model-{number}", epochs=1, seed=number)
    questions = [Predict(model=f"model-{number}", rows=((1.0, 2.0, 3.0),)) for number in range(10)] * 3
    outcomes = await asyncio.gather(*map(lab.ask, questions))
    assert [outcome.result.model for outcome in outcomes if isinstance(outcome, Succeeded)] == [
        f"{question.model}:1" for question in questions
    ]
    assert len(learner._loaded) <= 8


async def test_the_directory_knows_a_model_before_its_client_does(lab: Lab) -> None:
    await lab.learner()
    assert await lab.society.listed(TRAINING) == ["learner"]
    assert await lab.society.listed(INFERENCE) == []
    await lab.trained()
    assert await lab.society.listed(INFERENCE) == ["learner"]
    outcome: Any = await lab.society.client.request(DIRECTORY, Search())
    (entry,) = outcome.result.descriptions
    assert [(each.type, each.name) for each in entry.services] == [(TRAINING, TRAINING), (INFERENCE, "blobs")]
    assert entry.services[0].properties["device"] == "cpu"


async def test_models_are_there_after_a_restart(lab: Lab) -> None:
    first = await lab.learner()
    await lab.trained()
    row = (tuple(lab.rows[0]),)
    before: Any = await lab.ask(Predict(model="blobs", rows=row))
    await first.stop()
    assert await lab.society.listed(INFERENCE) == []
    second = await lab.world.start(
        partial(Learner, directory=DIRECTORY, data=lab.data, models=lab.models, device="cpu"), "learner"
    )
    assert [each.name for each in second.services()] == [TRAINING, "blobs"]
    after: Any = await lab.ask(Predict(model="blobs", rows=row))
    assert after.result == before.result
    assert (await lab.trained()).model.version == 2


async def test_two_learners_share_a_folder(lab: Lab, gate: Gate) -> None:
    await lab.learner("one")
    await lab.learner("two")
    both = [asyncio.ensure_future(lab.trained(name, seed=1)) for name in ("one", "two")]
    await gate.reached()
    gate.open.set()
    results = await asyncio.gather(*both)
    assert {each.model.version for each in results} == {1, 2}
    first = next(each for each in results if each.model.version == 1)
    other = "two" if first.learner == "one@localhost" else "one"
    outcome: Any = await lab.ask(Predict(model="blobs:1", rows=((1.0, 2.0, 3.0),)), to=other)
    assert outcome.result.model == "blobs:1"
