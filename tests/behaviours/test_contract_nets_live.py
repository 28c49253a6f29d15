"""fipa-contract-net between agents on real sockets."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from behaviours import handlers, participating
from behaviours.clocking import system_now
from behaviours.contracting import Contract, Observer, Proposal
from behaviours.events import (
    ConversationEnded,
    ConversationOpened,
    MessageReceived,
    MessageSent,
    OutOfSequence,
)
from behaviours.outcomes import Expired, Failed, NotUnderstood, Outcome, Refused, Succeeded, sentence
from ontology.acl import AclMessage, Performative
from ontology.content import Term
from ontology.errors import Cause
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Half, Price, Sum
from tests.conftest import World

ASKER = "asker@localhost"


def cheapest(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Choose one."""
    return sorted(proposals, key=price)[:1]


def everyone(proposals: Sequence[Proposal]) -> Sequence[Proposal]:
    """Choose all."""
    return proposals


def nobody(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Choose none."""
    return []


def price(proposal: Proposal) -> float:
    """What it costs."""
    assert isinstance(proposal.term, Price)
    return proposal.term.amount


async def adders(world: World, **settings: dict[str, Any]) -> list[Adder]:
    """Start adders by name."""
    started = (world.start(functools.partial(Adder, **each), name) for name, each in settings.items())
    return list(await asyncio.gather(*started))


def cfp(conversation_id: str = "c1", **parameters: Any) -> AclMessage:
    """A puppet's call."""
    return AclMessage(
        performative=Performative.CFP,
        content=SUMS.render(Add()),
        protocol="fipa-contract-net",
        conversation_id=conversation_id,
        reply_with="r1",
        **parameters,
    )


async def test_the_best_is_awarded_and_each_of_the_others_is_released_once(world: World) -> None:
    await adders(world, dear={"price": 9}, cheap={"price": 1}, fair={"price": 5})
    asker = await world.start(Asker, "asker")
    seen: list[Any] = []
    observer = Observer(
        on_answer=lambda name, answer: seen.append((name, type(answer))),
        on_award=seen.append,
    )
    names = [f"{name}@localhost" for name in ("dear", "cheap", "fair", "cheap")]
    contract = await asker.call_for_proposals(names, Add(a=40), cheapest, observer=observer)
    assert sorted(map(price, contract.proposals)) == [1, 5, 9]
    assert contract.declined == {}
    assert list(contract.awards) == ["cheap@localhost"]
    award = contract.awards["cheap@localhost"]
    assert isinstance(award, Succeeded)
    assert award.result == Sum(value=42)
    for name in ("dear", "fair"):
        await world.fact(ConversationEnded, agent=f"{name}@localhost", state="REJECTED")
        assert len(world.of(MessageSent, agent=ASKER, peer=f"{name}@localhost")) == 2
    assert {fact.conversation_id for fact in world.of(ConversationOpened)} == {contract.conversation_id}
    assert sorted(seen[:3]) == [(name, Proposal) for name in sorted(set(names))]
    assert seen[3:] == ["cheap@localhost"]


async def test_refusals_silence_and_misunderstanding_are_told_apart(world: World) -> None:
    await adders(
        world,
        busy={"mood": "too busy"},
        broken={"mood": "raising in bid"},
        silent={"mood": "silent"},
        willing={},
    )
    asker, puppet = await world.start(Asker, "asker"), await Puppet.start(world, "puppet")
    await world.start(Asker, "incapable")
    names = ["busy", "broken", "silent", "willing", "incapable", "puppet", "nobody"]
    calling = asyncio.ensure_future(
        asker.call_for_proposals([f"{name}@localhost" for name in names], Add(), everyone, reply_within=0.4)
    )
    call = await puppet.hear(Performative.CFP)
    puppet.say(call.reply(Performative.NOT_UNDERSTOOD, content="what?"), asker.me)
    contract = await calling
    declined = {name.partition("@")[0]: outcome for name, outcome in contract.declined.items()}
    assert {name: type(outcome) for name, outcome in declined.items()} == {
        "busy": Refused,
        "broken": Refused,
        "silent": Expired,
        "incapable": Refused,
        "puppet": NotUnderstood,
        "nobody": Failed,
    }
    assert sentence(declined["busy"]) == "I am busy"
    assert sentence(declined["broken"]) == "broken could not finish add: RuntimeError: no idea"
    assert "does not do; it takes calls for nothing" in sentence(declined["incapable"])
    assert list(contract.awards) == ["willing@localhost"]


async def test_the_call_ends_as_soon_as_everyone_has_answered(world: World) -> None:
    await adders(world, a={}, b={"mood": "too busy"})
    asker = await world.start(Asker, "asker")
    async with asyncio.timeout(5):
        await asker.call_for_proposals(["a@localhost", "b@localhost"], Add(), cheapest, reply_within=60)


async def test_several_may_win_and_each_result_is_told(world: World) -> None:
    await adders(world, a={}, b={"mood": "failing"}, c={})
    asker = await world.start(Asker, "asker")
    contract = await asker.call_for_proposals([f"{name}@localhost" for name in "abc"], Add(), everyone)
    assert {name[0]: type(outcome) for name, outcome in contract.awards.items()} == {
        "a": Succeeded,
        "b": Failed,
        "c": Succeeded,
    }


async def test_nobody_may_win(world: World) -> None:
    await adders(world, a={}, b={})
    asker = await world.start(Asker, "asker")
    contract = await asker.call_for_proposals(["a@localhost", "b@localhost"], Add(), nobody)
    assert len(contract.proposals) == 2
    assert contract.awards == {}
    for name in "ab":
        await world.fact(ConversationEnded, agent=f"{name}@localhost", state="REJECTED")


async def test_a_call_to_nobody_ends_at_once(world: World) -> None:
    asker = await world.start(Asker, "asker")
    contract = await asker.call_for_proposals([], Add(), everyone)
    assert (contract.proposals, contract.declined, contract.awards) == ((), {}, {})


async def test_a_choice_that_nobody_offered_is_no_award(world: World) -> None:
    await adders(world, a={}, b={"mood": "too busy"})
    asker = await world.start(Asker, "asker")

    def choose(proposals: Sequence[Proposal]) -> list[Proposal]:
        (only,) = proposals
        invented = Proposal(
            only.participant.model_copy(update={"name": "b@localhost"}), only.term, only.message
        )
        return [invented]

    async with asyncio.timeout(5):
        contract = await asker.call_for_proposals(["a@localhost", "b@localhost"], Add(), choose)
    assert contract.awards == {}


async def test_a_choice_that_raises_takes_the_call_back(world: World) -> None:
    await adders(world, a={})
    asker = await world.start(Asker, "asker")

    def choose(proposals: Sequence[Proposal]) -> list[Proposal]:
        raise LookupError("cannot decide")

    with pytest.raises(LookupError):
        await asker.call_for_proposals(["a@localhost"], Add(), choose)
    await world.fact(ConversationEnded, agent="a@localhost", state="CANCELLED")
    await world.fact(ConversationEnded, agent=ASKER, state="CANCELLED")


async def test_a_name_that_cannot_be_written_leaves_no_call_open(world: World) -> None:
    await adders(world, a={})
    asker = await world.start(Asker, "asker")
    with pytest.raises(ValueError, match="XML cannot carry"):
        await asker.call_for_proposals(["a@localhost", "b@localhost/\uffff"], Add(), everyone)
    await world.fact(ConversationEnded, agent=ASKER, state="CANCELLED")
    assert asker.mailroom.conversations() == []


async def test_a_proposal_that_comes_too_late_is_rejected_with_the_reason(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    calling = asyncio.ensure_future(asker.call_for_proposals([puppet.jid], Add(), everyone, reply_within=0.1))
    call = await puppet.hear(Performative.CFP)
    contract = await calling
    assert isinstance(contract.declined["puppet@localhost"], Expired)
    puppet.say(call.reply(Performative.PROPOSE, content='{"price": {"amount": 1}}'), asker.me)
    reason = await puppet.hear_reason(Performative.REJECT_PROPOSAL)
    assert reason.cause == Cause.LATE
    # Once; after that it is out of sequence.
    puppet.say(call.reply(Performative.PROPOSE, content='{"price": {"amount": 1}}'), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, performative="propose")
    await puppet.hears_nothing(asker.me)


async def test_a_proposal_for_a_call_that_is_forgotten_is_rejected_with_the_reason(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    stray = cfp("never").reply(Performative.PROPOSE, content='{"price": {"amount": 1}}', receiver=(asker.me,))
    puppet.say(stray, asker.me)
    assert (await puppet.hear_reason(Performative.REJECT_PROPOSAL)).cause == Cause.LATE


async def test_a_proposal_that_cannot_be_read_is_not_understood(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    calling = asyncio.ensure_future(asker.call_for_proposals([puppet.jid], Add(), everyone))
    call = await puppet.hear(Performative.CFP)
    puppet.say(call.reply(Performative.PROPOSE, content="12 crowns", reply_with="mine"), asker.me)
    assert (await puppet.hear_reason(Performative.NOT_UNDERSTOOD)).cause == Cause.UNRECOGNISED_VALUE
    declined = (await calling).declined["puppet@localhost"]
    assert isinstance(declined, NotUnderstood)
    assert "the proposal cannot be read" in sentence(declined)


async def test_cancelling_the_call_cancels_it_with_everyone(world: World) -> None:
    a, b = await adders(world, a={"mood": "holding"}, b={"mood": "silent"})
    asker = await world.start(Asker, "asker")
    calling = asyncio.create_task(
        asker.call_for_proposals(["a@localhost", "b@localhost"], Add(), everyone, reply_within=60)
    )
    await world.fact(MessageReceived, agent=ASKER, performative="propose")
    await world.fact(ConversationOpened, agent=b.me.name)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    for agent in (a, b):
        await world.fact(ConversationEnded, agent=agent.me.name, state="CANCELLED")
    await world.fact(ConversationEnded, agent=ASKER, state="CANCELLED", count=2)


async def test_cancelling_after_the_award_stops_the_work(world: World) -> None:
    (adder,) = await adders(world, a={"mood": "holding"})
    asker = await world.start(Asker, "asker")
    calling = asyncio.create_task(asker.call_for_proposals([adder.me], Add(), everyone))
    await asyncio.wait_for(adder.started.wait(), 5)
    calling.cancel()
    await world.fact(ConversationEnded, agent=ASKER, state="CANCELLED")
    assert adder.was_cancelled.is_set()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_a_winner_that_is_unwilling_now_has_failed(world: World) -> None:
    await adders(world, a={"mood": "refusing"})
    asker = await world.start(Asker, "asker")
    contract = await asker.call_for_proposals(["a@localhost"], Add(), everyone)
    outcome = contract.awards["a@localhost"]
    assert isinstance(outcome, Failed)
    assert sentence(outcome) == "I am busy"


async def test_a_winner_tells_how_far_it_is(world: World) -> None:
    await adders(world, a={"mood": "telling"})
    asker = await world.start(Asker, "asker")
    notices: list[tuple[str, Term]] = []
    observer = Observer(on_notice=lambda name, term: notices.append((name, term)))
    await asker.call_for_proposals(["a@localhost"], Add(), everyone, observer=observer)
    assert notices == [("a@localhost", Half(done=0.5))]


async def test_a_winner_that_takes_too_long_has_run_out_of_time(world: World) -> None:
    await adders(world, a={"mood": "holding"})
    asker = await world.start(Asker, "asker")
    contract = await asker.call_for_proposals(["a@localhost"], Add(), everyone, result_within=0.1)
    assert isinstance(contract.awards["a@localhost"], Expired)


async def test_a_notice_before_the_proposal_is_no_answer(world: World) -> None:
    class Talkative(Adder):
        @handlers.bids(Add)
        async def bid(self, action: Add, task: participating.Participation) -> Price:
            assert not task.is_over
            task.tell(Half(done=0))
            return Price(amount=1)

    await world.start(Talkative, "a")
    asker = await world.start(Asker, "asker")
    contract = await asker.call_for_proposals(["a@localhost"], Add(), everyone)
    assert len(contract.awards) == 1
    assert contract.conversation_id == world.of(ConversationOpened)[0].conversation_id


# -- the participant's side ----------------------------------------------------------------------


async def test_a_proposal_binds_for_a_while_and_no_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participating, "HOLD_SECONDS", 0.1)
    (adder,) = await adders(world, a={})
    puppet = await Puppet.start(world, "puppet")
    puppet.say(cfp(), adder.me)
    proposal = await puppet.hear(Performative.PROPOSE)
    assert proposal.reply_by is not None
    await world.fact(ConversationEnded, agent=adder.me.name, state="EXPIRED")
    puppet.say(proposal.reply(Performative.ACCEPT_PROPOSAL), adder.me)
    assert (await puppet.hear_reason(Performative.NOT_UNDERSTOOD)).cause == Cause.UNEXPECTED_ACT
    assert not adder.started.is_set()


@pytest.mark.parametrize("act", [Performative.ACCEPT_PROPOSAL, Performative.REJECT_PROPOSAL])
async def test_only_the_first_decision_counts(world: World, act: Performative) -> None:
    (adder,) = await adders(world, a={"mood": "holding"})
    puppet = await Puppet.start(world, "puppet")
    puppet.say(cfp(), adder.me)
    proposal = await puppet.hear(Performative.PROPOSE)
    puppet.say(proposal.reply(act), adder.me)
    for second in (Performative.ACCEPT_PROPOSAL, Performative.REJECT_PROPOSAL):
        puppet.say(proposal.reply(second), adder.me)
    assert (await puppet.hear_reason(Performative.NOT_UNDERSTOOD)).cause == Cause.UNEXPECTED_ACT
    await world.fact(OutOfSequence, agent=adder.me.name, count=2)
    adder.release.set()
    if act is Performative.ACCEPT_PROPOSAL:
        await puppet.hear(Performative.INFORM)
    await puppet.hears_nothing(adder.me)


async def test_a_cancel_while_the_proposal_stands_is_confirmed(world: World) -> None:
    (adder,) = await adders(world, a={})
    puppet = await Puppet.start(world, "puppet")
    puppet.say(cfp(), adder.me)
    await puppet.hear(Performative.PROPOSE)
    puppet.say(cfp().model_copy(update={"performative": Performative.CANCEL, "reply_with": "r2"}), adder.me)
    assert (await puppet.hear(Performative.INFORM)).in_reply_to == "r2"
    await world.fact(ConversationEnded, agent=adder.me.name, state="CANCELLED")


async def test_a_cancel_while_the_bid_is_made_is_confirmed_even_if_the_bid_comes(world: World) -> None:
    class Determined(Asker):
        @handlers.on(Add)
        async def add(self, action: Add, task: participating.Participation) -> Sum:
            raise AssertionError

        @handlers.bids(Add)
        async def bid(self, action: Add, task: participating.Participation) -> Price:
            bidding.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                assert task.cancel is not None
            return Price(amount=1)

    bidding = asyncio.Event()
    agent, puppet = await world.start(Determined, "a"), await Puppet.start(world, "puppet")
    puppet.say(cfp(), agent.me)
    await bidding.wait()
    puppet.say(cfp().model_copy(update={"performative": Performative.CANCEL, "reply_with": "r2"}), agent.me)
    assert (await puppet.hear(Performative.INFORM)).in_reply_to == "r2"
    await world.fact(ConversationEnded, agent=agent.me.name, state="CANCELLED")


async def test_a_bid_that_cannot_be_sent_is_a_refusal(world: World) -> None:
    class Odd(Asker):
        @handlers.on(Add)
        async def add(self, action: Add, task: participating.Participation) -> Sum:
            raise AssertionError

        @handlers.bids(Add)
        async def bid(self, action: Add, task: participating.Participation) -> Any:
            return Add(manner="x" * 1_000_000)

    await world.start(Odd, "a")
    asker = await world.start(Asker, "asker")
    contract = await asker.call_for_proposals(["a@localhost"], Add(), everyone)
    assert "a could not finish add" in sentence(contract.declined["a@localhost"])


async def test_a_call_that_comes_after_its_reply_by_is_refused(world: World) -> None:
    (adder,) = await adders(world, a={})
    puppet = await Puppet.start(world, "puppet")
    puppet.say(cfp(reply_by=system_now() - timedelta(seconds=2)), adder.me)
    assert (await puppet.hear_reason(Performative.REFUSE)).cause == Cause.LATE


async def test_a_hundred_calls_at_once_are_not_mixed_up(world: World) -> None:
    await adders(world, a={}, b={"price": 2})
    asker = await world.start(Asker, "asker")

    async def call(number: int) -> tuple[int, Contract]:
        peers = ["a@localhost", "b@localhost"]
        return number, await asker.call_for_proposals(peers, Add(a=number, b=0), cheapest)

    for number, contract in await asyncio.gather(*map(call, range(50))):
        outcome: Outcome = contract.awards["a@localhost"]
        assert isinstance(outcome, Succeeded)
        assert outcome.result == Sum(value=number)
