"""`behaviours.outcomes`: every ending in one sentence."""

from __future__ import annotations

import pytest

from behaviours.outcomes import (
    Cancelled,
    Expired,
    Fail,
    Failed,
    NotUnderstood,
    Outcome,
    Refuse,
    Refused,
    Succeeded,
    sentence,
)
from ontology.acl import AclMessage, Performative
from ontology.content import Done, Reason, explain
from ontology.errors import Cause

WHY = Reason(cause="busy", text="I am busy", about="time")


@pytest.mark.parametrize("outcome", [Refused(WHY), Failed(WHY), NotUnderstood(WHY), Expired(WHY)])
def test_what_did_not_work_is_told_by_its_reason(outcome: Outcome) -> None:
    assert sentence(outcome) == "I am busy"


def test_the_other_endings_have_a_sentence_too() -> None:
    assert sentence(Succeeded(Done(), AclMessage(performative=Performative.INFORM))) == "done: done"
    assert sentence(Cancelled()) == "cancelled"


@pytest.mark.parametrize("kind", [Refuse, Fail])
def test_a_handlers_answer_becomes_a_reason(kind: type[Refuse | Fail]) -> None:
    assert kind("busy", "I am busy", "time").reason() == WHY
    assert kind(Cause.OVERLOADED, "later").reason() == Reason(cause="overloaded", text="later")
    assert kind("busy", "I am busy", "time").content() == explain("busy", "I am busy", "time")


def test_a_refusal_says_when_to_ask_again() -> None:
    refuse = Refuse(Cause.OVERLOADED, "later", retry_after=2.0)
    assert refuse.reason() == Reason(cause="overloaded", text="later", retry_after=2.0)
    assert refuse.content() == explain(Cause.OVERLOADED, "later", retry_after=2.0)
