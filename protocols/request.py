"""fipa-request (FIPA00026, SC00026H): one agent asks another to do something.

The agree may be left out where the action is done at once, before reply-by (section 1.1).
"""

from __future__ import annotations

from protocols.table import Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

REQUEST = Protocol(
    name="fipa-request",
    spec="SC00026H",
    start="S0",
    transitions={
        ("S0", I, "request"): "S1",
        ("S1", P, "refuse"): "REFUSED",
        ("S1", P, "agree"): "S2",
        ("S1", P, "failure"): "FAILED",
        ("S1", P, "inform"): "DONE",
        ("S2", P, "failure"): "FAILED",
        ("S2", P, "inform"): "DONE",
    },
    terminal=frozenset({"REFUSED", "FAILED", "DONE"}),
    deadlines={},
)
