"""How much others may have one agent do at once; who asks for more is told at once to ask again later.

Without a bound a flood of requests costs memory first, and then every one of them its deadline. A refusal
costs next to nothing, and tells an initiator what it would else learn by waiting.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from behaviours.sorting import protocol_of
from ontology.acl import AclMessage
from protocols.subscribe import SUBSCRIBE
from protocols.table import Protocol

AT_WORK = 1000
"""Conversations of others that an agent serves at once, those included that wait for something."""

SUBSCRIBED = 10_000
"""Subscriptions that it keeps: they last, and cost little between two pieces of news."""

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

    def serve(self, task: asyncio.Task[None], protocol: Protocol) -> None:
        """Count a conversation until this task has served it."""
        kind = protocol is SUBSCRIBE
        self._served[kind] += 1
        task.add_done_callback(lambda _task: self._served.subtract([kind]))

    def objection(self, message: AclMessage, waiting: int) -> str | None:
        """Why a message that begins a conversation cannot be taken now, in one sentence, if that is so.

        Args:
            message: any message of a peer.
            waiting: how many of that peer wait before it.
        """
        if self._served.total() + waiting < min(AT_WORK, SUBSCRIBED):
            return None  # quick, for every message comes here
        protocol = protocol_of(message)
        if protocol is None or not protocol.opens_with(message.performative):
            return None
        kind = protocol is SUBSCRIBE
        most, served = SUBSCRIBED if kind else AT_WORK, self._served[kind] + waiting
        if served < most:
            return None
        what = "subscriptions" if kind else "conversations"
        return f"{self._name} has {served:,} {what} under way; ask again in {RETRY_AFTER:g} s"
