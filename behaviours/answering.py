"""The participant in fipa-query, fipa-request-when and fipa-propose."""

from __future__ import annotations

from typing import Any

from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.participating import Job, Participation, broken, carry_out, confirm_cancel, decline, work
from behaviours.understanding import unnest
from ontology.acl import Performative
from ontology.content import Done, Term
from ontology.interaction import INTERACTION, Truth, When


async def serve_query_ref(job: Job) -> None:
    """Answer what fits (FIPA00027)."""
    await carry_out(job, job.participation(), job.handlers.answers[type(job.term)], job.term, job.ontology)


async def serve_query_if(job: Job) -> None:
    """Answer whether something holds (FIPA00027)."""
    confirm = job.handlers.confirms[type(job.term)]

    async def answer(proposition: Term, task: Participation) -> Answer:
        found: Any = await confirm(proposition, task)
        return Truth(value=found) if isinstance(found, bool) else found

    await carry_out(job, job.participation(), answer, job.term, INTERACTION)


async def serve_request_when(job: Job) -> None:
    """Agree, wait until the condition has become true, then act (FIPA00028)."""
    if not isinstance(job.term, When):
        raise TypeError(f"a request-when is about {When.tag}, not {job.term.tag}")
    action, ontology = unnest(job.term.action, job.ontologies)
    condition, _of = unnest(job.term.condition, job.ontologies)
    wait, act = job.handlers.holds[type(condition)], job.handlers.on[type(action)]

    async def wait_and_act(_when: Term, task: Participation) -> Answer:
        task.agree()  # not optional here: it agrees to wait (section 1.1)
        held: Any = await wait(condition, task)
        if isinstance(held, Refuse | Fail):
            return held
        answer: Answer = await act(action, task)
        return answer

    await carry_out(job, job.participation(), wait_and_act, job.term, ontology)


async def serve_proposal(job: Job) -> None:
    """Accept or reject what the initiator proposes to do (FIPA00036)."""
    seat, participation = job.seat, job.participation()
    decided = await work(job.room, seat, participation, job.handlers.considers[type(job.term)], job.term)
    if decided is None or seat.is_over:
        return
    if seat.cancel is not None:
        confirm_cancel(seat, seat.cancel)  # whatever was decided: it is not proposed any more
        return
    answer_proposal(job, decided)


def answer_proposal(job: Job, decided: Answer) -> None:
    """Accept what is proposed, or reject it with the reason."""
    try:
        _decide(job, decided)
    except ValueError as error:
        _decide(job, broken(job.room, job.seat, job.term, error))


def _decide(job: Job, decided: Answer) -> None:
    if isinstance(decided, Refuse | Fail):
        decline(job.room, job.seat, job.opening, Performative.REJECT_PROPOSAL, decided)
        return
    told = job.opening.content if isinstance(decided, Done) else job.ontology.render(decided)
    job.seat.say(job.opening.reply(Performative.ACCEPT_PROPOSAL, content=told))
