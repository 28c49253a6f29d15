"""The contract net in several rounds, and as a sealed-bid second-price auction, on real sockets."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from behaviours.contracting import Award, Contract, Proposal, vickrey
from behaviours.events import MessageReceived, MessageSent, OutOfSequence
from behaviours.outcomes import Expired, Fail, Failed, NotUnderstood, Refuse, Refused
from behaviours.participating import PRICE, Participation
from ontology.acl import AclMessage, Performative
from ontology.content import AgentAction, Done
from ontology.errors import Cause
from tests.behaviours.houses import (
    HOUSE,
    Foreign,
    House,
    Move,
    Offer,
    all_over,
    ended,
    forever,
    opens,
    result,
    why,
)
from tests.behaviours.puppets import Puppet
from tests.conftest import World, becomes

MANAGER = "manager@localhost"


def at(name: str) -> str:
    """A name's address."""
    return f"{name}@localhost"


def euros(proposal: Proposal) -> float:
    """What it costs."""
    assert isinstance(proposal.term, Offer)
    return proposal.term.euros


def cheapest(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Choose one."""
    return sorted(proposals, key=euros)[:1]


def nobody(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Choose none."""
    return []


async def call(world: World, **plans: Any) -> tuple[House, list[House]]:
    """Start a manager, and contractors that bid so."""
    contractors = []
    for name, plan in plans.items():
        contractors.append(await world.start(functools.partial(House, bid=plan, move=Done()), name))
    return await world.start(House, "manager"), contractors


def asking(*prices: Any) -> Callable[[Move, Participation], Any]:
    """Bid so much in the first round, so much in the second, and so on."""
    left = iter(prices)

    async def bid(_action: Move, _task: Participation) -> Any:
        price = next(left)
        if isinstance(price, BaseException):
            raise price
        return Offer(euros=price) if isinstance(price, int) else price

    return bid


def rounds(count: int) -> tuple[list[list[float]], Callable[[Sequence[Proposal]], AgentAction | None]]:
    """Call so many further rounds; return what was offered in each."""
    seen: list[list[float]] = []

    def revise(proposals: Sequence[Proposal]) -> AgentAction | None:
        seen.append(sorted(map(euros, proposals)))
        return Move(to=f"round {len(seen) + 1}") if len(seen) <= count else None

    return seen, revise


# -- rounds --------------------------------------------------------------------------------------


async def test_offers_get_better_from_round_to_round(world: World) -> None:
    manager, (a, b) = await call(world, a=asking(9, 7, 4), b=asking(8, 6, 5))
    seen, revise = rounds(2)
    contract = await manager.call_for_proposals([a.me, b.me], Move(), cheapest, revise=revise)
    assert seen == [[8, 9], [6, 7], [4, 5]]
    assert sorted(map(euros, contract.proposals)) == [4, 5]
    assert list(contract.awards) == [at("a")]
    assert result(contract.awards[at("a")]) == Done()
    assert a.terms == [Move(), Move(to="round 2"), Move(to="round 3"), Move(to="round 3")]
    await ended(world, "b", "REJECTED")
    await all_over(world, manager, a, b)
    assert not world.of(OutOfSequence)


async def test_without_a_further_round_it_is_a_contract_net(world: World) -> None:
    manager, (a, b) = await call(world, a=asking(9), b=asking(8))
    contract = await manager.call_for_proposals([a.me, b.me], Move(), cheapest, revise=lambda _all: None)
    assert list(contract.awards) == [at("b")]
    assert {each.protocol for each in world.of(MessageSent)} == {"fipa-iterated-contract-net"}
    await all_over(world, manager, a, b)


@pytest.mark.parametrize(
    ("second", "kind", "cause"),
    [
        (Refuse("enough", "I go no lower"), Refused, "enough"),
        (Fail("broken", "the abacus is broken"), Refused, "broken"),
        (KeyError("x"), Refused, Cause.INTERNAL_ERROR),
        (Foreign(), Refused, Cause.INTERNAL_ERROR),
        ("nine", Refused, Cause.INTERNAL_ERROR),
    ],
)
async def test_a_refusal_in_round_two_leaves_the_others(
    world: World, second: Any, kind: Any, cause: str
) -> None:
    manager, (a, b) = await call(world, a=asking(9, 7), b=asking(8, second))
    seen, revise = rounds(1)
    contract = await manager.call_for_proposals([a.me, b.me], Move(), cheapest, revise=revise)
    assert seen == [[8, 9], [7]]
    assert why(contract.declined[at("b")], kind)[0] == cause
    assert list(contract.awards) == [at("a")]
    await ended(world, "b", "REFUSED")
    await all_over(world, manager, a, b)


async def test_silence_in_round_two_leaves_the_others(world: World) -> None:
    async def once(action: Move, task: Participation) -> Any:
        return Offer(euros=8) if action == Move() else await forever(action, task)

    manager, (a, b) = await call(world, a=asking(9, 7), b=once)
    _seen, revise = rounds(1)
    contract = await manager.call_for_proposals(
        [a.me, b.me], Move(), cheapest, revise=revise, reply_within=0.5
    )
    assert isinstance(contract.declined[at("b")], Expired)
    assert list(contract.awards) == [at("a")]
    await ended(world, "b", "EXPIRED")
    await becomes(b.was_cancelled.is_set)
    await all_over(world, manager, a, b)


async def test_when_all_refuse_in_round_two_nobody_is_asked_to_choose(world: World) -> None:
    manager, (a,) = await call(world, a=asking(9, Refuse("no", "no")))

    def never(_all: Sequence[Proposal]) -> list[Proposal]:
        raise AssertionError

    _seen, revise = rounds(5)
    contract = await manager.call_for_proposals([a.me], Move(), never, revise=revise)
    assert (contract.proposals, contract.awards) == ((), {})
    assert list(contract.declined) == [at("a")]
    await all_over(world, manager, a)


async def test_all_may_be_rejected_after_the_last_round(world: World) -> None:
    manager, (a, b) = await call(world, a=asking(9, 7), b=asking(8, 6))
    _seen, revise = rounds(1)
    contract = await manager.call_for_proposals([a.me, b.me], Move(), nobody, revise=revise)
    assert contract.awards == {}
    for name in "ab":
        await ended(world, name, "REJECTED")
    await all_over(world, manager, a, b)


@pytest.mark.parametrize("revised", [LookupError("no idea"), Foreign()])
async def test_a_revision_that_breaks_takes_the_call_back(world: World, revised: Any) -> None:
    manager, (a,) = await call(world, a=asking(9))

    def revise(_all: Sequence[Proposal]) -> Any:
        if isinstance(revised, BaseException):
            raise revised
        return revised

    with pytest.raises((LookupError, ValueError)):
        await manager.call_for_proposals([a.me], Move(), cheapest, revise=revise)
    await ended(world, "a", "CANCELLED")
    await ended(world, "manager", "CANCELLED")
    await all_over(world, manager, a)


async def test_cancelling_in_round_two_cancels_it_with_everyone(world: World) -> None:
    async def once(action: Move, task: Participation) -> Any:
        return Offer(euros=8) if action == Move() else await forever(action, task)

    manager, (a, b) = await call(world, a=once, b=asking(9, 8))
    _seen, revise = rounds(1)
    calling = asyncio.create_task(
        manager.call_for_proposals([a.me, b.me], Move(), cheapest, revise=revise, reply_within=60)
    )
    await world.fact(MessageReceived, agent=MANAGER, performative="propose", count=3)
    await world.until(lambda: len(a.terms) == 2)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    for name in "ab":
        await ended(world, name, "CANCELLED")
    assert a.was_cancelled.is_set()
    await all_over(world, manager, a, b)


async def test_one_that_vanishes_between_the_rounds_has_declined(world: World) -> None:
    manager, (a,) = await call(world, a=asking(9, 7))
    puppet = await Puppet.start(world, "puppet")
    _seen, revise = rounds(1)
    calling = asyncio.create_task(
        manager.call_for_proposals([a.me, puppet.jid], Move(), cheapest, revise=revise, reply_within=60)
    )
    first = await puppet.hear(Performative.CFP)
    puppet.say(offer(first, 8), manager.me)
    second = await puppet.hear(Performative.CFP)
    assert HOUSE.parse(second.content) == Move(to="round 2")
    puppet.say(second.reply(Performative.FAILURE, content="gone"), manager.me)  # out of sequence
    puppet.say(offer(first, 1), manager.me)  # answers the first call
    puppet.say(second.reply(Performative.NOT_UNDERSTOOD, content="again?"), manager.me)
    contract = await calling
    assert why(contract.declined[at("puppet")], NotUnderstood)[1] == "again?"
    assert list(contract.awards) == [at("a")]
    assert len(world.of(OutOfSequence, agent=MANAGER)) == 2
    await puppet.hears_nothing(manager.me)
    await all_over(world, manager, a)


def offer(call: AclMessage, price: float) -> AclMessage:
    """A puppet's proposal."""
    content = HOUSE.render(Offer(euros=price))
    return call.reply(Performative.PROPOSE, content=content, reply_with=f"offer {price}")


@pytest.mark.parametrize("content", ["go!", '{"go": {}}', HOUSE.render(Offer(euros=1)), None])
async def test_a_revised_call_that_cannot_be_read_is_not_understood(
    world: World, content: str | None
) -> None:
    _manager, (a,) = await call(world, a=asking(9, 7))
    puppet = await Puppet.start(world, "puppet")
    first = opens(Performative.CFP, "fipa-iterated-contract-net", Move())
    puppet.say(first, a.me)
    proposal = await puppet.hear(Performative.PROPOSE)
    puppet.say(proposal.reply(Performative.CFP, content=content, reply_with="r2"), a.me)
    await puppet.hear_reason(Performative.NOT_UNDERSTOOD)
    await ended(world, "a", "NOT_UNDERSTOOD")
    await puppet.hears_nothing(a.me)
    await all_over(world, a)


async def test_a_second_round_is_no_part_of_the_plain_contract_net(world: World) -> None:
    _manager, (a,) = await call(world, a=asking(9, 7))
    puppet = await Puppet.start(world, "puppet")
    puppet.say(opens(Performative.CFP, "fipa-contract-net", Move()), a.me)
    proposal = await puppet.hear(Performative.PROPOSE)
    puppet.say(proposal.reply(Performative.CFP, content=HOUSE.render(Move()), reply_with="r2"), a.me)
    assert (await puppet.hear_reason(Performative.NOT_UNDERSTOOD)).cause == Cause.UNEXPECTED_ACT
    puppet.say(proposal.reply(Performative.REJECT_PROPOSAL), a.me)
    await ended(world, "a", "REJECTED")
    assert len(a.terms) == 1


async def test_a_winner_of_the_last_round_may_still_fail(world: World) -> None:
    manager, (a,) = await call(world, a=asking(9, 7))
    a.parts["move"] = Fail("broken", "the van is broken")
    _seen, revise = rounds(1)
    contract = await manager.call_for_proposals([a.me], Move(), cheapest, revise=revise)
    assert why(contract.awards[at("a")], Failed) == ("broken", "the van is broken")
    await all_over(world, manager, a)


async def test_a_contractor_calls_for_proposals_itself_before_it_bids(world: World) -> None:
    manager, (a, b) = await call(world, a=asking(3), b=asking(4))

    async def cost_of_others(_action: Move, _task: Participation) -> Offer:
        inner = await between.call_for_proposals([a.me, b.me], Move(), nobody)
        return Offer(euros=min(map(euros, inner.proposals)) + 1)

    between = await world.start(functools.partial(House, bid=cost_of_others, move=Done()), "between")
    contract = await manager.call_for_proposals([between.me], Move(), cheapest)
    assert [euros(each) for each in contract.proposals] == [4]
    assert list(contract.awards) == [at("between")]
    await all_over(world, manager, a, b, between)


# -- the second price ----------------------------------------------------------------------------


async def auctioned(world: World, **prices: int) -> tuple[Contract, dict[str, float | None]]:
    """Award by the second price; return the contract and what each was told to be paid."""
    manager, contractors = await call(world, **{name: asking(price) for name, price in prices.items()})
    paid: dict[str, float | None] = {}

    async def move(_action: Move, task: Participation) -> Done:
        paid[task.message.receiver[0].local_name] = task.price
        return Done()

    for each in contractors:
        each.parts["move"] = move
    names = [each.me for each in contractors]
    contract = await manager.call_for_proposals(names, Move(), vickrey(euros))
    await all_over(world, manager, *contractors)
    return contract, paid


@pytest.mark.parametrize(
    ("prices", "winner", "price"),
    [
        ({"a": 5, "b": 7, "c": 9}, "a", 7),
        ({"a": 9, "b": 7, "c": 5}, "c", 7),
        ({"a": 5}, "a", 5),
    ],
)
async def test_the_lowest_wins_and_is_paid_what_the_second_lowest_asks(
    world: World, prices: dict[str, int], winner: str, price: float
) -> None:
    contract, paid = await auctioned(world, **prices)
    assert list(contract.awards) == [at(winner)]
    assert paid == {winner: price}


async def test_of_equal_bids_the_first_wins_at_its_own_price(world: World) -> None:
    contract, paid = await auctioned(world, a=5, b=5, c=5)
    first = contract.proposals[0].participant
    assert list(contract.awards) == [first.name]
    assert paid == {first.local_name: 5}


async def test_nobody_bids_and_nobody_wins(world: World) -> None:
    contract, paid = await auctioned(world)
    assert (contract.awards, paid) == ({}, {})
    assert vickrey(euros)([]) == []


async def test_who_is_refused_or_silent_does_not_set_the_price(world: World) -> None:
    manager, (a, b, c) = await call(world, a=asking(5), b=asking(Refuse("no", "no")), c=asking(8))
    contract = await manager.call_for_proposals([a.me, b.me, c.me], Move(), vickrey(euros))
    assert list(contract.awards) == [at("a")]
    assert a.tasks[-1].price == 8
    assert a.tasks[-1].message.user_parameters[PRICE] == "8.0"
    await all_over(world, manager, a, b, c)


async def test_a_price_may_be_named_for_several_winners_and_is_none_without(world: World) -> None:
    manager, (a, b) = await call(world, a=asking(5), b=asking(6))

    def choose(proposals: Sequence[Proposal]) -> list[Proposal | Award]:
        low, high = sorted(proposals, key=euros)
        return [Award(low, 7.5), high]

    contract = await manager.call_for_proposals([a.me, b.me], Move(), choose)
    assert sorted(contract.awards) == [at("a"), at("b")]
    assert (a.tasks[-1].price, b.tasks[-1].price) == (7.5, None)
    await all_over(world, manager, a, b)


@pytest.mark.parametrize("named", ["much", "nan", "inf", ""])
async def test_a_price_that_is_no_number_is_none(world: World, named: str) -> None:
    _manager, (a,) = await call(world, a=asking(5))
    puppet = await Puppet.start(world, "puppet")
    puppet.say(opens(Performative.CFP, "fipa-contract-net", Move()), a.me)
    proposal = await puppet.hear(Performative.PROPOSE)
    puppet.say(proposal.reply(Performative.ACCEPT_PROPOSAL, user_parameters={PRICE: named}), a.me)
    await puppet.hear(Performative.INFORM)
    assert a.tasks[-1].price is None
