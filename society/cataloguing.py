"""The agents of a process in Consul's catalogue, where the society file has ``[election] lock = "consul"``.

Each running agent is a service of the name of its kind: ``coordinator.service.consul`` is where the XMPP
server is of those coordinators that are ready. Its tags are the society and the agent; its meta data say who
it is.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from agents.base import LocutionAgent
from behaviours.events import CatalogueDown, CatalogueUp, Hook
from resilience.journal import Journal
from resilience.records import RecordsError
from society.config import AgentTable, SocietyFile

if TYPE_CHECKING:
    from resilience.consul_catalogue import Listing

_log = logging.getLogger("locution")

STORE_WITHIN = 2.0
"""Seconds in which the store answers of an agent that is ready."""

_ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - nothing is bound here
"""Where a server listens on all addresses of its machine."""

_META_LONGEST = 512
"""Characters of a value of Consul's meta data."""


class Catalogue(Protocol):
    """Where agents are found by others."""

    def begin(self) -> None:
        """Begin to keep them there."""

    async def close(self) -> None:
        """Take them out; safe to call again."""


def open_catalogue(
    file: SocietyFile, agents: Mapping[str, LocutionAgent], journal: Journal, replica: str, hook: Hook
) -> Catalogue | None:
    """What keeps these agents in the catalogue from its `begin` on, once they are started.

    None where the society has no Consul.

    Raises:
        ElectionError: Consul has no such address.
    """
    if file.election.lock != "consul" or not agents:
        return None
    from resilience.consul_catalogue import ConsulCatalogue  # noqa: PLC0415 - only who wants it waits for it
    from resilience.consul_client import ConsulClient  # noqa: PLC0415 - likewise

    tables = {table.name: table for table in file.agents}
    listed = {name: _listing(file, tables[name], agent, replica) for name, agent in agents.items()}

    async def look() -> Mapping[str, str]:
        store = await _store_fault(journal)
        faults = {listed[name].service: _fault(agent, store) for name, agent in agents.items()}
        return {service: fault for service, fault in faults.items() if fault is not None}

    def down(text: str) -> None:
        _log.warning("the agents go on, and are not kept in the catalogue: %s", text)
        for agent in agents.values():
            hook(CatalogueDown(agent=agent.me.name, text=text))

    def up() -> None:
        _log.warning("the agents are kept in the catalogue of Consul again")
        for agent in agents.values():
            hook(CatalogueUp(agent=agent.me.name))

    client = ConsulClient(file.election.url)
    return ConsulCatalogue(client, tuple(listed.values()), look, on_down=down, on_up=up)


def service_name(kind: str) -> str:
    """What agents of a kind are found by in DNS: its short name, or that of its class in the same form."""
    from resilience.consul_client import dns_name  # noqa: PLC0415 - likewise

    return dns_name(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind.rpartition(":")[2])) or "agent"


def _listing(file: SocietyFile, table: AgentTable, agent: LocutionAgent, replica: str) -> Listing:
    from resilience.consul_catalogue import Listing  # noqa: PLC0415 - likewise
    from resilience.consul_client import PREFIX, dns_name  # noqa: PLC0415 - likewise

    society, jid = file.society.name, agent.me.name
    meta = {"jid": jid, "agent": table.name, "kind": table.kind, "society": society, "replica": replica}
    host = file.xmpp.host
    return Listing(
        service=f"{PREFIX}-{quote(society, safe='')}-{jid}-{replica}",
        name=service_name(table.kind),
        tags=tuple(dict.fromkeys(filter(None, (dns_name(society), dns_name(table.name))))),
        meta={key: value[:_META_LONGEST] for key, value in meta.items()},
        address=None if host in _ANYWHERE else host,
        port=file.xmpp.port,
    )


async def _store_fault(journal: Journal) -> str:
    try:
        async with asyncio.timeout(STORE_WITHIN):
            await journal.check()
    except RecordsError as error:
        return str(error)
    except TimeoutError:
        return f"the store has not answered within {STORE_WITHIN:g} s"
    return ""


def _fault(agent: LocutionAgent, store: str) -> str | None:
    """Why an agent is not ready, "" where it is; None: it has stopped."""
    if not agent.is_alive():
        return None
    return store if agent.is_connected else "it has no session with the XMPP server"
