"""fipa-query (FIPA00027, SC00027H): one agent asks another whether something holds, or what fits.

A query-if is answered by the truth value of the proposition, a query-ref by the objects that the
referential expression denotes; both come as inform. As in fipa-request the agree may be left out.
"""

from __future__ import annotations

from protocols.table import Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

QUERY = Protocol(
    name="fipa-query",
    spec="SC00027H",
    start="S0",
    transitions={
        ("S0", I, "query-if"): "S1i",
        ("S0", I, "query-ref"): "S1r",
        ("S1i", P, "refuse"): "REFUSED",
        ("S1i", P, "agree"): "S2i",
        ("S1i", P, "failure"): "FAILED",
        ("S1i", P, "inform"): "DONE",
        ("S1r", P, "refuse"): "REFUSED",
        ("S1r", P, "agree"): "S2r",
        ("S1r", P, "failure"): "FAILED",
        ("S1r", P, "inform"): "DONE",
        ("S2i", P, "failure"): "FAILED",
        ("S2i", P, "inform"): "DONE",
        ("S2r", P, "failure"): "FAILED",
        ("S2r", P, "inform"): "DONE",
    },
    terminal=frozenset({"REFUSED", "FAILED", "DONE"}),
    deadlines={},
)
