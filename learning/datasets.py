"""Datasets: tables in a folder that agents refer to by address and digest, and never step out of."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning.archives import read_npz, read_parquet
from learning.columns import Columns, Fault, from_arrays
from learning.csv_files import read_csv
from learning.errors import DatasetChangedError, DatasetError, DatasetNotFoundError, DatasetTooLargeError
from ontology.models import DatasetRef

LIMIT_BYTES = 1 << 30
"""The largest file that is read unless the folder is made with another limit: 1 GiB."""

SUFFIXES = (".csv", ".tsv", ".npz", ".parquet")


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A table in memory: named columns of numbers or text, without gaps.

    A column that has gaps, or cannot be used for another reason, is an error for whoever asks for it; while
    nobody does, it is no matter.

    Attributes:
        source: how messages name it.
        sha256: the digest of the file, or of the columns that can be used if there is none.
        table: the columns; do not write to them.
    """

    source: str
    sha256: str
    table: Columns

    @classmethod
    def of(cls, arrays: Mapping[str, ArrayLike], source: str = "arrays") -> Self:
        """Make a dataset of arrays in memory; an array of more axes makes several columns (see `read_npz`).

        Raises:
            DatasetError: they are no table, or none of them holds finite numbers or text.
        """
        table = from_arrays({name: np.asarray(values) for name, values in arrays.items()}, source)
        state = hashlib.sha256()
        for name, values in table.values.items():
            numbers = values.dtype.kind == "f"
            state.update(repr((name, len(values))).encode())
            state.update(values.tobytes() if numbers else repr(values.tolist()).encode())
        return cls(source=source, sha256=state.hexdigest(), table=table)

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]:
        """Name -> float64 (finite) or object (str) [row], of all columns that can be used, in order."""
        return self.table.values

    @property
    def rows(self) -> int:
        """How many rows there are, one at least."""
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> NDArray[Any]:
        """One column: float64 or object (str) [row].

        Raises:
            DatasetError: there is none of this name, and the sentence lists those there are; or it cannot be
                used.
        """
        self._require(name)
        if name in self.table.faults:
            raise self.table.faults[name].error(self.source, name, self.table.unit)
        return self.columns[name]

    def numbers(self, name: str, purpose: str) -> NDArray[np.float64]:
        """One column that must be numbers: float64 [row].

        Args:
            name: the column.
            purpose: what needs numbers, for the error's sentence, e.g. ``"features must be numbers"``.

        Raises:
            DatasetError: it holds text, or what is neither; the first such cell is named with its position.
        """
        values = self.column(name)
        if name in self.table.text:
            cell = self.table.text[name]
            fault = Fault(
                told=f"{cell.value[:40]!r} is no number; {purpose}", line=cell.line, value=cell.value
            )
            raise fault.error(self.source, name, self.table.unit)
        return values

    def feature_names(self, target: str, drop: Sequence[str] = ()) -> tuple[str, ...]:
        """All columns but the target and those to leave out, in the file's order.

        Raises:
            DatasetError: one of these is not there, the target is to be left out, or no column is left.
        """
        for name in (target, *drop):
            self._require(name)
        if target in drop:
            raise DatasetError(self.source, "this is the target, which cannot be left out", column=target)
        names = tuple(name for name in self.table.names if name != target and name not in drop)
        if not names:
            only = "this is the only column that is left" if drop else "this is the only column"
            raise DatasetError(self.source, f"{only}; training needs at least one more", column=target)
        return names

    def features(self, names: Sequence[str]) -> NDArray[np.float64]:
        """These columns side by side: float64 [row, feature].

        Raises:
            DatasetError: one is missing, or holds something else than finite numbers.
        """
        purpose = (
            "features must be numbers: mend the value, encode the text, or leave the column out "
            "with --drop COLUMN"
        )
        return np.stack([self.numbers(name, purpose) for name in names], axis=1)

    def take(self, rows: NDArray[np.int64], names: Sequence[str]) -> list[list[Any]]:
        """Some rows as plain values, e.g. to ask a model about them.

        Args:
            rows: int64 [n], positions from 0.
            names: the columns, in the order wanted.
        """
        picked = [self.column(name)[rows].tolist() for name in names]
        return [list(row) for row in zip(*picked, strict=True)]

    def _require(self, name: str) -> None:
        if name not in self.columns and name not in self.table.faults:
            told = f"there is no such column; it has {listed(self.table.names, most=10)}"
            raise DatasetError(self.source, told + meant(name, self.table.names), column=name)


class DataFolder:
    """The folders that datasets are read from. Nothing outside them is opened, whatever an address says."""

    def __init__(self, root: str | Path, *more: str | Path, limit_bytes: int = LIMIT_BYTES) -> None:
        """Take the folders; they need not exist yet.

        Args:
            root: the folder that relative addresses start from.
            more: further folders, tried in turn.
            limit_bytes: the largest file that is read, and the most that an archive may unpack to.
        """
        self.roots = tuple(Path(folder) for folder in (root, *more))
        self.limit_bytes = limit_bytes

    def load(self, ref: DatasetRef) -> Dataset:
        """Read the dataset meant. The digest is compared before anything is parsed; nothing is cached.

        Raises:
            DatasetNotFoundError: there is no such file inside the folders.
            DatasetTooLargeError: it is larger than the limit.
            DatasetChangedError: the digest is another one, or the file changed while it was read.
            DatasetError: it is no table, or has no column of finite numbers or text.
        """
        path = self.resolve(ref.uri)
        with _opened(path, ref.uri, self.limit_bytes) as stream:
            before = os.fstat(stream.fileno())
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != ref.sha256:
                raise DatasetChangedError(
                    ref.uri,
                    f"the file's sha256 is {found}, not {ref.sha256} as the reference says; "
                    "use the file that was meant, or a new reference",
                )
            stream.seek(0)
            try:
                table = self._parsed(stream, ref.uri, path.suffix)
            except MemoryError as error:
                raise DatasetTooLargeError(
                    ref.uri, "it does not fit in this machine's memory; split the data"
                ) from error
            after = os.fstat(stream.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise DatasetChangedError(ref.uri, "the file changed while it was read; try again")
        return Dataset(source=ref.uri, sha256=found, table=table)

    def resolve(self, uri: str) -> Path:
        """The file an address means.

        Args:
            uri: a path relative to a root, ``file:name.csv``, or ``file:///absolute/name.csv``.

        Raises:
            DatasetNotFoundError: the address leads out of the folders, or to no file.
        """
        relative = _path_of(uri)
        for root in self.roots:
            base = root.resolve()
            try:
                path = (base / relative).resolve()
                # An absolute path may lie elsewhere, and a symbolic link may lead out.
                if path.is_relative_to(base) and path.is_file():
                    return path
            except (OSError, RuntimeError, ValueError):  # a name that is too long, links in a circle
                continue
        raise DatasetNotFoundError(
            uri, f"there is no such file in the data folder; it has {listed(self._names())}"
        )

    def _names(self) -> tuple[str, ...]:
        found = (path for root in self.roots if root.is_dir() for path in root.iterdir())
        return tuple(sorted(path.name for path in found if path.suffix.lower() in SUFFIXES))

    def _parsed(self, stream: BinaryIO, source: str, suffix: str) -> Columns:
        match suffix.lower():
            case ".csv" | ".tsv":
                return read_csv(stream, source)
            case ".npz":
                return read_npz(stream, source, self.limit_bytes)
            case ".parquet":
                return read_parquet(stream, source, self.limit_bytes)
            case _:
                raise DatasetError(
                    source, f"the file type {suffix!r} is not read; save the data as .csv, .npz or .parquet"
                )


def digest(path: str | Path) -> str:
    """The SHA-256 of a file in lower-case hexadecimal, read in pieces.

    Raises:
        DatasetNotFoundError: it is not there or cannot be opened.
    """
    with _opened(Path(path).resolve(), str(path), None) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def reference(path: str | Path, root: str | Path) -> DatasetRef:
    """Refer to a file so that whoever has the same data folder can read it.

    Args:
        path: the file, absolute or relative to the working directory.
        root: the data folder it is in.

    Raises:
        DatasetNotFoundError: it is not there, or not inside the folder.
    """
    whole, base = Path(path).resolve(), Path(root).resolve()
    if not whole.is_relative_to(base):
        raise DatasetNotFoundError(str(path), f"the file is not inside the data folder {root}; copy it there")
    return DatasetRef(uri=whole.relative_to(base).as_posix(), sha256=digest(whole))


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for a sentence, not too many of them."""
    if not names:
        return "none"
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def meant(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: which known one it may be; empty where none is like it."""
    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def _path_of(uri: str) -> Path:
    path = uri
    try:
        uri.encode()
    except UnicodeEncodeError as error:
        told = "the path holds half a character (a surrogate); write it in UTF-8"
        raise DatasetNotFoundError(ascii(uri), told) from error
    if uri.lower().startswith("file:"):
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise DatasetNotFoundError(uri, f"this is no file: address ({error}); write a path") from error
        if parts.netloc not in {"", "localhost"}:
            raise DatasetNotFoundError(
                uri, f"the file is on the host {parts.netloc!r}; only local files are read"
            )
        path = unquote(parts.path)
    elif "://" in uri:
        raise DatasetNotFoundError(
            uri, "only file: addresses and relative paths are read; copy the file into the data folder"
        )
    if not path or "\0" in path or ".." in Path(path).parts:
        raise DatasetNotFoundError(uri, "the path is empty or holds '..'; name a file inside the data folder")
    if path == uri and Path(path).is_absolute():
        raise DatasetNotFoundError(uri, "the path is absolute; write it relative to the data folder")
    return Path(path)


@contextmanager
def _opened(path: Path, source: str, limit_bytes: int | None) -> Iterator[BufferedReader]:
    """Open a regular file; its size is checked on the open file, so it is the one that is then read."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer for ever. The path is resolved already:
        # a link at its end was put there since.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(source, "there is no such file") from error
    except OSError as error:
        raise DatasetNotFoundError(source, f"the file cannot be opened: {error.strerror}") from error
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise DatasetNotFoundError(source, "this is no regular file")
        if limit_bytes is not None and found.st_size > limit_bytes:
            raise DatasetTooLargeError(
                source, f"it has {found.st_size:,} bytes and the limit is {limit_bytes:,}; split the data"
            )
        yield stream
