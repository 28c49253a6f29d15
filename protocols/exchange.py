"""A recorded conversation of two agents, and what either of them may have believed at each moment.

A trace tells when a message was said, not when it arrived. So each side is followed through everything
that it may have heard by then: what is in sequence after one of these histories is no broken rule. Nobody
is blamed for what was on the way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ontology.acl import Performative
from protocols import machine
from protocols.errors import LocalProtocolError, RemoteProtocolError
from protocols.machine import Conversation
from protocols.table import EXPIRED, PARTIES, Protocol, Role
from protocols.traces import Entry

CROSSING = timedelta(seconds=10)
"""What was said that long ago has arrived. Until then it may cross with what the other side says."""


@dataclass(frozen=True)
class View:
    """What one side may believe."""

    conversation: Conversation
    heard: int
    """How many of the messages to this side have arrived."""


@dataclass
class Side:
    """One of the two."""

    name: str
    views: list[View]
    incoming: list[Entry] = field(default_factory=list)
    """What was said to it, in order."""


@dataclass(frozen=True)
class Due:
    """An answer that is asked for by a reply-by."""

    entry: Entry
    limit: datetime
    role: Role
    """Who is to answer."""


class Exchange:
    """What two agents said to each other in one conversation.

    Args:
        protocol: its table.
        entry: its first message, which opens the protocol.
        receiver: the participant's name.

    Raises:
        LocalProtocolError: the message does not open the protocol.
    """

    def __init__(self, protocol: Protocol, entry: Entry, receiver: str) -> None:
        self.protocol = protocol
        self.id = entry.message.conversation_id or ""
        self.first = self.last = entry
        self.is_lost = False
        """Whether the platform has told that a message did not arrive: nobody is to blame for silence."""
        self.faults: set[int] = set()
        """The lines that were out of sequence."""
        self.due: Due | None = None
        asked = machine.start(protocol, Role.INITIATOR, entry.message, receiver, entry.time)
        heard = machine.start(protocol, Role.PARTICIPANT, entry.message, entry.sender, entry.time)
        self.sides = {
            Role.INITIATOR: Side(entry.sender, [View(asked, 0)]),
            Role.PARTICIPANT: Side(receiver, [View(heard, 1)], [entry]),
        }
        self._set_due(Role.INITIATOR, entry)

    @property
    def names(self) -> frozenset[str]:
        """The two agents; one, if it speaks with itself."""
        return frozenset(side.name for side in self.sides.values())

    def roles_of(self, name: str) -> list[Role]:
        """The roles that an agent has here."""
        return [role for role in PARTIES if self.sides[role].name == name]

    def say(self, role: Role, entry: Entry) -> str | None:
        """Take note of what a side says; if that is not its to say, say why, in the engine's words."""
        self.last = entry
        side, message = self.sides[role], entry.message
        views = list(self._possible(side, entry))
        moved: dict[Conversation, View] = {}
        fault = ""
        for view in views:
            try:
                said = machine.say(self.protocol, view.conversation, message)
            except LocalProtocolError as error:
                fault = error.text
            else:
                # Whoever has heard less may still hear all that the other one has.
                moved.setdefault(said, View(said, view.heard))
        self.sides[role.other].incoming.append(entry)
        if moved:
            side.views = list(moved.values())
            self._set_due(role, entry)
            return None
        if self._is_aside(role, entry):
            return None
        self.faults.add(entry.line)
        return fault

    def hear(self, entry: Entry) -> None:
        """Take note of what a target says to the initiator."""
        self.last = entry
        self.sides[Role.INITIATOR].incoming.append(entry)

    def was_over(self, role: Role, entry: Entry, *, surely: bool = True) -> bool:
        """Whether the conversation was over for a side when it spoke, or may have been."""
        return (all if surely else any)(
            machine.is_over(self.protocol, view.conversation)
            for view in self._possible(self.sides[role], entry)
        )

    def may_be_over(self, now: datetime) -> bool:
        """Whether it may be over for both sides, once everything has arrived."""
        return self.is_lost or all(
            any(machine.is_over(self.protocol, view.conversation) for view in self._advanced(side, now))
            for side in self.sides.values()
        )

    def incoming_named(self, role: Role, name: str) -> Entry | None:
        """The message to a side that has this reply-with."""
        for entry in reversed(self.sides[role].incoming):
            if entry.message.reply_with == name:
                return entry
        return None

    def _possible(self, side: Side, entry: Entry) -> Iterator[View]:
        """What a side may believe when it speaks: it has heard what is old, and what it answers."""
        at_least = sum(1 for each in side.incoming if each.time <= entry.time - CROSSING)
        for number, each in enumerate(side.incoming, start=1):
            if each.message.reply_with is not None and each.message.reply_with == entry.message.in_reply_to:
                at_least = max(at_least, number)
        return (view for view in self._advanced(side, entry.time) if view.heard >= at_least)

    def _advanced(self, side: Side, now: datetime) -> Iterator[View]:
        """Every view that a side may have come to by hearing more, by time and by local events."""
        seen: set[View] = set()
        queue = deque(side.views)
        while queue:
            view = queue.popleft()
            if view in seen:
                continue
            seen.add(view)
            yield view
            state = view.conversation.state
            if view.heard < len(side.incoming):
                try:
                    message = side.incoming[view.heard].message
                    moved = machine.receive(self.protocol, view.conversation, message)
                except RemoteProtocolError:
                    moved = view.conversation
                queue.append(View(moved, view.heard + 1))
            queue.append(View(machine.expire(self.protocol, view.conversation, now), view.heard))
            for source, event in self.protocol.events:
                if source == state:
                    queue.append(View(machine.happen(self.protocol, view.conversation, event), view.heard))

    def _is_aside(self, role: Role, entry: Entry) -> bool:
        """Whether it is a complaint or a late answer that stands beside the conversation (our policy)."""
        message, incoming = entry.message, self.sides[role].incoming
        answered = self.incoming_named(role, message.in_reply_to) if message.in_reply_to is not None else None
        if answered is None and message.in_reply_to is None and incoming:
            answered = incoming[-1]
        if answered is None:
            return False
        if message.performative is Performative.NOT_UNDERSTOOD:
            crossed = entry.time - answered.time < CROSSING
            return answered.message.performative is not Performative.NOT_UNDERSTOOD and (
                answered.line in self.faults or crossed
            )
        return answered.message.performative is Performative.CANCEL and message.performative in {
            Performative.INFORM,
            Performative.FAILURE,
        }

    def _set_due(self, role: Role, entry: Entry) -> None:
        """Remember until when the other side is to answer, where silence says nothing."""
        self.due = None
        limit = entry.message.reply_by
        states = {view.conversation.state for view in self.sides[role].views}
        if limit is not None and all(
            self.protocol.awaits(state, role.other) and self.protocol.deadlines.get(state, EXPIRED) == EXPIRED
            for state in states
        ):
            self.due = Due(entry, limit, role.other)


def acts_of(protocol: Protocol, role: Role) -> set[str]:
    """All that a side may ever say; a participant also in answer to a cancel."""
    found = {name.partition("/")[0] for _state, speaker, name in protocol.transitions if speaker is role}
    return found | {"not-understood", *({"cancel"} if role is Role.INITIATOR else {"inform", "failure"})}
