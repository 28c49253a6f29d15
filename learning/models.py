"""A model: a network, and all that must be known to use it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from learning.errors import DatasetError, InputError
from learning.targets import Label
from ontology.content import Concept
from ontology.models import ModelVersion, Name, Sha256, TaskKind


class Scaling(Concept):
    """Standardisation, fitted on the training part alone.

    A feature that was constant there has the deviation 0 and always becomes 0: nothing was learnt of it.
    """

    mean: tuple[float, ...]
    """By feature, in the data's unit."""
    deviation: tuple[float, ...]
    """The standard deviation by feature, in the data's unit, 0 or greater."""
    target_mean: float = 0.0
    """For regression, in the target's unit; 0 for classification."""
    target_deviation: float = 1.0
    """For regression, greater than 0; 1 if the target was constant."""

    def apply(self, features: NDArray[np.float64]) -> torch.Tensor:
        """Standardise.

        Args:
            features: float64 [row, feature], in the data's unit.

        Returns:
            float32 [row, feature] on the CPU, without unit. What float32 cannot hold is infinite or NaN:
            see `first_overflow`.
        """
        deviation = np.array(self.deviation)
        factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        with np.errstate(over="ignore", invalid="ignore"):
            return torch.from_numpy(((features - np.array(self.mean)) * factor).astype(np.float32))


def first_overflow(scaled: torch.Tensor) -> tuple[int, int] | None:
    """The place (row, feature) of the first value that float32 could not hold, or None.

    Args:
        scaled: float32 [row, feature].
    """
    finite = torch.isfinite(scaled)
    if bool(finite.all()):
        return None
    row, place = torch.nonzero(~finite)[0].tolist()
    return row, place


def fit_scaling(
    features: NDArray[np.float64], names: tuple[str, ...], target: NDArray[np.float64] | None, source: str
) -> Scaling:
    """Fit the standardisation to the training rows.

    Args:
        features: float64 [row, feature], training rows only.
        names: the features' names, for the error.
        target: float64 [row], training rows only; None for classification.
        source: how the error names the data.

    Raises:
        DatasetError: a column's values are too large to be squared.
    """
    mean, deviation = _moments(features)
    wrong = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(deviation)))
    target_mean, target_deviation = 0.0, 1.0
    if target is not None:
        means, deviations = _moments(target[:, None])
        target_mean, target_deviation = float(means[0]), float(deviations[0]) or 1.0
    if wrong.size or not np.isfinite(target_deviation):
        raise DatasetError(
            source,
            "the values are too large to be standardised; write them in a larger unit",
            column=names[wrong[0]] if wrong.size else None,
        )
    return Scaling(
        mean=tuple(mean.tolist()),
        deviation=tuple(deviation.tolist()),
        target_mean=target_mean,
        target_deviation=target_deviation,
    )


def _moments(columns: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    # Rounding gives a constant such as 0.1 a tiny deviation, so constants are told by their values. One over
    # a subnormal number is infinite.
    constant = (columns.min(axis=0) == columns.max(axis=0)) | (deviation < np.finfo(np.float64).tiny)
    return mean, np.where(constant, 0.0, deviation)


class ModelCard(Concept):
    """What must be known of a model besides its weights; the manifest holds it as JSON."""

    name: Name
    network: str
    kind: TaskKind
    inputs: int
    """The network's arguments: features per row, and classes (or 1)."""
    outputs: int
    target: str
    features: tuple[str, ...]
    """Column names in the order the network takes them."""
    labels: tuple[Label, ...] = ()
    """The classes as they stood in the data, in the order of the outputs; empty for regression."""
    scaling: Scaling
    data_sha256: Sha256
    rows: dict[str, int]
    """How many rows trained, were watched and were held out: training, validation, held_out."""
    metrics: dict[str, float]
    """Measured on the held-out part."""
    epochs: int
    """Epochs that were run."""
    best_epoch: int
    """The epoch, from 1, whose weights were kept."""
    settings: dict[str, int | float | str]
    """batch_size, epochs, held_out, learning_rate, patience, seed, device."""
    code_version: str
    """The version of Locution that trained it."""
    torch_version: str

    def model_post_init(self, _context: Any, /) -> None:
        """Refuse a card whose parts do not fit each other.

        Raises:
            ValueError: they do not.
        """
        outputs = len(self.labels) if self.kind == "classification" else 1
        columns = (len(self.features), len(self.scaling.mean), len(self.scaling.deviation))
        if any(count != self.inputs for count in columns) or self.outputs != outputs:
            raise ValueError("its features, labels, standardisation and network arguments differ in number")


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A network ready to answer.

    Attributes:
        card: all that is known of it.
        network: in evaluation mode, on the device it answers on.
    """

    card: ModelCard
    network: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def standardised(self, features: NDArray[np.float64]) -> torch.Tensor:
        """Features as the network takes them: float32 [row, feature] on the CPU.

        Raises:
            InputError: a value is so far from those of the training part that float32 cannot hold it.
        """
        scaled = self.card.scaling.apply(features)
        if (overflow := first_overflow(scaled)) is not None:
            row, place = overflow
            raise InputError(
                f"{self.card.features[place]} is {features[row, place]:g}, too far from the values that the "
                "model was trained on",
                row=row + 1,
            )
        return scaled


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedModel(Model):
    """What training gives; `ModelStore.save` keeps it. Its device is the one it was trained on."""

    @property
    def metrics(self) -> dict[str, float]:
        """Measured on the held-out part: accuracy, macro_f1, log_loss; or mae, rmse, r2."""
        return self.card.metrics

    @property
    def epochs(self) -> int:
        """Epochs that were run."""
        return self.card.epochs


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel(Model):
    """A model out of the store.

    Attributes:
        version: how agents speak of it.
    """

    version: ModelVersion
