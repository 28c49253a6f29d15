"""What seeds have found once, each as a scenario of its own: it is not to come back."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from behaviours.outcomes import Expired
from society.simulation import Simulation, simulate
from tests.behaviours.samples import Add, Adder, Asker, Forward, Half
from tests.society.simulation.scenarios import PROMISES, Noting


def test_what_waits_behind_a_message_that_is_given_up_goes_on_when_the_peer_is_back():
    async def scenario(world: Simulation) -> Any:
        adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
        await asker.inform(adder.me, Half(done=0))
        world.network.partition(["adder"], ["asker"])
        await asyncio.gather(*(asker.inform(adder.me, Half(done=done)) for done in range(1, 6)))
        # Now it is left alone: both of these are held back, and the first has no time to wait for long.
        asking = asyncio.ensure_future(asker.request(adder.me, Add(), reply_within=5))
        telling = asyncio.ensure_future(asker.inform(adder.me, Half(done=6)))
        outcome = await asking
        await world.rest()
        await telling
        return outcome, [notice.done for notice, _sender in adder.heard]

    outcome, heard = simulate(scenario, 0, invariants=PROMISES).result
    assert isinstance(outcome, Expired)
    assert heard == [0, 6]


def test_what_a_handler_had_begun_is_seen_to_its_end_though_its_own_conversation_is_over():
    async def scenario(world: Simulation) -> None:
        asker = await world.start(Asker, "asker")
        for name in ("middle", "adder"):
            await world.start(partial(Noting, world), name)

        async def ask_and_give_up() -> None:
            forwarded = asker.request("middle@simulation", Forward(to="adder@simulation"))
            asking = asyncio.ensure_future(forwarded)
            await asyncio.sleep(0.7)
            asking.cancel()

        # The handler has begun a request, which is agreed to, and is cancelled while nobody can be told.
        doing = world.run(asker, ask_and_give_up())
        await asyncio.sleep(0.6)
        world.network.partition(["middle"], ["adder"])
        await doing
        await asyncio.sleep(1)
        await world.crash("middle")
        await world.rest()

    text = simulate(scenario, 0, invariants=PROMISES).text
    assert "ConversationEnded agent='middle@simulation'" in text.partition("Crashed")[0]
    assert "role='initiator' peer='adder@simulation'" in text.partition("Crashed")[2]


def test_who_waits_for_a_result_that_is_lost_though_it_was_told_before_the_cancel_waits_no_longer():
    async def scenario(world: Simulation) -> Any:
        adder = await world.start(Adder, "adder")
        asker = await world.start(Asker, "asker")
        send_on: Any = world.network._send_on

        def lose_the_result(passing: Any, link: tuple[str, str], text: str) -> None:
            is_result = ">inform<" in text or "<unacknowledged" in text
            if not (link == ("adder", "asker") and is_result):
                send_on(passing, link, text)

        world.network._send_on = lose_the_result  # type: ignore[method-assign]
        asking = world.run(asker, asker.request(adder.me, Add(manner="agreeing"), result_within=25))
        await asyncio.sleep(1)
        adder.release.set()
        outcome = await asking
        await world.rest(within=60)
        return outcome

    run = simulate(scenario, 0, invariants=PROMISES)
    assert isinstance(run.result, Expired)
    assert "it was finished before the cancel came" in run.text
