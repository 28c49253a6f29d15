"""Waiting for what becomes of one message that is no part of a conversation."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from behaviours.bouncing import failure_of
from behaviours.delivery import Delivered, Delivery, DeliveryResult, Trace, Undelivered
from behaviours.outboxing import Outbox
from behaviours.posting import OnLost
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import Reason
from resilience.outbox import Outgoing


async def send(
    outbox: Outbox,
    delivery: Delivery,
    me: AgentIdentifier,
    message: AclMessage,
    *,
    on_lost: OnLost,
    trace: Trace,
) -> DeliveryResult:
    """Send to every receiver, and wait until each has acknowledged it, or cannot be expected to.

    Args:
        outbox: where it stands meanwhile.
        delivery: looks whether it can be sent.
        me: the sender.
        message: what to say.
        on_lost: called for each receiver that it does not get to.
        trace: shown what is to be sent.

    Raises:
        ValueError: nobody is addressed, or it cannot be written as a stanza. Nothing was sent.
    """
    if not message.receiver:
        raise ValueError("the message has no receiver: name at least one agent")
    loop = asyncio.get_running_loop()
    lost: asyncio.Future[Reason] = loop.create_future()
    settled: list[asyncio.Future[bool]] = []

    def is_lost(record: Outgoing, reason: Reason) -> None:
        on_lost(record, reason)
        _resolve(lost, reason)

    for to in message.receiver:
        delivery.check(message, to)
    for to in message.receiver:
        done: asyncio.Future[bool] = loop.create_future()
        settled.append(done)
        outbox.post(message, to, is_lost, on_settled=partial(_resolve, done), trace=trace)
    open_ends: set[asyncio.Future[Any]] = set(settled)
    while open_ends and not lost.done():
        await asyncio.wait({lost, *open_ends}, return_when=asyncio.FIRST_COMPLETED)
        open_ends = {each for each in open_ends if not each.done()}
    if lost.done():
        reason = lost.result()
        return Undelivered(reason, failure_of(message, me, reason))
    return Delivered(is_acknowledged=all(each.result() for each in settled))


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)
