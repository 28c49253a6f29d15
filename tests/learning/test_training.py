from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import learning.networks
from learning.datasets import Dataset
from learning.errors import Cancelled, DatasetError, DeviceError, NetworkError, TrainingError
from learning.inference import evaluate
from learning.networks import register_network
from learning.splitting import split
from learning.training import EpochEnded, check, train
from tests.learning.samples import blobs, digits, slope, task
from tests.requirements import require_hardware


def weights(data: Dataset, **changes: Any) -> dict[str, torch.Tensor]:
    return train(task(**changes), data).network.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(("network", "floor"), [("mlp", 0.96), ("cnn", 0.96), ("logistic", 0.93)])
@pytest.mark.parametrize("seed", [0, 1])
def test_digits_are_learnt(network: str, floor: float, seed: int) -> None:
    told: list[EpochEnded] = []
    wanted = task(
        target="digit", network=network, seed=seed, epochs=40, batch_size=64, learning_rate=0.003, patience=10
    )
    model = train(wanted, digits(), on_progress=told.append)
    assert model.metrics["accuracy"] >= floor
    assert abs(model.metrics["macro_f1"] - model.metrics["accuracy"]) < 0.02
    assert model.metrics["log_loss"] < 0.3
    assert len(told) == model.epochs >= 15
    assert [each.epoch for each in told] == list(range(1, model.epochs + 1))
    assert told[-1].loss < told[0].loss
    assert model.card.labels == tuple(range(10))


@pytest.mark.parametrize("network", ["mlp", "logistic"])
def test_regression_in_the_datas_own_units(network: str) -> None:
    model = train(task(kind="regression", network=network, epochs=60, learning_rate=0.01), slope())
    assert set(model.metrics) == {"mae", "rmse", "r2"}
    assert model.metrics["r2"] > 0.95
    assert 0 < model.metrics["mae"] <= model.metrics["rmse"] < 1000


def test_the_seed_decides_weights_and_metrics() -> None:
    models = [train(task(seed=seed), blobs()) for seed in (3, 3, 4)]
    assert same(models[0].network.state_dict(), models[1].network.state_dict())
    assert models[0].card == models[1].card
    assert not same(models[0].network.state_dict(), models[2].network.state_dict())


def test_nothing_process_wide_changes_or_matters() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = weights(blobs())
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    np.random.seed(3)
    assert same(one, weights(blobs()))


def test_trainings_in_threads_do_not_disturb_each_other() -> None:
    data = blobs()
    alone = {seed: weights(data, seed=seed) for seed in range(3)}
    found: dict[int, dict[str, torch.Tensor]] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: found.update({seed: weights(data, seed=seed)}))
        for seed in alone
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(alone[seed], found[seed]) for seed in alone)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_neither_weights_nor_standardisation_know_the_held_out_rows(kind: str) -> None:
    """Whatever stands in the held-out rows, training gives the same: nothing leaks."""
    data = blobs() if kind == "classification" else slope()
    wanted = task(kind=kind)
    held_out = split(wanted, data).held_out
    columns = {name: values.copy() for name, values in data.columns.items()}
    for name in data.feature_names("y"):
        columns[name][held_out] = columns[name][held_out] * -50 + 1000
    if kind == "regression":
        columns["y"][held_out] += 1e7
    one, other = train(wanted, data), train(wanted, Dataset.of(columns, "changed"))
    assert one.card.scaling == other.card.scaling
    assert same(one.network.state_dict(), other.network.state_dict())
    assert one.card.metrics != other.card.metrics


def test_standardisation_is_that_of_the_training_rows() -> None:
    data = slope()
    wanted = task(kind="regression")
    rows = split(wanted, data).training
    scaling = train(wanted, data).card.scaling
    assert scaling.mean == pytest.approx([data.columns[name][rows].mean() for name in ("a", "b")])
    assert scaling.deviation == pytest.approx([data.columns[name][rows].std() for name in ("a", "b")])
    assert scaling.target_mean == pytest.approx(data.columns["y"][rows].mean())
    assert scaling.target_deviation == pytest.approx(data.columns["y"][rows].std())


def test_the_metrics_are_those_of_the_held_out_rows() -> None:
    data, wanted = blobs(), task(epochs=2)
    model = train(wanted, data)
    rows = split(wanted, data).held_out
    held_out = Dataset.of({name: values[rows].tolist() for name, values in data.columns.items()})
    assert evaluate(model, held_out) == pytest.approx(model.metrics)
    assert model.card.rows == {"training": 65, "validation": 7, "held_out": 18}


def test_early_stopping_keeps_the_best_epoch() -> None:
    rng = np.random.default_rng(0)
    noise = Dataset.of({**{f"x{i}": rng.normal(size=60) for i in range(20)}, "y": rng.integers(0, 2, 60)})
    told: list[EpochEnded] = []
    wanted = task(epochs=200, patience=4, learning_rate=0.01)
    model = train(wanted, noise, on_progress=told.append)
    losses = [each.validation_loss for each in told]
    best = int(np.argmin(losses)) + 1
    assert model.card.best_epoch == best
    assert model.epochs == len(told) == best + 4 < 200
    # The weights are those of that epoch: training that ends there gives the same ones.
    assert same(model.network.state_dict(), weights(noise, epochs=best, patience=4, learning_rate=0.01))


@pytest.mark.parametrize("after", [0, 1, 7])
def test_cancelling_between_batches(after: int) -> None:
    asked: list[int] = []
    told: list[EpochEnded] = []

    def is_cancelled() -> bool:
        asked.append(1)
        return len(asked) > after

    with pytest.raises(Cancelled) as caught:
        train(task(batch_size=16), blobs(), on_progress=told.append, is_cancelled=is_cancelled)
    assert len(asked) == after + 1
    assert caught.value.epochs == len(told) == after // 5  # 65 rows: four batches of 16 and a single row


def test_an_event_from_another_thread_cancels() -> None:
    stop = threading.Event()
    with pytest.raises(Cancelled, match="training was cancelled after 2 complete epochs"):
        train(
            task(epochs=100_000),
            blobs(),
            on_progress=lambda ended: stop.set() if ended.epoch == 2 else None,
            is_cancelled=stop.is_set,
        )


def test_constant_features_give_no_nan() -> None:
    data = blobs()
    columns = {**data.columns, "tenth": np.full(data.rows, 0.1), "none": np.zeros(data.rows)}
    model = train(task(epochs=30), Dataset.of(columns))
    assert model.card.scaling.deviation[-2:] == (0.0, 0.0)
    assert model.metrics["accuracy"] > 0.9


def test_a_constant_target_of_a_regression() -> None:
    data = Dataset.of({"x": np.arange(30.0), "y": np.full(30, 7.0)})
    model = train(task(kind="regression", epochs=2), data)
    assert all(np.isfinite(list(model.metrics.values())))


def test_a_feature_that_is_constant_in_training_never_matters() -> None:
    data, wanted = blobs(), task(epochs=2)
    parts = split(wanted, data)
    column = np.zeros(data.rows)
    column[parts.held_out] = 1e300
    with_it = train(wanted, Dataset.of({"zero": column, **data.columns}))
    assert all(np.isfinite(list(with_it.metrics.values())))


def test_checking_a_task_before_bidding_for_it() -> None:
    assert check(task(), blobs()) == (4, 3)
    assert check(task(kind="regression"), slope()) == (2, 1)
    with pytest.raises(DatasetError, match="there is no such column"):
        check(task(target="z"), blobs())
    with pytest.raises(NetworkError, match="4 features form no square image of at least 4 x 4"):
        check(task(network="cnn"), blobs())


@pytest.mark.parametrize("column", ["x0", "y"])
def test_values_too_large_to_square(column: str) -> None:
    data = slope()
    columns = {"x0": data.columns["a"].copy(), "y": data.columns["y"].copy()}
    columns[column] = columns[column] * 1e300
    with pytest.raises(
        DatasetError, match="the values are too large to be standardised; write them in a larger"
    ):
        train(task(kind="regression"), Dataset.of(columns))


def test_a_value_too_far_from_the_others() -> None:
    data, wanted = blobs(), task()
    columns = {name: values.copy() for name, values in data.columns.items()}
    columns["x1"][split(wanted, data).held_out[0]] = 1e200
    with pytest.raises(DatasetError, match=r"far, column 'x1': 1e\+200 is too far from the other values"):
        train(wanted, Dataset.of(columns, "far"))


def test_a_number_too_far_from_the_others() -> None:
    data, wanted = slope(), task(kind="regression")
    columns = {name: values.copy() for name, values in data.columns.items()}
    columns["y"][split(wanted, data).validation[0]] = 1e200
    with pytest.raises(DatasetError, match=r"far, column 'y': 1e\+200 is too far from the other values"):
        train(wanted, Dataset.of(columns, "far"))


def test_a_full_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning.networks, "_registered", {})

    class Greedy(nn.Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return super().forward(features)

    register_network("greedy", Greedy)
    with pytest.raises(DeviceError, match="the memory of cpu is too small; use a smaller batch_size"):
        train(task(network="greedy"), blobs())


def test_a_loss_that_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning.networks, "_registered", {})

    class Exploding(nn.Linear):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return super().forward(features) * (float("inf") if self.training else 1.0)

    register_network("exploding", Exploding)
    with pytest.raises(
        TrainingError, match=r"^epoch 1: the loss is nan; lower the learning rate \(it is 0.001\)$"
    ):
        train(task(network="exploding", learning_rate=0.001), blobs())


def test_asking_for_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="there is no CUDA device here; ask for 'auto' or 'cpu'"):
        train(task(device="cuda"), blobs())


@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_a_gpu_learns_as_a_cpu_does(network: str) -> None:
    require_hardware(torch.cuda.is_available(), "a CUDA device")
    model = train(
        task(target="digit", network=network, epochs=20, learning_rate=0.003, device="cuda"), digits()
    )
    assert model.device.type == "cuda"
    assert model.metrics["accuracy"] > 0.94
    assert evaluate(model, digits())["accuracy"] > 0.97


def test_another_process_gets_the_same_metrics() -> None:
    code = (
        "import json\nfrom learning.training import train\nfrom tests.learning.samples import blobs, task\n"
        "print(json.dumps(train(task(seed=9), blobs()).metrics))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(done.stdout) == train(task(seed=9), blobs()).metrics
