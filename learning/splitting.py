"""Which rows train, which tell when to stop, and which the metrics are measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learning.datasets import Dataset
from learning.errors import DatasetError
from learning.targets import Label, classes_of
from ontology.tasks import Train

VALIDATION = 0.1
"""The fraction of the rows left for training that early stopping watches."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Positions of rows, from 0, in random order; every row is in exactly one part.

    Attributes:
        training: the rows that weights and standardisation are fitted on; every class occurs.
        validation: the rows that early stopping watches.
        held_out: the rows that training never sees; every class occurs.
    """

    training: Rows
    validation: Rows
    held_out: Rows

    @property
    def sizes(self) -> dict[str, int]:
        """How many rows each part has."""
        return {
            "training": len(self.training),
            "validation": len(self.validation),
            "held_out": len(self.held_out),
        }


def split(task: Train, data: Dataset) -> Split:
    """Split as training does: the same task and data always give the same parts.

    Classes are represented in each part as they are in the whole, as far as whole rows allow.

    Raises:
        DatasetError: the target is unusable, or there are too few rows.
    """
    if task.kind == "classification":
        labels, places = classes_of(data, task.target)
        return split_classes(task, data.source, labels, places)
    return _split([np.arange(data.rows)], task, data.source)


def split_classes(task: Train, source: str, labels: tuple[Label, ...], places: Rows) -> Split:
    """Split by class, for who has the classes already (see `classes_of`).

    Raises:
        DatasetError: a class has one row only, or there are too few rows.
    """
    counts = np.bincount(places, minlength=len(labels))
    if counts.min() < 2:
        lonely = labels[int(counts.argmin())]
        raise DatasetError(
            source,
            f"the class {lonely!r} has one row; give every class at least two, one to learn from and one to "
            "be measured on, or leave the class out",
            column=task.target,
            value=lonely,
        )
    order = np.argsort(places, kind="stable")
    return _split(np.split(order, np.cumsum(counts)[:-1]), task, source)


def _split(groups: list[Rows], task: Train, source: str) -> Split:
    rng = np.random.default_rng(task.seed)
    groups = [rng.permutation(group) for group in groups]
    rest, held_out = _part(groups, task.held_out, least=1)
    training, validation = _part(rest, VALIDATION, least=0)
    parts = [np.concatenate(part) for part in (training, validation, held_out)]
    if any(len(part) == 0 for part in parts) or len(parts[0]) < 2:
        rows = sum(map(len, groups))
        raise DatasetError(
            source,
            f"{rows} rows are too few to train on, to watch and to hold out {task.held_out:g} of them; "
            "add rows or hold out less",
        )
    first, second, third = (rng.permutation(part) for part in parts)
    return Split(training=first, validation=second, held_out=third)


def _part(groups: list[Rows], fraction: float, *, least: int) -> tuple[list[Rows], list[Rows]]:
    """Take a fraction of every group, leaving one row at least; returns what stays and what was taken.

    Each group gives its share rounded down, `least` at least; the groups with the largest remainders give
    one more until the whole is met, one row at least.
    """
    counts = np.array([len(group) for group in groups])
    wanted = max(1, round(float(counts.sum()) * fraction))
    shares = counts * fraction
    most = np.maximum(counts - 1, 0)
    taken = np.minimum(np.maximum(np.floor(shares), least), most).astype(np.int64)
    for index in np.argsort(taken - shares, kind="stable"):
        if taken.sum() >= wanted:
            break
        taken[index] += taken[index] < most[index]
    pairs = list(zip(groups, taken.tolist(), strict=True))
    return [group[count:] for group, count in pairs], [group[:count] for group, count in pairs]
