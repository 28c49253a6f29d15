"""Reading a TOML file with care: whatever is wrong with it becomes a sentence, none of it a traceback."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from society.errors import SocietyFileError
from society.reading import open_text

TOO_DEEP = "its arrays and tables are nested too deeply; write them flatter"


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a file: its text, and what stands in it.

    Raises:
        SocietyFileError: it cannot be read, or is no TOML.
    """
    absent = "there is no such file; name a society file with --file, or go to the folder of society.toml"
    with open_text(path, lambda fault: SocietyFileError(path, None, fault), absent=absent) as stream:
        text = stream.read()
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


def _fault(told: str) -> tuple[str, int | None]:
    """Take tomllib's sentence apart: ``Expected '=' after a key ... (at line 3, column 5)``."""
    fault, _bracket, where = told.rpartition(" (at ")
    digits = where.removeprefix("line ").partition(",")[0]
    return (fault, int(digits)) if digits.isdigit() else (told, None)
