"""What the command line tells about conversations: how they go, and who broke their rules."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from protocols.audit import audit
from protocols.diagram import LETTERS, draw, steps
from protocols.errors import TraceError
from protocols.registry import ALIASES, PROTOCOLS, TABLES
from protocols.table import Protocol
from protocols.traces import read
from society.config import DEFAULT_FILE, load
from society.errors import MisuseError, SocietyError
from society.events import Tell, tell_as_json


def protocol_of(name: str) -> Protocol:
    """The table of a token of FIPA's.

    Raises:
        MisuseError: there is none.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    near = difflib.get_close_matches(name, PROTOCOLS, n=1)
    told = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PROTOCOLS)}"
    raise MisuseError(f"no protocol is called {name!r}; {told}")


def tables(name: str | None) -> Iterable[Protocol]:
    """The table of that name, or all of them."""
    return TABLES if name is None else (protocol_of(name),)


def summary() -> Iterator[str]:
    """One line for each protocol: its token, its specification, and what else it is called."""
    for table in TABLES:
        also = [name for name, other in ALIASES.items() if other is table]
        yield f"{table.name:<27} {table.spec}{''.join(f'  also {name}' for name in also)}"


def described(protocol: Protocol) -> Iterator[str]:
    """A table for people: one line for each arrow of its drawing."""
    yield f"{protocol.name}  {protocol.spec}"
    for (state, following), told in steps(protocol).items():
        yield f"  {state:<8} {', '.join(told):<34} {following}"
    yield f"  over: {', '.join(sorted(protocol.terminal))}"


def drawn(protocol: Protocol) -> Iterator[str]:
    """A table as a Mermaid diagram."""
    yield draw(protocol)


def record_of(protocol: Protocol) -> dict[str, Any]:
    """A table for programs."""
    return {
        "name": protocol.name,
        "spec": protocol.spec,
        "also": [name for name, other in ALIASES.items() if other is protocol],
        "start": protocol.start,
        "terminal": sorted(protocol.terminal),
        "transitions": [
            {"state": state, "role": LETTERS[role], "act": act, "next": following}
            for (state, role, act), following in protocol.transitions.items()
        ],
        "deadlines": dict(protocol.deadlines),
        "losses": dict(protocol.losses),
        "events": [
            {"state": state, "event": event, "next": following}
            for (state, event), following in protocol.events.items()
        ],
    }


def judge(trace: Path, tell: Tell | None) -> int:
    """Audit a recorded trace, and tell each finding, or that there is none; the exit code is 1 if there is.

    Args:
        trace: the file.
        tell: shows a line of text; None writes one JSON object for each finding, and one that sums up.

    Raises:
        MisuseError: the trace cannot be read; the sentence names the first wrong line.
    """
    try:
        with trace.open(encoding="utf-8") as lines:
            entries = list(read(lines))
    except FileNotFoundError:
        raise MisuseError(f"{trace}: there is no such file{_elsewhere(trace)}") from None
    except UnicodeDecodeError as error:
        raise MisuseError(f"{trace}: this is not UTF-8 text") from error
    except OSError as error:
        raise MisuseError(f"{trace}: it cannot be read: {error.strerror}") from error
    except TraceError as error:
        raise MisuseError(f"{trace}:{error.line}: {error.text}") from error
    findings = audit(entries)
    for each in findings:
        if tell is not None:
            tell(f"{trace}:{each.line}: {'note: ' if each.is_note else ''}{each.sentence}")
            continue
        tell_as_json(
            "note" if each.is_note else "finding",
            rule=each.rule.value,
            line=each.line,
            agent=each.agent,
            role=None if each.role is None else each.role.value,
            protocol=each.protocol,
            conversation_id=each.conversation_id,
            text=each.sentence,
        )
    broken = sum(not each.is_note for each in findings)
    names = {each.message.conversation_id for each in entries} - {None}
    if tell is None:
        tell_as_json(
            "audited",
            messages=len(entries),
            conversations=len(names),
            findings=broken,
            notes=len(findings) - broken,
        )
    elif not broken:
        heard = f"{_counted(len(entries), 'message')} in {_counted(len(names), 'conversation')}"
        tell(f"{heard}: nobody broke a rule")
    return 1 if broken else 0


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _elsewhere(trace: Path) -> str:
    """The rest of the sentence about a trace that is not there: whether the state folder has one."""
    states = [Path(".locution")]
    with suppress(SocietyError):  # whatever is wrong with a society file here, it was not asked for
        states.insert(0, load(DEFAULT_FILE).society.state)
    for state in states:
        if (found := state / trace).is_file():
            path = shlex.quote(os.path.relpath(found))
            return f"; there is {path}: locution audit {path}"
    return ""
