"""The columns of a table, whatever file they come from.

Every column is either numbers (float64, all finite) or text (str objects). A column is text as soon as one
of its cells is no number; the first such cell is remembered, so that whoever needs numbers can say where
the text stands. So is what is wrong with a column that is neither: a column that nobody asks for may hold
anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
class Fault:
    """Why a column cannot be used: the end of a sentence for whoever asks for it, and where, if in a cell."""

    told: str
    line: int | None = None
    value: str | None = None

    def error(self, source: str, column: str, unit: Unit) -> DatasetError:
        """The whole sentence."""
        return DatasetError(source, self.told, line=self.line, column=column, value=self.value, unit=unit)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a file holds. Every column is in `values` or in `faults`, one at least in `values`.

    Attributes:
        names: of all columns, in the file's order.
        values: name -> float64 or object (str) [row], in the file's order, all of one length.
        text: for each text column in `values`, its first cell that is no number.
        faults: what is wrong with each of the other columns.
        unit: what the lines of cells and faults count.
    """

    names: tuple[str, ...]
    values: Mapping[str, NDArray[Any]]
    text: Mapping[str, Cell]
    faults: Mapping[str, Fault]
    unit: Unit


def columns_of(
    found: Mapping[str, NDArray[Any] | Fault], text: Mapping[str, Cell], source: str, unit: Unit
) -> Columns:
    """Tell the columns that can be used from those that cannot.

    Raises:
        DatasetError: none can be used; the first one's fault is told.
    """
    faults = {name: values for name, values in found.items() if isinstance(values, Fault)}
    sound = {name: values for name, values in found.items() if not isinstance(values, Fault)}
    if not sound:
        name, fault = next(iter(faults.items()))
        raise fault.error(source, name, unit)
    return Columns(names=tuple(found), values=sound, text=text, faults=faults, unit=unit)


def from_arrays(arrays: Mapping[str, NDArray[Any] | Fault], source: str) -> Columns:
    """Make columns of arrays in memory, by the rules of `read_npz`.

    Args:
        arrays: by key, and for what could not be made an array the reason.
        source: how messages name them.

    Raises:
        DatasetError: the arrays are no table, or none of them holds finite numbers or text.
    """
    lengths = {
        key: len(values) if values.ndim else 0
        for key, values in arrays.items()
        if not isinstance(values, Fault)
    }
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {length}" for key, length in list(lengths.items())[:5])
        raise DatasetError(source, f"the arrays differ in their number of rows ({told}); make them equal")
    if not any(lengths.values()) and (lengths or not arrays):
        raise DatasetError(source, "there are no rows; every array needs at least one along its first axis")
    width = sum(1 if isinstance(each, Fault) else math.prod(each.shape[1:]) for each in arrays.values())
    if width > COLUMN_LIMIT:
        raise DatasetError(
            source, f"there are {width:,} columns and {COLUMN_LIMIT:,} are read; is the table transposed?"
        )
    if not width:
        raise DatasetError(source, "there are no columns; every array needs values in its rows")
    found: dict[str, NDArray[Any] | Fault] = {}
    for key, values in arrays.items():
        for name, column in _named(key, values):
            if name in found:
                raise DatasetError(source, "two columns have this name; rename one", column=name)
            found[name] = column
    check_names(list(found), source)
    text = {
        name: first
        for name, values in found.items()
        if not isinstance(values, Fault) and (first := _first_text(values)) is not None
    }
    return columns_of(found, text, source, "row")


def _named(key: str, values: NDArray[Any] | Fault) -> Iterator[tuple[str, NDArray[Any] | Fault]]:
    """The columns that one array makes."""
    if isinstance(values, Fault):
        yield key, values
        return
    for index in np.ndindex(values.shape[1:]) if values.size else ():
        yield "_".join((key, *map(str, index))), _column(values[:, *index])


def _column(values: NDArray[Any]) -> NDArray[Any] | Fault:
    match values.dtype.kind:
        case "b" | "i" | "u" | "f":
            with np.errstate(over="ignore"):  # a long double beyond float64 becomes infinite: a fault
                numbers = values.astype(np.float64)
            wrong = np.flatnonzero(~np.isfinite(numbers))
            return not_finite(str(values[wrong[0]]), int(wrong[0]) + 1) if wrong.size else numbers
        case "U":
            codes = np.ascontiguousarray(values).view(np.dtype("u4").newbyteorder(values.dtype.byteorder))
            wrong = np.flatnonzero((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF)))
            if wrong.size:
                return _no_character(int(wrong[0]) // (values.dtype.itemsize // 4) + 1)
            return values.astype(object)
        case "O" if all(isinstance(value, str) for value in values):
            return _written(values)
        case kind:
            told = "text as bytes" if kind == "S" else f"the type {values.dtype}"
            return Fault(told=f"{told} is not read; save numbers or text (str)")


def _written(values: NDArray[Any]) -> NDArray[Any] | Fault:
    for row, value in enumerate(values, start=1):
        if not value.isascii() and any("\ud800" <= each <= "\udfff" for each in value):
            return _no_character(row)
    return values


def _no_character(row: int) -> Fault:
    """The fault of what no UTF-8 text can hold, and so no message and no manifest: half a surrogate pair."""
    told = "the text holds what is no character, such as half a surrogate pair; save it again"
    return Fault(told=told, line=row)


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


MEND = "leave the row out, or the column with --drop"
"""What can be done about a cell that cannot be used, beside mending it."""


def not_finite(value: str, line: int) -> Fault:
    """The fault of NaN and the infinities."""
    return Fault(told=f"{value[:60]!r} is no finite number; replace it, {MEND}", line=line, value=value)


def empty(line: int, value: str | None = None) -> Fault:
    """The fault of a cell with nothing in it."""
    return Fault(told=f"the cell is empty; fill it in, {MEND}", line=line, value=value)


def number(cell: str) -> float | None:
    """The number that a cell of text holds, or None; NaN and the infinities are numbers here."""
    try:
        return None if "_" in cell else float(cell)  # Python reads 1_000 as a number; nobody else does
    except ValueError:
        return None
