"""Both sides of fipa-brokering and fipa-recruiting: asking without knowing whom (FIPA00033, FIPA00034)."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from behaviours.conversing import Heard, Lost, Overdue, Seat, Told, after
from behaviours.events import OutOfSequence
from behaviours.handlers import Handler
from behaviours.initiating import (
    REPLY_WITHIN,
    RESULT_WITHIN,
    Hub,
    cancel,
    let_go,
    opening,
    outcome_of,
    withdraw,
)
from behaviours.outcomes import Answer, Expired, Fail, Outcome, Refuse
from behaviours.participating import Job, Participation, confirm_cancel, decline, until_cancelled, work
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, Reason, explain
from ontology.errors import Cause, ContentError
from ontology.interaction import INTERACTION, Proxy, ProxyDone, ProxyEnded
from protocols.brokering import BROKERING
from protocols.query import QUERY
from protocols.recruiting import RECRUITING
from protocols.request import REQUEST
from protocols.table import Protocol, kind

TARGET = "X-target"
"""The user-defined parameter in which a broker names the target whose reply it passes on."""

_EMBEDDED: Mapping[str, tuple[Performative, Protocol | None]] = {
    "request": (Performative.REQUEST, REQUEST),
    "query-if": (Performative.QUERY_IF, QUERY),
    "query-ref": (Performative.QUERY_REF, QUERY),
    "inform": (Performative.INFORM, None),
}

_FINAL = frozenset(
    {Performative.INFORM, Performative.REFUSE, Performative.FAILURE, Performative.NOT_UNDERSTOOD}
)


@dataclass(frozen=True, kw_only=True)
class Brokered:
    """What came of a proxy that was carried out."""

    targets: tuple[str, ...]
    """Whom the embedded message was sent to."""
    replies: Mapping[str, Outcome]
    """Target's name to its reply; one that was silent is missing."""


@dataclass(kw_only=True)
class _Proxying:
    """A proxy under way, as its initiator sees it."""

    hub: Hub
    seat: Seat
    targets: tuple[str, ...] | None = None
    """None until the broker has told that the proxy is done."""
    replies: dict[str, Outcome] = field(default_factory=dict)
    early: list[AclMessage] = field(default_factory=list)
    """What came before we knew of whom to expect anything: a quick target overtakes the recruiter."""

    @property
    def is_complete(self) -> bool:
        return self.targets is not None and len(self.replies) >= len(self.targets)

    def is_of_broker(self, message: AclMessage) -> bool:
        return message.sender is None or message.sender.name == self.seat.conversation.peer

    def done(self, targets: tuple[str, ...]) -> None:
        """The embedded message has gone out to these."""
        self.targets = targets
        for message in self.early:
            self.reply(message)

    def reply(self, message: AclMessage) -> None:
        """Take a target's reply: the first of each, and of nobody else."""
        if self.targets is None:
            self.early.append(message)
            return
        origin = _origin(message) if self.seat.protocol is BROKERING else _sender(message)
        is_named = TARGET in message.user_parameters or self.seat.protocol is RECRUITING
        if (is_named and origin not in self.targets) or origin in self.replies:
            text = f"{origin} is to reply once" if origin in self.replies else f"{origin} was not asked"
            act = message.performative.value
            self.hub.emit(OutOfSequence(agent=self.hub.me.name, performative=act, peer=origin, text=text))
        elif message.performative in _FINAL:
            self.replies[origin] = outcome_of(self.hub, self.seat, Heard(message))


async def proxy(
    hub: Hub,
    to: AgentIdentifier,
    wanted: Proxy,
    protocol: Protocol = BROKERING,
    *,
    reply_within: float = REPLY_WITHIN,
    result_within: float = RESULT_WITHIN,
) -> Brokered | Outcome:
    """Ask a broker, or a recruiter, to find agents and say something to them.

    Args:
        hub: our mailroom.
        to: the broker.
        wanted: whom to find and what to say. Where that is an inform, or somebody else is designated to get
            the replies, none are waited for.
        protocol: `BROKERING` passes the replies on; in `RECRUITING` the targets reply to us themselves.
        reply_within: seconds for the broker's first answer.
        result_within: seconds for all replies after it has agreed.

    Returns:
        The replies; or how the proxy ended where it was not carried out (no match is a `Failed`).
    """
    message = opening(hub, Performative.PROXY, protocol, INTERACTION, wanted, reply_within)
    message = message.model_copy(update={"receiver": (to,)})
    seat = hub.open(protocol, message, to)
    proxying = _Proxying(hub=hub, seat=seat)
    is_answered = wanted.performative != "inform" and (
        not wanted.designated or any(each.is_same_agent(hub.me) for each in wanted.designated)
    )
    try:
        async with asyncio.timeout(reply_within + result_within):
            ending = await _carried_out(proxying, is_answered)
    except TimeoutError:
        ending = None  # who has not replied by now is missing in the replies
        _take_back(hub, seat, message)
    except asyncio.CancelledError:
        _take_back(hub, seat, message)
        raise
    if ending is not None:
        return ending
    if proxying.targets is None:
        return Expired(Reason(cause=Cause.EXPIRED, text=f"{to} did not carry the proxy out in time"))
    _settle(seat)
    return Brokered(targets=proxying.targets, replies=proxying.replies)


async def _carried_out(proxying: _Proxying, is_answered: bool) -> Outcome | None:
    """Follow a proxy until all that is expected has come; if it was not carried out, say how it ended."""
    seat = proxying.seat
    while not proxying.is_complete:
        match await seat.step():
            case Heard(message) if not proxying.is_of_broker(message):
                proxying.reply(message)
            case Heard(message) if proxying.targets is None and message.performative is Performative.AGREE:
                seat.await_result(None)
            case Heard(message) if proxying.targets is None and message.performative is Performative.INFORM:
                proxying.done(_targets(message))
                if seat.protocol is RECRUITING:
                    seat.release()  # it has no more part in this, and may well leave
                    if not is_answered:
                        return None
            case Heard(message) if proxying.targets is not None and not _is_end(message):
                proxying.reply(message)
            case Told(ProxyEnded()):
                return None
            case Told():
                continue
            case step:
                return outcome_of(proxying.hub, seat, step)
    return None


def _is_end(message: AclMessage) -> bool:
    """Whether a message of the broker ends it all, and is no target's reply that it passes on."""
    return message.performative is Performative.FAILURE and kind(message) == "brokering"


def _settle(seat: Seat) -> None:
    """End a conversation in which nothing more is expected, if it is not being cancelled."""
    if (seat.conversation.state, "all-ended") in seat.protocol.events:
        seat.happen("all-ended")


def _take_back(hub: Hub, seat: Seat, message: AclMessage) -> None:
    """Cancel a proxy; once a recruiter has told that it is done, it has nothing left to cancel."""

    async def wait_for_answer() -> None:
        while not seat.is_over:
            let_go(seat, await seat.step())
            _settle(seat)  # the broker had ended before the cancel came

    if seat.protocol is RECRUITING:
        _settle(seat)
    if withdraw(hub, seat, message):
        hub.keep(asyncio.ensure_future(wait_for_answer()))


async def serve_proxy(job: Job) -> None:
    """Find targets, speak to them, and pass their replies on or have them sent.

    In recruiting neither the initiator nor the recruiter itself is a target: between these two, its reply
    could not be told from what the other one says.
    """
    seat, task, hub = job.seat, job.participation(), cast("Hub", job.room)
    if not isinstance(job.term, Proxy):
        raise TypeError(f"a proxy is about {Proxy.tag}, not {job.term.tag}")
    wanted: Proxy = job.term
    found = await work(job.room, seat, task, _finding(job), wanted)
    if found is None or seat.is_over:
        return
    if seat.cancel is not None:
        confirm_cancel(seat, seat.cancel)  # nothing has been said to anybody yet
        return
    if isinstance(found, Refuse) and seat.may_say(Performative.REFUSE):
        decline(job.room, seat, job.opening, Performative.REFUSE, found)
        return
    task.agree()
    targets = _suitable(job, found) if isinstance(found, ProxyDone) else []
    if not targets:
        why = found if isinstance(found, Refuse | Fail) else Fail("no-match", "no agent was found that fits")
        decline(job.room, seat, job.opening, Performative.FAILURE, why)
        return
    done = ProxyDone(targets=tuple(each.name for each in targets))
    if seat.protocol is RECRUITING:
        for target in targets:
            hub.post(_recruiting(job, wanted, target), target, lambda _reason: None)
    seat.say(job.opening.reply(Performative.INFORM, content=INTERACTION.render(done)))
    if seat.protocol is BROKERING:
        await until_cancelled(seat, _broker_all(job, hub, targets, wanted, task))
    _settle(seat)


def _suitable(job: Job, found: ProxyDone) -> list[AgentIdentifier]:
    """The targets among those found, each once."""
    wanted = job.term
    barred = {job.room.me.name, job.seat.peer.name} if job.seat.protocol is RECRUITING else set()
    names = [name for name in dict.fromkeys(found.targets) if name not in barred]
    return [AgentIdentifier.of(name) for name in names][: wanted.most if isinstance(wanted, Proxy) else None]


def _finding(job: Job) -> Handler:
    """The agent's handler, made to return a term of the identifiers that it finds."""

    async def find(wanted: Proxy, task: Participation) -> Answer:
        found: Sequence[AgentIdentifier] | Refuse | Fail = await job.handlers.brokers[Proxy](wanted, task)
        if isinstance(found, Refuse | Fail):
            return found
        return ProxyDone(targets=tuple(each.name for each in found))

    return find


async def _broker_all(
    job: Job, hub: Hub, targets: Sequence[AgentIdentifier], wanted: Proxy, task: Participation
) -> None:
    """Speak with every target at once, and tell when none is left to reply."""
    replies = await asyncio.gather(*(_broker(job, hub, target, wanted) for target in targets))
    task.tell(ProxyEnded(replies=sum(replies)))


async def _broker(job: Job, hub: Hub, target: AgentIdentifier, wanted: Proxy) -> bool:
    """Hold the embedded conversation with one target, pass its reply on, and say whether there was one.

    The content goes through as it is: a broker need not understand what it passes on.
    """
    act, protocol = _EMBEDDED[wanted.performative]
    content, label = json.dumps(wanted.message.content), wanted.message.ontology
    if protocol is None:
        message = AclMessage(performative=act, content=content, ontology=label, language=LANGUAGE)
        hub.post(message, target, lambda _reason: None)
        return False
    opened = opening(hub, act, protocol, INTERACTION, wanted, REPLY_WITHIN)
    message = opened.model_copy(update={"receiver": (target,), "content": content, "ontology": label})
    sub = hub.open(protocol, message, target)
    try:
        while True:
            match await sub.step():
                case Heard(heard) if heard.performative is Performative.AGREE:
                    sub.await_result(after(hub.now(), RESULT_WITHIN))
                case Told():
                    continue
                case step:
                    if isinstance(step, Overdue):
                        cancel(hub, sub, message)
                    break
    except asyncio.CancelledError:
        cancel(hub, sub, message)
        raise
    if job.seat.may_say(Performative.INFORM):
        job.seat.say(_passed_on(job.opening, step, target))
    return True


def _passed_on(proxied: AclMessage, step: Heard | Lost | Overdue, target: AgentIdentifier) -> AclMessage:
    origin = {TARGET: target.name}
    match step:
        case Heard(message):
            return proxied.reply(
                message.performative,
                content=message.content,
                language=message.language,
                ontology=message.ontology,
                user_parameters=origin,
            )
        case Lost(reason):
            pass
        case Overdue():
            reason = Reason(cause=Cause.EXPIRED, text=f"{target} did not answer in time", about=target.name)
    content = explain(reason.cause, reason.text, reason.about)
    return proxied.reply(Performative.FAILURE, content=content, user_parameters=origin)


def _recruiting(job: Job, wanted: Proxy, target: AgentIdentifier) -> AclMessage:
    """The embedded message, in the initiator's conversation, to be answered to the initiator."""
    act, protocol = _EMBEDDED[wanted.performative]
    return AclMessage(
        performative=act,
        receiver=(target,),
        reply_to=wanted.designated or (job.seat.peer,),
        content=json.dumps(wanted.message.content),
        language=LANGUAGE,
        ontology=wanted.message.ontology,
        protocol=protocol.name if protocol is not None else None,
        conversation_id=job.seat.conversation.conversation_id,
        reply_with=job.opening.reply_with or uuid.uuid4().hex,
    )


def _targets(answer: AclMessage) -> tuple[str, ...]:
    try:
        term = INTERACTION.parse(answer.content)
    except ContentError:
        return ()
    return term.targets if isinstance(term, ProxyDone) else ()


def _origin(answer: AclMessage) -> str:
    """Which target a reply is of: the one that the broker names, or the broker itself if it names none."""
    return answer.user_parameters.get(TARGET, _sender(answer))


def _sender(answer: AclMessage) -> str:
    return answer.sender.name if answer.sender is not None else ""
