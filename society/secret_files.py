"""Secrets of the environment that stand in files, as container platforms hand them out.

``LOCUTION_REDIS_FILE`` names a file whose only line is the address of Redis, with its password. Passwords of
accounts need none: they stand in a file anyway (`society.state`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from society.errors import SocietyFileError

SECRETS = ("LOCUTION_REDIS",)
"""Variables that hold a secret, each of which may come from a file: ``<variable>_FILE``."""

LONGEST = 10_000
"""Bytes of a secret; what is longer is another file."""


def read(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with the secrets that it names files for, and without the names of the files.

    Raises:
        SocietyFileError: a file cannot be read or is no secret, or a secret is given twice.
    """
    completed = dict(environment)
    for variable in SECRETS:
        name = completed.pop(f"{variable}_FILE", None)
        if not name:
            continue
        if environment.get(variable):
            raise _fault(variable, f"{variable} is set as well; leave one of them out")
        completed[variable] = _secret(variable, Path(name))
    return completed


def _secret(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(LONGEST + 1).decode().strip()
    except OSError as error:
        why = error.strerror or str(error)
        raise _fault(variable, f"{path} cannot be read ({why}); have it made, or correct the name") from error
    except ValueError as error:
        raise _fault(variable, f"{path} is no text") from error
    if not text or "\n" in text or len(text) > LONGEST:
        raise _fault(variable, f"{path} should hold one line, the secret")
    return text


def _fault(variable: str, text: str) -> SocietyFileError:
    return SocietyFileError(Path(f"{variable}_FILE"), None, text)
