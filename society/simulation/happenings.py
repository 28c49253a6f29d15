"""What happens in a simulation, beside what its agents tell: the words of its history.

A history is a sequence of `Happening`; invariants (`society.simulation.invariants`) are functions over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from behaviours.events import Fact
from resilience.dead_letters import DeadLetter
from resilience.journal import Effects


@dataclass(frozen=True)
class Happening:
    """A fact, and when it came about.

    Attributes:
        at: seconds since the beginning of the simulation.
        fact: of an agent (`behaviours.events`), or one of those here.
    """

    at: float
    fact: Fact

    def __str__(self) -> str:
        fact = self.fact
        # Left out is what facts are not compared by: a traceback names files of this machine.
        told = (f"{each.name}={getattr(fact, each.name)!r}" for each in fields(fact) if each.compare)
        return f"{self.at:12.6f} {type(fact).__name__} {' '.join(told)}"


def written(history: Iterable[Happening]) -> str:
    """A history as text, a line for each happening: the same for the same seed."""
    return "\n".join(map(str, history))


@dataclass(frozen=True, kw_only=True)
class Started(Fact):
    """A process of the agent was started; the first one is number 1."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Crashed(Fact):
    """The agent's process was killed: nothing that it had not written down is left."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Stopped(Fact):
    """The agent was stopped politely."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Begun(Fact):
    """The agent began something (`Simulation.run`)."""

    work: int
    what: str


@dataclass(frozen=True, kw_only=True)
class Ended(Fact):
    """What the agent had begun has ended."""

    work: int
    how: str
    """The type of the value that came of it, or of the exception."""
    value: object = field(default=None, compare=False, repr=False)
    """What came of it; a `Crash` where the process was killed."""


@dataclass(frozen=True, kw_only=True)
class Noted(Fact):
    """Something that the scenario, or an agent in it, wanted to be in the history (`Simulation.note`)."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Committed(Fact):
    """The agent's journal has carried out a commit: from now on it holds that, whatever dies."""

    sent: tuple[str, ...]
    """Ids of messages that went into the outbox."""
    settled: tuple[str, ...]
    """Ids of messages that have left it."""
    effects: Effects = field(compare=False, repr=False)
    """All of it."""


@dataclass(frozen=True, kw_only=True)
class Left(Fact):
    """What the agent still has when the world has come to rest (`Simulation.rest`)."""

    outgoing: tuple[str, ...]
    """Ids of messages in its outbox."""
    conversations: tuple[str, ...]
    """Keys of conversations that its journal holds open."""
    letters: tuple[DeadLetter, ...] = field(compare=False, repr=False)
    """Its dead letters."""


@dataclass(frozen=True, kw_only=True)
class Written(Fact):
    """The agent wrote a stanza to its server."""

    stanza: str


@dataclass(frozen=True, kw_only=True)
class Arrived(Fact):
    """A stanza came to the agent."""

    stanza: str


@dataclass(frozen=True, kw_only=True)
class Dropped(Fact):
    """A stanza of the agent, or to it, was lost on the way."""

    why: str
    stanza: str


@dataclass(frozen=True, kw_only=True)
class Doubled(Fact):
    """A stanza of the agent was sent on twice."""

    stanza: str


@dataclass(frozen=True, kw_only=True)
class Overtaken(Fact):
    """A stanza of the agent was held back, and what it says later goes before it."""

    stanza: str


@dataclass(frozen=True, kw_only=True)
class Cut(Fact):
    """The agent's connection broke; both sides have yet to notice."""


@dataclass(frozen=True, kw_only=True)
class Complained(Fact):
    """The event loop was told of an exception that nobody has caught."""

    text: str
