"""Rows of a CSV file for a prediction: read with the standard library, so that a client needs no torch."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from society.errors import TableError


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is asked about."""

    rows: tuple[tuple[float, ...], ...]
    """Feature rows; row by feature, in the file's order of columns."""
    actual: tuple[str, ...]
    """The column to compare with, row by row; empty where there is none."""


def read(
    path: Path, *, drop: Sequence[str] = (), compare: str | None = None, first: int | None = None
) -> Table:
    """Read a CSV file with a header line.

    Args:
        path: the file; its cells are separated by commas, semicolons or tabs.
        drop: columns that are no features.
        compare: a column that is no feature either, but is to stand beside the predictions.
        first: how many rows to read; all by default.

    Raises:
        TableError: it is not there, has no such column, or a cell is no number; with line and column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            separator = _separator(stream.readline())
            stream.seek(0)
            return _table(path, csv.reader(stream, delimiter=separator, strict=True), drop, compare, first)
    except FileNotFoundError:
        raise TableError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TableError(f"{path}: it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: this is not UTF-8 text; save it as UTF-8") from error
    except csv.Error as error:
        raise TableError(f"{path}: this is not CSV: {error}") from error


def _separator(header: str) -> str:
    return max(",;\t", key=header.count)


def _table(
    path: Path, lines: Iterator[list[str]], drop: Sequence[str], compare: str | None, first: int | None
) -> Table:
    header = [name.strip() for name in next(lines, [])]
    if not header:
        raise TableError(f"{path}: it is empty; its first line must name the columns")
    apart = [*drop, *([compare] if compare is not None else [])]
    for name in apart:
        if name not in header:
            some = ", ".join(header[:20]) + (" ..." if len(header) > 20 else "")
            raise TableError(f"{path}: there is no column {name!r}; it has {some}")
    features = [place for place, name in enumerate(header) if name not in apart]
    if not features:
        raise TableError(f"{path}: no column is left to predict from")
    rows: list[tuple[float, ...]] = []
    actual: list[str] = []
    for number, line in enumerate(lines, start=2):
        if first is not None and len(rows) >= first:
            break
        if not line:
            continue
        if len(line) != len(header):
            raise TableError(f"{path}:{number}: it has {len(line)} cells, and the header {len(header)}")
        rows.append(tuple(_number(path, number, header[place], line[place]) for place in features))
        if compare is not None:
            actual.append(line[header.index(compare)].strip())
    if not rows:
        raise TableError(f"{path}: there is a header and no rows")
    return Table(rows=tuple(rows), actual=tuple(actual))


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TableError(
            f"{path}:{line}: column {column!r} holds {cell[:40]!r}, which is no finite number; "
            "mend it, or leave the column out with --drop"
        )
    return value


def is_same(predicted: float | str, actual: str) -> bool:
    """Whether a predicted class is the one in the table: 7, 7.0 and "7" are one class."""
    try:
        return float(predicted) == float(actual)
    except ValueError:
        return str(predicted).strip() == actual


def batches(
    rows: Sequence[tuple[float, ...]], cells: int = 25_000
) -> Iterator[tuple[tuple[float, ...], ...]]:
    """Rows in pieces that fit into one message: 25,000 numbers are at most half a megabyte of content."""
    size = max(1, cells // len(rows[0]))
    for start in range(0, len(rows), size):
        yield tuple(rows[start : start + size])
