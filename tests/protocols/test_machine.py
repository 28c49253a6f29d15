"""The engine: who may speak, in which conversation, and in answer to what."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from ontology.acl import AclMessage, Performative
from protocols import machine
from protocols.brokering import BROKERING
from protocols.contract_net import CONTRACT_NET
from protocols.dutch_auction import DUTCH_AUCTION
from protocols.english_auction import ENGLISH_AUCTION
from protocols.errors import LocalProtocolError, ProtocolError, RemoteProtocolError
from protocols.recruiting import RECRUITING
from protocols.registry import TABLES
from protocols.request import REQUEST
from protocols.subscribe import SUBSCRIBE
from protocols.table import (
    CANCELLED,
    CANCELLING,
    EXPIRED,
    META_TERMINAL,
    NOT_UNDERSTOOD,
    PARTIES,
    UNREACHABLE,
    Protocol,
    Role,
)
from tests.protocols.by_table import by_table
from tests.protocols.samples import (
    ANN,
    BOB,
    EACH_TABLE,
    EVE,
    NOW,
    SECOND,
    at,
    last_speaker,
    live_states,
    said,
)

I, P, T = Role  # noqa: E741 - the specification's letters

LIVE = [(each, state) for each in TABLES for state in sorted(live_states(each))]
EACH_ROLE = pytest.mark.parametrize("role", PARTIES)


def refused(protocol, conversation, message) -> RemoteProtocolError:
    """Receive a message that must not be taken, and see that nothing has changed."""
    untouched = replace(conversation)
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(protocol, conversation, message)
    assert conversation == untouched
    return caught.value


class TestStart:
    def test_the_initiator_opens_by_saying_the_first_act(self):
        opened = machine.start(REQUEST, I, said("request", reply_with="r1"), BOB.name, NOW)
        assert (opened.state, opened.role, opened.peer) == ("S1", I, BOB.name)
        assert (opened.conversation_id, opened.protocol, opened.opened) == ("c1", "fipa-request", NOW)
        assert (opened.awaited, opened.last_speaker, opened.deadline) == ("r1", I, None)

    def test_the_participant_opens_by_receiving_it(self):
        opened = machine.start(REQUEST, P, said("request", I, reply_with="r1"), ANN.name, NOW)
        assert (opened.state, opened.role, opened.peer) == ("S1", P, ANN.name)
        assert opened.awaited is None, "the participant has said nothing that could be answered"

    @pytest.mark.parametrize("act", [each for each in Performative if each != "request"])
    def test_no_other_act_opens(self, act):
        with pytest.raises(LocalProtocolError):
            machine.start(REQUEST, I, said(act), BOB.name, NOW)
        with pytest.raises(RemoteProtocolError) as caught:
            machine.start(REQUEST, P, said(act, I), ANN.name, NOW)
        assert caught.value.answer is (act != "not-understood")

    def test_without_conversation_id_whoever_spoke_is_at_fault(self):
        with pytest.raises(LocalProtocolError, match="needs a conversation-id"):
            machine.start(REQUEST, I, said("request", conversation_id=None), BOB.name, NOW)
        with pytest.raises(RemoteProtocolError, match="needs a conversation-id") as caught:
            machine.start(REQUEST, P, said("request", I, conversation_id=None), ANN.name, NOW)
        assert caught.value.answer

    def test_the_sender_has_to_be_the_peer(self):
        with pytest.raises(RemoteProtocolError, match="no part"):
            machine.start(REQUEST, P, said("request", I), EVE.name, NOW)


class TestSequence:
    """Rule G2: the conversation is known, the sender has a role in it, in-reply-to fits."""

    @EACH_ROLE
    def test_another_conversation(self, role):
        conversation = at(REQUEST, "S1", role)
        error = refused(REQUEST, conversation, said("agree", role.other, conversation_id="c2"))
        assert "'c2' is not 'c1'" in error.text
        assert error.answer is (role is P)

    def test_no_conversation(self):
        refused(REQUEST, at(REQUEST, "S1", I), said("agree", P, conversation_id=None))

    def test_another_sender(self):
        conversation = at(REQUEST, "S1", I)
        stranger = said("agree", P).model_copy(update={"sender": EVE})
        assert "eve@example.org has no part" in refused(REQUEST, conversation, stranger).text

    def test_the_peer_under_another_resource_is_the_peer(self):
        elsewhere = BOB.of("bob@example.org/laptop")
        message = said("agree", P).model_copy(update={"sender": elsewhere})
        assert machine.receive(REQUEST, at(REQUEST, "S1", I), message).state == "S2"

    def test_our_own_words_come_back(self):
        conversation = at(REQUEST, "S1", I)
        refused(REQUEST, conversation, said("request", I))
        refused(REQUEST, conversation, said("agree", I))

    @pytest.mark.parametrize(
        ("awaited", "in_reply_to", "fits"),
        [
            ("r1", "r1", True),
            ("r1", None, True),  # plain SPADE agents and chat clients never set it
            ("r1", "r2", False),
            ("r1", "R1", False),
            (None, "r2", True),  # we asked for no answer by name
            (None, None, True),
        ],
    )
    @EACH_ROLE
    def test_in_reply_to(self, role, awaited, in_reply_to, fits):
        protocol, state, act = (
            (REQUEST, "S1", "agree") if role is I else (CONTRACT_NET, "C2", "accept-proposal")
        )
        conversation = at(protocol, state, role, awaited=awaited)
        message = said(act, role.other, in_reply_to=in_reply_to)
        if fits:
            assert machine.receive(protocol, conversation, message).state in {"S2", "C3"}
        else:
            assert "answers no message" in refused(protocol, conversation, message).text

    def test_every_answer_names_the_same_request(self):
        conversation = machine.start(REQUEST, I, said("request", reply_with="r1"), BOB.name, NOW)
        agreed = machine.receive(REQUEST, conversation, said("agree", P, in_reply_to="r1"))
        done = machine.receive(REQUEST, agreed, said("inform", P, "done", in_reply_to="r1"))
        assert done.state == "DONE"

    def test_the_latest_message_of_ours_is_the_one_to_answer(self):
        called = machine.start(CONTRACT_NET, I, said("cfp", reply_with="a1"), BOB.name, NOW)
        proposed = machine.receive(CONTRACT_NET, called, said("propose", P, in_reply_to="a1"))
        accepted = machine.say(CONTRACT_NET, proposed, said("accept-proposal", reply_with="a2"))
        refused(CONTRACT_NET, accepted, said("inform", P, "done", in_reply_to="a1"))
        done = machine.receive(CONTRACT_NET, accepted, said("inform", P, "done", in_reply_to="a2"))
        assert done.state == "DONE"


class TestInform:
    """FIPA tells done from result; both end a request, and so does any other content."""

    @pytest.mark.parametrize("kind", ["done", "result", "none", "unreadable"])
    @pytest.mark.parametrize("state", ["S1", "S2"])
    def test_any_content_ends_a_request(self, state, kind):
        assert machine.receive(REQUEST, at(REQUEST, state, I), said("inform", P, kind)).state == "DONE"

    def test_a_table_may_tell_kinds_apart(self):
        auction = Protocol(
            name="auction",
            spec="-",
            start="E0",
            transitions={
                ("E0", I, "inform/start"): "E1",
                ("E1", I, "inform/end"): "ENDED",
                ("E1", P, "propose"): "E1",
            },
            terminal=frozenset({"ENDED"}),
            deadlines={},
        )
        start = AclMessage(performative="inform", conversation_id="c1", content='{"start":{}}')
        end = start.model_copy(update={"content": '{"end":{}}'})
        assert auction.opens_with(Performative.INFORM)
        assert not auction.opens_with(Performative.PROPOSE)
        opened = machine.start(auction, I, start, BOB.name, NOW)
        assert opened.state == "E1"
        assert machine.say(auction, opened, end).state == "ENDED"
        for unknown in (start, start.model_copy(update={"content": "end"})):
            with pytest.raises(LocalProtocolError):
                machine.say(auction, opened, unknown)


def unheard(protocol, state, role):
    """Where a not-understood leads: bidders leave by it, and a broker passes on a target's."""
    return protocol.transitions.get((state, role, "not-understood"), NOT_UNDERSTOOD)


class TestNotUnderstood:
    """Whoever got the last message may say that it means nothing to them, which ends the pair."""

    @by_table(LIVE, PARTIES)
    def test_the_listener_may_say_it(self, protocol, state, role):
        conversation = at(protocol, state, role, last_speaker=role.other, deadline=NOW)
        ended = machine.say(protocol, conversation, said("not-understood"))
        assert (ended.state, ended.last_speaker) == (unheard(protocol, state, role), role)
        assert ended.deadline is None or not protocol.is_terminal(ended.state)

    @by_table(LIVE, PARTIES)
    def test_the_peer_may_say_it_to_our_last_message(self, protocol, state, role):
        conversation = at(protocol, state, role, last_speaker=role, deadline=NOW)
        ended = machine.receive(protocol, conversation, said("not-understood", role.other))
        assert (ended.state, ended.last_speaker) == (unheard(protocol, state, role.other), role.other)
        assert ended.deadline is None or not protocol.is_terminal(ended.state)

    @by_table(LIVE, PARTIES)
    def test_nobody_may_say_it_of_their_own_words(self, protocol, state, role):
        if (state, role, "not-understood") not in protocol.transitions:
            with pytest.raises(LocalProtocolError):
                machine.say(protocol, at(protocol, state, role, last_speaker=role), said("not-understood"))
        if (state, role.other, "not-understood") in protocol.transitions:
            return
        conversation = at(protocol, state, role, last_speaker=role.other)
        error = refused(protocol, conversation, said("not-understood", role.other))
        assert not error.answer, "a not-understood is never answered"

    @EACH_TABLE
    @EACH_ROLE
    def test_never_before_the_first_message_or_after_the_last(self, protocol, role):
        for state in (protocol.start, *protocol.terminal, *META_TERMINAL):
            for last in PARTIES:
                conversation = at(protocol, state, role, last_speaker=last)
                assert not refused(protocol, conversation, said("not-understood", role.other)).answer
                with pytest.raises(LocalProtocolError):
                    machine.say(protocol, conversation, said("not-understood"))

    def test_an_answer_to_something_else_ends_nothing(self):
        conversation = at(REQUEST, "S1", I, awaited="r1")
        refused(REQUEST, conversation, said("not-understood", P, in_reply_to="r0"))

    @pytest.mark.parametrize(("act", "state"), [("not-understood", NOT_UNDERSTOOD), ("cancel", CANCELLING)])
    def test_a_publisher_takes_it_in_answer_to_any_of_its_notifications(self, act, state):
        # It has sent another one meanwhile, and must not go on notifying one that has ended.
        publishing = at(SUBSCRIBE, "S2", P, last_speaker=P, awaited="second")
        assert machine.receive(SUBSCRIBE, publishing, said(act, I, in_reply_to="first")).state == state


class TestTargets:
    """In recruiting, agents that the recruiter has found reply to the initiator themselves."""

    @pytest.mark.parametrize("state", ["R2", "R3"])
    @pytest.mark.parametrize("act", ["inform", "agree", "refuse", "failure", "propose", "not-understood"])
    def test_a_reply_is_taken_from_whoever_answers_the_proxy(self, state, act):
        recruiting = at(RECRUITING, state, I, awaited="proxy", deadline=NOW)
        moved = machine.receive(RECRUITING, recruiting, said(act, T, in_reply_to="proxy"))
        assert (moved.state, moved.last_speaker) == (state, T)
        assert moved.deadline == NOW, "an initiator never waits without limit"
        refused(RECRUITING, recruiting, said(act, T, in_reply_to="other"))

    def test_a_target_does_not_cancel(self):
        refused(RECRUITING, at(RECRUITING, "R3", I), said("cancel", T))

    @pytest.mark.parametrize("state", ["R2", "R3"])
    def test_it_has_nothing_to_say_to_the_recruiter(self, state):
        assert (
            "tim@example.org has no part"
            in refused(RECRUITING, at(RECRUITING, state, P), said("inform", T)).text
        )

    @pytest.mark.parametrize("state", ["R1", "DONE"])
    def test_nor_before_or_after(self, state):
        refused(RECRUITING, at(RECRUITING, state, I), said("inform", T))

    @pytest.mark.parametrize("kind", ["done", "none", "result"])
    def test_its_reply_is_no_answer_to_a_cancel(self, kind):
        cancelling = at(RECRUITING, CANCELLING, I, resume="R3", cancelled_with="x", awaited="proxy")
        for act in ("inform", "failure", "not-understood"):
            moved = machine.receive(RECRUITING, cancelling, said(act, T, kind))
            assert (moved.state, moved.resume) == (CANCELLING, "R3")
        assert machine.receive(RECRUITING, cancelling, said("inform", P, "done")).state == CANCELLED

    def test_in_other_protocols_a_third_agent_has_no_part(self):
        for protocol, state in LIVE:
            if protocol is not RECRUITING:
                for act in ("inform", "failure", "not-understood", "propose"):
                    refused(protocol, at(protocol, state, I), said(act, T))


class TestKinds:
    """Where the content of a failure decides."""

    @pytest.mark.parametrize(
        ("protocol", "state", "kind", "end"),
        [
            (BROKERING, "B2", "no-match", "NO_MATCH"),
            (BROKERING, "B2", "brokering", "PROXY_FAILED"),
            (BROKERING, "B2", "none", "PROXY_FAILED"),
            (BROKERING, "B2", "unreadable", "PROXY_FAILED"),
            (RECRUITING, "R2", "no-match", "NO_MATCH"),
            (RECRUITING, "R2", "none", "PROXY_FAILED"),
            (BROKERING, "B3", "brokering", "FAILED"),
            (BROKERING, "B3", "none", "B3"),  # the failure of a target, passed on
        ],
    )
    def test_a_failure(self, protocol, state, kind, end):
        assert machine.receive(protocol, at(protocol, state, I), said("failure", P, kind)).state == end


class TestEvents:
    """What happens to one side without a word."""

    @pytest.mark.parametrize(("protocol", "state"), [(BROKERING, "B3"), (RECRUITING, "R3")])
    @EACH_ROLE
    def test_all_sub_protocols_have_ended(self, protocol, state, role):
        ended = machine.happen(protocol, at(protocol, state, role, deadline=NOW), "all-ended")
        assert (ended.state, ended.deadline) == ("DONE", None)
        with pytest.raises(LocalProtocolError, match=r"'all-ended' cannot happen in state DONE"):
            machine.happen(protocol, ended, "all-ended")

    def test_it_cannot_happen_elsewhere(self):
        for protocol, state in LIVE:
            if (state, "all-ended") not in protocol.events:
                with pytest.raises(LocalProtocolError):
                    machine.happen(protocol, at(protocol, state, I), "all-ended")


class TestAuctions:
    """A bid that crosses the end of its round, and a bidder whose clock is behind."""

    @pytest.mark.parametrize(("protocol", "letter"), [(ENGLISH_AUCTION, "E"), (DUTCH_AUCTION, "D")])
    def test_a_late_bid_is_dropped_and_the_bidder_goes_on_with_the_next_round(self, protocol, letter):
        closed = machine.expire(protocol, at(protocol, f"{letter}2", I, deadline=NOW, awaited="round-1"), NOW)
        assert closed.state == f"{letter}4"
        late = said("propose", P, in_reply_to="round-1", reply_with="bid-1")
        assert not refused(protocol, closed, late).answer
        called = machine.say(protocol, closed, said("cfp", reply_with="round-2"))
        refused(protocol, called, late)
        bidder = at(protocol, f"{letter}3", P, awaited="bid-1")
        for act, state in (("cfp", f"{letter}2"), ("inform", "ENDED")):
            assert machine.receive(protocol, bidder, said(act, I)).state == state

    @pytest.mark.parametrize(("protocol", "letter"), [(ENGLISH_AUCTION, "E"), (DUTCH_AUCTION, "D")])
    def test_silence_is_no_bid(self, protocol, letter):
        for role in PARTIES:
            silent = machine.expire(protocol, at(protocol, f"{letter}2", role, deadline=NOW), NOW)
            assert silent.state == f"{letter}4"
            assert not machine.is_over(protocol, silent)


class TestLose:
    @by_table(LIVE, PARTIES)
    def test_a_live_conversation_ends(self, protocol, state, role):
        lost = machine.lose(protocol, at(protocol, state, role, deadline=NOW))
        following = protocol.losses.get(state, UNREACHABLE)
        assert (lost.state, lost.deadline) == (following, NOW if following == state else None)
        assert machine.is_over(protocol, lost) is (state not in protocol.losses)

    @EACH_TABLE
    def test_one_that_is_over_stays_as_it_ended(self, protocol):
        for state in protocol.terminal | META_TERMINAL:
            conversation = at(protocol, state, I)
            assert machine.lose(protocol, conversation) is conversation

    def test_what_ended_before_its_cancel_was_answered_is_not_lost(self):
        ended = machine.lose(REQUEST, at(REQUEST, CANCELLING, I, resume="DONE", cancelled_with="x"))
        assert (ended.state, ended.resume, ended.cancelled_with) == ("DONE", None, None)
        assert machine.lose(REQUEST, at(REQUEST, CANCELLING, I, resume="S2")).state == UNREACHABLE


class TestReading:
    def test_other_role(self):
        assert (I.other, P.other) == (P, I)

    @by_table(LIVE)
    def test_awaits_reads_the_table(self, protocol, state):
        speakers = {role for source, role, _act in protocol.transitions if source == state}
        assert {role for role in Role if protocol.awaits(state, role)} == speakers

    def test_a_cancel_awaits_the_participant(self):
        assert REQUEST.awaits(CANCELLING, P)
        assert not REQUEST.awaits(CANCELLING, I)

    @EACH_TABLE
    def test_over_are_the_terminal_states_and_the_shared_ones(self, protocol):
        over = {state for state in protocol.states | META_TERMINAL if protocol.is_terminal(state)}
        assert over == protocol.terminal | META_TERMINAL
        assert not protocol.is_terminal(CANCELLING)
        assert protocol.is_terminal(EXPIRED)

    def test_every_error_of_the_package_has_one_root_and_a_text(self):
        for error in (LocalProtocolError("a"), RemoteProtocolError("a", answer=True)):
            assert isinstance(error, ProtocolError)
            assert (error.text, str(error)) == ("a", "a")

    def test_a_conversation_does_not_change(self):
        with pytest.raises(FrozenInstanceError):
            at(REQUEST, "S1", I).state = "DONE"

    def test_the_error_names_act_speaker_state_and_protocol(self):
        with pytest.raises(
            LocalProtocolError, match=r"^cfp from the participant .* in state S1 of fipa-request$"
        ):
            machine.say(REQUEST, at(REQUEST, "S1", P), said("cfp"))

    def test_samples_know_who_leads_into_a_state(self):
        assert last_speaker(CONTRACT_NET, "C2") is P
        assert last_speaker(CONTRACT_NET, "C3") is I


class TestDeadlines:
    """Reply-by is the latest time for the next message (FIPA00061); what then follows is our policy."""

    @by_table(LIVE, PARTIES, [(-SECOND, False), (0 * SECOND, True), (SECOND, True)])
    def test_before_at_and_after(self, protocol, state, role, when):
        late, passed = when
        conversation = at(protocol, state, role, deadline=NOW)
        moved = machine.expire(protocol, conversation, NOW + late)
        if passed:
            assert (moved.state, moved.deadline) == (protocol.deadlines.get(state, EXPIRED), None)
            assert machine.expire(protocol, moved, NOW + late) is moved
        else:
            assert moved is conversation

    @by_table(LIVE)
    def test_without_deadline_nothing_expires(self, protocol, state):
        conversation = at(protocol, state, I)
        assert machine.expire(protocol, conversation, NOW + 10**6 * SECOND) is conversation
        assert machine.next_deadline(conversation) is None

    def test_what_is_over_never_expires(self):
        for state in REQUEST.terminal | META_TERMINAL:
            conversation = at(REQUEST, state, I, deadline=NOW)
            assert machine.expire(REQUEST, conversation, NOW + SECOND) is conversation

    def test_a_table_may_lead_elsewhere_than_expired(self):
        patient = replace(REQUEST, deadlines={"S1": "S2"})
        assert machine.expire(patient, at(patient, "S1", I, deadline=NOW), NOW).state == "S2"

    def test_both_sides_start_with_the_messages_reply_by(self):
        initiator = machine.start(REQUEST, I, said("request", reply_by=NOW + SECOND), BOB.name, NOW)
        participant = machine.start(REQUEST, P, said("request", I, reply_by=NOW + SECOND), ANN.name, NOW)
        for each in (initiator, participant):
            assert machine.next_deadline(each) == NOW + SECOND
            assert machine.expire(REQUEST, each, NOW + SECOND).state == EXPIRED

    def test_an_agree_keeps_the_initiators_limit(self):
        waiting = machine.start(REQUEST, I, said("request", reply_by=NOW + SECOND), BOB.name, NOW)
        assert machine.receive(REQUEST, waiting, said("agree", P)).deadline == NOW + SECOND
        longer = machine.receive(REQUEST, waiting, said("agree", P), NOW + 9 * SECOND)
        assert longer.deadline == NOW + 9 * SECOND
        told = said("agree", P, reply_by=NOW + 5 * SECOND)
        assert machine.receive(REQUEST, waiting, told).deadline == NOW + SECOND, "not the peer's to move"

    def test_a_participant_that_has_spoken_waits_without_limit(self):
        asked = machine.start(REQUEST, P, said("request", I, reply_by=NOW + SECOND), ANN.name, NOW)
        assert machine.say(REQUEST, asked, said("agree")).deadline is None
        assert machine.say(REQUEST, asked, said("agree"), NOW + 9 * SECOND).deadline == NOW + 9 * SECOND
        assert machine.say(REQUEST, asked, said("agree", reply_by=NOW)).deadline == NOW

    def test_each_message_to_a_participant_brings_its_own_limit(self):
        bidding = at(CONTRACT_NET, "C2", P, deadline=NOW)
        assert machine.receive(CONTRACT_NET, bidding, said("accept-proposal", I)).deadline is None
        soon = said("accept-proposal", I, reply_by=NOW + SECOND)
        assert machine.receive(CONTRACT_NET, bidding, soon).deadline == NOW + SECOND

    def test_a_proposal_in_time_does_not_expire_with_the_call(self):
        # The call's reply-by limits the proposals (FIPA00029), not the manager who compares them.
        called = machine.start(CONTRACT_NET, I, said("cfp", reply_by=NOW + SECOND), BOB.name, NOW)
        proposed = machine.receive(CONTRACT_NET, called, said("propose", P))
        assert machine.next_deadline(proposed) is None
        assert machine.expire(CONTRACT_NET, proposed, NOW + SECOND).state == "C2"
        within = machine.receive(CONTRACT_NET, called, said("propose", P), NOW + 3 * SECOND)
        assert machine.expire(CONTRACT_NET, within, NOW + 3 * SECOND).state == EXPIRED, "where asked for"

    def test_an_award_has_its_own_limit(self):
        proposed = at(CONTRACT_NET, "C2", I)
        assert machine.say(CONTRACT_NET, proposed, said("accept-proposal")).deadline is None
        limited = machine.say(CONTRACT_NET, proposed, said("accept-proposal"), NOW + SECOND)
        assert machine.expire(CONTRACT_NET, limited, NOW + SECOND).state == EXPIRED

    def test_the_callers_limit_goes_before_the_messages(self):
        proposed, message = at(CONTRACT_NET, "C2", I), said("accept-proposal", reply_by=NOW)
        assert machine.say(CONTRACT_NET, proposed, message).deadline == NOW
        assert machine.say(CONTRACT_NET, proposed, message, NOW + SECOND).deadline == NOW + SECOND

    def test_the_end_has_no_deadline(self):
        for protocol, state, act in ((REQUEST, "S1", "refuse"), (CONTRACT_NET, "C3", "failure")):
            ended = machine.receive(protocol, at(protocol, state, I, deadline=NOW), said(act, P), NOW)
            assert ended.deadline is None
            told = machine.say(protocol, at(protocol, state, P, deadline=NOW), said(act), NOW)
            assert told.deadline is None
