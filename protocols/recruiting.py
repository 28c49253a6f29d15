"""fipa-recruiting (FIPA00034, SC00034H): as brokering, but the targets reply to the initiator themselves.

The participant is the recruiter; once it has told that the proxy is done it has no more part in it.
"""

from __future__ import annotations

from protocols.table import ANY, Protocol, Role

I, B, T = Role.INITIATOR, Role.PARTICIPANT, Role.TARGET  # noqa: E741 - the specification's letters

RECRUITING = Protocol(
    name="fipa-recruiting",
    spec="SC00034H",
    start="R0",
    transitions={
        ("R0", I, "proxy"): "R1",
        ("R1", B, "refuse"): "REFUSED",
        ("R1", B, "agree"): "R2",
        ("R2", B, "failure/no-match"): "NO_MATCH",
        ("R2", B, "failure"): "PROXY_FAILED",
        ("R2", B, "inform"): "R3",  # done(proxy)
        # A quick target's reply overtakes done(proxy): they come from two agents.
        ("R2", T, ANY): "R2",
        ("R2", T, "not-understood"): "R2",
        ("R3", T, ANY): "R3",  # a reply of a sub-protocol
        ("R3", T, "not-understood"): "R3",  # likewise: a target did not understand the embedded message
    },
    terminal=frozenset({"REFUSED", "NO_MATCH", "PROXY_FAILED", "DONE"}),
    deadlines={},
    events={("R3", "all-ended"): "DONE"},
)
