"""fipa-subscribe (FIPA00035, SC00035H): tell me now, and again whenever it changes.

The subscription lasts until the initiator cancels it, or the participant refuses or fails. The first
notification may stand for the agree. Notifications must arrive in the order they were sent, which
XMPP promises between two sessions (RFC 6120, 10.1).
"""

from __future__ import annotations

from protocols.table import Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

SUBSCRIBE = Protocol(
    name="fipa-subscribe",
    spec="SC00035H",
    start="S0",
    transitions={
        ("S0", I, "subscribe"): "S1",
        ("S1", P, "refuse"): "REFUSED",
        ("S1", P, "agree"): "S2",
        ("S1", P, "inform"): "S2",
        ("S1", P, "failure"): "FAILED",
        ("S2", P, "inform"): "S2",
        ("S2", P, "failure"): "FAILED",
    },
    terminal=frozenset({"REFUSED", "FAILED"}),
    deadlines={},
)
