"""The bidder's side of both auctions (FIPA00031, FIPA00032)."""

from __future__ import annotations

import asyncio
from typing import Any

from behaviours.outcomes import Fail, Refuse
from behaviours.participating import (
    INITIATOR_GONE_AFTER,
    Job,
    Participation,
    broken,
    confirm_cancel,
    decline,
)
from behaviours.stepping import Heard, Told
from behaviours.understanding import unnest
from ontology.acl import AclMessage, Performative
from ontology.content import Term
from ontology.errors import Cause, ContentError
from ontology.interaction import INTERACTION, AuctionEnded, AuctionStarted, PriceBid, PriceCall, Sale


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
