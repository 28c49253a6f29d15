"""Kinds of agents: from the word in the society file to a class, and from its signature to its options.

Every kind is made by ``Kind(jid, password, server, ports, **options)``; the keyword-only parameters of its
``__init__`` are its options, so that a user's own agent needs no registration and no schema.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.base import LocutionAgent
from behaviours.grouping import PARTED
from society.config import AgentTable, SocietyFile
from society.errors import SocietyError
from society.importing import import_own
from society.suggestions import unknown_among
from society.validating import OptionError, read_options

BUILT_IN: Mapping[str, str] = {
    "directory-facilitator": "agents.directory_facilitator:DirectoryFacilitator",
    "broker": "agents.broker:Broker",
    "coordinator": "agents.coordinator:Coordinator",
    "learner": "agents.learner:Learner",
}
"""The kinds that have a short name."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A class of agents and the options that one agent of the file gives it, checked."""

    cls: type[LocutionAgent]
    options: Mapping[str, Any]

    def make(self, jid: str, password: str, server: Any, ports: Any) -> LocutionAgent:
        """Make the agent."""
        return self.cls(jid, password, server, ports, **self.options)


def kind_of(file: SocietyFile, agent: AgentTable) -> Kind:
    """Import the kind of an agent and check its options.

    What the file leaves out and the kind asks for by name is filled in: ``data`` and ``models``, the
    society's folders, and ``directory``, the bare JID of its directory facilitator. ``leadership`` stands in
    the agent's table, beside its kind.

    Raises:
        SocietyFileError: the kind cannot be imported, is no kind of agent, cannot be made as agents are, or
            has no such options.
    """
    cls = _imported(file, agent)
    try:
        signature = inspect.signature(cls.__init__, eval_str=True)
    except Exception as error:  # the annotations are the user's
        text = f"the types of {cls.__name__}'s options cannot be read: {' '.join(str(error).split())}"
        raise file.agent_fault(agent, ("kind",), text) from error
    wanted = {
        name: parameter
        for name, parameter in signature.parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    try:
        signature.bind(None, *_GIVEN, **dict.fromkeys(wanted))
    except TypeError as error:
        text = f"{cls.__name__}.__init__{_place(cls)} does not take what the society gives it: {error}"
        mend = f"write __init__(self, {', '.join(_GIVEN)}, *, ...) with its options behind the asterisk"
        raise file.agent_fault(agent, ("kind",), f"{text}; {mend}") from error
    if "leadership" in wanted or agent.leadership is not None:
        _check_group(file, agent, has_group="leadership" in wanted)
    given = {**_filled_in(file), **agent.options}
    if agent.leadership is not None:
        given["leadership"] = agent.leadership
    given = {name: value for name, value in given.items() if name in wanted or name in agent.options}
    if "directory" in wanted and "directory" not in given and _is_required(wanted["directory"]):
        text = "it needs a directory; add an [[agent]] of kind 'directory-facilitator'"
        raise file.agent_fault(agent, ("kind",), text)
    return Kind(cls=cls, options=_checked(file, agent, wanted, given))


_GIVEN = ("jid", "password", "server", "ports")
"""What `Kind.make` gives by position."""


def _check_group(file: SocietyFile, agent: AgentTable, *, has_group: bool) -> None:
    """Look at what an agent says of its group.

    Raises:
        SocietyFileError: it has none, the group's name cannot be one, or another member says otherwise.
    """
    if not has_group:
        text = (
            f"leadership: kind {agent.kind!r} leads no group; it is for 'coordinator', and kinds that take it"
        )
        raise file.agent_fault(agent, ("leadership",), text)
    if "leadership" in agent.options:
        raise file.agent_fault(
            agent, ("options", "leadership"), "leadership stands beside kind, not in options"
        )
    group = agent.options.get("group")
    if not isinstance(group, str | None):
        return  # its type is checked with those of all options
    if group is not None and PARTED in group:
        text = f"option group: {group!r} has a slash, behind which a member's part would stand; leave it out"
        raise file.agent_fault(agent, ("options", "group"), text)
    for other in file.agents:
        is_fellow = (other.kind, other.options.get("group")) == (agent.kind, group)
        if is_fellow and (other.leadership or "leader") != (agent.leadership or "leader"):
            mine, others = agent.leadership or "leader", other.leadership or "leader"
            text = (
                f"leadership: {mine!r} here and {others!r} at {other.name!r}, of the same group; "
                "write the same for both"
            )
            raise file.agent_fault(agent, ("leadership",), text)


def _place(cls: type) -> str:
    """Where a class says how it is made: file and line, as a traceback would end."""
    code = getattr(inspect.unwrap(cls.__init__), "__code__", None)  # type: ignore[misc]  # of that very class
    return "" if code is None else f" ({Path(code.co_filename).name}, line {code.co_firstlineno})"


def _filled_in(file: SocietyFile) -> dict[str, Any]:
    models = file.society.state / "models"
    filled = {"data": str(file.society.data), "models": str(models)}
    return {**filled, "directory": file.directory} if file.directory is not None else filled


def _imported(file: SocietyFile, agent: AgentTable) -> type[LocutionAgent]:
    module, colon, name = BUILT_IN.get(agent.kind, agent.kind).partition(":")
    if not colon or not name or not module:
        text = (
            unknown_among("Locution", "kind", agent.kind, BUILT_IN)
            + "; one of your own is package.module:Class"
        )
        raise file.agent_fault(agent, ("kind",), text)
    try:
        found = import_own(module, name, file.path.absolute().parent, "beside the file")
    except SocietyError as error:
        text = f"kind {agent.kind!r} cannot be imported: {error}"
        raise file.agent_fault(agent, ("kind",), text) from error
    if not (isinstance(found, type) and issubclass(found, LocutionAgent)):
        text = f"kind {agent.kind!r} is no LocutionAgent; derive the class from agents.base.LocutionAgent"
        raise file.agent_fault(agent, ("kind",), text)
    return found


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty


def _checked(
    file: SocietyFile,
    agent: AgentTable,
    wanted: Mapping[str, inspect.Parameter],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    fields = {
        name: (
            Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation,
            ... if _is_required(parameter) else parameter.default,
        )
        for name, parameter in wanted.items()
    }
    for name in given:
        if name not in fields:
            text = unknown_among(f"kind {agent.kind!r}", "option", name, fields)
            raise file.agent_fault(agent, ("options", name), text)
    try:
        options = read_options(fields, given)
    except OptionError as error:
        raise file.agent_fault(agent, ("options", *error.place), f"kind {agent.kind!r}: {error}") from error
    folder = file.path.absolute().parent
    return {name: folder / value if isinstance(value, Path) else value for name, value in options.items()}
