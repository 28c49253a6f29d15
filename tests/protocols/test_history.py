"""A conversation's history leads to where the conversation stands, written down and read again."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontology.acl import AclMessage
from ontology.content import Reason
from ontology.errors import Cause
from protocols import history, machine
from protocols.history import (
    Event,
    Happened,
    Heard,
    HistoryError,
    Opened,
    Passed,
    Said,
    Waits,
    WasLost,
    read,
    replayed,
    write,
)
from protocols.registry import PROTOCOLS, TABLES
from protocols.table import PARTIES, Protocol, Role
from tests.protocols.pair import ConversationPair, End
from tests.protocols.profile import EXAMPLES
from tests.protocols.samples import NAME, NOW, SECOND, said

REQUEST = PROTOCOLS["fipa-request"]
REASON = Reason(cause=Cause.VANISHED, text="bob has left")


class Recorded(ConversationPair):
    """A pair of which each end writes its history down."""

    def __init__(self, protocol: Protocol) -> None:
        super().__init__(protocol)
        self.histories: dict[Role, list[Event]] = {role: [] for role in PARTIES}
        self._complains = False

    def _post(self, to: Role, message: AclMessage) -> None:
        super()._post(to, message)
        events = self.histories[to.other]
        if self._complains:
            return
        if not events:
            events.append(self._opening(to.other, message))
        else:
            events.append(Said(message=message))

    def _complain(self, end: End, message: AclMessage) -> None:
        """Beside the conversation, which does not change."""
        self._complains = True
        super()._complain(end, message)
        self._complains = False

    def receive(self, role: Role, message: AclMessage) -> bool:
        is_first = self.ends[role].conversation is None
        fitted = super().receive(role, message)
        if fitted:
            event = self._opening(role, message) if is_first else Heard(message=message, id="m2", at=self.now)
            self.histories[role].append(event)
        return fitted

    def expire(self, role: Role) -> bool:
        moved = super().expire(role)
        if moved:
            self.histories[role].append(Passed(at=self.now))
        return moved

    def lose(self, role: Role) -> None:
        super().lose(role)
        if self.histories[role]:
            self.histories[role].append(WasLost(reason=REASON))

    def let_all_end(self) -> bool:
        states = [each.conversation.state if each.conversation else "" for each in self.ends.values()]
        happened = super().let_all_end()
        if happened:
            for role, state in zip(PARTIES, states, strict=True):
                (event,) = (name for at, name in self.protocol.events if at == state)
                self.histories[role].append(Happened(event=event))
        return happened

    def _opening(self, role: Role, message: AclMessage) -> Opened:
        return Opened(
            protocol=self.protocol.name,
            role=role,
            peer=NAME[role.other].name,
            message=message,
            at=self.now,
            id="m1",
            parent="p",
        )


@pytest.mark.parametrize("protocol", TABLES, ids=lambda each: each.name)
@settings(EXAMPLES, max_examples=60)
@given(data=st.data())
def test_a_history_leads_to_where_the_conversation_stands(protocol, data):
    pair = Recorded(protocol)
    pair.open(within=30.0)
    for _ in range(data.draw(st.integers(0, 12))):
        role = data.draw(st.sampled_from(PARTIES))
        match data.draw(st.sampled_from(["say", "say", "hear", "hear", "wait", "lose", "end"])):
            case "say" if choices := pair.choices(role):
                pair.say(role, data.draw(st.sampled_from(choices)), data.draw(st.none() | st.just(5.0)))
            case "hear" if waiting := pair.ends[role].inbox:
                pair.deliver(role, data.draw(st.integers(0, len(waiting) - 1)))
            case "wait":
                pair.now += timedelta(seconds=data.draw(st.sampled_from([1, 20])))
                pair.expire(role)
            case "lose":
                pair.lose(role)
            case "end":
                pair.let_all_end()
        for each in PARTIES:
            conversation = pair.ends[each].conversation
            if conversation is not None:
                written = [read(write(event)) for event in pair.histories[each]]
                assert written == pair.histories[each]
                assert replayed(protocol, written) == conversation


OPENING = Opened(
    protocol="fipa-request",
    role=Role.INITIATOR,
    peer=NAME[Role.PARTICIPANT].name,
    message=said("request"),
    at=NOW,
)


def test_waiting_for_a_result_sets_the_deadline_and_its_passing_lifts_it():
    agreed = Heard(message=said("agree", Role.PARTICIPANT))
    waits = Waits(deadline=NOW + 60 * SECOND)
    assert replayed(REQUEST, [OPENING, agreed, read(write(waits))]).deadline == NOW + 60 * SECOND
    passed = Passed(at=NOW + 61 * SECOND, ends=False)
    gone_on = replayed(REQUEST, [OPENING, agreed, waits, read(write(passed))])
    assert gone_on.deadline is None
    assert not machine.is_over(REQUEST, gone_on)


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([], "the history is empty"),
        ([Said(message=said("agree"))], "a history begins with its opening"),
        ([OPENING, OPENING], "opens it a second time"),
        ([OPENING, Said(message=said("agree"))], "the history breaks fipa-request: agree"),
        ([OPENING, Happened(event="all-ended")], "the history breaks fipa-request"),
    ],
)
def test_what_cannot_have_happened_is_told(events, why):
    with pytest.raises(HistoryError, match=why):
        replayed(REQUEST, events)


GOOD = json.loads(write(OPENING))


@pytest.mark.parametrize("form", [0, 2, "1", None])
def test_another_form_is_refused_by_name(form):
    with pytest.raises(HistoryError, match=f"written in form {form!r}, and form 1 is read here; update"):
        read(json.dumps({**GOOD, "v": form}))


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "null", "1", "[]", "{", "[" * 100_000,
        json.dumps({"v": 1}), json.dumps({"v": 1, "is": "sung"}), json.dumps({**GOOD, "colour": "red"}),
        json.dumps({**GOOD, "role": "broker"}), json.dumps({**GOOD, "at": "yesterday"}),
        json.dumps({**GOOD, "message": {}}), json.dumps({**GOOD, "message": None}),
        json.dumps({"v": 1, "is": "lost", "reason": {"cause": 5}}), json.dumps({"v": 1, "is": ["said"]}),
    ],
    ids=range(16),
)  # fmt: skip
def test_what_is_no_event_is_refused(text):
    with pytest.raises(HistoryError, match=r".") as caught:
        read(text)
    assert len(str(caught.value)) < 200


def test_every_event_has_a_form():
    assert set(history._KINDS.values()) == set(Event.__args__)
