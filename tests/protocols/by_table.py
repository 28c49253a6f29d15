"""One test for each table, where a parametrised one for each of its cells would be thousands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

import pytest

from protocols.errors import ProtocolError

Check = Callable[..., None]


def by_table(cells: Iterable[tuple[Any, ...]], *more: Iterable[Any]) -> Callable[[Check], Check]:
    """Make a check of one cell a test of a table: it looks at all cells of that, and names those at fault.

    Args:
        cells: what the check, a method, is given: a table first.
        *more: what else it is given, each value with each cell.
    """
    tables: dict[str, list[tuple[Any, ...]]] = {}
    for cell, *values in product(cells, *more):
        tables.setdefault(cell[0].name, []).append((*cell, *values))

    def of_tables(check: Check) -> Check:
        def test(self: object, table: str) -> None:
            found = faults(lambda *cell: check(self, *cell), tables[table])
            assert found == [], "\n".join(found)

        test.__name__, test.__qualname__, test.__doc__ = check.__name__, check.__qualname__, check.__doc__
        return pytest.mark.parametrize("table", list(tables))(test)

    return of_tables


def faults(check: Check, cells: Iterable[tuple[Any, ...]]) -> list[str]:
    """Check every cell, also after a fault, and tell in which there was one, and what."""
    found = []
    for cell in cells:
        try:
            check(*cell)
        except (AssertionError, ProtocolError, pytest.fail.Exception) as error:
            place = " ".join(str(getattr(each, "name", each)) for each in cell)
            found.append(f"{place}: {error}")
    return found
