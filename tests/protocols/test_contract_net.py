"""The manager's round over many participants, and what comes too late for it."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest

from protocols import machine
from protocols.contract_net import CONTRACT_NET, Phase, phase
from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.table import CANCELLING, EXPIRED, META_TERMINAL, Role
from tests.protocols.samples import BOB, NOW, SECOND, at, said

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

STATES = sorted(CONTRACT_NET.states - {CONTRACT_NET.start} | META_TERMINAL | {CANCELLING})


def phase_of(*states: str) -> Phase:
    return phase(at(CONTRACT_NET, state, I) for state in states)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((), Phase.END),
        (("C1",), Phase.COLLECT),
        (("C1", "C2", "C3"), Phase.COLLECT),
        (("C2", "REFUSED"), Phase.DECIDE),
        (("C2", "EXPIRED", "LATE"), Phase.DECIDE),
        (("C2", "C3"), Phase.DECIDE),
        (("C3", "REJECTED"), Phase.AWAIT),
        (("LATE", "DONE"), Phase.AWAIT),
        ((CANCELLING, "DONE"), Phase.AWAIT),
        (("DONE", "FAILED", "REFUSED", "REJECTED", "EXPIRED"), Phase.END),
        (tuple(META_TERMINAL), Phase.END),
    ],
)
def test_phase(states, expected):
    assert phase_of(*states) is expected


def test_a_round_ends_exactly_when_every_conversation_is_over():
    for states in combinations_with_replacement(STATES, 2):
        over = all(CONTRACT_NET.is_terminal(state) for state in states)
        assert (phase_of(*states) is Phase.END) is over, states


def test_a_round_never_goes_back_to_collecting_but_by_a_table():
    """Each step of the table leads to the same phase or a later one; only a late proposal returns."""
    order = list(Phase)
    for (state, _role, _act), following in CONTRACT_NET.transitions.items():
        if state in {CONTRACT_NET.start, EXPIRED}:
            continue
        assert order.index(phase_of(following)) >= order.index(phase_of(state)), (state, following)


def test_a_whole_round():
    now, seats = NOW, {}
    for name in ("quick", "dear", "busy", "silent"):
        seats[name] = machine.start(CONTRACT_NET, I, said("cfp", reply_by=NOW + SECOND), BOB.name, now)
    assert phase(seats.values()) is Phase.COLLECT
    for name, act in (("quick", "propose"), ("dear", "propose"), ("busy", "refuse")):
        seats[name] = machine.receive(CONTRACT_NET, seats[name], said(act, P))
    assert phase(seats.values()) is Phase.COLLECT
    seats = {name: machine.expire(CONTRACT_NET, each, NOW + SECOND) for name, each in seats.items()}
    assert {name: each.state for name, each in seats.items()} == {
        "quick": "C2", "dear": "C2", "busy": "REFUSED", "silent": "EXPIRED",
    }  # fmt: skip
    assert phase(seats.values()) is Phase.DECIDE
    seats["quick"] = machine.say(CONTRACT_NET, seats["quick"], said("accept-proposal"))
    assert phase(seats.values()) is Phase.DECIDE
    seats["dear"] = machine.say(CONTRACT_NET, seats["dear"], said("reject-proposal"))
    assert phase(seats.values()) is Phase.AWAIT
    seats["quick"] = machine.receive(CONTRACT_NET, seats["quick"], said("inform", P, "result"))
    assert phase(seats.values()) is Phase.END


class TestLate:
    def expired(self, role: Role):
        return machine.expire(CONTRACT_NET, at(CONTRACT_NET, "C1", role, deadline=NOW), NOW)

    def test_a_late_proposal_is_turned_down_and_nothing_else(self):
        late = machine.receive(CONTRACT_NET, self.expired(I), said("propose", P))
        assert late.state == "LATE"
        assert not machine.is_over(CONTRACT_NET, late), "the participant waits to be released"
        for act in ("accept-proposal", "cfp", "inform"):
            with pytest.raises(LocalProtocolError):
                machine.say(CONTRACT_NET, late, said(act))
        assert machine.say(CONTRACT_NET, late, said("reject-proposal")).state == "REJECTED"

    def test_a_second_late_proposal_is_out_of_sequence(self):
        late = machine.receive(CONTRACT_NET, self.expired(I), said("propose", P))
        with pytest.raises(RemoteProtocolError):
            machine.receive(CONTRACT_NET, late, said("propose", P))

    def test_a_late_refuse_ends_it_as_refused(self):
        assert machine.receive(CONTRACT_NET, self.expired(I), said("refuse", P)).state == "REFUSED"

    def test_a_participant_that_knows_it_is_late_may_still_answer(self):
        late = machine.say(CONTRACT_NET, self.expired(P), said("propose"))
        assert late.state == "LATE"
        assert machine.receive(CONTRACT_NET, late, said("reject-proposal", I)).state == "REJECTED"
        assert machine.say(CONTRACT_NET, self.expired(P), said("refuse")).state == "REFUSED"

    @pytest.mark.parametrize("act", ["inform", "failure", "agree", "not-understood"])
    def test_no_other_late_act_is_taken(self, act):
        with pytest.raises(RemoteProtocolError):
            machine.receive(CONTRACT_NET, self.expired(I), said(act, P))

    def test_the_proposal_of_a_winner_that_ran_out_of_time_does_not_come_again(self):
        # A second copy of the propose: in-reply-to tells it from an answer to the award.
        winner = at(CONTRACT_NET, "C3", I, deadline=NOW, awaited="award")
        expired = machine.expire(CONTRACT_NET, winner, NOW)
        with pytest.raises(RemoteProtocolError):
            machine.receive(CONTRACT_NET, expired, said("propose", P, in_reply_to="call"))
