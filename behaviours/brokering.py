"""The initiator's side of fipa-brokering and fipa-recruiting: asking without knowing whom.

FIPA00033 and FIPA00034; the other side is in `mediating`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from behaviours.conversing import Seat
from behaviours.events import OutOfSequence
from behaviours.initiating import (
    REPLY_WITHIN,
    RESULT_WITHIN,
    Hub,
    cancel,
    opening,
    outcome_of,
)
from behaviours.outcomes import Expired, Outcome
from behaviours.stepping import Heard, Told
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, Reason
from ontology.errors import Cause, ContentError
from ontology.interaction import INTERACTION, Proxy, ProxyDone, ProxyEnded
from protocols.brokering import BROKERING
from protocols.query import QUERY
from protocols.recruiting import RECRUITING
from protocols.request import REQUEST
from protocols.table import Protocol, kind

TARGET = "X-target"
"""The user-defined parameter in which a broker names the target whose reply it passes on."""

EMBEDDED: Mapping[str, tuple[Performative, Protocol | None]] = {
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
            fact = OutOfSequence(
                agent=self.hub.me.name,
                performative=message.performative.value,
                protocol=message.protocol or "",
                peer=origin,
                text=text,
            )
            self.hub.emit(fact)
        elif message.performative in _FINAL:
            self.replies[origin] = outcome_of(self.hub, self.seat, Heard(message, self.hub.now()))


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
        _take_back(proxying, message, wanted)
    except asyncio.CancelledError:
        _take_back(proxying, message, wanted)
        raise
    if ending is not None:
        return ending
    if proxying.targets is None:
        return Expired(Reason(cause=Cause.EXPIRED, text=f"{to} did not carry the proxy out in time"))
    settle(seat)
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


def _may_settle(seat: Seat) -> bool:
    return (seat.conversation.state, "all-ended") in seat.protocol.events


def settle(seat: Seat) -> None:
    """End a conversation in which nothing more is expected, if it is not being cancelled."""
    if _may_settle(seat):
        seat.happen("all-ended")


def _take_back(proxying: _Proxying, message: AclMessage, wanted: Proxy) -> None:
    """Cancel a proxy, in the background.

    FIPA00034 leaves open who cancels what was recruited. A recruiter that is done has no more part in it:
    then the targets are told themselves, in the conversation in which they are to reply to us.
    """
    seat = proxying.seat

    async def wind_up() -> None:
        while seat.has_steps or not (seat.is_over or _may_settle(seat)):
            step = await seat.step()
            if isinstance(step, Heard) and (targets := _targets(step.message)):
                proxying.done(targets)  # it crossed the cancel
        if seat.protocol is RECRUITING and wanted.performative != "inform":
            for name in set(proxying.targets or ()) - set(proxying.replies):
                proxying.hub.stop(_stopping(message, wanted), AgentIdentifier.of(name))
        settle(seat)

    if seat.protocol is not RECRUITING or not _may_settle(seat):
        cancel(proxying.hub, seat, message)
    proxying.hub.keep(asyncio.ensure_future(wind_up()))


def _stopping(proxied: AclMessage, wanted: Proxy) -> AclMessage:
    """The cancel of an embedded message."""
    _act, protocol = EMBEDDED[wanted.performative]
    return AclMessage(
        performative=Performative.CANCEL,
        content=json.dumps(wanted.message.content),
        language=LANGUAGE,
        ontology=wanted.message.ontology,
        protocol=protocol.name if protocol is not None else None,
        conversation_id=proxied.conversation_id,
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
