"""A whole message as JSON, and times as people and FIPA write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontology.acl import AclMessage, Performative
from ontology.acl_xml import ILLEGAL
from ontology.codecs import (
    FORMATS,
    TEXT_PARAMETERS,
    build,
    detect,
    from_json,
    read,
    read_agent,
    read_time,
    to_json,
    to_string,
    write_time,
)
from ontology.errors import Cause, MessageError
from tests.ontology.strategies import EXAMPLES, json_values, messages, moments
from tests.ontology.test_content import clear


def fault(text: str) -> MessageError:
    with pytest.raises(MessageError) as caught:
        from_json(text)
    clear(caught.value)
    return caught.value


@EXAMPLES
@given(messages())
def test_every_message_comes_back(message):
    text = to_json(message)
    again = from_json(text)
    assert again == message
    assert to_json(again) == text


def test_the_form():
    message = AclMessage(
        performative="request",
        sender={"name": "ann@example.org"},
        receiver=[{"name": "bob@example.org"}],
        content='{"done":{}}',
        protocol="fipa-request",
        conversation_id="c1",
        reply_by=datetime(2026, 11, 20, 7, 6, 34, 120_000, tzinfo=UTC),
        user_parameters={"X-Trace": "é"},
    )
    assert json.loads(to_json(message)) == {
        "performative": "request",
        "sender": "ann@example.org",
        "receiver": ["bob@example.org"],
        "protocol": "fipa-request",
        "conversation-id": "c1",
        "reply-by": "2026-11-20T07:06:34.120Z",
        "content": '{"done":{}}',
        "X-Trace": "é",
    }


def test_what_people_write():
    message = from_json(
        '{"performative": "REQUEST", "receiver": "bob@example.org", "language": null, '
        '"content": {"train": {"target": "größe"}}, "X-Try": 2}'
    )
    assert message.performative is Performative.REQUEST
    assert [agent.name for agent in message.receiver] == ["bob@example.org"]
    assert json.loads(message.content) == {"train": {"target": "größe"}}
    assert message.language is None
    assert message.user_parameters == {"X-Try": "2"}


def test_null_content_is_no_content():
    assert from_json('{"performative":"inform","content":null}').content is None


def inform(**parameters: object) -> str:
    return json.dumps({"performative": "inform", **parameters})


DEEP = "[" * 100_000 + "]" * 100_000

BAD = {
    "empty": ("", Cause.UNRECOGNISED_VALUE, "not JSON"),
    "words": ("hello", Cause.UNRECOGNISED_VALUE, "not JSON"),
    "array": ("[]", Cause.UNRECOGNISED_VALUE, "not a JSON object"),
    "deep": (DEEP, Cause.UNRECOGNISED_VALUE, "nested too deeply"),
    "huge integer": ("9" * 5000, Cause.UNRECOGNISED_VALUE, "Exceeds the limit"),
    "NaN": (inform(content=float("nan")), Cause.UNRECOGNISED_VALUE, "NaN is no JSON number"),
    "half a character": (inform(content="\ud800"), Cause.UNRECOGNISED_VALUE, "half of a surrogate pair"),
    "no act": ("{}", Cause.MISSING_PARAMETER, "has no performative"),
    "null act": ('{"performative":null}', Cause.MISSING_PARAMETER, "has no performative"),
    "empty act": ('{"performative":""}', Cause.MISSING_PARAMETER, "has no performative"),
    "unknown act": (
        '{"performative":"inform-done"}',
        Cause.UNSUPPORTED_ACT,
        "'inform-done' is none of the 22 acts",
    ),
    "long act": (json.dumps({"performative": "x" * 99}), Cause.UNSUPPORTED_ACT, "x...' is none"),
    "number for an act": ('{"performative":5}', Cause.UNSUPPORTED_ACT, "'5' is none"),
    "list for an act": ('{"performative":[]}', Cause.UNSUPPORTED_ACT, "'[]' is none"),
    "object for an act": ('{"performative":{}}', Cause.UNSUPPORTED_ACT, "'{}' is none"),
    "unknown parameter": (inform(subject="x"), Cause.UNEXPECTED_PARAMETER, "'subject' is no ACL parameter"),
    "python's name": (inform(conversation_id="x"), Cause.UNEXPECTED_PARAMETER, "'conversation_id' is no ACL"),
    "long parameter": (inform(**{"y" * 99_999: 1}), Cause.UNEXPECTED_PARAMETER, "y...' is no ACL parameter"),
    "number for a token": (inform(language=5), Cause.UNRECOGNISED_PARAMETER_VALUE, "language: "),
    "empty token": (inform(**{"reply-with": ""}), Cause.UNRECOGNISED_PARAMETER_VALUE, "reply-with: "),
    "no JID": (inform(sender="a b"), Cause.UNRECOGNISED_PARAMETER_VALUE, "sender: 'a b' is no agent's name"),
    "object for a JID": (
        inform(receiver=[{}]),
        Cause.UNRECOGNISED_PARAMETER_VALUE,
        "receiver is a JID in quotes",
    ),
    "null for a JID": (inform(sender=None), Cause.UNRECOGNISED_PARAMETER_VALUE, "sender is a JID in quotes"),
    "no time": (
        inform(**{"reply-by": "soon"}),
        Cause.UNRECOGNISED_PARAMETER_VALUE,
        "reply-by 'soon' is no time",
    ),
    "bad X": (inform(**{"X-": "1"}), Cause.UNRECOGNISED_PARAMETER_VALUE, "is named X-..., not 'X-'"),
    "protocol without conversation": (
        inform(protocol="fipa-request"),
        Cause.UNRECOGNISED_PARAMETER_VALUE,
        "needs a conversation-id",
    ),
}


@pytest.mark.parametrize(("text", "cause", "told"), BAD.values(), ids=BAD)
def test_one_sentence_says_why(text, cause, told):
    error = fault(text)
    assert told in error.text
    assert error.cause is cause


@EXAMPLES
@given(st.text(st.characters()))
def test_any_text_is_refused_in_a_sentence(text):
    fault(text)


@EXAMPLES
@given(
    st.dictionaries(
        st.sampled_from([*TEXT_PARAMETERS, "sender", "receiver", "reply-to", "reply-by", "content", "X-a"])
        | st.text(max_size=5),
        json_values,
        max_size=4,
    ),
    st.sampled_from(Performative) | json_values,
)
def test_any_object_is_a_message_or_refused_in_a_sentence(record, performative):
    text = json.dumps({**record, "performative": performative})
    try:
        message = from_json(text)
    except MessageError as error:
        clear(error)
    else:
        assert from_json(to_json(message)) == message


@pytest.mark.parametrize("name", ["content", "X-a", "performative", "language", "reply-by", "receiver"])
def test_any_depth(name):
    """Just below the depth that Python reads, other functions may reach their limit first."""
    too_deep = []
    for depth in (*range(900, 1000, 3), 1500):
        record = {"performative": '"inform"', name: "[" * depth + "]" * depth}
        text = "{" + ",".join(f'"{key}":{value}' for key, value in record.items()) + "}"
        try:
            from_json(text)
        except MessageError as error:
            clear(error)
        except RecursionError:
            too_deep.append(depth)
    assert too_deep == []


def test_build_names_the_first_wrong_parameter():
    with pytest.raises(MessageError, match="conversation-id") as caught:
        build("inform", {"conversation_id": ""})
    assert caught.value.about == "conversation-id"
    assert build("inform", {}).performative is Performative.INFORM


def test_read_agent():
    assert read_agent("sender", "Ann@a.org/desk").name == "ann@a.org"
    with pytest.raises(MessageError, match="reply-to: '' is no agent's name"):
        read_agent("reply-to", "")


class TestForms:
    @EXAMPLES
    @given(messages(), st.sampled_from(sorted(FORMATS)), st.sampled_from(["", " ", "\n\t"]))
    def test_every_message_comes_back_from_every_form_by_what_it_begins_with(self, message, form, blank):
        if form == "xml" and ILLEGAL.search(to_string(message)):
            return
        text = FORMATS[form].write(message)
        assert detect(blank + text) == form
        assert read(blank + text) == message
        assert read(text + blank) == message

    def test_what_is_in_no_form_is_refused_in_a_sentence(self):
        for text in ("", " ", "hello", "[]", "\ud800", "x" * 10_000, "\x00("):
            with pytest.raises(MessageError, match=r"begins with \{ in JSON, with \( in FIPA00070") as caught:
                read(text)
            clear(caught.value)
            assert caught.value.cause is Cause.UNRECOGNISED_VALUE

    @EXAMPLES
    @given(st.text(st.characters()))
    def test_any_text_is_a_message_or_refused_in_a_sentence(self, text):
        try:
            read(text)
        except MessageError as error:
            clear(error)

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_relative_time_counts_from_now_in_every_form(self, form):
        now = datetime(2026, 11, 20, 7, 6, 34, tzinfo=UTC)
        message = AclMessage(performative="inform", reply_by=now)
        relative = FORMATS[form].write(message)
        for written in ("20261120T070634000Z", "2026-11-20T07:06:34.000Z"):
            relative = relative.replace(written, "+00000000T000010000")
        assert read(relative, now).reply_by == now + timedelta(seconds=10)
        with pytest.raises(MessageError, match="is relative, and here is no clock"):
            read(relative)


class TestTime:
    moment = datetime(2026, 11, 20, 7, 6, 34, 120_000, tzinfo=UTC)

    @pytest.mark.parametrize(
        "text",
        [
            "2026-11-20T07:06:34.120Z",
            "2026-11-20T07:06:34.120",
            " 2026-11-20 07:06:34.12+00:00 ",
            "2026-11-20T09:06:34.120+02:00",
            "20261120T070634120Z",  # FIPA00070
            "20261120T070634120",
            "20261120T070634120z",
            "20261120t070634120Z",
        ],
    )
    def test_forms(self, text):
        assert read_time(text) == self.moment
        assert read_time(text).tzinfo is UTC

    def test_written_in_utc_with_milliseconds(self):
        assert write_time(self.moment) == "2026-11-20T07:06:34.120Z"
        east = self.moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
        assert write_time(east) == "2026-11-20T07:06:34.120Z"

    @EXAMPLES
    @given(moments)
    def test_what_is_written_is_read_to_the_millisecond(self, moment):
        assert timedelta(0) <= moment - read_time(write_time(moment)) < timedelta(milliseconds=1)

    @pytest.mark.parametrize(
        "text",
        [
            "", "soon", "12", "Z", "x" * 10_000, "20261320T070634120Z", "2026-02-30T00:00:00Z",
            "\u00b20261120T070634120Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00",
            "2026-11-20T07:06:34\n:1",
        ],
    )  # fmt: skip
    def test_no_time(self, text):
        with pytest.raises(MessageError, match=r"is no time; write e\.g\.") as caught:
            read_time(text)
        clear(caught.value)
        assert caught.value.about == "reply-by"

    @EXAMPLES
    @given(st.text(st.characters(), max_size=30) | st.text("0123456789-:TZ+. ", max_size=30))
    def test_any_text_is_a_time_or_refused_in_a_sentence(self, text):
        try:
            assert read_time(text).tzinfo is UTC
        except MessageError as error:
            clear(error)
