"""Task groups: a named set of agents of which one leads, and the others stand by.

::

    async with self.group("trainers") as group:
        if group.is_leader:
            with group.acting():            # what is begun in here is said by the leader, in its term
                await self.call_for_proposals(...)

    @on(Train)
    @leader_only("trainers")                # whoever stands by refuses, and says so
    async def train(self, action, task): ...
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from behaviours.events import Hook
from behaviours.fencing import LONGEST, Office, acting
from behaviours.leading import Leading
from behaviours.outcomes import Refuse
from behaviours.participating import Participation
from behaviours.supervising import Supervisor
from ontology.aid import AgentIdentifier
from ontology.errors import Cause
from resilience.election import Lock

DECIDED_WITHIN = 5.0
"""Seconds in which the first election is decided before whoever joins goes on, to learn of it later."""

OnChange = Callable[["Group"], Awaitable[None]]

_F = TypeVar("_F", bound=Callable[..., Any])


class NotLeadingError(Exception):
    """Somebody acts as the leader of a group that it does not lead; the text is one sentence."""


class Group:
    """One agent's part in a task group. It is joined by `async with`, and left at its end or with the agent.

    Args:
        me: the agent.
        name: of the group.
        lock: decides who leads.
        supervisor: keeps the candidacy running.
        on_elected: awaited when we have won, before anything else.
        on_deposed: awaited when we have lost, or leave.
        hook: sink of facts.

    Raises:
        ValueError: that can be no name of a group.
    """

    def __init__(
        self,
        *,
        me: AgentIdentifier,
        name: str,
        lock: Lock,
        supervisor: Supervisor,
        on_elected: OnChange,
        on_deposed: OnChange,
        hook: Hook,
    ) -> None:
        if not 0 < len(name) <= LONGEST or not name.isprintable():
            raise ValueError(
                f"{name[:80]!r} is no name for a group: write 1 to {LONGEST} characters on one line"
            )
        self.me, self.name = me, name
        self._lock, self._supervisor, self._hook = lock, supervisor, hook
        self._on_elected, self._on_deposed = on_elected, on_deposed
        self._leading: Leading | None = None

    @property
    def is_leader(self) -> bool:
        """Whether we lead now, for certain."""
        return self._leading is not None and self._leading.is_leader

    @property
    def term(self) -> int:
        """The term of our present or latest leadership; 0 before the first."""
        return 0 if self._leading is None else self._leading.term

    @contextmanager
    def acting(self, task: Participation | None = None) -> Iterator[Office]:
        """Begin conversations as the leader: what is said in them names the group and the term.

        Args:
            task: what we do for somebody as the leader: its answers name them as well.

        Raises:
            NotLeadingError: we do not lead.
        """
        if not self.is_leader:
            raise NotLeadingError(
                f"{self.me.local_name} does not lead {self.name} and cannot act as if it did"
            )
        office = Office(group=self.name, term=self.term)
        if task is not None:
            task.act_in(office)
        token = acting.set(office)
        try:
            yield office
        finally:
            acting.reset(token)

    async def join(self) -> None:
        """Stand for election; returns once it is known who leads. Safe to call again."""
        if self._leading is None:
            self._supervisor.start(self._stand)
            with suppress(TimeoutError):  # it goes on trying
                await asyncio.wait_for(self._tried(), DECIDED_WITHIN)

    async def leave(self) -> None:
        """Stand no more, and give the lead to the next. Safe to call again."""
        leading = self._leading
        if leading is not None:
            try:
                await leading.resign()
            finally:
                self._leading = None if self._leading is leading else self._leading

    async def __aenter__(self) -> Group:
        await self.join()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.leave()

    async def _tried(self) -> None:
        if self._leading is not None:
            await self._leading.tried.wait()

    def _stand(self) -> Leading:
        self._leading = Leading(
            me=self.me.name,
            group=self.name,
            lock=self._lock,
            on_elected=lambda: self._on_elected(self),
            on_deposed=lambda: self._on_deposed(self),
            hook=self._hook,
        )
        return self._leading


class Grouped(Protocol):
    """What `leader_only` has of its agent."""

    me: AgentIdentifier
    groups: dict[str, Group]


def leader_only(group: str) -> Callable[[_F], _F]:
    """Have a handler run only where its agent leads a group: in that office. Whoever stands by refuses.

    Write it below ``@on`` and its kind. A handler that runs again after a restart is asked again.
    """

    def apply(method: _F) -> _F:
        @functools.wraps(method)
        async def guarded(self: Grouped, action: Any, task: Participation) -> Any:
            part = self.groups.get(group)
            if part is None or not part.is_leader:
                return standing_by(self.me, group)
            with part.acting(task):
                return await method(self, action, task)

        return guarded  # type: ignore[return-value]

    return apply


def standing_by(me: AgentIdentifier, group: str) -> Refuse:
    """What an agent answers that does not lead."""
    text = f"{me.local_name} stands by; ask the leader of {group}, whom the directory names"
    return Refuse(Cause.UNSUPPORTED_FUNCTION, text)
