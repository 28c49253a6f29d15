"""Looking before starting: whether a society file would run here, point by point."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, NamedTuple

from ontology.interaction import INTERACTION
from ontology.management import MANAGEMENT
from resilience.election import ElectionError
from society.authorities import idle
from society.config import SERVER, SocietyFile
from society.errors import SocietyError
from society.keeping import open_journal, open_lock, open_store
from society.kinds import kind_of
from society.state import StateFolder

LEARNING_NEEDS = ("numpy", "torch", "safetensors")


class Point(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str


def look(file: SocietyFile) -> Iterator[Point]:
    """Look at everything that a start needs; nothing stays open or running."""
    yield Point("file", True, f"{file.path}: {file.society.name}, {_count(len(file.agents), 'agent')}")
    yield from _kinds(file)
    yield from _authority(file)
    yield _extra(file)
    state_point = _state(file)
    yield state_point
    if state_point.ok or file.delivery.store == "redis":
        yield _delivery(file)
    if file.election.lock == "consul":
        yield _election(file)
    folder = file.society.data
    found = (
        sum(1 for each in folder.iterdir() if each.suffix in {".csv", ".tsv", ".npz", ".parquet"})
        if folder.is_dir()
        else 0
    )
    text = (
        f"{folder}: {_count(found, 'dataset')}"
        if folder.is_dir()
        else f"there is no folder {folder}; make it, or set data in [society]"
    )
    yield Point("data", folder.is_dir(), text)
    state = StateFolder(file.society.state)
    holders = {name: state.holder(name) for name in (SERVER, *(agent.name for agent in file.agents))}
    running = {name: process for name, process in holders.items() if process is not None}
    if running:
        # Its ports are its own: that they are taken is no fault.
        yield Point("running", True, _already(file, running))
    if not file.is_embedded:
        yield _reachable(file)
    elif SERVER not in running:
        yield _free("xmpp", file.xmpp.host, file.xmpp.port)
    if file.metrics.enabled and file.metrics.port and not running:
        yield _free("metrics", file.metrics.host, file.metrics.port)
    if file.dashboard.enabled:
        for agent in file.agents:
            if agent.name in running:
                continue
            port = file.dashboard_port(agent.name)
            yield _free(f"dashboard of {agent.name}", file.dashboard.host, port)


def _already(file: SocietyFile, running: Mapping[str, str]) -> str:
    """Who runs already, and where."""
    everyone = {*(agent.name for agent in file.agents), *((SERVER,) if file.is_embedded else ())}
    processes = sorted(set(running.values()))
    who = file.society.name if everyone <= running.keys() else ", ".join(running)
    where = f"in process{'' if len(processes) == 1 else 'es'} {', '.join(processes)}"
    return f"{who} {'runs' if who == file.society.name or len(running) == 1 else 'run'} already, {where}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _kinds(file: SocietyFile) -> Iterator[Point]:
    for agent in file.agents:
        try:
            kind = kind_of(file, agent)
        except SocietyError as error:
            yield Point(f"agent {agent.name}", False, str(error))
        else:
            yield Point(
                f"agent {agent.name}", True, f"{agent.kind} ({kind.cls.__module__}:{kind.cls.__name__})"
            )


def _authority(file: SocietyFile) -> Iterator[Point]:
    """Whether every rule can match something, and the keys that others may have to know."""
    table = file.authority
    if table is None or table.rules is None:
        domain = file.society.domain
        if file.xmpp.registration or not file.is_embedded:
            text = f"whoever has an account at {domain} may ask for anything, and enter the directory"
            yield Point("authority", True, f"{text}; rules in [authority] say who may")
    if table is None:
        return
    names = [agent.name for agent in file.agents]
    found = list(idle(table, agents=names, tags=_tags(file)))
    for place, text in found:
        yield Point("authority", False, str(file.fault(("authority", *place), text)))
    if not found:
        rules = _count(len(table.rules), "rule") if table.rules is not None else "no rules: own domain only"
        yield Point("authority", True, f"{rules}; {'everything' if table.signs else 'nothing'} is signed")
    if not table.signs:
        return
    try:
        keys = StateFolder(file.society.state).public_keys()
    except SocietyError as error:
        yield Point("keys", False, str(error))
    else:
        for name in (file.society.operator, *names):
            yield Point(f"key of {name}", True, keys.get(name, "it is made on first start"))


def _tags(file: SocietyFile) -> set[str] | None:
    """The tags of all terms that the agents understand; None if a kind cannot be imported."""
    tags: set[str] = set()
    try:
        for agent in file.agents:
            ontologies = (*kind_of(file, agent).cls.ontologies, MANAGEMENT, INTERACTION)
            tags.update(tag for each in ontologies for tag in each.by_tag)
    except SocietyError:
        return None
    return tags


def _extra(file: SocietyFile) -> Point:
    absent = [name for name in LEARNING_NEEDS if find_spec(name) is None]
    if not absent:
        return Point("learning", True, "torch, numpy and safetensors are installed")
    is_needed = any(agent.kind == "learner" for agent in file.agents)
    text = f"{', '.join(absent)} not installed; in the folder of Locution: pip install -e '.[learning]'"
    return Point("learning", not is_needed, text if is_needed else f"{text} (no learner needs it here)")


def _state(file: SocietyFile) -> Point:
    state = StateFolder(file.society.state)
    try:
        state.prepare()
        open_store(state).close()
    except SocietyError as error:
        return Point("state", False, str(error))
    return Point("state", True, f"{file.society.state} can be written")


def _delivery(file: SocietyFile) -> Point:
    table = file.delivery
    if table.store == "memory":
        return Point("delivery", True, "memory: messages on their way and conversations end with the process")

    async def reach() -> None:
        await (await open_journal(file, StateFolder(file.society.state))).close()

    try:
        _run(reach())
    except SocietyError as error:
        return Point("delivery", False, str(error))
    if table.store == "redis":
        return Point("delivery", True, "the Redis server can be used: append-only file, no eviction")
    what = "its process" if table.durable == "process" else "the power supply"
    return Point("delivery", True, f"SQLite: what is written down survives the death of {what}")


def _election(file: SocietyFile) -> Point:
    async def ask() -> None:
        lock = open_lock(file, StateFolder(file.society.state))
        try:
            await lock.wait_free("check")
        finally:
            await lock.close()

    try:
        _run(ask())
    except (SocietyError, ElectionError) as error:
        return Point("election", False, str(error))
    return Point("election", True, f"Consul answers at {file.election.url}")


def _run(work: Coroutine[Any, Any, None]) -> None:
    with ThreadPoolExecutor(max_workers=1) as thread:  # a loop may run in this one
        thread.submit(asyncio.run, work).result()


def _free(name: str, host: str, port: int) -> Point:
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(info[0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(info[4])
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or str(error)
        return Point(
            name, False, f"{host} port {port}: {told}; does a society run already? Or choose another"
        )
    return Point(name, True, f"{host} port {port} is free")


def _reachable(file: SocietyFile) -> Point:
    host, port = file.xmpp.host, file.xmpp.port
    try:
        socket.create_connection((host, port), timeout=5).close()
    except (OSError, UnicodeError) as error:
        told = getattr(error, "strerror", None) or str(error)
        return Point("xmpp", False, f"no server at {host} port {port}: {told}; start it, or correct [xmpp]")
    return Point("xmpp", True, f"a server answers at {host} port {port}")
