"""An agent that is to stop gives back what it was awarded, so that somebody else is asked at once."""

from __future__ import annotations

import asyncio

from behaviours.events import ConversationEnded
from behaviours.handing_back import hand_back
from behaviours.outcomes import Failed, Refused, Succeeded
from ontology.errors import Cause
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import Add, Adder, Asker, Sum
from tests.behaviours.test_contract_nets_live import adders, cfp, everyone
from tests.conftest import World

ADDER = "adder@localhost"


async def test_an_award_is_given_back_and_the_work_ends(world: World) -> None:
    (adder,) = await adders(world, adder={"mood": "holding"})
    asker = await world.start(Asker, "asker")
    calling = asyncio.ensure_future(asker.call_for_proposals([ADDER], Add(a=1), everyone))
    await asyncio.wait_for(adder.started.wait(), 10)
    assert await hand_back(adder.mailroom) == 1
    award = (await calling).awards[ADDER]
    assert isinstance(award, Failed)
    assert (award.reason.cause, award.reason.text) == (
        Cause.VANISHED,
        "adder is being stopped, and gives back what it was awarded",
    )
    await adder.stop()
    assert adder.was_cancelled.is_set()
    await world.fact(ConversationEnded, agent=ADDER, state="FAILED")


async def test_a_call_that_is_being_looked_at_is_refused(world: World) -> None:
    (adder,) = await adders(world, adder={"mood": "silent"})
    asker = await world.start(Asker, "asker")
    calling = asyncio.ensure_future(asker.call_for_proposals([ADDER], Add(a=1), everyone))
    await world.until(lambda: bool(adder.mailroom.conversations()))
    assert await hand_back(adder.mailroom) == 1
    declined = (await calling).declined[ADDER]
    assert isinstance(declined, Refused)
    assert declined.reason.cause == Cause.VANISHED


async def test_whoever_has_named_no_conversation_is_told_nothing(world: World) -> None:
    (adder,) = await adders(world, adder={"mood": "silent"})
    puppet = await Puppet.start(world, "puppet")
    puppet.say(cfp().model_copy(update={"conversation_id": None, "protocol": None}), adder.me)
    await world.until(lambda: bool(adder.mailroom.conversations()))
    assert await hand_back(adder.mailroom) == 0


async def test_no_offer_is_made_from_then_on(world: World) -> None:
    (adder,) = await adders(world, adder={})
    asker = await world.start(Asker, "asker")
    assert await hand_back(adder.mailroom) == 0
    contract = await asker.call_for_proposals([ADDER], Add(a=1), everyone)
    declined = contract.declined[ADDER]
    assert isinstance(declined, Refused)
    assert declined.reason.text == "adder is being stopped; ask somebody else, or again in 5 s"
    assert isinstance(await asker.request(ADDER, Add(a=1)), Succeeded)


async def test_a_request_is_kept_for_the_next_process(world: World) -> None:
    (adder,) = await adders(world, adder={"mood": "holding"})
    asker = await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(ADDER, Add(a=1)))
    await asyncio.wait_for(adder.started.wait(), 10)
    assert await hand_back(adder.mailroom) == 0
    adder.release.set()
    assert await asking == Succeeded(Sum(value=3), (await asking).message)  # type: ignore[union-attr]


async def test_what_a_replica_goes_on_with_is_not_given_back(world: World) -> None:
    adder = await world.start(Adder, "adder")
    adder.mood = "holding"
    asker = await world.start(Asker, "asker")
    asyncio.ensure_future(asker.call_for_proposals([ADDER], Add(a=1), everyone))  # noqa: RUF006 - it ends with the asker
    await asyncio.wait_for(adder.started.wait(), 10)
    other = await world.start(Adder, "adder", journal=adder.ports.journal, replica="b")
    assert await hand_back(adder.mailroom) == 0
    await other.stop()


async def test_what_one_asks_others_for_goes_on(world: World) -> None:
    (adder,) = await adders(world, adder={"mood": "holding"})
    asker = await world.start(Asker, "asker")
    calling = asyncio.ensure_future(asker.call_for_proposals([ADDER], Add(a=1), everyone))
    await asyncio.wait_for(adder.started.wait(), 10)
    assert await hand_back(asker.mailroom) == 0
    adder.release.set()
    assert isinstance((await calling).awards[ADDER], Succeeded)
