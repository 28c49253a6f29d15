"""What a handler has begun before a death, and does not go on with, is taken back."""

from __future__ import annotations

import asyncio

import pytest

from behaviours.events import MessageReceived
from behaviours.handlers import on
from behaviours.outcomes import Answer, Fail, Failed, Outcome
from behaviours.participating import Participation
from ontology.acl import AclMessage, Performative
from resilience.inbox import Terms
from resilience.journal import Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import Adder, Asker, Forward
from tests.behaviours.test_enduring_live import die, nothing_is_left
from tests.conftest import World


async def begun(
    world: World, worker: Puppet, journal: MemoryJournal, *, has_agreed: bool
) -> tuple[Adder, asyncio.Task[Outcome], AclMessage]:
    """Have somebody ask the worker for us."""
    asker = await world.start(Asker, "asker")
    middle = await world.start(Adder, "middle", journal=journal)
    asking = asyncio.create_task(asker.request(middle.me, Forward(to=worker.jid.name)))
    asked = await worker.hear(Performative.REQUEST)
    if has_agreed:
        worker.say(asked.reply(Performative.AGREE), middle.me)
        await world.fact(MessageReceived, agent=middle.me.name, performative="agree")
    await middle.enduring.journaling.settled()
    return middle, asking, asked


@pytest.mark.parametrize("has_agreed", [True, False])
async def test_with_a_message_that_ends_its_agent_each_time(world: World, *, has_agreed: bool) -> None:
    policy = Policy(terms=Terms(most_attempts=2), retrying=Retrying(first=0.05, most=0.2))
    journal = MemoryJournal(policy)
    worker = await Puppet.start(world, "worker")
    middle, asking, asked = await begun(world, worker, journal, has_agreed=has_agreed)
    for _death in range(2):
        await middle.enduring.journaling.settled()
        await die(middle)
        middle = await world.start(Adder, "middle", journal=journal)
    outcome = await asyncio.wait_for(asking, 10)
    assert isinstance(outcome, Failed)
    assert outcome.reason.text == "middle began forward 2 times and never ended it; it is not tried again"
    cancel = await worker.hear(Performative.CANCEL)
    assert cancel.conversation_id == asked.conversation_id
    worker.say(cancel.reply(Performative.INFORM), middle.me)
    await nothing_is_left(journal, "middle")


class Forgetful(Adder):
    """Does not begin again what it has begun."""

    @on(Forward)
    async def forward(self, action: Forward, task: Participation) -> Answer:
        """Do nothing."""
        return Fail("forgotten", "I have forgotten it")


@pytest.mark.parametrize("has_agreed", [True, False])
async def test_what_a_handler_does_not_begin_again_is_taken_back(world: World, *, has_agreed: bool) -> None:
    journal = MemoryJournal(Policy(retrying=Retrying(first=0.05, most=0.2)))
    worker = await Puppet.start(world, "worker")
    middle, asking, _asked = await begun(world, worker, journal, has_agreed=has_agreed)
    await die(middle)
    middle = await world.start(Forgetful, "middle", journal=journal)
    outcome = await asyncio.wait_for(asking, 10)
    assert isinstance(outcome, Failed)
    assert outcome.reason.text == "I have forgotten it"
    cancel = await worker.hear(Performative.CANCEL)
    worker.say(cancel.reply(Performative.INFORM), middle.me)
    await nothing_is_left(journal, "middle")
