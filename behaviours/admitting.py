"""How much others may have one agent do at once; who asks for more is told at once to ask again later.

Without a bound a flood of requests costs memory first, and then every one of them its deadline. A refusal
costs next to nothing, and tells an initiator what it would else learn by waiting.

Where an agent has as much to do as it may, each peer that it works for has a claim to the same share of
that: who has less is served all the same, and nobody can keep the others out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime

from behaviours.seating import HEARERS
from behaviours.sorting import protocol_of
from behaviours.wire import Received
from ontology.acl import AclMessage, Performative
from ontology.errors import Cause
from protocols.subscribe import SUBSCRIBE
from protocols.table import Protocol
from resilience.inbox import ID_LIMIT

AT_WORK = 1000
"""Conversations of others that an agent serves at once, those included that wait for something. What comes on
top of them is of peers that have less than their share."""

SUBSCRIBED = 10_000
"""Subscriptions that it keeps, likewise: they last, and cost little between two pieces of news."""

RETRY_AFTER = 5.0
"""Seconds after which one may ask again."""


class Admitting:
    """What is under way in one agent.

    Args:
        name: of the agent, for the sentence.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._served: Counter[bool] = Counter()
        """By whether it is a subscription."""
        self._by_peer: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
        """Likewise, by the peer's bare JID."""
        self.is_closing = False
        """Whether the agent is to stop: it makes no offers any more."""

    def serve(self, task: asyncio.Task[None], protocol: Protocol, peer: str) -> None:
        """Count a conversation with a peer, a bare JID, until this task has served it."""
        kind = protocol is SUBSCRIBE
        self._served[kind] += 1
        self._by_peer[kind][peer] += 1
        task.add_done_callback(lambda _task: self._served_one(kind, peer))

    def _served_one(self, kind: bool, peer: str) -> None:
        self._served[kind] -= 1
        self._by_peer[kind][peer] -= 1
        if not self._by_peer[kind][peer]:
            del self._by_peer[kind][peer]

    def objection(self, message: AclMessage, peer: str, waiting: int) -> str | None:
        """Why a message that begins a conversation cannot be taken now, in one sentence, if that is so.

        Args:
            message: any message of a peer.
            peer: its bare JID.
            waiting: how many of that peer wait before it.
        """
        if self._served.total() + waiting < min(AT_WORK, SUBSCRIBED) and not self.is_closing:
            return None  # quick, for every message comes here
        protocol = protocol_of(message)
        if protocol is None or not protocol.opens_with(message.performative):
            return None
        if self.is_closing and message.performative is Performative.CFP:
            return f"{self._name} is being stopped; ask somebody else, or again in {RETRY_AFTER:g} s"
        kind = protocol is SUBSCRIBE
        most, served = SUBSCRIBED if kind else AT_WORK, self._served[kind] + waiting
        mine = self._by_peer[kind][peer]
        peers = len(self._by_peer[kind]) + (not mine)
        if served < most or mine + waiting < most // peers:
            return None
        what = "subscriptions" if kind else "conversations"
        return f"{self._name} has {served:,} {what} under way; ask again in {RETRY_AFTER:g} s"


def unfit(received: Received, now: datetime) -> tuple[Cause, str] | None:
    """Why a message that opens a conversation is not served, whatever it is about: a cause and a sentence."""
    message = received.message
    if len(message.reply_to) > HEARERS:
        text = f"reply-to names {len(message.reply_to)} agents; {HEARERS} are answered at most"
        return Cause.UNSUPPORTED_VALUE, text
    if len((message.conversation_id or "").encode()) > ID_LIMIT:
        text = f"the conversation-id is longer than {ID_LIMIT:,} bytes; make a shorter one"
        return Cause.UNSUPPORTED_VALUE, text
    if message.reply_by is not None and message.reply_by < now:
        why = "the server stored it" if received.is_stored else "it took too long, or our clocks differ"
        return Cause.LATE, f"the message came after its reply-by: {why}"
    return None
