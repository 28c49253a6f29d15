from __future__ import annotations

import logging

import aiohttp
import pytest

from behaviours.events import (
    BehaviourGivenUp,
    BehaviourRestarted,
    BounceDisbelieved,
    ConversationEnded,
    ConversationRefused,
    Disconnected,
    DuplicateDropped,
    HandlerFailed,
    MessageNotUnderstood,
    MessageReceived,
    MessageUndelivered,
    OutOfSequence,
    RecordNotKept,
)
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.errors import Cause
from society.instrument import say
from society.telemetry import OF_A_KIND, REPEATED_AFTER, Telemetry, count_of, detail_of, name_of, sentence_of
from tests.conftest import ManualClock

ME = "a@localhost"


def test_the_latest_facts_of_each_agent_are_remembered_newest_first():
    telemetry = Telemetry(ManualClock(), remembered=2)
    for number in range(3):
        telemetry(MessageReceived(agent=ME, performative=f"act-{number}", protocol="", peer="b"))
    telemetry(Disconnected(agent="b@localhost", reason="cut"))
    rows = list(telemetry.recent(ME))
    assert [row["detail"] for row in rows] == ["performative act-2, peer b", "performative act-1, peer b"]
    assert {row["fact"] for row in rows} == {"message received"}
    assert len(rows[0]["time"]) == 8
    assert list(telemetry.recent("nobody@localhost")) == []


def test_a_trouble_is_one_line_in_the_log_and_a_fact_is_not(caplog):
    telemetry = Telemetry(ManualClock())
    with caplog.at_level(logging.WARNING, "locution"):
        telemetry(MessageReceived(agent=ME, performative="inform", protocol="", peer="b"))
        telemetry(Disconnected(agent=ME, reason="two\nlines"))
    assert [each.message for each in caplog.records] == ["a@localhost is disconnected: two lines"]


def test_facts_are_logged_for_those_who_want_it(caplog):
    with caplog.at_level(logging.DEBUG, "locution"):
        Telemetry()(MessageReceived(agent=ME, performative="inform", protocol="", peer="b"))
    assert caplog.messages == ["a@localhost: message received: performative inform, peer b"]


def test_the_same_trouble_is_counted_instead_of_repeated(caplog):
    clock = ManualClock()
    telemetry = Telemetry(clock)
    with caplog.at_level(logging.WARNING, "locution"):
        for _ in range(50):
            telemetry(Disconnected(agent=ME, reason="cut"))
        telemetry(Disconnected(agent=ME, reason="other"))
        clock.advance(REPEATED_AFTER)
        telemetry(Disconnected(agent=ME, reason="cut"))
        clock.advance(REPEATED_AFTER)
        telemetry(Disconnected(agent=ME, reason="cut"))
    assert caplog.messages == [
        "a@localhost is disconnected: cut",
        "a@localhost is disconnected: other",
        "a@localhost is disconnected: cut (and 49 times more)",
        "a@localhost is disconnected: cut",
    ]


def not_understood(
    text: str, peer: str = "b", cause: Cause = Cause.UNSUPPORTED_VALUE
) -> MessageNotUnderstood:
    return MessageNotUnderstood(agent=ME, peer=peer, cause=cause, text=text)


def test_of_many_different_troubles_of_a_kind_the_first_are_logged(caplog):
    clock = ManualClock()
    telemetry = Telemetry(clock)
    with caplog.at_level(logging.WARNING, "locution"):
        for number in range(1000):
            telemetry(not_understood(f"word {number}"))
        telemetry(not_understood("mine", peer="c"))
        telemetry(OutOfSequence(agent=ME, performative="agree", peer="b", text="late"))
        clock.advance(REPEATED_AFTER)
        for number in range(2):
            telemetry(not_understood(f"new word {number}"))
    told = f"{ME} did not understand a message of"
    assert caplog.messages == [
        *(f"{told} b: word {number}" for number in range(OF_A_KIND)),
        f"{told} c: mine",
        f"{ME} did not expect the agree of b: late",
        f"{told} b: new word 0 (and 990 more of its kind)",
        f"{told} b: new word 1",
    ]


def test_a_trouble_in_turn_with_others_is_not_logged_again(caplog):
    telemetry = Telemetry(ManualClock())
    with caplog.at_level(logging.WARNING, "locution"):
        for _again in range(10):
            for number in range(1000):
                telemetry(not_understood(f"word {number}"))
    assert len(caplog.messages) == OF_A_KIND


def test_what_was_not_logged_is_summed_up_at_the_end(caplog):
    telemetry = Telemetry(ManualClock())
    with caplog.at_level(logging.WARNING, "locution"):
        for _again in range(1000):
            telemetry(not_understood("what?"))
            telemetry(MessageReceived(agent=ME, performative="inform", protocol="", peer="b"))
        telemetry(Disconnected(agent=ME, reason="cut"))
        telemetry(Disconnected(agent="b@localhost", reason="cut"))
        caplog.clear()
        telemetry.close()
        telemetry.close()
    assert caplog.messages == [
        f"{ME} had more troubles than were logged; in all: "
        "disconnected (1); message not understood: unsupported-value (1,000)"
    ]


def test_facts_are_counted_by_their_kind():
    telemetry = Telemetry(ManualClock(), remembered=2)
    for _again in range(5):
        telemetry(not_understood("what?"))
        telemetry(not_understood("who?", cause=Cause.UNSUPPORTED_ACT))
        telemetry(MessageReceived(agent=ME, performative="inform", protocol="", peer="b"))
    assert telemetry.counts(ME) == {
        "message not understood: unsupported-act": 5,
        "message not understood: unsupported-value": 5,
        "message received": 5,
    }
    assert telemetry.counts("nobody@localhost") == {}


async def test_counts_are_seen_on_the_dashboard_and_in_the_log_at_the_end(file, start, told, caplog):
    society = await start(file)
    dashboard = (await told.wait_for("ready"))["agents"][1]["dashboard"]
    wrong = AclMessage(
        performative=Performative.REQUEST,
        receiver=(AgentIdentifier.of("coordinator@localhost"),),
        protocol="fipa-chat",
        conversation_id="c1",
    )
    for _again in range(2):
        assert [each.performative async for each in say(file, wrong, 10)] == [Performative.NOT_UNDERSTOOD]
    kind = "message not understood: unsupported-value"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{dashboard}/status.json") as answer:
            assert (await answer.json())["counts"][kind] == 2
        async with session.get(dashboard) as page:
            assert kind in await page.text()
    caplog.clear()
    await society.stop()
    (line,) = [each for each in caplog.messages if "more troubles" in each]
    assert line.startswith("coordinator@localhost had more troubles than were logged; in all: ")
    assert f"{kind} (2)" in line


def test_a_message_out_of_sequence_is_logged_once_though_it_is_answered(caplog):
    telemetry, text = Telemetry(ManualClock()), "agree opens no conversation here"
    with caplog.at_level(logging.WARNING, "locution"):
        for _ in range(2):
            telemetry(OutOfSequence(agent=ME, performative="agree", peer="b@localhost", text=text))
            telemetry(
                MessageNotUnderstood(agent=ME, peer="b@localhost", cause=Cause.UNEXPECTED_ACT, text=text)
            )
        telemetry(MessageNotUnderstood(agent=ME, peer="b@localhost", cause="x", text="other"))
    assert caplog.messages == [
        f"a@localhost did not expect the agree of b@localhost: {text}",
        "a@localhost did not understand a message of b@localhost: other",
    ]


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        (
            MessageUndelivered(agent=ME, performative="inform", peer="b", cause="c", text="gone"),
            "a@localhost could not deliver its inform to b: gone",
        ),
        (
            BounceDisbelieved(agent=ME, peer="liar", addressee="b"),
            "a@localhost did not believe liar that its message to b has come back",
        ),
        (
            HandlerFailed(agent=ME, peer="b", text="KeyError: 1"),
            "a@localhost failed at a message of b: KeyError: 1",
        ),
        (
            RecordNotKept(agent=ME, key="b", text="full"),
            "a@localhost could not write down b, which a restart will forget: full",
        ),
        (
            BehaviourRestarted(agent=ME, behaviour="X", attempt=2, text="oh"),
            "a@localhost has restarted its behaviour X (attempt 2): oh",
        ),
        (
            BehaviourGivenUp(agent=ME, behaviour="X", text="oh"),
            "a@localhost has given up its behaviour X: oh",
        ),
        (
            ConversationRefused(agent=ME, performative="cfp", peer="b", cause="late", text="too late"),
            "a@localhost refused the cfp of b: too late",
        ),
        (DuplicateDropped(agent=ME, peer="b"), "a@localhost: duplicate dropped: peer b"),
    ],
)
def test_a_trouble_reads_as_a_sentence(fact, told):
    assert sentence_of(fact) == told


def test_troubles_without_end_do_not_fill_the_memory(caplog):
    telemetry = Telemetry(ManualClock())
    for number in range(1000):
        telemetry(Disconnected(agent=ME, reason=str(number)))
        telemetry(not_understood("what?", peer=str(number)))
    assert len(telemetry._told) <= 100
    assert len(telemetry._kinds) <= 100


def test_facts_are_told_in_words():
    fact = ConversationEnded(
        agent=ME, conversation_id="c", protocol="", role="initiator", peer="b", state="DONE", seconds=1 / 3
    )
    assert name_of(fact) == "conversation ended"
    assert detail_of(fact) == "conversation id c, role initiator, peer b, state DONE, seconds 0.333"
    assert count_of(fact) == "conversation ended: DONE"
