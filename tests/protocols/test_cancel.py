"""Taking a conversation back: at every live state, and against whatever was under way meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocols import machine
from protocols.brokering import BROKERING
from protocols.contract_net import CONTRACT_NET
from protocols.english_auction import ENGLISH_AUCTION
from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.machine import Conversation
from protocols.registry import TABLES
from protocols.request import REQUEST
from protocols.table import (
    ANY,
    CANCELLED,
    CANCELLING,
    EXPIRED,
    META_TERMINAL,
    NOT_UNDERSTOOD,
    PARTIES,
    Protocol,
    Role,
)
from tests.protocols.by_table import by_table
from tests.protocols.samples import EACH_TABLE, NOW, SECOND, at, last_speaker, live_states, said

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

LIVE = [(each, state) for each in TABLES for state in sorted(live_states(each))]
EACH_ROLE = pytest.mark.parametrize("role", PARTIES)

UNDER_WAY = [
    (protocol, state, act, following)
    for protocol, state in LIVE
    for (source, role, act), following in protocol.transitions.items()
    # While it is cancelling, a not-understood is the answer to the cancel, in auctions and brokering too.
    if source == state and role is P and act != "not-understood"
]


def live(protocol: Protocol, state: str, role: Role, **fields) -> Conversation:
    """A live conversation whose last message of ours was called asked."""
    speaker = last_speaker(protocol, state)
    return at(protocol, state, role, last_speaker=speaker, awaited="asked", **fields)


def step(protocol: Protocol, conversation: Conversation, speaker: Role, act: str, **fields) -> Conversation:
    """The same act, said or received, whichever side of the conversation this is."""
    performative, _slash, kind = act.partition("/")
    act = "confirm" if performative == ANY else performative
    fields = {**fields, "kind": kind} if kind else fields
    if speaker is conversation.role:
        return machine.say(protocol, conversation, said(act, **fields))
    return machine.receive(protocol, conversation, said(act, speaker, **fields))


def cancelling(protocol: Protocol, state: str, role: Role, **fields) -> Conversation:
    return step(protocol, live(protocol, state, role, **fields), I, "cancel", reply_with="cancel")


class TestAtEveryLiveState:
    @by_table(LIVE, PARTIES)
    def test_the_state_is_kept_for_later(self, protocol, state, role):
        moved = cancelling(protocol, state, role)
        assert (moved.state, moved.resume, moved.cancelled_with) == (CANCELLING, state, "cancel")
        assert moved.awaited == "asked", "the request still awaits its answer"
        assert not machine.is_over(protocol, moved)

    @by_table(LIVE, PARTIES, ["cancel", None])
    def test_done(self, protocol, state, role, in_reply_to):
        moved = step(
            protocol, cancelling(protocol, state, role), P, "inform", kind="done", in_reply_to=in_reply_to
        )
        assert (moved.state, moved.resume, moved.cancelled_with) == (CANCELLED, None, None)
        assert machine.is_over(protocol, moved)

    @by_table(LIVE, PARTIES, ["cancel", None])
    def test_failure_goes_on_as_if_nothing_had_been_said(self, protocol, state, role, in_reply_to):
        before = live(protocol, state, role, deadline=NOW)
        moved = step(protocol, before, I, "cancel", reply_with="cancel", reply_by=NOW - SECOND)
        resumed = step(protocol, moved, P, "failure", in_reply_to=in_reply_to, reply_with="sorry")
        waits = role is P or protocol.awaits(state, P) or protocol.awaits(state, Role.TARGET)
        limit = before.deadline if waits else None
        assert resumed == replace(before, deadline=limit)

    @by_table(LIVE, PARTIES)
    def test_after_a_failure_it_may_be_cancelled_again(self, protocol, state, role):
        resumed = step(protocol, cancelling(protocol, state, role), P, "failure", in_reply_to="cancel")
        again = step(protocol, resumed, I, "cancel", reply_with="again")
        assert (again.state, again.cancelled_with) == (CANCELLING, "again")
        assert step(protocol, again, P, "inform", kind="done", in_reply_to="again").state == CANCELLED

    @by_table(LIVE, PARTIES)
    def test_the_participant_may_not_understand_it(self, protocol, state, role):
        moved = step(protocol, cancelling(protocol, state, role), P, "not-understood")
        assert (moved.state, moved.resume) == (NOT_UNDERSTOOD, None)

    @by_table(LIVE, PARTIES)
    def test_the_deadline_passes(self, protocol, state, role):
        moved = replace(cancelling(protocol, state, role), deadline=NOW)
        assert machine.expire(protocol, moved, NOW - SECOND) is moved
        expired = machine.expire(protocol, moved, NOW)
        assert (expired.state, expired.resume, expired.deadline) == (EXPIRED, None, None)

    @by_table(LIVE, PARTIES)
    def test_only_the_initiator_cancels(self, protocol, state, role):
        with pytest.raises((LocalProtocolError, RemoteProtocolError)):
            step(protocol, live(protocol, state, role), P, "cancel")

    @by_table(LIVE, PARTIES, ["cancel", "request", "accept-proposal", "not-understood"])
    def test_meanwhile_the_initiator_has_nothing_to_say(self, protocol, state, role, act):
        with pytest.raises((LocalProtocolError, RemoteProtocolError)):
            step(protocol, cancelling(protocol, state, role), I, act)


@EACH_TABLE
@EACH_ROLE
def test_nothing_to_cancel_before_the_start_or_after_the_end(protocol, role):
    for state in (protocol.start, *protocol.terminal, *META_TERMINAL):
        conversation = at(protocol, state, role)
        with pytest.raises((LocalProtocolError, RemoteProtocolError)) as caught:
            step(protocol, conversation, I, "cancel")
        if role is P:
            assert caught.value.answer, "so that the initiator does not wait for an answer"


class TestUnderWay:
    """An act that was sent before the cancel arrived is taken, recorded, and counts if the cancel fails."""

    @by_table(UNDER_WAY, PARTIES)
    def test_it_is_recorded(self, protocol, state, act, following, role):
        moved = step(protocol, cancelling(protocol, state, role), P, act, kind="result", in_reply_to="asked")
        assert (moved.state, moved.resume) == (CANCELLING, following)

    @by_table(UNDER_WAY, PARTIES)
    def test_a_failed_cancel_goes_on_from_there(self, protocol, state, act, following, role):
        moved = step(protocol, cancelling(protocol, state, role), P, act, kind="result", in_reply_to="asked")
        resumed = step(protocol, moved, P, "failure", in_reply_to="cancel")
        assert (resumed.state, resumed.last_speaker) == (following, P)

    @by_table(UNDER_WAY, PARTIES)
    def test_what_has_ended_stays_ended(self, protocol, state, act, following, role):
        moved = step(protocol, cancelling(protocol, state, role), P, act, kind="result", in_reply_to="asked")
        ended = protocol.is_terminal(following)
        answers = {
            "done": step(protocol, moved, P, "inform", kind="done", in_reply_to="cancel"),
            "not-understood": step(protocol, moved, P, "not-understood"),
            "silence": machine.expire(protocol, replace(moved, deadline=NOW), NOW),
        }
        otherwise = {"done": CANCELLED, "not-understood": NOT_UNDERSTOOD, "silence": EXPIRED}
        for answer, conversation in answers.items():
            assert conversation.state == (following if ended else otherwise[answer]), answer

    @EACH_ROLE
    @pytest.mark.parametrize(
        ("protocol", "state", "following"), [(BROKERING, "B3", "B3"), (ENGLISH_AUCTION, "E2", "LEFT")]
    )
    def test_a_not_understood_that_the_table_knows_and_that_is_older_than_the_cancel(
        self, protocol, state, following, role
    ):
        moved = cancelling(protocol, state, role)
        older = step(protocol, moved, P, "not-understood", in_reply_to="asked")
        assert (older.state, older.resume) == (CANCELLING, following)
        answer = step(protocol, moved, P, "not-understood", in_reply_to="cancel")
        assert (answer.state, answer.resume) == (NOT_UNDERSTOOD, None)

    @EACH_ROLE
    def test_done_with_the_request_is_not_done_with_the_cancel(self, role):
        moved = cancelling(REQUEST, "S2", role)
        finished = step(REQUEST, moved, P, "inform", kind="done", in_reply_to="asked")
        assert (finished.state, finished.resume) == (CANCELLING, "DONE")

    @EACH_ROLE
    def test_the_request_failed_before_the_cancel_arrived(self, role):
        failed = step(REQUEST, cancelling(REQUEST, "S2", role), P, "failure", in_reply_to="asked")
        assert (failed.state, failed.resume) == (CANCELLING, "FAILED")

    @EACH_ROLE
    def test_a_proposal_and_then_the_refusal_to_cancel_can_still_be_accepted(self, role):
        moved = cancelling(CONTRACT_NET, "C1", role)
        moved = step(CONTRACT_NET, moved, P, "propose", in_reply_to="asked", reply_with="bid")
        moved = step(CONTRACT_NET, moved, P, "failure", in_reply_to="cancel", reply_with="sorry")
        accepted = step(CONTRACT_NET, moved, I, "accept-proposal", in_reply_to="bid")
        assert accepted.state == "C3"

    @EACH_ROLE
    @pytest.mark.parametrize("act", ["propose", "cfp", "confirm", "agree"])
    def test_what_the_table_does_not_know_is_still_out_of_sequence(self, role, act):
        with pytest.raises((LocalProtocolError, RemoteProtocolError)):
            step(REQUEST, cancelling(REQUEST, "S2", role), P, act)


class TestLenient:
    """Peers that never set in-reply-to: the content tells, and a failure is the cancel's."""

    @EACH_ROLE
    def test_a_result_is_the_requests(self, role):
        moved = step(REQUEST, cancelling(REQUEST, "S2", role), P, "inform", kind="result")
        assert (moved.state, moved.resume) == (CANCELLING, "DONE")

    @EACH_ROLE
    @pytest.mark.parametrize("kind", ["done", "none", "unreadable"])
    def test_anything_else_is_the_cancels(self, role, kind):
        assert step(REQUEST, cancelling(REQUEST, "S2", role), P, "inform", kind=kind).state == CANCELLED

    @EACH_ROLE
    def test_a_cancel_without_reply_with_is_told_by_content(self, role):
        moved = step(REQUEST, live(REQUEST, "S2", role), I, "cancel")
        assert step(REQUEST, moved, P, "inform", kind="done", in_reply_to="asked").state == CANCELLED
        assert step(REQUEST, moved, P, "inform", kind="result", in_reply_to="asked").resume == "DONE"


class TestSecondCopies:
    def test_of_the_failure_does_not_fail_the_request(self):
        moved = cancelling(REQUEST, "S2", I)
        failure = said("failure", P, in_reply_to="cancel")
        resumed = machine.receive(REQUEST, moved, failure)
        assert resumed.state == "S2"
        with pytest.raises(RemoteProtocolError, match="answers no message"):
            machine.receive(REQUEST, resumed, failure)

    def test_of_done_after_the_end(self):
        done = said("inform", P, "done", in_reply_to="cancel")
        ended = machine.receive(REQUEST, cancelling(REQUEST, "S2", I), done)
        with pytest.raises(RemoteProtocolError):
            machine.receive(REQUEST, ended, done)

    def test_of_the_cancel(self):
        with pytest.raises(RemoteProtocolError):
            machine.receive(REQUEST, cancelling(REQUEST, "S2", P), said("cancel", I, reply_with="cancel"))


class TestDeadline:
    def test_a_cancel_without_reply_by_keeps_the_initiators_limit(self):
        assert cancelling(REQUEST, "S2", I, deadline=NOW).deadline == NOW

    def test_the_short_limit_of_the_cancel_is_not_the_requests(self):
        waiting = live(REQUEST, "S2", I, deadline=NOW + 60 * SECOND)
        moved = step(REQUEST, waiting, I, "cancel", reply_with="cancel", reply_by=NOW + SECOND)
        assert moved.deadline == NOW + SECOND
        resumed = step(REQUEST, moved, P, "failure", in_reply_to="cancel")
        assert resumed.deadline == NOW + 60 * SECOND

    def test_an_act_under_way_leaves_the_limit_of_the_cancel(self):
        moved = step(REQUEST, live(REQUEST, "S1", I), I, "cancel", reply_with="cancel", reply_by=NOW)
        assert step(REQUEST, moved, P, "agree", in_reply_to="asked").deadline == NOW

    def test_the_callers_limit_goes_before_the_old_one(self):
        moved = cancelling(REQUEST, "S2", I, deadline=NOW)
        failure = said("failure", P, in_reply_to="cancel")
        assert machine.receive(REQUEST, moved, failure, NOW + 9 * SECOND).deadline == NOW + 9 * SECOND
