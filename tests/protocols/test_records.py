"""A conversation written down: it goes on after a restart exactly where it was."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import machine
from protocols.errors import ProtocolError
from protocols.machine import Conversation
from protocols.registry import PROTOCOLS, TABLES
from protocols.table import CANCELLING, META_TERMINAL, PARTIES, Role
from tests.protocols.laws import ACTS
from tests.protocols.profile import EXAMPLES
from tests.protocols.samples import NOW, SECOND, at, said

REACHABLE = [
    (protocol, state, resume)
    for protocol in TABLES
    for state in sorted(protocol.states | META_TERMINAL | {CANCELLING})
    for resume in (sorted(protocol.states - {protocol.start}) if state == CANCELLING else [None])
]

# Whole minutes, as ISO 8601 has them.
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(timezones=st.one_of(st.just(UTC), zones))
names = st.text(min_size=1, max_size=30)


@st.composite
def conversations(draw) -> Conversation:
    protocol, state, resume = draw(st.sampled_from(REACHABLE))
    return Conversation(
        protocol=protocol.name,
        conversation_id=draw(names),
        role=draw(st.sampled_from(PARTIES)),
        peer=draw(names),
        state=state,
        last_speaker=draw(st.sampled_from(PARTIES)),
        opened=draw(moments),
        deadline=draw(st.none() | moments),
        awaited=draw(st.none() | names),
        resume=resume,
        resume_deadline=draw(st.none() | moments),
        cancelled_with=draw(st.none() | names),
    )


@EXAMPLES
@given(conversations())
def test_what_is_written_is_read(conversation):
    text = conversation.to_json()
    again = Conversation.from_json(text)
    assert again == conversation
    assert again.to_json() == text
    assert isinstance(again.role, Role)
    assert isinstance(again.last_speaker, Role)


@pytest.mark.parametrize("role", PARTIES)
def test_a_restart_changes_nothing_about_what_may_follow(role):
    for protocol, state, resume in REACHABLE:
        before = at(protocol, state, role, resume=resume, deadline=NOW, cancelled_with="x", awaited="y")
        again = Conversation.from_json(before.to_json())
        assert machine.expire(protocol, again, NOW) == machine.expire(protocol, before, NOW)
        for act in ACTS:
            assert answers(protocol, again, act) == answers(protocol, before, act)


def answers(protocol, conversation, act) -> list[object]:
    found: list[object] = []
    for take, message in (
        (machine.say, said(act, kind="done")),
        (machine.receive, said(act, conversation.role.other, "done", in_reply_to="x")),
    ):
        try:
            found.append(take(protocol, conversation, message))
        except ProtocolError as error:
            found.append(repr(error))
    return found


def test_the_form_is_plain_and_has_a_version():
    record = json.loads(at(PROTOCOLS["fipa-request"], "S1", Role.INITIATOR, deadline=NOW).to_json())
    assert record == {
        "v": 1,
        "protocol": "fipa-request",
        "conversation_id": "c1",
        "role": "initiator",
        "peer": "bob@example.org",
        "state": "S1",
        "last_speaker": "initiator",
        "opened": "2026-11-20T07:06:34+00:00",
        "deadline": "2026-11-20T07:06:34+00:00",
        "awaited": None,
        "resume": None,
        "resume_deadline": None,
        "cancelled_with": None,
    }


GOOD = json.loads(at(PROTOCOLS["fipa-request"], "S1", Role.PARTICIPANT, deadline=NOW + SECOND).to_json())


@pytest.mark.parametrize("version", [0, 2, 99, "2", None])
def test_another_version_is_refused_by_name(version):
    with pytest.raises(ValueError, match=f"written in form {version}, and form 1 is read"):
        Conversation.from_json(json.dumps({**GOOD, "v": version}))


@pytest.mark.parametrize("name", [name for name, value in GOOD.items() if value is not None])
def test_a_record_that_lacks_something_is_refused(name):
    record = {each: value for each, value in GOOD.items() if each != name}
    if name == "deadline":
        assert Conversation.from_json(json.dumps(record)).deadline is None, "what is optional may lack"
        return
    with pytest.raises(ValueError, match=r"written"):
        Conversation.from_json(json.dumps(record))


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "null", "1", '"c1"', "[]", "{}", "[[", "[" * 100_000,
        json.dumps({**GOOD, "opened": 5}), json.dumps({**GOOD, "opened": "yesterday"}),
        json.dumps({**GOOD, "opened": None}), json.dumps({**GOOD, "role": "broker"}),
        json.dumps({**GOOD, "role": []}), json.dumps({**GOOD, "colour": "red"}), json.dumps([GOOD]),
    ],
    ids=range(16),
)  # fmt: skip
def test_what_is_no_conversation_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".") as caught:
        Conversation.from_json(text)
    assert len(str(caught.value)) < 200


@EXAMPLES
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5), st.data())
def test_one_spoilt_field_is_a_value_error_or_a_conversation(value, data):
    name = data.draw(st.sampled_from(sorted(GOOD)))
    with contextlib.suppress(ValueError):
        Conversation.from_json(json.dumps({**GOOD, name: value}))
