"""The participant's side: from an act that opens a conversation to the agent's handler and back.

Here stand a conversation as its handler sees it (`Participation`), how a handler is run while the
initiator may cancel (`work`), and the two commonest services: fipa-request and fipa-contract-net.
Whatever a handler does not finish quickly is agreed to first, as FIPA00026 asks.
"""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from behaviours.clocking import after
from behaviours.conversing import Seat
from behaviours.fencing import Office
from behaviours.handlers import Handler, Handlers
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.stepping import Heard, Room
from behaviours.stumbling import handler_failed
from behaviours.understanding import ontology_with
from behaviours.wire import ABOUT
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, Ontology, Predicate, Reason, Term, explain
from ontology.errors import Cause, ContentError
from ontology.interaction import PriceCall
from protocols.table import CANCELLING

AGREE_AFTER = 0.5
"""Seconds after which a request that is still being worked on is agreed to."""

ECHOED = 10_000
"""Characters of an action that an agree repeats; a longer one the initiator knows without us."""

INITIATOR_GONE_AFTER = 10.0
"""Seconds that the initiator may be away, at least, before we stop working for it: enough to reconnect."""

HOLD_SECONDS = 60.0
"""How long a proposal binds: seconds in which the initiator has to decide."""


class Participation:
    """A conversation as its handler sees it."""

    def __init__(self, room: Room, seat: Seat, opening: AclMessage, ontology: Ontology) -> None:
        self._room, self._seat = room, seat
        self.ontology = ontology
        """The one that the opening message is read with."""
        self._opening = opening
        self.message = opening
        """The message that is being answered: the request, the cfp, or the accept-proposal."""
        self.call: PriceCall | None = None
        """In an auction: the round that is under way."""
        self._then: list[Callable[[], None]] = []
        self.units = 1
        """In an auction: how many units to bid for; a `values` handler may set it."""
        self.is_committed = False
        """In a vote, for a `decided` handler: whether the value holds."""

    @property
    def id(self) -> str:
        """The conversation-id."""
        return self._seat.conversation.conversation_id

    @property
    def initiator(self) -> AgentIdentifier:
        """Who asked, with the address that it last wrote from."""
        return self._seat.peer

    @property
    def cancel(self) -> AclMessage | None:
        """The initiator's cancel, once it has come."""
        return self._seat.cancel

    @property
    def price(self) -> float | None:
        """What an award is said to be worth, where that is not what we offered (`contracting.vickrey`)."""
        try:
            price = float(self.message.user_parameters[PRICE])
        except (KeyError, ValueError):
            return None
        return price if math.isfinite(price) else None

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return self._seat.is_over

    def act_in(self, office: Office) -> None:
        """Answer as the leader of a group: should we die, the next one may go on in our place."""
        self._seat.office = office

    @property
    def has_agreed(self) -> bool:
        """Whether we have agreed to it already, be it before a restart."""
        return self._seat.chronicle.is_behind or not self._seat.may_say(Performative.AGREE)

    def then(self, call: Callable[[], None]) -> None:
        """Have something done once our last word is written down, and will be said whatever happens."""
        self._then.append(call)

    def leave(self, text: str) -> None:
        """Say nothing more, here and where it was begun for this: somebody else goes on with it.

        Args:
            text: why, in one sentence.
        """
        self._seat.chronicle.work.is_left = True
        self._seat.lose(Reason(cause=Cause.VANISHED, text=text))

    @property
    def is_left(self) -> bool:
        """Whether somebody else goes on with it."""
        return self._seat.chronicle.work.is_left

    def answered(self) -> None:
        """Our last word has been said. For the driver only."""
        for call in self._then:
            self._seat.chronicle.work.lane.note(then=call)

    def agree(self) -> None:
        """Tell the initiator now that it will be done; otherwise it is told after `AGREE_AFTER`."""
        if self._seat.may_say(Performative.AGREE):
            content = self._opening.content
            is_short = content is not None and len(content) <= ECHOED
            self._seat.say(self.message.reply(Performative.AGREE, content=content if is_short else None))
            if not self._seat.replies_to:  # else who opened this, a recruiter say, does not wait for it
                self._seat.watch(INITIATOR_GONE_AFTER)

    def tell(self, notice: Predicate) -> None:
        """Let the initiator know something meanwhile: an inform beside the protocol.

        It is said in the conversation's ontology or, where that has no such term, in another of the agent's.

        Raises:
            ValueError: none of them has it.
        """
        if self._seat.is_over:
            return
        # What a request-when or a proxy is about is of another ontology than its opening message.
        ontology = ontology_with(notice, (self.ontology, *self._room.ontologies))
        message = AclMessage(
            performative=Performative.INFORM,
            receiver=(self.initiator,),
            content=ontology.render(notice),
            language=LANGUAGE,
            ontology=ontology.label,
            user_parameters={ABOUT: self.id},
        )
        message = message if self._seat.office is None else self._seat.office.stamped(message)
        self._room.post(message, self.initiator, lambda _reason: None, self._seat.chronicle)


PRICE = "X-price"
"""The user-defined parameter in which an accept-proposal names a price that differs from the offer."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A conversation to be carried from its first message to its end."""

    room: Room
    seat: Seat
    opening: AclMessage
    term: Term
    """What the opening message is about."""
    ontology: Ontology
    handlers: Handlers
    ontologies: Sequence[Ontology]
    """All that the agent understands, for what is nested in other terms."""

    def participation(self) -> Participation:
        """The conversation as a handler sees it."""
        return Participation(self.room, self.seat, self.opening, self.ontology)


async def serve_request(job: Job) -> None:
    """Carry out a request (FIPA00026)."""
    await carry_out(job, job.participation(), job.handlers.on[type(job.term)], job.term, job.ontology)


async def serve_call(job: Job) -> None:
    """Answer a call with a proposal, and carry it out if it is accepted (FIPA00029, FIPA00030)."""
    room, seat, opening, ontology = job.room, job.seat, job.opening, job.ontology
    participation = job.participation()
    call, action = opening, job.term
    while True:
        proposed = await work(room, seat, participation, job.handlers.bids[type(action)], action)
        if proposed is None or seat.is_over:
            return
        if seat.cancel is not None:
            confirm_cancel(seat, seat.cancel)  # nothing was promised yet
            return
        if not _propose(room, seat, call, ontology, proposed):
            return
        decided = await _decision(seat)
        if decided is None:
            return
        participation.message = decided
        if decided.performative is Performative.ACCEPT_PROPOSAL:
            break
        revised = _revised(job, decided)
        if revised is None:
            return
        call, action = decided, revised
    seat.watch(INITIATOR_GONE_AFTER)
    await carry_out(job, participation, job.handlers.on[type(action)], action, ontology)


def _revised(job: Job, call: AclMessage) -> Term | None:
    """Read the revised call of a further round; None ends it, and the manager has been told why."""
    try:
        action = job.ontology.parse(call.content)
        if type(action) not in job.handlers.bids:
            raise ContentError(Cause.UNSUPPORTED_FUNCTION, f"{action.tag} is not what was called for first")  # noqa: TRY301
    except ContentError as error:
        content = explain(error.cause, error.text, error.about)
        job.seat.say(call.reply(Performative.NOT_UNDERSTOOD, content=content))
        return None
    return action


async def carry_out(
    job: Job, participation: Participation, handler: Handler, action: Term, ontology: Ontology
) -> None:
    """Run the handler of an action and tell the initiator what came of it."""
    room, seat = job.room, job.seat
    answer = await work(room, seat, participation, handler, action)
    if answer is None or seat.is_over:
        return
    try:
        _finish(seat, participation, ontology, answer)
    except ValueError as error:
        _finish(seat, participation, ontology, broken(room, seat, action, error))
    participation.answered()


def _propose(room: Room, seat: Seat, opening: AclMessage, ontology: Ontology, proposed: Answer) -> bool:
    """Answer a call; whether there is a proposal to be decided on now."""
    try:
        if isinstance(proposed, Refuse | Fail):
            seat.say(_refusal(opening, proposed))
            return False
        content = ontology.render(proposed)
        binding = after(room.now(), HOLD_SECONDS)
        reply_with = uuid.uuid4().hex
        seat.say(
            opening.reply(Performative.PROPOSE, content=content, reply_with=reply_with, reply_by=binding)
        )
    except ValueError as error:
        seat.say(_refusal(opening, broken(room, seat, proposed, error)))
        return False
    return True


def _finish(seat: Seat, participation: Participation, ontology: Ontology, answer: Answer) -> None:
    asked = participation.message
    match answer:
        case Refuse() if seat.may_say(Performative.REFUSE):
            seat.say(_refusal(asked, answer))
        case Refuse() | Fail():
            # Once agreed or awarded, an unwillingness is a failure (FIPA00026, FIPA00029).
            seat.say(asked.reply(Performative.FAILURE, content=answer.content()))
        case term:
            # Kept as the initiator wrote it, unless the answer is of another ontology than the question.
            label = asked.ontology if ontology is participation.ontology else ontology.label
            seat.say(asked.reply(Performative.INFORM, content=ontology.render(term), ontology=label))
    if participation.cancel is not None and seat.conversation.state == CANCELLING:
        content = explain(Cause.UNEXPECTED_ACT, "it was finished before the cancel came")
        seat.say(participation.cancel.reply(Performative.FAILURE, content=content))


def _refusal(message: AclMessage, answer: Refuse | Fail) -> AclMessage:
    return message.reply(Performative.REFUSE, content=answer.content())


_DECISIONS = frozenset({Performative.ACCEPT_PROPOSAL, Performative.CFP})


async def _decision(seat: Seat) -> AclMessage | None:
    """Wait for the acceptance, or for another round's call; None when neither comes."""
    while not seat.is_over:
        match await seat.step():
            case Heard(message) if message.performative in _DECISIONS:
                return message
            case Heard(message) if message.performative is Performative.CANCEL:
                confirm_cancel(seat, message)
    return None


def patience(room: Room, seat: Seat) -> float:
    """Seconds until a request is agreed to: well before its reply-by, or nobody would wait any more."""
    deadline = seat.conversation.deadline
    if deadline is None:
        return AGREE_AFTER
    return min(AGREE_AFTER, max(0.0, (deadline - room.now()).total_seconds() / 2))


async def work(
    room: Room, seat: Seat, participation: Participation, handler: Handler, action: Term
) -> Answer | None:
    """Run a handler while listening to the initiator; None when the conversation ended meanwhile."""
    work = asyncio.ensure_future(guarded(room, seat, handler, action, participation))
    agreeing = asyncio.get_running_loop().call_later(patience(room, seat), participation.agree)
    listening: asyncio.Task[Any] = asyncio.ensure_future(seat.step())
    try:
        while True:
            await asyncio.wait({work, listening}, return_when=asyncio.FIRST_COMPLETED)
            if work.cancelled():
                # Not by us: something that the handler waited for was cancelled.
                return broken(room, seat, action, asyncio.CancelledError("what it waited for was cancelled"))
            if work.done():
                return work.result()
            step = listening.result()
            listening = asyncio.ensure_future(seat.step())
            if isinstance(step, Heard) and step.message.performative is Performative.CANCEL:
                work.cancel()
                await asyncio.wait({work})
                if not work.cancelled():
                    return work.result()
                confirm_cancel(seat, step.message)
            if seat.is_over:
                return None
    finally:
        agreeing.cancel()
        listening.cancel()
        work.cancel()


async def until_cancelled(seat: Seat, work: Coroutine[Any, Any, None]) -> None:
    """Do what the initiator is told of as it goes on, until it is done.

    A cancel stops it and is confirmed; the end of the conversation stops it as well.
    """
    working, listening = asyncio.ensure_future(work), asyncio.ensure_future(_cancelled(seat))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in (working, listening):
            each.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)
    if seat.cancel is not None:
        confirm_cancel(seat, seat.cancel)
    if not working.cancelled():
        working.result()


async def _cancelled(seat: Seat) -> None:
    while not seat.is_over and seat.cancel is None:
        await seat.step()


def decline(room: Room, seat: Seat, asked: AclMessage, act: Performative, why: Refuse | Fail) -> None:
    """Say no with a reason; one that XML cannot carry is a mistake of the handler's, and told as that."""
    try:
        seat.say(asked.reply(act, content=why.content()))
    except ValueError as error:
        why = broken(room, seat, why, error)
        seat.say(asked.reply(act, content=why.content()))


def confirm_cancel(seat: Seat, cancel: AclMessage) -> None:
    """Tell the initiator that what it cancelled has been stopped (FIPA00026, 2.2)."""
    if seat.conversation.state == CANCELLING:
        seat.say(cancel.reply(Performative.INFORM, content='{"done":{}}'))


async def guarded(
    room: Room, seat: Seat, handler: Handler, action: Term, participation: Participation
) -> Answer:
    """Run a handler; what it raises is a failure to the initiator and a fact to the operator."""
    try:
        answer: object = await handler(action, participation)
        if isinstance(answer, Term | Refuse | Fail):
            return answer
        raise TypeError(f"the handler returned {type(answer).__name__}, not a term, Refuse or Fail")  # noqa: TRY301
    except Exception as error:  # noqa: BLE001 - a handler is the user's code; the agent outlives it
        return broken(room, seat, action, error)


def broken(room: Room, seat: Seat, about: Term | Refuse | Fail, error: BaseException) -> Fail:
    """Note that a handler broke; the answer that says so."""
    fact = handler_failed(room.me, seat.peer.name, error)
    room.emit(fact)
    what = about.tag if isinstance(about, Term) else "the answer"
    return Fail(Cause.INTERNAL_ERROR, f"{room.me.local_name} could not finish {what}: {fact.text}"[:1000])
