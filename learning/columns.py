"""The columns of a table, whatever file they come from.

Every column is either numbers (float64, all finite) or text (str objects). A column is text as soon as one
of its cells is no number; the first such cell is remembered, so that whoever needs numbers can say where
the text stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from learning.errors import DatasetError

COLUMN_LIMIT = 100_000
"""The most columns a file may have; more are a file that was transposed, or made to do harm."""

Unit = Literal["line", "row"]
"""What positions count: lines of a text file (the header is line 1), or rows from 1."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: where it stands and what it holds."""

    line: int
    value: str


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a file holds.

    Attributes:
        values: name -> float64 or object (str) [row], in the file's order, all of one length.
        text: for each text column, its first cell that is no number.
        unit: what `Cell.line` counts.
    """

    values: Mapping[str, NDArray[Any]]
    text: Mapping[str, Cell] = field(default_factory=dict)
    unit: Unit = "row"


def from_arrays(arrays: Mapping[str, NDArray[Any]], source: str) -> Columns:
    """Make columns of arrays in memory, by the rules of `read_npz`.

    Raises:
        DatasetError: the arrays are no table, or hold something else than finite numbers and text.
    """
    lengths = {key: len(values) if values.ndim else 0 for key, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {length}" for key, length in list(lengths.items())[:5])
        raise DatasetError(source, f"the arrays differ in their number of rows ({told}); make them equal")
    if not sum(lengths.values()):
        raise DatasetError(source, "there are no rows; every array needs at least one along its first axis")
    width = sum(math.prod(values.shape[1:]) for values in arrays.values())
    if width > COLUMN_LIMIT:
        raise DatasetError(
            source, f"there are {width:,} columns and {COLUMN_LIMIT:,} are read; is the table transposed?"
        )
    if not width:
        raise DatasetError(source, "there are no columns; every array needs values in its rows")
    found: dict[str, NDArray[Any]] = {}
    for key, values in arrays.items():
        for index in np.ndindex(values.shape[1:]) if values.size else ():
            name = "_".join((key, *map(str, index)))
            if name in found:
                raise DatasetError(source, "two columns have this name; rename one", column=name)
            found[name] = _column(values[:, *index], source, name)
    check_names(list(found), source)
    text = {name: first for name, values in found.items() if (first := _first_text(values)) is not None}
    return Columns(values=found, text=text)


def _column(values: NDArray[Any], source: str, name: str) -> NDArray[Any]:
    match values.dtype.kind:
        case "b" | "i" | "u" | "f":
            with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite and is refused
                numbers = values.astype(np.float64)
            wrong = np.flatnonzero(~np.isfinite(numbers))
            if wrong.size:
                raise not_finite(source, str(values[wrong[0]]), int(wrong[0]) + 1, name, "row")
            return numbers
        case "U":
            codes = np.ascontiguousarray(values).view(np.dtype("u4").newbyteorder(values.dtype.byteorder))
            wrong = np.flatnonzero((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF)))
            if wrong.size:
                row = int(wrong[0]) // (values.dtype.itemsize // 4) + 1
                raise _no_character(source, row, name)
            return values.astype(object)
        case "O" if all(isinstance(value, str) for value in values):
            return _written(values, source, name)
        case kind:
            told = "text as bytes" if kind == "S" else f"the type {values.dtype}"
            raise DatasetError(source, f"{told} is not read; save numbers or text (str)", column=name)


def _written(values: NDArray[Any], source: str, name: str) -> NDArray[Any]:
    for row, value in enumerate(values, start=1):
        if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
            raise _no_character(source, row, name)
    return values


def _no_character(source: str, row: int, name: str) -> DatasetError:
    """The error for what no UTF-8 text can hold, and so no message and no manifest: half a surrogate pair."""
    told = "the text holds what is no character, such as half a surrogate pair; save it again"
    return DatasetError(source, told, line=row, column=name, unit="row")


def _first_text(values: NDArray[Any]) -> Cell | None:
    if values.dtype.kind != "O":
        return None
    for row, value in enumerate(values, start=1):
        if number(value) is None:
            return Cell(line=row, value=value)
    return Cell(line=1, value=values[0])  # every cell looks like a number, but it was saved as text


def check_names(names: Sequence[str], source: str, *, line: int | None = None) -> None:
    """Refuse column names that cannot name columns.

    Raises:
        DatasetError: too many, an empty one, or two alike.
    """
    if len(names) > COLUMN_LIMIT:
        raise DatasetError(
            source,
            f"there are {len(names):,} columns and {COLUMN_LIMIT:,} are read; is the table transposed?",
        )
    seen: set[str] = set()
    for count, name in enumerate(names, start=1):
        if not name:
            raise DatasetError(source, f"column {count} has no name; name every column", line=line)
        if name in seen:
            raise DatasetError(source, "two columns have this name; rename one", line=line, column=name)
        seen.add(name)


def not_finite(source: str, value: str, line: int, column: str, unit: Unit) -> DatasetError:
    """The error for NaN and the infinities."""
    return DatasetError(
        source,
        f"{value[:60]!r} is no finite number; replace it or leave the row out",
        line=line,
        column=column,
        value=value,
        unit=unit,
    )


def number(cell: str) -> float | None:
    """The number that a cell of text holds, or None; NaN and the infinities are numbers here."""
    try:
        return None if "_" in cell else float(cell)  # Python reads 1_000 as a number; nobody else does
    except ValueError:
        return None
