"""Every kind of bad file: one sentence that says what, where, and how to mend it."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import learning.csv_files
from learning.archives import read_npz, read_parquet
from learning.columns import COLUMN_LIMIT, Columns
from learning.csv_files import read_csv
from learning.datasets import DataFolder, Dataset, reference
from learning.errors import DatasetError, DatasetTooLargeError
from learning.inference import evaluate
from learning.training import train
from tests.learning.samples import slope, task
from tests.requirements import require

PYARROW = importlib.util.find_spec("pyarrow") is not None

BAD_CSV = {
    "empty file": (b"", "some.csv: the file is empty; its first line must name the columns"),
    "no rows": (b"a,b\n", "some.csv: there is a header and no rows; add data below it"),
    "only blank lines": (b"a,b\n\n\n", "some.csv: there is a header and no rows"),
    "no header": (
        b"1,2\n3,4\n",
        "some.csv, line 1: the first line holds numbers, but it must name the columns",
    ),
    "nameless column": (b"a,,c\n1,2,3\n", "some.csv, line 1: column 2 has no name; name every column"),
    "two alike": (b"a,b,a\n1,2,3\n", "some.csv, line 1, column 'a': two columns have this name; rename one"),
    "short row": (b"a,b\n1,2\n\n3\n", "some.csv, line 4: this row has 1 cells and the header has 2"),
    "long row": (b"a,b\n1,2,3\n", "some.csv, line 2: this row has 3 cells and the header has 2"),
    "empty cell": (b"a,b\n1,2\n3,\n", "some.csv, line 3, column 'b': the cell is empty; fill it in"),
    "blank cell": (b"a,b\n1,2\n  ,4\n", "some.csv, line 3, column 'a': the cell is empty"),
    "empty label": (b"a,b\n1,x\n2,\n", "some.csv, line 3, column 'b': the cell is empty"),
    "NaN": (b"a,b\n1,2\n3,NaN\n", "some.csv, line 3, column 'b': 'NaN' is no finite number; replace it"),
    "infinity": (b"a,b\n1,2\n\n-inf,3\n", "some.csv, line 4, column 'a': '-inf' is no finite number"),
    "overflow": (b"a,b\n1,1e999\n", "some.csv, line 2, column 'b': '1e999' is no finite number"),
    "binary": (b"\x7fELF\x02\x00\x00", "some.csv: this is not text (it holds zero bytes)"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "some.csv: this is not text"),
    "Latin-1": (b"a,b\n1,x\n2,caf\xe9\n", "some.csv, line 3: this is not UTF-8 text; save the file as UTF-8"),
    "Latin-1 header": (b"caf\xe9,b\n1,2\n", "some.csv, line 1: this is not UTF-8 text"),
    "open quote": (b'a,b\n1,"2\n3,4\n', "some.csv, line 3: this is not CSV"),
    "endless cell": (b"a,b\n1," + b"x" * 200_000 + b"\n", "some.csv, line 2: this is not CSV: field larger"),
}


def use(table: Columns, source: str) -> None:
    """Ask for every column, in the file's order: what is wrong with one is told to whoever asks for it."""
    data = Dataset(source=source, sha256="0" * 64, table=table)
    for name in table.names:
        data.column(name)


@pytest.mark.parametrize(("content", "sentence"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv(content: bytes, sentence: str) -> None:
    with pytest.raises(DatasetError) as caught:
        use(read_csv(io.BytesIO(content), "some.csv"), "some.csv")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_late_byte_that_is_no_utf8_is_found_in_its_line() -> None:
    content = b"a,b\n" + b"1,2\n" * 50_000 + b"3,\xff\n"
    with pytest.raises(DatasetError, match="line 50002: this is not UTF-8"):
        read_csv(io.BytesIO(content), "some.csv")


@pytest.mark.parametrize(("content", "line"), [(b"a" * 101, 1), (b"a,b\n1,2\n" + b"1," * 60, 3)])
def test_a_line_without_end(monkeypatch: pytest.MonkeyPatch, content: bytes, line: int) -> None:
    monkeypatch.setattr(learning.csv_files, "LINE_LIMIT", 100)
    with pytest.raises(DatasetError, match=rf"some.csv, line {line}: the line has 1\d\d characters, 100 are"):
        read_csv(io.BytesIO(content), "some.csv")


TEXT = {
    "first row": (b"a,y\nold,1\n2,0\n", 2, "old"),
    "later": (b"a,y\n1,1\n\n2,0\n3x,0\n", 5, "3x"),
    "after a quoted line": (b'y,a\n"1\n",1\nx,2\nx,two\n', 5, "two"),
    "an underscore": (b"a,y\n1,1\n1_000,0\n", 3, "1_000"),
    "a comma for a point": (b"a;y\n1;1\n1,5;0\n", 3, "1,5"),
}


@pytest.mark.parametrize(("content", "line", "value"), TEXT.values(), ids=TEXT)
def test_text_among_the_numbers(tmp_path: Path, content: bytes, line: int, value: str) -> None:
    (tmp_path / "some.csv").write_bytes(content)
    data = DataFolder(tmp_path).load(reference(tmp_path / "some.csv", tmp_path))
    with pytest.raises(
        DatasetError, match=rf"some.csv, line {line}, column 'a': '{value}' is no number; fe"
    ) as caught:
        train(task(), data)
    assert (caught.value.line, caught.value.column, caught.value.value) == (line, "a", value)


def test_a_regression_needs_numbers(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("a,y\n1,2\n2,low\n3,4\n")
    data = DataFolder(tmp_path).load(reference(tmp_path / "some.csv", tmp_path))
    with pytest.raises(
        DatasetError, match=r"line 3, column 'y': 'low' is no number; the target of a regression"
    ):
        train(task(kind="regression"), data)


# --- columns that are left out are not looked at --------------------------------------------------------

GAPS = {
    "empty": b"id,a,y\n1,1,0\n,2,1\n",
    "empty at first": b"id,a,y\n,1,0\n2,2,1\n",
    "empty everywhere": b"id,a,y\n,1,0\n ,2,1\n",
    "NaN": b"id,a,y\n1,1,0\nNaN,2,1\n",
    "infinite at first": b"id,a,y\ninf,1,0\n2,2,1\n",
    "text": b"id,a,y\nx,1,0\n2,2,1\n",
    "late text": b"id,a,y\n1,1,0\nx,2,1\n",
    "empty among text": b"id,a,y\nx,1,0\n,2,1\n",
    "text after empty": b"id,a,y\n,1,0\nx,2,1\n",
    "NaN after empty": b"id,a,y\n,1,0\nnan,2,1\n",
    "too long a number": b"id,a,y\n1,1,0\n1_000,2,1\n",
}


def from_folder(folder: Path, name: str, content: bytes) -> Dataset:
    (folder / name).write_bytes(content)
    return DataFolder(folder).load(reference(folder / name, folder))


@pytest.mark.parametrize("content", GAPS.values(), ids=GAPS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_wrong_with_one_column_of_csv_is_no_matter_of_the_others(
    tmp_path: Path, content: bytes, place: int
) -> None:
    lines = [line.split(b",") for line in content.splitlines()]
    turned = b"\n".join(b",".join(line[place:] + line[:place]) for line in lines)
    data = from_folder(tmp_path, "some.csv", turned)
    assert data.rows == 2
    assert set(data.table.names) == {"id", "a", "y"}
    names = data.feature_names("y", ["id"])
    assert (names, data.features(names).tolist()) == (("a",), [[1.0], [2.0]])
    assert data.column("y").tolist() == [0.0, 1.0]
    with pytest.raises(DatasetError, match=r"some\.csv, line [23], column 'id': .*--drop"):
        data.features(["id"])


def test_the_first_fault_of_each_column_is_told_with_its_line(tmp_path: Path) -> None:
    rows = ["1,1,x,1,1,0", "", '2,nan,,1,"', '",0', "inf,3,y,x,2,0", "nan,inf,z,,3,0"]
    data = from_folder(tmp_path, "some.csv", "\n".join(["a,b,c,d,e,f", *rows]).encode())
    assert data.column("f").tolist() == [0, 0, 0, 0]
    told = {}
    for name in "abcde":
        with pytest.raises(DatasetError) as caught:
            data.column(name)
        told[name] = (caught.value.line, caught.value.value)
    assert told == {"a": (6, "inf"), "b": (5, "nan"), "c": (5, ""), "d": (7, ""), "e": (5, "\n")}


def test_training_looks_at_no_column_that_is_dropped(tmp_path: Path) -> None:
    rows = [
        f"{place % 7},{place % 2},{'' if place == 5 else place},{'nan' if place % 3 else 1}"
        for place in range(60)
    ]
    data = from_folder(tmp_path, "some.csv", "\n".join(["a,y,id,weight", *rows]).encode())
    assert train(task(drop=("id", "weight")), data).card.features == ("a",)
    with pytest.raises(
        DatasetError, match=r"line 7, column 'id': the cell is empty; fill it in, leave the row"
    ):
        train(task(drop=("weight",)), data)
    with pytest.raises(DatasetError, match=r"line 3, column 'weight': 'nan' is no finite number; replace it"):
        train(task(drop=("id",)), data)
    with pytest.raises(DatasetError, match=r"line 7, column 'id': the cell is empty"):
        train(task(target="id", drop=("weight",)), data)


def test_an_evaluation_looks_at_the_models_columns_only(tmp_path: Path) -> None:
    data = slope()
    model = train(task(kind="regression"), data)
    rows = zip(data.columns["b"], data.columns["a"], data.columns["y"], strict=True)
    lines = [f"{b},{a},{y},{'' if place else 'x'}" for place, (b, a, y) in enumerate(rows)]
    more = from_folder(tmp_path, "some.csv", "\n".join(["b,a,y,remark", *lines]).encode())
    assert evaluate(model, more) == pytest.approx(evaluate(model, data))


def test_columns_of_arrays_that_cannot_be_used_are_no_matter_of_the_others(tmp_path: Path) -> None:
    arrays = {
        "a": np.array([1, 2]), "holes": np.array([1.0, np.nan]), "image": np.array([[1, 2], [np.inf, 4]]),
        "born": np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"), "code": np.array([b"x", b"y"]),
        "half": np.array(["x", "\ud800"]), "trap": np.array([Trap(), 1], dtype=object),
        "y": np.array(["u", "v"]),
    }  # fmt: skip
    data = from_folder(tmp_path, "some.npz", npz(**arrays).getvalue())
    faulty = ["holes", "image_0", "born", "code", "half", "trap"]
    assert data.table.names == ("a", "holes", "image_0", "image_1", "born", "code", "half", "trap", "y")
    assert data.feature_names("y", faulty) == ("a", "image_1")
    assert data.features(["a", "image_1"]).tolist() == [[1, 2], [2, 4]]
    for name in faulty:
        with pytest.raises(DatasetError, match=f"column '{name}'"):
            data.column(name)
    assert Trap.sprung == []
    with_faults, without = Dataset.of(arrays), Dataset.of({**arrays, "holes": [1.0, 2.0]})
    assert with_faults.features(["a"]).tolist() == [[1], [2]]
    assert with_faults.sha256 != without.sha256


def test_columns_of_parquet_that_cannot_be_used_are_no_matter_of_the_others(tmp_path: Path) -> None:
    columns = {"a": [1, 2], "gap": [None, 1.0], "tags": [["x"], []], "nan": [np.nan, 1.0], "y": ["u", "v"]}
    data = from_folder(tmp_path, "some.parquet", parquet_file(columns).getvalue())
    assert data.table.names == tuple(columns)
    names = data.feature_names("y", ["gap", "tags", "nan"])
    assert data.features(names).tolist() == [[1], [2]]
    for name, told in {
        "gap": "row 1, .* the cell is empty",
        "tags": "the type",
        "nan": "row 1, .*'nan'",
    }.items():
        with pytest.raises(DatasetError, match=told):
            data.features([name])


def test_the_target_is_not_there() -> None:
    data = Dataset.of({"a": [1, 2], "b": [1, 2]}, "some.npz")
    with pytest.raises(DatasetError, match=r"column 'y': there is no such column; it has a, b"):
        train(task(), data)


def test_an_unknown_type_of_file(tmp_path: Path) -> None:
    (tmp_path / "some.xlsx").write_bytes(b"PK")
    with pytest.raises(
        DatasetError, match=r"file type '.xlsx' is not read; save the data as .csv, .npz or .parquet"
    ):
        DataFolder(tmp_path).load(reference(tmp_path / "some.xlsx", tmp_path))


@given(st.binary(max_size=300))
def test_junk_gives_a_dataset_error_or_columns(content: bytes) -> None:
    for header in (b"", b"a,b\n"):
        try:
            columns = read_csv(io.BytesIO(header + content), "junk.csv").values
        except DatasetError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert len({len(values) for values in columns.values()}) == 1
    with pytest.raises(DatasetError):
        read_npz(io.BytesIO(content), "junk.npz", 1000)


# --- NPZ ------------------------------------------------------------------------------------------------


def npz(**arrays: Any) -> io.BytesIO:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    stream.seek(0)
    return stream


class Trap:
    """Would leave a trace if it were unpickled."""

    sprung: list[int] = []  # noqa: RUF012

    def __reduce__(self) -> Any:
        return self.sprung.append, (1,)


BAD_NPZ = {
    "lengths": ({"a": [1, 2], "b": [1, 2, 3]}, "some.npz: the arrays differ in their number of rows (a"),
    "no rows": ({"a": np.zeros((0, 3))}, "some.npz: there are no rows"),
    "no axis": ({"a": np.array(3.0)}, "some.npz: there are no rows"),
    "nothing": ({}, "some.npz: there are no rows"),
    "NaN": ({"a": [1, np.nan]}, "some.npz, row 2, column 'a': 'nan' is no finite number"),
    "complex": ({"a": [1j]}, "some.npz, column 'a': the type complex128 is not read; save numbers or text"),
    "dates": ({"a": np.array(["2020-01-01"], dtype="M8[D]")}, "some.npz, column 'a': the type datetime64"),
    "bytes": ({"a": [b"x"]}, "some.npz, column 'a': text as bytes is not read; save"),
    "same name": ({"a": [[1, 2]], "a_1": [3]}, "some.npz, column 'a_1': two columns have this name"),
    "no columns": ({"a": np.zeros((5, 0))}, "some.npz: there are no columns; every array needs values"),
    "half a character": ({"a": ["x", "\ud800"]}, "some.npz, row 2, column 'a': the text holds what is no"),
    "wide": ({"a": np.zeros((1, COLUMN_LIMIT + 1), np.int8)}, "some.npz: there are 100,001 columns and"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "sentence"), BAD_NPZ.values(), ids=BAD_NPZ)
def test_bad_npz(arrays: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatasetError) as caught:
        use(read_npz(npz(**arrays), "some.npz", 1 << 20), "some.npz")
    assert str(caught.value).startswith(sentence)


def test_pickled_objects_are_refused_and_never_loaded() -> None:
    stream = npz(a=np.array([Trap(), 1], dtype=object))
    with pytest.raises(DatasetError, match=r"column 'a': the array holds pickled Python objects, which"):
        read_npz(stream, "some.npz", 1 << 20)
    assert Trap.sprung == []


def test_a_zip_bomb_is_refused_by_its_sizes() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(50_000_000))
    assert len(stream.getvalue()) < 100_000
    with pytest.raises(
        DatasetTooLargeError, match=r"it unpacks to 50,000,000 bytes and the limit is 1,000,000"
    ):
        read_npz(stream, "some.npz", 1_000_000)


def test_a_header_that_claims_more_than_there_is_takes_no_memory() -> None:
    member = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(member, header)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.npy", member.getvalue())
    with pytest.raises(DatasetError, match=r"says it has the shape \(1000000000000,\), but 0 bytes follow"):
        read_npz(stream, "some.npz", 1_000_000)


def member(shape: tuple[int, ...], descr: str = "<f8", values: bytes = b"") -> io.BytesIO:
    """An archive of one array whose header says what it likes."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(256).encode()
    return archive(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + values)


def archive(content: bytes) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as packed:
        packed.writestr("a.npy", content)
    return stream


BAD_MEMBER = {
    "negative sides": (member((-1, -2), values=bytes(16)), "no array has 2 axes, the shape (-1, -2) and the"),
    "a negative side": (member((-1,)), "no array has 1 axes, the shape (-1,) and the type float64; save it"),
    "many axes": (member((1,) * 33, values=bytes(8)), "no array has 33 axes, the shape (1, 1, 1"),
    "empty and endless": (member((0, 10**30)), "no array has the shape (0, 1000000000000000000"),
    "nothing to hold": (
        member((10**12,), "<U0"),
        "no array has 1 axes, the shape (1000000000",
    ),
    "an open bracket": (archive(b"\x93NUMPY\x01\x00\x02\x00{("), "this is not a NumPy array ("),
    "a deep header": (
        archive(b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"[" * 9000),
        "this is not a NumPy array (",
    ),
    "no dtype": (member((1,), "nonsense", bytes(8)), "this is not a NumPy array ("),
}


@pytest.mark.parametrize(("stream", "sentence"), BAD_MEMBER.values(), ids=BAD_MEMBER)
def test_a_member_that_is_no_array(stream: io.BytesIO, sentence: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_npz(stream, "some.npz", 1_000_000)
    assert str(caught.value).startswith(f"some.npz, column 'a': {sentence}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_members_that_do_not_unpack(method: int) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as packed:
        packed.writestr("a.npy", bytes(range(256)) * 40)
    good = stream.getvalue()
    end = good.index(b"PK\x01\x02")
    for place in range(35, end, 3):
        content = bytearray(good)
        content[place : place + 8] = bytes(each ^ 0xA5 for each in content[place : place + 8])
        with pytest.raises(DatasetError, match=r"^some.npz[^\n]*(save it again|numpy.savez)$"):
            read_npz(io.BytesIO(bytes(content)), "some.npz", 1 << 20)


@pytest.mark.parametrize("order", "<>")
def test_text_that_is_none(order: str) -> None:
    big = "little" if order == "<" else "big"
    codes = b"".join(code.to_bytes(4, big) for code in (97, 98, 0x10FFFF, 0, 99, 0x7FFFFFFF))
    with pytest.raises(DatasetError, match=r"^some.npz, row 3, column 'a': the text holds what is no char"):
        read_npz(member((3,), f"{order}U2", codes), "some.npz", 1_000_000)
    with pytest.raises(DatasetError, match=r"^arrays, row 2, column 'a': the text holds what is no char"):
        Dataset.of({"a": np.array(["x", "\ud800"], dtype=object)})


def test_a_long_cell_is_shown_in_part() -> None:
    with pytest.raises(DatasetError) as caught:
        use(read_csv(io.BytesIO(b"a,b\n1," + b"9" * 1000 + b"\n"), "some.csv"), "some.csv")
    assert str(caught.value) == (
        f"some.csv, line 2, column 'b': '{'9' * 60}' is no finite number; "
        "replace it, leave the row out, or the column with --drop"
    )
    assert caught.value.value == "9" * 1000


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no zip", "no array", "twice"])
def test_damaged_npz(damage: str) -> None:
    content = bytearray(npz(a=np.arange(100.0)).getvalue())
    if damage == "truncated":
        content = content[:200]
    elif damage == "flipped":
        content[300] ^= 255
    elif damage == "no zip":
        content = bytearray(b"a,b\n1,2\n")
    else:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("a.npy", b"hello")
            if damage == "twice":
                archive.writestr("a", b"hello")
        content = bytearray(stream.getvalue())
    with pytest.raises(DatasetError, match=r"^some.npz[^\n]*(save it again|save it with numpy.savez)$"):
        read_npz(io.BytesIO(bytes(content)), "some.npz", 1 << 20)


# --- Parquet --------------------------------------------------------------------------------------------


def parquet_file(columns: dict[str, Any]) -> io.BytesIO:
    require(PYARROW, "pyarrow")
    import pyarrow as pa  # noqa: PLC0415 - an extra
    from pyarrow import parquet  # noqa: PLC0415

    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    stream.seek(0)
    return stream


BAD_PARQUET = {
    "null": ({"a": [1, None, 3]}, "some.parquet, row 2, column 'a': the cell is empty"),
    "null text": ({"a": ["x", None]}, "some.parquet, row 2, column 'a': the cell is empty"),
    "all null": ({"a": [None]}, "some.parquet, row 1, column 'a': the cell is empty"),
    "NaN": ({"a": [1.0, float("inf")]}, "some.parquet, row 2, column 'a': 'inf' is no finite number"),
    "lists": ({"a": [[1], [2]]}, "some.parquet, column 'a': the type list<"),
    "no rows": ({"a": np.zeros(0)}, "some.parquet: there are no rows"),
    "no text": ({"a": np.zeros(0, dtype="U1")}, "some.parquet: there are no rows"),
}


@pytest.mark.parametrize(("columns", "sentence"), BAD_PARQUET.values(), ids=BAD_PARQUET)
def test_bad_parquet(columns: dict[str, Any], sentence: str) -> None:
    stream = parquet_file(columns)
    with pytest.raises(DatasetError) as caught:
        use(read_parquet(stream, "some.parquet", 1 << 20), "some.parquet")
    assert str(caught.value).startswith(sentence)


def test_damaged_parquet() -> None:
    content = parquet_file({"a": [1.0, 2.0]}).getvalue()
    for damaged in (b"", b"a,b\n1,2\n", content[:-20], content[: len(content) // 2]):
        with pytest.raises(DatasetError, match=r"^some.parquet: this is not a readable Parquet file[^\n]*$"):
            read_parquet(io.BytesIO(damaged), "some.parquet", 1 << 20)


def test_a_long_table_in_a_small_parquet_file() -> None:
    stream = parquet_file({"a": np.zeros(1_000_000)})
    assert len(stream.getvalue()) < 100_000
    with pytest.raises(
        DatasetTooLargeError, match=r"it unpacks to 8,000,000 bytes and the limit is 1,000,000"
    ):
        read_parquet(stream, "some.parquet", 1_000_000)


@pytest.mark.parametrize(
    ("missing", "code", "sentence"),
    [
        (
            "pyarrow",
            "import io\nfrom learning.archives import read_parquet\n"
            "read_parquet(io.BytesIO(), 'some.parquet', 9)",
            "MissingExtraError: some.parquet: reading Parquet needs pyarrow, which is not installed; "
            "in the folder of Locution: pip install -e '.[parquet]'",
        ),
        (
            "torch",
            "import learning",
            "ModuleNotFoundError: learning needs torch, which is not installed; "
            "in the folder of Locution: pip install -e '.[learning]'",
        ),
    ],
)
def test_a_missing_extra_names_the_command_that_installs_it(missing: str, code: str, sentence: str) -> None:
    hide = (
        "import sys, importlib.util\n"
        f"sys.modules[{missing!r}] = None\n"  # an import of it fails as if it were not there
        "found = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name: None if name == {missing!r} else found(name)\n"
    )
    done = subprocess.run([sys.executable, "-c", hide + code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith(sentence)
