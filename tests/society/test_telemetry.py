from __future__ import annotations

import logging

from behaviours.events import ConversationEnded, Disconnected, MessageReceived
from society.telemetry import REPEATED_AFTER, Telemetry, detail_of, name_of
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
    assert [each.message for each in caplog.records] == ["a@localhost: disconnected: reason two lines"]


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
        "a@localhost: disconnected: reason cut",
        "a@localhost: disconnected: reason other",
        "a@localhost: disconnected: reason cut (and 49 times more)",
        "a@localhost: disconnected: reason cut",
    ]


def test_troubles_without_end_do_not_fill_the_memory(caplog):
    telemetry = Telemetry(ManualClock())
    for number in range(1000):
        telemetry(Disconnected(agent=ME, reason=str(number)))
    assert len(telemetry._told) <= 100


def test_facts_are_told_in_words():
    fact = ConversationEnded(
        agent=ME, conversation_id="c", protocol="", role="initiator", peer="b", state="DONE", seconds=1 / 3
    )
    assert name_of(fact) == "conversation ended"
    assert detail_of(fact) == "conversation id c, role initiator, peer b, state DONE, seconds 0.333"
