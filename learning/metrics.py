"""Metrics, computed in float64: accuracy, macro F1 and log loss for classes; MAE, RMSE and R2 for numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]
Numbers = NDArray[np.float64]

SMALLEST_PROBABILITY = 1e-15
"""Log loss treats a smaller probability as this one, so that one sure mistake does not make it infinite."""

WORST_RATIO = 1e150
"""R2 treats a larger ratio of error to spread as this one, whose square is still finite."""


def accuracy(truth: Classes, predicted: Classes) -> float:
    """The fraction of rows whose class was predicted, 0 to 1.

    Args:
        truth: int64 [row], classes.
        predicted: int64 [row], classes.
    """
    return float(np.mean(truth == predicted))


def macro_f1(truth: Classes, predicted: Classes) -> float:
    """The mean F1 of all classes that occur in either, each counting alike; 0 to 1.

    Args:
        truth: int64 [row], classes from 0.
        predicted: int64 [row], classes from 0.
    """
    size = int(max(truth.max(), predicted.max())) + 1
    hits = np.bincount(truth[truth == predicted], minlength=size)
    # 2 TP / (2 TP + FP + FN), and the denominator is how often the class occurs in both together.
    both = np.bincount(truth, minlength=size) + np.bincount(predicted, minlength=size)
    occurs = both > 0
    return float(np.mean(2 * hits[occurs] / both[occurs]))


def log_loss(truth: Classes, probabilities: Numbers) -> float:
    """The mean of -ln p(true class); 0 at best, 34.5 at worst.

    Args:
        truth: int64 [row], classes from 0.
        probabilities: float64 [row, class], each row summing to 1.
    """
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(np.mean(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1.0)))) + 0.0


def mae(truth: Numbers, predicted: Numbers) -> float:
    """The mean absolute error, in the target's unit.

    Args:
        truth: float64 [row].
        predicted: float64 [row].
    """
    return float(np.mean(np.abs(truth - predicted)))


def rmse(truth: Numbers, predicted: Numbers) -> float:
    """The root of the mean squared error, in the target's unit.

    Args:
        truth: float64 [row].
        predicted: float64 [row].
    """
    errors = np.abs(truth - predicted)
    largest = float(errors.max())
    # Scaled first: the square of a large number would be infinite.
    return largest * float(np.sqrt(np.mean((errors / largest) ** 2))) if largest else 0.0


def r2(truth: Numbers, predicted: Numbers) -> float:
    """The share of the variance that is explained; 1 at best, 0 for always predicting the mean.

    A target without variance gives 1 if it was met exactly, else 0: there is nothing to explain.

    Args:
        truth: float64 [row].
        predicted: float64 [row].
    """
    missed = rmse(truth, predicted)
    if truth.min() == truth.max():  # rounding of the mean would give a constant a tiny spread
        return 1.0 if missed == 0 else 0.0
    spread = rmse(truth, np.full_like(truth, truth.mean()))
    return 1 - min(missed / spread, WORST_RATIO) ** 2


def for_classes(truth: Classes, probabilities: Numbers) -> dict[str, float]:
    """All metrics of a classification.

    Args:
        truth: int64 [row], classes from 0.
        probabilities: float64 [row, class].
    """
    predicted = probabilities.argmax(axis=1).astype(np.int64)
    return {
        "accuracy": accuracy(truth, predicted),
        "macro_f1": macro_f1(truth, predicted),
        "log_loss": log_loss(truth, probabilities),
    }


def for_numbers(truth: Numbers, predicted: Numbers) -> dict[str, float]:
    """All metrics of a regression.

    Args:
        truth: float64 [row].
        predicted: float64 [row].
    """
    return {"mae": mae(truth, predicted), "rmse": rmse(truth, predicted), "r2": r2(truth, predicted)}
