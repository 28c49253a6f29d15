"""Both sides of fipa-brokering and fipa-recruiting: asking without knowing whom (FIPA00033, FIPA00034)."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from behaviours.conversing import Heard, Told
from behaviours.handlers import Handler
from behaviours.initiating import REPLY_WITHIN, RESULT_WITHIN, Hub, ask, cancel, opening, outcome_of
from behaviours.outcomes import (
    Answer,
    Cancelled,
    Expired,
    Fail,
    Failed,
    NotUnderstood,
    Outcome,
    Refuse,
    Refused,
    Succeeded,
)
from behaviours.participating import Job, Participation, work
from behaviours.understanding import unnest
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, Reason, Term, explain
from ontology.errors import Cause, ContentError
from ontology.interaction import INTERACTION, Proxy, ProxyDone, ProxyEnded
from protocols.brokering import BROKERING
from protocols.query import QUERY
from protocols.recruiting import RECRUITING
from protocols.request import REQUEST
from protocols.table import Protocol

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
        wanted: whom to find and what to say.
        protocol: `BROKERING` passes the replies on; in `RECRUITING` the targets reply to us themselves.
        reply_within: seconds for the broker's first answer.
        result_within: seconds for all replies after it has agreed.

    Returns:
        The replies; or how the proxy ended where it was not carried out (no match is a `Failed`).
    """
    message = opening(hub, Performative.PROXY, protocol, INTERACTION, wanted, reply_within)
    message = message.model_copy(update={"receiver": (to,)})
    seat = hub.open(protocol, message, to)
    targets: tuple[str, ...] = ()
    replies: dict[str, Outcome] = {}
    is_done = False
    try:
        async with asyncio.timeout(reply_within + result_within):
            while not (is_done and len(replies) >= len(targets)):
                match await seat.step():
                    case Heard(answer) if answer.performative is Performative.AGREE and not is_done:
                        seat.await_result(None)
                    case Heard(answer) if answer.performative is Performative.INFORM and not is_done:
                        is_done, targets = True, _targets(answer)
                    case Heard(answer) if is_done and not seat.is_over:
                        if answer.performative in _FINAL:
                            replies[_origin(answer)] = outcome_of(hub, seat, Heard(answer))
                    case Told(ProxyEnded()):
                        break
                    case Told():
                        continue
                    case step:
                        return outcome_of(hub, seat, step)
    except TimeoutError:
        pass  # who has not replied by now is missing in the replies
    except asyncio.CancelledError:
        cancel(hub, seat, message)
        raise
    if not is_done:
        cancel(hub, seat, message)
        return Expired(Reason(cause=Cause.EXPIRED, text=f"{to} did not carry the proxy out in time"))
    if not seat.is_over:
        seat.happen("all-ended")
    return Brokered(targets=targets, replies=replies)


async def serve_proxy(job: Job) -> None:
    """Find targets, speak to them, and pass their replies on or have them sent."""
    seat, task, hub = job.seat, job.participation(), cast("Hub", job.room)
    if not isinstance(job.term, Proxy):
        raise TypeError(f"a proxy is about {Proxy.tag}, not {job.term.tag}")
    wanted: Proxy = job.term
    try:
        embedded, _ontology = unnest(wanted.message, job.ontologies)
    except ContentError:
        embedded = None  # not for us to understand: it is passed on as it is
    task.agree()
    found = await work(job.room, seat, task, _finding(job), wanted)
    if found is None or seat.is_over:
        return
    if not isinstance(found, ProxyDone):
        content = explain(found.cause, found.text) if isinstance(found, Refuse | Fail) else None
        seat.say(job.opening.reply(Performative.FAILURE, content=content))
        return
    targets = [AgentIdentifier.of(name) for name in found.targets][: wanted.most]
    if not targets:
        content = explain("no-match", "no agent was found that fits")
        seat.say(job.opening.reply(Performative.FAILURE, content=content))
        return
    done = ProxyDone(targets=tuple(each.name for each in targets))
    if seat.protocol is RECRUITING:
        for target in targets:
            hub.post(_recruiting(job, wanted, target), target, lambda _reason: None)
    seat.say(job.opening.reply(Performative.INFORM, content=INTERACTION.render(done)))
    if seat.protocol is BROKERING and embedded is not None:
        await asyncio.gather(*(_broker(job, hub, target, wanted, embedded) for target in targets))
        task.tell(ProxyEnded(replies=len(targets)))
    if not seat.is_over:
        seat.happen("all-ended")


def _finding(job: Job) -> Handler:
    """The agent's handler, made to return a term of the identifiers that it finds."""

    async def find(wanted: Proxy, task: Participation) -> Answer:
        found: Sequence[AgentIdentifier] | Refuse | Fail = await job.handlers.brokers[Proxy](wanted, task)
        if isinstance(found, Refuse | Fail):
            return found
        return ProxyDone(targets=tuple(each.name for each in found))

    return find


async def _broker(job: Job, hub: Hub, target: AgentIdentifier, wanted: Proxy, embedded: Term) -> None:
    """Hold the embedded conversation with one target and pass its reply on."""
    act, protocol = _EMBEDDED[wanted.performative]
    _term, ontology = unnest(wanted.message, job.ontologies)
    if protocol is None:
        message = AclMessage(
            performative=act, content=ontology.render(embedded), ontology=ontology.label, language=LANGUAGE
        )
        hub.post(message, target, lambda _reason: None)
        return
    outcome = await ask(hub, target, ontology, embedded, performative=act, protocol=protocol)
    if not job.seat.is_over and job.seat.may_say(Performative.INFORM):
        job.seat.say(_passed_on(job.opening, outcome, target))


def _passed_on(proxied: AclMessage, outcome: Outcome, target: AgentIdentifier) -> AclMessage:
    origin = {TARGET: target.name}
    match outcome:
        case Succeeded(message=message):
            return proxied.reply(
                message.performative,
                content=message.content,
                ontology=message.ontology,
                user_parameters=origin,
            )
        case Refused(reason):
            act = Performative.REFUSE
        case NotUnderstood(reason) | Failed(reason) | Expired(reason):
            act = Performative.FAILURE
        case Cancelled():
            act, reason = Performative.FAILURE, Reason(cause="cancelled", text="it was cancelled")
    content = explain(reason.cause, reason.text, reason.about)
    return proxied.reply(act, content=content, user_parameters=origin)


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
    """Which target a reply is of: the one that the broker names, or its sender."""
    sender = answer.sender.name if answer.sender is not None else ""
    return answer.user_parameters.get(TARGET, sender)
