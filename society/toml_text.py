"""Reading a TOML file with care: whatever is wrong with it becomes a sentence, none of it a traceback."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from society.errors import SocietyFileError

TOO_DEEP = "its arrays and tables are nested too deeply; write them flatter"


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a file: its text, and what stands in it.

    Raises:
        SocietyFileError: it cannot be read, or is no TOML.
    """
    text = _text(path)
    try:
        raw: dict[str, Any] = tomllib.loads(text)
        json.dumps(raw, default=str)
    except tomllib.TOMLDecodeError as error:
        fault, line = _fault(str(error))
        raise SocietyFileError(path, line, f"this is not TOML: {fault}") from error
    except RecursionError as error:
        raise SocietyFileError(path, None, TOO_DEEP) from error
    except ValueError as error:  # int() and str() refuse what has thousands of digits
        raise SocietyFileError(path, None, "a date or number in it is too long to be read") from error
    return text, raw


def _text(path: Path) -> str:
    try:
        with open(path, encoding="utf-8-sig", opener=_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SocietyFileError(path, None, "this is no file but a pipe or a device")
            return stream.read()
    except FileNotFoundError:
        text = "there is no such file; name a society file with --file, or go to the folder of society.toml"
        raise SocietyFileError(path, None, text) from None
    except UnicodeDecodeError as error:
        raise SocietyFileError(path, None, "this is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise SocietyFileError(path, None, f"it cannot be read: {error.strerror}") from error


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe that nobody writes to would be waited for without end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _fault(told: str) -> tuple[str, int | None]:
    """Take tomllib's sentence apart: ``Expected '=' after a key ... (at line 3, column 5)``."""
    fault, _bracket, where = told.rpartition(" (at ")
    digits = where.removeprefix("line ").partition(",")[0]
    return (fault, int(digits)) if digits.isdigit() else (told, None)
