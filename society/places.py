"""Where things are: paths and hosts that a society file names, refused where nothing could ever be there."""

from __future__ import annotations

from pathlib import Path


def beside(file: Path, path: Path) -> Path:
    """A path relative to a file, as an absolute one.

    Raises:
        ValueError: no path can be written so.
    """
    if "\0" in str(path):
        raise ValueError("no path holds the character U+0000")
    try:
        return (file.absolute().parent / path.expanduser()).absolute()
    except RuntimeError:  # so pathlib says it
        raise ValueError(f"there is no user {path.parts[0][1:]!r} whose home this could be in") from None


def host(name: str) -> str:
    """A host, which a resolver can be asked for.

    Raises:
        ValueError: none can be called so.
    """
    try:
        is_fine = "\0" not in name and bool(name.encode("idna"))
    except UnicodeError:
        is_fine = False
    if not is_fine:
        raise ValueError("this can be no host: write a name or an address")
    return name
