"""Small data and tasks that several test files use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from learning.datasets import DataFolder, Dataset, reference
from ontology.models import DatasetRef
from ontology.tasks import Train

EXAMPLES = Path(__file__).parents[2] / "examples"
SOME_REF = DatasetRef(uri="some.csv", sha256="0" * 64)


def task(**changes: Any) -> Train:
    """A short training; its dataset reference is never read."""
    return Train(**{"dataset": SOME_REF, "target": "y", "epochs": 5, "batch_size": 16, **changes})


def digits() -> Dataset:
    return DataFolder(EXAMPLES).load(reference(EXAMPLES / "digits.csv", EXAMPLES))


def blobs(rows: int = 90, classes: tuple[Any, ...] = ("cat", "dog", "owl"), features: int = 4) -> Dataset:
    """Classes that a line tells apart."""
    rng = np.random.default_rng(1)
    places = np.arange(rows) % len(classes)
    values = rng.normal(size=(rows, features)) + 4.0 * np.eye(len(classes), features)[places]
    labels = np.array([classes[place] for place in places])
    return Dataset.of({**{f"x{index}": values[:, index] for index in range(features)}, "y": labels}, "blobs")


def slope(rows: int = 200) -> Dataset:
    """Numbers on a plane, in units far from one."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=rows) * 1000 + 5000, rng.normal(size=rows) / 100
    return Dataset.of({"a": a, "b": b, "y": 3 * a - 20_000 * b + 1e6}, "slope")
