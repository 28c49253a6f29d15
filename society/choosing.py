"""Which agents of a society run in one process: all, those that are named, or one of a kind that is free."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from behaviours.living import MAIN
from society.config import SERVER, AgentTable, SocietyFile
from society.errors import RunsAlreadyError, StartError
from society.state import StateFolder
from society.suggestions import unknown_among


def chosen(file: SocietyFile, only: Sequence[str]) -> list[AgentTable]:
    """The agents that are named, or all of them.

    Raises:
        StartError: there is none of a name.
    """
    known = [agent.name for agent in file.agents]
    for name in only:
        if name == SERVER and not file.is_embedded:
            raise StartError(f"{file.path}: the XMPP server is external; leave {SERVER} out of --only")
        if name not in known and name != SERVER:
            raise StartError(unknown_among(f"{file.path}", "agent", name, [*known, SERVER]))
    return [agent for agent in file.agents if not only or agent.name in only]


def claimed(file: SocietyFile, state: StateFolder, kind: str, replica: str) -> str:
    """Claim the first agent of a kind of which no other process runs this replica; its name.

    Raises:
        StartError: there is none of that kind, or all of them run.
        StateError: the state folder cannot be used.
    """
    names = [agent.name for agent in file.agents if agent.kind == kind]
    if not names:
        known = {agent.kind for agent in file.agents}
        raise StartError(unknown_among(f"{file.path}", "kind", kind, sorted(known)))
    state.prepare()
    for name in names:
        with suppress(RunsAlreadyError):
            state.claim(held_as(name, replica))
            return name
    raise StartError(
        f"{file.path}: all {len(names)} agents of kind {kind!r} run already; add another [[agent]] of that "
        "kind, or start fewer"
    )


def held_as(name: str, replica: str) -> str:
    """What an agent is held as in the state folder: each replica of it by one process."""
    return name if replica == MAIN else f"{name}@{replica}"


def see_to_sharing(file: SocietyFile, replica: str) -> None:
    """See that replicas see what each other writes down.

    Raises:
        StartError: they do not.
    """
    if replica != MAIN and file.delivery.store == "memory":
        raise StartError(
            f"{file.path}: replicas share what their agents write down, and [delivery] store is "
            '"memory", which no other process sees; write store = "sqlite" or "redis", or leave out --replica'
        )
