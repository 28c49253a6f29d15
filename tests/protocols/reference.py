"""FIPA's transition tables, written down a second time and independently of the tables under test.

The letters are the specifications': I speaks for the initiator, P for the participant (a broker and a
recruiter are participants), T for a target. Where FIPA tells two contents of one act apart, the act is
followed by the kind of content: done(a) or result(a, v). A star is a reply of a sub-protocol.

Where our tables say something else than the specification, a `Difference` says what and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

Steps = Mapping[tuple[str, str, str], str]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where our table differs from the specification."""

    reason: str
    fipa: Steps = field(default_factory=dict)
    """Steps of the specification that ours does not have so."""
    ours: Steps = field(default_factory=dict)
    """Steps of ours that stand for them, or that the specification does not have."""
    live: frozenset[str] = frozenset()
    """States that are over in the specification's drawing and not with us."""
    deadlines: Mapping[str, str] = field(default_factory=dict)
    """Where time leads with us, and FIPA says nothing."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One protocol as the specification draws it, and what we do about it."""

    spec: str
    start: str
    drawn_terminal: frozenset[str]
    drawn: Steps
    differences: tuple[Difference, ...] = ()
    drawn_deadlines: Mapping[str, str] = field(default_factory=dict)
    on_event: Mapping[tuple[str, str], str] = field(default_factory=dict)
    on_loss: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def steps(self) -> Steps:
        """What our table has to say, exactly."""
        dropped = {step for each in self.differences for step in each.fipa}
        kept = {step: following for step, following in self.drawn.items() if step not in dropped}
        return kept | {step: end for each in self.differences for step, end in each.ours.items()}

    @cached_property
    def on_deadline(self) -> Mapping[str, str]:
        return {
            **self.drawn_deadlines,
            **{k: v for each in self.differences for k, v in each.deadlines.items()},
        }

    @cached_property
    def terminal(self) -> frozenset[str]:
        return self.drawn_terminal - {state for each in self.differences for state in each.live}

    @cached_property
    def states(self) -> frozenset[str]:
        steps = self.steps
        found = (
            {self.start} | self.terminal | {state for state, _speaker, _act in steps} | set(steps.values())
        )
        found |= set(self.on_loss.values())
        return frozenset(found | set(self.on_deadline.values()) | set(self.on_event.values()))

    @cached_property
    def live(self) -> frozenset[str]:
        """The states in which somebody is waited for, after the first message."""
        return self.states - self.terminal - {self.start}


STATE_TELLS = "every inform that may be said in this state means the same: the state tells, not the content"


def plain(drawn: Steps, *steps: tuple[str, str, str], reason: str = STATE_TELLS) -> Difference:
    """These steps, with whatever content."""
    return Difference(
        reason=reason,
        fipa={step: drawn[step] for step in steps},
        ours={
            (state, speaker, act.partition("/")[0]): drawn[state, speaker, act]
            for state, speaker, act in steps
        },
    )


def outcome(states: Iterable[str], *kinds: str) -> Steps:
    """The participant fails, or informs that it is done."""
    steps: dict[tuple[str, str, str], str] = {}
    for state in states:
        steps[state, "P", "failure"] = "FAILED"
        steps |= {(state, "P", f"inform/{kind}"): "DONE" for kind in kinds}
    return steps


def informs(drawn: Steps) -> tuple[tuple[str, str, str], ...]:
    return tuple(step for step in drawn if step[2].startswith("inform/"))


_REQUEST: Steps = {
    ("S0", "I", "request"): "S1",
    ("S1", "P", "refuse"): "REFUSED",
    ("S1", "P", "agree"): "S2",
    **outcome(["S1", "S2"], "done", "result"),  # what is done at once needs no agree
}

_QUERY: Steps = {
    ("S0", "I", "query-if"): "S1i",
    ("S0", "I", "query-ref"): "S1r",
    ("S1i", "P", "refuse"): "REFUSED",
    ("S1r", "P", "refuse"): "REFUSED",
    ("S1i", "P", "agree"): "S2i",
    ("S1r", "P", "agree"): "S2r",
    **outcome(["S1i", "S2i"], "t-f"),
    **outcome(["S1r", "S2r"], "result"),
}

_REQUEST_WHEN: Steps = {
    ("S0", "I", "request-when"): "S1",
    ("S1", "P", "refuse"): "REFUSED",
    ("S1", "P", "agree"): "S2",  # not optional
    **outcome(["S2"], "done", "result"),
}

_CONTRACT_NET: Steps = {
    ("C0", "I", "cfp"): "C1",
    ("C1", "P", "refuse"): "REFUSED",
    ("C1", "P", "propose"): "C2",
    ("C2", "I", "accept-proposal"): "C3",
    ("C2", "I", "reject-proposal"): "REJECTED",
    # An answer after the end of the call is still an answer; a proposal has to be turned down.
    ("EXPIRED", "P", "refuse"): "REFUSED",
    ("EXPIRED", "P", "propose"): "LATE",
    ("LATE", "I", "reject-proposal"): "REJECTED",
    **outcome(["C3"], "done", "result"),
}

_ITERATED: Steps = {**_CONTRACT_NET, ("C2", "I", "cfp"): "C1"}

_ENGLISH: Steps = {
    ("E0", "I", "inform/start"): "E1",
    ("E1", "I", "cfp"): "E2",
    ("E1", "P", "not-understood"): "LEFT",
    ("E2", "P", "propose"): "E3",
    ("E2", "P", "not-understood"): "LEFT",
    ("E2", "I", "cfp"): "E2",
    ("E3", "I", "accept-proposal"): "E4w",
    ("E3", "I", "reject-proposal"): "E4",
    ("E4", "I", "cfp"): "E2",
    ("E4", "I", "inform/end"): "ENDED",
    ("E4w", "I", "cfp"): "E2",
    ("E4w", "I", "inform/end"): "E5",
    ("E5", "I", "request"): "SOLD",
}

_DUTCH: Steps = {
    ("D0", "I", "inform/start"): "D1",
    ("D1", "I", "cfp"): "D2",
    ("D1", "P", "not-understood"): "LEFT",
    ("D2", "P", "propose"): "D3",
    ("D2", "P", "not-understood"): "LEFT",
    ("D2", "I", "cfp"): "D2",
    ("D3", "I", "accept-proposal"): "D5",
    ("D3", "I", "reject-proposal"): "D4",
    ("D4", "I", "cfp"): "D2",
    ("D4", "I", "inform/end"): "ENDED",
    ("D5", "I", "cfp"): "D2",
    ("D5", "I", "inform/end"): "SOLD",
}

_BROKERING: Steps = {
    ("B0", "I", "proxy"): "B1",
    ("B1", "P", "refuse"): "REFUSED",
    ("B1", "P", "agree"): "B2",
    ("B2", "P", "failure/no-match"): "NO_MATCH",
    ("B2", "P", "failure/proxy"): "PROXY_FAILED",
    ("B2", "P", "inform/done-proxy"): "B3",
    ("B3", "P", "*"): "B3",
    ("B3", "P", "failure/brokering"): "FAILED",
}

_RECRUITING: Steps = {
    ("R0", "I", "proxy"): "R1",
    ("R1", "P", "refuse"): "REFUSED",
    ("R1", "P", "agree"): "R2",
    ("R2", "P", "failure/no-match"): "NO_MATCH",
    ("R2", "P", "failure/proxy"): "PROXY_FAILED",
    ("R2", "P", "inform/done-proxy"): "R3",
    ("R3", "T", "*"): "R3",
}

_SUBSCRIBE: Steps = {
    ("S0", "I", "subscribe"): "S1",
    ("S1", "P", "refuse"): "REFUSED",
    ("S1", "P", "agree"): "S2",
    ("S1", "P", "inform/result"): "S2",
    ("S1", "P", "failure"): "FAILED",
    ("S2", "P", "inform/result"): "S2",
    ("S2", "P", "failure"): "FAILED",
}

# Not FIPA's. Asked 1, accepted 2, rejected 3, silent 4; told that it is committed 5 or aborted 6.
_VOTE: Steps = {
    ("V0", "I", "propose"): "V1",
    ("V1", "P", "accept-proposal"): "V2",
    ("V1", "P", "reject-proposal"): "V3",
    ("V4", "P", "reject-proposal"): "V3",
    ("V1", "I", "inform/committed"): "V5",
    ("V1", "I", "inform/aborted"): "V6",
    ("V2", "I", "inform/committed"): "V5",
    ("V2", "I", "inform/aborted"): "V6",
    ("V3", "I", "inform/committed"): "V5",
    ("V3", "I", "inform/aborted"): "V6",
    ("V4", "I", "inform/committed"): "V5",
    ("V4", "I", "inform/aborted"): "V6",
    # Told once more, and never anything else.
    ("V5", "I", "inform/committed"): "V5",
    ("V6", "I", "inform/aborted"): "V6",
    # A vote that has crossed the decision.
    ("V5", "P", "accept-proposal"): "V5",
    ("V5", "P", "reject-proposal"): "V5",
    ("V6", "P", "accept-proposal"): "V6",
    ("V6", "P", "reject-proposal"): "V6",
    ("V5", "P", "inform/done"): "DONE",
    ("V6", "P", "inform/done"): "DONE",
    ("V5", "P", "failure"): "FAILED",
    ("V6", "P", "failure"): "FAILED",
    ("V5", "P", "not-understood"): "FAILED",
    ("V6", "P", "not-understood"): "FAILED",
}

ENDED = frozenset({"REFUSED", "FAILED", "DONE"})

OTHER_FAILURE = "no-match is the one cause with an end of its own; any other cause is the proxy's failure"
LATE_BID = (
    "a bid may be on its way when the auctioneer closes the round, and the bidder's clock may be behind; "
    "without these steps it would take the auctioneer's next word for a mistake, and thereby leave"
)
TARGETS_WORD = "a target's not-understood of the embedded message is a reply like any other"


def auction(letter: str, drawn: Steps, won: Difference) -> tuple[Difference, ...]:
    late: dict[tuple[str, str, str], str] = {
        (f"{letter}2", "I", "inform"): "ENDED",
        (f"{letter}3", "I", "inform"): "ENDED",
        (f"{letter}3", "I", "cfp"): f"{letter}2",
    }
    return plain(drawn, *informs(drawn)), Difference(reason=LATE_BID, ours=late), won


REFERENCES: Mapping[str, Reference] = {
    "fipa-request": Reference(
        spec="SC00026H",
        start="S0",
        drawn_terminal=ENDED,
        drawn=_REQUEST,
        differences=(plain(_REQUEST, *informs(_REQUEST)),),
    ),
    "fipa-query": Reference(
        spec="SC00027H",
        start="S0",
        drawn_terminal=ENDED,
        drawn=_QUERY,
        differences=(plain(_QUERY, *informs(_QUERY)),),
    ),
    "fipa-request-when": Reference(
        spec="SC00028H",
        start="S0",
        drawn_terminal=ENDED,
        drawn=_REQUEST_WHEN,
        differences=(plain(_REQUEST_WHEN, *informs(_REQUEST_WHEN)),),
    ),
    "fipa-contract-net": Reference(
        spec="SC00029H",
        start="C0",
        drawn_terminal=ENDED | {"REJECTED", "EXPIRED"},
        drawn=_CONTRACT_NET,
        differences=(plain(_CONTRACT_NET, *informs(_CONTRACT_NET)),),
        drawn_deadlines={"C1": "EXPIRED"},
    ),
    "fipa-iterated-contract-net": Reference(
        spec="SC00030H",
        start="C0",
        drawn_terminal=ENDED | {"REJECTED", "EXPIRED"},
        drawn=_ITERATED,
        differences=(plain(_ITERATED, *informs(_ITERATED)),),
        drawn_deadlines={"C1": "EXPIRED"},
    ),
    "fipa-english-auction": Reference(
        spec="XC00031F",
        start="E0",
        drawn_terminal=frozenset({"LEFT", "SOLD", "ENDED", "E5"}),
        drawn=_ENGLISH,
        differences=auction(
            "E",
            _ENGLISH,
            Difference(
                reason="whoever holds the last bid waits for the request; if none comes there was no sale",
                live=frozenset({"E5"}),
                deadlines={"E5": "ENDED"},
            ),
        ),
        drawn_deadlines={"E2": "E4"},
    ),
    "fipa-dutch-auction": Reference(
        spec="XC00032F",
        start="D0",
        drawn_terminal=frozenset({"LEFT", "SOLD", "ENDED", "D5"}),
        drawn=_DUTCH,
        differences=auction(
            "D",
            _DUTCH,
            Difference(reason="whoever won is still told that the auction is over", live=frozenset({"D5"})),
        ),
        drawn_deadlines={"D2": "D4"},
    ),
    "fipa-brokering": Reference(
        spec="SC00033H",
        start="B0",
        drawn_terminal=frozenset({"REFUSED", "NO_MATCH", "PROXY_FAILED", "DONE", "FAILED"}),
        drawn=_BROKERING,
        differences=(
            plain(_BROKERING, ("B2", "P", "inform/done-proxy")),
            plain(_BROKERING, ("B2", "P", "failure/proxy"), reason=OTHER_FAILURE),
            Difference(reason=TARGETS_WORD, ours={("B3", "P", "not-understood"): "B3"}),
        ),
        on_event={("B3", "all-ended"): "DONE"},
    ),
    "fipa-recruiting": Reference(
        spec="SC00034H",
        start="R0",
        drawn_terminal=frozenset({"REFUSED", "NO_MATCH", "PROXY_FAILED", "DONE"}),
        drawn=_RECRUITING,
        differences=(
            plain(_RECRUITING, ("R2", "P", "inform/done-proxy")),
            plain(_RECRUITING, ("R2", "P", "failure/proxy"), reason=OTHER_FAILURE),
            Difference(reason=TARGETS_WORD, ours={("R3", "T", "not-understood"): "R3"}),
            Difference(
                reason="a quick target's reply overtakes done(proxy): nothing orders the words of two agents",
                ours={("R2", "T", "*"): "R2", ("R2", "T", "not-understood"): "R2"},
            ),
        ),
        on_event={("R3", "all-ended"): "DONE"},
    ),
    "fipa-subscribe": Reference(
        spec="SC00035H",
        start="S0",
        drawn_terminal=frozenset({"REFUSED", "FAILED"}),
        drawn=_SUBSCRIBE,
        differences=(plain(_SUBSCRIBE, *informs(_SUBSCRIBE)),),
    ),
    "fipa-propose": Reference(
        spec="SC00036H",
        start="P0",
        drawn_terminal=frozenset({"ACCEPTED", "REJECTED"}),
        drawn={
            ("P0", "I", "propose"): "P1",
            ("P1", "P", "accept-proposal"): "ACCEPTED",
            ("P1", "P", "reject-proposal"): "REJECTED",
        },
    ),
    "locution-vote": Reference(
        spec="LOCUTION",
        start="V0",
        drawn_terminal=frozenset({"DONE", "FAILED"}),
        drawn=_VOTE,
        drawn_deadlines={"V1": "V4"},
        on_loss={"V1": "V4", "V2": "V2", "V3": "V3", "V4": "V4", "V5": "V5", "V6": "V6"},
    ),
}
"""By the protocol's token. A protocol that joins the registry joins this table."""

ALIASES = {
    "fipa-auction-english": "fipa-english-auction",
    "fipa-auction-dutch": "fipa-dutch-auction",
}
"""FIPA spells the auctions' tokens in two ways."""
