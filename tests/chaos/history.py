"""What has happened, as every process writes it down: one line of JSON for each fact, never rewritten.

A line is written by one call to a file that is only appended to, so a process that is killed leaves whole
lines, and one that it had not written yet is of something that nobody outside has seen. Moments are of the
machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from behaviours.events import Fact, HandlerFailed, MessageReceived, MessageSent

Line = dict[str, Any]


class History:
    """The history of one life of one process.

    Args:
        folder: where the histories of all processes lie.
        name: of the agent.
        life: the how manieth process of it this is.
    """

    def __init__(self, folder: Path, name: str, life: int) -> None:
        self._told = {"who": f"{name}@localhost", "life": life}
        path = folder / f"{name}.{life:03}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, kind: str, **fields: Any) -> None:
        """Write one fact; it is with the kernel when this returns, and survives the death of the process."""
        line = {"at": time.monotonic_ns(), "kind": kind, **self._told, **fields}
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def fact(self, fact: Fact) -> None:
        """Write what an agent tells its hook; each message is written with its content elsewhere."""
        if isinstance(fact, MessageReceived | MessageSent):
            return
        fields = asdict(fact)
        if not isinstance(fact, HandlerFailed):
            fields.pop("agent")
        self.write(type(fact).__name__, **fields)


def read(folder: Path) -> list[Line]:
    """Read the histories of all processes, in the order of happening."""
    lines: list[Line] = []
    for path in folder.glob("*.jsonl"):
        lines.extend(json.loads(line) for line in path.read_text().splitlines())
    return sorted(lines, key=lambda line: line["at"])


def of(lines: Iterable[Line], *kinds: str) -> list[Line]:
    """Those of some kinds."""
    return [line for line in lines if line["kind"] in kinds]
