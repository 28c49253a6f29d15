"""What an agent is in task groups: a member of each that it joins, and of some the leader."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from behaviours.events import Fact
from behaviours.grouping import PARTED, Company, Group
from behaviours.supervising import Supervisor
from ontology.aid import AgentIdentifier

if TYPE_CHECKING:
    from agents.base import Ports


class Grouped:
    """Joins task groups. `agents.base.LocutionAgent` is one."""

    me: AgentIdentifier
    ports: Ports
    supervisor: Supervisor
    company: Company | None = None
    """The other members of our groups; None where we have no directory to find them in."""

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
            if PARTED in name:
                raise ValueError(
                    f"{name[:80]!r} is no name for a group: behind a slash stands the member whose part of a "
                    "group that is; leave the slash out"
                )
            self.groups[name] = Group(
                me=self.me,
                name=name,
                lock=self.ports.lock,
                supervisor=self.supervisor,
                on_elected=self.on_elected,
                on_deposed=self.on_deposed,
                hook=self.emit,
                company=self.company,
            )
        return self.groups[name]

    async def on_elected(self, group: Group) -> None:
        """Do what the leader of a group has to do first. Override it."""

    async def on_deposed(self, group: Group) -> None:
        """Stop doing what only its leader may. Override it."""

    async def on_members(self, group: Group) -> None:
        """Look at `group.members`, which have changed. Override it.

        It runs once for what has changed meanwhile; what it raises is a fact.
        """

    def emit(self, fact: Fact) -> None:
        """Tell the hook."""
        raise NotImplementedError
