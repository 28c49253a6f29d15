"""Facts as people see them: troubles in the log, and the latest of each agent on its dashboard."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime

from behaviours.conversing import system_now
from behaviours.events import (
    BehaviourGivenUp,
    BehaviourRestarted,
    Disconnected,
    Fact,
    HandlerFailed,
    MessageNotUnderstood,
    MessageUndelivered,
    OutOfSequence,
    RecordNotKept,
)
from ontology.errors import Cause

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
        self._last: Fact | None = None
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
        if isinstance(fact, MessageNotUnderstood) and fact == _answer_to(self._last):
            return  # it has just been logged, as a message out of sequence
        self._last = fact
        last, count = self._told.pop(fact, (None, 0))
        if last is not None and (now - last).total_seconds() < REPEATED_AFTER:
            self._told[fact] = (last, count + 1)
            return
        more = f" (and {count} times more)" if count else ""
        _log.warning("%s%s", sentence_of(fact), more)
        if isinstance(fact, HandlerFailed) and fact.traceback:
            _log.debug("%s", fact.traceback)
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


def _answer_to(fact: Fact | None) -> MessageNotUnderstood | None:
    """The fact that goes with a message out of sequence where that is also answered."""
    if not isinstance(fact, OutOfSequence):
        return None
    return MessageNotUnderstood(agent=fact.agent, peer=fact.peer, cause=Cause.UNEXPECTED_ACT, text=fact.text)


def sentence_of(fact: Fact) -> str:
    """A trouble as a sentence on one line."""
    match fact:
        case Disconnected(agent=agent, reason=reason):
            told = f"{agent} is disconnected: {reason}"
        case MessageUndelivered(agent=agent, peer=peer, performative=act, text=text):
            told = f"{agent} could not deliver its {act} to {peer}: {text}"
        case OutOfSequence(agent=agent, peer=peer, performative=act, text=text):
            told = f"{agent} did not expect the {act} of {peer}: {text}"
        case MessageNotUnderstood(agent=agent, peer=peer, text=text):
            told = f"{agent} did not understand a message of {peer}: {text}"
        case HandlerFailed(agent=agent, peer=peer, text=text, where=where):
            told = f"{agent} failed at a message of {peer}: {text}" + (f" ({where})" if where else "")
        case RecordNotKept(agent=agent, key=key, text=text):
            told = f"{agent} could not write down {key}, which a restart will forget: {text}"
        case BehaviourRestarted(agent=agent, behaviour=behaviour, attempt=attempt, text=text):
            told = f"{agent} has restarted its behaviour {behaviour} (attempt {attempt}): {text}"
        case BehaviourGivenUp(agent=agent, behaviour=behaviour, text=text):
            told = f"{agent} has given up its behaviour {behaviour}: {text}"
        case _:
            told = f"{fact.agent}: {name_of(fact)}: {detail_of(fact)}"
    # What a peer wrote may stand in a fact; a log line stays one line.
    return told.replace("\n", " ")[:500]


def name_of(fact: Fact) -> str:
    """The kind of a fact in words: ``message sent``."""
    name = type(fact).__name__
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def detail_of(fact: Fact) -> str:
    """The fields of a fact on one line, the agent left out."""
    told = []
    for field in fields(fact):
        value = getattr(fact, field.name)
        if field.name not in {"agent", "traceback"} and value != "":
            shown = f"{value:.3g}" if isinstance(value, float) else str(value)
            told.append(f"{field.name.replace('_', ' ')} {shown}")
    # What a peer wrote may stand in a fact; a log line stays one line.
    return ", ".join(told).replace("\n", " ")[:500]
