"""Who leads a group: the table of a candidate's life, and the lock that decides.

A candidate is a follower until the lock is free, a candidate while it reaches for it, and the leader
while it holds it. Each leadership has a term, a number that only grows: the fencing token that lets
others refuse the orders of a leader of the past.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Standing(StrEnum):
    """What a member of a group is at present."""

    FOLLOWER = "follower"
    CANDIDATE = "candidate"
    LEADER = "leader"


class Event(StrEnum):
    """What can happen to it."""

    LOCK_FREE = "lock-free"
    ACQUIRED = "acquired"
    BEATEN = "beaten"
    """Somebody else was quicker."""
    LOST = "lost"
    """The lock is not ours any more, or nobody can say that it is."""
    RESIGNED = "resigned"


TABLE: Mapping[tuple[Standing, Event], Standing] = {
    (Standing.FOLLOWER, Event.LOCK_FREE): Standing.CANDIDATE,
    (Standing.FOLLOWER, Event.BEATEN): Standing.FOLLOWER,
    (Standing.FOLLOWER, Event.LOST): Standing.FOLLOWER,
    (Standing.FOLLOWER, Event.RESIGNED): Standing.FOLLOWER,
    (Standing.CANDIDATE, Event.ACQUIRED): Standing.LEADER,
    (Standing.CANDIDATE, Event.BEATEN): Standing.FOLLOWER,
    (Standing.CANDIDATE, Event.LOST): Standing.FOLLOWER,
    (Standing.CANDIDATE, Event.RESIGNED): Standing.FOLLOWER,
    (Standing.LEADER, Event.LOST): Standing.FOLLOWER,
    (Standing.LEADER, Event.RESIGNED): Standing.FOLLOWER,
}


@dataclass(frozen=True, kw_only=True)
class Candidacy:
    """One member's part in the election of its group."""

    group: str
    standing: Standing = Standing.FOLLOWER
    term: int = 0
    """The term of our present or latest leadership."""

    @property
    def is_leader(self) -> bool:
        """Whether we lead."""
        return self.standing is Standing.LEADER


def advance(candidacy: Candidacy, event: Event, term: int | None = None) -> Candidacy:
    """Move a candidacy.

    Args:
        candidacy: where it stands.
        event: what happened.
        term: with `Event.ACQUIRED`, the term that the lock gave.

    Raises:
        ValueError: the event cannot happen to this standing, or the term does not grow.
    """
    following = TABLE.get((candidacy.standing, event))
    if following is None:
        raise ValueError(f"{event.value} cannot happen to a {candidacy.standing.value}")
    if event is Event.ACQUIRED:
        if term is None or term <= candidacy.term:
            raise ValueError(f"term {term} is not above {candidacy.term}: the lock has gone back in time")
        return replace(candidacy, standing=following, term=term)
    return replace(candidacy, standing=following)


TTL = 1.5
"""Seconds after which a lock is free whose holder gives no sign of life. Fewer, and an event loop that stalls
for a moment loses it; more, and a group is the longer without a leader after a death."""

BEATS = 4
"""Signs of life in that time."""

STEP_DOWN = 0.75
"""Share of that time after which a holder that has had no answer leads no more, by itself: whatever happens
to its messages, it stops before anybody else can begin."""


class ElectionError(Exception):
    """Nobody can say who leads; the text is one sentence: what was asked, why it failed, how to mend it."""


@dataclass(frozen=True, kw_only=True)
class Led:
    """One leadership, as the lock has it."""

    leader: str
    """The bare JID."""
    term: int
    since: datetime
    failover: float | None = None
    """Seconds from the last sign of life of the leader before, or from its release of the lock, to this
    election; None for the first one, and where nobody can tell."""


class Lock(Protocol):
    """What decides: at most one candidate of a group holds it, and each time under a higher term.

    All but `holds` raise `ElectionError` where the lock cannot be asked.
    """

    async def acquire(self, group: str, candidate: str) -> int | None:
        """Try to take the lock at once: the term, or None where somebody else has it."""

    async def wait_free(self, group: str) -> None:
        """Return once the lock may be free."""

    def holds(self, group: str, term: int) -> bool:
        """Whether the lock of that term is held for certain, now: the last answer is young enough."""

    async def wait_lost(self, group: str, term: int) -> None:
        """Return once the lock of that term is not held any more, or nobody can say that it is."""

    async def release(self, group: str, term: int) -> None:
        """Give up the lock of that term; one that is not held any more is no error."""

    async def leave(self, group: str, candidate: str) -> None:
        """Stand no more: nothing is left of the candidate, and the lock is free if it held it."""

    async def groups(self) -> Mapping[str, Led | None]:
        """Who leads each group that somebody has led, by its name; None where nobody does now."""

    async def close(self) -> None:
        """Stand nowhere any more, and ask nothing any more; safe to call again."""
