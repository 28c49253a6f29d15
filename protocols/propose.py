"""fipa-propose (FIPA00036, SC00036H): the initiator offers to do something, and is told yes or no.

What follows an acceptance happens outside the protocol.
"""

from __future__ import annotations

from protocols.table import Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

PROPOSE = Protocol(
    name="fipa-propose",
    spec="SC00036H",
    start="P0",
    transitions={
        ("P0", I, "propose"): "P1",
        ("P1", P, "accept-proposal"): "ACCEPTED",
        ("P1", P, "reject-proposal"): "REJECTED",
    },
    terminal=frozenset({"ACCEPTED", "REJECTED"}),
    deadlines={},
)
