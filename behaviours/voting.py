"""The voter's side of a vote (`protocols.vote`): accept or reject, hear the decision, apply it.

A vote that is written down stands. After a restart the handler that had voted runs again from its beginning,
as all do, so that it can prepare what it had prepared; what it answers then changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from behaviours.answering import answer_proposal
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.participating import Job, Participation, broken, confirm_cancel, guarded
from behaviours.stepping import Heard, Overdue
from ontology.acl import AclMessage, Performative
from ontology.content import LANGUAGE, Done, Term, explain
from ontology.errors import Cause
from ontology.interaction import INTERACTION
from protocols.history import Said
from protocols.table import CANCELLING
from protocols.vote import ASKED, COMMITTED, SILENT


async def serve_vote(job: Job) -> None:
    """Vote, and apply what is decided: the value, or that it does not hold."""
    task = job.participation()
    decided = await _decision(job, task)
    if decided is not None:
        task.message = decided
        task.is_committed = job.seat.conversation.state == COMMITTED
        _tell(job, decided, await _applied(job, task))
        task.answered()


async def _decision(job: Job, task: Participation) -> AclMessage | None:
    """Vote, and wait for the decision, be it before the vote; a cancel is one as well, against the value.

    None: the conversation has ended without.
    """
    seat = job.seat
    handler = job.handlers.votes[type(job.term)]
    thinking = asyncio.ensure_future(guarded(job.room, seat, handler, job.term, task))
    listening = asyncio.ensure_future(seat.step())
    waits: set[asyncio.Future[Any]] = {thinking, listening}
    try:
        while True:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if thinking in waits and thinking.done():
                waits.discard(thinking)
                _vote(job, _result(job, thinking), ASKED)
            if listening.done():
                match listening.result():
                    case Heard(message) if message.performative in _DECISIONS:
                        return message
                    case Overdue():
                        waits.discard(thinking)
                        thinking.cancel()
                        _vote(job, Refuse(Cause.EXPIRED, "the time to vote was up"), SILENT)
                waits.discard(listening)
                listening = asyncio.ensure_future(seat.step())
                waits.add(listening)
            if seat.is_over and not seat.has_steps:
                return None
    finally:
        for each in (thinking, listening):
            each.cancel()
        await asyncio.gather(thinking, listening, return_exceptions=True)


_DECISIONS = frozenset({Performative.INFORM, Performative.CANCEL})


def _vote(job: Job, answer: Answer, state: str) -> None:
    seat = job.seat
    if seat.conversation.state != state:
        return  # it is decided already, or too late
    said = next((each for each in seat.chronicle.left if isinstance(each, Said)), None)
    if said is None:
        answer_proposal(job, answer)
    else:
        seat.say(said.message)


def _result(job: Job, working: asyncio.Future[Answer]) -> Answer:
    if not working.cancelled():
        return working.result()
    error = asyncio.CancelledError("what it waited for was cancelled")
    return broken(job.room, job.seat, job.term, error)


async def _applied(job: Job, task: Participation) -> Answer:
    """Have the decision applied. Nobody can take it back, so nobody is listened to meanwhile."""
    handler = job.handlers.decided[type(job.term)]

    async def apply(action: Term, task: Participation) -> Answer:
        answer = await handler(action, task)
        return answer if isinstance(answer, Refuse | Fail) else Done()

    applying = asyncio.ensure_future(guarded(job.room, job.seat, apply, job.term, task))
    try:
        await asyncio.wait({applying})
    finally:
        applying.cancel()
    return _result(job, applying)


def _tell(job: Job, decided: AclMessage, answer: Answer) -> None:
    """Say that the decision is applied, or that it cannot be."""
    seat = job.seat
    if decided.performative is Performative.CANCEL:
        confirm_cancel(seat, decided)
        return
    if seat.cancel is not None and seat.conversation.state == CANCELLING:
        content = explain(Cause.UNEXPECTED_ACT, "it is decided, and cannot be taken back any more")
        seat.say(seat.cancel.reply(Performative.FAILURE, content=content))
    if seat.is_over:
        return
    if isinstance(answer, Refuse | Fail):
        seat.say(job.opening.reply(Performative.FAILURE, content=answer.content()))
        return
    told = {"content": INTERACTION.render(Done()), "language": LANGUAGE, "ontology": INTERACTION.label}
    seat.say(job.opening.reply(Performative.INFORM, **told))  # which is done now, whatever was decided on it
