"""A handler that has called for proposals runs again after a death, and chooses whom it has chosen."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from behaviours.contracting import Proposal
from behaviours.events import MessageReceived, OutOfSequence
from behaviours.handlers import on
from behaviours.outcomes import Answer, Fail, Succeeded
from behaviours.participating import Participation
from behaviours.receipts import MARK
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.interaction import INTERACTION, PriceBid
from resilience.journal import Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Forward, Price, Sum
from tests.behaviours.test_enduring_live import die, value
from tests.conftest import World


class Caller(Adder):
    """Has it done by whoever is the cheapest; of several the first one."""

    @on(Forward)
    async def forward(self, action: Forward, task: Participation) -> Answer:
        """Call for proposals."""

        def cheapest(proposals: Any) -> list[Proposal]:
            return sorted(proposals, key=lambda each: each.term.amount)[:1]

        contract = await self.call_for_proposals(action.to.split(), Add(a=20, b=22), cheapest)
        (outcome,) = contract.awards.values()
        if isinstance(outcome, Succeeded) and isinstance(outcome.result, Sum):
            return outcome.result
        return Fail("called", str(outcome))

    @on(Add)
    async def add(self, action: Add, task: Participation) -> Answer:
        """Sell a sum."""
        lot = Sum(value=action.a)
        bidders = [f"{name}@localhost" for name in action.manner]
        auction = await self.english_auction(bidders, lot, start=1, increment=1, round_within=1)
        return Sum(value=sum(sale.price for sale in auction.sales if sale.winner.name == "b@localhost"))


@pytest.fixture
def journal() -> MemoryJournal:
    """A journal of one that puppets, which acknowledge nothing, are not lost to so soon."""
    return MemoryJournal(Policy(retrying=Retrying(first=0.05, most=0.2, attempts=100)))


def say(puppet: Puppet, call: AclMessage, act: Performative, content: str) -> None:
    """Say something as an agent of ours does."""
    answer = call.reply(act, content=content, reply_with=f"{act} of {puppet.jid.local_name}")
    puppet.write(render(answer, "caller@localhost", answer.reply_with or "", mark=MARK))


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_whoever_was_first_is_first_again(world: World, journal: MemoryJournal, order: str) -> None:
    asker = await world.start(Asker, "asker")
    caller = await world.start(Caller, "caller", journal=journal)
    bidders = {name: await Puppet.start(world, name) for name in "ab"}
    asking = asyncio.create_task(asker.request(caller.me, Forward(to="a@localhost b@localhost")))
    calls = {name: await bidder.hear(Performative.CFP) for name, bidder in bidders.items()}
    for count, name in enumerate(order, 1):
        say(bidders[name], calls[name], Performative.PROPOSE, SUMS.render(Price(amount=1)))
        await world.fact(MessageReceived, agent=caller.me.name, performative="propose", count=count)
    winner = bidders[order[0]]
    award = await winner.hear(Performative.ACCEPT_PROPOSAL)
    await bidders[order[1]].hear(Performative.REJECT_PROPOSAL)
    await caller.enduring.journaling.settled()
    await die(caller)
    caller = await world.start(Caller, "caller", journal=journal)
    say(winner, award, Performative.INFORM, SUMS.render(Sum(value=42)))
    assert value(await asyncio.wait_for(asking, 10)) == 42
    assert not world.of(OutOfSequence)


async def test_whoever_bid_first_has_bid_first_again(world: World, journal: MemoryJournal) -> None:
    asker = await world.start(Asker, "asker")
    caller = await world.start(Caller, "caller", journal=journal)
    bidders = {name: await Puppet.start(world, name) for name in "ab"}
    asking = asyncio.create_task(asker.request(caller.me, Add(manner="ab")))
    for bidder in bidders.values():
        await bidder.hear(Performative.INFORM)
    calls = {name: await bidder.hear(Performative.CFP) for name, bidder in bidders.items()}
    for count, name in enumerate("ba", 1):
        say(bidders[name], calls[name], Performative.PROPOSE, INTERACTION.render(PriceBid(price=1)))
        await world.fact(MessageReceived, agent=caller.me.name, performative="propose", count=count)
    await bidders["b"].hear(Performative.ACCEPT_PROPOSAL)
    await bidders["a"].hear(Performative.REJECT_PROPOSAL)
    await bidders["a"].hear(Performative.CFP)
    await caller.enduring.journaling.settled()
    await die(caller)
    await world.start(Caller, "caller", journal=journal)
    assert value(await asyncio.wait_for(asking, 10)) == 1
    assert not world.of(OutOfSequence)
