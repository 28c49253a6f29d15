"""Every message of the agents of a process, written down for `locution audit`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from behaviours.clocking import system_now
from ontology.acl import AclMessage
from protocols.traces import write
from society.config import SocietyFile
from society.errors import StateError

_log = logging.getLogger("locution")


Record = Callable[[AclMessage], None]


def recording_of(file: SocietyFile) -> Record:
    """What records the messages of a society, as its file has it: by default nothing does.

    Raises:
        StateError: the file of the trace cannot be written to.
    """
    if file.society.trace is None:
        return lambda _message: None
    return Recording(file.society.state / file.society.trace)


class Recording:
    """Appends each message to a file, as one line of a trace (`protocols.traces`), at once.

    Several processes may write to one file. When the disk fails the agents go on, and the log says so once.

    Args:
        path: the file; its folder is made.
        clock: the wall clock, aware.

    Raises:
        StateError: the file cannot be written to.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = system_now) -> None:
        self._path, self._clock, self._has_failed = path, clock, False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("a", encoding="utf-8").close()
        except (OSError, ValueError) as error:  # a path may hold a character that no path can
            told = error.strerror if isinstance(error, OSError) else error
            raise StateError(f"{path}: nothing can be recorded there: {told}") from error

    def __call__(self, message: AclMessage) -> None:
        """Write a message down. Never raises."""
        line = write(self._clock(), message) + "\n"
        try:
            # Opened anew each time: the file may be moved away meanwhile, and one write is one line.
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
        except OSError as error:
            if not self._has_failed:
                _log.warning("%s: messages are not recorded: %s", self._path, error.strerror)
            self._has_failed = True
        else:
            self._has_failed = False
