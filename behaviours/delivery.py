"""Sending that tells the truth: whoever sends learns what became of it, or that nobody knows.

XMPP itself never complains to the one that sends: a client queues while it is offline, and a server
returns what it cannot deliver as a separate stanza, later. Here each message is watched until its
bounce can no longer come, and one that cannot be handed over in time is reported.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from behaviours.connection import ConnectionFailed, Transport
from behaviours.events import Hook, MessageSent, MessageUndelivered
from behaviours.wire import Bounced, render
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

WAITING = 10_000
"""Messages that wait for a connection; beyond that a further one is reported at once."""

_MEANING = {
    "service-unavailable": "there is no such agent, or it is offline",
    "recipient-unavailable": "it is offline",
    "item-not-found": "there is no such agent",
    "remote-server-not-found": "its domain is not served here and no other server was found",
    "remote-server-timeout": "its server did not answer",
    "jid-malformed": "that is no JID",
    "policy-violation": "the server refused the message",
    "not-allowed": "the server does not allow it",
    "resource-constraint": "its mailbox is full",
}


@dataclass(frozen=True)
class Delivered:
    """The server has taken the message and returned nothing: it is with the peer, or stored for it."""


@dataclass(frozen=True)
class Undelivered:
    """The message did not get through, or nobody can say that it did; the reason tells which."""

    reason: Reason


DeliveryResult = Delivered | Undelivered

OnLost = Callable[[Reason], None]


@dataclass(frozen=True)
class _Waiting:
    message: AclMessage
    to: AgentIdentifier
    stanza_id: str
    timer: asyncio.TimerHandle


class Delivery:
    """The outgoing side of one agent.

    Args:
        me: the sender.
        transport: the connection.
        hook: sink of facts.
        patience: seconds that a message waits for a connection.
    """

    def __init__(
        self, me: AgentIdentifier, transport: Transport, hook: Hook, patience: float = PATIENCE
    ) -> None:
        self._me, self._transport, self._hook, self._patience = me, transport, hook, patience
        self._watched: OrderedDict[str, tuple[AclMessage, AgentIdentifier, OnLost]] = OrderedDict()
        self._waiting: deque[_Waiting] = deque()
        self._unconfirmed: list[asyncio.Future[bool]] = []
        self._confirming: asyncio.Task[None] | None = None

    def post(self, message: AclMessage, to: AgentIdentifier, on_lost: OnLost) -> str:
        """Send without waiting; `on_lost` is called at most once if it does not get through.

        While there is no connection the message waits, in order, for at most `patience` seconds.

        Returns:
            The stanza's id.

        Raises:
            ValueError: the message holds a character that XML cannot carry. Nothing was sent.
        """
        stanza_id = uuid.uuid4().hex
        stanza = render(message, to.jid, stanza_id)
        self._watch(stanza_id, message, to, on_lost)
        if self._waiting or not self._transport.is_online:
            self._wait(message, to, stanza_id)
        else:
            self._hand_over(stanza, message, to, stanza_id)
        return stanza_id

    async def send(self, message: AclMessage) -> DeliveryResult:
        """Send to every receiver and wait until the server has confirmed or returned it.

        Raises:
            ValueError: nobody is addressed, or a character cannot be carried. Nothing was sent.
        """
        if not message.receiver:
            raise ValueError("the message has no receiver: name at least one agent")
        lost: list[Reason] = []
        for to in message.receiver:
            self.post(message, to, lost.append)
        try:
            async with asyncio.timeout(self._patience + CONFIRM_WITHIN):
                while not lost and not self._transport.is_online:
                    await self._online_or_lost(lost)
                is_confirmed = bool(lost) or await self._confirm()
        except TimeoutError:
            is_confirmed = False
        if lost:
            return Undelivered(lost[0])
        if not is_confirmed:
            text = "the connection was lost before the server confirmed: nobody knows whether it arrived"
            return Undelivered(Reason(cause=Cause.UNREACHABLE, text=text))
        return Delivered()

    def bounced(self, bounce: Bounced) -> None:
        """Take note of a stanza that came back; one that is not ours is ignored."""
        meaning = _MEANING.get(bounce.condition, bounce.condition)
        told = f" ({bounce.text})" if bounce.text and bounce.text != meaning else ""
        self._lose(bounce.stanza_id, Cause.UNREACHABLE, f"{bounce.peer}: {meaning}{told}")

    def came_online(self) -> None:
        """Send what has been waiting, in order."""
        while self._waiting and self._transport.is_online:
            waiting = self._waiting.popleft()
            waiting.timer.cancel()
            stanza = render(waiting.message, waiting.to.jid, waiting.stanza_id)
            self._hand_over(stanza, waiting.message, waiting.to, waiting.stanza_id)

    def close(self) -> None:
        """Report everything that still waits; nothing is sent any more."""
        while self._waiting:
            waiting = self._waiting.popleft()
            waiting.timer.cancel()
            self._lose(waiting.stanza_id, Cause.UNREACHABLE, "the agent was stopped before it was sent")
        if self._confirming is not None:
            self._confirming.cancel()

    def _watch(self, stanza_id: str, message: AclMessage, to: AgentIdentifier, on_lost: OnLost) -> None:
        self._watched[stanza_id] = (message, to, on_lost)
        if len(self._watched) > WATCHED:
            self._watched.popitem(last=False)

    def _wait(self, message: AclMessage, to: AgentIdentifier, stanza_id: str) -> None:
        if len(self._waiting) >= WAITING:
            self._lose(stanza_id, Cause.OVERLOADED, f"{WAITING:,} messages wait for a connection already")
            return
        timer = asyncio.get_running_loop().call_later(self._patience, self._give_up, stanza_id)
        self._waiting.append(_Waiting(message, to, stanza_id, timer))

    def _give_up(self, stanza_id: str) -> None:
        self._waiting = deque(each for each in self._waiting if each.stanza_id != stanza_id)
        text = f"no connection to the server within {self._patience:g} s; it was not sent"
        self._lose(stanza_id, Cause.UNREACHABLE, text)

    def _hand_over(self, stanza: str, message: AclMessage, to: AgentIdentifier, stanza_id: str) -> None:
        try:
            self._transport.hand_over(stanza)
        except ConnectionFailed:
            self._wait(message, to, stanza_id)
            return
        self._hook(
            MessageSent(
                agent=self._me.name,
                performative=message.performative.value,
                protocol=message.protocol or "",
                peer=to.name,
            )
        )

    def _lose(self, stanza_id: str, cause: Cause, text: str) -> None:
        found = self._watched.pop(stanza_id, None)
        if found is None:
            return
        message, to, on_lost = found
        self._hook(
            MessageUndelivered(
                agent=self._me.name,
                performative=message.performative.value,
                peer=to.name,
                cause=cause,
                text=text,
            )
        )
        on_lost(Reason(cause=cause, text=text, about=to.name))

    async def _online_or_lost(self, lost: list[Reason]) -> None:
        """Wait for a connection, but look up now and then whether the message was given up meanwhile."""
        try:
            async with asyncio.timeout(0.25):
                await self._transport.wait_online()
        except TimeoutError:
            if lost:
                return

    async def _confirm(self) -> bool:
        """One ping confirms every stanza that was handed over before it."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._unconfirmed.append(waiter)
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.create_task(self._confirm_all())
        return await waiter

    async def _confirm_all(self) -> None:
        while self._unconfirmed:
            waiters, self._unconfirmed = self._unconfirmed, []
            is_confirmed = False
            try:
                is_confirmed = await self._transport.confirm(CONFIRM_WITHIN)
            finally:
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(is_confirmed)
