"""The command line's side of a conversation: log in as the operator, find the coordinator, ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from agents.base import LocutionAgent, Server
from behaviours.connection import ConnectionFailed
from behaviours.outcomes import Expired, Failed, Outcome, Refused, Succeeded, sentence
from ontology.content import AgentAction
from ontology.errors import Cause
from ontology.management import DfAgentDescription, Found, Search, ServiceDescription
from resilience.rendezvous import ranked
from society.config import SocietyFile
from society.errors import NotRunningError
from society.events import Tell, told_if_slow
from society.keys import operator_ports
from society.state import StateFolder
from society.wiring import mended, server_address

COORDINATION = "coordination"
"""The type of service that coordinators have in the directory which are there to be asked."""

PASSED_OVER_AFTER = 5.0
"""Seconds in which a coordinator answers, where there are others to be asked."""

CONNECT_WITHIN = 5.0
FIND_WITHIN = 10.0
"""Seconds in which a coordinator should stand in the directory: an election may be under way."""

CONFIRM_CANCEL_WITHIN = 3.0

LOST_AFTER = 20.0
"""Seconds without a connection after which a client gives up. A server started anew is back sooner."""

LOOK_EVERY = 0.25


async def reach(file: SocietyFile) -> Server:
    """Look whether the society's server accepts connections, so that nobody waits for one that is not there.

    Raises:
        NotRunningError: it does not.
    """
    server = server_address(file, StateFolder(file.society.state))
    try:
        async with asyncio.timeout(CONNECT_WITHIN):
            _reader, writer = await asyncio.open_connection(server.host, server.port)
    except (OSError, TimeoutError) as error:
        why = "it does not answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise NotRunningError(
            f"no society {file.society.name!r} at {server.host} port {server.port} ({why}); "
            f"start it: locution up --file {file.path}"
        ) from error
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return server


@asynccontextmanager
async def operator(file: SocietyFile) -> AsyncIterator[LocutionAgent]:
    """Log in as the operator for a while. A cancelled request is taken back before the agent leaves.

    Raises:
        NotRunningError: no society answers, or it does not know us.
    """
    state = StateFolder(file.society.state)
    password = state.password(file.society.operator)
    server = await reach(file)
    agent = LocutionAgent(file.jid(file.society.operator), password, server, operator_ports(file, state))
    try:
        try:
            await agent.start()
        except (ConnectionFailed, OSError) as error:
            raise not_let_in(file, error) from error
        yield agent
    finally:
        if agent.is_alive():
            await _farewell(agent)
        await agent.stop()


def not_let_in(file: SocietyFile, error: Exception) -> NotRunningError:
    """The error about a login that has failed."""
    return NotRunningError(f"cannot log in to {file.society.name!r}: {mended(str(error))}")


async def connected(agent: LocutionAgent, asking: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Await an answer, but not for ever where the server has gone: an agent would, a person would not.

    Raises:
        NotRunningError: there has been no connection for `LOST_AFTER` seconds.
    """
    task = asyncio.ensure_future(asking)
    last_seen = time.monotonic()
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_EVERY)
            if agent.is_connected:
                last_seen = time.monotonic()
            elif time.monotonic() > last_seen + LOST_AFTER:
                raise NotRunningError(
                    f"the connection to the society is lost, and has been for {LOST_AFTER:g} s; "
                    "what was asked for may go on or have ended: see its log"
                )
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _farewell(agent: LocutionAgent) -> None:
    """Give a peer the time to confirm what was cancelled."""
    deadline = time.monotonic() + CONFIRM_CANCEL_WITHIN
    while agent.is_connected and agent.mailroom.conversations() and time.monotonic() < deadline:  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0.02)


async def search(
    agent: LocutionAgent, file: SocietyFile, *services: ServiceDescription
) -> tuple[DfAgentDescription, ...] | Outcome:
    """Ask the directory for agents that offer all of these services."""
    if file.directory is None:
        raise NotRunningError(f"{file.path}: there is no agent of kind 'directory-facilitator' to ask")
    action = Search(template=DfAgentDescription(services=services))
    outcome = await agent.request(file.directory, action, reply_within=FIND_WITHIN / 2, result_within=5.0)
    match outcome:
        case Succeeded(result=Found(descriptions=descriptions)):
            return descriptions
        case _:
            return outcome


async def coordinators(agent: LocutionAgent, file: SocietyFile, tell: Tell) -> list[str]:
    """Bare JIDs: of the coordinator that leads or, where the work is shared out, of each that is there.

    It is told when that has to be waited for.

    Raises:
        NotRunningError: none stands in the directory, or there is no directory.
    """
    with told_if_slow(tell, "looking", service=COORDINATION, seconds=FIND_WITHIN):
        return await _coordinators(agent, file)


async def ask_one(
    agent: LocutionAgent,
    names: list[str],
    action: AgentAction,
    tell: Tell,
    reply_within: float,
    **how: Any,
) -> Outcome:
    """Ask the coordinator whose task it is to be, by its conversation-id (`resilience.rendezvous`).

    One that has died stands in the directory until its lease ends. It is passed over after
    `PASSED_OVER_AFTER` seconds without an answer, and one that stands by at once: then the next one is asked,
    and that one not again.

    Args:
        agent: asks.
        names: the coordinators that there are; those that are passed over are taken out.
        action: what for.
        tell: told who is asked.
        reply_within: seconds for the answer of the last one.
        **how: as `agents.speaking.Speaker.request` has it.
    """
    conversation = agent.mailroom.new_id()
    order = ranked(conversation, names)
    while True:
        name = order.pop(0)
        tell("asked", receiver=name)
        within = min(reply_within, PASSED_OVER_AFTER) if order else reply_within
        outcome = await agent.request(name, action, reply_within=within, conversation_id=conversation, **how)
        if not order or not _is_elsewhere(outcome):
            return outcome
        names.remove(name)
        conversation = agent.mailroom.new_id()


def _is_elsewhere(outcome: Outcome) -> bool:
    """Whether one has not begun what it was asked for, and another one may."""
    match outcome:
        case Expired():
            return True
        case Failed(reason):
            return reason.cause == Cause.UNREACHABLE
        case Refused(reason):
            return reason.cause == Cause.UNSUPPORTED_FUNCTION
        case _:
            return False


async def _coordinators(agent: LocutionAgent, file: SocietyFile) -> list[str]:
    deadline = time.monotonic() + FIND_WITHIN
    while True:
        found = await search(agent, file, ServiceDescription(type=COORDINATION))
        if isinstance(found, tuple):
            names = [each.name.name for each in found if each.name is not None]
            if names:
                return names
            why = "no coordinator stands in the directory"
        else:
            why = f"the directory {file.directory} gave no answer: {sentence(found)}"
        if time.monotonic() > deadline:
            raise NotRunningError(f"{why}; see that the agents run: locution agents --file {file.path}")
        await asyncio.sleep(0.25)
