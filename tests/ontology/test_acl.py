"""The message of FIPA00061: its parameters, what it refuses, and how it is answered."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from tests.ontology.strategies import EXAMPLES, filled, messages

ANN, BOB, CLERK = (AgentIdentifier.of(f"{name}@example.org") for name in ("ann", "bob", "clerk"))

ACTS = [
    "accept-proposal", "agree", "cancel", "cfp", "confirm", "disconfirm", "failure", "inform", "inform-if",
    "inform-ref", "not-understood", "propagate", "propose", "proxy", "query-if", "query-ref", "refuse",
    "reject-proposal", "request", "request-when", "request-whenever", "subscribe",
]  # fmt: skip

PARAMETERS = [
    "performative", "sender", "receiver", "reply_to", "content", "language", "encoding", "ontology",
    "protocol", "conversation_id", "reply_with", "in_reply_to", "reply_by",
]  # fmt: skip


class TestPerformative:
    def test_the_twenty_two_acts(self):
        assert sorted(Performative) == ACTS
        assert len(ACTS) == 22

    @pytest.mark.parametrize("name", ["REQUEST", "Request", "request", "rEqUeSt"])
    def test_case_does_not_matter(self, name):
        assert Performative(name) is Performative.REQUEST
        assert AclMessage(performative=name).performative is Performative.REQUEST

    @pytest.mark.parametrize(
        "name", ["inform-done", "inform-result", "bid", "", " request", "REQUESTS", None, 1]
    )
    def test_nothing_else_is_an_act(self, name):
        with pytest.raises(ValueError, match="not a valid Performative"):
            Performative(name)
        with pytest.raises(ValidationError):
            AclMessage(performative=name)


class TestParameters:
    def test_the_thirteen_of_fipa_and_our_own(self):
        assert list(AclMessage.model_fields) == [*PARAMETERS, "user_parameters"]
        assert len(PARAMETERS) == 13

    def test_only_the_performative_is_needed(self):
        message = AclMessage(performative="inform")
        assert {name for name in PARAMETERS if getattr(message, name)} == {"performative"}
        with pytest.raises(ValidationError, match="performative"):
            AclMessage()

    def test_there_are_no_others(self):
        with pytest.raises(ValidationError, match="extra"):
            AclMessage(performative="inform", subject="weather")

    @pytest.mark.parametrize("name", PARAMETERS)
    def test_none_of_them_changes(self, name):
        message = AclMessage(performative="inform")
        with pytest.raises(ValidationError, match="frozen"):
            setattr(message, name, None)

    def test_user_parameters_do_not_change_either(self):
        given_ones = {"X-Trace": "1"}
        message = AclMessage(performative="inform", user_parameters=given_ones)
        given_ones["X-Trace"] = "2"
        assert message.user_parameters == {"X-Trace": "1"}
        with pytest.raises(TypeError):
            message.user_parameters["X-Trace"] = "3"

    @pytest.mark.parametrize(
        "name",
        ["language", "encoding", "ontology", "protocol", "conversation_id", "reply_with", "in_reply_to"],
    )
    @pytest.mark.parametrize("value", ["", "x" * 1025, 5, ["x"]])
    def test_a_token_is_a_short_text(self, name, value):
        with pytest.raises(ValidationError, match=name):
            AclMessage(performative="inform", **{"conversation_id": "c1", name: value})

    @pytest.mark.parametrize("name", ["X-a", "X-Trace-Id", "X-1", "X-a.b_c"])
    def test_user_parameters_start_with_x(self, name):
        assert AclMessage(performative="inform", user_parameters={name: ""}).user_parameters == {name: ""}

    @pytest.mark.parametrize("name", ["trace", "x-a", "X-", "X--", "X-a b", "X-a\n", "Xa", "", "X-ä"])
    def test_no_other_name_is_a_user_parameter(self, name):
        with pytest.raises(ValidationError, match=r"X-\.\.\., not"):
            AclMessage(performative="inform", user_parameters={name: "1"})

    def test_a_protocol_needs_a_conversation_id(self):
        with pytest.raises(ValidationError, match="needs a conversation-id"):
            AclMessage(performative="request", protocol="fipa-request")
        AclMessage(performative="request", protocol="fipa-request", conversation_id="c1")

    def test_a_receiver_is_named_once(self):
        full = AgentIdentifier.of("ann@example.org/desk")
        message = AclMessage(performative="inform", receiver=(ANN, BOB, full), reply_to=(BOB, BOB))
        assert [agent.name for agent in message.receiver] == [ANN.name, BOB.name]
        assert message.reply_to == (BOB,)

    def test_reply_by_is_kept_in_utc(self):
        east = datetime(2026, 11, 20, 9, tzinfo=timezone(timedelta(hours=2)))
        message = AclMessage(performative="inform", reply_by=east)
        assert message.reply_by == east
        assert message.reply_by.tzinfo is UTC

    @pytest.mark.parametrize(
        ("reply_by", "told"),
        [
            (datetime(2026, 11, 20, 9), "needs a time zone"),  # noqa: DTZ001 - that is the point
            ("2026-11-20T09:00:00", "needs a time zone"),
            ("soon", "valid datetime"),
            ("0001-01-01T00:00:00+14:00", "beyond the calendar"),
            (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "beyond the calendar"),
        ],
    )
    def test_a_time_that_means_nothing_elsewhere(self, reply_by, told):
        with pytest.raises(ValidationError, match=told):
            AclMessage(performative="inform", reply_by=reply_by)


@EXAMPLES
@given(messages())
def test_equal_messages_have_one_hash_and_copies_are_equal(message):
    again = AclMessage.model_validate(message.model_dump())
    assert again == message
    assert hash(again) == hash(message)
    assert copy.deepcopy(message) == message
    assert AclMessage.model_validate_json(message.model_dump_json()) == message


def test_a_fact_that_holds_a_message_can_be_taken_apart():
    @dataclass
    class Fact:
        message: AclMessage

    message = AclMessage(performative="inform", user_parameters={"X-a": "1"})
    assert asdict(Fact(message)) == {"message": message}, "asdict copies deeply"


class TestReply:
    asked = AclMessage(
        performative="request",
        sender=ANN,
        receiver=(BOB,),
        content='{"train":{}}',
        language="json",
        encoding="utf-8",
        ontology="locution-learning/1.0",
        protocol="fipa-request",
        conversation_id="c1",
        reply_with="r1",
        in_reply_to="r0",
        reply_by=datetime(2026, 11, 20, tzinfo=UTC),
        user_parameters={"X-Trace": "1"},
    )

    def test_the_conversation_goes_on(self):
        answer = self.asked.reply(Performative.AGREE)
        assert answer == AclMessage(
            performative="agree",
            receiver=(ANN,),
            language="json",
            encoding="utf-8",
            ontology="locution-learning/1.0",
            protocol="fipa-request",
            conversation_id="c1",
            in_reply_to="r1",
        )

    def test_what_a_parameter_says_goes_before_what_is_kept(self):
        answer = self.asked.reply(Performative.INFORM, ontology="other", receiver=(CLERK,), content="x")
        assert (answer.ontology, answer.receiver, answer.content) == ("other", (CLERK,), "x")

    def test_reply_to_goes_before_the_sender(self):
        answer = self.asked.model_copy(update={"reply_to": (CLERK, BOB)}).reply(Performative.AGREE)
        assert answer.receiver == (CLERK, BOB)

    def test_nobody_to_answer(self):
        with pytest.raises(ValueError, match="nobody can be answered"):
            AclMessage(performative="inform").reply(Performative.AGREE)
        assert AclMessage(performative="inform").reply(Performative.AGREE, receiver=(ANN,)).receiver == (ANN,)

    @EXAMPLES
    @given(
        messages().filter(lambda each: each.sender or each.reply_to), st.sampled_from(Performative), filled
    )
    def test_of_any_message(self, message, act, content):
        answer = message.reply(act, content=content)
        assert (answer.performative, answer.content) == (act, content)
        assert answer.receiver == (message.reply_to or (message.sender,))
        assert answer.in_reply_to == message.reply_with
        for kept in ("language", "encoding", "ontology", "protocol", "conversation_id"):
            assert getattr(answer, kept) == getattr(message, kept)
        assert answer.sender is None
        assert answer.reply_with is None
        assert answer.reply_by is None
        assert answer.reply_to == ()
        assert not answer.user_parameters
        assert message.reply(act).content is None, "the content is never copied"
