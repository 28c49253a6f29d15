from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from learning.datasets import Dataset
from learning.errors import DatasetError, InputError
from learning.inference import evaluate, predict
from learning.models import TrainedModel
from learning.splitting import split
from learning.stepping import ANSWER_ROWS
from learning.training import train
from ontology.tasks import Predictions
from tests.learning.samples import blobs, slope, task


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return train(task(epochs=30, learning_rate=0.01), blobs())


def test_text_labels_with_confidences(model: TrainedModel) -> None:
    answer = predict(model, [[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0]])
    assert answer.values == ("cat", "dog", "owl")
    assert all(0.5 < each <= 1 for each in answer.confidence)
    Predictions(model="m:1", values=answer.values, confidence=answer.confidence)


@pytest.mark.parametrize("classes", [(3, 1, 2), (0.5, 1.5, 2.5), ("1", "2", "x")])
def test_labels_come_back_as_they_stood(classes: tuple[Any, ...]) -> None:
    data, wanted = blobs(classes=classes), task(epochs=30, learning_rate=0.01)
    rows = split(wanted, data).held_out
    names = data.feature_names("y")
    answer = predict(train(wanted, data), data.take(rows, names))
    truth = [classes[row % 3] for row in rows]
    assert [type(value) for value in answer.values] == [type(value) for value in truth]
    assert np.mean([value == true for value, true in zip(answer.values, truth, strict=True)]) > 0.8


def test_numbers_in_the_targets_unit() -> None:
    data = slope()
    model = train(task(kind="regression", network="logistic", epochs=100, learning_rate=0.02), data)
    answer = predict(model, [[5000, 0], [7000, 0.01]])
    assert answer.confidence == ()
    assert answer.values == pytest.approx((1_015_000, 1_020_800), rel=0.002)


def test_many_rows_are_answered_in_parts_and_in_order(model: TrainedModel) -> None:
    rows = np.tile(np.eye(4)[:3] * 4, (ANSWER_ROWS, 1))
    answer = predict(model, rows)
    assert answer.values == ("cat", "dog", "owl") * ANSWER_ROWS


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "none": ([], "there are no rows; give at least one"),
    "short": ([[1, 2, 3, 4], [1, 2]], "row 2: it holds 2 numbers, the model takes 4: x0, x1, x2, x3"),
    "long": ([[1, 2, 3, 4, 5]], "row 1: it holds 5 numbers, the model takes 4: x0, x1, x2, x3"),
    "flat": ([1, 2, 3, 4], "row 1: it holds no list of numbers, the model takes 4: x0, x1, x2, x3"),
    "deep": ([[[1], [2], [3], [4]]], "row 1: it holds no list of numbers"),
    "text": ([["a", "b", "c", "d"]], "the rows must be numbers"),
    "NaN": ([[0, 0, float("nan"), 0]], "row 1: x2 is nan, which is no finite number"),
    "infinite": ([[0, 0, 0, 0], [float("inf"), 0, 0, 0]], "row 2: x0 is inf, which is no finite number"),
    "huge": ([[0, 0, 0, 0], [0, 1e200, 0, 0]], "row 2: x1 is 1e+200, too far from the values that the model"),
    "large": ([[3e38, 3e38, -3e38, 3e38]], "row 1: the model gives no finite answer; the row"),
}


@pytest.mark.parametrize(("rows", "sentence"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_rows_that_do_not_fit(model: TrainedModel, rows: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        predict(model, rows)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_columns_are_found_by_name_and_others_do_not_count(model: TrainedModel) -> None:
    rows = np.array([[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [1, 2, 3, 4]])
    turned = np.column_stack([np.full(4, 9e9), rows[:, ::-1], np.full(4, -1.0)])
    names = ("spare", "x3", "x2", "x1", "x0", "y")
    assert predict(model, turned, names) == predict(model, rows)
    assert predict(model, rows, ("x0", "x1", "x2", "x3")) == predict(model, rows)
    assert predict(model, rows, ("x1", "x0", "x2", "x3")) != predict(model, rows)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (("x0", "x1", "x3", "z"), "the model needs the column 'x2'; the rows have x0, x1, x3, z"),
        (("a", "x1", "b", "c"), "the model needs the columns 'x0', 'x2', 'x3'; the rows have a, x1, b, c"),
        (("x0", "x1", "x2", "x3", "x1"), "two columns are named 'x1'; rename one, or leave one out"),
        (("x3", "x2", "x1", "x0", "z"), "row 1: it holds 4 numbers, 5 columns are named: x3, x2, x1, x0, z"),
    ],
)
def test_columns_that_do_not_fit(model: TrainedModel, columns: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        predict(model, [[1.0] * (5 if "two" in sentence else 4)], columns)
    assert str(caught.value) == sentence


def test_not_more_than_ten_columns_are_named() -> None:
    many = train(task(epochs=1), blobs(features=12))
    with pytest.raises(
        InputError, match=r"^row 1: it holds 1 number, the model takes 12: x0, .* x9 and 2 more$"
    ):
        predict(many, [[1.0]])
    with pytest.raises(InputError, match=r"needs the columns 'x0', .* 'x9' and 2 more; the rows have a$"):
        predict(many, [[1.0]], ("a",))


def test_columns_are_found_by_name_when_evaluating(model: TrainedModel) -> None:
    columns = blobs().columns
    turned = Dataset.of({"spare": np.zeros(90), **dict(reversed(list(columns.items())))})
    assert evaluate(model, turned) == evaluate(model, blobs())
    assert evaluate(model, blobs())["accuracy"] > 0.9


def test_evaluating_without_a_column(model: TrainedModel) -> None:
    columns = {name: values for name, values in blobs().columns.items() if name != "x2"}
    with pytest.raises(
        DatasetError, match=r"less, column 'x2': there is no such column; it has x0, x1, x3, y"
    ):
        evaluate(model, Dataset.of(columns, "less"))


def test_evaluating_a_class_never_seen(model: TrainedModel) -> None:
    with pytest.raises(DatasetError, match="the model does not know the class 'emu'; it knows cat, dog, owl"):
        evaluate(model, blobs(classes=("cat", "emu")))
