"""What can keep a society from running. Each is one sentence: what, where, how to mend it.

::

    SocietyError                 the command ends with exit code 1
    ├── MisuseError              a command was called with something it cannot take: exit code 2
    ├── SocietyFileError         the society file cannot be used; it names the file and the line
    ├── StateError               the state folder cannot be used
    │   └── RunsAlreadyError     another process of this society runs the agent
    ├── StartError               an agent, the server or a dashboard did not start
    ├── NotRunningError          nobody answers where the society should be
    └── TableError               a CSV file of the command line cannot be read as rows of numbers
"""

from __future__ import annotations

from pathlib import Path


class SocietyError(Exception):
    """The root of this package's errors; ``str(error)`` is one sentence for people."""


class MisuseError(SocietyError):
    """A command was called with something it cannot take."""


class SocietyFileError(SocietyError):
    """The society file cannot be used.

    Attributes:
        file: the file.
        line: the first wrong line, from 1; None where no line can be blamed.
    """

    def __init__(self, file: Path, line: int | None, fault: str) -> None:
        super().__init__(f"{file}{'' if line is None else f':{line}'}: {fault}")
        self.file = file
        self.line = line


class StateError(SocietyError):
    """The state folder cannot be used, or an agent of it runs already."""


class RunsAlreadyError(StateError):
    """Another process of this society runs the agent."""


class StartError(SocietyError):
    """Something of the society did not start."""


class NotRunningError(SocietyError):
    """Nobody answers where the society should be."""


class TableError(SocietyError):
    """A CSV file of the command line cannot be read as rows of numbers."""
