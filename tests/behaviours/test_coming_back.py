"""A peer that was away is written to as soon as it is back, and where it is then."""

from __future__ import annotations

import asyncio

import pytest

from behaviours.clocking import system_now
from behaviours.delivery import Delivered
from behaviours.enduring import Enduring
from behaviours.events import MessageAcknowledged, MessageAskedAfter, MessageReceived
from behaviours.inheriting import Inheriting
from ontology.aid import AgentIdentifier
from resilience.breakers import Breaking, Circuit
from resilience.inbox import Hold
from resilience.journal import Effects, Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import Add, Adder, Asker, Half
from tests.behaviours.test_enduring_live import die, value
from tests.conftest import World, becomes


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal(Policy(retrying=Retrying(first=0.05, most=0.2)))


def leave_alone(asker: Asker, peer: str) -> None:
    """Have a peer's breaker open, as after messages that nobody acknowledged."""
    breakers = asker.enduring.outbox._breakers
    for _each in range(Breaking().failures):
        attempt = breakers.attempt(peer)
        assert attempt is not None
        attempt.failed()
    assert breakers.circuit(peer) is Circuit.OPEN


async def test_what_a_dead_session_did_not_get_the_next_one_gets(
    world: World, journal: MemoryJournal
) -> None:
    """The server keeps a session whose connection broke, and all that is for it, for a minute."""
    asker = await world.start(Asker, "asker", journal=journal)
    former = await Puppet.start(world, "adder/former")
    former.connection._is_stopping = True
    former.connection.abort()
    await asyncio.wait_for(former.connection.wait_until("disconnected"), 5)
    adder = await world.start(Adder, "adder")
    result = await asyncio.wait_for(
        asker.inform(AgentIdentifier.of("adder@localhost/former"), Half(done=0.5)), 5
    )
    assert result == Delivered(is_acknowledged=True)
    assert adder.heard == [(Half(done=0.5), asker.me.name)]


async def test_a_peer_that_is_heard_from_is_left_alone_no_longer(
    world: World, journal: MemoryJournal
) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    adder = await world.start(Adder, "adder", journal=journal)
    leave_alone(asker, adder.me.name)
    telling = [asyncio.create_task(asker.inform(adder.me, Half(done=each / 10))) for each in range(10)]
    await becomes(lambda: len(asker.enduring.outbox) == 10)
    await asker.enduring.journaling.settled()
    assert not adder.heard
    await adder.inform(asker.me, Half(done=0.5))
    assert set(await asyncio.wait_for(asyncio.gather(*telling), 5)) == {Delivered(is_acknowledged=True)}
    assert [half.done for half, _sender in adder.heard] == [each / 10 for each in range(10)], "in order"


async def test_whoever_has_an_open_conversation_learns_of_a_restart(
    world: World, journal: MemoryJournal
) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    first = await world.start(Adder, "adder", journal=journal)
    asking = asyncio.create_task(asker.request(first.me, Add(a=1, b=2, manner="holding")))
    await world.fact(MessageReceived, agent=asker.me.name, performative="agree")
    outbox = first.enduring.outbox
    await becomes(lambda: not len(outbox) and not outbox._settled)
    await first.enduring.journaling.settled()
    await die(first)  # whoever comes next has nothing to say until it has finished
    leave_alone(asker, first.me.name)
    telling = asyncio.create_task(asker.inform(first.me, Half(done=0.5)))
    second = await world.start(Adder, "adder", journal=journal)
    await asyncio.wait_for(telling, 5)
    second.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 3


async def test_a_peer_that_misses_a_message_is_there(world: World, journal: MemoryJournal) -> None:
    """What it did not get is no reason to leave it alone."""
    asker = await world.start(Asker, "asker", journal=journal)
    adder = await world.start(Adder, "adder", journal=journal)
    await adder.inform(asker.me, Half(done=0.1))
    hand_over, lost = asker.connection.hand_over, []  # type: ignore[union-attr]

    def lose(stanza: str) -> None:
        if "<body>" in stanza and len(lost) < 20:
            lost.append(stanza)
        else:
            hand_over(stanza)

    asker.connection.hand_over = lose  # type: ignore[union-attr, method-assign]
    telling = [asker.inform(adder.me, Half(done=each / 10)) for each in range(10)]
    assert set(await asyncio.wait_for(asyncio.gather(*telling), 5)) == {Delivered(is_acknowledged=True)}
    assert len(lost) == 20
    assert world.of(MessageAskedAfter, agent=asker.me.name)
    assert asker.enduring.outbox._breakers.circuit(adder.me.name) is Circuit.CLOSED


async def test_who_dies_between_a_claim_and_its_first_commit_is_not_waited_for(
    world: World, journal: MemoryJournal
) -> None:
    """Neither by the message, which comes again, until the lease is over, nor by the sender in vain."""

    class Dying(MemoryJournal):
        """Claims, and has no time to write."""

        async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
            if hold is not None and hold.key.sender == "asker@localhost":
                await asyncio.Event().wait()
            return await super().commit(effects, hold)

    asker = await world.start(Asker, "asker")
    dying = Dying(journal.policy)
    first = await world.start(Adder, "adder", journal=dying)
    asking = asyncio.create_task(asker.request(first.me, Add(a=1, b=2)))
    await asyncio.wait_for(first.started.wait(), 5)
    await die(first)
    dying.__class__ = MemoryJournal
    await world.start(Adder, "adder", journal=dying)
    assert value(await asyncio.wait_for(asking, 9)) == 3


async def test_who_dies_as_it_comes_back_leaves_its_conversations_to_the_next(
    world: World, journal: MemoryJournal
) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    first = await world.start(Adder, "adder", journal=journal)
    asking = asyncio.create_task(asker.request(first.me, Add(a=1, b=2, manner="holding")))
    await world.fact(MessageAcknowledged, agent=asker.me.name)
    await die(first)
    second = Enduring(
        me=first.me,
        journal=journal,
        delivery=first.delivery,
        send=lambda _stanza: None,
        hook=world.record,
        clock=system_now,
        monotonic=asyncio.get_running_loop().time,
    )
    second.journaling._is_closed = True  # it writes nothing any more
    assert len((await Inheriting(first.me.name, second, world.record).restored()).found) == 1
    second.acknowledging.close()
    third = await world.start(Adder, "adder", journal=journal)
    await asyncio.wait_for(third.started.wait(), 5)
    third.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 3
