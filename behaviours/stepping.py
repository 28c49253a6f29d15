"""What may happen next in a conversation, and what its end needs of the room that it is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from typing import Protocol as Port

from behaviours.chronicling import Chronicle
from behaviours.events import Fact
from behaviours.transport import Transport
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, Reason, Term

if TYPE_CHECKING:
    from behaviours.conversing import Seat


@dataclass(frozen=True)
class Heard:
    """The peer said something that fits."""

    message: AclMessage
    at: datetime
    """When it came; when its handler runs again after a restart, when it came first."""


@dataclass(frozen=True)
class Told:
    """The peer let us know something beside the protocol: progress, a notice."""

    term: Term


@dataclass(frozen=True)
class Lost:
    """Our message did not get through, or the peer has vanished."""

    reason: Reason


@dataclass(frozen=True)
class Overdue:
    """The deadline passed."""


Step = Heard | Told | Lost | Overdue


class Room(Port):
    """What a seat needs of the mailroom it is in."""

    @property
    def me(self) -> AgentIdentifier:
        """Who we are."""

    @property
    def ontologies(self) -> tuple[Ontology, ...]:
        """What we understand, in order of preference."""

    @property
    def transport(self) -> Transport:
        """The connection."""

    @property
    def away(self) -> float:
        """Seconds that a peer may be away (`resilience.journal.Policy`)."""

    def now(self) -> datetime:
        """The present, aware."""

    def emit(self, fact: Fact) -> None:
        """Tell the hook."""

    def post(
        self,
        message: AclMessage,
        to: AgentIdentifier,
        on_lost: Callable[[Reason], None],
        chronicle: Chronicle | None = None,
    ) -> None:
        """Send a message without waiting; with what else its conversation writes down, if it has one."""

    def seek(self, seat: Seat) -> bool:
        """Ask where a conversation goes on whose peer is not there; whether somebody has said so."""

    def forget(self, seat: Seat) -> None:
        """The seat is over: route to it only what comes late."""
