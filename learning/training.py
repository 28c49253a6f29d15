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
from learning.errors import Cancelled, DatasetError, InputError, TrainingError
from learning.models import ModelCard, TrainedModel, first_overflow, fit_scaling
from learning.networks import build
from learning.splitting import Split, split, split_classes
from learning.stepping import Stepper, answers, out_of_memory
from learning.targets import Label, classes_of, numbers_of
from ontology.models import TaskKind
from ontology.tasks import Train


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
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Prepared:
    """Data as training takes them.

    features: float64 [row, feature]; truth: int64 [row] classes or float64 [row] numbers.
    """

    names: tuple[str, ...]
    features: NDArray[np.float64]
    labels: tuple[Label, ...]
    truth: NDArray[Any]
    parts: Split


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
        Cancelled: `is_cancelled` said so; nothing is kept.
    """
    device = choose_device(task.device) if device is None else device
    limit_threads()
    prepared = _prepare(task, data)
    parts, truth, regression = prepared.parts, prepared.truth, task.kind == "regression"
    inputs, outputs = len(prepared.names), len(prepared.labels) or 1
    network = build(task.network, inputs, outputs, seed=task.seed).to(device)
    scaling = fit_scaling(
        prepared.features[parts.training],
        prepared.names,
        truth[parts.training] if regression else None,
        data.source,
    )
    if regression:
        scaled = (truth - scaling.target_mean) / scaling.target_deviation
        targets = torch.from_numpy(scaled.astype(np.float32))[:, None]
    else:
        targets = torch.from_numpy(truth)

    def part(rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        features = prepared.features[rows]
        standardised = scaling.apply(features)
        if (overflow := first_overflow(standardised)) is not None:
            value, column = features[overflow], prepared.names[overflow[1]]
            raise DatasetError(
                data.source,
                f"{value:g} is too far from the other values to be standardised; mend it or drop the row",
                column=column,
                value=value,
            )
        return standardised, targets[torch.from_numpy(rows)]

    run = _Run(
        task=task,
        stepper=Stepper(network, task.network, task.kind, learning_rate=task.learning_rate, seed=task.seed),
        device=device,
    )
    epochs, best_epoch = run.fit(part(parts.training), part(parts.validation), on_progress, is_cancelled)
    held_out = answers(network, part(parts.held_out)[0], device)
    card = ModelCard(
        name=task.model,
        network=task.network,
        kind=task.kind,
        inputs=inputs,
        outputs=outputs,
        target=task.target,
        features=prepared.names,
        labels=prepared.labels,
        scaling=scaling,
        data_sha256=data.sha256,
        rows={
            "training": len(parts.training),
            "validation": len(parts.validation),
            "held_out": len(parts.held_out),
        },
        metrics=measure(
            task.kind, truth[parts.held_out], held_out, scaling.target_mean, scaling.target_deviation
        ),
        epochs=epochs,
        best_epoch=best_epoch,
        settings={
            "batch_size": task.batch_size,
            "epochs": task.epochs,
            "held_out": task.held_out,
            "learning_rate": task.learning_rate,
            "patience": task.patience,
            "seed": task.seed,
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
    if not bool(torch.isfinite(answer).all()):
        raise InputError("the network gives no finite answer; a row is too far from its training data")
    if kind == "classification":
        return metrics.for_classes(truth, torch.softmax(answer.double(), dim=1).cpu().numpy())
    return metrics.for_numbers(truth, answer[:, 0].double().cpu().numpy() * deviation + mean)


def _prepare(task: Train, data: Dataset) -> _Prepared:
    names = data.feature_names(task.target)
    features = data.features(names)
    labels: tuple[Label, ...] = ()
    truth: NDArray[Any]
    if task.kind == "classification":
        labels, truth = classes_of(data, task.target)
        parts = split_classes(task, data.source, labels, truth)
    else:
        truth = numbers_of(data, task.target)
        parts = split(task, data)
    return _Prepared(names=names, features=features, labels=labels, truth=truth, parts=parts)


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
        try:
            features, targets = (tensor.to(self.device) for tensor in training)
            truth = validation[1].to(self.device)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(self.device) from error
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
