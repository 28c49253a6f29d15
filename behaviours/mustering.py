"""Who is in a task group now: by the leases of the directory, and by presence.

A member's entry in the directory names its groups, as services of the type `GROUP`; so it is one as long as
it renews that. Its presence it sends to the other members themselves (RFC 6121, 4.6), and the server tells
them when its session ends: nobody need be on anybody's contact list. Such a presence names the groups that
its sender is in. Whoever learns something new by it asks the directory, which alone makes a member.

So nobody is asked in turns: the directory once in a lease, and once for each member that is new or back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final, Protocol
from xml.sax.saxutils import escape, quoteattr

from behaviours.events import Hook, MemberJoined, MemberLeft
from behaviours.outcomes import Failed
from behaviours.peering import bare
from behaviours.transport import PRESENCE, ConnectionFailed
from behaviours.wire import Element
from ontology.aid import AgentIdentifier
from ontology.management import DfAgentDescription, ServiceDescription

GROUP: Final = "group"
"""The type of service by which an entry in the directory names a group that its agent is in."""

GROUPS: Final = "urn:locution:groups"
"""The namespace of what our presence says of the groups that we are in."""

FEW = 8
"""Agents that are looked for one by one; of more, all members are looked for at once."""

MOST = 1000
"""Agents whose presence may wait to be looked into; of further ones the next renewal tells."""

Search = Callable[[DfAgentDescription], Awaitable[tuple[DfAgentDescription, ...] | Failed]]


class Presences(Protocol):
    """What a muster needs of the agent's connection; see `behaviours.connection.XmppConnection`."""

    def hand_over(self, stanza: str) -> None:
        """Write one stanza; `ConnectionFailed` where there is no session."""

    def watch(self, on_message: Callable[[Element], bool], on_online: Callable[[], None]) -> None:
        """Offer stanzas, and tell of sessions."""


class Muster:
    """The members of the groups that one agent is in.

    Args:
        me: the agent.
        search: asks the directory.
        hook: sink of facts.
        keep: runs a coroutine until it ends or the agent stops.
        on_change: told of a group whose members have changed.
        on_return: told of each new session.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        me: AgentIdentifier,
        search: Search,
        *,
        hook: Hook,
        keep: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        on_change: Callable[[str], None],
        on_return: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._me, self._search, self._hook, self._keep = me, search, hook, keep
        self._on_change, self._on_return, self._clock = on_change, on_return, clock
        self._line: Presences | None = None
        self._until: dict[str, dict[str, float]] = {}
        """By group and member: when its lease ends."""
        self._shown: dict[str, frozenset[str]] = {}
        """By group: the members that were told of last."""
        self._here: dict[str, set[str]] = {}
        """By member: the full JIDs that have sent us their presence."""
        self._gone: set[str] = set()
        """Members whose last session has ended."""
        self._greeted: set[str] = set()
        """Who has our presence, as it is now."""
        self._heard: dict[str, set[str]] = {}
        """By agent: full JIDs whose presence waits to be looked into."""
        self._looking: asyncio.Task[None] | None = None
        self._searching = asyncio.Lock()
        self._has_looked = asyncio.Event()

    @property
    def groups(self) -> tuple[str, ...]:
        """Those that we are in."""
        return tuple(self._until)

    def members(self, group: str) -> tuple[AgentIdentifier, ...]:
        """Who is in a group now, we included, by name; nobody where we are not."""
        return tuple(AgentIdentifier(name=name) for name in sorted(self._members(group)))

    def is_entered(self, group: str, name: str) -> bool:
        """Whether an agent's lease in a group runs, be it there or not."""
        return name == self._me.name or self._until.get(group, {}).get(name, -math.inf) > self._clock()

    async def pause(self, most: float) -> None:
        """Return after so many seconds, or once the lease of a member ends: it may have been renewed."""
        end = self._clock() + most
        while (seconds := min(end, self._soonest) - self._clock()) > 0:
            self._has_looked.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._has_looked.wait(), seconds)

    def join(self, group: str, line: Presences) -> None:
        """We are in a group; who else is, `look` finds out."""
        if line is not self._line:
            self._line = line
            line.watch(self.take, self._return)
        if group not in self._until:
            self._until[group], self._shown[group] = {}, frozenset({self._me.name})
            self._greeted.clear()

    def leave(self, group: str) -> Iterable[str]:
        """We are in a group no more; return who was. Once the directory knows it they are to be greeted."""
        self._shown.pop(group, None)
        self._greeted.clear()
        return self._until.pop(group, {}).keys()

    async def look(self) -> None:
        """Ask the directory for all members of all groups that we are in. Once we are entered ourselves."""
        async with self._searching:
            for group in self.groups:
                service = ServiceDescription(name=group, type=GROUP)
                found = await self._search(DfAgentDescription(services=(service,)))
                if group in self._until and not isinstance(found, Failed):
                    self._until[group] = dict(map(self._lease, found))
        self._settle()

    async def look_for(self, name: str) -> None:
        """Ask the directory in which of our groups one agent is."""
        async with self._searching:
            wanted = DfAgentDescription(
                name=AgentIdentifier(name=name), services=(ServiceDescription(type=GROUP),)
            )
            found = await self._search(wanted)
            if not isinstance(found, Failed):
                groups = {
                    service.name for each in found for service in each.services if service.type == GROUP
                }
                for group, until in self._until.items():
                    until.pop(name, None)
                    if group in groups:
                        until.update(map(self._lease, found))
        self._settle()

    def take(self, stanza: Element) -> bool:
        """Look at a stanza, and leave it to others."""
        if stanza.tag != PRESENCE or not self._until:
            return False
        sender = stanza.get("from") or ""
        try:
            name = AgentIdentifier.of(sender).name
        except ValueError:
            return False
        if name == self._me.name:
            return False
        if stanza.get("type") == "unavailable":
            self._vanished(name, sender)
        elif stanza.get("type") is None and (told := stanza.find(f"{{{GROUPS}}}groups")) is not None:
            self._appeared(name, sender, {each.text or "" for each in told})
        return False

    def _appeared(self, name: str, sender: str, groups: set[str]) -> None:
        known = {group for group, until in self._until.items() if name in until}
        if name in self._gone or known != groups & self._until.keys():
            if len(self._heard) < MOST:
                self._heard.setdefault(name, set()).add(sender)
                if self._looking is None or self._looking.done():
                    self._looking = self._keep(self._look_into())
        elif known and sender not in self._here.setdefault(name, set()):
            self._here[name].add(sender)
            self.greet([sender])

    def _vanished(self, name: str, sender: str) -> None:
        here = self._here.get(name, set())
        here.discard(sender)
        if not here and any(name in until for until in self._until.values()):
            self._here.pop(name, None)
            self._gone.add(name)
            self._settle()

    async def _look_into(self) -> None:
        """Look for those whose presence has told something new, until there are none."""
        while self._heard:
            heard, self._heard = self._heard, {}
            for name, senders in heard.items():
                self._here.setdefault(name, set()).update(senders)
                self._gone.discard(name)
                self._greeted.discard(name)
            if len(heard) > FEW:
                await self.look()
            else:
                for name in heard:
                    await self.look_for(name)

    def _return(self) -> None:
        """A new session stands: nobody has seen it yet, and who has left meanwhile nobody tells."""
        self._here.clear()
        self._gone.clear()
        self._greeted.clear()
        self._settle()
        self._on_return()

    def _settle(self) -> None:
        """Forget what has ended, greet who is new, and tell what has changed."""
        self._has_looked.set()
        now = self._clock()
        for until in self._until.values():
            for name in [name for name, end in until.items() if end <= now]:
                del until[name]
        known = {name for until in self._until.values() for name in until}
        self._here = {name: here for name, here in self._here.items() if name in known}
        self._gone &= known
        self._greeted &= known
        for name in sorted(known - self._greeted):
            self.greet(self._here.get(name, (name,)))
        for group, shown in tuple(self._shown.items()):
            members = self._shown[group] = self._members(group)
            for name in sorted(members - shown):
                self._hook(MemberJoined(agent=self._me.name, group=group, member=name))
            for name in sorted(shown - members):
                self._hook(MemberLeft(agent=self._me.name, group=group, member=name))
            if members != shown:
                self._on_change(group)

    def _members(self, group: str) -> frozenset[str]:
        if group not in self._until:
            return frozenset()
        now, until = self._clock(), self._until[group]
        there = {name for name, end in until.items() if end > now and name not in self._gone}
        return frozenset({*there, self._me.name})

    @property
    def _soonest(self) -> float:
        return min((end for until in self._until.values() for end in until.values()), default=math.inf)

    def _lease(self, found: DfAgentDescription) -> tuple[str, float]:
        name = "" if found.name is None else found.name.name
        return name, self._clock() + (math.inf if found.lease_time is None else found.lease_time)

    def greet(self, jids: Iterable[str]) -> None:
        """Send our presence to others: from then on the server tells them when our session ends."""
        groups = "".join(f"<group>{escape(group)}</group>" for group in self._until)
        told = f'<groups xmlns="{GROUPS}">{groups}</groups>'
        with suppress(ConnectionFailed):  # the next session tells them
            for jid in sorted(set(jids) - {self._me.name}):
                if self._line is not None:
                    self._line.hand_over(f"<presence to={quoteattr(jid)}>{told}</presence>")
                    self._greeted.add(bare(jid))
