"""Training: a task and data in, a model with its metrics out.

Synchronous and safe to run in a thread: trainings at the same time do not disturb each other, and the same
seed gives the same weights on a CPU (with the same number of threads; a GPU may differ in the last digits).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learning import metrics
from learning.datasets import Dataset
from learning.devices import choose_device, limit_threads
from learning.errors import Cancelled, DatasetError, TrainingError
from learning.models import ModelCard, Scaling, TrainedModel, first_overflow, fit_scaling
from learning.networks import build
from learning.splitting import Split, split, split_classes
from learning.stepping import Stepper, answers, memory_of, require_finite
from learning.targets import Label, classes_of, numbers_of
from ontology.models import TaskKind
from ontology.tasks import Train

FARTHEST = 1e15
"""How many deviations a number may be from the mean: float32 must hold its square."""


@dataclass(frozen=True, kw_only=True)
class EpochEnded:
    """How far training is.

    Attributes:
        epoch: the epoch that ended, from 1.
        epochs: the most there will be.
        loss: mean loss on the training part in this epoch (cross entropy in nats, or squared error of the
            standardised target).
        validation_loss: the same on the validation part, after the epoch; early stopping watches it.
        score: accuracy, or R2, on the validation part after the epoch.
        rows: how many rows it was trained on in this epoch.
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float
    score: float
    rows: int


def train(
    task: Train,
    data: Dataset,
    *,
    device: torch.device | None = None,
    on_progress: Callable[[EpochEnded], None] = lambda _ended: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> TrainedModel:
    """Train a network and measure it on rows it has never seen.

    Args:
        task: what to train and how; its dataset reference is not looked at, `data` is.
        data: the table.
        device: where to train; chosen by the task's `device` if not given.
        on_progress: called after every epoch, in this thread.
        is_cancelled: asked before every batch, e.g. ``threading.Event().is_set``.

    Returns:
        The model with the weights of its best epoch, and its metrics on the held-out part.

    Raises:
        DatasetError: the data do not suit the task.
        NetworkError: the network is unknown or does not suit the data.
        DeviceError: the device is not there, or its memory is too small.
        TrainingError: the loss is no longer a number.
        InputError: the network gives no finite answer for a held-out row.
        Cancelled: `is_cancelled` said so; nothing is kept.
    """
    device = choose_device(task.device) if device is None else device
    limit_threads()
    prepared = _prepare(task, data)
    with memory_of(device):
        network = build(task.network, len(prepared.names), len(prepared.labels) or 1, seed=task.seed)
        stepper = Stepper(
            network.to(device), task.network, task.kind, learning_rate=task.learning_rate, seed=task.seed
        )
        run = _Run(task=task, stepper=stepper, device=device)
        epochs, best_epoch = run.fit(
            prepared.part(prepared.parts.training),
            prepared.part(prepared.parts.validation),
            on_progress,
            is_cancelled,
        )
        rows, scaling = prepared.parts.held_out, prepared.scaling
        answer = answers(network, prepared.part(rows)[0], device)
    measured = measure(task.kind, prepared.truth[rows], answer, scaling.target_mean, scaling.target_deviation)
    card = ModelCard(
        name=task.model,
        network=task.network,
        kind=task.kind,
        inputs=len(prepared.names),
        outputs=len(prepared.labels) or 1,
        target=task.target,
        features=prepared.names,
        labels=prepared.labels,
        scaling=scaling,
        data_sha256=data.sha256,
        rows=prepared.parts.sizes,
        metrics=measured,
        epochs=epochs,
        best_epoch=best_epoch,
        settings={
            **task.model_dump(
                include={"batch_size", "epochs", "held_out", "learning_rate", "patience", "seed"}
            ),
            "device": str(device),
        },
        code_version=_code_version(),
        torch_version=str(torch.__version__),
    )
    return TrainedModel(card=card, network=network)


def check(task: Train, data: Dataset) -> tuple[int, int]:
    """Whether the data and the network suit the task, without training: how many inputs and outputs it has.

    Raises:
        DatasetError: the data do not suit the task.
        NetworkError: the network is unknown or does not suit the data.
    """
    prepared = _prepare(task, data)
    inputs, outputs = len(prepared.names), len(prepared.labels) or 1
    build(task.network, inputs, outputs, seed=task.seed)
    return inputs, outputs


def measure(
    kind: TaskKind, truth: NDArray[Any], answer: Tensor, mean: float = 0.0, deviation: float = 1.0
) -> dict[str, float]:
    """Compare a network's answers with the truth.

    Args:
        kind: which metrics.
        truth: int64 [row] classes, or float64 [row] numbers in the target's unit.
        answer: float32 [row, output]: logits, or the standardised number.
        mean: of the target, in its unit.
        deviation: of the target, in its unit.

    Raises:
        InputError: an answer is not finite.
    """
    require_finite(answer)
    if kind == "classification":
        return metrics.for_classes(truth, torch.softmax(answer.double(), dim=1).cpu().numpy())
    return metrics.for_numbers(truth, answer[:, 0].double().cpu().numpy() * deviation + mean)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """Data as training takes them.

    features: float64 [row, feature] in the data's unit; truth: int64 [row] classes or float64 [row] numbers.
    """

    source: str
    target: str
    names: tuple[str, ...]
    features: NDArray[np.float64]
    labels: tuple[Label, ...]
    truth: NDArray[Any]
    parts: Split
    scaling: Scaling

    def part(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Some rows standardised: float32 [row, feature]; int64 [row] classes or float32 [row, 1] numbers.

        Raises:
            DatasetError: a value is too large for that.
        """
        features = self.scaling.apply(self.features[rows])
        if (overflow := first_overflow(features)) is not None:
            row, place = overflow
            raise self._too_far(self.features[rows[row], place], self.names[place])
        if self.labels:
            return features, torch.from_numpy(self.truth[rows])
        with np.errstate(over="ignore"):
            numbers = (self.truth[rows] - self.scaling.target_mean) / self.scaling.target_deviation
        far = np.flatnonzero(~(np.abs(numbers) < FARTHEST))
        if far.size:
            raise self._too_far(self.truth[rows[far[0]]], self.target)
        return features, torch.from_numpy(numbers.astype(np.float32))[:, None]

    def _too_far(self, value: float, column: str) -> DatasetError:
        return DatasetError(
            self.source,
            f"{value:g} is too far from the other values to be standardised; mend it or drop the row",
            column=column,
            value=value,
        )


def _prepare(task: Train, data: Dataset) -> _Prepared:
    names = data.feature_names(task.target, task.drop)
    features = data.features(names)
    labels: tuple[Label, ...] = ()
    truth: NDArray[Any]
    if task.kind == "classification":
        labels, truth = classes_of(data, task.target)
        parts = split_classes(task, data.source, labels, truth)
        numbers = None
    else:
        truth = numbers_of(data, task.target)
        parts = split(task, data)
        numbers = truth[parts.training]
    return _Prepared(
        source=data.source,
        target=task.target,
        names=names,
        features=features,
        labels=labels,
        truth=truth,
        parts=parts,
        scaling=fit_scaling(features[parts.training], names, numbers, data.source),
    )


@dataclass(kw_only=True)
class _Run:
    """One training with early stopping."""

    task: Train
    stepper: Stepper
    device: torch.device

    def fit(
        self,
        training: tuple[Tensor, Tensor],
        validation: tuple[Tensor, Tensor],
        on_progress: Callable[[EpochEnded], None],
        is_cancelled: Callable[[], bool],
    ) -> tuple[int, int]:
        """Train until the epochs or the patience end; leaves the best weights in the network.

        Args:
            training: features float32 [row, feature] and targets [row] or [row, 1], on the CPU.
            validation: the same.
            on_progress: see `train`.
            is_cancelled: see `train`.

        Returns:
            How many epochs were run, and which was the best.
        """
        features, targets = (tensor.to(self.device) for tensor in training)
        truth = validation[1].to(self.device)
        network = self.stepper.network
        known = validation[1].numpy()
        known = known if self.task.kind == "classification" else known[:, 0].astype(np.float64)
        order = torch.Generator().manual_seed(self.task.seed)
        best_loss, best_epoch, best = math.inf, 0, copy.deepcopy(network.state_dict())
        epoch = 0
        for epoch in range(1, self.task.epochs + 1):
            network.train()
            total = torch.zeros((), device=self.device)
            for batch in self._batches(len(features), order):
                if is_cancelled():
                    raise Cancelled(epoch - 1)
                rows = batch.to(self.device)
                total += self.stepper.step(features[rows], targets[rows]) * len(rows)
            loss = self._finite(float(total) / len(features), epoch)
            answer = answers(network, validation[0], self.device)
            watched = self._finite(float(self.stepper.loss(answer, truth)), epoch)
            if watched < best_loss:
                best_loss, best_epoch, best = watched, epoch, copy.deepcopy(network.state_dict())
            score = measure(self.task.kind, known, answer)
            on_progress(
                EpochEnded(
                    epoch=epoch,
                    epochs=self.task.epochs,
                    loss=loss,
                    validation_loss=watched,
                    score=score.get("accuracy", score.get("r2", 0.0)),
                    rows=len(features),
                )
            )
            if epoch - best_epoch >= self.task.patience:
                break
        network.load_state_dict(best)
        network.eval()
        return epoch, best_epoch

    def _batches(self, rows: int, order: torch.Generator) -> list[Tensor]:
        """Shuffled positions, a batch each: int64 [row]. A single row at the end joins the batch before it.

        Batch normalisation in a user's network refuses a single row.
        """
        size = self.task.batch_size
        batches = list(torch.split(torch.randperm(rows, generator=order), size))
        if len(batches) > 1 and len(batches[-1]) == 1 and size > 1:
            batches[-2:] = [torch.cat(batches[-2:])]
        return batches

    def _finite(self, loss: float, epoch: int) -> float:
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss}; lower the learning rate (it is {self.task.learning_rate:g})",
                epoch=epoch,
            )
        return loss


def _code_version() -> str:
    try:
        return version("locution")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"
