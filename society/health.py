"""Whether the agents of this process can work just now, and how much they have to do; asked, not remembered.

A process is **live** while its agents can go on by themselves: nothing that a supervisor keeps running has
failed for good, and no agent has stopped for a reason of its own. Whoever asks is answered on the event loop
that the agents run on, so that no answer tells of a loop that hangs.

It is **ready** while every agent of it has a session with the XMPP server, what it writes down can be
written, and somebody says who leads each group that it has joined.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agents.base import LocutionAgent
from behaviours.grouping import Group
from resilience.breakers import Circuit
from resilience.journal import Journal
from resilience.records import RecordsError
from resilience.sqlite_store import SqliteStore

ANSWER_WITHIN = 2.0
"""Seconds that the store has to answer; less than whoever asks us usually waits, which is 3 to 5."""

LONGEST = 500
"""Characters of one sentence: a server may have had its part in it."""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """One group that agents of this process have joined."""

    is_leader: bool
    """Whether one of them leads it."""
    term: int
    """The highest in which one of them has led it; 0 where none has."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """How the agents of this process stood when it was asked."""

    dead: tuple[str, ...] = ()
    """Why the process is not live: one sentence each. It will not mend by itself."""
    faults: tuple[str, ...] = ()
    """Why it is not ready: one sentence each, those of `dead` among them."""
    agents: int = 0
    connected: int = 0
    is_store_up: bool = True
    is_election_up: bool = True
    groups: Mapping[str, Membership] = field(default_factory=dict)
    outgoing: int = 0
    """Messages that wait to be acknowledged, or to be sent at all."""
    conversations: int = 0
    breakers: Mapping[Circuit, int] = field(default_factory=dict)
    """How many breakers are in each state; closed ones are not counted."""
    letters: int | None = None
    """Dead letters; None where the store cannot tell."""
    oldest_letter: float | None = None
    """Seconds that the oldest dead letter has lain; None where there is none, or the store cannot tell."""

    @property
    def is_live(self) -> bool:
        """Whether it is."""
        return not self.dead

    @property
    def is_ready(self) -> bool:
        """Whether it is."""
        return not self.faults


class Physician:
    """Looks at the agents of one process. `begin` and `end` say when there is something to look at.

    Args:
        store: what the society keeps beside its messages.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._agents: Mapping[str, LocutionAgent] = {}
        self._journal: Journal | None = None
        self._between = "the society is still starting"
        """Why nobody is ready yet, or any more; empty in between."""

    def know(self, agents: Mapping[str, LocutionAgent], journal: Journal) -> None:
        """Look at these agents from now on, by name; they may not be started yet."""
        self._agents, self._journal = dict(agents), journal

    def begin(self) -> None:
        """All has been started."""
        self._between = ""

    def end(self) -> None:
        """All is about to be stopped: its stores will be closed."""
        self._between, self._journal = "the society is stopping", None

    def dead(self) -> tuple[str, ...]:
        """What will not mend by itself, one sentence each. Asks nobody."""
        return tuple(each[:LONGEST] for each in self._dead())

    async def look(self) -> Health:
        """Look at everything; takes `ANSWER_WITHIN` seconds for the store at most."""
        agents = self._agents.values()
        memberships = list(self._memberships())
        letters, oldest, store_fault = await self._stored()
        election_faults = [f"{name}: {group.trouble}" for name, group in memberships if group.trouble]
        faults = [self._between, *self._dead(), *self._unconnected(), store_fault, *election_faults]
        begun = [each for each in agents if hasattr(each, "mailroom")]
        return Health(
            dead=self.dead(),
            faults=tuple(" ".join(each.split())[:LONGEST] for each in faults if each),
            agents=len(agents),
            connected=sum(each.is_connected for each in agents),
            is_store_up=not store_fault,
            is_election_up=not election_faults,
            groups=_by_name(group for _name, group in memberships),
            outgoing=sum(len(each.enduring.outbox) for each in begun),
            conversations=sum(sum(1 for _each in each.mailroom.conversations()) for each in begun),
            breakers=Counter(state for each in begun for state in each.enduring.breakers.broken().values()),
            letters=letters,
            oldest_letter=oldest,
        )

    def _dead(self) -> Iterator[str]:
        for name, agent in self._agents.items():
            if agent.stopped_because is not None:
                yield f"{name} has stopped: {agent.stopped_because}"
            for behaviour, text in agent.supervisor.given_up.items():
                yield f"{name} has given up its behaviour {behaviour}: {text}"

    def _unconnected(self) -> Iterator[str]:
        for name, agent in self._agents.items():
            if self._between or agent.is_connected or agent.stopped_because is not None:
                continue  # told already, in other words
            if agent.is_alive():
                server = f"{agent.server.host} port {agent.server.port}"
                yield f"{name} has no session with the XMPP server at {server}"
            else:
                yield f"{name} has been stopped"

    def _memberships(self) -> Iterator[tuple[str, Group]]:
        for name, agent in self._agents.items():
            for group in agent.groups.values():
                if group.is_joined:
                    yield name, group

    async def _stored(self) -> tuple[int | None, float | None, str]:
        """How many dead letters there are, the age of the oldest, and what is wrong with the store."""
        if self._journal is None:
            return None, None, ""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                self._store.look()
                await self._journal.check()
                depths = [await self._journal.depth(each.me.name) for each in self._agents.values()]
        except RecordsError as error:
            return None, None, str(error)
        except TimeoutError:
            return None, None, f"the store has not answered within {ANSWER_WITHIN:g} s"
        oldest = min((each.oldest_letter for each in depths if each.oldest_letter is not None), default=None)
        age = None if oldest is None else max(0.0, (datetime.now(UTC) - oldest).total_seconds())
        return sum(each.letters for each in depths), age, ""


def _by_name(groups: Iterator[Group]) -> dict[str, Membership]:
    found: dict[str, Membership] = {}
    for group in groups:
        other = found.get(group.name, Membership(is_leader=False, term=0))
        found[group.name] = Membership(
            is_leader=group.is_leader or other.is_leader, term=max(group.term, other.term)
        )
    return found
