"""What happened, as frozen facts. Metrics, logs and dashboards are hooks; the code that emits knows none.

A fact's fields are plain values, so that any sink can print or count them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that happened to an agent."""

    agent: str
    """The bare JID of the agent that it happened to."""
    is_trouble: ClassVar[bool] = False
    """Whether an operator wants to know."""


@dataclass(frozen=True, kw_only=True)
class Connected(Fact):
    """The agent has a session with its XMPP server."""

    jid: str


@dataclass(frozen=True, kw_only=True)
class Disconnected(Fact):
    """The session is gone; the agent tries again unless it is stopping."""

    reason: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MessageSent(Fact):
    """A message was handed to the server."""

    performative: str
    protocol: str
    peer: str


@dataclass(frozen=True, kw_only=True)
class MessageReceived(Fact):
    """A message arrived and was read."""

    performative: str
    protocol: str
    peer: str


@dataclass(frozen=True, kw_only=True)
class MessageUndelivered(Fact):
    """A message could not be handed over, and its sender has been told."""

    performative: str
    peer: str
    cause: str
    text: str
    protocol: str = field(default="", compare=False)
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class BounceDisbelieved(Fact):
    """A message of ours is said to be undeliverable by somebody who cannot know; it is taken as delivered."""

    peer: str
    """Who says so."""
    addressee: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MessageDisbelieved(Fact):
    """A message was not taken, nor answered: it is not signed by whom it is said to be of, or not allowed."""

    performative: str
    peer: str
    """Who is said to have sent it."""
    cause: str
    text: str
    protocol: str = field(default="", compare=False)
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MessageAcknowledged(Fact):
    """The receiving agent has said that it has processed a message."""

    peer: str
    performative: str = ""
    protocol: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class PeerLeftAlone(Fact):
    """A peer has failed too often; what is meant for it waits, but for a probe now and then."""

    peer: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MessageAskedAfter(Fact):
    """Nothing has been heard of a message for a while, and its receiver was asked."""

    peer: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class ConversationTaken(Fact):
    """Another replica of this agent goes on with a conversation that was ours."""

    conversation_id: str


@dataclass(frozen=True, kw_only=True)
class ReplicaFollowed(Fact):
    """This replica of the agent goes on with what another one has left, which lives no more."""

    replica: str
    """The other one."""
    conversations: int
    messages: int
    """How many were still on their way."""
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ReplicaReplaced(Fact):
    """This replica was away for longer than its lease, and another one has taken what it had."""

    replica: str
    """This one."""
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ConversationLeft(Fact):
    """A conversation that a former process has written down cannot be taken up again."""

    text: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class DuplicateDropped(Fact):
    """A message arrived a second time."""

    peer: str


@dataclass(frozen=True, kw_only=True)
class OutOfSequence(Fact):
    """A message was not the peer's to say then, or belongs to no conversation here."""

    performative: str
    peer: str
    text: str
    protocol: str = field(default="", compare=False)
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MessageNotUnderstood(Fact):
    """A message could not be read or fitted no ontology, protocol or handler here."""

    peer: str
    cause: str
    text: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ConversationRefused(Fact):
    """A peer wanted to begin what it may not ask for, what nobody does here, or what has come too late."""

    performative: str
    peer: str
    cause: str
    text: str
    protocol: str = field(default="", compare=False)
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ConversationOpened(Fact):
    """A conversation began."""

    conversation_id: str
    protocol: str
    role: str
    peer: str


@dataclass(frozen=True, kw_only=True)
class ConversationEnded(Fact):
    """A conversation reached a terminal state."""

    conversation_id: str
    protocol: str
    role: str
    peer: str
    state: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class HandlerFailed(Fact):
    """An agent's own code raised; the peer was answered with failure and the agent goes on."""

    peer: str
    text: str
    where: str = ""
    """File, line and function in which it was raised, for whoever mends it; the peer is not told."""
    traceback: str = field(default="", compare=False)
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class RecordNotKept(Fact):
    """The records could not be written: what the agent knows holds, but is forgotten by a restart."""

    key: str
    text: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class StoreDown(Fact):
    """The store cannot be written: nothing is handled and nothing is said until it can."""

    text: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class StoreUp(Fact):
    """The store can be written again; what was to be written is. Told as its beginning was."""

    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class BehaviourRestarted(Fact):
    """SPADE killed a behaviour after an exception, and it was started anew."""

    behaviour: str
    attempt: int
    text: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class BehaviourGivenUp(Fact):
    """A behaviour failed too often and stays dead."""

    behaviour: str
    text: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class LeaderElected(Fact):
    """This agent now leads its group."""

    group: str
    term: int


@dataclass(frozen=True, kw_only=True)
class LeaderDeposed(Fact):
    """This agent no longer leads its group."""

    group: str
    term: int


@dataclass(frozen=True, kw_only=True)
class RowsTrained(Fact):
    """A training goes on: so many rows have gone through it since this was last told, each epoch anew."""

    rows: int


@dataclass(frozen=True, kw_only=True)
class TrainingEnded(Fact):
    """A training is over, well or not."""

    outcome: str
    """``trained``, ``failed`` or ``cancelled``."""
    seconds: float
    """How long it took, without the wait for its turn."""
    promised: float | None = None
    """The seconds that our bid promised for the same; None where we made none."""


@dataclass(frozen=True, kw_only=True)
class ElectionDown(Fact):
    """Nobody can say who leads this group, and this agent does not, until somebody can."""

    group: str
    text: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ElectionUp(Fact):
    """It can be said again who leads."""

    group: str
    is_trouble: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class MemberJoined(Fact):
    """Another agent is in a task group now that this one is in, or is back."""

    group: str
    member: str


@dataclass(frozen=True, kw_only=True)
class MemberLeft(Fact):
    """Another agent is not in a task group any more: it has left it, has gone, or its lease has run out."""

    group: str
    member: str


@dataclass(frozen=True, kw_only=True)
class CatalogueDown(Fact):
    """The catalogue that others find this agent by cannot be written; the agent goes on without it."""

    text: str


@dataclass(frozen=True, kw_only=True)
class CatalogueUp(Fact):
    """The catalogue can be written again, and the agent stands in it."""


Hook = Callable[[Fact], None]
"""A sink of facts. It must return at once and must not raise."""


def ignore(_fact: Fact) -> None:
    """The hook for those who do not listen."""
