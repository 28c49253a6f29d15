"""Messages and conversations for the tests of this folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest

from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import explain
from protocols.machine import Conversation
from protocols.registry import TABLES
from protocols.table import (
    CANCELLED,
    CANCELLING,
    EXPIRED,
    NOT_UNDERSTOOD,
    UNREACHABLE,
    Protocol,
    Role,
)

NOW = datetime(2026, 11, 20, 7, 6, 34, tzinfo=UTC)
SECOND = timedelta(seconds=1)

ANN, BOB, TIM, EVE = (AgentIdentifier.of(f"{name}@example.org") for name in ("ann", "bob", "tim", "eve"))
"""The initiator, the participant, a target, and one who has no part in the conversation."""

NAME = {Role.INITIATOR: ANN, Role.PARTICIPANT: BOB, Role.TARGET: TIM}
LETTER = {Role.INITIATOR: "I", Role.PARTICIPANT: "P", Role.TARGET: "T"}
SPEAKERS = tuple(Role)

CONTENTS = {
    "done": '{"done":{}}',
    "result": '{"predictions":{"model":"digits:3","values":["seven"]}}',
    "no-match": explain("no-match", "nobody fits the description"),
    "brokering": explain("brokering", "a sub-protocol came to nothing"),
    "committed": '{"committed":{}}',
    "aborted": '{"aborted":{}}',
    "none": None,
    "unreadable": "(done (action ann))",
}
"""One content of each kind that the engine looks at."""

EACH_TABLE = pytest.mark.parametrize("protocol", TABLES, ids=[each.name for each in TABLES])

SHARED_STATES = frozenset({CANCELLED, NOT_UNDERSTOOD, EXPIRED, UNREACHABLE})


@cache
def said(act: str, sender: Role | None = None, kind: str = "none", **parameters: Any) -> AclMessage:
    """A message of conversation c1; without sender it is one of our own."""
    return AclMessage(
        performative=Performative(act),
        sender=None if sender is None else NAME[sender],
        content=CONTENTS[kind],
        **{"conversation_id": "c1", **parameters},
    )


def at(protocol: Protocol, state: str, role: Role, **fields: Any) -> Conversation:
    """A conversation in some state, without asking how it came there."""
    defaults: dict[str, Any] = {
        "protocol": protocol.name,
        "conversation_id": "c1",
        "role": role,
        "peer": NAME[role.other].name,
        "state": state,
        "last_speaker": Role.INITIATOR,
        "opened": NOW,
    }
    if state == CANCELLING:
        defaults["resume"] = next(iter(sorted(live_states(protocol))))
    return Conversation(**{**defaults, **fields})


def live_states(protocol: Protocol) -> frozenset[str]:
    """The table's states in which somebody is waited for, after the first message."""
    return protocol.states - protocol.terminal - {protocol.start}


def last_speaker(protocol: Protocol, state: str) -> Role:
    """Whoever leads into a state of the table."""
    roles = {role for (_state, role, _act), following in protocol.transitions.items() if following == state}
    roles.discard(Role.TARGET)
    return roles.pop() if len(roles) == 1 else Role.INITIATOR
