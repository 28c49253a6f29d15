from __future__ import annotations

import os
from pathlib import Path

import pytest

from society.errors import TableError
from society.tables import Table, batches, is_same, read


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "rows.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_are_numbers_in_the_files_order(tmp_path, separator):
    path = written(tmp_path, "\ufeffb, a ,c\n1,2,3\n\n4,5e0,-6\n".replace(",", separator))
    assert read(path) == Table(rows=((1.0, 2.0, 3.0), (4.0, 5.0, -6.0)), actual=(), columns=("b", "a", "c"))


def test_columns_can_be_dropped_or_compared(tmp_path):
    path = written(tmp_path, "id,x,y,class\nn-1,1,2, seven\nn-2,3,4,eight\n")
    table = read(path, drop=["id", "y"], compare="class")
    assert (table.columns, table.rows, table.actual) == (("x",), ((1.0,), (3.0,)), ("seven", "eight"))


def test_a_column_to_compare_with_is_sent_as_well(tmp_path):
    table = read(written(tmp_path, "x,digit\n1,7\n"), compare="digit")
    assert (table.columns, table.rows, table.actual) == (("x", "digit"), ((1.0, 7.0),), ("7",))


@pytest.mark.parametrize("cell", ["b", "nan", ""])
def test_a_column_that_holds_no_numbers_is_left_out_with_the_reason(tmp_path, cell):
    path = written(tmp_path, f",x,y\n0,1,2\n1,2,{cell}\n")
    table = read(path)
    assert (table.columns, table.rows) == (("x",), ((1.0,), (2.0,)))
    told = f"{path}:3: column 'y' holds {cell!r}, which is no finite number"
    assert table.left_out == {"y": told}


def test_only_the_first_rows_are_read(tmp_path):
    path = written(tmp_path, "x,y\n1,2\n3,4\nnot,read\n")
    assert read(path, first=2).rows == ((1.0, 2.0), (3.0, 4.0))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty; its first line must name the columns"),
        ("x,y\n", "there is a header and no rows"),
        ("x,y\n1,2\n1\n", ":3: it has 1 cell, and the header 2"),
        (
            "x,y\na,b\n",
            ":2: column 'x' holds 'a', which is no finite number; no column of numbers is left to predict",
        ),
        ("x,y,x\n1,2,3\n", ": two columns are named 'x'; rename one"),
        (b"x,y\n\xff,1\n", "this is not UTF-8 text"),
        ('x,y\n1,"2\n', "this is not CSV: unexpected end of data"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, text, told):
    path = written(tmp_path, text)
    with pytest.raises(TableError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)


def test_an_absent_file_or_column_is_named(tmp_path):
    with pytest.raises(TableError, match="there is no such file"):
        read(tmp_path / "absent.csv")
    path = written(tmp_path, "x,y\n1,2\n")
    with pytest.raises(TableError, match=r"rows.csv has no column 'z'; it has x, y$"):
        read(path, compare="z")
    with pytest.raises(TableError, match="no column is left to predict from"):
        read(path, drop=["x", "y"])


@pytest.mark.timeout(10)
def test_what_is_no_file_is_refused_and_nobody_waits_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero")):
        with pytest.raises(TableError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: this is no file but a pipe or a device"
    with pytest.raises(TableError, match="it cannot be read: Is a directory"):
        read(tmp_path)


def test_a_file_is_read_through_a_link(tmp_path):
    (tmp_path / "link.csv").symlink_to(written(tmp_path, "x\n1\n"))
    assert read(tmp_path / "link.csv").rows == ((1.0,),)


@pytest.mark.parametrize(
    ("predicted", "actual", "same"),
    [(7.0, "7", True), ("7", "7.0", True), ("cat", "cat", True), ("cat", "dog", False), (7.0, "x", False)],
)
def test_a_class_is_the_same_however_it_is_written(predicted, actual, same):
    assert is_same(predicted, actual) is same


def test_batches_hold_all_rows_in_order_and_are_not_too_large():
    rows = tuple((float(number),) * 64 for number in range(1000))
    pieces = list(batches(rows))
    assert tuple(row for piece in pieces for row in piece) == rows
    assert max(len(piece) * 64 for piece in pieces) <= 25_000
    assert list(batches(((0.0,) * 30_000,) * 2)) == [((0.0,) * 30_000,)] * 2
