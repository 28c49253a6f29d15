"""What an agent is in task groups: a member of each that it joins, and of some the leader."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from behaviours.events import Fact
from behaviours.grouping import Group
from behaviours.supervising import Supervisor
from ontology.aid import AgentIdentifier

if TYPE_CHECKING:
    from agents.base import Ports


class Grouped:
    """Joins task groups. `agents.base.LocutionAgent` is one."""

    me: AgentIdentifier
    ports: Ports
    supervisor: Supervisor

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Those that we have joined, by name."""
        return {}

    def group(self, name: str) -> Group:
        """Our part in a task group; it is joined by `async with`, or by its `join`.

        Raises:
            ValueError: that can be no name of a group.
        """
        if name not in self.groups:
            self.groups[name] = Group(
                me=self.me,
                name=name,
                lock=self.ports.lock,
                supervisor=self.supervisor,
                on_elected=self.on_elected,
                on_deposed=self.on_deposed,
                hook=self.emit,
            )
        return self.groups[name]

    async def on_elected(self, group: Group) -> None:
        """Do what the leader of a group has to do first. Override it."""

    async def on_deposed(self, group: Group) -> None:
        """Stop doing what only its leader may. Override it."""

    def emit(self, fact: Fact) -> None:
        """Tell the hook."""
        raise NotImplementedError
