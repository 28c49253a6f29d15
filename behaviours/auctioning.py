"""The auctioneer's side of both auctions: the price rises (FIPA00031), or falls (FIPA00032).

Its rules, where FIPA leaves them open: a round ends when every bidder has answered or its time
is up; the first bid of a round to arrive wins it, so ties go to the quicker; in an English auction whoever
holds the standing bid is not asked to beat itself, and if it leaves its price is called once more. Whether
the winners are still there to know of it is looked at when all is over, and told with the sale.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from behaviours.clocking import after
from behaviours.connection import Life
from behaviours.conversing import Seat
from behaviours.initiating import Hub, cancel, greet, opening
from behaviours.stepping import Heard, Lost, Overdue, Told
from behaviours.understanding import nest
from behaviours.watching import told_of
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason, Term, explain
from ontology.errors import Cause, ContentError
from ontology.interaction import (
    INTERACTION,
    AuctionEnded,
    AuctionStarted,
    PriceBid,
    PriceCall,
    Sale,
)
from protocols.dutch_auction import DUTCH_AUCTION
from protocols.english_auction import ENGLISH_AUCTION
from protocols.table import Protocol

ROUND_WITHIN = 5.0
"""Seconds for the bids of one round."""


@dataclass(frozen=True, kw_only=True)
class Sold:
    """Units that went to one bidder."""

    winner: AgentIdentifier
    price: float
    """For one unit."""
    units: int = 1
    doubt: Reason | None = None
    """Why the winner may not know of it: a message came back, or it has left; None if it should."""


@dataclass(frozen=True, kw_only=True)
class Auction:
    """How an auction ended."""

    sales: tuple[Sold, ...]
    """Empty when nothing was sold: there was no bid, or the reserve was not reached."""
    highest: float | None
    """The last price that somebody was ready to pay; None if nobody bid."""
    rounds: int
    left: tuple[str, ...]
    """Bidders that left, or could not be reached."""


@dataclass(kw_only=True)
class _Bidder:
    seat: Seat
    has_left: bool = False


@dataclass(kw_only=True)
class _House:
    """An auction under way."""

    hub: Hub
    bidders: list[_Bidder]
    within: float
    rounds: int = 0
    left: list[str] = field(default_factory=list)

    def present(self) -> list[_Bidder]:
        """Those who have not left; whoever has, between two rounds too, is noted."""
        for bidder in self.bidders:
            if bidder.seat.is_over and not bidder.has_left:
                bidder.has_left = True
                self.left.append(bidder.seat.peer.name)
        return [each for each in self.bidders if not each.has_left]

    def tell(
        self, bidder: _Bidder, performative: Performative, term: Term, within: float | None = None
    ) -> None:
        """Say something to one bidder."""
        seat = bidder.seat
        limit = None if within is None else after(self.hub.now(), within)
        seat.say(
            AclMessage(
                performative=performative,
                receiver=(seat.peer,),
                content=INTERACTION.render(term),
                language="json",
                ontology=INTERACTION.label,
                protocol=seat.protocol.name,
                conversation_id=seat.conversation.conversation_id,
                reply_with=uuid.uuid4().hex,
                reply_by=limit,
            )
        )

    async def round(self, price: float, units: int, standing: str | None, asked: list[_Bidder]) -> list[Any]:
        """Call one price; return the bids as (bidder, bid), in order of arrival."""
        self.rounds += 1
        call = PriceCall(price=price, round=self.rounds, units=units, standing=standing)
        for bidder in asked:
            self.tell(bidder, Performative.CFP, call, self.within)
        waits = [asyncio.ensure_future(self._bid(bidder)) for bidder in asked]
        try:
            found = [each for each in await asyncio.gather(*waits) if each is not None]
        finally:
            for wait in waits:
                wait.cancel()
        # A handler that runs again is to go the same way, and hears all bids at once.
        found.sort(key=lambda each: each[0])
        # Some may have bid and left while others were still thinking.
        return [(who, bid, message) for _at, who, bid, message in found if not who.seat.is_over]

    async def _bid(self, bidder: _Bidder) -> tuple[datetime, _Bidder, PriceBid, AclMessage] | None:
        """Wait for a bidder's answer to a call: when it came, and the bid; None if it is silent or leaves."""
        while True:
            match await bidder.seat.step():
                case Heard(message, at) if message.performative is Performative.PROPOSE:
                    try:
                        term = INTERACTION.parse(message.content)
                    except ContentError as error:
                        reject(bidder.seat, message, error.cause, error.text)
                        return None
                    if isinstance(term, PriceBid):
                        greet(self.hub, bidder.seat)
                        return at, bidder, term, message
                    reject(bidder.seat, message, Cause.UNSUPPORTED_VALUE, f"a bid is a {PriceBid.tag}")
                    return None
                case Overdue():
                    return None
                case Told():
                    continue
                case Lost() | Heard():
                    return None

    def end(self, ended: AuctionEnded, standing: _Bidder | None = None) -> None:
        """Tell everybody who is still there that it is over; whoever has the standing bid waits for more."""
        for bidder in self.present():
            if bidder.seat.may_say(Performative.INFORM):
                self.tell(bidder, Performative.INFORM, ended, self.within if bidder is standing else None)

    async def outcome(self, sales: Sequence[Sold], highest: float | None) -> Auction:
        """Look whether the winners are there to know of it, and tell how it ended."""
        seats = {bidder.seat.conversation.peer: bidder.seat for bidder in self.bidders}
        winners = dict.fromkeys(sale.winner.name for sale in sales)
        found = await asyncio.gather(*(_doubt(self.hub, seats[name], self.within) for name in winners))
        doubts = dict(zip(winners, found, strict=True))
        return Auction(
            sales=tuple(replace(sale, doubt=doubts[sale.winner.name]) for sale in sales),
            highest=highest,
            rounds=self.rounds,
            left=tuple(self.left),
        )


async def _doubt(hub: Hub, seat: Seat, within: float) -> Reason | None:
    """Why a winner may not know what it has won."""
    name = seat.peer.name
    is_confirmed = await hub.transport.confirm(within)  # whatever our server returns comes before
    life = await hub.transport.probe(seat.peer.jid, within) if is_confirmed else Life.SILENT
    if seat.lost is not None:
        return seat.lost
    if not is_confirmed:
        text = "the server has not confirmed the award: nobody knows whether it arrived"
        return Reason(cause=Cause.UNREACHABLE, text=text, about=name)
    if life is Life.ALIVE:
        return None
    return Reason(cause=Cause.VANISHED, text=f"{name} {told_of(life)}", about=name)


def reject(seat: Seat, message: AclMessage, cause: Cause | str, text: str) -> None:
    """Reject a bid with the reason."""
    seat.say(message.reply(Performative.REJECT_PROPOSAL, content=explain(cause, text)))


@asynccontextmanager
async def _holding(
    hub: Hub, protocol: Protocol, bidders: Iterable[AgentIdentifier], lot: Term, units: int, within: float
) -> AsyncIterator[_House]:
    """Invite the bidders. If the auction is given up before it is over, all who are still there are told."""
    started = AuctionStarted(lot=nest(lot, hub.ontologies), units=units)
    message = opening(hub, Performative.INFORM, protocol, INTERACTION, started, within)
    message = message.model_copy(update={"reply_by": None})
    seats: dict[str, Seat] = {}
    for peer in bidders:
        if peer.name not in seats:
            seats[peer.name] = hub.open(protocol, message.model_copy(update={"receiver": (peer,)}), peer)
    present = [_Bidder(seat=seat) for seat in seats.values()]
    try:
        yield _House(hub=hub, bidders=present, within=within)
    except BaseException:
        for seat in seats.values():
            cancel(hub, seat, message)
        raise


def _exact(price: float) -> float:
    """A price without what floats leave behind: thrice 0.1 is 0.3, and reaches a reserve of 0.3."""
    return round(price, 9)


async def english_auction(
    hub: Hub,
    bidders: Iterable[AgentIdentifier],
    lot: Term,
    *,
    start: float,
    increment: float,
    reserve: float = 0.0,
    round_within: float = ROUND_WITHIN,
) -> Auction:
    """Sell a lot to whoever pays most: the price rises until nobody gives more.

    Args:
        hub: our mailroom.
        bidders: whom to invite.
        lot: what is sold; a term of one of our ontologies.
        start: the first price.
        increment: what each round adds; above 0.
        reserve: the price below which it is not sold.
        round_within: seconds for the bids of a round.
    """
    if increment <= 0:
        raise ValueError(f"the increment must be above 0, not {increment:g}: the price would never rise")
    async with _holding(hub, ENGLISH_AUCTION, bidders, lot, 1, round_within) as house:
        standing, highest = await _rise(house, start, increment)
    if standing is None or highest is None or highest < reserve:
        house.end(AuctionEnded(sold=0, price=highest), standing)
        return await house.outcome((), highest)
    winner = standing.seat.peer
    house.end(AuctionEnded(sold=1, price=highest, winner=winner.name), standing)
    house.tell(standing, Performative.REQUEST, Sale(lot=nest(lot, hub.ontologies), price=highest))
    return await house.outcome((Sold(winner=winner, price=highest),), highest)


async def _rise(house: _House, start: float, increment: float) -> tuple[_Bidder | None, float | None]:
    """Call higher and higher prices; return who bid the last one, if it is still there, and how much."""
    standing: _Bidder | None = None
    price, highest = start, None
    while True:
        asked = [each for each in house.present() if each is not standing]
        bids = await house.round(price, 1, standing.seat.peer.name if standing else None, asked)
        valid = [(bidder, message) for bidder, bid, message in bids if bid.price >= price]
        for bidder, bid, message in bids:
            if bid.price < price:
                reject(bidder.seat, message, Cause.UNSUPPORTED_VALUE, f"the price is {price:g}")
        if standing is not None and standing.seat.is_over and not valid:
            standing, price = None, highest if highest is not None else price
            continue
        if not valid:
            return standing, highest
        (winner, message), others = valid[0], valid[1:]
        content = INTERACTION.render(PriceBid(price=price))
        winner.seat.say(message.reply(Performative.ACCEPT_PROPOSAL, content=content))
        for bidder, late in others:
            reject(bidder.seat, late, Cause.NOT_CHOSEN, "another bid of this round came first")
        standing, highest = winner, price
        price = _exact(price + increment)


async def dutch_auction(
    hub: Hub,
    bidders: Iterable[AgentIdentifier],
    lot: Term,
    *,
    start: float,
    decrement: float,
    reserve: float = 0.0,
    units: int = 1,
    round_within: float = ROUND_WITHIN,
) -> Auction:
    """Sell units of a lot to whoever takes them first: the price falls until all are sold, or to the reserve.

    Args:
        hub: our mailroom.
        bidders: whom to invite.
        lot: what is sold; a term of one of our ontologies.
        start: the first price for a unit.
        decrement: what each round without a bid takes off; above 0.
        reserve: the price below which no unit is sold.
        units: how many there are.
        round_within: seconds for the bids of a round.
    """
    if decrement <= 0:
        raise ValueError(f"the decrement must be above 0, not {decrement:g}: the price would never fall")
    if start < reserve:
        raise ValueError(
            f"the start price, {start:g}, is below the reserve, {reserve:g}: nothing could be sold"
        )
    async with _holding(hub, DUTCH_AUCTION, bidders, lot, units, round_within) as house:
        sales = await _fall(house, start, decrement, reserve, units)
    highest = max((sale.price for sale in sales), default=None)
    house.end(AuctionEnded(sold=sum(sale.units for sale in sales), price=highest))
    return await house.outcome(sales, highest)


async def _fall(house: _House, start: float, decrement: float, reserve: float, units: int) -> list[Sold]:
    """Call lower and lower prices until all is sold, or nobody is left."""
    price, remaining = start, units
    sales: list[Sold] = []
    while remaining and price >= reserve and (present := house.present()):
        before = remaining
        for bidder, bid, message in await house.round(price, remaining, None, present):
            if bid.price < price:
                reject(bidder.seat, message, Cause.UNSUPPORTED_VALUE, f"the price is {price:g}")
            elif not remaining:
                reject(bidder.seat, message, Cause.NOT_CHOSEN, "the last unit went to a bid that came first")
            else:
                taken = min(bid.units, remaining)
                remaining -= taken
                sales.append(Sold(winner=bidder.seat.peer, price=price, units=taken))
                content = INTERACTION.render(PriceBid(price=price, units=taken))
                bidder.seat.say(message.reply(Performative.ACCEPT_PROPOSAL, content=content))
        if remaining == before:
            price = _exact(price - decrement)
    return sales
