"""locution-vote, a protocol of our own: agents agree on a value by quorum, in two phases.

The initiator proposes a value to each voter, and each accepts or rejects it by a deadline. Whoever accepts is
prepared: it is bound until it hears the decision. With a quorum of acceptances the initiator commits, else it
aborts; it tells every voter, and each says that it has applied the decision. That is two-phase commit, with a
quorum in place of the unanimity of its first phase. The table is the conversation with one voter.

No protocol of FIPA's does that. fipa-propose ends with the answer, so nobody learns the decision. In
fipa-contract-net a proposal binds until its reply-by only, whoever has refused hears nothing more, and a
peer that is away ends the conversation; each of these is a way for two voters to do different things. Here
the table itself holds what must never be broken: ``inform/committed`` and ``inform/aborted`` lead to states
out of which the other one does not lead, so a second decision is out of sequence at both ends; and no loss
ends a conversation in which somebody may be bound. Time ends it for the initiator only after the decision
(V5, V6), when that cannot be told any more; a voter that is bound waits for as long as it takes.

A vote may be on its way when the decision is told, so both are taken in V5 and V6, and change nothing. A
proposal that was lost and is sent again may also come behind the decision, which nobody understands then; so
whoever votes late is told again, if it does not say soon that it has applied the decision.
"""

from __future__ import annotations

from protocols.table import Protocol, Role

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specifications' letters

ASKED, ACCEPTED, REJECTED, SILENT, COMMITTED, ABORTED = "V1", "V2", "V3", "V4", "V5", "V6"

CANNOT = ("failure", "not-understood")
"""What a voter says that cannot apply what was decided, also where its vote has crossed the decision."""

UNDECIDED = (ASKED, ACCEPTED, REJECTED, SILENT)

COMMITTING, ABORTING = "inform/committed", "inform/aborted"

VOTE = Protocol(
    name="locution-vote",
    spec="LOCUTION",
    start="V0",
    transitions={
        ("V0", I, "propose"): ASKED,
        (ASKED, P, "accept-proposal"): ACCEPTED,
        (ASKED, P, "reject-proposal"): REJECTED,
        (
            SILENT,
            P,
            "reject-proposal",
        ): REJECTED,  # its time is up: so it shows that it waits for the decision
        **{(state, I, COMMITTING): COMMITTED for state in (*UNDECIDED, COMMITTED)},
        **{(state, I, ABORTING): ABORTED for state in (*UNDECIDED, ABORTED)},
        **{
            (state, P, vote): state
            for state in (COMMITTED, ABORTED)
            for vote in ("accept-proposal", "reject-proposal")
        },
        (COMMITTED, P, "inform/done"): "DONE",
        (ABORTED, P, "inform/done"): "DONE",
        **{(state, P, act): "FAILED" for state in (COMMITTED, ABORTED) for act in CANNOT},
    },
    terminal=frozenset({"DONE", "FAILED"}),
    deadlines={ASKED: SILENT},
    losses={ASKED: SILENT, **{state: state for state in (ACCEPTED, REJECTED, SILENT, COMMITTED, ABORTED)}},
)
