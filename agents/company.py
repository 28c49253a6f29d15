"""The company that a registered agent keeps in its groups: who else is there, and what is announced.

It enters our groups into our directory entry, and tells the other members when that is done.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from behaviours.announcing import Announcing
from behaviours.bouncing import failure_of
from behaviours.delivery import DeliveryResult, Undelivered
from behaviours.fencing import Office
from behaviours.mustering import GROUP, Muster
from behaviours.stumbling import handler_failed
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Predicate, Reason
from ontology.errors import Cause
from ontology.management import ServiceDescription

if TYPE_CHECKING:
    from agents.registered import RegisteredAgent


class Company:
    """The other members of one agent's groups; a `behaviours.grouping.Company`.

    Args:
        agent: whose.
    """

    def __init__(self, agent: RegisteredAgent) -> None:
        self._agent = agent
        self.muster = Muster(
            agent.me,
            agent.find_like,
            hook=agent.emit,
            keep=agent.submit,
            on_change=self._tell,
            on_return=self._return,
            clock=lambda: asyncio.get_running_loop().time(),
        )
        self.announcing = Announcing(agent, self.muster)
        self._changed: dict[str, None] = {}
        """Groups whose members have changed, which the agent has not been told of."""
        self._telling: asyncio.Task[None] | None = None

    @property
    def services(self) -> tuple[ServiceDescription, ...]:
        """What our entry in the directory says of our groups."""
        return tuple(ServiceDescription(name=group, type=GROUP) for group in self.muster.groups)

    async def join(self, group: str) -> None:
        """We are in a group; its other members hear of it as soon as the directory knows."""
        connection = self._agent.connection
        if connection is not None:
            self.muster.join(group, connection)
            await self.announcing.join(group)
            if self._agent.entry.is_kept:
                self._agent.submit(self._enter())

    async def leave(self, group: str) -> None:
        """We are in it no more. When the agent stops, its whole entry goes, and its session ends."""
        self.announcing.leave(group)
        others = self.muster.leave(group)
        if not self._agent.is_stopping:
            await self._agent.describe()
            self.muster.greet(others)

    def members(self, group: str) -> tuple[AgentIdentifier, ...]:
        """Who is in a group now, we included, by name."""
        return self.muster.members(group)

    async def announce(self, group: str, predicate: Predicate, office: Office | None) -> DeliveryResult:
        """Tell all other members, who believe us as soon as we stand in the directory."""
        if group not in self._agent.entry.groups:
            await self._enter()
        if group in self._agent.entry.groups:
            return await self.announcing.announce(group, predicate, office)
        me = self._agent.me
        text = f"the directory {self._agent.directory} could not be told that {me.local_name} is in {group}"
        reason = Reason(cause=Cause.UNREACHABLE, text=text, about=self._agent.directory)
        message = AclMessage(performative=Performative.INFORM, sender=me)
        return Undelivered(reason, failure_of(message, me, reason))

    async def _enter(self) -> None:
        await self._agent.describe()
        await self.muster.look()

    def _return(self) -> None:
        self.announcing.returned()

    def _tell(self, group: str) -> None:
        self._changed[group] = None
        if self._telling is None or self._telling.done():
            self._telling = self._agent.submit(self._tell_all())

    async def _tell_all(self) -> None:
        agent = self._agent
        while self._changed:
            group = next(iter(self._changed))
            del self._changed[group]
            (error,) = await asyncio.gather(agent.on_members(agent.group(group)), return_exceptions=True)
            if error is not None:
                agent.emit(handler_failed(agent.me, agent.me.name, error))
