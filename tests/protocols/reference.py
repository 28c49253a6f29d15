"""FIPA's transition tables, written down a second time and independently of the tables under test.

The letters are the specifications': I speaks for the initiator, P for the participant. Where FIPA tells
two contents of one act apart, the act is followed by the kind of content: done(a) or result(a, v).
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One protocol as the specification draws it."""

    spec: str
    start: str
    terminal: frozenset[str]
    steps: dict[tuple[str, str, str], str]
    on_deadline: dict[str, str] = field(default_factory=dict)

    @property
    def states(self) -> frozenset[str]:
        sources = {state for state, _speaker, _act in self.steps}
        return frozenset({self.start} | self.terminal | sources | set(self.steps.values()))

    @property
    def live(self) -> frozenset[str]:
        """The states in which somebody is waited for, after the first message."""
        return self.states - self.terminal - {self.start}


REQUEST = Reference(
    spec="SC00026H",
    start="S0",
    terminal=frozenset({"REFUSED", "FAILED", "DONE"}),
    steps={
        ("S0", "I", "request"): "S1",
        ("S1", "P", "refuse"): "REFUSED",
        ("S1", "P", "agree"): "S2",
        # What is done at once needs no agree.
        ("S1", "P", "failure"): "FAILED",
        ("S1", "P", "inform/done"): "DONE",
        ("S1", "P", "inform/result"): "DONE",
        ("S2", "P", "failure"): "FAILED",
        ("S2", "P", "inform/done"): "DONE",
        ("S2", "P", "inform/result"): "DONE",
    },
)

CONTRACT_NET = Reference(
    spec="SC00029H",
    start="C0",
    terminal=frozenset({"REFUSED", "REJECTED", "FAILED", "DONE", "EXPIRED"}),
    steps={
        ("C0", "I", "cfp"): "C1",
        ("C1", "P", "refuse"): "REFUSED",
        ("C1", "P", "propose"): "C2",
        ("C2", "I", "accept-proposal"): "C3",
        ("C2", "I", "reject-proposal"): "REJECTED",
        ("C3", "P", "failure"): "FAILED",
        ("C3", "P", "inform/done"): "DONE",
        ("C3", "P", "inform/result"): "DONE",
        # An answer after the end of the call is still an answer; a proposal has to be turned down.
        ("EXPIRED", "P", "refuse"): "REFUSED",
        ("EXPIRED", "P", "propose"): "LATE",
        ("LATE", "I", "reject-proposal"): "REJECTED",
    },
    on_deadline={"C1": "EXPIRED"},
)

REFERENCES = {"fipa-request": REQUEST, "fipa-contract-net": CONTRACT_NET}
"""By the protocol's token. A protocol that joins the registry joins this table."""
