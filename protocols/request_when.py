"""fipa-request-when (FIPA00028, SC00028H): do something once a condition has become true.

The agree is not optional here: the participant agrees to wait, then acts (section 1.1).
"""

from __future__ import annotations

from protocols.table import Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

REQUEST_WHEN = Protocol(
    name="fipa-request-when",
    spec="SC00028H",
    start="S0",
    transitions={
        ("S0", I, "request-when"): "S1",
        ("S1", P, "refuse"): "REFUSED",
        ("S1", P, "agree"): "S2",
        ("S2", P, "failure"): "FAILED",
        ("S2", P, "inform"): "DONE",
    },
    terminal=frozenset({"REFUSED", "FAILED", "DONE"}),
    deadlines={},
)
