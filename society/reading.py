"""Opening a text file that a user has named: whatever keeps it from being read becomes one sentence."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from society.errors import SocietyError


@contextmanager
def open_text(
    path: Path,
    wrong: Callable[[str], SocietyError],
    *,
    absent: str = "there is no such file",
    newline: str | None = None,
) -> Iterator[TextIO]:
    """Open a regular file of UTF-8 text, with or without a byte order mark.

    Args:
        path: the file.
        wrong: makes the error of what is wrong with it, while it is opened and while it is read.
        absent: what is wrong where there is none.
        newline: as in `open`.
    """
    try:
        with open(path, encoding="utf-8-sig", newline=newline, opener=_at_once) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise wrong("this is no file but a pipe or a device")
            yield stream
    except FileNotFoundError:
        raise wrong(absent) from None
    except UnicodeDecodeError as error:
        raise wrong("this is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise wrong(f"it cannot be read: {error.strerror}") from error


def _at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe that nobody writes to would be waited for without end."""
    return os.open(path, flags | os.O_NONBLOCK)
