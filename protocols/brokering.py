"""fipa-brokering (FIPA00033, SC00033H): ask for something without knowing who does it.

The participant is the broker. It agrees, finds targets, starts a conversation of its own with each of
them (whatever the embedded act begins), and passes their replies back in the proxy's conversation.
"""

from __future__ import annotations

from protocols.table import ANY, Protocol, Role

I, B = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

BROKERING = Protocol(
    name="fipa-brokering",
    spec="SC00033H",
    start="B0",
    transitions={
        ("B0", I, "proxy"): "B1",
        ("B1", B, "refuse"): "REFUSED",
        ("B1", B, "agree"): "B2",
        ("B2", B, "failure/no-match"): "NO_MATCH",
        ("B2", B, "failure"): "PROXY_FAILED",
        ("B2", B, "inform"): "B3",  # done(proxy)
        ("B3", B, "failure/brokering"): "FAILED",
        ("B3", B, ANY): "B3",  # a reply of a sub-protocol
        ("B3", B, "not-understood"): "B3",  # likewise: a target did not understand the embedded message
    },
    terminal=frozenset({"REFUSED", "NO_MATCH", "PROXY_FAILED", "DONE", "FAILED"}),
    deadlines={},
    events={("B3", "all-ended"): "DONE"},
)
