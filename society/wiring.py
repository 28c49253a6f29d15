"""From the society file to agents with their collaborators: the one place that chooses implementations."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from agents.base import LocutionAgent, Ports, Server
from behaviours.events import Hook
from behaviours.living import MAIN
from resilience.journal import Journal
from resilience.records import Records, RecordsError
from resilience.sqlite_store import SqliteStore, StoreError
from society.authorities import idle
from society.config import AgentTable, SocietyFile
from society.dashboard import Dashboard
from society.errors import StartError, StateError
from society.keeping import Keeping, OwnRecords
from society.keys import KnownKeys, signing_keys
from society.kinds import Kind, kind_of
from society.recording import recording_of
from society.state import StateFolder
from society.telemetry import Telemetry
from society.xmpp_server import CertificateAuthority, XmppServer, XmppServerError
from society.xmpp_stores import RecordedAccounts, RecordedOffline, RecordedRosters

_log = logging.getLogger("locution")


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
    hook: Hook,
    keeping: Keeping,
    replica: str = MAIN,
) -> Mapping[str, LocutionAgent]:
    """Make the agents of this process, by name; they are not started. It is that replica of them.

    Raises:
        StartError: the constructor of one raised, as for a device that is not there.
    """
    passwords = state.passwords(kinds)
    server = server_address(file, state)
    record = recording_of(file)
    signing, known = signing_keys(file, state, *kinds), KnownKeys(file, state)
    for text in idle_rules(file):
        _log.warning("%s", text)
    agents: dict[str, LocutionAgent] = {}
    for name, kind in kinds.items():
        ports = Ports(
            hook=hook,
            dead_letters=keeping.letters,
            journal=keeping.journal,
            replica=replica,
            operator=file.jid(file.society.operator),
            records=OwnRecords(store, name),
            lock=keeping.lock,
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
