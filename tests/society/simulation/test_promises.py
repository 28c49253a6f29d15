"""What is promised of delivery, as invariants: each broken agent is found, and a whole one is not accused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from behaviours.delivery import Delivered, Undelivered
from behaviours.events import ConversationRefused, Fact, OutOfSequence
from behaviours.outcomes import Succeeded
from behaviours.receipts import MARK, Receipts, render
from ontology.errors import Cause
from resilience import outbox
from resilience.journal import Effects
from resilience.snapshots import Snapshot
from society.simulation import (
    Faults,
    Happening,
    SeedFailed,
    Simulation,
    done_once,
    explore,
    nothing_hangs,
    nothing_lost,
    simulate,
)
from society.simulation.evidence import Evidence
from society.simulation.happenings import Arrived, Committed, Left, Noted, Written
from tests.behaviours.samples import Add, Adder, Asker, Half
from tests.society.simulation.broken import BROKEN
from tests.society.simulation.scenarios import PROMISES, WEATHER, upheaval
from tests.society.simulation.test_network import End

LONG = 600.0
SEEDS = 60


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_agent_is_found_and_its_seed_replays(name):
    kind, told = BROKEN[name]
    scenario = partial(upheaval, kind=kind)
    found: list[Any] = []
    for start in range(0, SEEDS, 10):
        seeds = range(start, start + 10)
        runs = explore(scenario, seeds, faults=WEATHER, invariants=PROMISES, within=3600, most=10)
        found = [run for run in runs if any(told in each for each in run.failures)]
        if found:
            break
    assert found, f"none of {SEEDS} seeds has found it"
    run = found[0]
    with pytest.raises(SeedFailed) as caught:
        simulate(scenario, run.seed, faults=WEATHER, invariants=PROMISES, within=3600)
    assert caught.value.run.text == run.text
    assert caught.value.run.failures == run.failures


async def quietly(world: Simulation) -> Any:
    """A request, a notice, and all is over."""
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    outcome = await world.run(asker, asker.request(adder.me, Add()))
    told = await world.run(asker, asker.inform(adder.me, Half(done=1)))
    await world.rest()
    return outcome, told


def test_a_whole_agent_in_good_weather_keeps_all_promises():
    run = simulate(quietly, 0, invariants=PROMISES)
    outcome, told = run.result
    assert isinstance(outcome, Succeeded)
    assert told == Delivered(is_acknowledged=True)
    left = [each.fact for each in run.history if isinstance(each.fact, Left)]
    assert [each.agent for each in left] == ["adder@simulation", "asker@simulation"]
    assert all(each.outgoing == each.conversations == each.letters == () for each in left)


def test_what_is_lost_is_asked_of_worlds_at_rest_only():
    async def restless(world: Simulation) -> None:
        await world.start(Adder, "adder")

    (told,) = nothing_lost(simulate(restless, 0, invariants=[done_once]).history)
    assert (
        told == "nobody knows what is lost in a world that was never at rest: end with `await world.rest()`"
    )


def test_a_world_comes_to_rest_with_everybody_back_and_the_network_whole():
    async def scenario(world: Simulation) -> Any:
        adder, asker = await world.start(Adder, "adder"), await world.start(Adder, "asker")
        assert await asker.inform(adder.me, Half(done=0)) == Delivered(is_acknowledged=True)
        world.network.partition(["adder"], ["asker"])
        world.network.faults = world.network.faults_between["asker", "adder"] = Faults(drop=1.0)
        telling = asyncio.ensure_future(asker.inform(adder.me, Half(done=1)))
        await asyncio.sleep(1)
        await world.crash("adder")
        await world.rest()
        again: Any = world._hosts["adder"].agent
        return await telling, [notice.done for notice, _sender in again.heard]

    told, heard = simulate(scenario, 0, invariants=PROMISES).result
    assert told == Delivered(is_acknowledged=True)
    assert heard == [1]


def test_who_does_not_rest_in_time_is_told_with_what_is_under_way():
    async def scenario(world: Simulation) -> float:
        adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
        world.run(asker, asker.request(adder.me, Add(manner="holding")))
        await world.rest(within=30)
        return world.time

    run = simulate(scenario, 0, invariants=[done_once])
    assert 30 < run.result < 32
    told = list(nothing_hangs(run.history))
    assert [each.partition(" open")[0].rpartition("/")[0] for each in told[:2]] == [
        "adder@simulation holds conversation/participant/asker@simulation",
        "asker@simulation holds conversation/initiator/adder@simulation",
    ]


def test_what_stands_in_an_outbox_in_the_end_is_lost():
    async def scenario(world: Simulation) -> None:
        End(world, "absent")
        asker = await world.start(Asker, "asker")
        world.run(asker, asker.inform("absent@simulation", Half(done=1)))
        await world.rest(within=3)

    (told,) = nothing_lost(simulate(scenario, 0, invariants=[done_once]).history)
    assert told.startswith("asker@simulation: ")
    assert told.endswith(" stands in the outbox when all is over")


def test_a_message_to_somebody_who_knows_nothing_of_receipts_is_not_lost():
    async def scenario(world: Simulation) -> Any:
        plain = End(world, "plain")
        await plain.connection.open()
        asker = await world.start(Asker, "asker")
        told = await world.run(asker, asker.inform("plain@simulation", Half(done=1)))
        await world.rest()
        return told, len(plain.heard) > 0

    assert simulate(scenario, 0, invariants=PROMISES).result == (Delivered(), True)


def test_a_message_that_cannot_be_delivered_is_with_the_dead_letters_and_its_sender_told():
    async def scenario(world: Simulation) -> Any:
        asker = await world.start(Asker, "asker")
        told = await world.run(asker, asker.inform("nobody@simulation", Half(done=1)))
        await world.rest()
        return told

    run = simulate(scenario, 0, invariants=PROMISES)
    assert isinstance(run.result, Undelivered)
    (left,) = [each.fact for each in run.history if isinstance(each.fact, Left)]
    assert [each.cause for each in left.letters] == ["unreachable"]
    # Had nobody been told of it, that would have been found.
    untold = [each for each in run.history if type(each.fact).__name__ != "MessageUndelivered"]
    (said,) = nothing_lost(untold)
    assert said.startswith("asker@simulation has ")
    assert "with its dead letters, and told nobody" in said


def test_a_message_that_leaves_the_outbox_without_a_reason_is_lost():
    run = simulate(quietly, 0)
    deaf = [each for each in run.history if "<acknowledged" not in str(each)]
    assert any("was neither acknowledged nor given up" in each for each in nothing_lost(deaf))


def test_nobody_acknowledges_for_another():
    run = simulate(quietly, 0)
    forged = [
        Happening(each.at, replace(fact, stanza=fact.stanza.replace('from="adder@', 'from="mallory@')))
        if isinstance(fact := each.fact, Arrived) and "<acknowledged" in fact.stanza
        else each
        for each in run.history
    ]
    assert any("was neither acknowledged nor given up" in each for each in nothing_lost(forged))


AGREE = outbox.posted(
    agent="adder@simulation",
    id="agreement",
    to="asker@simulation",
    message='{"performative": "agree", "protocol": "fipa-request", "conversation-id": "c1"}',
    conversation="conversation/participant/asker@simulation/c1",
    now=datetime(2026, 1, 1, tzinfo=UTC),
    retrying=outbox.Retrying(),
)
OPENED = Snapshot(
    agent="asker@simulation", key="conversation/initiator/adder@simulation/c1#000000", form=1, text="{}"
)
RECEIPT = render("adder@simulation/here", Receipts(acknowledged=("agreement",)))[0]


def told_of(*facts: Fact) -> list[str]:
    """What is to be said of one who has a conversation open, and acknowledges what was said in it."""
    committed = (Effects(agent=OPENED.agent, put=(OPENED,)), Effects(agent=AGREE.agent, send=(AGREE,)))
    commits = [Committed(agent=each.agent, sent=(), settled=(), effects=each) for each in committed]
    receipt = Written(agent="asker@simulation", stanza=RECEIPT)
    return list(done_once([Happening(0.0, each) for each in (*commits, *facts, receipt)]))


def test_an_acknowledgement_of_what_has_no_effect_by_the_rules_is_no_lie():
    (told,) = told_of()
    assert told == (
        "at 0.000 s asker@simulation acknowledged the agree agreement "
        "of adder@simulation to asker@simulation without a trace of it"
    )
    fact = OutOfSequence(
        agent="asker@simulation", peer="adder@simulation", performative="agree", text="it is over"
    )
    assert told_of(fact) == []


def test_who_has_too_much_to_do_may_say_so_without_writing_it_down():
    said = Written(
        agent="adder@simulation", stanza=f'<message to="asker@simulation" id="no">{MARK}</message>'
    )
    busy = ConversationRefused(
        agent="adder@simulation",
        performative="request",
        peer="asker@simulation",
        cause=Cause.OVERLOADED,
        text="later",
    )
    assert list(done_once([Happening(1.0, said)])) == [
        "at 1.000 s adder@simulation said no, which it had not written down"
    ]
    assert list(done_once([Happening(0.0, busy), Happening(1.0, said)])) == []
    refused = replace(busy, cause=Cause.UNAUTHORISED)
    assert list(done_once([Happening(0.0, refused), Happening(1.0, said)])) != []


def test_a_result_that_is_told_before_it_is_written_down_is_found():
    run = simulate(quietly, 0)
    unwritten = [each for each in run.history if not (isinstance(each.fact, Committed) and each.fact.sent)]
    assert all("which it had not written down" in each for each in done_once(unwritten))
    assert len(list(done_once(unwritten))) == 3  # a request, its result, and a notice


def test_two_results_of_one_request_are_found_whoever_writes_them_down():
    run = simulate(quietly, 0)
    (told,) = [
        each
        for each in run.history
        if isinstance(each.fact, Committed) and each.fact.sent and each.fact.agent == "adder@simulation"
    ]
    (record,) = told.fact.effects.send
    another = Effects(agent=record.agent, send=(type(record)(**{**vars(record), "id": "another"}),))
    fact = Committed(agent=record.agent, sent=("another",), settled=(), effects=another)
    doubled = [*run.history, Happening(told.at, fact)]
    (found,) = done_once(doubled)
    assert found == (
        f"adder@simulation has answered asker@simulation twice in one matter: "
        f"inform {record.id} and inform another"
    )


def test_a_copy_that_is_not_understood_once_the_result_is_known_does_no_harm():
    run = simulate(quietly, 0)
    (told,) = [
        each
        for each in run.history
        if isinstance(each.fact, Committed) and each.fact.sent and each.fact.agent == "adder@simulation"
    ]
    (record,) = told.fact.effects.send
    words = record.message.replace('"inform"', '"not-understood"')
    late = type(record)(**{**vars(record), "id": "late", "message": words})
    commit = Committed(
        agent=record.agent, sent=("late",), settled=(), effects=Effects(agent=record.agent, send=(late,))
    )
    arrived = next(each for each in run.history if "Arrived" in str(each) and record.id in str(each))
    arriving = type(arrived.fact)(
        agent="asker@simulation", stanza=arrived.fact.stanza.replace(record.id, "late")
    )
    behind = [*run.history, Happening(LONG, commit), Happening(LONG, arriving)]
    assert list(done_once(behind)) == []
    place = run.history.index(told)
    before = [*run.history[:place], Happening(told.at, commit), Happening(told.at, arriving)]
    assert any("twice in one matter" in each for each in done_once([*before, *run.history[place:]]))


def test_evidence_is_taken_from_journals_and_from_the_wire():
    run = simulate(quietly, 0)
    found = Evidence(run.history)
    acts = sorted(each.act.value for each in found.messages.values())
    assert acts == ["inform", "inform", "request"]
    assert found.acknowledged == set(found.messages) == set(found.settled)
    assert found.receipts
    assert all(each.is_grounded for each in found.receipts)
    assert not found.unwritten
    assert {each.fact.agent for each in run.history if isinstance(each.fact, Written)} == set(found.left)
    assert not any(isinstance(each.fact, Noted) for each in run.history)
