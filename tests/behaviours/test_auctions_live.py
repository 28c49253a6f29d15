"""English and Dutch auctions between agents on real sockets."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from behaviours import participating
from behaviours.auctioning import Auction, Sold
from behaviours.events import HandlerFailed, MessageReceived, MessageSent, OutOfSequence
from behaviours.outcomes import Fail, Refuse
from behaviours.participating import Participation
from ontology.acl import AclMessage, Performative
from ontology.content import Reason
from ontology.errors import Cause
from ontology.interaction import INTERACTION, AuctionEnded, AuctionStarted, Nested, PriceBid, PriceCall, Sale
from society.xmpp_server import Limits
from tests.behaviours.houses import (
    HOUSE,
    Foreign,
    House,
    IsFree,
    Move,
    Painting,
    all_over,
    ended,
    forever,
    look_often,
    opens,
)
from tests.behaviours.puppets import Puppet
from tests.conftest import World, becomes

COW = Nested(ontology=HOUSE.label, content={"painting": {"title": "a cow"}})
HOUSE_OF_SALES = "seller@localhost"
SHORT = 0.3
"""Seconds of a round in which somebody is silent."""


def at(name: str) -> str:
    """A name's address."""
    return f"{name}@localhost"


async def sale(world: World, **worth: Any) -> tuple[House, list[House]]:
    """Start a seller, and bidders to whom the lot is worth so much."""
    bidders = [await world.start(functools.partial(House, value=each), name) for name, each in worth.items()]
    return await world.start(House, "seller"), bidders


def wins(auction: Auction) -> list[tuple[str, float, int]]:
    """Who got what."""
    return [(each.winner.local_name, each.price, each.units) for each in auction.sales]


async def has_heard(agent: House, *terms: Any) -> None:
    """An agent's listener is told of these, and of nothing else."""
    await becomes(lambda: len(agent.told) >= len(terms))
    assert agent.told == [*terms]


def up_to(price: float, leaves: bool = True) -> Any:
    """Worth that much; beyond that, leave."""

    async def value(_lot: Painting, task: Participation) -> float | None:
        assert task.call is not None
        return price if task.call.price <= price or not leaves else None

    return value


def units(price: float, count: int) -> Any:
    """So many units are worth that much each."""

    async def value(_lot: Painting, task: Participation) -> float:
        task.units = count
        return price

    return value


# -- English -------------------------------------------------------------------------------------


async def test_the_price_rises_until_one_is_left(world: World) -> None:
    seller, (a, b) = await sale(world, a=up_to(3), b=up_to(5))
    auction = await seller.english_auction([a.me, b.me], Painting(), start=1, increment=1)
    # Whoever holds the bid does not beat itself: what b pays depends on who was quicker at 3.
    ((winner, price, count),) = wins(auction)
    assert (winner, price, count) in {("b", 3, 1), ("b", 4, 1)}
    assert auction.highest == price
    assert auction.left == ("a@localhost",)
    await has_heard(b, AuctionEnded(sold=1, price=price, winner="b@localhost"), Sale(lot=COW, price=price))
    assert a.told == []
    await ended(world, "b", "SOLD")
    await ended(world, "a", "LEFT")
    await all_over(world, seller, a, b)


async def test_a_bidder_that_stays_is_told_who_won(world: World) -> None:
    seller, (a, b) = await sale(world, a=1, b=2)
    auction = await seller.english_auction(
        [at("a"), at("b")], Painting(), start=2, increment=1, round_within=4 * SHORT
    )
    assert wins(auction) == [("b", 2, 1)]
    assert auction.left == ()
    ending = AuctionEnded(sold=1, price=2, winner="b@localhost")
    await has_heard(b, ending, Sale(lot=COW, price=2))
    await has_heard(a, ending)
    await all_over(world, seller, a, b)


async def test_below_the_reserve_nothing_is_sold(world: World) -> None:
    seller, (a, b) = await sale(world, a=up_to(3), b=up_to(2))
    auction = await seller.english_auction(
        [a.me, b.me], Painting(), start=1, increment=1, reserve=50, round_within=SHORT
    )
    assert auction.sales == ()
    assert auction.highest in {2, 3}
    assert auction.left == (at("b"),)
    await has_heard(a, AuctionEnded(sold=0, price=auction.highest))
    await all_over(world, seller, a, b)


async def test_the_reserve_itself_is_enough_however_floats_add_up(world: World) -> None:
    seller, (a, _b) = await sale(world, a=up_to(0.3), b=up_to(0.2))
    auction = await seller.english_auction(
        [at("a"), at("b")], Painting(), start=0.1, increment=0.1, reserve=0.2, round_within=SHORT
    )
    ((winner, price, _count),) = wins(auction)
    assert winner in {"a", "b"}
    assert price in {0.2, 0.3}
    await all_over(world, seller, a)


async def test_of_a_tie_the_quicker_wins_and_the_other_is_told_why(world: World) -> None:
    first = asyncio.Event()

    async def later(_lot: Painting, task: Participation) -> float | None:
        assert task.call is not None
        if task.call.round > 1:
            return None
        await first.wait()
        return 1

    seller, (a, b) = await sale(world, a=later, b=1)
    selling = asyncio.create_task(
        seller.english_auction([a.me, b.me], Painting(), start=1, increment=1, round_within=5)
    )
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="propose")
    first.set()
    assert wins(await selling) == [("b", 1, 1)]
    await world.fact(MessageReceived, agent=at("a"), performative="reject-proposal")
    await all_over(world, seller, a, b)


async def test_silence_is_no_bid_and_costs_the_round(world: World) -> None:
    seller, (a, b) = await sale(world, a=forever, b=1)
    auction = await seller.english_auction([a.me, b.me], Painting(), start=1, increment=1, round_within=SHORT)
    assert wins(auction) == [("b", 1, 1)]
    assert (auction.rounds, auction.left) == (2, ())
    assert a.was_cancelled.is_set()  # the round left it behind
    await all_over(world, seller, a, b)


async def test_without_any_bid_nothing_is_sold(world: World) -> None:
    seller, (a,) = await sale(world, a=None)
    auction = await seller.english_auction([a.me], Painting(), start=1, increment=1)
    assert auction == Auction(sales=(), highest=None, rounds=1, left=(at("a"),))
    await all_over(world, seller, a)
    assert await seller.english_auction([], Painting(), start=1, increment=1) == Auction(
        sales=(), highest=None, rounds=1, left=()
    )


async def test_an_auction_that_could_not_end_or_sell_is_not_begun(world: World) -> None:
    seller = await world.start(House, "seller")
    with pytest.raises(ValueError, match="the increment must be above 0, not 0"):
        await seller.english_auction([at("a")], Painting(), start=1, increment=0)
    with pytest.raises(ValueError, match="the decrement must be above 0, not -1"):
        await seller.dutch_auction([at("a")], Painting(), start=1, decrement=-1)
    with pytest.raises(ValueError, match="the start price, 1, is below the reserve, 2"):
        await seller.dutch_auction([at("a")], Painting(), start=1, decrement=1, reserve=2)
    with pytest.raises(ValueError, match="Foreign is a term of none"):
        await seller.english_auction([at("a")], Foreign(), start=1, increment=1)
    assert seller.mailroom.conversations() == []


async def test_who_is_not_there_or_does_not_bid_for_such_things_has_left(world: World) -> None:
    class Poor(House):
        value = None  # type: ignore[assignment]

    class Stranger(House):
        ontologies = ()

    seller, (b,) = await sale(world, b=up_to(1))
    await world.start(Poor, "poor")
    await world.start(Stranger, "stranger")
    names = [at(name) for name in ("nobody", "poor", "stranger", "b")]
    auction = await seller.english_auction(names, Painting(), start=1, increment=1, round_within=5)
    assert wins(auction) == [("b", 1, 1)]
    assert sorted(auction.left) == sorted(names[:3])
    await all_over(world, seller, b)


@pytest.mark.parametrize(
    "worth",
    [
        KeyError("x"),
        "much",
        Fail("broke", "no money"),
        Refuse("no", "a\uffffb"),
        Refuse("no", "a" * 2_000_000),
    ],
)
async def test_a_bidder_whose_handler_breaks_leaves(world: World, worth: Any) -> None:
    seller, (a, b) = await sale(world, a=worth, b=up_to(1))
    auction = await seller.english_auction([a.me, b.me], Painting(), start=1, increment=1)
    assert wins(auction) == [("b", 1, 1)]
    assert auction.left[0] == at("a")
    is_broken = not isinstance(worth, Fail) and not (isinstance(worth, Refuse) and len(worth.text) < 9)
    assert bool(world.of(HandlerFailed, agent=at("a"))) == is_broken
    await all_over(world, seller, a, b)


async def test_a_bid_of_no_units_is_a_mistake(world: World) -> None:
    seller, (a,) = await sale(world, a=units(9, 0))
    auction = await seller.dutch_auction([a.me], Painting(), start=1, decrement=1)
    assert (auction.sales, auction.left) == ((), (at("a"),))
    assert len(world.of(HandlerFailed, agent=at("a"))) == 1
    await all_over(world, seller, a)


# -- Dutch ---------------------------------------------------------------------------------------


async def test_the_price_falls_until_somebody_takes_it(world: World) -> None:
    seller, (a, b) = await sale(world, a=0.7, b=0.5)
    auction = await seller.dutch_auction(
        [a.me, b.me], Painting(), start=1, decrement=0.1, reserve=0.1, round_within=SHORT
    )
    assert wins(auction) == [("a", 0.7, 1)]
    assert (auction.highest, auction.rounds) == (0.7, 4)
    await ended(world, "a", "SOLD")
    await ended(world, "b", "ENDED")
    await all_over(world, seller, a, b)
    for each in (a, b):
        await has_heard(each, AuctionEnded(sold=1, price=0.7))


async def test_the_price_does_not_fall_below_the_reserve(world: World) -> None:
    seller, (a,) = await sale(world, a=1)
    auction = await seller.dutch_auction(
        [a.me], Painting(), start=3, decrement=0.5, reserve=2, round_within=0.05
    )
    assert auction == Auction(sales=(), highest=None, rounds=3, left=())
    await all_over(world, seller, a)
    await has_heard(a, AuctionEnded(sold=0))


async def test_several_units_go_to_several_bidders_at_their_prices(world: World) -> None:
    seller, (a, b, c) = await sale(world, a=units(5, 2), b=units(4, 5), c=1)
    auction = await seller.dutch_auction(
        [a.me, b.me, c.me], Painting(), start=5, decrement=1, units=6, round_within=SHORT
    )
    # a bids for two in each round at 5, b takes what is left of its five at the next price.
    assert sum(each.units for each in auction.sales) == 6
    assert auction.sales[0] == Sold(winner=auction.sales[0].winner, price=5, units=2)
    assert auction.highest == 5
    await all_over(world, seller, a, b, c)
    await has_heard(c, AuctionEnded(sold=6, price=5))


async def test_a_tie_for_the_last_unit_goes_to_the_quicker(world: World) -> None:
    first = asyncio.Event()

    async def later(_lot: Painting, _task: Participation) -> float:
        await first.wait()
        return 1

    seller, (a, b) = await sale(world, a=later, b=units(1, 2))
    selling = asyncio.create_task(
        seller.dutch_auction([a.me, b.me], Painting(), start=1, decrement=1, units=2, round_within=5)
    )
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="propose")
    first.set()
    assert wins(await selling) == [("b", 1, 2)]
    await world.fact(MessageReceived, agent=at("a"), performative="reject-proposal")
    await all_over(world, seller, a, b)


async def test_a_bid_for_more_than_there_is_gets_what_there_is(world: World) -> None:
    seller, (a,) = await sale(world, a=units(1, 9))
    auction = await seller.dutch_auction([a.me], Painting(), start=1, decrement=1, units=3)
    assert wins(auction) == [("a", 1, 3)]
    await all_over(world, seller, a)


async def test_when_all_have_left_the_auction_is_over(world: World) -> None:
    seller, (a, b) = await sale(world, a=None, b=Refuse("poor", "I have no money"))
    auction = await seller.dutch_auction([a.me, b.me], Painting(), start=9, decrement=1)
    assert auction.sales == ()
    assert sorted(auction.left) == [at("a"), at("b")]
    assert auction.rounds == 1
    await all_over(world, seller, a, b)


# -- both: giving up, vanishing, and peers that do not keep to the rules -------------------------


@pytest.mark.parametrize("kind", ["english", "dutch"])
async def test_an_auctioneer_that_gives_up_tells_everybody(world: World, kind: str) -> None:
    seller, (a, b) = await sale(world, a=forever, b=1)
    how = {"english_auction": {"increment": 1}, "dutch_auction": {"decrement": 1}}[f"{kind}_auction"]
    call = getattr(seller, f"{kind}_auction")
    selling = asyncio.create_task(call([a.me, b.me], Painting(), start=1, round_within=60, **how))
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="propose")
    await a.started.wait()
    selling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await selling
    for name in ("a", "b"):
        await ended(world, name, "CANCELLED")
    await ended(world, "seller", "CANCELLED", count=2)
    assert a.was_cancelled.is_set()
    await all_over(world, seller, a, b)
    await becomes(lambda: not seller.mailroom._tasks and not a.mailroom._tasks)


async def test_bidders_do_not_wait_for_an_auctioneer_that_has_vanished(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participating, "INITIATOR_GONE_AFTER", 3)
    looked = look_often(monkeypatch, "seller")
    seller, (a,) = await sale(world, a=forever)
    selling = asyncio.create_task(
        seller.english_auction([a.me], Painting(), start=1, increment=1, round_within=60)
    )
    await a.started.wait()
    await looked.wait()
    await seller.stop()
    await ended(world, "a", "UNREACHABLE")
    await asyncio.wait_for(a.was_cancelled.wait(), 5)
    assert (await selling).sales == ()
    await becomes(lambda: not a.mailroom._tasks)


async def test_a_bidder_that_vanishes_between_two_rounds_has_left(world: World) -> None:
    async def once(_lot: Painting, task: Participation) -> float:
        assert task.call is not None
        return 2 if task.call.round == 1 else await forever(_lot, task)

    seller, (a, b) = await sale(world, a=up_to(9), b=once)
    selling = asyncio.create_task(
        seller.english_auction([a.me, b.me], Painting(), start=1, increment=1, round_within=SHORT)
    )
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="propose", count=2)
    await b.stop()
    auction = await selling
    assert auction.highest is not None
    await all_over(world, seller, a)


async def invited(world: World, puppet: Puppet, *others: Any, **rules: Any) -> tuple[House, Any, AclMessage]:
    """Start an auction with a puppet among its bidders; return the seller, the auction and the first call."""
    seller = await world.start(House, "seller")
    rules = {"start": 2, "increment": 1, "round_within": SHORT, **rules}
    call = seller.dutch_auction if "decrement" in rules else seller.english_auction
    if "decrement" in rules:
        del rules["increment"]
    selling = asyncio.create_task(call([puppet.jid, *others], Painting(), **rules))
    started = await puppet.hear(Performative.INFORM)
    assert INTERACTION.parse(started.content) == AuctionStarted(lot=COW, units=rules.get("units", 1))
    return seller, selling, await puppet.hear(Performative.CFP)


def bid(call: AclMessage, price: float, **parameters: Any) -> AclMessage:
    """A puppet's bid."""
    return call.reply(Performative.PROPOSE, content=INTERACTION.render(PriceBid(price=price)), **parameters)


async def test_a_bid_below_the_price_is_rejected_and_does_not_stop_a_falling_price(world: World) -> None:
    puppet = await Puppet.start(world, "puppet")
    seller, selling, call = await invited(world, puppet, decrement=1, reserve=1)
    puppet.say(bid(call, 1), seller.me)
    assert (await puppet.hear_reason(Performative.REJECT_PROPOSAL)).text == "the price is 2"
    call = await puppet.hear(Performative.CFP)
    puppet.say(bid(call, 1), seller.me)
    await puppet.hear(Performative.ACCEPT_PROPOSAL)
    assert INTERACTION.parse((await puppet.hear(Performative.INFORM)).content) == AuctionEnded(
        sold=1, price=1
    )
    assert wins(await selling) == [("puppet", 1, 1)]
    await all_over(world, seller)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (INTERACTION.render(PriceBid(price=1)), Cause.UNSUPPORTED_VALUE),
        (INTERACTION.render(PriceCall(price=9, round=1)), Cause.UNSUPPORTED_VALUE),
        ('{"price-bid": {"price": "much"}}', Cause.UNSUPPORTED_VALUE),
        ("9 crowns", Cause.UNRECOGNISED_VALUE),
        (None, Cause.MISSING_ARGUMENT),
    ],
)
async def test_what_is_no_valid_bid_is_rejected_with_the_reason(
    world: World, content: str | None, cause: Cause
) -> None:
    puppet = await Puppet.start(world, "puppet")
    seller, selling, call = await invited(world, puppet)
    puppet.say(call.reply(Performative.PROPOSE, content=content), seller.me)
    assert (await puppet.hear_reason(Performative.REJECT_PROPOSAL)).cause == cause
    assert (await selling).sales == ()
    await puppet.hear(Performative.INFORM)
    await all_over(world, seller)


async def test_the_auctioneer_counts_and_drops_what_is_out_of_sequence(world: World) -> None:
    puppet = await Puppet.start(world, "puppet")
    seller, selling, call = await invited(world, puppet)
    for act in (Performative.AGREE, Performative.INFORM, Performative.CANCEL, Performative.REFUSE):
        puppet.say(call.reply(act), seller.me)
    puppet.say(bid(call, 2, in_reply_to="another call"), seller.me)
    puppet.say(bid(call, 2), seller.me)
    puppet.say(bid(call, 3), seller.me)  # a second one
    await puppet.hear(Performative.ACCEPT_PROPOSAL)
    await world.fact(OutOfSequence, agent=HOUSE_OF_SALES, count=6)
    await puppet.hear(Performative.INFORM)
    assert INTERACTION.parse((await puppet.hear(Performative.REQUEST)).content) == Sale(lot=COW, price=2)
    assert wins(await selling) == [("puppet", 2, 1)]
    await puppet.hears_nothing(seller.me)


async def test_a_bid_that_comes_after_its_round_is_dropped(world: World) -> None:
    puppet = await Puppet.start(world, "puppet")
    seller, selling, first = await invited(world, puppet, decrement=1, reserve=1, round_within=0.1)
    second = await puppet.hear(Performative.CFP)
    puppet.say(bid(first, 2), seller.me)
    await world.fact(OutOfSequence, agent=HOUSE_OF_SALES, performative="propose")
    puppet.say(bid(second, 1), seller.me)
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="propose", count=2)
    assert (await selling).highest in {1, None}  # the second round may be over on a slow machine
    await all_over(world, seller)


@pytest.mark.parametrize("is_wanted", [True, False])
async def test_whoever_leaves_with_the_standing_bid_takes_it_along(world: World, is_wanted: bool) -> None:
    """Its price is called once more, and goes to another one or to nobody."""
    quick, slow = await Puppet.start(world, "puppet"), await Puppet.start(world, "slow")
    seller, selling, call = await invited(world, quick, slow.jid, round_within=60)
    await slow.hear(Performative.INFORM)
    quick.say(bid(call, 2), seller.me)
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="propose")
    slow.say(bid(await slow.hear(Performative.CFP), 2), seller.me)
    accepted = await quick.hear(Performative.ACCEPT_PROPOSAL)
    assert (await slow.hear_reason(Performative.REJECT_PROPOSAL)).cause == Cause.NOT_CHOSEN
    third = await slow.hear(Performative.CFP)
    quick.say(accepted.reply(Performative.NOT_UNDERSTOOD, content="I have changed my mind"), seller.me)
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="not-understood")
    slow.say(bid(third, 2), seller.me)
    assert (await slow.hear_reason(Performative.REJECT_PROPOSAL)).text == "the price is 3"
    again = await slow.hear(Performative.CFP)
    assert INTERACTION.parse(again.content) == PriceCall(price=2, round=3)
    slow.say(bid(again, 2 if is_wanted else 1), seller.me)
    auction = await selling
    assert wins(auction) == ([("slow", 2, 1)] if is_wanted else [])
    assert (auction.highest, auction.left) == (2, (at("puppet"),))
    await quick.hears_nothing(seller.me)
    await all_over(world, seller)


# -- winners that are not there any more --------------------------------------------------------


async def test_a_winner_that_vanishes_after_the_last_round_is_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = look_often(monkeypatch, "puppet")
    puppet, silent = await Puppet.start(world, "puppet"), await Puppet.start(world, "silent")
    seller, selling, call = await invited(world, puppet, silent.jid)
    puppet.say(bid(call, 2), seller.me)
    await puppet.hear(Performative.ACCEPT_PROPOSAL)
    await looked.wait()
    await puppet.stop()
    auction = await selling
    assert wins(auction) == [("puppet", 2, 1)]
    doubt = auction.sales[0].doubt
    assert doubt is not None
    assert (doubt.cause, doubt.text) == (Cause.VANISHED, "puppet@localhost has left")
    await all_over(world, seller)


async def test_of_several_winners_those_that_have_vanished_are_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = look_often(monkeypatch, "puppet")
    puppet, other = await Puppet.start(world, "puppet"), await Puppet.start(world, "other")
    seller, selling, call = await invited(world, puppet, other.jid, decrement=1, units=2, round_within=60)
    await other.hear(Performative.INFORM)
    first = await other.hear(Performative.CFP)
    puppet.say(bid(call, 2), seller.me)
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="propose")
    other.say(first.reply(Performative.PROPOSE, content="nothing"), seller.me)
    await puppet.hear(Performative.ACCEPT_PROPOSAL)
    await looked.wait()
    await puppet.stop()
    await other.hear(Performative.REJECT_PROPOSAL)
    other.say(bid(await other.hear(Performative.CFP), 2), seller.me)
    # The first winner does not answer the second round's call: it has left.
    await world.fact(MessageReceived, agent=HOUSE_OF_SALES, performative="propose", count=3)
    seat = next(each for each in seller.mailroom._seats if each.peer.local_name == "puppet")
    seat.lose(Reason(cause=Cause.UNREACHABLE, text="it came back"))
    auction = await selling
    assert wins(auction) == [("puppet", 2, 1), ("other", 2, 1)]
    assert [each.doubt and each.doubt.text for each in auction.sales] == ["it came back", None]
    assert auction.left == (at("puppet"),)
    await all_over(world, seller)


async def test_an_award_that_comes_back_is_told_of(world: World) -> None:
    await world.xmpp.stop()
    await world.serve(limits=Limits(offline_messages=1))
    puppet, silent = await Puppet.start(world, "puppet"), await Puppet.start(world, "silent")
    seller, selling, call = await invited(world, puppet, silent.jid)
    puppet.say(bid(call, 2), seller.me)
    await puppet.hear(Performative.ACCEPT_PROPOSAL)
    await puppet.stop()
    doubt = (await selling).sales[0].doubt
    assert doubt is not None
    assert (doubt.cause, doubt.about) == (Cause.UNREACHABLE, "puppet@localhost")
    assert "its mailbox is full" in doubt.text


async def test_a_seller_that_is_cut_off_cannot_tell_whether_its_winner_knows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet = await Puppet.start(world, "puppet")
    seller, selling, call = await invited(world, puppet, decrement=1)

    async def confirm(_timeout: float) -> bool:
        return False

    monkeypatch.setattr(seller.client, "confirm", confirm)
    puppet.say(bid(call, 2), seller.me)
    doubt = (await selling).sales[0].doubt
    assert doubt is not None
    assert doubt.text == "the server has not confirmed the award: nobody knows whether it arrived"
    await all_over(world, seller)


# -- the bidder's side, with an auctioneer that says what it likes -------------------------------


def opened(kind: str = "english", **parameters: Any) -> AclMessage:
    """A puppet's auction."""
    content = INTERACTION.render(AuctionStarted(lot=COW))
    return opens(Performative.INFORM, f"fipa-{kind}-auction", Foreign(), content=content, **parameters)


def priced(price: float, round: int = 1, **parameters: Any) -> AclMessage:  # noqa: A002 - as in `PriceCall`
    """A puppet's call."""
    content = INTERACTION.render(PriceCall(price=price, round=round))
    fields = {"performative": Performative.CFP, "content": content, "reply_with": f"call{round}"}
    return opened().model_copy(update={**fields, **parameters})


async def bidding(world: World, worth: Any) -> tuple[House, Puppet]:
    """Start a bidder to whom a puppet offers a painting."""
    bidder = await world.start(functools.partial(House, value=worth), "a")
    puppet = await Puppet.start(world, "puppet")
    puppet.say(opened(), bidder.me)
    return bidder, puppet


async def test_a_bidder_answers_what_is_out_of_sequence_once_and_goes_on(world: World) -> None:
    bidder, puppet = await bidding(world, 5)
    for act in (Performative.ACCEPT_PROPOSAL, Performative.REQUEST, Performative.REJECT_PROPOSAL):
        puppet.say(priced(1).model_copy(update={"performative": act}), bidder.me)
    assert (await puppet.hear_reason(Performative.NOT_UNDERSTOOD)).cause == Cause.UNEXPECTED_ACT
    await world.fact(OutOfSequence, agent=at("a"), count=3)
    puppet.say(priced(1), bidder.me)
    offered = await puppet.hear(Performative.PROPOSE)
    assert INTERACTION.parse(offered.content) == PriceBid(price=1)
    assert offered.in_reply_to == "call1"
    cancel = priced(1, reply_with="enough").model_copy(update={"performative": Performative.CANCEL})
    puppet.say(cancel, bidder.me)
    assert (await puppet.hear(Performative.INFORM)).in_reply_to == "enough"
    await puppet.hears_nothing(bidder.me)
    await all_over(world, bidder)


@pytest.mark.parametrize("content", ["10 crowns", INTERACTION.render(PriceBid(price=1)), None])
async def test_a_call_that_cannot_be_read_makes_the_bidder_leave(world: World, content: str | None) -> None:
    bidder, puppet = await bidding(world, 5)
    puppet.say(priced(1, content=content), bidder.me)
    await puppet.hear_reason(Performative.NOT_UNDERSTOOD)
    await ended(world, "a", "LEFT")
    await all_over(world, bidder)
    assert not bidder.terms


async def test_a_new_round_leaves_behind_whoever_still_thinks_of_the_old_one(world: World) -> None:
    async def slow_at_first(_lot: Painting, task: Participation) -> float:
        assert task.call is not None
        if task.call.round == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return 99  # of the old round: nobody asks any more
        return 5

    bidder, puppet = await bidding(world, slow_at_first)
    puppet.say(priced(1), bidder.me)
    await bidder.started.wait()
    puppet.say(priced(2, round=2), bidder.me)
    offered = await puppet.hear(Performative.PROPOSE)
    assert offered.in_reply_to == "call2"
    puppet.say(offered.reply(Performative.REJECT_PROPOSAL), bidder.me)
    over = AuctionEnded(sold=0)
    puppet.say(
        priced(1, content=INTERACTION.render(over)).model_copy(update={"performative": Performative.INFORM}),
        bidder.me,
    )
    await ended(world, "a", "ENDED")
    await has_heard(bidder, over)
    await puppet.hears_nothing(bidder.me)


async def test_what_an_auctioneer_says_at_last_need_not_be_readable(world: World) -> None:
    bidder, puppet = await bidding(world, 5)
    puppet.say(priced(1), bidder.me)
    offered = await puppet.hear(Performative.PROPOSE)
    puppet.say(offered.reply(Performative.ACCEPT_PROPOSAL), bidder.me)
    for act in (Performative.INFORM, Performative.REQUEST):
        puppet.say(priced(1, content="it is yours").model_copy(update={"performative": act}), bidder.me)
    await ended(world, "a", "SOLD")
    assert bidder.told == []
    assert not world.of(MessageSent, agent=at("a"), performative="not-understood")


async def test_a_lot_that_is_worth_nothing_here_is_no_auction(world: World) -> None:
    seller, _none = await sale(world)
    with pytest.raises(ValueError, match="Foreign"):
        await seller.dutch_auction([], Foreign(), start=1, decrement=1)
    await world.start(House, "a")
    auction = await seller.english_auction([at("a")], Move(), start=1, increment=1, round_within=5)
    assert auction.left == (at("a"),)
    auction = await seller.english_auction([at("a")], IsFree(), start=1, increment=1, round_within=5)
    assert auction.left == (at("a"),)
