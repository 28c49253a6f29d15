from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from learning import metrics

CLASSES = st.integers(1, 40).flatmap(
    lambda size: st.tuples(
        arrays(np.int64, size, elements=st.integers(0, 4)), arrays(np.int64, size, elements=st.integers(0, 4))
    )
)
NUMBERS = st.integers(1, 40).flatmap(
    lambda size: st.tuples(
        *(arrays(np.float64, size, elements=st.floats(-1e6, 1e6, allow_subnormal=False)) for _ in range(2))
    )
)


def classes(*values: int) -> metrics.Classes:
    return np.array(values, dtype=np.int64)


def numbers(*values: float) -> metrics.Numbers:
    return np.array(values, dtype=np.float64)


def test_accuracy_by_hand() -> None:
    assert metrics.accuracy(classes(0, 1, 2, 2), classes(0, 2, 2, 2)) == 0.75


def test_macro_f1_by_hand() -> None:
    # class 0: tp 2, fp 1, fn 0 -> 4/5; class 1: tp 1, fp 0, fn 1 -> 2/3; class 3: fn 1, fp 1 -> 0; no class 2
    truth, predicted = classes(0, 0, 1, 1, 3, 1), classes(0, 0, 1, 0, 1, 3)
    # class 1 has also fp 1 (row 5) and fn 1 more (row 6): tp 1, fp 1, fn 2 -> 2/5
    assert metrics.macro_f1(truth, predicted) == pytest.approx((4 / 5 + 2 / 5 + 0) / 3)


def test_log_loss_by_hand() -> None:
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    assert metrics.log_loss(classes(0, 1), probabilities) == pytest.approx((math.log(2) - math.log(0.75)) / 2)


def test_a_sure_mistake_costs_much_but_not_infinitely() -> None:
    assert metrics.log_loss(classes(1), np.array([[1.0, 0.0]])) == pytest.approx(-math.log(1e-15))


def test_regression_by_hand() -> None:
    truth, predicted = numbers(1, 2, 3, 6), numbers(1, 2, 5, 2)
    assert metrics.mae(truth, predicted) == 1.5
    assert metrics.rmse(truth, predicted) == pytest.approx(math.sqrt(20 / 4))
    assert metrics.r2(truth, predicted) == pytest.approx(1 - 20 / 14)


@pytest.mark.parametrize(("predicted", "expected"), [((2.0, 2.0), 1.0), ((2.0, 3.0), 0.0)])
def test_r2_of_a_target_without_variance_is_finite(predicted: tuple[float, ...], expected: float) -> None:
    assert metrics.r2(numbers(2, 2), numbers(*predicted)) == expected


def test_r2_of_a_hopeless_prediction_is_finite() -> None:
    assert metrics.r2(numbers(4.1e-210, 4.1e-210, 4.1e-210), numbers(1, 1, 1)) == 0
    assert metrics.r2(numbers(1e-300, 2e-300), numbers(1, 1)) == pytest.approx(-1e300)


def test_squares_do_not_overflow() -> None:
    assert metrics.rmse(numbers(1e200, -1e200), numbers(0, 0)) == pytest.approx(1e200)
    assert metrics.r2(numbers(1e200, -1e200), numbers(0, 0)) == pytest.approx(0)


@given(CLASSES)
def test_class_metrics_stay_between_0_and_1_and_are_1_only_for_the_truth(
    pair: tuple[metrics.Classes, metrics.Classes],
) -> None:
    truth, predicted = pair
    for metric in (metrics.accuracy, metrics.macro_f1):
        assert 0 <= metric(truth, predicted) <= 1
        assert metric(truth, truth) == 1
        assert (metric(truth, predicted) == 1) == bool((truth == predicted).all())


@given(CLASSES, st.permutations(range(5)))
def test_class_metrics_do_not_depend_on_the_classes_names(
    pair: tuple[metrics.Classes, metrics.Classes], names: list[int]
) -> None:
    truth, predicted = pair
    renamed = np.array(names, dtype=np.int64)
    for metric in (metrics.accuracy, metrics.macro_f1):
        assert metric(renamed[truth], renamed[predicted]) == pytest.approx(metric(truth, predicted))


@given(NUMBERS)
def test_errors_are_symmetric_and_mae_is_at_most_rmse(pair: tuple[metrics.Numbers, metrics.Numbers]) -> None:
    truth, predicted = pair
    assert metrics.mae(truth, truth) == metrics.rmse(truth, truth) == 0
    assert metrics.mae(truth, predicted) == metrics.mae(predicted, truth)
    assert metrics.mae(truth, predicted) <= metrics.rmse(truth, predicted) * (1 + 1e-9)
    assert math.isfinite(metrics.r2(truth, predicted))
    assert metrics.r2(truth, predicted) <= 1
    assert metrics.r2(truth, truth) == 1


def test_predicting_the_mean_explains_nothing() -> None:
    assert metrics.r2(numbers(1, 2, 6), numbers(3, 3, 3)) == pytest.approx(0)
