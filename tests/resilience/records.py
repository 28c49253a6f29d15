"""Records that tests of the journal write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from resilience.dead_letters import DeadLetter
from resilience.inbox import Hold, InboxKey
from resilience.outbox import Outgoing
from resilience.snapshots import Snapshot

ME, PEER = "adder@localhost", "asker@localhost"
NOW = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


def hold(owner: str = "one", message_id: str = "m1", *, sender: str = PEER, receiver: str = ME) -> Hold:
    return Hold(key=InboxKey(receiver=receiver, sender=sender, message_id=message_id), owner=owner)


def snapshot(key: str = "c1", text: str = "{}", *, agent: str = ME, form: int = 1) -> Snapshot:
    return Snapshot(agent=agent, key=key, form=form, text=text)


def outgoing(message_id: str = "o1", **fields: Any) -> Outgoing:
    given = {
        "agent": ME,
        "to": PEER,
        "message": '{"ä": "\\u0000"}',
        "made": NOW,
        "expires": NOW + timedelta(hours=1),
        "next_try": NOW,
    }
    return Outgoing(id=message_id, **{**given, **fields})


def letter(text: str = "gone", **fields: Any) -> DeadLetter:
    given = {
        "agent": ME,
        "peer": PEER,
        "is_inbound": True,
        "cause": "unreachable",
        "text": text,
        "original": "ä\x00\n'\"{}",
        "when": NOW,
        "conversation_id": "c1",
        "protocol": "fipa-request",
        "state": "REQUESTED",
        "attempts": 5,
        "made": NOW - timedelta(hours=1),
    }
    return DeadLetter(**{**given, **fields})
