"""What is to be predicted: classes as they stood in the data, or numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from learning.datasets import Dataset, listed
from learning.errors import DatasetError

Label = int | float | str
"""A class as it stood in the data: text stays text, and a whole number is written without a point."""

MOST_FRACTIONS = 20
"""More distinct numbers with a fraction than this are a quantity, not classes."""


def classes_of(data: Dataset, target: str) -> tuple[tuple[Label, ...], NDArray[np.int64]]:
    """The classes of a column in ascending order, and each row's place among them: int64 [row].

    Raises:
        DatasetError: the column is missing, has one class only, or holds a quantity.
    """
    found, places = np.unique(data.column(target), return_inverse=True)
    if found.dtype.kind == "f":
        fractions = int(np.count_nonzero(found != np.floor(found)))
        if fractions > MOST_FRACTIONS:
            raise DatasetError(
                data.source,
                f"it holds {len(found):,} different numbers, which is a quantity and no class; "
                "ask for kind 'regression', or name another target",
                column=target,
            )
    labels = tuple(_label(value) for value in found.tolist())
    if len(labels) == 1:
        raise DatasetError(
            data.source,
            f"every row has the class {labels[0]!r}; training needs rows of at least two classes",
            column=target,
        )
    return labels, places.reshape(-1).astype(np.int64)


def places_among(data: Dataset, target: str, labels: Sequence[Label]) -> NDArray[np.int64]:
    """Each row's place among the classes that a model knows: int64 [row].

    Raises:
        DatasetError: the column is missing or has a class that the model has never seen.
    """
    known = {label: place for place, label in enumerate(labels)}
    as_text = all(isinstance(label, str) for label in labels)
    values = [_label(value) for value in data.column(target).tolist()]
    if as_text:
        values = [str(value) for value in values]  # this part of the data may hold only the classes 1 and 2
    for row, value in enumerate(values, start=1):
        if value not in known:
            raise DatasetError(
                data.source,
                f"the model does not know the class {value!r}; it knows {listed([str(it) for it in labels])}",
                line=row,
                column=target,
                value=value,
                unit="row",
            )
    return np.array([known[value] for value in values], dtype=np.int64)


def numbers_of(data: Dataset, target: str) -> NDArray[np.float64]:
    """The numbers of a column: float64 [row].

    Raises:
        DatasetError: it is missing or holds text.
    """
    return data.numbers(
        target, "the target of a regression must be numbers: mend it, or ask for kind 'classification'"
    )


def _label(value: float | str) -> Label:
    return int(value) if isinstance(value, float) and value.is_integer() else value
