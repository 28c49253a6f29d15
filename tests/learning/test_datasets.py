from __future__ import annotations

import csv
import importlib.util
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.columns import from_arrays
from learning.csv_files import read_csv
from learning.datasets import DataFolder, Dataset, digest, reference
from learning.errors import (
    DatasetChangedError,
    DatasetError,
    DatasetNotFoundError,
    DatasetTooLargeError,
)
from ontology.models import DatasetRef
from tests.learning.samples import digits
from tests.requirements import require

PYARROW = importlib.util.find_spec("pyarrow") is not None


def loaded(tmp_path: Path, text: str | bytes, name: str = "some.csv") -> Dataset:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return DataFolder(tmp_path).load(reference(path, tmp_path))


def test_the_digits_are_all_there() -> None:
    data = digits()
    assert (data.rows, len(data.columns), data.table.text) == (1797, 65, {})
    assert list(data.columns)[:2] == ["pixel_0_0", "pixel_0_1"]
    assert np.bincount(data.columns["digit"].astype(int)).tolist() == [
        178,
        182,
        177,
        183,
        181,
        182,
        181,
        179,
        174,
        180,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x\n2,y\n",
        "\ufeffa,b\n1,x\n2,y\n",
        "a;b\n1;x\n2;y",
        "a\tb\r\n1\tx\r\n2\ty\r\n",
        'a,"b"\n\n 1, "x"\n\n2,y\n\n',
        "a , b\n1.0e0,x\n+2.,y\n",
    ],
)
def test_csv_as_people_write_it(tmp_path: Path, text: str) -> None:
    data = loaded(tmp_path, text)
    assert {name: values.tolist() for name, values in data.columns.items()} == {
        "a": [1.0, 2.0],
        "b": ["x", "y"],
    }
    assert data.columns["a"].dtype == np.float64


def test_labels_that_only_begin_as_numbers_stay_as_they_stood(tmp_path: Path) -> None:
    data = loaded(tmp_path, "a,y\n1,007\n2,8\n3,x\n4,007\n")
    assert data.columns["y"].tolist() == ["007", "8", "x", "007"]
    assert data.columns["a"].tolist() == [1, 2, 3, 4]
    assert (data.table.text["y"].line, data.table.text["y"].value) == (4, "x")


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            # It begins with a letter that no number and no NaN begins with: the column is text.
            st.text(st.characters(codec="utf-8", exclude_characters="\0\r")).map("x".__add__),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_csv_comes_back_as_it_was_written(rows: list[tuple[float, str]]) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerows([("number", "word"), *rows])
    columns = read_csv(io.BytesIO(text.getvalue().encode()), "some.csv").values
    assert columns["number"].tolist() == [number for number, _ in rows]
    assert columns["word"].tolist() == [word for _, word in rows]


def test_npz_names_columns_by_key_and_place(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    images = np.arange(12.0).reshape(3, 2, 2)
    np.savez_compressed(
        path, pixel=images, fortran=np.asfortranarray(np.eye(3, 2)), digit=np.array([1, 2, 1])
    )
    data = DataFolder(tmp_path).load(reference(path, tmp_path))
    assert list(data.columns) == [
        *("pixel_0_0", "pixel_0_1", "pixel_1_0", "pixel_1_1", "fortran_0", "fortran_1", "digit")
    ]  # fmt: skip
    assert data.features(["pixel_0_0", "pixel_1_1"]).tolist() == [[0, 3], [4, 7], [8, 11]]
    assert data.columns["fortran_1"].tolist() == [0, 1, 0]


def test_npz_with_text_and_truth_values(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    np.savez(
        path, word=np.array(["a", "b"]), yes=np.array([True, False]), half=np.array([1, 2], dtype=np.float16)
    )
    data = DataFolder(tmp_path).load(reference(path, tmp_path))
    assert [values.tolist() for values in data.columns.values()] == [["a", "b"], [1, 0], [1, 2]]


def test_parquet(tmp_path: Path) -> None:
    require(PYARROW, "pyarrow")
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import parquet  # noqa: PLC0415

    path = tmp_path / "some.parquet"
    table = pa.table(
        {
            "a": pa.array([1, 2, 3], pa.int16()),
            "b": pa.array([True, False, True]),
            "c": pa.array(["x", "y", "x"]),
            "d": pa.array(["u", "v", "u"]).dictionary_encode(),
            "e": pa.array([0.5, 1.5, 2.5], pa.float32()),
        }
    )
    parquet.write_table(table, path)
    data = DataFolder(tmp_path).load(reference(path, tmp_path))
    assert {name: values.tolist() for name, values in data.columns.items()} == {
        "a": [1, 2, 3],
        "b": [1, 0, 1],
        "c": ["x", "y", "x"],
        "d": ["u", "v", "u"],
        "e": [0.5, 1.5, 2.5],
    }


def test_arrays_in_memory_have_a_digest_of_their_own() -> None:
    one, same, other = (Dataset.of({"a": [1.0, 2.0], "b": ["x", last]}) for last in "yyz")
    assert one.sha256 == same.sha256 != other.sha256
    assert len(one.sha256) == 64


def test_taking_rows() -> None:
    data = Dataset.of({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    assert data.take(np.array([2, 0]), ["b", "a"]) == [["z", 3.0], ["x", 1.0]]


# --- the folder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    ["sub/some%20data.csv", "sub/./some%20data.csv"],
)
def test_relative_paths_are_taken_literally(tmp_path: Path, uri: str) -> None:
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "some%20data.csv"
    path.write_text("a\n1\n")
    assert DataFolder(tmp_path).load(DatasetRef(uri=uri, sha256=digest(path))).rows == 1


def test_file_addresses(tmp_path: Path) -> None:
    path = tmp_path / "some data.csv"
    path.write_text("a\n1\n")
    for uri in ("file:some%20data.csv", path.as_uri(), path.as_uri().replace("file://", "file://localhost")):
        assert DataFolder(tmp_path).resolve(uri) == path.resolve()


def test_several_roots_are_tried_in_turn(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text("a\n1\n")
    folder = DataFolder(tmp_path / "one", tmp_path / "two")
    assert folder.resolve("two.csv").parent.name == "two"
    with pytest.raises(
        DatasetNotFoundError, match=r"three.csv: there is no such file.*it has one.csv, two.csv"
    ):
        folder.resolve("three.csv")


@pytest.mark.parametrize(
    "uri",
    [
        "../secret.csv",
        "sub/../../secret.csv",
        "file:../secret.csv",
        "file:%2e%2e/secret.csv",
        "link.csv",
        "linked/secret.csv",
        "circle.csv",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://elsewhere/some.csv",
        "http://elsewhere/some.csv",
        "sub",
        "",
        "file:",
        "a\0b.csv",
        "x" * 2000,
    ],
)
def test_nothing_outside_the_folder_is_read(tmp_path: Path, uri: str) -> None:
    root = tmp_path / "data"
    (root / "sub").mkdir(parents=True)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    (root / "link.csv").symlink_to(secret)
    (root / "linked").symlink_to(tmp_path)
    (root / "circle.csv").symlink_to(root / "circle.csv")
    with pytest.raises(DatasetNotFoundError):
        DataFolder(root).resolve(uri)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("file://[x", r"file://\[x: this is no file: address \(Invalid IPv6 URL\); write a path"),
        ("\ud800.csv", r"'\\ud800.csv': the path holds half a character \(a surrogate\); write it in UTF-8"),
    ],
)
def test_an_address_that_is_none(tmp_path: Path, uri: str, told: str) -> None:
    with pytest.raises(DatasetNotFoundError, match=f"^{told}$"):
        DataFolder(tmp_path).resolve(uri)


def test_a_link_inside_the_folder_is_fine(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("a\n1\n")
    (tmp_path / "link.csv").symlink_to("some.csv")
    assert DataFolder(tmp_path).resolve("link.csv").name == "some.csv"


def test_a_reference_is_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "some.csv"
    path.write_text("a\n1\n")
    assert reference(path, tmp_path).uri == "sub/some.csv"
    with pytest.raises(DatasetNotFoundError, match="is not inside the data folder"):
        reference(path, tmp_path / "other")
    with pytest.raises(DatasetNotFoundError, match="there is no such file"):
        reference(tmp_path / "none.csv", tmp_path)


def test_another_file_than_meant(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("a\n1\n")
    ref = reference(path, tmp_path)
    path.write_text("a\n2\n")
    with pytest.raises(DatasetChangedError, match=rf"the file's sha256 is {digest(path)}, not {ref.sha256}"):
        DataFolder(tmp_path).load(ref)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DatasetNotFoundError, match="no regular file"):
        digest(tmp_path / "pipe.csv")


def test_two_gigabytes_are_refused_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as stream:
        stream.truncate(2 << 30)  # sparse: takes no room on the disk
    ref = DatasetRef(uri="huge.csv", sha256="0" * 64)
    with pytest.raises(DatasetTooLargeError, match=r"2,147,483,648 bytes and the limit is 1,073,741,824"):
        DataFolder(tmp_path).load(ref)


def test_the_limit_is_the_folders(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("a\n1\n")
    with pytest.raises(DatasetTooLargeError):
        DataFolder(tmp_path, limit_bytes=3).load(reference(path, tmp_path))


def test_a_table_larger_than_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_given: object) -> None:
        raise MemoryError

    monkeypatch.setattr("learning.datasets.read_csv", full)
    with pytest.raises(
        DatasetTooLargeError, match="it does not fit in this machine's memory; split the data"
    ):
        loaded(tmp_path, "a\n1\n")


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(stream: io.BufferedReader, source: str) -> object:
        with (tmp_path / "some.csv").open("a") as other:
            other.write("2\n")
        return read_csv(stream, source)

    monkeypatch.setattr("learning.datasets.read_csv", slow)
    with pytest.raises(DatasetChangedError, match="the file changed while it was read; try again"):
        loaded(tmp_path, "a\n1\n")


def test_features_and_targets_tell_which_columns_there_are() -> None:
    data = Dataset.of({"a": [1, 2], "b": [3, 4]}, "some.npz")
    with pytest.raises(DatasetError, match=r"some.npz, column 'c': there is no such column; it has a, b$"):
        data.feature_names("c")
    with pytest.raises(DatasetError, match=r"column 'a': this is the only column"):
        Dataset.of({"a": [1, 2]}).feature_names("a")
    with pytest.raises(
        DatasetError, match=r"column 'B': there is no such column; it has a, b; did you mean 'b'\?"
    ):
        data.feature_names("a", ["B"])
    assert Dataset.of({"a": [1], "b": [2], "c": [3]}).feature_names("c", ["a"]) == ("b",)
    many = from_arrays({"x": np.zeros((1, 100))}, "wide")
    with pytest.raises(DatasetError, match=r"x_8, x_9 and 90 more$"):
        Dataset(source="wide", sha256="0" * 64, table=many).column("y")
