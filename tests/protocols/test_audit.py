"""Recorded conversations, and who broke which rule in them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from protocols import machine
from protocols.audit import audit
from protocols.findings import Rule
from protocols.registry import TABLES
from protocols.table import PARTIES, Role
from protocols.traces import Entry, ordered, read, write
from tests.protocols.pair import ConversationPair
from tests.protocols.samples import CONTENTS, EACH_TABLE, NOW

I, P, T = Role  # noqa: E741 - the specification's letters


class Recorder:
    """A trace as it is written: line after line, a second apart unless told otherwise."""

    def __init__(self, protocol: str | None = "fipa-request") -> None:
        self.protocol, self.entries, self.now = protocol, [], NOW

    def __call__(self, sender: str, act: str, to: str, after: float = 1.0, kind: str = "none", **parameters):
        self.now += timedelta(seconds=after)
        fields = {"protocol": self.protocol, "conversation_id": "c1", **parameters}
        protocol = fields.pop("protocol")
        message = AclMessage(
            performative=act,
            sender=AgentIdentifier.of(f"{sender}@example.org"),
            receiver=tuple(AgentIdentifier.of(f"{each}@example.org") for each in to.split()),
            content=CONTENTS[kind],
            **fields,
        ).model_copy(update={"protocol": protocol})
        self.entries.append(Entry(line=len(self.entries) + 1, time=self.now, message=message))
        return self

    def by(self, seconds: float):
        return self.now + timedelta(seconds=seconds)

    @property
    def found(self) -> list[tuple[int, str, str]]:
        return [
            (each.line, each.agent.partition("@")[0], each.rule.value)
            for each in audit(self.entries)
            if not each.is_note
        ]

    @property
    def told(self) -> list[str]:
        return [each.sentence for each in audit(self.entries)]


@pytest.fixture
def trace() -> Recorder:
    return Recorder()


def test_nothing_was_said():
    assert audit([]) == []


def test_a_request_as_it_should_be(trace):
    trace("ann", "request", "bob", reply_with="r1", reply_by=trace.by(10))
    trace("bob", "agree", "ann", in_reply_to="r1")
    trace("bob", "inform", "ann", in_reply_to="r1", kind="result")
    assert trace.told == []


def test_one_call_to_many_under_one_id():
    trace = Recorder("fipa-contract-net")
    trace("ann", "cfp", "bob cid dan", reply_with="call", reply_by=trace.by(10))
    trace("bob", "propose", "ann", in_reply_to="call", reply_with="b")
    trace("cid", "propose", "ann", in_reply_to="call", reply_with="c")
    trace("dan", "refuse", "ann", in_reply_to="call")
    trace("ann", "accept-proposal", "bob", in_reply_to="b", reply_with="award")
    trace("ann", "reject-proposal", "cid", in_reply_to="c")
    trace("bob", "inform", "ann", in_reply_to="award", kind="done")
    assert trace.told == []


class TestSequence:
    def test_an_act_that_the_protocol_does_not_have(self, trace):
        trace("ann", "request", "bob")("bob", "propose", "ann")
        assert trace.found == [(2, "bob", "out-of-sequence")]
        assert trace.told[0] == (
            "bob@example.org (participant) broke the sequence: propose from the participant "
            "is out of sequence in state S1 of fipa-request (out-of-sequence in fipa-request)"
        )

    def test_the_wrong_side(self, trace):
        trace("ann", "request", "bob")("ann", "agree", "bob")
        assert trace.found == [(2, "ann", "out-of-sequence")]

    def test_after_the_end(self, trace):
        trace("ann", "request", "bob")("bob", "refuse", "ann")("bob", "inform", "ann")
        assert trace.found == [(3, "bob", "after-the-end")]

    def test_a_broken_rule_changes_nothing(self, trace):
        trace("ann", "request", "bob")("bob", "propose", "ann")("bob", "agree", "ann")("bob", "inform", "ann")
        assert trace.found == [(2, "bob", "out-of-sequence")]

    def test_the_complaint_about_it_is_none(self, trace):
        trace("ann", "request", "bob", reply_with="r")("bob", "agree", "ann", in_reply_to="r")
        trace("ann", "confirm", "bob", reply_with="x")("bob", "not-understood", "ann", in_reply_to="x")
        assert trace.found == [(3, "ann", "out-of-sequence")]

    def test_another_protocol_in_the_same_conversation(self, trace):
        trace("ann", "request", "bob")("bob", "agree", "ann", protocol="fipa-query")
        assert trace.found == [(2, "bob", "out-of-sequence")]

    def test_both_spellings_of_an_auction_are_one_protocol(self):
        trace = Recorder("fipa-auction-english")
        trace("ann", "inform", "bob")("ann", "cfp", "bob")
        trace("bob", "propose", "ann", protocol="fipa-english-auction")
        assert trace.found == []

    def test_a_request_that_names_no_protocol_is_one_of_fipa_request(self):
        trace = Recorder(None)
        trace("ann", "request", "bob")("bob", "agree", "ann")("bob", "agree", "ann")
        assert trace.found == [(3, "bob", "out-of-sequence")]

    def test_an_agent_may_speak_with_itself(self, trace):
        trace("ann", "request", "ann")("ann", "agree", "ann")("ann", "inform", "ann")
        assert trace.told == []
        trace("ann", "inform", "ann")
        assert trace.found == [(4, "ann", "after-the-end")]


class TestCrossing:
    """What was on the way when somebody spoke cannot be held against them."""

    def test_a_cancel_and_the_result(self, trace):
        trace("ann", "request", "bob", reply_with="r")("bob", "agree", "ann", in_reply_to="r")
        trace("bob", "inform", "ann", in_reply_to="r", kind="result")
        trace("ann", "cancel", "bob", 0.1, reply_with="x")("bob", "failure", "ann", in_reply_to="x")
        assert trace.told == []

    def test_but_not_for_ever(self, trace):
        trace("ann", "request", "bob", reply_with="r")("bob", "inform", "ann", in_reply_to="r", kind="result")
        trace("ann", "cancel", "bob", 60, reply_with="x")
        assert trace.found == [(3, "ann", "after-the-end")]

    def test_whoever_answers_a_message_has_heard_it(self):
        trace = Recorder("fipa-contract-net")
        trace("ann", "cfp", "bob", reply_with="c")(
            "bob", "refuse", "ann", 0.1, in_reply_to="c", reply_with="no"
        )
        trace("ann", "accept-proposal", "bob", 0.1, in_reply_to="no")
        assert trace.found == [(3, "ann", "after-the-end")]

    def test_a_bid_and_the_next_round(self):
        trace = Recorder("fipa-english-auction")
        trace("ann", "inform", "bob")("ann", "cfp", "bob", reply_with="1")
        trace("ann", "cfp", "bob", reply_with="2")("bob", "propose", "ann", 0.1, in_reply_to="1")
        trace("bob", "propose", "ann", in_reply_to="2", reply_with="b")(
            "ann", "reject-proposal", "bob", in_reply_to="b"
        )
        trace("ann", "inform", "bob")
        assert trace.told == []

    def test_notifications_and_the_cancel(self):
        trace = Recorder("fipa-subscribe")
        trace("ann", "subscribe", "bob", reply_with="s")
        for number in range(300):
            trace("bob", "inform", "ann", in_reply_to="s", reply_with=f"n{number}", kind="result")
        trace("ann", "cancel", "bob", 0.1, in_reply_to="n298", reply_with="x")
        trace("bob", "inform", "ann", 0.1, in_reply_to="s", kind="result")
        trace("bob", "inform", "ann", in_reply_to="x", kind="done")
        assert trace.told == []


class TestIdentity:
    def test_a_protocol_without_a_conversation_id(self, trace):
        trace("ann", "request", "bob", conversation_id=None)
        assert trace.found == [(1, "ann", "missing-conversation-id")]

    def test_an_answer_without_its_conversation_id(self, trace):
        trace("ann", "request", "bob", reply_with="r")
        trace("bob", "agree", "ann", in_reply_to="r", conversation_id=None, protocol=None)
        assert trace.found == [(2, "bob", "missing-conversation-id")]

    def test_a_message_outside_of_any_protocol_breaks_none(self):
        trace = Recorder(None)
        trace("ann", "inform", "bob", conversation_id=None)("bob", "inform", "ann")("ann", "confirm", "bob")
        assert trace.told == []

    def test_a_conversation_id_that_was_used_before(self, trace):
        trace("ann", "request", "bob")("bob", "refuse", "ann")("ann", "request", "bob")(
            "bob", "refuse", "ann"
        )
        assert trace.found == [(3, "ann", "reused-conversation-id")]

    def test_of_somebody_else(self, trace):
        trace("ann", "request", "bob")("bob", "refuse", "ann")("eve", "request", "dan")(
            "dan", "refuse", "eve"
        )
        assert trace.found == [(3, "eve", "reused-conversation-id")]

    def test_for_another_protocol(self, trace):
        trace("ann", "request", "bob")("bob", "refuse", "ann")
        trace("ann", "query-ref", "bob", protocol="fipa-query")("bob", "refuse", "ann", protocol="fipa-query")
        assert trace.found == [(3, "ann", "reused-conversation-id")]

    def test_while_it_is_live(self, trace):
        trace("ann", "request", "bob")("ann", "request", "bob")("bob", "agree", "ann")("bob", "inform", "ann")
        assert trace.found == [(2, "ann", "reused-conversation-id")]

    def test_a_conversation_that_nobody_opened(self, trace):
        trace("bob", "agree", "ann")("ann", "request", "dan", conversation_id="c2")
        assert trace.found == [(1, "bob", "reply-to-nobody")]
        assert "said agree in conversation 'c1', which nobody opened" in trace.told[0]

    def test_an_act_that_opens_nothing(self, trace):
        trace("ann", "query-if", "bob", reply_with="q")("bob", "not-understood", "ann", in_reply_to="q")
        assert trace.found == [(1, "ann", "out-of-sequence")]
        assert "said query-if in conversation 'c1', and that opens none of fipa-request" in trace.told[0]

    def test_an_answer_to_another_conversation(self, trace):
        trace("ann", "request", "bob", reply_with="r1")
        trace("ann", "request", "bob", reply_with="r2", conversation_id="c2")
        trace("bob", "agree", "ann", in_reply_to="r2")
        assert trace.found == [(3, "bob", "foreign-in-reply-to")]
        assert any("in reply to 'r2', which is line 2, of conversation 'c2'" in each for each in trace.told)

    def test_an_answer_to_no_message(self, trace):
        trace("ann", "request", "bob", reply_with="r1")("bob", "agree", "ann", in_reply_to="r9")
        assert trace.found == [(2, "bob", "foreign-in-reply-to")]

    def test_an_answer_to_what_was_said_to_another(self):
        trace = Recorder("fipa-contract-net")
        trace("ann", "cfp", "bob", reply_with="b")("ann", "cfp", "cid", reply_with="c")
        trace("cid", "propose", "ann", in_reply_to="b")
        assert trace.found == [(3, "cid", "foreign-in-reply-to")]

    def test_a_protocol_that_is_none(self):
        trace = Recorder("fipa-dance")
        trace("ann", "request", "bob", reply_with="r")("bob", "not-understood", "ann", in_reply_to="r")
        assert trace.found == [(1, "ann", "unknown-protocol")]


class TestNotUnderstood:
    def test_it_ends_the_conversation(self, trace):
        trace("ann", "request", "bob", reply_with="r")("bob", "not-understood", "ann", in_reply_to="r")
        assert trace.told == []

    def test_whoever_answers_it_is_told(self, trace):
        trace("ann", "request", "bob", reply_with="r")
        trace("bob", "not-understood", "ann", in_reply_to="r", reply_with="n")
        trace("ann", "not-understood", "bob", in_reply_to="n")
        assert trace.found == [(3, "ann", "answer-to-not-understood")]

    def test_also_without_names(self, trace):
        trace("ann", "request", "bob")("bob", "not-understood", "ann")("ann", "not-understood", "bob")
        assert trace.found == [(3, "ann", "answer-to-not-understood")]


class TestTime:
    def test_no_answer(self, trace):
        trace("ann", "request", "bob", reply_by=trace.by(5))
        assert trace.found == [], "the trace ends before the deadline"
        trace("ann", "inform", "bob", 60, protocol=None, conversation_id=None)
        assert trace.found == [(1, "bob", "unanswered")]
        assert "bob@example.org (participant) has not answered the request by its reply-by" in trace.told[0]

    def test_a_late_answer(self, trace):
        trace("ann", "request", "bob", reply_by=trace.by(5))("bob", "agree", "ann", 60)(
            "bob", "inform", "ann", 60
        )
        assert trace.found == [(2, "bob", "unanswered")]

    def test_a_late_proposal_is_turned_down_and_that_is_in_order(self):
        trace = Recorder("fipa-contract-net")
        trace("ann", "cfp", "bob", reply_by=trace.by(5))("bob", "propose", "ann", 60)
        trace("ann", "reject-proposal", "bob")
        assert trace.found == [(2, "bob", "unanswered")]

    def test_a_manager_that_does_not_decide(self):
        trace = Recorder("fipa-contract-net")
        trace("ann", "cfp", "bob")("bob", "propose", "ann", reply_by=trace.by(5))
        trace("ann", "inform", "bob", 60, protocol=None, conversation_id=None)
        assert trace.found == [(2, "ann", "unanswered")]

    def test_silence_is_no_bid(self):
        trace = Recorder("fipa-dutch-auction")
        trace("ann", "inform", "bob")("ann", "cfp", "bob", reply_by=trace.by(5))("ann", "inform", "bob", 60)
        assert trace.told == []

    def test_what_was_cancelled_needs_no_answer(self, trace):
        trace("ann", "request", "bob", reply_by=trace.by(5), reply_with="r")(
            "ann", "cancel", "bob", reply_with="x"
        )
        trace("bob", "inform", "ann", 60, in_reply_to="x", kind="done")
        assert trace.told == []

    def test_what_did_not_arrive_is_nobodys_fault(self, trace):
        trace("ann", "request", "bob", reply_by=trace.by(5), reply_with="r")
        trace("ams", "failure", "ann", in_reply_to="r")
        trace("ann", "inform", "bob", 60, protocol=None, conversation_id=None)
        assert trace.told == []

    def test_what_never_ends_is_a_note(self, trace):
        trace("ann", "request", "bob")("bob", "agree", "ann")
        (note,) = audit(trace.entries)
        assert note.is_note
        assert (note.rule, note.line) == (Rule.NEVER_ENDED, 2)
        assert note.sentence == (
            "bob@example.org (participant) had the last word in conversation 'c1' of fipa-request, "
            "which never ended"
        )


class TestClocks:
    """Two processes that write to one trace."""

    def test_an_answer_that_was_written_down_before_the_question(self, trace):
        trace("bob", "agree", "ann", in_reply_to="r")("bob", "inform", "ann", 0.001, in_reply_to="r")
        trace("ann", "request", "bob", 0.001, reply_with="r", reply_by=trace.by(5))
        assert trace.told == []
        assert [each.line for each in ordered(trace.entries)] == [3, 1, 2]

    def test_what_its_sender_said_before_goes_along(self):
        trace = Recorder("fipa-contract-net")
        trace("ann", "cfp", "bob", reply_with="c")(
            "ann", "accept-proposal", "bob", in_reply_to="p", reply_with="a"
        )
        trace("bob", "propose", "ann", 0.001, in_reply_to="c", reply_with="p")
        trace("bob", "inform", "ann", 0.001, in_reply_to="a")
        assert trace.told == []

    def test_an_answer_long_before_the_question_is_none(self, trace):
        trace("bob", "agree", "ann", in_reply_to="r")("ann", "request", "bob", 60, reply_with="r")
        assert trace.found == [(1, "bob", "reply-to-nobody")]

    def test_two_that_answer_each_other_are_taken_as_they_come(self, trace):
        trace("bob", "agree", "ann", 0, in_reply_to="r", reply_with="s")
        trace("ann", "request", "bob", 0, in_reply_to="s", reply_with="r")
        assert len(ordered(trace.entries)) == 2


class TestHalfOfIt:
    """Agents of another process, or of another make, are not in the trace."""

    def test_whoever_answers_one_that_is_not_recorded_is_not_to_blame(self, trace):
        trace("bob", "agree", "ann", in_reply_to="r")("bob", "inform", "ann", in_reply_to="r")
        trace("bob", "inform", "eve", conversation_id="c2")
        assert trace.found == []
        assert trace.told == [
            f"bob@example.org speaks with {name}@example.org, of whom nothing is recorded: "
            "what that explains is not judged"
            for name in ("ann", "eve")
        ]

    def test_nor_a_manager_that_awards_what_was_proposed_elsewhere(self):
        trace = Recorder("fipa-contract-net")
        trace("ann", "cfp", "bob", reply_by=trace.by(5))("ann", "accept-proposal", "bob", in_reply_to="b")
        trace("ann", "cancel", "bob", 60)
        assert trace.found == []

    def test_what_is_never_theirs_to_say_is_a_finding_all_the_same(self):
        trace = Recorder("fipa-contract-net")
        trace("ann", "cfp", "bob")("ann", "propose", "bob")("dan", "cancel", "eve", conversation_id="c2")
        trace("dan", "confirm", "eve", conversation_id="c3")
        assert trace.found == [(2, "ann", "out-of-sequence"), (4, "dan", "out-of-sequence")]


class TestRecruiting:
    def test_targets_reply_to_the_initiator_under_the_proxys_id(self):
        trace = Recorder("fipa-recruiting")
        trace("ann", "proxy", "bob", reply_with="p")("bob", "agree", "ann", in_reply_to="p")
        trace("bob", "request", "tim", protocol="fipa-request", reply_with="p")
        trace("tim", "inform", "ann", protocol="fipa-request", in_reply_to="p", kind="result")
        trace("bob", "inform", "ann", in_reply_to="p", kind="done")
        assert trace.told == []


ACTS = ("propose", "accept-proposal", "confirm", "agree")


@EACH_TABLE
def test_an_orderly_conversation_breaks_no_rule(protocol):
    pair = ConversationPair(protocol)
    pair.open(3600)
    pair.settle()
    assert audit(pair.recorded()) == []


@EACH_TABLE
@pytest.mark.parametrize("role", PARTIES)
def test_each_illegal_act_is_told_and_its_speaker_blamed(protocol, role):
    """At every state of an orderly conversation, whatever the speaker may not say is a finding about it."""
    tried = 0
    for steps in range(4):
        pair = ConversationPair(protocol)
        pair.open(3600)
        pair.deliver_all()
        for _ in range(steps):
            pair.take_a_turn()
        for act in ACTS:
            end = pair.ends[role]
            if end.conversation is None or act in {name for name, _kind, _cancel in pair.choices(role)}:
                continue
            bad = pair.would_say(role, act)
            opens = protocol.opens_with(bad.performative)
            entries = [
                Entry(line=0, time=NOW, message=pair.remark(role.other)),
                *pair.recorded(),
                Entry(line=99, time=NOW + timedelta(minutes=5), message=bad),
            ]
            (found,) = [each for each in audit(entries) if not each.is_note and each.line == 99]
            assert found.agent == pair.name(role)
            assert found.rule in (
                {Rule.REUSED_CONVERSATION_ID} if opens else {Rule.OUT_OF_SEQUENCE, Rule.AFTER_THE_END}
            )
            tried += 1
    assert tried > 4


def test_what_is_written_is_read():
    pair = ConversationPair(TABLES[0])
    pair.open(60)
    pair.settle()
    entries = pair.recorded()
    lines = [write(each.time, each.message) for each in entries]
    assert list(read(lines)) == entries
    assert machine.is_over(TABLES[0], pair.ends[I].conversation)
