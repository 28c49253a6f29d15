"""Conversations are written down as they go, and gone through again after a restart.

A `Work` is what is written and ended together: a conversation that somebody has begun with us and those that
its handler begins, or one that we have begun of our own accord. Each conversation of it has a `Chronicle`.

After a restart the handler of an open conversation runs again from its beginning. What it says is not said a
second time as long as its chronicle tells that it has been said; what was heard meanwhile it hears again,
in the same order; and a conversation that it begins is the one that it began before, because the how manieth
it is makes its conversation-id. Once the chronicle is exhausted, life goes on. What a handler does beside
that, to a file or a machine, it does again: the conversation-id is its idempotency key.
"""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from behaviours.journaling import Journaling, Lane
from behaviours.naming import new_id
from ontology.acl import AclMessage, Performative
from ontology.codecs import to_json
from protocols import history
from protocols.errors import LocalProtocolError
from protocols.history import Event, Happened, Heard, Opened, Said, Waits
from protocols.registry import PROTOCOLS
from protocols.table import Role
from resilience.inbox import Hold, InboxKey
from resilience.records import FormError
from resilience.snapshots import Snapshot

CONVERSATION = "conversation/"
"""What the keys of all snapshots of conversations begin with."""

_NUMBER = "#"
_GUARD = "#guard"

Then = Callable[[], None]

_Kind = TypeVar("_Kind", Waits, Happened)


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Whose work a conversation is, as it is written down beside it."""

    sender: str
    """The bare JID of whoever began it; with the id, what the message is claimed under."""
    message_id: str
    digest: str
    owner: str
    """The token of the claim."""
    replica: str
    """Which replica of the agent works on it."""
    begun: int = 1
    """How often its handler was begun."""

    @classmethod
    def own(cls, replica: str) -> Guard | None:
        """Of a conversation that a replica has begun of its own accord, which no claim guards; if one has."""
        return cls(sender="", message_id="", digest="", owner="", replica=replica) if replica else None

    def hold(self, me: str) -> Hold:
        """The claim."""
        key = InboxKey(receiver=me, sender=self.sender, message_id=self.message_id)
        return Hold(key=key, owner=self.owner)

    def to_json(self) -> str:
        """As it is written down."""
        return json.dumps(vars(self))

    def snapshot(self, agent: str, key: str) -> Snapshot:
        """As it is written down beside the conversation of that key."""
        return Snapshot(agent=agent, key=key + _GUARD, form=history.FORM, text=self.to_json())


def key_of(role: Role, peer: str, conversation_id: str) -> str:
    """What a conversation's snapshots are kept under, each with a number behind it."""
    return f"{CONVERSATION}{role.value}/{peer}/{conversation_id}"


def entry_of(key: str, number: int = 0) -> str:
    """What an entry of a conversation's history is kept under; number 0 is its beginning."""
    return f"{key}{_NUMBER}{number:06}"


class Work:
    """What is written and ended together.

    Args:
        agent: bare JID.
        key: of the conversation that it is about.
        lane: its commits.
        journaling: the agent's.
        guard: the claim, where a message caused it.
        is_repeatable: whether what the handler begins may be taken up by it after a restart; not that of
            a publisher, which begins anew.
    """

    def __init__(
        self,
        agent: str,
        key: str,
        lane: Lane,
        journaling: Journaling,
        guard: Guard | None = None,
        *,
        is_repeatable: bool = True,
    ) -> None:
        self.agent, self.key, self.lane, self.guard = agent, key, lane, guard
        self.is_repeatable = is_repeatable
        self._last: AclMessage | None = None
        """What was said last: what a second copy of its message is answered once all is over."""
        self._journaling = journaling
        self._keys: dict[str, None] = {}
        self._live: set[str] = set()
        self._begun = 0
        self._is_served = guard is None
        self._is_closed = False
        self.is_left = False
        """Whether somebody else goes on with it: what it has begun is not taken back then."""
        self.is_settled = False
        """Whether it is over and that is written down: until then the journal may still show it as open."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is written any more."""
        return self._is_closed

    def next_id(self) -> str:
        """The conversation-id of what the handler begins next: the same when it runs again."""
        if not self.is_repeatable:
            return new_id()
        self._begun += 1
        return uuid.uuid5(uuid.NAMESPACE_URL, f"{self.agent} {self.key} {self._begun}").hex

    def guarded(self, guard: Guard) -> None:
        """Write down whose work it is."""
        self.guard = guard
        self.put(self.key + _GUARD, guard.to_json)

    def guarded_already(self, guard: Guard) -> None:
        """Take note of whose work it is, which somebody else has written down."""
        self.guard = guard
        self.known((self.key + _GUARD,))

    def put(self, key: str, text: Callable[[], str], then: Then | None = None) -> None:
        """Write a snapshot with the next commit."""
        if self._is_closed:
            return
        self._keys[key] = None

        def snapshot() -> Snapshot:
            return Snapshot(agent=self.agent, key=key, form=history.FORM, text=text())

        self.lane.note(put={key: snapshot}, then=then)

    def known(self, keys: Sequence[str]) -> None:
        """Take note of snapshots that are written already."""
        self._keys.update(dict.fromkeys(keys))
        self.lane.known(keys)

    def chronicle(self, key: str, events: Sequence[Event] = ()) -> Chronicle:
        """Begin or take up the chronicle of one of its conversations."""
        self._live.add(key)
        return Chronicle(self, key, events)

    def say(self, message: AclMessage) -> None:
        """Take note of the last thing that was said: what a second copy is answered."""
        self._last = message

    def ended(self, key: str) -> None:
        """One of its conversations is over."""
        self._live.discard(key)
        self._finish()

    def served(self) -> None:
        """Its handler has done."""
        self._is_served = True
        self._finish()

    def close(self) -> None:
        """Write nothing any more: what is written down is for the next process."""
        self._is_closed = True

    def _finish(self) -> None:
        if self._live or not self._is_served or self._is_closed:
            return
        self._is_closed = True
        self.lane.note(remove=tuple(self._keys), then=self._settle)
        if self.guard is not None and self.guard.sender:
            self.lane.finish("" if self._last is None else to_json(self._last))
        self._journaling.drop(self.lane)

    def _settle(self) -> None:
        self.is_settled = True


current: ContextVar[Work | None] = ContextVar("work", default=None)
"""The work whose handler is running."""


class Chronicle:
    """The history of one conversation.

    Args:
        work: what it belongs to.
        key: of the conversation.
        events: what a former process has written down.
    """

    def __init__(self, work: Work, key: str, events: Sequence[Event] = ()) -> None:
        self.work, self.key = work, key
        self._count = len(events)
        self._left: deque[Event] = deque(events[1:])

    @property
    def is_behind(self) -> bool:
        """Whether there is history left to be gone through again."""
        return bool(self._left)

    @property
    def left(self) -> tuple[Event, ...]:
        """The history that is to be gone through again."""
        return tuple(self._left)

    def all(self) -> Iterator[Event]:
        """Everything that is left, whoever's doing it was."""
        while self._left:
            yield self._left.popleft()

    def write(self, event: Event, then: Then | None = None) -> None:
        """Write down what has happened; while we are behind it happens after what is left."""
        key = entry_of(self.key, self._count)
        self._count += 1
        self.work.put(key, lambda: history.write(event), then)

    def add(self, event: Event, then: Then | None = None) -> None:
        """As `write`, while we are behind."""
        self.write(event, then)
        self._left.append(event)

    def come(self) -> Iterator[Event]:
        """What happens next without the doing of whoever drives the conversation."""
        while self._left and not _is_driven(self._left[0]):
            yield self._left.popleft()

    def withdrawn(self) -> Iterator[Event]:
        """What happens next while whoever drives the conversation waits: it may have been withdrawn."""
        said = self._left[0] if self._left else None
        if isinstance(said, Said) and said.message.performative is Performative.CANCEL:
            yield self._left.popleft()

    def again(self, message: AclMessage) -> Said:
        """What was said before, when the same is to be said again.

        Raises:
            LocalProtocolError: something else was said: the handler does not go the same way.
        """
        event = self._left[0] if self._left else None
        if isinstance(event, Said) and event.message.performative is message.performative:
            self._left.popleft()
            return event
        before = event.message.performative.value if isinstance(event, Said) else "nothing"
        raise LocalProtocolError(
            f"{message.performative.value} is to be said where {before} was said before the restart: "
            "a handler that runs again must go the same way"
        )

    def waits(self) -> Waits | None:
        """What was waited for at this point before, if anything was."""
        return self._next(Waits)

    def happens(self) -> Happened | None:
        """What happened at this point before."""
        return self._next(Happened)

    def _next(self, kind: type[_Kind]) -> _Kind | None:
        if self._left and isinstance(event := self._left[0], kind):
            self._left.popleft()
            return event
        return None

    def ended(self) -> None:
        """The conversation is over."""
        self.work.ended(self.key)


def _is_driven(event: Event) -> bool:
    if isinstance(event, Said):
        # An agree is said by a clock, not by the handler.
        return event.message.performative is not Performative.AGREE
    return isinstance(event, Waits | Happened)


@dataclass(frozen=True, kw_only=True)
class Restored:
    """One conversation as a former process has left it."""

    key: str
    opened: Opened
    events: tuple[Event, ...]
    guard: Guard | None
    keys: tuple[str, ...]

    @property
    def asked(self) -> AclMessage | None:
        """What the peer has said last of what is to be answered, as an award; None if it is the beginning."""
        heard = [each.message for each in self.events if isinstance(each, Heard)]
        asked = [each for each in heard if each.performative not in _BESIDE]
        return asked[-1] if asked else None


_BESIDE = {Performative.CANCEL, Performative.NOT_UNDERSTOOD}


def restored(snapshots: Iterable[Snapshot]) -> tuple[list[Restored], list[FormError]]:
    """Read all conversations that are written down; and of which it cannot be done, and why.

    Those that nobody can read are left as they are.
    """
    texts: dict[str, dict[str, Snapshot]] = {}
    for snapshot in snapshots:
        if snapshot.key.startswith(CONVERSATION):
            key, _, number = snapshot.key.rpartition(_NUMBER)
            texts.setdefault(key, {})[number] = snapshot
    found, failed = [], []
    for key, parts in texts.items():
        try:
            found.append(_read(key, parts))
        except (ValueError, TypeError) as error:
            what = f"the conversation {key.removeprefix(CONVERSATION)}"
            failed.append(FormError(what, f"is left as it is: {error}"))
    return found, failed


def _read(key: str, parts: Mapping[str, Snapshot]) -> Restored:
    guard = parts.get(_GUARD[1:])
    numbered = sorted((number, each) for number, each in parts.items() if number != _GUARD[1:])
    events = tuple(history.read(each.text) for _number, each in numbered)
    if not events or not isinstance(events[0], Opened):
        raise ValueError("its beginning is missing")
    protocol = PROTOCOLS.get(events[0].protocol)
    if protocol is None:
        raise ValueError(f"the protocol {events[0].protocol[:80]!r} is not spoken here")
    history.replayed(protocol, events)
    return Restored(
        key=key,
        opened=events[0],
        events=events,
        guard=Guard.own(events[0].replica) if guard is None else Guard(**json.loads(guard.text)),
        keys=tuple(each.key for each in parts.values()),
    )
