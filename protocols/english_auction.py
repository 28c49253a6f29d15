"""fipa-english-auction (FIPA00031, XC00031F, experimental): the price rises until one bidder is left.

The table is the conversation with one bidder. An inform tells that the auction starts, and at last that
it has ended; each round is a cfp with the price. The first valid bid of a round is accepted, which makes
it the standing high bid and is no award yet; the round's other bids are rejected. Silence is no bid.
The winner is asked by a request to complete the sale, if the last price reaches the reserve.

Whoever holds the standing bid is not called again until somebody else has bid more: called (E4w to E2) and
silent, it would end in E4, as one of those that have lost.

E5 is no end here, unlike in FIPA's drawing: whoever holds the last bid waits for the request, until the
reply-by of the inform; if none comes the reserve was not reached.

FIPA spells the token fipa-english-auction here and fipa-auction-english there; both are understood.
"""

from __future__ import annotations

from protocols.table import Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

ENGLISH_AUCTION = Protocol(
    name="fipa-english-auction",
    spec="XC00031F",
    start="E0",
    transitions={
        ("E0", I, "inform"): "E1",
        ("E1", I, "cfp"): "E2",
        ("E1", P, "not-understood"): "LEFT",
        ("E2", P, "propose"): "E3",
        ("E2", P, "not-understood"): "LEFT",
        ("E2", I, "cfp"): "E2",  # another bidder took the round
        ("E2", I, "inform"): "ENDED",  # the round is over by the auctioneer's clock, not yet by the bidder's
        ("E3", I, "accept-proposal"): "E4w",
        ("E3", I, "reject-proposal"): "E4",
        # A bid that was still on its way when the round ended: the auctioneer goes on without it.
        ("E3", I, "cfp"): "E2",
        ("E3", I, "inform"): "ENDED",
        ("E4", I, "cfp"): "E2",
        ("E4", I, "inform"): "ENDED",
        ("E4w", I, "cfp"): "E2",
        ("E4w", I, "inform"): "E5",
        ("E5", I, "request"): "SOLD",
    },
    terminal=frozenset({"LEFT", "SOLD", "ENDED"}),
    deadlines={"E2": "E4", "E5": "ENDED"},
)
