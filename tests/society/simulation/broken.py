"""Agents that break a promise each: some seed has to find every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agents.base import Server
from behaviours.chronicling import CONVERSATION
from resilience.dead_letters import DeadLetter
from resilience.inbox import Hold
from resilience.journal import Effects, Journal
from resilience.memory import MemoryDeadLetters
from society.simulation import Simulation
from tests.chaos.broken import MarkAfter, MarkBefore
from tests.society.simulation.scenarios import Kind, Noting


class _Wrapped:
    """A journal around another one."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


class NoOutbox(_Wrapped):
    """Does not write down what is said."""

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        return await self._journal.commit(replace(effects, send=()), hold)


class SettledWhenSent(_Wrapped):
    """Takes what was sent for delivered: once the process has died nobody asks after it."""

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        is_written = await self._journal.commit(effects, hold)
        if effects.send:
            sent = tuple(each.id for each in effects.send)
            await self._journal.commit(Effects(agent=effects.agent, settled=sent))
        return is_written


class NeverClosed(_Wrapped):
    """Keeps the histories of conversations that are over."""

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        kept = tuple(each for each in effects.remove if not each.startswith(CONVERSATION))
        return await self._journal.commit(replace(effects, remove=kept), hold)


class Hole(MemoryDeadLetters):
    """Loses what is buried."""

    def add(self, letter: DeadLetter) -> None:
        pass


class AcknowledgesBefore(Noting):
    """Acknowledges what comes before it is written down."""

    async def setup(self) -> None:
        acknowledging = self.enduring.acknowledging
        take = acknowledging.take

        def take_hastily(peer: str, message_id: str, *said: Any) -> bool:
            is_new = take(peer, message_id, *said)
            if is_new:
                acknowledging.owe(peer, message_id, None)
            return is_new

        acknowledging.take = take_hastily  # type: ignore[method-assign]


def having(**wrap: Callable[[Any], Any]) -> Kind:
    """An agent of which some ports are wrapped."""

    def make(world: Simulation, jid: str, password: str, server: Server, ports: Any) -> Noting:
        wrapped = {name: each(getattr(ports, name)) for name, each in wrap.items()}
        return Noting(world, jid, password, server, replace(ports, **wrapped))

    return make


UNENDED = "was neither acknowledged nor given up"

BROKEN: dict[str, tuple[Kind, str]] = {
    "marks before": (having(journal=MarkBefore), "without a trace of it"),
    "forgets what it took": (having(journal=MarkBefore), "was acknowledged and then forgotten"),
    "marks after": (having(journal=MarkAfter), "twice in one matter"),
    "acknowledges before": (AcknowledgesBefore, "without a trace of it"),
    "no outbox": (having(journal=NoOutbox), "which it had not written down"),
    "settled when sent": (having(journal=SettledWhenSent), UNENDED),
    "never closed": (having(journal=NeverClosed), "open when all is over"),
    "no dead letters": (having(dead_letters=lambda _letters: Hole()), UNENDED),
}
"""By name: the agent, and what is to be said of it."""
