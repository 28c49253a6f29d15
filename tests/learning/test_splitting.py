from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.datasets import Dataset
from learning.errors import DatasetError
from learning.splitting import split
from learning.targets import classes_of, places_among
from tests.learning.samples import blobs, digits, slope, task


def labelled(counts: list[int]) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts)
    return Dataset.of({"x": np.arange(len(labels)), "y": labels}, "labelled")


@given(
    counts=st.lists(st.integers(2, 40), min_size=2, max_size=6).filter(lambda counts: max(counts) > 6),
    held_out=st.floats(0.05, 0.5),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_row_is_in_one_part_and_every_class_in_training_and_held_out(
    counts: list[int], held_out: float, seed: int
) -> None:
    data, wanted = labelled(counts), task(held_out=held_out, seed=seed)
    parts = split(wanted, data)
    together = np.concatenate([parts.training, parts.validation, parts.held_out])
    assert sorted(together.tolist()) == list(range(data.rows))
    labels = data.columns["y"]
    for part in (parts.training, parts.held_out):
        assert set(labels[part]) == set(labels)
    taken = np.bincount(labels[parts.held_out].astype(int), minlength=len(counts))
    for count, share in zip(counts, taken, strict=True):
        assert abs(share - count * held_out) < 1 or share == 1


@given(rows=st.integers(10, 200), held_out=st.floats(0.1, 0.5), seed=st.integers(0, 1000))
def test_regression_holds_out_the_fraction_asked(rows: int, held_out: float, seed: int) -> None:
    parts = split(task(kind="regression", held_out=held_out, seed=seed), slope(rows))
    assert len(parts.held_out) == max(1, round(rows * held_out))
    together = np.concatenate([parts.training, parts.validation, parts.held_out])
    assert sorted(together.tolist()) == list(range(rows))


def test_the_seed_decides() -> None:
    data = blobs()
    one, same, other = (split(task(seed=seed), data) for seed in (1, 1, 2))
    assert one.held_out.tolist() == same.held_out.tolist()
    assert one.held_out.tolist() != other.held_out.tolist()


def test_digits_are_held_out_in_proportion() -> None:
    data = digits()
    parts = split(task(target="digit"), data)
    assert (len(parts.training), len(parts.validation), len(parts.held_out)) == (1294, 144, 359)
    whole = np.bincount(data.columns["digit"].astype(int))
    held = np.bincount(data.columns["digit"][parts.held_out].astype(int))
    assert np.abs(held - whole * 0.2).max() < 1


def test_a_class_with_one_row_is_named() -> None:
    with pytest.raises(
        DatasetError, match=r"labelled, column 'y': the class 1 has one row; give every class"
    ):
        split(task(), labelled([5, 1]))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_too_few_rows_for_three_parts(rows: int) -> None:
    with pytest.raises(
        DatasetError, match=rf"{rows} rows are too few to train on, to watch and to hold out 0.2"
    ):
        split(task(kind="regression"), slope(rows))


def test_holding_out_nearly_all_leaves_too_few() -> None:
    with pytest.raises(DatasetError, match="add rows or hold out less"):
        split(task(kind="regression", held_out=0.99), slope(100))


def test_one_class_only() -> None:
    with pytest.raises(
        DatasetError, match=r"every row has the class 'cat'; training needs rows of at least two"
    ):
        split(task(), blobs(classes=("cat",)))


def test_a_quantity_is_no_class() -> None:
    with pytest.raises(DatasetError, match=r"column 'y': it holds 200 different numbers.*kind 'regression'"):
        split(task(), slope())


@pytest.mark.parametrize(
    ("given_labels", "expected"),
    [
        (("b", "a"), ("a", "b")),
        ((2, 1), (1, 2)),
        ((1.5, 0.5), (0.5, 1.5)),
        ((True, False), (0, 1)),
        (("10", "9"), ("10", "9")),
    ],
)
def test_labels_stay_as_they_stood(given_labels: tuple[object, ...], expected: tuple[object, ...]) -> None:
    labels, places = classes_of(blobs(classes=given_labels), "y")
    assert labels == expected
    assert [type(label) for label in labels] == [type(label) for label in expected]
    assert places[0] == expected.index(given_labels[0])


def test_text_labels_are_found_again_where_the_column_looks_like_numbers() -> None:
    data = Dataset.of({"x": [1, 2], "y": [7, 8]})
    assert places_among(data, "y", ("7", "8", "none")).tolist() == [0, 1]


def test_an_unknown_class_is_named_with_its_row() -> None:
    data = Dataset.of({"x": [1, 2], "y": ["cat", "emu"]}, "zoo")
    with pytest.raises(
        DatasetError, match=r"zoo, row 2, column 'y': the model does not know the class 'emu'"
    ):
        places_among(data, "y", ("cat", "dog"))
