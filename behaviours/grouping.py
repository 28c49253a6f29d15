"""Task groups: a named set of agents of which one leads, and the others stand by.

::

    async with self.group("trainers") as group:
        if group.is_leader:
            with group.acting():            # what is begun in here is said by the leader, in its term
                await self.call_for_proposals(...)
        await group.announce(Plan(...))     # group.members take it by @announced("trainers", Plan)

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

from behaviours.delivery import DeliveryResult
from behaviours.events import Hook
from behaviours.fencing import LONGEST, Office, acting
from behaviours.leading import Leading
from behaviours.outcomes import Refuse
from behaviours.participating import Participation
from behaviours.supervising import Supervisor
from ontology.aid import AgentIdentifier
from ontology.content import Predicate
from ontology.errors import Cause
from resilience.election import Lock

DECIDED_WITHIN = 5.0
"""Seconds in which the first election is decided before whoever joins goes on, to learn of it later."""

PARTED = "/"
"""Parts a group's name from that of a member, in the name of the member's partition (`agents.partitions`)."""

OnChange = Callable[["Group"], Awaitable[None]]

_F = TypeVar("_F", bound=Callable[..., Any])


class NotLeadingError(Exception):
    """Somebody acts as the leader of a group that it does not lead; the text is one sentence."""


class NoMemberError(Exception):
    """Something is asked of a group of which only a member can know or do it; the text is one sentence."""


class Company(Protocol):
    """The other members of the groups that one agent is in (`agents.company`)."""

    async def join(self, group: str) -> None:
        """We are in a group from now on."""

    async def leave(self, group: str) -> None:
        """We are in it no more."""

    def members(self, group: str) -> tuple[AgentIdentifier, ...]:
        """Who is in a group now, we included, by name."""

    async def announce(self, group: str, predicate: Predicate, office: Office | None) -> DeliveryResult:
        """Tell all other members."""


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
        company: knows the other members; None where there is no directory to ask.
        hesitation: see `behaviours.leading.Leading`.

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
        company: Company | None = None,
        hesitation: Callable[[], float] | None = None,
    ) -> None:
        if not 0 < len(name) <= LONGEST or not name.isprintable():
            raise ValueError(
                f"{name[:80]!r} is no name for a group: write 1 to {LONGEST} characters on one line"
            )
        self.me, self.name = me, name
        self._lock, self._supervisor, self._hook = lock, supervisor, hook
        self._on_elected, self._on_deposed = on_elected, on_deposed
        self._company, self._hesitation = company, hesitation
        self._is_in = False
        self._leading: Leading | None = None

    @property
    def is_leader(self) -> bool:
        """Whether we lead now, for certain."""
        return self._leading is not None and self._leading.is_leader

    @property
    def term(self) -> int:
        """The term of our present or latest leadership; 0 before the first."""
        return 0 if self._leading is None else self._leading.term

    @property
    def members(self) -> tuple[AgentIdentifier, ...]:
        """Who is in the group now, by name, we included; nobody until we have joined it.

        A member stands in the directory as such, and its session with the XMPP server has not ended.

        Raises:
            NoMemberError: we have no directory to ask.
        """
        return self._accompanied.members(self.name)

    async def announce(self, predicate: Predicate) -> DeliveryResult:
        """Tell all other members something, who take it by `behaviours.handlers.announced`.

        It is one stanza to a server that has publish-subscribe (XEP-0060), however many members there are,
        and else an inform to each that is there. What the leader announces names its term.

        Returns:
            `Delivered` once the server has taken it or, told one by one, each of them has.

        Raises:
            NoMemberError: we have not joined the group, or have no directory to find its members in.
            ValueError: it is a term of none of our ontologies, or too large. Nothing was announced.
        """
        company, office = self._accompanied, acting.get()
        if not self._is_in:
            text = f"{self.me.local_name} is not in {self.name} and announces nothing to it; join it first"
            raise NoMemberError(text)
        if office is None or office.group != self.name:
            office = Office(group=self.name, term=self.term) if self.is_leader else None
        return await company.announce(self.name, predicate, office)

    @property
    def trouble(self) -> str:
        """Why we neither lead nor stand by, in one sentence; empty if we do, or have not joined."""
        if self._leading is None:
            return ""
        if self._leading.tried.is_set() or self._hesitation is not None:
            return self._leading.trouble
        return f"nobody has said yet who leads {self.name}"

    @property
    def is_joined(self) -> bool:
        """Whether we stand for election."""
        return self._leading is not None

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
            self.stand()
            await self.enter()
            with suppress(TimeoutError):  # it goes on trying
                await asyncio.wait_for(self._tried(), DECIDED_WITHIN)

    def stand(self) -> None:
        """Stand for election, and wait for nothing. Safe to call again."""
        if self._leading is None:
            self._supervisor.start(self._stand)

    async def enter(self) -> None:
        """Be a member, whether we stand for election or not. Safe to call again."""
        if not self._is_in:
            self._is_in = True
            if self._company is not None:
                await self._company.join(self.name)

    async def leave(self) -> None:
        """Stand no more, give the lead to the next, and be no member any more. Safe to call again."""
        leading, was_in = self._leading, self._is_in
        self._is_in = False
        try:
            if leading is not None:
                await leading.resign()
        finally:
            self._leading = None if self._leading is leading else self._leading
            if was_in and self._company is not None:
                await self._company.leave(self.name)

    async def __aenter__(self) -> Group:
        await self.join()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.leave()

    @property
    def _accompanied(self) -> Company:
        if self._company is None:
            raise NoMemberError(
                f"{self.me.local_name} has no directory to find the members of {self.name} in: derive its "
                "class from agents.registered.RegisteredAgent"
            )
        return self._company

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
            hesitation=self._hesitation,
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
