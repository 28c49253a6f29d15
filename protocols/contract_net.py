"""fipa-contract-net (FIPA00029, SC00029H): a manager calls for proposals and awards the best.

The table is the conversation with one participant. The manager's round over all of them goes
collect, decide, await, end; `phase` reads it off the conversations, so nothing else has to be kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from protocols.machine import Conversation
from protocols.table import CANCELLING, Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

CONTRACT_NET = Protocol(
    name="fipa-contract-net",
    spec="SC00029H",
    start="C0",
    transitions={
        ("C0", I, "cfp"): "C1",
        ("C1", P, "refuse"): "REFUSED",
        ("C1", P, "propose"): "C2",
        ("C2", I, "accept-proposal"): "C3",
        ("C2", I, "reject-proposal"): "REJECTED",
        # A proposal after the deadline is answered, so that the participant is released (section 1.1).
        ("EXPIRED", P, "propose"): "LATE",
        ("EXPIRED", P, "refuse"): "REFUSED",
        ("LATE", I, "reject-proposal"): "REJECTED",
        ("C3", P, "failure"): "FAILED",
        ("C3", P, "inform"): "DONE",
    },
    terminal=frozenset({"REFUSED", "REJECTED", "FAILED", "DONE", "EXPIRED"}),
    deadlines={"C1": "EXPIRED"},
)


class Phase(StrEnum):
    """Where the manager's round stands."""

    COLLECT = "collect"
    """Some participant may still propose."""
    DECIDE = "decide"
    """Everyone has answered or is late; each proposal is now accepted or rejected, exactly once."""
    AWAIT = "await"
    """Some winner is at work."""
    END = "end"


def phase(conversations: Iterable[Conversation]) -> Phase:
    """Read the phase of a round off the manager's conversations with all its participants."""
    states = {conversation.state for conversation in conversations}
    if "C1" in states:
        return Phase.COLLECT
    if "C2" in states:
        return Phase.DECIDE
    if states & {"C3", "LATE", CANCELLING}:
        return Phase.AWAIT
    return Phase.END
