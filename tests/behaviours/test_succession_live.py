"""Whoever has asked the leader of a group is answered by the next one, in the same conversation."""

from __future__ import annotations

import asyncio

import pytest

from behaviours import conversing, watching
from behaviours.events import MessageDisbelieved, MessageReceived, OutOfSequence
from behaviours.fencing import GROUP, TERM, Office, office_of
from behaviours.handlers import on
from behaviours.outcomes import Answer, Failed, Outcome, Succeeded
from behaviours.participating import Participation
from behaviours.wire import ABOUT
from ontology.acl import AclMessage, Performative
from ontology.content import Term
from protocols.table import Role
from resilience.memory import MemoryJournal, MemoryLock
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Forward, Sum
from tests.behaviours.test_enduring_live import die
from tests.behaviours.test_groups_live import members
from tests.conftest import World, becomes

FIRST, SECOND = Office(group="g", term=1), Office(group="g", term=2)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.02)
    monkeypatch.setattr(conversing, "FOLLOWED_WITHIN", 5.0)  # looks in a row, here of 20 ms


def answer(call: AclMessage, act: Performative, office: Office | None, value: float = 3) -> AclMessage:
    """What a leader answers."""
    content = SUMS.render(Sum(value=value)) if act is Performative.INFORM else call.content
    reply = call.reply(act, content=content)
    return reply if office is None else office.stamped(reply)


async def agreed(
    world: World, asker: Asker, office: Office | None = FIRST
) -> tuple[Puppet, AclMessage, asyncio.Task[Outcome]]:
    """Ask a leader for something that it agrees to."""
    first = await Puppet.start(world, "first")
    asking = asyncio.create_task(asker.request(first.jid, Add(), result_within=60))
    call = await first.hear(Performative.REQUEST)
    first.say(answer(call, Performative.AGREE, office), asker.me)
    await world.fact(MessageReceived, agent=asker.me.name, performative="agree")
    return first, call, asking


async def test_the_next_leader_answers_in_the_same_conversation(world: World) -> None:
    asker = await world.start(Asker, "asker")
    first, call, asking = await agreed(world, asker)
    await first.stop()
    second = await Puppet.start(world, "second")
    second.say(answer(call, Performative.INFORM, SECOND, 42), asker.me)
    outcome = await asyncio.wait_for(asking, 10)
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.result == Sum(value=42)
    assert not world.of(OutOfSequence)
    # The first one comes back and answers as well: it is late.
    late = await Puppet.start(world, "first/again")
    late.say(answer(call, Performative.INFORM, FIRST, 7), asker.me)
    await world.fact(OutOfSequence, agent=asker.me.name)


def notice(call: AclMessage, office: Office, value: float) -> AclMessage:
    """What a leader lets whoever waits for it know meanwhile."""
    told = AclMessage(
        performative=Performative.INFORM,
        content=SUMS.render(Sum(value=value)),
        language="json",
        ontology=SUMS.label,
        user_parameters={ABOUT: call.conversation_id or ""},
    )
    return office.stamped(told)


async def test_what_the_next_leader_tells_meanwhile_comes_and_it_is_looked_after(world: World) -> None:
    asker, told = await world.start(Asker, "asker"), list[Term]()
    first = await Puppet.start(world, "first")
    asking = asyncio.create_task(asker.request(first.jid, Add(), result_within=60, on_notice=told.append))
    call = await first.hear(Performative.REQUEST)
    first.say(answer(call, Performative.AGREE, FIRST), asker.me)
    await world.fact(MessageReceived, agent=asker.me.name, performative="agree")
    second, stranger = await Puppet.start(world, "second"), await Puppet.start(world, "stranger")
    stranger.say(notice(call, Office(group="other", term=9), 666), asker.me)
    second.say(notice(call, SECOND, 1), asker.me)
    await becomes(lambda: told == [Sum(value=1)])
    # The one before is not what it waits for any more, neither by living nor by what it says.
    first.say(notice(call, FIRST, 2), asker.me)
    await world.fact(MessageDisbelieved, agent=asker.me.name, peer="first@localhost")
    assert told == [Sum(value=1)]
    await first.stop()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asking), 0.5)
    second.say(answer(call, Performative.INFORM, SECOND, 42), asker.me)
    outcome = await asyncio.wait_for(asking, 10)
    assert isinstance(outcome, Succeeded)
    assert outcome.result == Sum(value=42)


async def test_whoever_waits_for_a_leader_waits_for_the_next_one(world: World) -> None:
    asker = await world.start(Asker, "asker")
    first, call, asking = await agreed(world, asker)
    await first.stop()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asking), 0.05)
    second = await Puppet.start(world, "second")
    second.say(answer(call, Performative.FAILURE, SECOND), asker.me)
    assert isinstance(await asyncio.wait_for(asking, 10), Failed)


class Slow(Asker):
    """Agrees as a leader, and never comes to an end."""

    @on(Add)
    async def add(self, _action: Add, task: Participation) -> Answer:
        """Agree."""
        task.act_in(FIRST)
        task.agree()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("is_leader", [True, False])
async def test_and_no_longer_than_that(
    world: World, monkeypatch: pytest.MonkeyPatch, is_leader: bool
) -> None:
    """One that is no leader is not waited for so long."""
    if not is_leader:
        monkeypatch.setattr(Participation, "act_in", lambda _task, _office: None)
    away: list[float] = []
    look = conversing.Seat._look

    async def note(seat: conversing.Seat, seconds: float) -> None:
        if seat.conversation.role is Role.INITIATOR:
            away.append(seconds)
        await look(seat, seconds)

    monkeypatch.setattr(conversing.Seat, "_look", note)
    asker, slow = await world.start(Asker, "asker"), await world.start(Slow, "slow")
    asking = asyncio.create_task(asker.request(slow.me, Add(), result_within=60))
    await world.fact(MessageReceived, agent=asker.me.name, performative="agree")
    await die(slow)
    outcome = await asyncio.wait_for(asking, 10)
    assert isinstance(outcome, Failed)
    assert outcome.reason.text == "slow@localhost has left"
    assert away == [5.0 if is_leader else 3.0]


@pytest.mark.parametrize(
    ("was", "says"),
    [
        (FIRST, None),
        (FIRST, Office(group="other", term=9)),
        (SECOND, FIRST),
        (None, SECOND),
    ],
    ids=["in no office", "of another group", "of an earlier term", "of whom nobody was told"],
)
async def test_nobody_else_goes_on_with_it(world: World, was: Office | None, says: Office | None) -> None:
    asker = await world.start(Asker, "asker")
    first, call, asking = await agreed(world, asker, was)
    stranger = await Puppet.start(world, "stranger")
    stranger.say(answer(call, Performative.INFORM, says, 666), asker.me)
    await world.fact(OutOfSequence, agent=asker.me.name, peer="stranger@localhost")
    assert not asking.done()
    first.say(answer(call, Performative.INFORM, was, 3), asker.me)
    outcome = await asyncio.wait_for(asking, 10)
    assert isinstance(outcome, Succeeded)
    assert outcome.result == Sum(value=3)


async def test_who_waits_may_be_started_anew_meanwhile(world: World) -> None:
    journal = MemoryJournal()
    passing = await world.start(Adder, "passing", journal=journal)
    asker = await world.start(Asker, "asker")
    first = await Puppet.start(world, "first")
    asking = asyncio.create_task(asker.request(passing.me, Forward(to=first.jid.name)))
    call = await first.hear(Performative.REQUEST)
    first.say(answer(call, Performative.AGREE, FIRST), passing.me)
    await world.fact(MessageReceived, agent=passing.me.name, performative="agree")
    await passing.enduring.journaling.settled()
    await die(passing)
    await first.stop()
    await world.start(Adder, "passing", journal=journal)
    second = await Puppet.start(world, "second")
    second.say(answer(call, Performative.INFORM, SECOND, 5), passing.me)
    outcome = await asyncio.wait_for(asking, 10)
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.result == Sum(value=5)


async def test_a_leader_says_in_its_answers_that_it_leads(world: World) -> None:
    (leader,) = await members(world, MemoryLock(), "leader")
    adder = await world.start(Adder, "adder")
    puppet = await Puppet.start(world, "puppet")
    request = AclMessage(
        performative=Performative.REQUEST,
        content=SUMS.render(Forward(to=adder.me.name)),
        language="json",
        ontology=SUMS.label,
        protocol="fipa-request",
        conversation_id="c1",
        reply_with="r1",
    )
    puppet.say(request, leader.me)
    said = await puppet.hear(Performative.INFORM)
    assert {name: said.user_parameters[name] for name in (GROUP, TERM)} == {GROUP: "sums", TERM: "1"}
    assert office_of(said) == Office(group="sums", term=1)
