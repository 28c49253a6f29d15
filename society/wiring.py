"""From the society file to agents with their collaborators: the one place that chooses implementations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from agents.base import LocutionAgent, Ports, Server
from behaviours.living import MAIN
from resilience.dead_letters import DeadLetter, DeadLetters
from resilience.journal import Effects, Journal
from resilience.memory import MemoryDeadLetters, MemoryJournal, MemoryLock
from resilience.records import Records, RecordsError
from resilience.sqlite_journal import SqliteJournal
from resilience.sqlite_store import SqliteStore, StoreError
from society.authorities import idle
from society.config import AgentTable, SocietyFile
from society.dashboard import Dashboard
from society.errors import StartError, StateError
from society.keys import KnownKeys, signing_keys
from society.kinds import Kind, kind_of
from society.recording import recording_of
from society.state import StateFolder
from society.telemetry import Telemetry
from society.xmpp_server import CertificateAuthority, XmppServer, XmppServerError
from society.xmpp_stores import RecordedAccounts, RecordedOffline, RecordedRosters

_log = logging.getLogger("locution")

POSTED_AT_ONCE = 1_000
"""Dead letters that are on their way to a server; further ones stay in memory."""


def server_address(file: SocietyFile, state: StateFolder) -> Server:
    """Where agents and the command line log in, and whom they believe."""
    if not file.is_embedded:
        return Server(
            host=file.xmpp.host,
            port=file.xmpp.port,
            ca_file=file.xmpp.ca_file,
            auto_register=file.xmpp.registration,
        )
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(file.xmpp.host, file.xmpp.host)  # noqa: S104 - an address to call
    return Server(host=host, port=file.xmpp.port, ca_file=state.certificates / "ca.pem")


def open_store(state: StateFolder) -> SqliteStore:
    """Open the society's database.

    Raises:
        StateError: it cannot be used.
    """
    try:
        return SqliteStore(state.database)
    except StoreError as error:
        raise StateError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Where the agents of one process keep what they must not lose."""

    journal: Journal
    letters: DeadLetters
    """Dead letters, as an agent keeps them: at once, and without failing."""

    async def close(self) -> None:
        """Let go of it, after the last agent has stopped."""
        if isinstance(self.letters, Posted):
            await self.letters.settled()
        await self.journal.close()


async def open_keeping(file: SocietyFile, state: StateFolder, store: SqliteStore) -> Keeping:
    """Open what ``[delivery]`` names.

    Raises:
        StateError: the database cannot be used.
        StartError: the Redis server cannot be used.
    """
    memory = MemoryDeadLetters()
    if file.delivery.store == "memory":
        return Keeping(journal=MemoryJournal(file.delivery.policy, memory), letters=memory)
    journal = await open_journal(file, state)
    is_file = file.delivery.store == "sqlite"
    return Keeping(journal=journal, letters=Sheltered(store, memory) if is_file else Posted(journal, memory))


async def open_journal(file: SocietyFile, state: StateFolder) -> Journal:
    """Open the store of ``[delivery]`` that other processes see as well.

    Raises:
        StateError: the database cannot be used.
        StartError: the Redis server cannot be used, or there is no such store.
    """
    table = file.delivery
    try:
        match table.store:
            case "sqlite":
                return SqliteJournal(state.database, table.policy, durable=table.durable)
            case "redis":
                from resilience.redis_store import RedisJournal  # noqa: PLC0415 - only who wants it waits for it

                # The keys of several societies may lie on one server; a brace would part those of an agent.
                prefix = f"locution:{quote(file.society.name, safe='')}"
                return await RedisJournal.open(table.url, table.policy, prefix=prefix)
            case _:
                raise StartError(
                    f'{file.path}: [delivery] store is "memory": what it keeps, only its own process sees'
                )
    except StoreError as error:
        raise StateError(str(error)) from error
    except RecordsError as error:
        raise StartError(f"{error}, or choose another store in [delivery]") from error


def embedded_server(file: SocietyFile, state: StateFolder, records: Records) -> XmppServer:
    """Make the embedded server with the society's accounts.

    Raises:
        StateError: certificates or stored accounts cannot be read.
    """
    names = [file.society.operator, *(agent.name for agent in file.agents)]
    passwords = state.passwords(names)
    try:
        return XmppServer(
            domain=file.society.domain,
            host=file.xmpp.host,
            port=file.xmpp.port,
            authority=CertificateAuthority.open(state.certificates),
            registration=file.xmpp.registration,
            accounts=RecordedAccounts(passwords, records),
            offline=RecordedOffline(records),
            rosters=RecordedRosters(records),
        )
    except (XmppServerError, StoreError) as error:
        raise StateError(str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"what the XMPP server keeps in {state.database} cannot be read: {error}") from error


def import_kinds(file: SocietyFile, chosen: Iterable[AgentTable]) -> Mapping[str, Kind]:
    """The kind of each agent by the agent's name; options checked.

    Raises:
        SocietyFileError: one cannot be imported, or has no such option.
    """
    return {agent.name: kind_of(file, agent) for agent in chosen}


def idle_rules(file: SocietyFile) -> list[str]:
    """What stands in the rules of the file and can never match, as far as one can tell without the kinds."""
    if file.authority is None:
        return []
    found = idle(file.authority, agents=[agent.name for agent in file.agents], tags=None)
    return [str(file.fault(("authority", *place), text)) for place, text in found]


def make_agents(
    file: SocietyFile,
    state: StateFolder,
    kinds: Mapping[str, Kind],
    store: SqliteStore,
    telemetry: Telemetry,
    keeping: Keeping,
    replica: str = MAIN,
) -> Mapping[str, LocutionAgent]:
    """Make the agents of this process, by name; they are not started. It is that replica of them.

    Raises:
        StartError: the constructor of one raised, as for a device that is not there.
    """
    passwords = state.passwords(kinds)
    server, lock = server_address(file, state), MemoryLock()
    record = recording_of(file)
    signing, known = signing_keys(file, state, *kinds), KnownKeys(file, state)
    for text in idle_rules(file):
        _log.warning("%s", text)
    agents: dict[str, LocutionAgent] = {}
    for name, kind in kinds.items():
        ports = Ports(
            hook=telemetry,
            dead_letters=keeping.letters,
            journal=keeping.journal,
            replica=replica,
            operator=file.jid(file.society.operator),
            records=OwnRecords(store, name),
            lock=lock,
            record=record,
            policy=file.policy,
            key=signing.get(name),
            keys=known,
        )
        try:
            agents[name] = kind.make(file.jid(name), passwords[name], server, ports)
        except (Exception, SystemExit) as error:  # the constructor may be the user's
            _log.debug("%s", name, exc_info=True)
            raise StartError(f"agent {name!r} could not be made: {told(error)}") from error
    return agents


def make_dashboards(
    file: SocietyFile, agents: Mapping[str, LocutionAgent], telemetry: Telemetry
) -> Mapping[str, Dashboard]:
    """Make the dashboards of these agents, by the agent's name; empty where they are disabled."""
    if not file.dashboard.enabled:
        return {}
    return {name: _dashboard(file, name, agent, telemetry) for name, agent in agents.items()}


def _dashboard(file: SocietyFile, name: str, agent: LocutionAgent, telemetry: Telemetry) -> Dashboard:
    def conversations() -> list[dict[str, str]]:
        if not hasattr(agent, "mailroom"):
            return []
        return [
            {
                "peer": each.peer,
                "protocol": each.protocol,
                "role": each.role.value,
                "state": each.state,
                "since": each.opened.astimezone().strftime("%H:%M:%S"),
            }
            for each in agent.mailroom.conversations()
        ]

    return Dashboard(
        agent,
        file.dashboard.host,
        file.dashboard_port(name),
        conversations,
        lambda: telemetry.recent(agent.me.name),
        lambda: telemetry.counts(agent.me.name),
        lambda: depth_of(agent.ports.journal, agent.me.name),
    )


async def depth_of(journal: Journal, agent: str) -> dict[str, Any] | None:
    """How much an agent has in store, as JSON can hold it; None where the store cannot tell just now."""
    try:
        depth = await journal.depth(agent)
    except RecordsError:
        return None
    oldest = depth.oldest_letter
    age = None if oldest is None else max(0.0, (datetime.now(UTC) - oldest).total_seconds())
    return {
        "outgoing": depth.outgoing,
        "snapshots": depth.snapshots,
        "letters": depth.letters,
        "oldest_letter_seconds": None if age is None else round(age, 3),
    }


def told(error: BaseException) -> str:
    """An exception in one line: its own sentence where it is one, else with its type."""
    text = " ".join(str(error).split())
    return text if text and " " in text else f"{type(error).__name__}: {text}"


def mended(text: str) -> str:
    """What went wrong at a login, with what is probably behind it and how to mend it."""
    if "certificate is not trusted" not in text:
        return text
    return (
        f"{text}; probably the server of another society runs on that port: stop that one, or choose another "
        "port in [xmpp]"
    )


class OwnRecords:
    """The records of one agent: two agents of a kind do not write each other's."""

    def __init__(self, records: Records, agent: str) -> None:
        self._records, self._agent = records, agent

    def put(self, collection: str, key: str, text: str) -> None:
        """Write or replace a record."""
        self._records.put(f"{self._agent}/{collection}", key, text)

    def remove(self, collection: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""
        self._records.remove(f"{self._agent}/{collection}", key)

    def all(self, collection: str) -> Mapping[str, str]:
        """Return every record of a collection, ordered by key."""
        return self._records.all(f"{self._agent}/{collection}")


class Posted:
    """Dead letters that go to the journal in the background, as where that is a server.

    What it cannot take stays in memory, and the log says so; that is also all that can be listed here.

    Args:
        journal: where they go.
        memory: where else.
    """

    def __init__(self, journal: Journal, memory: MemoryDeadLetters) -> None:
        self._journal, self._memory = journal, memory
        self._posting: set[asyncio.Task[None]] = set()

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter, soon."""
        if len(self._posting) >= POSTED_AT_ONCE:
            self._memory.add(letter)
            return
        task = asyncio.get_running_loop().create_task(self._post(letter))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post(self, letter: DeadLetter) -> None:
        try:
            await self._journal.commit(Effects(agent=letter.agent, bury=(letter,)))
        except (RecordsError, ValueError) as error:
            _log.warning("%s: a dead letter is kept in memory only: %s", letter.agent, error)
            self._memory.add(letter)

    async def settled(self) -> None:
        """Return when all that was added is kept."""
        await asyncio.gather(*self._posting)

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters in memory, newest first."""
        return self._memory.list(agent, limit)

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one letter, if it lies in memory."""
        return self._memory.get(id)

    def drop(self, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a letter from memory; whether it was there."""
        return self._memory.drop(id)

    def count(self, agent: str | None = None) -> int:
        """How many letters lie in memory."""
        return self._memory.count(agent)

    def oldest(self, agent: str | None = None) -> datetime | None:
        """When the letter in memory that has lain longest was written."""
        return self._memory.oldest(agent)


class Sheltered:
    """Dead letters that never fail: an agent must not fall because a disk is full.

    What the first store cannot take goes to the second, and the log says so.
    """

    def __init__(self, first: DeadLetters, second: DeadLetters) -> None:
        self._first, self._second = first, second

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter."""
        try:
            self._first.add(letter)
        except StoreError as error:
            _log.warning("%s: a dead letter is kept in memory only: %s", letter.agent, error)
            self._second.add(letter)

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""
        found = [*self._first.list(agent, limit), *self._second.list(agent, limit)]
        return sorted(found, key=lambda letter: letter.when, reverse=True)[:limit]

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one letter, if it is there."""
        return self._first.get(id) or self._second.get(id)

    def drop(self, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a letter; whether it was there."""
        return self._first.drop(id) or self._second.drop(id)

    def count(self, agent: str | None = None) -> int:
        """How many letters are kept."""
        return self._first.count(agent) + self._second.count(agent)

    def oldest(self, agent: str | None = None) -> datetime | None:
        """When the letter that has lain longest was written."""
        both = (self._first.oldest(agent), self._second.oldest(agent))
        return min((each for each in both if each is not None), default=None)
