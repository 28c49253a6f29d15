"""Importing what is a user's own, whose modules may do anything."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from society.errors import SocietyError

OURS = ("ontology", "protocols", "resilience", "learning", "behaviours", "agents", "society")
"""Our packages."""


def import_own(module: str, name: str, folder: Path, shown: str) -> Any:
    """Import something from a module on the path or in a folder, which stays on the path.

    Args:
        module: its dotted name.
        name: what is wanted of it.
        folder: where a user's modules lie.
        shown: how a sentence speaks of the folder, e.g. ``beside the file``.

    Raises:
        SocietyError: it cannot be imported; the text goes on from "cannot be imported:".
    """
    if str(folder) not in sys.path:
        _import_ours()
        sys.path.append(str(folder))
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        is_absent = error.name is not None and f"{module}.".startswith(f"{error.name}.")
        told = f"there is no module {error.name!r} on the path or {shown}" if is_absent else str(error)
        ours = module.partition(".")[0]
        if is_absent and ours in OURS:
            told += f"; {ours!r} is a package of Locution, so give a folder of your own another name"
        raise SocietyError(told) from error
    except (Exception, SystemExit) as error:  # whatever the module does must not end the command
        told = " ".join(f"{type(error).__name__}: {error}{_origin(error)}".split())
        raise SocietyError(told) from error
    if found is None:
        raise SocietyError(f"module {module!r} has no {name!r}")
    return found


def _import_ours() -> None:
    """Import our packages, so that no folder of a user's that is called the same is taken for one of them.

    To stand last on the path is not enough: an editable installation is asked only after all of the path.
    """
    for name in OURS:
        with contextlib.suppress(ModuleNotFoundError):  # learning without its extra
            importlib.import_module(name)


def _origin(error: BaseException) -> str:
    """Where a module broke off: file and line, as a traceback would end."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
