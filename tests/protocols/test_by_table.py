"""A check that fails in one cell is told of, wherever in its table that is."""

from __future__ import annotations

import pytest

from protocols.errors import LocalProtocolError
from protocols.registry import TABLES
from protocols.request import REQUEST
from tests.protocols.by_table import by_table, faults
from tests.protocols.samples import live_states

CELLS = [(each, state) for each in TABLES for state in sorted(live_states(each))]


def breaks(protocol, state):
    if state == "S1":
        assert (state, "DONE") == ("S2", "DONE")
    if state == "S2":
        raise LocalProtocolError("out of sequence")
    if state == "S3":
        with pytest.raises(LocalProtocolError):
            pass


def test_every_fault_is_told_with_its_cell():
    found = faults(breaks, [(REQUEST, state) for state in ("S0", "S1", "S2", "S3", "S4")])
    starts = [
        "fipa-request S1: assert ('S1', 'DONE') ==",
        "fipa-request S2: out of",
        "fipa-request S3: DID NOT",
    ]
    assert [fault[: len(start)] for fault, start in zip(found, starts, strict=True)] == starts


def test_every_table_has_its_test_and_its_cells():
    looked_at = []

    @by_table(CELLS, "ab")
    def test_it(self, protocol, state, letter):
        """Look."""
        looked_at.append((protocol, state, letter))

    assert (test_it.__name__, test_it.__doc__) == ("test_it", "Look.")
    (tables,) = test_it.pytestmark
    assert tables.args == ("table", [each.name for each in TABLES])
    for table in tables.args[1]:
        test_it(None, table)
    assert looked_at == [(*cell, letter) for cell in CELLS for letter in "ab"]


def test_it_fails_when_a_cell_does():
    @by_table(CELLS)
    def test_it(self, protocol, state):
        assert state != "D3"

    test_it(None, REQUEST.name)
    with pytest.raises(AssertionError, match=r"^fipa-dutch-auction D3: assert 'D3' != 'D3'"):
        test_it(None, "fipa-dutch-auction")
