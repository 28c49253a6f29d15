"""locution-vote: what its table never lets happen, whoever speaks and whatever is lost."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest

from protocols import machine
from protocols.audit import audit
from protocols.findings import Rule
from protocols.table import CANCELLING, Role
from protocols.traces import Entry
from protocols.vote import ABORTED, ACCEPTED, ASKED, COMMITTED, SILENT, UNDECIDED, VOTE
from tests.protocols.pair import ConversationPair
from tests.protocols.samples import CONTENTS, NOW, at, said

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specifications' letters


def reached(start: str) -> set[str]:
    """All states that anything said, a deadline or a loss leads to."""
    found, queue = {start}, [start]
    while queue:
        state = queue.pop()
        exits = {end for (source, _role, _act), end in VOTE.transitions.items() if source == state}
        exits |= {each[state] for each in (VOTE.deadlines, VOTE.losses) if state in each}
        queue.extend(exits - found)
        found |= exits
    return found


def test_from_one_decision_no_way_leads_to_the_other():
    assert ABORTED not in reached(COMMITTED)
    assert COMMITTED not in reached(ABORTED)
    assert {COMMITTED, ABORTED} <= reached(ASKED)


def test_a_voter_that_has_accepted_has_no_way_out_but_the_decision():
    mine = {act for (state, role, act) in VOTE.transitions if state == ACCEPTED and role is P}
    assert not mine
    assert {end for (state, _role, _act), end in VOTE.transitions.items() if state == ACCEPTED} == {
        COMMITTED,
        ABORTED,
    }
    prepared = at(VOTE, ACCEPTED, P)
    assert machine.next_deadline(prepared) is None
    assert machine.lose(VOTE, prepared) == prepared


def test_a_vote_sets_no_limit_for_whoever_has_voted():
    """The reply-by is for the vote, not for the decision."""
    by = NOW + timedelta(seconds=5)
    asked = machine.start(VOTE, P, said("propose", I, reply_by=by), "ann@example.org", NOW)
    assert machine.next_deadline(asked) == by
    assert machine.expire(VOTE, asked, by).state == SILENT
    for act in ("accept-proposal", "reject-proposal"):
        voted = machine.say(VOTE, asked, said(act))
        assert machine.next_deadline(voted) is None
        assert machine.expire(VOTE, voted, NOW + timedelta(days=99)) == voted


@pytest.mark.parametrize("role", [I, P])
@pytest.mark.parametrize("state", sorted({*UNDECIDED, COMMITTED, ABORTED}))
def test_no_loss_ends_it_while_somebody_may_be_bound(state, role):
    lost = machine.lose(VOTE, at(VOTE, state, role))
    assert lost.state == (SILENT if state == ASKED else state)
    assert not machine.is_over(VOTE, lost)


def test_the_decision_is_given_up_by_time_only_and_by_the_initiator_only():
    for state in (COMMITTED, ABORTED):
        told = machine.say(
            VOTE, at(VOTE, ACCEPTED, I), said("inform", None, _kind(state)), NOW + timedelta(days=1)
        )
        lost = machine.lose(VOTE, told)
        assert (lost.state, lost.deadline) == (state, NOW + timedelta(days=1))
        assert machine.expire(VOTE, lost, NOW + timedelta(days=1)).state == "EXPIRED"
        heard = machine.receive(VOTE, at(VOTE, ACCEPTED, P), said("inform", I, _kind(state)))
        assert machine.next_deadline(heard) is None


def _kind(state: str) -> str:
    return "committed" if state == COMMITTED else "aborted"


@pytest.mark.parametrize("role", [I, P])
def test_every_order_of_a_vote_and_a_decision_ends_as_was_decided(role):
    """A vote may cross the decision; the decision alone tells where both ends stand."""
    for vote, kind in product(("accept-proposal", "reject-proposal"), ("committed", "aborted")):
        for order in ((P, I), (I, P)):
            conversation = at(VOTE, ASKED, role)
            for speaker in order:
                act, what = (vote, "none") if speaker is P else ("inform", kind)
                message = said(act, None if speaker is role else speaker, what)
                step = machine.say if speaker is role else machine.receive
                conversation = step(VOTE, conversation, message)
            assert conversation.state == (COMMITTED if kind == "committed" else ABORTED)


def test_a_cancel_comes_too_late_once_it_is_decided():
    decided = at(VOTE, CANCELLING, P, resume=COMMITTED, cancelled_with="c1")
    goes_on = machine.say(VOTE, decided, said("failure", in_reply_to="c1"))
    assert goes_on.state == COMMITTED


def test_an_audit_blames_whoever_says_two_decisions():
    pair = ConversationPair(VOTE)
    pair.open(60)
    pair.deliver_all()
    pair.say(P, ("accept-proposal", "none", False))
    pair.deliver_all()
    pair.say(I, ("inform", "committed", False))
    pair.deliver_all()
    second = pair.would_say(I, "inform").model_copy(update={"content": CONTENTS["aborted"]})
    entries = [*pair.recorded(), Entry(line=99, time=NOW + timedelta(seconds=1), message=second)]
    (found,) = [each for each in audit(entries) if not each.is_note and each.line == 99]
    assert (found.agent, found.rule) == (pair.name(I), Rule.OUT_OF_SEQUENCE)


def test_it_is_not_fipas():
    assert not VOTE.name.startswith("fipa-")
    assert VOTE.spec == "LOCUTION"
