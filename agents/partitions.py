"""The partitions of a group of coordinators, and who leads which: one leader for all, or each its own.

With ``leadership = "per-task"`` nobody leads the whole group. Each member leads a partition of it,
"group/member", by the same lock, in terms and with a ledger of its own; and whoever asks for something
chooses the member (`resilience.rendezvous`). All others stand by for that partition. When its member dies
one of them leads it: the first in the order of that partition, which is another one for each, so that what
several dead ones had is shared out as well. It goes on with the tasks that it finds there, takes none beside,
and gives the partition back when they have ended and its member is there again.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Literal

from agents.bookkeeping import Bookkeeping
from behaviours.grouping import PARTED, Group
from behaviours.participating import Participation
from resilience.backoff import delay
from resilience.election import ElectionError
from resilience.rendezvous import ranked

if TYPE_CHECKING:
    from agents.registered import RegisteredAgent

_log = logging.getLogger(__name__)

Leadership = Literal["leader", "per-task"]
"""Who does what a group is asked for: its leader, or whichever member is asked."""

STEP = 0.5
"""Seconds that each one in the order leaves a free partition to the one before it."""

OWNER_FIRST = 2.0
"""Seconds that all others leave it to its member, as long as that is there as far as they can tell."""

HELD_LEAST = 2.0
"""Seconds that a partition is led in place of its member at least: one that is there and cannot lead is not
tried again and again."""

LOOK_EVERY = 0.25
"""Seconds between two looks at whether it can be given back; they ask nobody."""

MOST = 100
"""Partitions of others that a member stands by for."""


class Partitions:
    """The partitions of a group, as one member sees them.

    Args:
        agent: the member.
        group: the name of the group.
        leadership: whether it has one partition, the whole of it, or one for each member.

    Raises:
        ValueError: that can be no name of such a group, or of a partition of it.
    """

    def __init__(self, agent: RegisteredAgent, group: str, leadership: Leadership) -> None:
        self._agent, self._group, self._is_parted = agent, group, leadership == "per-task"
        self.own = group
        """The name of the partition that we lead or stand by for in our own right."""
        agent.group(group)
        if self._is_parted:
            self.own = self._of(agent.me.local_name)
            self._part(self.own)
        self._books = {self.own: Bookkeeping(agent, self.own)}
        self._learning: asyncio.Task[None] | None = None

    def of(self, task: Participation) -> tuple[Group, Bookkeeping]:
        """The partition that a task is of, and its ledger: that of the member that was asked for it."""
        asked = next((each.local_name for each in task.message.receiver), "")
        name = self._of(asked) if self._is_parted else self.own
        name = name if name in self._books else self.own
        return self._agent.group(name), self._books[name]

    async def join(self) -> None:
        """Be a member; returns once it is known whether we lead what is ours."""
        if self._is_parted:
            await self._agent.group(self._group).enter()
        await self._agent.group(self.own).join()
        self.learn()

    def learn(self) -> None:
        """Find out which partitions there are; to be called when members may have come."""
        if self._is_parted and (self._learning is None or self._learning.done()):
            self._learning = self._agent.submit(self._learn())

    def begin(self, group: Group) -> None:
        """We lead a partition."""
        self._books[group.name].begin(group.term)
        if group.name != self.own:
            self._agent.submit(self._stand_in(group, group.term))

    def end(self, group: Group) -> None:
        """We lead it no more."""
        self._books[group.name].end()

    async def _learn(self) -> None:
        """Stand by for the partitions that somebody has led: members enter the directory after that."""
        attempt, known = 0, None
        while known is None:
            try:
                known = {name for name in await self._agent.ports.lock.groups() if self._is_partition(name)}
            except ElectionError:
                attempt += 1
                await asyncio.sleep(delay(attempt, lambda: 1.0, first=0.5, most=5.0))
        names = sorted(known - {self.own})
        if len(names) > MOST:
            _log.warning(
                "%s: of %d partitions of %s %d are stood by for", self.own, len(names), self._group, MOST
            )
        for name in () if self._agent.is_stopping else names[:MOST]:
            self._books.setdefault(name, Bookkeeping(self._agent, name))
            self._part(name).stand()

    async def _stand_in(self, group: Group, term: int) -> None:
        """Lead in place of a member, until it is there again and what we have found is done."""
        await asyncio.sleep(HELD_LEAST)
        while group.is_leader and group.term == term:
            if self._owner(group.name) in self._living() and self._books[group.name].is_idle:
                await group.leave()
                if not self._agent.is_stopping:
                    group.stand()
                return
            await asyncio.sleep(LOOK_EVERY)

    def _hesitation(self, name: str) -> float:
        """How long we leave a free partition to others: its member first, then whoever comes before us."""
        owner, living = self._owner(name), self._living()
        place = ranked(name, living - {owner}).index(self._agent.me.local_name)
        return STEP * place + (OWNER_FIRST if owner in living else 0.0)

    def _living(self) -> set[str]:
        return {each.local_name for each in self._agent.company.members(self._group)} | {
            self._agent.me.local_name
        }

    def _part(self, name: str) -> Group:
        """Our part in the election of a partition."""
        agent = self._agent
        if name not in agent.groups:
            agent.groups[name] = Group(
                me=agent.me,
                name=name,
                lock=agent.ports.lock,
                supervisor=agent.supervisor,
                on_elected=agent.on_elected,
                on_deposed=agent.on_deposed,
                hook=agent.emit,
                hesitation=None if name == self.own else partial(self._hesitation, name),
            )
        return agent.groups[name]

    def _of(self, member: str) -> str:
        return f"{self._group}{PARTED}{member}"

    def _owner(self, name: str) -> str:
        return name.removeprefix(self._of(""))

    def _is_partition(self, name: str) -> bool:
        return name.startswith(self._of("")) and PARTED not in self._owner(name)
