"""What a history tells of each message: when it was written down, and who has acknowledged it.

It is taken from what journals have committed and from what went over the wire, and not from what agents say
of themselves. A message is acknowledged by a receipt (`behaviours.receipts`) or by a reply.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import unescape

from behaviours.chronicling import CONVERSATION, key_of
from behaviours.events import ConversationRefused, Fact, MessageUndelivered, OutOfSequence
from behaviours.peering import bare
from behaviours.receipts import MARK, NAMESPACE
from ontology.acl import Performative
from ontology.errors import Cause
from protocols.registry import PROTOCOLS
from protocols.table import Protocol, Role
from resilience.outbox import Outgoing
from society.simulation.happenings import Arrived, Committed, Happening, Left, Written

_ACKNOWLEDGED = re.compile(rf'<acknowledged xmlns="{NAMESPACE}">(.*?)</acknowledged>')
_NAME = re.compile(r"<id>(.*?)</id>")


@dataclass(frozen=True)
class Message:
    """What an agent's journal has taken into its outbox."""

    at: float
    record: Outgoing
    words: dict[str, Any]
    """Its parameters by FIPA's names."""

    @property
    def act(self) -> Performative:
        """The performative."""
        return Performative(self.words["performative"])

    @property
    def protocol(self) -> Protocol | None:
        """The one that it is of."""
        return PROTOCOLS.get(self.words.get("protocol", ""))

    @property
    def is_opening(self) -> bool:
        """Whether it begins a conversation in which something is to be done."""
        return self.protocol is not None and self.protocol.opens_with(self.act)

    @property
    def is_news(self) -> bool:
        """Whether it is one of a series of which none is written down where it arrives."""
        return self.protocol is not None and self.protocol.may_repeat(self.act)

    @property
    def place(self) -> tuple[str, str]:
        """Its receiver, and the key under which that keeps the conversation; no key where there is none."""
        if not self.record.conversation:
            return self.record.to, ""
        is_ours = self.record.conversation.startswith(f"{CONVERSATION}{Role.INITIATOR.value}/")
        role = Role.PARTICIPANT if is_ours else Role.INITIATOR
        return self.record.to, key_of(role, self.record.agent, self.words.get("conversation-id", ""))

    def __str__(self) -> str:
        return f"{self.act.value} {self.record.id} of {self.record.agent} to {self.record.to}"


@dataclass(frozen=True)
class Receipt:
    """An agent says that it has processed a message."""

    at: float
    message: Message
    is_grounded: bool
    """Whether its journal held by then what has become of the message."""


class Evidence:
    """What a history tells; agents are named by their bare JIDs.

    Attributes:
        messages: by sender and id.
        answers: by sender, receiver and what is replied to: the messages that do so.
        unwritten: when, by whom and under which id something was said that its sender had not written down.
        receipts: all, in order.
        heard: by sender and id: when a message first came to somebody.
        acknowledged: by sender and id: what the sender has learnt to be processed.
        settled: by sender and id: when a message left the outbox.
        marked: by an agent and its peer: when the one first heard that the other acknowledges.
        closed: by agent and key: conversations that a journal has let go of.
        told: by sender, receiver and text: why something was not delivered.
        left: by agent: what there is in the end.
    """

    def __init__(self, history: Sequence[Happening]) -> None:
        self.messages: dict[tuple[str, str], Message] = {}
        self.answers: dict[tuple[str, str, str], list[Message]] = defaultdict(list)
        self.unwritten: list[tuple[float, str, str]] = []
        self.receipts: list[Receipt] = []
        self.heard: dict[tuple[str, str], float] = {}
        self.acknowledged: set[tuple[str, str]] = set()
        self.settled: dict[tuple[str, str], float] = {}
        self.marked: dict[tuple[str, str], float] = {}
        self.closed: set[tuple[str, str]] = set()
        self.told: set[tuple[str, str, str]] = set()
        self.left: dict[str, Left] = {}
        self._asked: dict[tuple[str, str, str], str] = {}
        """By sender, receiver and reply-with: the id."""
        self._odd: set[tuple[str, str, str]] = set()
        """By receiver, sender and act: what was out of sequence, and so has no effect."""
        self._overloaded: set[str] = set()
        """Who has put somebody off: that costs no commit, and is said anew should it be lost."""
        self._kept: dict[tuple[str, str], list[str]] = defaultdict(list)
        """By agent and key: what its journal holds of a conversation."""
        readers: dict[type[Fact], Callable[[float, Any], None]] = {
            Committed: self._commit,
            Written: self._write,
            Arrived: self._arrive,
            OutOfSequence: self._stumble,
            ConversationRefused: self._put_off,
            MessageUndelivered: self._tell,
            Left: self._leave,
        }
        for each in history:
            read = readers.get(type(each.fact))
            if read is not None:
                read(each.at, each.fact)

    def is_answered(self, message: Message) -> bool:
        """Whether its receiver has written down a reply; that it agrees is none yet."""
        key = message.record.to, message.record.agent, message.words.get("reply-with", "")
        return any(each.act is not Performative.AGREE for each in self.answers.get(key, ()))

    def _commit(self, at: float, fact: Committed) -> None:
        agent, effects = fact.agent, fact.effects
        for snapshot in effects.put:
            self._kept[agent, _conversation(snapshot.key)].append(snapshot.text)
        for key in effects.remove:
            place = agent, _conversation(key)
            if self._kept.pop(place, None) is not None:
                self.closed.add(place)
        for record in effects.send:
            message = Message(at, record, json.loads(record.message))
            self.messages[agent, record.id] = message
            self.settled.pop((agent, record.id), None)  # a dead letter that is sent anew
            words = message.words
            self._asked[agent, record.to, words.get("reply-with", "")] = record.id
            if "in-reply-to" in words:
                self.answers[agent, record.to, words["in-reply-to"]].append(message)
        for name in effects.settled:
            self.settled.setdefault((agent, name), at)

    def _write(self, at: float, fact: Written) -> None:
        agent, stanza = fact.agent, fact.stanza
        if NAMESPACE not in stanza:
            return
        is_written = MARK not in stanza or (agent, _attribute("id", stanza)) in self.messages
        if not (is_written or agent in self._overloaded):
            self.unwritten.append((at, agent, _attribute("id", stanza)))
        if acknowledged := _acknowledged(stanza):
            sender = bare(_attribute("to", stanza))
            for name in acknowledged:
                message = self.messages.get((sender, name))
                if message is not None and message.record.to == agent:
                    self.receipts.append(Receipt(at, message, self._is_grounded(message)))

    def _arrive(self, at: float, fact: Arrived) -> None:
        agent, stanza = fact.agent, fact.stanza
        if NAMESPACE not in stanza:
            return
        peer = bare(_attribute("from", stanza))
        self.marked.setdefault((agent, peer), at)
        for name in _acknowledged(stanza):
            message = self.messages.get((agent, name))
            if message is not None and message.record.to == peer:  # nobody else can know
                self.acknowledged.add((agent, name))
        message = self.messages.get((peer, _attribute("id", stanza))) if MARK in stanza else None
        if message is None:
            return
        self.heard.setdefault((peer, message.record.id), at)
        if "in-reply-to" in message.words:
            asked = self._asked.get((agent, peer, message.words["in-reply-to"]))
            if asked is not None:
                self.acknowledged.add((agent, asked))

    def _stumble(self, _at: float, fact: OutOfSequence) -> None:
        self._odd.add((fact.agent, fact.peer, fact.performative))

    def _put_off(self, _at: float, fact: ConversationRefused) -> None:
        if fact.cause == Cause.OVERLOADED:
            self._overloaded.add(fact.agent)

    def _tell(self, _at: float, fact: MessageUndelivered) -> None:
        self.told.add((fact.agent, fact.peer, fact.text))

    def _leave(self, _at: float, fact: Left) -> None:
        self.left[fact.agent] = fact

    def _is_grounded(self, message: Message) -> bool:
        place = message.place
        kept = self._kept.get(place)
        if not place[1] or (kept is not None and any(message.record.id in text for text in kept)):
            return True
        if place in self.closed or self.is_answered(message):
            return True
        if kept is None:
            return not message.is_opening  # what belongs to no conversation there has no effect
        is_odd = (message.record.to, message.record.agent, message.act) in self._odd
        return is_odd or message.is_news


class History(list[Happening]):
    """What has happened. What it tells is found out once, however many invariants ask."""

    def __init__(self) -> None:
        super().__init__()
        self._found: tuple[int, Evidence] | None = None

    def evidence(self) -> Evidence:
        """What it tells so far."""
        if self._found is None or self._found[0] != len(self):
            self._found = len(self), Evidence(self)
        return self._found[1]


def evidence(history: Sequence[Happening]) -> Evidence:
    """What a history tells."""
    return history.evidence() if isinstance(history, History) else Evidence(history)


def _conversation(key: str) -> str:
    """The part of a snapshot's key that all of one conversation have in common."""
    return key.rpartition("#")[0]


def _acknowledged(stanza: str) -> list[str]:
    found = _ACKNOWLEDGED.search(stanza)
    return [] if found is None else [_plain(each) for each in _NAME.findall(found[1])]


def _attribute(name: str, stanza: str) -> str:
    """An attribute of a stanza, as agents and servers here write it; empty where it has none."""
    tag = stanza[: stanza.find(">")]
    return _plain(tag.partition(f' {name}="')[2].partition('"')[0])


def _plain(text: str) -> str:
    return unescape(text, {"&quot;": '"'}) if "&" in text else text
