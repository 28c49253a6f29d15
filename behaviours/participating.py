"""The participant's side: from an act that opens a conversation to the agent's handler and back.

An agent marks its methods with what they do::

    @on(Train)
    async def train(self, action: Train, task: Participation) -> Answer: ...

    @bids(Train)
    async def bid(self, action: Train, task: Participation) -> Answer: ...

    @hears(Progress)
    def progress(self, notice: Progress, sender: AgentIdentifier) -> None: ...

A request runs the `on` handler. A call for proposals runs `bids`, and `on` once the proposal is
accepted. Whatever the handler does not finish quickly is agreed to first, as FIPA00026 asks.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from behaviours.conversing import Heard, Room, Seat, after
from behaviours.events import HandlerFailed
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.wire import legible
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, AgentAction, Ontology, Predicate, Term, explain
from ontology.errors import Cause
from protocols.table import CANCELLING

AGREE_AFTER = 0.5
"""Seconds after which a request that is still being worked on is agreed to."""

HOLD_SECONDS = 60.0
"""How long a proposal binds: seconds in which the initiator has to decide."""

Handler = Callable[[Any, "Participation"], Awaitable[Answer]]
Listener = Callable[[Any, AgentIdentifier], None]

_F = TypeVar("_F", bound=Callable[..., Any])

_MARK = "_locution_handles"


def on(action: type[AgentAction]) -> Callable[[_F], _F]:
    """Mark the method that carries out an action, on request or on award."""
    return _mark("on", action)


def bids(action: type[AgentAction]) -> Callable[[_F], _F]:
    """Mark the method that answers a call for proposals for an action: with a proposal, or `Refuse`."""
    return _mark("bids", action)


def hears(predicate: type[Predicate]) -> Callable[[_F], _F]:
    """Mark the method that is told of an inform outside any protocol."""
    return _mark("hears", predicate)


def _mark(kind: str, term: type[Term]) -> Callable[[_F], _F]:
    def apply(method: _F) -> _F:
        setattr(method, _MARK, (*getattr(method, _MARK, ()), (kind, term)))
        return method

    return apply


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """What an agent can do, by term."""

    on: Mapping[type[Term], Handler] = field(default_factory=dict)
    bids: Mapping[type[Term], Handler] = field(default_factory=dict)
    hears: Mapping[type[Term], Listener] = field(default_factory=dict)

    @classmethod
    def of(cls, agent: object) -> Handlers:
        """Collect the marked methods of an object, those of its base classes included.

        Raises:
            TypeError: two methods are marked for the same thing.
        """
        found: dict[str, dict[type[Term], Any]] = {"on": {}, "bids": {}, "hears": {}}
        for name in dir(type(agent)):
            for kind, term in getattr(getattr(type(agent), name, None), _MARK, ()):
                if term in found[kind]:
                    raise TypeError(
                        f"{type(agent).__name__}: two methods are marked @{kind}({term.__name__})"
                    )
                found[kind][term] = getattr(agent, name)
        return cls(on=found["on"], bids=found["bids"], hears=found["hears"])


class Participation:
    """A conversation as its handler sees it."""

    def __init__(self, room: Room, seat: Seat, opening: AclMessage, ontology: Ontology) -> None:
        self._room, self._seat, self._ontology = room, seat, ontology
        self._opening = opening
        self.message = opening
        """The message that is being answered: the request, the cfp, or the accept-proposal."""

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
    def is_over(self) -> bool:
        """Whether nobody waits for an answer any more."""
        return self._seat.is_over

    def agree(self) -> None:
        """Tell the initiator now that it will be done; otherwise it is told after `AGREE_AFTER`."""
        if self._seat.conversation.state == "S1":
            self._seat.say(self.message.reply(Performative.AGREE, content=self._opening.content))

    def tell(self, notice: Predicate) -> None:
        """Let the initiator know something meanwhile: an inform beside the protocol."""
        if self._seat.is_over:
            return
        message = AclMessage(
            performative=Performative.INFORM,
            receiver=(self.initiator,),
            content=self._ontology.render(notice),
            language=LANGUAGE,
            ontology=self._ontology.label,
            user_parameters={ABOUT: self.id},
        )
        self._room.post(message, self.initiator, lambda _reason: None)


ABOUT = "X-about"
"""The user-defined parameter in which a notice names the conversation that it belongs to."""


async def serve(
    room: Room, seat: Seat, opening: AclMessage, action: Term, ontology: Ontology, handlers: Handlers
) -> None:
    """Carry one conversation from its first message to its end. Never raises for what a handler does."""
    participation = Participation(room, seat, opening, ontology)
    if opening.performative is Performative.CFP:
        proposed = await _work(room, seat, participation, handlers.bids[type(action)], action)
        if proposed is None or seat.is_over:
            return
        if seat.cancel is not None:
            _confirm_cancel(seat, seat.cancel)  # nothing was promised yet
            return
        if not _propose(room, seat, opening, ontology, proposed):
            return
        accepted = await _accepted(seat)
        if accepted is None:
            return
        participation.message = accepted
    answer = await _work(room, seat, participation, handlers.on[type(action)], action)
    if answer is None or seat.is_over:
        return
    try:
        _finish(seat, participation, ontology, answer)
    except ValueError as error:
        _finish(seat, participation, ontology, _broken(room, seat, action, error))


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
        seat.say(_refusal(opening, _broken(room, seat, proposed, error)))
        return False
    return True


def _finish(seat: Seat, participation: Participation, ontology: Ontology, answer: Answer) -> None:
    asked = participation.message
    match answer:
        case Refuse() if seat.conversation.state == "S1":
            seat.say(_refusal(asked, answer))
        case Refuse() | Fail():
            # Once agreed or awarded, an unwillingness is a failure (FIPA00026, FIPA00029).
            content = explain(answer.cause, answer.text, answer.about)
            seat.say(asked.reply(Performative.FAILURE, content=content))
        case term:
            seat.say(asked.reply(Performative.INFORM, content=ontology.render(term)))
    if participation.cancel is not None and seat.conversation.state == CANCELLING:
        content = explain(Cause.UNEXPECTED_ACT, "it was finished before the cancel came")
        seat.say(participation.cancel.reply(Performative.FAILURE, content=content))


def _refusal(message: AclMessage, answer: Refuse | Fail) -> AclMessage:
    content = explain(answer.cause, answer.text, answer.about)
    return message.reply(Performative.REFUSE, content=content)


async def _accepted(seat: Seat) -> AclMessage | None:
    """Wait for the decision on our proposal; None when it was rejected, cancelled or never came."""
    while not seat.is_over:
        match await seat.step():
            case Heard(message) if message.performative is Performative.ACCEPT_PROPOSAL:
                return message
            case Heard(message) if message.performative is Performative.CANCEL:
                _confirm_cancel(seat, message)
    return None


def _patience(room: Room, seat: Seat) -> float:
    """Seconds until a request is agreed to: well before its reply-by, or nobody would wait any more."""
    deadline = seat.conversation.deadline
    if deadline is None:
        return AGREE_AFTER
    return min(AGREE_AFTER, max(0.0, (deadline - room.now()).total_seconds() / 2))


async def _work(
    room: Room, seat: Seat, participation: Participation, handler: Handler, action: Term
) -> Answer | None:
    """Run a handler while listening to the initiator; None when the conversation ended meanwhile."""
    work = asyncio.ensure_future(_guarded(room, seat, handler, action, participation))
    agreeing = asyncio.get_running_loop().call_later(_patience(room, seat), participation.agree)
    listening: asyncio.Task[Any] = asyncio.ensure_future(seat.step())
    try:
        while True:
            await asyncio.wait({work, listening}, return_when=asyncio.FIRST_COMPLETED)
            if work.cancelled():
                # Not by us: something that the handler waited for was cancelled.
                return _broken(room, seat, action, asyncio.CancelledError("what it waited for was cancelled"))
            if work.done():
                return work.result()
            step = listening.result()
            listening = asyncio.ensure_future(seat.step())
            if isinstance(step, Heard) and step.message.performative is Performative.CANCEL:
                work.cancel()
                await asyncio.wait({work})
                if not work.cancelled():
                    return work.result()
                _confirm_cancel(seat, step.message)
            if seat.is_over:
                return None
    finally:
        agreeing.cancel()
        listening.cancel()
        work.cancel()


def _confirm_cancel(seat: Seat, cancel: AclMessage) -> None:
    if seat.conversation.state == CANCELLING:
        seat.say(cancel.reply(Performative.INFORM, content='{"done":{}}'))


async def _guarded(
    room: Room, seat: Seat, handler: Handler, action: Term, participation: Participation
) -> Answer:
    """Run a handler; what it raises is a failure to the initiator and a fact to the operator."""
    try:
        answer: object = await handler(action, participation)
        if isinstance(answer, Term | Refuse | Fail):
            return answer
        raise TypeError(f"the handler returned {type(answer).__name__}, not a term, Refuse or Fail")  # noqa: TRY301
    except Exception as error:  # noqa: BLE001 - a handler is the user's code; the agent outlives it
        return _broken(room, seat, action, error)


def _broken(room: Room, seat: Seat, about: Term | Refuse | Fail, error: BaseException) -> Fail:
    """Note that a handler broke; the answer that says so."""
    text = legible(f"{type(error).__name__}: {error}")
    room.emit(HandlerFailed(agent=room.me.name, peer=seat.peer.name, text=text))
    what = about.tag if isinstance(about, Term) else "the answer"
    return Fail(Cause.INTERNAL_ERROR, f"{room.me.local_name} could not finish {what}: {text}"[:1000])
