"""Seeing a conversation to its end that we have begun, and that nobody here waits for any more.

After a restart the coroutine that began it is gone. What it had promised is kept, and nothing more is
promised: a proposal that is still to be decided on is rejected, what has been awarded is waited for, and what
takes longer than was allowed is cancelled.
"""

from __future__ import annotations

from datetime import datetime

from behaviours.clocking import after
from behaviours.conversing import CANCEL_WITHIN, Seat
from behaviours.phrasing import saying
from behaviours.stepping import Overdue, Room
from ontology.acl import Performative
from ontology.content import Reason, explain
from ontology.errors import Cause
from protocols.table import CANCELLING, Role


async def follow(room: Room, seat: Seat, *, is_wanted: bool) -> None:
    """Wait until a conversation is over.

    Args:
        room: the mailroom.
        seat: our end of it, as its initiator.
        is_wanted: whether its result may still be of use; else it is cancelled.
    """
    if not is_wanted:
        _cancel(room, seat)
    while not seat.is_over:
        _decide(room, seat)
        if seat.is_over:
            return
        if isinstance(await seat.step(), Overdue):
            _cancel(room, seat)


def is_left(seat: Seat) -> bool:
    """Whether a conversation was begun for something that somebody else goes on with: then it ends here.

    Nothing is said: what its participant does for us it goes on doing for whoever follows us.
    """
    if seat.chronicle.work.is_left:
        seat.lose(Reason(cause=Cause.VANISHED, text="somebody else goes on with it"))
    return seat.chronicle.work.is_left


def _decide(room: Room, seat: Seat) -> None:
    """Say what is ours to say now, if anything is."""
    state = seat.conversation.state
    if state == CANCELLING or seat.protocol.awaits(state, Role.PARTICIPANT):
        return
    if seat.may_say(Performative.REJECT_PROPOSAL):
        text = f"{room.me.local_name} was restarted before it had chosen"
        seat.say(
            saying(
                seat.conversation, seat.peer, Performative.REJECT_PROPOSAL, explain(Cause.NOT_CHOSEN, text)
            )
        )
    elif not seat.protocol.awaits(state, Role.TARGET):
        _cancel(room, seat)


def _cancel(room: Room, seat: Seat) -> None:
    if not (seat.is_over or seat.conversation.state == CANCELLING or is_left(seat)):
        until: datetime = after(room.now(), CANCEL_WITHIN)
        seat.say(saying(seat.conversation, seat.peer, Performative.CANCEL), until)
