"""Rows of a CSV file for a prediction: read with the standard library, so that a client needs no torch."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from society.errors import TableError
from society.reading import open_text
from society.suggestions import unknown_among


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is asked about."""

    rows: tuple[tuple[float, ...], ...]
    """Row by column, in the file's order of columns."""
    actual: tuple[str, ...]
    """The column to compare with, row by row; empty where there is none."""
    columns: tuple[str, ...] = ()
    """The names of the columns in `rows`."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Columns that hold something else than finite numbers, by name: where, in a sentence."""


def read(
    path: Path, *, drop: Sequence[str] = (), compare: str | None = None, first: int | None = None
) -> Table:
    """Read a CSV file with a header line.

    Args:
        path: the file; its cells are separated by commas, semicolons or tabs.
        drop: columns to leave out. Those that hold something else than numbers are left out anyway: whether
            the model needs them, whoever has the model knows.
        compare: a column that is to stand beside the predictions.
        first: how many rows to read; all by default.

    Raises:
        TableError: it is not there, is no file, has no such column, or no column of numbers; with line and
            column.
    """
    try:
        with open_text(path, lambda fault: TableError(f"{path}: {fault}"), newline="") as stream:
            separator = _separator(stream.readline())
            stream.seek(0)
            return _table(path, csv.reader(stream, delimiter=separator, strict=True), drop, compare, first)
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
    places = _places(path, header, drop, compare)
    rows: list[list[float]] = []
    actual: list[str] = []
    left_out: dict[int, str] = {}
    for number, line in enumerate(lines, start=2):
        if first is not None and len(rows) >= first:
            break
        if not line:
            continue
        if len(line) != len(header):
            cells = f"{len(line)} cell{'' if len(line) == 1 else 's'}"
            raise TableError(f"{path}:{number}: it has {cells}, and the header {len(header)}")
        rows.append([_number(line[place]) for place in places])
        for place, value in zip(places, rows[-1], strict=True):
            if place not in left_out and not math.isfinite(value):
                cell = f"column {header[place]!r} holds {line[place][:40]!r}"
                left_out[place] = f"{path}:{number}: {cell}, which is no finite number"
        if compare is not None:
            actual.append(line[header.index(compare)].strip())
    if not rows:
        raise TableError(f"{path}: there is a header and no rows")
    kept = [index for index, place in enumerate(places) if place not in left_out]
    if not kept:
        raise TableError(f"{next(iter(left_out.values()))}; no column of numbers is left to predict from")
    return Table(
        rows=tuple(tuple(row[index] for index in kept) for row in rows),
        actual=tuple(actual),
        columns=tuple(header[places[index]] for index in kept),
        left_out={header[place]: fault for place, fault in left_out.items()},
    )


def _places(path: Path, header: list[str], drop: Sequence[str], compare: str | None) -> list[int]:
    """Which columns to read."""
    for name in [*drop, *([compare] if compare is not None else [])]:
        if name not in header:
            raise TableError(unknown_among(f"{path}", "column", name, header))
    # A column without a name, as spreadsheets and pandas write for the number of the row, is no feature.
    places = [place for place, name in enumerate(header) if name and name not in drop]
    twice = [name for name, count in Counter(header[place] for place in places).items() if count > 1]
    if twice:
        raise TableError(
            f"{path}: two columns are named {twice[0]!r}; rename one, or leave them out with --drop"
        )
    if not places:
        raise TableError(f"{path}: no column is left to predict from")
    return places


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


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
