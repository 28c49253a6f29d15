"""NPZ and Parquet files into columns. Sizes are checked before memory is taken; nothing is ever unpickled."""

from __future__ import annotations

import io
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from learning.columns import Columns, Fault, check_names, empty, from_arrays
from learning.errors import DatasetError, DatasetTooLargeError, MissingExtraError

_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, OSError,
    OverflowError, RuntimeError, ValueError,
)  # fmt: skip
"""What `zipfile` and what it unpacks with raise for an archive that is damaged."""

_NO_HEADER = (
    tokenize.TokenError, SyntaxError, AttributeError, EOFError, IndexError, KeyError, MemoryError,
    OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What NumPy raises for a header that is not its own: it reads a Python literal and looks for its parts."""

MOST_AXES = 32
"""Axes that every version of NumPy can hold."""


def read_npz(stream: BinaryIO, source: str, limit_bytes: int) -> Columns:
    """Read an archive of NumPy arrays; each key names columns, the first axis is the row.

    ``digit`` [row] is the column ``digit``; ``pixel`` [row, 8, 8] is the columns ``pixel_0_0`` to
    ``pixel_7_7``. Numbers, truth values and text are read; pickled objects never are: the array headers
    are parsed with NumPy's own public functions, and the sizes they claim are compared with the archive's
    before any memory is taken.

    Raises:
        DatasetError: it is no table; with the key at fault. One that holds something else than finite
            numbers or text is told to whoever asks for its column.
    """
    arrays: dict[str, NDArray[Any] | Fault] = {}
    try:
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > limit_bytes:
                raise DatasetTooLargeError(
                    source,
                    f"it unpacks to {unpacked:,} bytes and the limit is {limit_bytes:,}; split the data",
                )
            for member in members:
                key = member.filename.removesuffix(".npy")
                if key in arrays:
                    raise DatasetError(source, "two arrays have this name; rename one", column=key)
                arrays[key] = _read_npy(archive.read(member), source, key)
    except _UNREADABLE as error:
        told = f"this is not a readable NPZ archive ({_first_line(error)}); save it again"
        raise DatasetError(source, told) from error
    return from_arrays(arrays, source)


def _read_npy(content: bytes, source: str, key: str) -> NDArray[Any] | Fault:
    """One array of an archive; ``content`` is as long as the archive said at most."""
    member = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(member)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran_order, dtype = header(member)
    except _NO_HEADER as error:
        told = f"this is not a NumPy array ({_first_line(error)[:80]}); save it with numpy.savez"
        raise DatasetError(source, told, column=key) from error
    if dtype.hasobject:
        return Fault(
            told="the array holds pickled Python objects, which are never loaded; save numbers or text"
        )
    if len(shape) > MOST_AXES or any(side < 0 for side in shape) or dtype.itemsize == 0:
        told = f"no array has {len(shape)} axes, the shape {str(shape)[:60]} and the type {str(dtype)[:60]}"
        raise DatasetError(source, f"{told}; save it again", column=key)
    if math.prod(shape) * dtype.itemsize != len(content) - member.tell():
        raise DatasetError(
            source,
            f"the array says it has the shape {str(shape)[:60]}, but {len(content) - member.tell():,} bytes "
            "follow; save it again",
            column=key,
        )
    if math.prod(shape) == 0:
        try:
            return np.empty(shape, dtype=dtype)
        except (ValueError, OverflowError) as error:  # the axes that are not empty are too long
            told = f"no array has the shape {str(shape)[:60]}; save it again"
            raise DatasetError(source, told, column=key) from error
    values = np.frombuffer(content, dtype=dtype, offset=member.tell())
    return values.reshape(shape, order="F" if fortran_order else "C")


def read_parquet(stream: BinaryIO, source: str, limit_bytes: int) -> Columns:
    """Read a Parquet table of numbers, truth values and text, without nulls.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DatasetError: it is no table. A column with nulls, or of another type, is told to whoever asks for it.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to import
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            source,
            "reading Parquet needs pyarrow, which is not installed; in the folder of Locution: "
            "pip install -e '.[parquet]'",
        ) from error
    try:
        opened = parquet.ParquetFile(stream)
        names = list(opened.schema_arrow.names)
        check_names(names, source)
        rows = opened.metadata.num_rows
        packed = sum(
            opened.metadata.row_group(group).total_byte_size for group in range(opened.num_row_groups)
        )
        # Run-length encoding makes a small file of a long table, so what it becomes in memory counts too.
        unpacked = max(packed, rows * len(names) * 8)
        if unpacked > limit_bytes:
            raise DatasetTooLargeError(
                source, f"it unpacks to {unpacked:,} bytes and the limit is {limit_bytes:,}; split the data"
            )
        words = [field.name for field in opened.schema_arrow if _is_text(pa, field.type)]
        stream.seek(0)
        # Repeated text stays in memory once.
        table = parquet.ParquetFile(stream, read_dictionary=words).read(use_threads=False)
        values = {name: _parquet_column(pa, table.column(name)) for name in names}
    except (pa.ArrowException, OSError, ValueError) as error:
        told = f"this is not a readable Parquet file ({_first_line(error)}); save it again"
        raise DatasetError(source, told) from error
    return from_arrays(values, source)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:120] or type(error).__name__


def _is_text(pa: Any, kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _parquet_column(pa: Any, column: Any) -> NDArray[Any] | Fault:
    kind = column.type
    if column.null_count:
        row = next(number for number, null in enumerate(column.is_null().to_pylist(), start=1) if null)
        return empty(row)
    if pa.types.is_dictionary(kind) and _is_text(pa, kind.value_type):
        encoded = column.unify_dictionaries().combine_chunks()
        if isinstance(encoded, pa.ChunkedArray):  # a table without rows
            return np.empty(0, dtype=object)
        known = np.array(encoded.dictionary.to_pylist(), dtype=object)
        return np.asarray(known[encoded.indices.to_numpy(zero_copy_only=False)])
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    if not any(is_kind(kind) for is_kind in numeric):
        return Fault(told=f"the type {kind} is not read; save numbers or text")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy())
