"""CSV files into columns. Whatever is wrong is told with its line and column."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from learning.columns import Cell, Columns, Fault, check_names, columns_of, empty, not_finite, number
from learning.errors import DatasetError

LINE_LIMIT = 1 << 24
"""Characters in the longest line that is read: enough for `COLUMN_LIMIT` columns, and a bound for memory."""


def read_csv(stream: BinaryIO, source: str) -> Columns:
    """Read UTF-8 text with a header line, separated by commas, semicolons or tabs.

    Empty lines are skipped. A space after a separator does not count. The file is read once if every
    column's first row tells whether it holds numbers, otherwise twice.

    Raises:
        DatasetError: it is no table; with the line. A column with an empty cell, or with NaN, is told to
            whoever asks for it.
    """
    if b"\0" in stream.read(8192):
        raise DatasetError(source, "this is not text (it holds zero bytes); save the data as UTF-8 CSV")
    stream.seek(0)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        return _CsvFile(text, source).read()
    except UnicodeDecodeError as error:
        raise DatasetError(
            source, "this is not UTF-8 text; save the file as UTF-8", line=_first_undecodable(stream)
        ) from error
    finally:
        text.detach()


def _first_undecodable(stream: BinaryIO) -> int:
    stream.seek(0)
    for count, line in enumerate(stream, start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return count
    return 1


class _CsvFile:
    """One CSV file being read; `text` is rewound for every pass."""

    def __init__(self, text: io.TextIOWrapper, source: str) -> None:
        self.text = text
        self.source = source
        first = text.readline(LINE_LIMIT)
        # The separator is the one that splits the header most; a comma wins a tie.
        self.separator = max(",;\t", key=lambda separator: len(_split(first, separator)))
        try:
            self.names = [name.strip() for name in next(self._records())[1]]
        except StopIteration:
            raise DatasetError(source, "the file is empty; its first line must name the columns") from None
        check_names(self.names, source, line=1)
        if all(number(name) is not None for name in self.names):
            raise DatasetError(
                source, "the first line holds numbers, but it must name the columns; add a header", line=1
            )

    def read(self) -> Columns:
        text: dict[int, Cell] = {}
        faults: dict[int, Fault] = {}
        while (columns := self._pass(text, faults)) is None:
            pass  # a column turned out to hold something else; now all such columns are known
        found = {
            name: faults[index] if index in faults else columns[index]
            for index, name in enumerate(self.names)
        }
        return columns_of(
            found, {self.names[index]: cell for index, cell in text.items()}, self.source, "line"
        )

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Every record that is not empty, with the line it ends on."""
        self.text.seek(0)
        reader = csv.reader(self._lines(), delimiter=self.separator, strict=True, skipinitialspace=True)
        try:
            for record in reader:
                if record:
                    yield reader.line_num, record
        except csv.Error as error:
            raise DatasetError(self.source, f"this is not CSV: {error}", line=reader.line_num) from error

    def _lines(self) -> Iterator[str]:
        for count, line in enumerate(self.text, start=1):
            if len(line) > LINE_LIMIT:
                raise DatasetError(
                    self.source,
                    f"the line has {len(line):,} characters, {LINE_LIMIT:,} are read; give each row its own",
                    line=count,
                )
            yield line

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        records = self._records()
        next(records)
        width = len(self.names)
        for line, record in records:
            if len(record) != width:
                raise DatasetError(
                    self.source,
                    f"this row has {len(record)} cells and the header has {width}; every row needs one cell "
                    "per column",
                    line=line,
                )
            yield line, record

    def _pass(self, text: dict[int, Cell], faults: dict[int, Fault]) -> dict[int, NDArray[Any]] | None:
        """Read all rows of the columns without fault, or return None if there was more to note.

        `text` gets the columns with text, and `faults` those with an empty cell or no finite number.
        """
        rows = self._rows()
        line, first = next(rows, (0, []))
        if not first:
            raise DatasetError(self.source, "there is a header and no rows; add data below it")
        self._survey(line, first, text, faults)
        texts = sorted(text)
        numeric = [index for index in range(len(self.names)) if index not in text and index not in faults]
        numbers = array("d", [float(first[index]) for index in numeric])
        words = [first[index] for index in texts]
        # csv.reader and float() in a plain loop read about 50 MB/s; numpy.loadtxt twice that, but it knows
        # no mixed columns and cannot say which cell is wrong.
        pick_numbers, pick_words = _picker(numeric), _picker(texts)
        has_others = len(numeric) < len(self.names)
        for line, record in rows:
            cells = pick_numbers(record) if has_others else record
            picked = pick_words(record)
            try:
                values = list(map(float, cells))
            except ValueError:
                values = None
            # Why an underscore is none: see columns.number.
            if values is None or "_" in "".join(cells) or not all(map(str.strip, picked)):
                self._survey(line, record, text, faults)
                for later, other in rows:
                    self._survey(later, other, text, faults)
                return None
            numbers.extend(values)
            words.extend(picked)
        return self._columns(numeric, texts, numbers, words, faults)

    def _survey(self, line: int, record: list[str], text: dict[int, Cell], faults: dict[int, Fault]) -> None:
        """Note the columns in which this row has text, or nothing."""
        for index, value in enumerate(record):
            if index in faults:
                continue
            if not value.strip():
                faults[index] = empty(line, value)
                text.pop(index, None)
            elif index not in text and number(value) is None:
                text[index] = Cell(line=line, value=value)

    def _columns(
        self,
        numeric: list[int],
        texts: list[int],
        numbers: array[float],
        words: list[str],
        faults: dict[int, Fault],
    ) -> dict[int, NDArray[Any]]:
        columns: dict[int, NDArray[Any]] = {}
        if numeric:
            matrix = np.frombuffer(numbers, dtype=np.float64).reshape(-1, len(numeric))
            columns = {index: matrix[:, place] for place, index in enumerate(numeric)}
            if not np.isfinite(matrix).all():
                self._note_not_finite(columns, faults)
        if texts:
            table = np.array(words, dtype=object).reshape(-1, len(texts))
            columns |= {index: table[:, place] for place, index in enumerate(texts)}
        return columns

    def _note_not_finite(self, columns: dict[int, NDArray[Any]], faults: dict[int, Fault]) -> None:
        """Find the first such cell of each column again, because only the file says what stands in it."""
        wanted: dict[int, list[int]] = {}
        for index, values in columns.items():
            wrong = np.flatnonzero(~np.isfinite(values))
            if wrong.size:
                wanted.setdefault(int(wrong[0]), []).append(index)
        for row, (line, record) in enumerate(self._rows()):
            for index in wanted.get(row, ()):
                faults[index] = not_finite(record[index], line)


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []


def _picker(indices: list[int]) -> Any:
    """A function from a record to the tuple of its cells at these indices."""
    match indices:
        case []:
            return lambda _record: ()
        case [only]:
            return lambda record: (record[only],)
        case _:
            return itemgetter(*indices)
