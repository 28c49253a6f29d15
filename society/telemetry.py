"""Facts as people see them: troubles in the log, counts and the latest ones of each agent on its dashboard.

A trouble is logged once and then counted: a broken peer may cause the same one, or one of a kind after the
other, thousands of times. What the log has left out, it sums up when all stops.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from functools import cache

from behaviours.clocking import system_now
from behaviours.events import (
    BehaviourGivenUp,
    BehaviourRestarted,
    BounceDisbelieved,
    ConversationRefused,
    Disconnected,
    ElectionDown,
    ElectionUp,
    Fact,
    HandlerFailed,
    MessageNotUnderstood,
    MessageUndelivered,
    OutOfSequence,
    PeerLeftAlone,
    RecordNotKept,
    ReplicaFollowed,
    StoreDown,
    StoreUp,
)
from ontology.errors import Cause

_log = logging.getLogger("locution")

REMEMBERED = 100
"""Facts of each agent that its dashboard shows."""

REPEATED_AFTER = 10.0
"""Seconds in which the very same trouble is logged once."""

OF_A_KIND = 10
"""Different troubles of one kind between an agent and one peer that are logged within `REPEATED_AFTER`: each
message of a broken peer may be wrong in another word."""

_Kind = tuple[type[Fact], str, str]


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
        self._kinds: dict[_Kind, tuple[datetime, int, int]] = {}
        """Kinds of trouble of late: since when, how many lines, and how many more there would have been."""
        self._unlogged: set[str] = set()
        """Agents with troubles that the log has left out."""
        self._last: Fact | None = None
        self._recent: defaultdict[str, deque[tuple[datetime, Fact]]] = defaultdict(
            lambda: deque(maxlen=remembered)
        )
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._troubles: set[str] = set()
        """Those of the counted kinds that an operator wants to know of."""

    def __call__(self, fact: Fact) -> None:
        """Take note of a fact."""
        now = self._clock()
        self._recent[fact.agent].append((now, fact))
        kind = count_of(fact)
        self._counts[fact.agent][kind] += 1
        if fact.is_trouble:
            self._troubles.add(kind)
            self._warn(fact, now)
        elif _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s: %s", fact.agent, name_of(fact), detail_of(fact))

    def close(self) -> None:
        """Sum up, in one line for each agent, the troubles that were not all logged."""
        for agent in sorted(self._unlogged):
            counts = self.counts(agent).items()
            told = "; ".join(f"{kind} ({count:,})" for kind, count in counts if kind in self._troubles)
            _log.warning("%s had more troubles than were logged; in all: %s", agent, told)
        self._unlogged.clear()

    def _warn(self, fact: Fact, now: datetime) -> None:
        """Log a trouble; one that is repeated at once is counted instead, and told at most every so often."""
        if isinstance(fact, MessageNotUnderstood) and fact == _answer_to(self._last):
            return  # it has just been logged, as a message out of sequence
        self._last = fact
        last, count = self._told.pop(fact, (None, 0))
        if last is not None and _is_recent(last, now):
            self._told[fact] = (last, count + 1)
            self._unlogged.add(fact.agent)
            return
        like = self._like(fact, now)
        if like is None:
            self._unlogged.add(fact.agent)
            return
        more = f" (and {count:,} times more)" if count else ""
        more += f" (and {like:,} more of its kind)" if like else ""
        _log.warning("%s%s", sentence_of(fact), more)
        if isinstance(fact, HandlerFailed) and fact.traceback:
            _log.debug("%s", fact.traceback)
        self._told[fact] = (now, 0)
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]

    def _like(self, fact: Fact, now: datetime) -> int | None:
        """How many troubles of this kind were left out before it; None where it is left out as well."""
        kind = (type(fact), fact.agent, str(getattr(fact, "peer", "")))
        since, lines, left_out = self._kinds.pop(kind, (now, 0, 0))
        if not _is_recent(since, now):
            since, lines = now, 0
        is_told = lines < OF_A_KIND
        self._kinds[kind] = (since, lines + 1, 0) if is_told else (since, lines, left_out + 1)
        if len(self._kinds) > REMEMBERED:
            del self._kinds[next(iter(self._kinds))]
        return left_out if is_told else None

    def counts(self, agent: str) -> Mapping[str, int]:
        """How often each kind of fact has happened to an agent, by the kind in words."""
        return dict(sorted(self._counts[agent].items()))

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


def _is_recent(last: datetime, now: datetime) -> bool:
    return (now - last).total_seconds() < REPEATED_AFTER


def _answer_to(fact: Fact | None) -> MessageNotUnderstood | None:
    """The fact that goes with a message out of sequence where that is also answered."""
    if not isinstance(fact, OutOfSequence):
        return None
    return MessageNotUnderstood(agent=fact.agent, peer=fact.peer, cause=Cause.UNEXPECTED_ACT, text=fact.text)


def sentence_of(fact: Fact) -> str:  # noqa: PLR0912 - a branch for each trouble
    """A trouble as a sentence on one line."""
    match fact:
        case Disconnected(agent=agent, reason=reason):
            told = f"{agent} is disconnected: {reason}"
        case MessageUndelivered(agent=agent, peer=peer, performative=act, text=text):
            told = f"{agent} could not deliver its {act} to {peer}: {text}"
        case BounceDisbelieved(agent=agent, peer=peer, addressee=addressee):
            told = f"{agent} did not believe {peer} that its message to {addressee} has come back"
        case OutOfSequence(agent=agent, peer=peer, performative=act, text=text):
            told = f"{agent} did not expect the {act} of {peer}: {text}"
        case MessageNotUnderstood(agent=agent, peer=peer, text=text):
            told = f"{agent} did not understand a message of {peer}: {text}"
        case ConversationRefused(agent=agent, peer=peer, performative=act, text=text):
            told = f"{agent} refused the {act} of {peer}: {text}"
        case HandlerFailed(agent=agent, peer=peer, text=text, where=where):
            told = f"{agent} failed at a message of {peer}: {text}" + (f" ({where})" if where else "")
        case RecordNotKept(agent=agent, key=key, text=text):
            told = f"{agent} could not write down {key}, which a restart will forget: {text}"
        case PeerLeftAlone(agent=agent, peer=peer):
            told = f"{agent} leaves {peer} alone for a while, which has not answered again and again"
        case StoreDown(agent=agent, text=text):
            told = f"{agent} waits, because nothing can be written down: {text}"
        case StoreUp(agent=agent):
            told = f"{agent} goes on: what it has to write down can be written again"
        case ElectionDown(agent=agent, group=group, text=text):
            told = f"{agent} does not lead {group}, because nobody can say who does: {text}"
        case ElectionUp(agent=agent, group=group):
            told = f"{agent} stands for election again: it can be said who leads {group}"
        case ReplicaFollowed(agent=agent, replica=replica, conversations=conversations, messages=messages):
            told = (
                f"{agent} goes on with what its replica {replica} has left, which lives no more: "
                f"{conversations:,} conversations and {messages:,} messages on their way"
            )
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
    return _in_words(type(fact).__name__)


@cache
def _in_words(name: str) -> str:
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def count_of(fact: Fact) -> str:
    """What a fact is counted as: its kind, with its cause or end, as ``conversation ended: DONE``."""
    kind = getattr(fact, "cause", "") or getattr(fact, "state", "")
    return f"{name_of(fact)}: {kind}" if kind else name_of(fact)


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
