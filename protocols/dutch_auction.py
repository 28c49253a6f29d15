"""fipa-dutch-auction (FIPA00032, XC00032F, experimental): the price falls until somebody takes it.

The table is the conversation with one bidder. The first bid of a round wins at the round's price; where
several units are sold the price stands while units remain, and the auction goes on.

D5 is no end here, unlike in FIPA's drawing: whoever won is still told that the auction is over.

FIPA spells the token fipa-dutch-auction here and fipa-auction-dutch there; both are understood.
"""

from __future__ import annotations

from protocols.table import Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

DUTCH_AUCTION = Protocol(
    name="fipa-dutch-auction",
    spec="XC00032F",
    start="D0",
    transitions={
        ("D0", I, "inform"): "D1",
        ("D1", I, "cfp"): "D2",
        ("D1", P, "not-understood"): "LEFT",
        ("D2", P, "propose"): "D3",
        ("D2", P, "not-understood"): "LEFT",
        ("D2", I, "cfp"): "D2",  # another bidder took the round
        ("D2", I, "inform"): "ENDED",  # the round is over by the auctioneer's clock, not yet by the bidder's
        ("D3", I, "accept-proposal"): "D5",
        ("D3", I, "reject-proposal"): "D4",
        # A bid that was still on its way when the round ended: the auctioneer goes on without it.
        ("D3", I, "cfp"): "D2",
        ("D3", I, "inform"): "ENDED",
        ("D4", I, "cfp"): "D2",
        ("D4", I, "inform"): "ENDED",
        ("D5", I, "cfp"): "D2",  # only while units remain
        ("D5", I, "inform"): "SOLD",
    },
    terminal=frozenset({"LEFT", "SOLD", "ENDED"}),
    deadlines={"D2": "D4"},
)
