"""The broker's and the recruiter's side: finding agents and speaking to them (FIPA00033, FIPA00034)."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterable, Sequence
from typing import Protocol as Port
from typing import cast

from behaviours.authorising import Authority
from behaviours.brokering import EMBEDDED, TARGET, settle
from behaviours.clocking import after
from behaviours.handlers import Handler
from behaviours.initiating import REPLY_WITHIN, RESULT_WITHIN, Hub, cancel, opening
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.participating import Job, Participation, confirm_cancel, decline, until_cancelled, work
from behaviours.seating import HEARERS
from behaviours.stepping import Heard, Lost, Overdue, Told
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import build, read_agent
from ontology.content import LANGUAGE, Reason, as_content
from ontology.errors import Cause, MessageError, shown
from ontology.interaction import INTERACTION, Proxy, ProxyDone, ProxyEnded
from protocols.brokering import BROKERING
from protocols.recruiting import RECRUITING


class Mediator(Hub, Port):
    """What is needed of the mailroom."""

    @property
    def authority(self) -> Authority:
        """What our agent lets others say."""


async def serve_proxy(job: Job) -> None:
    """Find targets, speak to them, and pass their replies on or have them sent.

    In recruiting neither the initiator nor the recruiter itself is a target: between these two, its reply
    could not be told from what the other one says. Nor is anybody whom the initiator may not ask itself, by
    our policy: nobody reaches through us whom he may not reach without us.
    """
    seat, task, hub = job.seat, job.participation(), cast("Mediator", job.room)
    if not isinstance(job.term, Proxy):
        raise TypeError(f"a proxy is about {Proxy.tag}, not {job.term.tag}")
    wanted: Proxy = job.term
    unfit = _unfit(job, wanted)
    if unfit is not None:
        decline(job.room, seat, job.opening, Performative.REFUSE, unfit)
        return
    found = await work(job.room, seat, task, _finding(job, hub.authority), wanted)
    if found is None or seat.is_over:
        return
    if seat.cancel is not None:
        confirm_cancel(seat, seat.cancel)  # nothing has been said to anybody yet
        return
    if isinstance(found, Refuse) and seat.may_say(Performative.REFUSE):
        decline(job.room, seat, job.opening, Performative.REFUSE, found)
        return
    task.agree()
    targets = [AgentIdentifier.of(name) for name in found.targets] if isinstance(found, ProxyDone) else []
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
    settle(seat)


_LONGEST_JID = "x" * 3071
"""RFC 7622 allows no longer one: what fits into a message to it fits into one to any target."""


def _unfit(job: Job, wanted: Proxy) -> Refuse | None:
    """Why what is to be passed on could not be sent, if that is so: told before anybody is looked for."""
    if len(wanted.designated) > HEARERS:
        text = f"{len(wanted.designated)} agents are designated; {HEARERS} can be, at most"
        return Refuse(Cause.UNSUPPORTED_VALUE, text, "designated")
    for each in wanted.designated:
        # The JIDs of a reply-to are separated by blanks, and an address may hold anything.
        if each.jid.split() != [each.jid]:
            text = f"designated: {shown(each.jid)!r} is no address that a reply can be sent to"
            return Refuse(Cause.UNSUPPORTED_VALUE, text, "designated")
    try:
        for each in wanted.designated:
            read_agent("designated", each.jid)
        render(_recruiting(job, wanted, job.room.me), _LONGEST_JID, uuid.uuid4().hex)
    except MessageError as error:
        return Refuse(error.cause, f"the message cannot be passed on: {error.text}", "message")
    except ValueError as error:
        return Refuse(Cause.UNSUPPORTED_VALUE, f"the message cannot be passed on: {error}", "message")
    return None


def _suitable(job: Job, found: Iterable[AgentIdentifier]) -> list[AgentIdentifier]:
    """The targets among those found, each once."""
    out = {job.room.me.name, job.seat.peer.name} if job.seat.protocol is RECRUITING else set()
    names = dict.fromkeys(each.name for each in found)
    return [AgentIdentifier.of(name) for name in names if name not in out]


def _finding(job: Job, authority: Authority) -> Handler:
    """The agent's handler, made to return a term of the identifiers that it finds and that may be asked."""

    async def find(wanted: Proxy, task: Participation) -> Answer:
        found: Sequence[AgentIdentifier] | Refuse | Fail = await job.handlers.brokers[Proxy](wanted, task)
        if isinstance(found, Refuse | Fail):
            return found
        targets = _suitable(job, found)
        barred = barred_by(authority, wanted, task, targets)
        names = [each.name for each in targets if each.name not in barred]
        if barred and not names:
            return Refuse(Cause.UNAUTHORISED, next(iter(barred.values())))
        return ProxyDone(targets=tuple(names[: wanted.most]))

    return find


def barred_by(
    authority: Authority, wanted: Proxy, task: Participation, targets: Iterable[AgentIdentifier]
) -> dict[str, str]:
    """Whom of these the initiator may not ask itself, and why (`Authority.bars`): a sentence by name."""
    act, protocol = EMBEDDED[wanted.performative]
    inner = AclMessage(performative=act, content=json.dumps(wanted.message.content))
    return authority.bars(task.message, task.initiator, inner, protocol, targets)


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
    act, protocol = EMBEDDED[wanted.performative]
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
        try:
            job.seat.say(_passed_on(job.opening, step, target))
        except ValueError as error:  # the target's name makes it too large
            reason = Reason(cause=Cause.INTERNAL_ERROR, text=f"the reply of {target} is lost: {error}")
            job.seat.say(_passed_on(job.opening, Lost(reason), target))
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
    content = as_content(reason)
    return proxied.reply(Performative.FAILURE, content=content, user_parameters=origin)


def _recruiting(job: Job, wanted: Proxy, target: AgentIdentifier) -> AclMessage:
    """The embedded message, in the initiator's conversation, to be answered to whom it designates.

    Raises:
        MessageError: the initiator has named an ontology that no message can have.
    """
    act, protocol = EMBEDDED[wanted.performative]
    fields = {
        "receiver": (target,),
        "reply_to": wanted.designated or (job.seat.peer,),
        "content": json.dumps(wanted.message.content),
        "language": LANGUAGE,
        "ontology": wanted.message.ontology,
        "protocol": protocol.name if protocol is not None else None,
        "conversation_id": job.seat.conversation.conversation_id,
        "reply_with": job.opening.reply_with or uuid.uuid4().hex,
    }
    return build(act, fields)
