"""Facts as people see them: troubles in the log, and the latest of each agent on its dashboard."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime

from behaviours.conversing import system_now
from behaviours.events import Fact

_log = logging.getLogger("locution")

REMEMBERED = 100
"""Facts of each agent that its dashboard shows."""

REPEATED_AFTER = 10.0
"""Seconds in which the very same trouble is logged once: a broken peer may cause it thousands of times."""


class Telemetry:
    """A `Hook` for all agents of a process.

    Args:
        clock: the wall clock, aware.
        remembered: how many facts of each agent are kept.
    """

    def __init__(self, clock: Callable[[], datetime] = system_now, remembered: int = REMEMBERED) -> None:
        self._clock = clock
        self._told: dict[Fact, tuple[datetime, int]] = {}
        """Troubles of late: when each was logged, and how often it has happened since."""
        self._recent: defaultdict[str, deque[tuple[datetime, Fact]]] = defaultdict(
            lambda: deque(maxlen=remembered)
        )

    def __call__(self, fact: Fact) -> None:
        """Take note of a fact."""
        now = self._clock()
        self._recent[fact.agent].append((now, fact))
        if fact.is_trouble:
            self._warn(fact, now)
        elif _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s: %s", fact.agent, name_of(fact), detail_of(fact))

    def _warn(self, fact: Fact, now: datetime) -> None:
        """Log a trouble; one that is repeated at once is counted instead, and told at most every so often."""
        last, count = self._told.pop(fact, (None, 0))
        if last is not None and (now - last).total_seconds() < REPEATED_AFTER:
            self._told[fact] = (last, count + 1)
            return
        more = f" (and {count} times more)" if count else ""
        _log.warning("%s: %s: %s%s", fact.agent, name_of(fact), detail_of(fact), more)
        self._told[fact] = (now, 0)
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]

    def recent(self, agent: str) -> Iterable[Mapping[str, str]]:
        """The latest facts of an agent, newest first, as rows of time, fact and detail."""
        return [
            {
                "time": when.astimezone().strftime("%H:%M:%S"),
                "fact": name_of(fact),
                "detail": detail_of(fact),
            }
            for when, fact in reversed(self._recent[agent])
        ]


def name_of(fact: Fact) -> str:
    """The kind of a fact in words: ``message sent``."""
    name = type(fact).__name__
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def detail_of(fact: Fact) -> str:
    """The fields of a fact on one line, the agent left out."""
    told = []
    for field in fields(fact):
        value = getattr(fact, field.name)
        if field.name != "agent" and value != "":
            shown = f"{value:.3g}" if isinstance(value, float) else str(value)
            told.append(f"{field.name.replace('_', ' ')} {shown}")
    # What a peer wrote may stand in a fact; a log line stays one line.
    return ", ".join(told).replace("\n", " ")[:500]
