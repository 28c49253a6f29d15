"""An agent that stands in the directory: entered when it starts, renewed in time, removed when it stops.

Its entry names its task groups as well, so that their members find each other.
"""

from __future__ import annotations

import asyncio
import random

from agents.base import LocutionAgent, Ports, Server
from agents.company import Company
from behaviours.handlers import Handlers, hears
from behaviours.outcomes import Failed, Outcome, Succeeded, sentence
from behaviours.services import spoken
from behaviours.shells import Shell
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, Reason
from ontology.errors import Cause
from ontology.interaction import Announcement
from ontology.management import (
    Deregister,
    DfAgentDescription,
    Found,
    Modify,
    Register,
    Registered,
    Search,
    SearchConstraints,
    ServiceDescription,
)
from ontology.quantities import Seconds
from resilience.backoff import delay

LEASE = 60.0
"""Seconds that are asked for. Short, so that an agent that died is soon forgotten."""

TELL_WITHIN = 5.0
"""Seconds for the directory's answer."""

LEAVE_WITHIN = 2.0
"""Seconds for the answer to a deregister: nobody's stop waits long for a directory that is gone."""


class RegisteredAgent(LocutionAgent):
    """An agent with a description in the directory: entered after `on_ready`, and taken out after `on_stop`.

    Args:
        jid: bare JID.
        password: of the account.
        server: where to log in.
        ports: collaborators.
        directory: bare JID of the directory facilitator.
        lease: seconds; the entry is renewed at a third of what is granted.
    """

    def __init__(
        self,
        jid: str,
        password: str,
        server: Server,
        ports: Ports | None = None,
        *,
        directory: str,
        lease: Seconds = LEASE,
    ) -> None:
        super().__init__(jid, password, server, ports)
        self.directory = directory
        self.lease = lease
        self.entry = Entry(self)
        self.company = Company(self)

    company: Company

    def services(self) -> tuple[ServiceDescription, ...]:
        """What we offer at present; empty keeps us out of the directory. Override it."""
        return ()

    async def _hook_after_ready(self) -> None:
        """Enter the directory."""
        await super()._hook_after_ready()
        self.entry.is_kept = True
        self.supervisor.start(lambda: Registering(self))

    async def _hook_after_stop(self) -> None:
        """Leave the directory."""
        await super()._hook_after_stop()
        self.entry.is_kept = False
        if self.entry.is_entered:
            await self.entry.leave()

    @hears(Announcement)
    def _hear_announcement(self, announcement: Announcement, announcer: AgentIdentifier) -> None:
        """Take what a member of a group has sent to us alone."""
        self.company.announcing.heard(announcement, announcer)

    @property
    def is_stopping(self) -> bool:
        """Whether we stop, or have stopped."""
        return self._stopping is not None

    async def describe(self) -> None:
        """Tell the directory now that `services` has changed."""
        if self.is_alive() and self.is_connected:
            await self.entry.renew()

    async def find_key(self, peer: AgentIdentifier) -> str | None:
        """Ask the directory for the public key of an agent."""
        if peer.name == self.directory:
            return None
        found = await self.find_like(DfAgentDescription(name=peer), most=1)
        keys = () if isinstance(found, Failed) else (each.key for each in found)
        return next(iter(keys), None)

    async def find(self, *services: ServiceDescription) -> tuple[DfAgentDescription, ...] | Failed:
        """Search the directory for agents that offer all of the services."""
        return await self.find_like(DfAgentDescription(services=services))

    async def find_like(
        self, template: DfAgentDescription, most: int | None = None
    ) -> tuple[DfAgentDescription, ...] | Failed:
        """Search the directory for agents that a template matches, in the order of their names.

        Args:
            template: what is absent in it matches anything (`ontology.management.matches`).
            most: descriptions at most; by default the directory decides.
        """
        search = Search(template=template, constraints=SearchConstraints(max_results=most))
        asked = self.request(self.directory, search, reply_within=TELL_WITHIN, result_within=TELL_WITHIN)
        match outcome := await asked:
            case Succeeded(result=Found(descriptions=descriptions)):
                return descriptions
            case _:
                text = f"the directory {self.directory} could not be searched: {sentence(outcome)}"
                return Failed(Reason(cause=Cause.UNREACHABLE, text=text, about=self.directory))


class Entry:
    """An agent's entry in the directory, and its lease."""

    def __init__(self, agent: RegisteredAgent) -> None:
        self._agent = agent
        self._changing = asyncio.Lock()
        self.is_entered = False
        self.is_kept = False
        """Whether it is renewed in time: from the end of `on_ready` until the agent stops."""
        self.groups: frozenset[str] = frozenset()
        """Those that it names, as the directory has it."""
        self.granted = agent.lease

    async def renew(self) -> bool:
        """Write the entry as it should be now; False when the directory could not be told."""
        async with self._changing:
            company = self._agent.company.services
            services = (*self._agent.services(), *company)
            if not services:
                return not self.is_entered or await self._leave()
            description = DfAgentDescription(
                name=self._agent.me,
                services=services,
                protocols=spoken(Handlers.of(self._agent)),
                ontologies=tuple(each.label for each in self._agent.ontologies),
                languages=(LANGUAGE,),
                lease_time=self._agent.lease,
                key=None if self._agent.ports.key is None else self._agent.ports.key.public,
            )
            modify, register = Modify(description=description), Register(description=description)
            outcome = await self._ask(modify if self.is_entered else register)
            if _knows_otherwise(outcome):
                outcome = await self._ask(register if self.is_entered else modify)
            if isinstance(outcome, Succeeded):
                self.is_entered = True
                self.groups = frozenset(each.name or "" for each in company)
            return isinstance(outcome, Succeeded)

    async def leave(self) -> bool:
        """Take the entry out; False when the directory could not be told in time."""
        try:
            async with asyncio.timeout(LEAVE_WITHIN), self._changing:
                return await self._leave()
        except TimeoutError:  # somebody else is still waiting for a directory that is gone
            return False

    async def _leave(self) -> bool:
        outcome = await self._ask(Deregister(name=self._agent.me), within=LEAVE_WITHIN)
        left = isinstance(outcome, Succeeded) or _knows_otherwise(outcome)
        self.is_entered = self.is_entered and not left
        self.groups = frozenset() if left else self.groups
        return left

    async def _ask(self, action: Register | Modify | Deregister, within: float = TELL_WITHIN) -> Outcome:
        directory = self._agent.directory
        outcome = await self._agent.request(directory, action, reply_within=within, result_within=within)
        match outcome:
            case Succeeded(result=Registered(lease_time=granted)):
                self.granted = granted
        return outcome


def _knows_otherwise(outcome: Outcome) -> bool:
    """Whether the directory knows us from before, or has forgotten us."""
    known = {Cause.ALREADY_REGISTERED, Cause.NOT_REGISTERED}
    return isinstance(outcome, Failed) and outcome.reason.cause in known


class Registering(Shell):
    """Keeps the entry alive: renews it at a third of its lease, and tries again soon when that fails."""

    def __init__(self, agent: RegisteredAgent) -> None:
        super().__init__()
        self._entry, self._muster = agent.entry, agent.company.muster
        self._failures = 0

    async def run(self) -> None:
        """One renewal, a look at who else has renewed its own, and the pause after it."""
        if await self._entry.renew():
            self._failures = 0
            await self._muster.look()
            pause = self._muster.pause if self._muster.groups else asyncio.sleep
            await pause(self._entry.granted / 3)
        else:
            self._failures += 1
            await asyncio.sleep(delay(self._failures, random.random, first=0.5, most=10.0))
