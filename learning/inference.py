"""Prediction: rows in; classes as they stood in the data with confidences, or numbers, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from learning.datasets import Dataset, listed
from learning.errors import InputError
from learning.models import Model
from learning.stepping import answers, require_finite
from learning.targets import Label, numbers_of, places_among
from learning.training import measure


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says, row by row in the order asked.

    Attributes:
        values: classes as they stood in the data, or numbers in the target's unit.
        confidence: the probability of the predicted class, 0 to 1; empty for regression.
    """

    values: tuple[Label, ...]
    confidence: tuple[float, ...] = ()


def predict(
    model: Model, rows: Sequence[Sequence[float]] | NDArray[np.float64], columns: Sequence[str] = ()
) -> Prediction:
    """Apply a model.

    Args:
        model: trained or loaded; several threads may use one at the same time.
        rows: [row, column] in the data's unit.
        columns: the names of the columns, in any order; others than the model's features do not count.
            Empty where the columns are the features in the order of ``model.card.features``.

    Raises:
        InputError: the rows do not fit the model; the sentence names the columns expected.
    """
    card = model.card
    answer = answers(model.network, model.standardised(_checked(rows, card.features, columns)), model.device)
    require_finite(answer)
    if card.kind == "regression":
        numbers = answer[:, 0].double() * card.scaling.target_deviation + card.scaling.target_mean
        return Prediction(values=tuple(numbers.tolist()))
    confidence, places = torch.softmax(answer.double(), dim=1).max(dim=1)
    return Prediction(
        values=tuple(card.labels[place] for place in places.tolist()), confidence=tuple(confidence.tolist())
    )


def evaluate(model: Model, data: Dataset) -> dict[str, float]:
    """Measure a model on a dataset that has its features and its target, by name; other columns do not count.

    Returns:
        accuracy, macro_f1 and log_loss; or mae, rmse and r2.

    Raises:
        DatasetError: a column is missing, holds text, or a class that the model does not know.
        InputError: a value is too far from the training data.
    """
    card = model.card
    truth = (
        places_among(data, card.target, card.labels)
        if card.kind == "classification"
        else numbers_of(data, card.target)
    )
    answer = answers(model.network, model.standardised(data.features(card.features)), model.device)
    return measure(card.kind, truth, answer, card.scaling.target_mean, card.scaling.target_deviation)


def _checked(
    rows: Sequence[Sequence[float]] | NDArray[np.float64], names: tuple[str, ...], columns: Sequence[str]
) -> NDArray[np.float64]:
    """The features: float64 [row, feature], finite, in the model's order."""
    if len(rows) == 0:
        raise InputError("there are no rows; give at least one")
    places = _places(names, columns) if columns else list(range(len(names)))
    width = len(columns) or len(names)
    for number, row in enumerate(rows, start=1):
        if np.ndim(row) != 1 or len(row) != width:
            count = f"{len(row)} number{'' if len(row) == 1 else 's'}" if np.ndim(row) == 1 else ""
            wanted = f"{width} columns are named" if columns else f"the model takes {width}"
            shown = listed(tuple(columns) or names, most=10)
            raise InputError(f"it holds {count or 'no list of numbers'}, {wanted}: {shown}", row=number)
    try:
        values = np.array(rows, dtype=np.float64)[:, places]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the rows must be numbers: {error}") from error
    if not np.isfinite(values).all():
        row, place = (int(axis[0]) for axis in np.nonzero(~np.isfinite(values)))
        raise InputError(f"{names[place]} is {values[row, place]}, which is no finite number", row=row + 1)
    return values


def _places(names: tuple[str, ...], columns: Sequence[str]) -> list[int]:
    """Where the model's features stand in a row."""
    places = {name: place for place, name in enumerate(columns)}
    if len(places) != len(columns):
        twice = next(name for place, name in enumerate(columns) if places[name] != place)
        raise InputError(f"two columns are named {twice!r}; rename one, or leave one out")
    missing = [repr(name) for name in names if name not in places]
    if missing:
        what = f"column{'' if len(missing) == 1 else 's'} {listed(missing, most=10)}"
        raise InputError(f"the model needs the {what}; the rows have {listed(columns, most=10)}")
    return [places[name] for name in names]
