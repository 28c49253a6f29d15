"""Two ends that run the same table: over a network that keeps order, and over one that does not."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ontology.acl import Performative
from protocols import machine
from protocols.audit import audit
from protocols.dutch_auction import DUTCH_AUCTION
from protocols.english_auction import ENGLISH_AUCTION
from protocols.errors import RemoteProtocolError
from protocols.registry import PROTOCOLS, TABLES
from protocols.table import CANCELLED, CANCELLING, EXPIRED, NOT_UNDERSTOOD, PARTIES, UNREACHABLE, Role
from protocols.vote import VOTE
from tests.protocols.pair import ConversationPair
from tests.protocols.profile import STATEFUL
from tests.protocols.samples import EVE, said

I, P, T = Role  # noqa: E741 - the specification's letters

ACTS = st.sampled_from([each.value for each in Performative])
ROLES = st.sampled_from(PARTIES)
PROTOCOL = st.sampled_from(TABLES)

BOTH_MAY_SPEAK = (ENGLISH_AUCTION, DUTCH_AUCTION, VOTE)


def something_is_on_the_way(network) -> bool:
    return any(each.inbox for each in network.pair.ends.values())


def targets_reply(network) -> bool:
    return any(role is T for _state, role, _act in network.pair.protocol.transitions)


def others_may_end(network) -> bool:
    return bool(network.pair.protocol.events)


class Network(RuleBasedStateMachine):
    """What both networks have in common: two agents that speak when they may, and forged messages."""

    within: ClassVar[float] = 3600.0
    """Seconds of every reply-by."""

    @initialize(protocol=PROTOCOL, names_messages=st.booleans(), data=st.data())
    def begin(self, protocol, names_messages, data):
        self.pair = self.make(protocol, names_messages)
        self.pair.open(self.within, data.draw(st.sampled_from(self.pair.openings)))

    def teardown(self):
        if hasattr(self, "pair"):
            self.come_to_an_end()

    def make(self, protocol, names_messages):
        raise NotImplementedError

    def come_to_an_end(self):
        raise NotImplementedError

    @rule(data=st.data(), hears=st.booleans())
    def go_on(self, data, hears):
        """Somebody hears what is on the way, or speaks who may; when nobody does, the next two begin."""
        waiting = [each for each in PARTIES if self.pair.ends[each].inbox]
        choices = [(role, choice) for role in PARTIES for choice in self.pair.choices(role)]
        if waiting and (hears or not choices):
            role = data.draw(st.sampled_from(waiting))
            self.pair.deliver(role, self.which(role, data), keep=data.draw(st.booleans()))
            self.restart(role)
        elif choices:
            role, choice = data.draw(st.sampled_from(choices))
            # An initiator never waits without limit; how long a participant works is its own affair.
            self.pair.say(role, choice, self.within if role is I else None)
            self.restart(role)
        else:
            self.come_to_an_end()
            self.begin(data.draw(PROTOCOL), data.draw(st.booleans()), data)

    def which(self, role, data):
        return 0

    def restart(self, role):
        before = self.pair.ends[role].conversation
        self.pair.restart(role)
        assert self.pair.ends[role].conversation == before

    @precondition(targets_reply)
    @rule(act=ACTS.filter(lambda act: act != "cancel"), kind=st.sampled_from(["done", "result", "none"]))
    def a_target_replies(self, act, kind):
        self.pair.let_a_target_reply(act, kind)

    @precondition(others_may_end)
    @rule()
    def all_that_was_begun_ends(self):
        self.pair.let_all_end()

    @rule(
        role=ROLES,
        act=ACTS,
        kind=st.sampled_from(["done", "result", "none", "unreadable"]),
        what=st.integers(0, 3),
    )
    def forge(self, role, act, kind, what):
        """From a stranger, in another conversation, in none, or in answer to what was never said."""
        end = self.pair.ends[role]
        if end.conversation is None:
            return
        forged = said(act, role.other, kind).model_copy(
            update=(
                {"sender": EVE},
                {"conversation_id": "c2"},
                {"conversation_id": None},
                {"in_reply_to": "never-said"},
            )[what]
        )
        asked = end.conversation.awaited is not None or end.conversation.cancelled_with is not None
        state = end.conversation.resume or end.conversation.state
        if what == 0 and role is I and self.pair.protocol.awaits(state, T):
            return  # it may be one of the targets
        if what == 3 and not (asked and self.pair.names_messages and role is I):
            return  # who asks for no answer by name cannot tell
        with pytest.raises(RemoteProtocolError) as caught:
            machine.receive(self.pair.protocol, end.conversation, forged)
        assert caught.value.answer is (role is P and act != "not-understood")

    @invariant()
    def is_consistent(self):
        if not hasattr(self, "pair"):
            return
        for role in PARTIES:
            conversation = self.pair.ends[role].conversation
            if conversation is None:
                continue
            cancelling = conversation.state == CANCELLING
            assert (conversation.resume is not None) is cancelling
            if not cancelling:
                assert conversation.cancelled_with is None
                assert conversation.resume_deadline is None
            if machine.is_over(self.pair.protocol, conversation):
                assert machine.next_deadline(conversation) is None


class OrderlyNetwork(Network):
    """As XMPP and the mailroom give it: in order from each sender, second copies dropped, nothing lost."""

    def make(self, protocol, names_messages):
        return ConversationPair(protocol, names_messages=True)

    @invariant()
    def nothing_expires_in_time(self):
        if hasattr(self, "pair"):
            assert not any(self.pair.expire(role) for role in PARTIES)

    def come_to_an_end(self):
        self.pair.settle()
        assert all(self.pair.is_over(role) for role in PARTIES)
        assert [each.sentence for each in audit(self.pair.recorded()) if not each.is_note] == []
        initiator, participant = self.pair.state(I), self.pair.state(P)
        if initiator != participant and (self.pair.protocol in BOTH_MAY_SPEAK and self.pair.ends[P].gave_up):
            return  # the bidder leaves while the auctioneer goes on, or ends the auction, or the vote
        if initiator != participant:
            # Only this can cross with a participant that has the turn: the initiator ends with a
            # not-understood to an agree, while the participant ends with its result.
            assert initiator == NOT_UNDERSTOOD
            assert self.pair.ends[I].gave_up


class WildNetwork(Network):
    """Loses, doubles and reorders; clocks jump; nobody drops second copies."""

    within = 60.0

    def make(self, protocol, names_messages):
        return ConversationPair(protocol, names_messages=names_messages, drops_copies=False)

    def which(self, role, data):
        return data.draw(st.integers(0, len(self.pair.ends[role].inbox) - 1))

    @precondition(something_is_on_the_way)
    @rule(data=st.data())
    def lose_one(self, data):
        role = data.draw(st.sampled_from([each for each in PARTIES if self.pair.ends[each].inbox]))
        del self.pair.ends[role].inbox[self.which(role, data)]

    @rule(role=ROLES, seconds=st.integers(0, 50))
    def look_at_the_clock(self, role, seconds):
        self.pair.now += timedelta(seconds=seconds)
        conversation = self.pair.ends[role].conversation
        due = None if conversation is None else machine.next_deadline(conversation)
        assert self.pair.expire(role) is (due is not None and due <= self.pair.now)

    def come_to_an_end(self):
        self.pair.now += timedelta(days=1)
        for role in PARTIES:
            conversation = self.pair.ends[role].conversation
            if conversation is None:
                continue
            self.pair.expire(role)
            conversation = self.pair.ends[role].conversation
            waits = self.pair.protocol.awaits(conversation.state, role.other)
            if role is I and not self.pair.is_over(I):
                assert not waits, "an initiator never waits without limit for the participant"
                assert self.pair.protocol.awaits(conversation.state, I), "it is its own turn"
            # A participant waits for the initiator as long as that is there, or as it is bound.
            is_bound = self.pair.ends[role].conversation.state in self.pair.protocol.losses
            self.pair.lose(role)
            assert self.pair.is_over(role) is not is_bound


TestOrderlyNetwork = OrderlyNetwork.TestCase
TestOrderlyNetwork.settings = STATEFUL
TestWildNetwork = WildNetwork.TestCase
TestWildNetwork.settings = STATEFUL


@pytest.fixture(params=TABLES, ids=[each.name for each in TABLES])
def pair(request) -> ConversationPair:
    made = ConversationPair(request.param)
    made.open(60)
    return made


def test_left_alone_they_come_to_an_end(pair):
    pair.settle()
    assert pair.state(I) == pair.state(P)
    assert pair.state(I) in pair.protocol.terminal


def test_a_second_copy_in_sequence_is_the_mailrooms_to_drop():
    # Why a participant must not see a copy: it complains, and the initiator takes that for the answer.
    pair = ConversationPair(PROTOCOLS["fipa-request"], drops_copies=False)
    pair.open(60)
    pair.deliver(P, keep=True)
    pair.deliver(P)
    pair.deliver(I)
    assert (pair.state(I), pair.state(P)) == (NOT_UNDERSTOOD, "S1")


def test_cancel_and_result_cross():
    pair = ConversationPair(PROTOCOLS["fipa-request"])
    pair.open(60)
    pair.deliver(P)
    pair.say(P, ("inform", "result", False))
    pair.say(I, ("cancel", "none", False))
    pair.deliver(I)
    assert pair.ends[I].conversation.resume == "DONE"
    pair.deliver(P)
    pair.deliver(I)
    assert (pair.state(I), pair.state(P)) == ("DONE", "DONE")


def test_cancel_and_proposal_cross():
    pair = ConversationPair(PROTOCOLS["fipa-contract-net"])
    pair.open(60)
    pair.deliver(P)
    pair.say(P, ("propose", "none", False))
    pair.say(I, ("cancel", "none", False))
    pair.deliver(I)
    pair.deliver(P)
    assert pair.state(P) == CANCELLING
    pair.say(P, ("failure", "none", True))
    pair.deliver(I)
    assert (pair.state(I), pair.state(P)) == ("C2", "C2")
    pair.say(I, ("accept-proposal", "none", False))
    pair.deliver(P)
    assert (pair.state(I), pair.state(P)) == ("C3", "C3")


def test_a_cancel_that_succeeds():
    for protocol in TABLES:
        pair = ConversationPair(protocol)
        pair.open(60)
        pair.deliver(P)
        pair.say(I, ("cancel", "none", False))
        pair.settle()
        assert (pair.state(I), pair.state(P)) == (CANCELLED, CANCELLED)


def test_a_late_proposal_is_released():
    pair = ConversationPair(PROTOCOLS["fipa-contract-net"])
    pair.open(60)
    pair.deliver(P)
    pair.say(P, ("propose", "none", False))
    pair.now += timedelta(seconds=60)
    assert pair.expire(I)
    assert pair.state(I) == EXPIRED
    pair.settle()
    assert (pair.state(I), pair.state(P)) == ("REJECTED", "REJECTED")


def test_a_participant_that_was_never_reached():
    pair = ConversationPair(PROTOCOLS["fipa-request"])
    pair.open(60)
    pair.lose(I)
    assert (pair.state(I), pair.state(P)) == (UNREACHABLE, None)
