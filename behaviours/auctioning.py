"""Both sides of the auctions: the price rises (FIPA00031), or falls (FIPA00032).

The auctioneer's rules, where FIPA leaves them open: a round ends when every bidder has answered or its time
is up; the first bid of a round to arrive wins it, so ties go to the quicker; in an English auction whoever
holds the standing bid is not asked to beat itself, and if it leaves its price is called once more.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from behaviours.conversing import Heard, Lost, Overdue, Seat, Told, after
from behaviours.initiating import Hub, cancel, opening
from behaviours.outcomes import Fail, Refuse
from behaviours.participating import (
    INITIATOR_GONE_AFTER,
    Job,
    Participation,
    broken,
    confirm_cancel,
    decline,
)
from behaviours.understanding import nest, unnest
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Term, explain
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
    opening: AclMessage
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
            found = [await each for each in asyncio.as_completed(waits)]
        finally:
            for wait in waits:
                wait.cancel()
        # Some may have bid and left while others were still thinking.
        return [each for each in found if each is not None and not each[0].seat.is_over]

    async def _bid(self, bidder: _Bidder) -> tuple[_Bidder, PriceBid, AclMessage] | None:
        """Wait for a bidder's answer to a call: a bid; None if it is silent or leaves."""
        while True:
            match await bidder.seat.step():
                case Heard(message) if message.performative is Performative.PROPOSE:
                    try:
                        term = INTERACTION.parse(message.content)
                    except ContentError as error:
                        reject(bidder.seat, message, error.cause, error.text)
                        return None
                    if isinstance(term, PriceBid):
                        return bidder, term, message
                    reject(bidder.seat, message, Cause.UNSUPPORTED_VALUE, f"a bid is a {PriceBid.tag}")
                    return None
                case Overdue():
                    return None
                case Told():
                    continue
                case Lost() | Heard():
                    return None

    def take_back(self) -> None:
        """The auctioneer has given up: tell everybody who is still there."""
        for bidder in self.bidders:
            cancel(self.hub, bidder.seat, self.opening)


def reject(seat: Seat, message: AclMessage, cause: Cause | str, text: str) -> None:
    """Reject a bid with the reason."""
    seat.say(message.reply(Performative.REJECT_PROPOSAL, content=explain(cause, text)))


def _open(
    hub: Hub, protocol: Protocol, bidders: Iterable[AgentIdentifier], lot: Term, units: int, within: float
) -> _House:
    started = AuctionStarted(lot=nest(lot, hub.ontologies), units=units)
    message = opening(hub, Performative.INFORM, protocol, INTERACTION, started, within)
    message = message.model_copy(update={"reply_by": None})
    seats: dict[str, Seat] = {}
    for peer in bidders:
        if peer.name not in seats:
            seats[peer.name] = hub.open(protocol, message.model_copy(update={"receiver": (peer,)}), peer)
    present = [_Bidder(seat=seat) for seat in seats.values()]
    return _House(hub=hub, opening=message, bidders=present, within=within)


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
    house = _open(hub, ENGLISH_AUCTION, bidders, lot, 1, round_within)
    try:
        standing, highest = await _rise(house, start, increment)
    except BaseException:
        house.take_back()
        raise
    is_sold = standing is not None and highest is not None and highest >= reserve
    name = standing.seat.peer.name if standing is not None and is_sold else None
    ended = AuctionEnded(sold=int(is_sold), price=highest, winner=name)
    for bidder in house.present():
        if bidder.seat.may_say(Performative.INFORM):
            house.tell(bidder, Performative.INFORM, ended, round_within if bidder is standing else None)
    sales: tuple[Sold, ...] = ()
    if is_sold and standing is not None and highest is not None:
        house.tell(standing, Performative.REQUEST, Sale(lot=nest(lot, hub.ontologies), price=highest))
        sales = (Sold(winner=standing.seat.peer, price=highest),)
    return Auction(sales=sales, highest=highest, rounds=house.rounds, left=tuple(house.left))


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
    house = _open(hub, DUTCH_AUCTION, bidders, lot, units, round_within)
    try:
        sales = await _fall(house, start, decrement, reserve, units)
    except BaseException:
        house.take_back()
        raise
    highest = max((sale.price for sale in sales), default=None)
    ended = AuctionEnded(sold=sum(sale.units for sale in sales), price=highest)
    for bidder in house.present():
        if bidder.seat.may_say(Performative.INFORM):
            house.tell(bidder, Performative.INFORM, ended)
    return Auction(sales=tuple(sales), highest=highest, rounds=house.rounds, left=tuple(house.left))


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


async def serve_auction(job: Job) -> None:
    """Take part in an auction: bid as long as a unit is worth its price to us.

    While the agent thinks about a price the auction goes on, and may leave it behind.
    """
    seat, task = job.seat, job.participation()
    if not isinstance(job.term, AuctionStarted):
        raise TypeError(f"an auction opens with {AuctionStarted.tag}, not {job.term.tag}")
    lot, _ontology = unnest(job.term.lot, job.ontologies)
    seat.watch(INITIATOR_GONE_AFTER)  # an auctioneer that has gone calls no more prices
    listening = asyncio.ensure_future(seat.step())
    bidding: asyncio.Future[None] | None = None
    try:
        while not seat.is_over or seat.has_steps or listening.done():
            waits: list[asyncio.Future[Any]] = [each for each in (listening, bidding) if each is not None]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if bidding is not None and bidding.done():
                bidding = None
            if not listening.done():
                continue
            step, listening = listening.result(), asyncio.ensure_future(seat.step())
            if bidding is not None and not isinstance(step, Told):
                bidding.cancel()
                bidding = None
            match step:
                case Heard(message) if message.performative is Performative.CFP:
                    bidding = asyncio.ensure_future(_answer_call(job, message, lot, task))
                case Heard(message) if message.performative is Performative.CANCEL:
                    confirm_cancel(seat, message)
                case Heard(message) if message.performative in {Performative.REQUEST, Performative.INFORM}:
                    _hear(job, message)
    finally:
        left = [each for each in (listening, bidding) if each is not None]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _answer_call(job: Job, message: AclMessage, lot: Term, task: Participation) -> None:
    """Bid, keep silent, or leave, as the agent's handler has it."""
    seat = job.seat
    try:
        call = INTERACTION.parse(message.content)
        if not isinstance(call, PriceCall):
            raise ContentError(Cause.UNSUPPORTED_VALUE, f"a round is called by {PriceCall.tag}")  # noqa: TRY301
    except ContentError as error:
        _leave(job, message, Refuse(error.cause, error.text))
        return
    task.call = call
    try:
        worth = await job.handlers.values[type(lot)](lot, task)
        is_bidding = worth is not None and not isinstance(worth, Refuse | Fail) and worth >= call.price
        bid = PriceBid(price=call.price, units=min(task.units, call.units)) if is_bidding else None
    except Exception as error:  # noqa: BLE001 - a handler is the user's code; the agent outlives it
        worth, bid = broken(job.room, seat, lot, error), None
    us = asyncio.current_task()
    if us is not None and us.cancelling():
        return  # the round is over, and the handler has not let itself be stopped
    if worth is None:
        _leave(job, message, Refuse("left", "I leave the auction"))
    elif isinstance(worth, Refuse | Fail):
        _leave(job, message, worth)
    elif bid is not None and seat.may_say(Performative.PROPOSE):
        seat.say(message.reply(Performative.PROPOSE, content=INTERACTION.render(bid)))


def _leave(job: Job, message: AclMessage, why: Refuse | Fail) -> None:
    """Leave an auction: FIPA knows no other act for it than not-understood."""
    if job.seat.may_say(Performative.NOT_UNDERSTOOD):
        decline(job.room, job.seat, message, Performative.NOT_UNDERSTOOD, why)


def _hear(job: Job, message: AclMessage) -> None:
    """Tell the agent's listeners how the auction ended, and of a sale."""
    try:
        term = INTERACTION.parse(message.content)
    except ContentError:
        return
    listener = job.handlers.hears.get(type(term))
    if listener is not None and isinstance(term, AuctionEnded | Sale):
        listener(term, job.seat.peer)
