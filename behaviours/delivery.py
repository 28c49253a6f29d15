"""Sending that tells the truth: whoever sends learns what became of it, or that nobody knows.

XMPP itself never complains to the one that sends: a client queues while it is offline, and a server
returns what it cannot deliver as a separate stanza, later. Here each message is watched until its
bounce can no longer come, and one that cannot be handed over in time is reported. What was handed over
but not confirmed when a connection broke is handed over again on the next one, under the same id: a
mailroom drops the second copy; a plain SPADE agent may see it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from behaviours.bouncing import failure_of, may_return, meaning_of
from behaviours.clocking import system_now
from behaviours.connection import ConnectionFailed, Transport
from behaviours.events import BounceDisbelieved, Hook, MessageSent, MessageUndelivered
from behaviours.receipts import MARK
from behaviours.wire import Bounced, Incoming, render
from behaviours.wording import Wording
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import Reason
from ontology.errors import Cause

PATIENCE = 30.0
"""Seconds that a message waits for a connection before its sender is told."""

CONFIRM_WITHIN = 10.0
"""Seconds in which the server has to confirm."""

WATCHED = 10_000
"""Messages whose bounce is awaited; beyond that the oldest are taken as delivered."""

WATCH_SECONDS = 60.0
"""Seconds after which a bounce is no longer expected, and the message is let go of."""

TOLD_BEFORE = 0.95
"""Part of the time to its reply-by that a message waits for a connection: its sender is to hear what is
the matter before the deadline, not that the peer did not answer."""

SETTLE_AFTER = 1.0
"""Seconds after which the server is asked to confirm what was handed over: one ping for all of it."""

WAITING = 10_000
"""Messages that wait for a connection; beyond that a further one is reported at once."""


@dataclass(frozen=True)
class Delivered:
    """The server has taken the message and returned nothing: it is with the peer, or stored for it."""

    is_acknowledged: bool = False
    """Whether its receiver has said that it has processed it, as every agent of ours does."""


@dataclass(frozen=True)
class Undelivered:
    """The message did not get through, or nobody can say that it did; the reason tells which."""

    reason: Reason
    failure: AclMessage
    """The same as FIPA has it: a failure from the platform's AMS (FIPA00067), `failure_of` the message."""


DeliveryResult = Delivered | Undelivered

OnLost = Callable[[Reason], None]

Trace = Callable[[AclMessage, AgentIdentifier], None]
"""Shown a message and whom it is for."""


def _untraced(_message: AclMessage, _to: AgentIdentifier) -> None:
    """The trace of those that do not look."""


Sign = Callable[[AclMessage, AgentIdentifier, str], AclMessage]
"""Makes of a message what travels, for a receiver and under a stanza's id (`behaviours.signing`)."""


def _unsigned(message: AclMessage, _to: AgentIdentifier, _stanza_id: str) -> AclMessage:
    """For agents without a key."""
    return message


@dataclass(frozen=True)
class _Posted:
    message: AclMessage
    to: AgentIdentifier
    stanza_id: str
    on_lost: OnLost
    is_marked: bool = False
    """Whether it asks to be acknowledged."""


def _unheard(_reason: Reason) -> None:
    """Nobody is told of a message that is not sent."""


class Delivery:
    """The outgoing side of one agent.

    Args:
        me: the sender.
        transport: the connection.
        hook: sink of facts.
        patience: seconds that a message waits for a connection.
        clock: the wall clock, aware: what reply-by is compared with.
        sign: signs what is handed over, each time anew.
    """

    def __init__(
        self,
        me: AgentIdentifier,
        transport: Transport,
        hook: Hook,
        patience: float = PATIENCE,
        clock: Callable[[], datetime] = system_now,
        sign: Sign = _unsigned,
    ) -> None:
        self._me, self._transport, self._hook, self._patience = me, transport, hook, patience
        self._clock, self._sign = clock, sign
        self._watched: OrderedDict[str, tuple[float, _Posted]] = OrderedDict()
        self._waiting: OrderedDict[str, tuple[_Posted, asyncio.TimerHandle]] = OrderedDict()
        self._doubtful: OrderedDict[str, _Posted] = OrderedDict()
        """Handed over, and not confirmed yet: what a broken connection may have swallowed."""
        self._settling: asyncio.TimerHandle | None = None
        self._unconfirmed: list[asyncio.Future[bool]] = []
        self._confirming: asyncio.Task[None] | None = None
        self._is_closed = False
        self._wording = Wording()

    def check(self, message: AclMessage, to: AgentIdentifier, message_id: str = "") -> str:
        """Look whether a message can be written as a stanza; return the stanza.

        Raises:
            ValueError: it cannot.
        """
        return self._rendered(_Posted(message, to, message_id or uuid.uuid4().hex, _unheard, is_marked=True))

    def post(
        self,
        message: AclMessage,
        to: AgentIdentifier,
        on_lost: OnLost,
        *,
        trace: Trace = _untraced,
        message_id: str | None = None,
        stanza: str | None = None,
    ) -> str:
        """Send without waiting; `on_lost` is called at most once, later, if it does not get through.

        While there is no connection the message waits, in order, for at most `patience` seconds, and
        not until after its reply-by: nobody waits for its answer then. What can be sent is shown to `trace`
        before it is handed over, so that no answer is traced before it.

        Args:
            message: what to say.
            to: to whom.
            on_lost: see above.
            trace: see above.
            message_id: of one that is to be acknowledged; the same for each copy.
            stanza: what `check` has made of it just now.

        Returns:
            The stanza's id.

        Raises:
            ValueError: the message holds a character that XML cannot carry. Nothing was sent.
        """
        stanza_id = message_id or uuid.uuid4().hex
        posted = _Posted(message, to, stanza_id, on_lost, is_marked=message_id is not None)
        stanza = stanza or self._rendered(posted)
        trace(message, to)
        must_wait = bool(self._waiting) or not self._transport.is_online
        if self._is_closed:
            self._refuse(posted, Cause.UNREACHABLE, "the agent was stopped")
        elif must_wait and len(self._waiting) >= WAITING:
            self._refuse(posted, Cause.OVERLOADED, f"{WAITING:,} messages wait for a connection already")
        elif must_wait or not self._hand_over(posted, stanza):
            self._wait(posted)
        return posted.stanza_id

    async def send(self, message: AclMessage, *, trace: Trace = _untraced) -> DeliveryResult:
        """Send to every receiver and wait until the server has confirmed or returned it; see `post`.

        Raises:
            ValueError: nobody is addressed, or a character cannot be carried. Nothing was sent.
        """
        if not message.receiver:
            raise ValueError("the message has no receiver: name at least one agent")
        lost: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()

        def on_lost(reason: Reason) -> None:
            if not lost.done():
                lost.set_result(reason)

        posted = [self.post(message, to, on_lost, trace=trace) for to in message.receiver]
        confirming = asyncio.ensure_future(self._confirm_online())
        try:
            ends: set[asyncio.Future[Any]] = {lost, confirming}
            await asyncio.wait(
                ends,
                timeout=self._patience + CONFIRM_WITHIN,
                return_when=asyncio.FIRST_COMPLETED,
            )
            is_confirmed = confirming.done() and confirming.result()
        finally:
            confirming.cancel()
        if lost.done():
            reason = lost.result()
        elif is_confirmed and not self._waiting.keys() & set(posted):
            return Delivered()
        else:
            # From here on it is the sender's affair: it is not handed over again.
            withdrawn = [self._withdraw(stanza_id) for stanza_id in posted]
            text = (
                "the connection to the server was lost again; it was not sent"
                if any(withdrawn)
                else "the connection was lost before the server confirmed: nobody knows whether it arrived"
            )
            reason = Reason(cause=Cause.UNREACHABLE, text=text)
        return Undelivered(reason, failure_of(message, self._me, reason))

    def heard(self, incoming: Incoming | None) -> None:
        """Take note of how somebody writes, who is to be answered in the same form."""
        self._wording.note(incoming)

    def bounced(self, bounce: Bounced) -> None:
        """Take note of a stanza that came back; what is not ours, or is forged, is ignored."""
        _since, posted = self._watched.get(bounce.stanza_id, (0.0, None))
        if posted is None:
            return
        if not may_return(bounce, posted.to, self._me):
            fact = BounceDisbelieved(agent=self._me.name, peer=bounce.peer, addressee=posted.to.name)
            self._hook(fact)
            return
        del self._watched[bounce.stanza_id]
        self._doubtful.pop(bounce.stanza_id, None)
        if posted.is_marked and bounce.condition == "recipient-unavailable":
            # Prosody returns so what a killed session had not acknowledged, once a new one takes its place:
            # it may have arrived, there or elsewhere. The outbox asks after it.
            return
        self._lose(posted, Cause.UNREACHABLE, f"{posted.to}: {meaning_of(bounce)}")

    def came_online(self) -> None:
        """Send again what is in doubt, then what has been waiting, all in order.

        What a new break leaves keeps its place.
        """
        for posted in tuple(self._doubtful.values()):
            if not self._hand_over(posted, self._rendered(posted)):
                return
        while self._waiting and self._transport.is_online:
            posted, timer = next(iter(self._waiting.values()))
            if not self._hand_over(posted, self._rendered(posted)):
                return
            timer.cancel()
            del self._waiting[posted.stanza_id]

    def close(self) -> None:
        """Report everything that still waits; nothing is sent any more."""
        self._is_closed = True
        while self._waiting:
            _stanza_id, (posted, timer) = self._waiting.popitem(last=False)
            timer.cancel()
            self._lose(posted, Cause.UNREACHABLE, "the agent was stopped before it was sent")
        for handle in (self._confirming, self._settling):
            if handle is not None:
                handle.cancel()
        for waiter in self._unconfirmed:
            if not waiter.done():
                waiter.set_result(False)

    def _rendered(self, posted: _Posted) -> str:
        message = self._sign(posted.message, posted.to, posted.stanza_id)
        mark = MARK if posted.is_marked else ""
        return render(message, posted.to.jid, posted.stanza_id, self._wording.of(posted.to), mark)

    def is_waiting(self, stanza_id: str) -> bool:
        """Whether a message waits for a connection."""
        return stanza_id in self._waiting

    def forget(self, stanza_id: str) -> None:
        """Nothing more is to be done or told about a message: it was acknowledged, or is given up."""
        self._withdraw(stanza_id)
        self._watched.pop(stanza_id, None)

    def _watch(self, posted: _Posted) -> None:
        now = asyncio.get_running_loop().time()
        self._watched[posted.stanza_id] = (now, posted)
        while len(self._watched) > WATCHED or next(iter(self._watched.values()))[0] < now - WATCH_SECONDS:
            self._watched.popitem(last=False)

    def _wait(self, posted: _Posted) -> None:
        patience = self._patience
        if posted.message.reply_by is not None:
            remaining = (posted.message.reply_by - self._clock()).total_seconds()
            patience = max(0.0, min(patience, remaining * TOLD_BEFORE))
        timer = asyncio.get_running_loop().call_later(patience, self._give_up, posted, patience)
        self._waiting[posted.stanza_id] = (posted, timer)

    def _give_up(self, posted: _Posted, patience: float) -> None:
        del self._waiting[posted.stanza_id]
        text = f"no connection to the server within {patience:.3g} s; it was not sent"
        self._lose(posted, Cause.UNREACHABLE, text)

    def _withdraw(self, stanza_id: str) -> bool:
        """Take back what still waits or is in doubt; whether it waited."""
        self._doubtful.pop(stanza_id, None)
        found = self._waiting.pop(stanza_id, None)
        if found is not None:
            found[1].cancel()
        return found is not None

    def _hand_over(self, posted: _Posted, stanza: str) -> bool:
        try:
            self._transport.hand_over(stanza)
        except ConnectionFailed:
            return False
        self._watch(posted)
        self._doubtful[posted.stanza_id] = posted
        if len(self._doubtful) > WATCHED:
            self._doubtful.popitem(last=False)
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_AFTER, self._settle)
        self._hook(
            MessageSent(
                agent=self._me.name,
                performative=posted.message.performative.value,
                protocol=posted.message.protocol or "",
                peer=posted.to.name,
            )
        )
        return True

    def _refuse(self, posted: _Posted, cause: Cause, text: str) -> None:
        # Not at once: whoever posts has not yet moved its conversation, which the loss would end.
        asyncio.get_running_loop().call_soon(self._lose, posted, cause, text)

    def _lose(self, posted: _Posted, cause: Cause, text: str) -> None:
        self._hook(
            MessageUndelivered(
                agent=self._me.name,
                performative=posted.message.performative.value,
                protocol=posted.message.protocol or "",
                peer=posted.to.name,
                cause=cause,
                text=text,
            )
        )
        posted.on_lost(Reason(cause=cause, text=text, about=posted.to.name))

    def _settle(self) -> None:
        """Ask the server to confirm what is in doubt; without a connection it stays in doubt."""
        self._settling = None
        if (
            self._doubtful
            and self._transport.is_online
            and (self._confirming is None or self._confirming.done())
        ):
            self._confirming = asyncio.get_running_loop().create_task(self._confirm_all())

    async def _confirm_online(self) -> bool:
        await self._transport.wait_online()
        return await self._confirm()

    async def _confirm(self) -> bool:
        """One ping confirms every stanza that was handed over before it."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._unconfirmed.append(waiter)
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.create_task(self._confirm_all())
        return await waiter

    async def _confirm_all(self) -> None:
        while True:
            waiters, self._unconfirmed = self._unconfirmed, []
            asked_for = tuple(self._doubtful)
            is_confirmed = False
            try:
                is_confirmed = await self._transport.confirm(CONFIRM_WITHIN)
            finally:
                if is_confirmed:
                    for stanza_id in asked_for:
                        self._doubtful.pop(stanza_id, None)
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(is_confirmed)
            if not self._unconfirmed:
                return
