"""The yellow pages: who offers what (the DF of FIPA00023 section 4.1), with leases.

Every registration has a lease; whoever does not renew it by a modify in time is forgotten. What is
registered is kept in the agent's records and is there again after a restart. Where the records cannot be
written, the entries in memory hold all the same: a full disk must not make a society forget who is there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from agents.base import LocutionAgent, Ports, Server
from behaviours.events import RecordNotKept
from behaviours.handlers import on
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.participating import Participation
from behaviours.signing import is_key
from ontology.acl_xml import escaped
from ontology.content import Done
from ontology.errors import Cause
from ontology.management import (
    DEFAULT_RESULTS,
    MANAGEMENT,
    Deregister,
    DfAgentDescription,
    Found,
    Modify,
    Register,
    Registered,
    Search,
    matches,
)
from ontology.quantities import Seconds
from resilience.records import RecordsError

LONGEST_LEASE = 3600.0

COLLECTION = "directory"

ANSWER_BYTES = 900_000
"""What of an answer's descriptions goes beyond it, as it is sent, is left out (`CONTENT_LIMIT`)."""

DESCRIPTION_BYTES = 16_000
"""A description that is longer, as it is sent, is refused: one entry must not crowd the others out."""


class DirectoryFacilitator(LocutionAgent):
    """Registers descriptions and finds them.

    Args:
        jid: bare JID, by convention ``directory@domain``.
        password: of the account.
        server: where to log in.
        ports: collaborators; registrations are kept in the records.
        longest_lease: seconds; a longer one is not granted.
    """

    ontologies = (MANAGEMENT,)

    def __init__(
        self,
        jid: str,
        password: str,
        server: Server,
        ports: Ports | None = None,
        *,
        longest_lease: Seconds = LONGEST_LEASE,
    ) -> None:
        super().__init__(jid, password, server, ports)
        self._longest_lease = longest_lease
        self._entries: dict[str, tuple[DfAgentDescription, datetime]] = {}
        self._load()

    @on(Register)
    async def register(self, action: Register, task: Participation) -> Answer:
        """Add a description of the agent that asks."""
        name = self._own_name(action.description, task)
        if isinstance(name, Refuse):
            return name
        if name in self._live():
            return Fail(Cause.ALREADY_REGISTERED, f"{name} is registered already; modify it instead", name)
        return self._enter(name, action.description)

    @on(Modify)
    async def modify(self, action: Modify, task: Participation) -> Answer:
        """Replace the description of the agent that asks, and renew its lease."""
        name = self._own_name(action.description, task)
        if isinstance(name, Refuse):
            return name
        if name not in self._live():
            return Fail(Cause.NOT_REGISTERED, f"{name} is not registered, or its lease has run out", name)
        return self._enter(name, action.description)

    @on(Deregister)
    async def deregister(self, action: Deregister, task: Participation) -> Answer:
        """Forget the agent that asks."""
        if not action.name.is_same_agent(task.initiator):
            return _not_yours(action.name.name, task)
        name = action.name.name
        if name not in self._live():
            return Fail(Cause.NOT_REGISTERED, f"{name} is not registered, or its lease has run out", name)
        del self._entries[name]
        self._unkeep(name)
        return Done()

    @on(Search)
    async def search(self, action: Search, _task: Participation) -> Answer:
        """Find the descriptions that the template matches, by name, with what is left of their leases."""
        now, room = self.ports.clock(), ANSWER_BYTES
        most = action.constraints.max_results or DEFAULT_RESULTS
        found: list[DfAgentDescription] = []
        for _name, (description, until) in sorted(self._live().items()):
            if not matches(action.template, description):
                continue
            if len(found) == most:
                break
            left = description.model_copy(update={"lease_time": (until - now).total_seconds()})
            size = _size(left)
            if size > room:
                continue  # a shorter one may still fit
            room -= size
            found.append(left)
        return Found(descriptions=tuple(found))

    def _own_name(self, description: DfAgentDescription, task: Participation) -> str | Refuse:
        """The name to be entered: an agent speaks for itself only (FIPA00023 leaves it to the DF)."""
        if description.name is None:
            return Refuse(Cause.MISSING_ARGUMENT, "a description to be registered needs a name", "name")
        if not description.name.is_same_agent(task.initiator):
            return _not_yours(description.name.name, task)
        size = _size(description)
        if size > DESCRIPTION_BYTES:
            text = f"the description takes {size:,} bytes, and {DESCRIPTION_BYTES:,} are kept; shorten it"
            return Refuse(Cause.UNSUPPORTED_VALUE, text, "description")
        if (fault := self._fault_of_key(description.name.name, description.key)) is not None:
            return Refuse(Cause.UNAUTHORISED, fault, "key")
        return description.name.name

    def _fault_of_key(self, name: str, key: str | None) -> str | None:
        """What is wrong with a key: it is none, or not the one that an agent is known by."""
        if key is not None and not is_key(key):
            return "the key is none: write ed25519: and 32 bytes in base64"
        is_left_out = key is None and not self.authority.policy.wants_signatures
        if not is_left_out and self.authority.ring.is_another(name, key):
            return (
                f"{name} is known by another key: whoever runs the directory can put the new one "
                "into [authority.keys] of the society file"
            )
        return None

    def _enter(self, name: str, description: DfAgentDescription) -> Registered:
        lease = min(description.lease_time or self._longest_lease, self._longest_lease)
        until = self.ports.clock() + timedelta(seconds=lease)
        entry = description.model_copy(update={"lease_time": lease})
        self._entries[name] = (entry, until)
        if entry.key is not None:
            self.authority.ring.pin(name, entry.key)
        record = f"{until.isoformat()} {entry.model_dump_json()}"
        self._record(name, lambda: self.ports.records.put(COLLECTION, name, record))
        return Registered(lease_time=lease)

    def _unkeep(self, name: str) -> None:
        """Remove a record. One that cannot be removed comes back by a restart, until its lease runs out."""
        self._record(name, lambda: self.ports.records.remove(COLLECTION, name))

    def _record(self, name: str, write: Callable[[], None]) -> None:
        try:
            write()
        except (RecordsError, OSError) as error:
            self.emit(RecordNotKept(agent=self.me.name, key=name, text=str(error)))

    def _live(self) -> dict[str, tuple[DfAgentDescription, datetime]]:
        """The entries whose lease has not run out; the others are dropped."""
        now = self.ports.clock()
        for name in [name for name, (_entry, until) in self._entries.items() if until <= now]:
            del self._entries[name]
            self._unkeep(name)
        return self._entries

    def _load(self) -> None:
        for name, record in self.ports.records.all(COLLECTION).items():
            try:
                self._entries[name] = _read(name, record)
            except ValueError:
                # Written by another version: its owner registers anew within a third of the lease.
                self._unkeep(name)


def _read(name: str, record: str) -> tuple[DfAgentDescription, datetime]:
    """An entry as `_enter` wrote it.

    Raises:
        ValueError: it is something else.
    """
    time, _space, description = record.partition(" ")
    until = datetime.fromisoformat(time)
    entry = DfAgentDescription.model_validate_json(description)
    if until.tzinfo is None or entry.name is None or entry.name.name != name:
        raise ValueError(f"this is no entry of {name}: {record[:60]!r}")
    return entry, until


def _size(description: DfAgentDescription) -> int:
    """The bytes of a description within a message, where XML writes an ampersand as five."""
    return len(escaped(description.model_dump_json(exclude_none=True)).encode())


def _not_yours(name: str, task: Participation) -> Refuse:
    text = f"{task.initiator} may not speak for {name}: an agent registers itself"
    return Refuse(Cause.UNAUTHORISED, text, name)
