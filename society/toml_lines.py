"""On which line of a TOML text a setting stands: `tomllib` reads the values and forgets the places."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Place = tuple[str | int, ...]
"""The way to a value, as pydantic writes it: ``("agent", 2, "options", "device")``."""

_BARE = r"[A-Za-z0-9_-]+"
_KEY = rf"(?:{_BARE}|\"[^\"]*\"|'[^']*')"
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_TABLE = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_SETTING = re.compile(rf"\s*({_DOTTED})\s*=")
_ONE_KEY = re.compile(_KEY)
_LONG_STRING = re.compile(r'"""|\'\'\'')


def lines_of(text: str) -> Mapping[Place, int]:
    """Map every table and setting of a valid TOML text to its line, from 1.

    What stands within an inline table or an array has the line of the setting it is the value of;
    look it up with `line_of`.
    """
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    open_string = ""
    for number, line in enumerate(text.splitlines(), start=1):
        starts_inside = bool(open_string)
        for quotes in _LONG_STRING.findall(line):
            open_string = quotes if not open_string else ("" if quotes == open_string else open_string)
        if starts_inside:
            continue
        if header := _TABLE.match(line):
            names = _within(_keys(header[2]), counts)
            if header[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
                found.setdefault(names, number)
                names = (*names, counts[names])
            table = names
            found.setdefault(table, number)
        elif setting := _SETTING.match(line):
            found.setdefault((*table, *_keys(setting[1])), number)
    return found


def line_of(lines: Mapping[Place, int], place: Sequence[str | int]) -> int | None:
    """The line of a value, or of the nearest thing around it that has a line of its own."""
    for length in range(len(place), 0, -1):
        if tuple(place[:length]) in lines:
            return lines[tuple(place[:length])]
    return None


def _keys(dotted: str) -> Place:
    return tuple(key[1:-1] if key[0] in "\"'" else key for key in _ONE_KEY.findall(dotted))


def _within(names: Place, counts: Mapping[Place, int]) -> Place:
    """``[agent.options]`` belongs to the last ``[[agent]]``."""
    place: Place = ()
    for name in names[:-1]:
        place = (*place, name)
        if place in counts:
            place = (*place, counts[place])
    return (*place, names[-1])
