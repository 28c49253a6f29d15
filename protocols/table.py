"""What a protocol is: a table that both sides run, and what all tables have in common.

`protocols.machine` is the engine. A table maps ``(state, sender's role, act)`` to the next state; it does
not know which role we play.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from ontology.acl import AclMessage, Performative
from ontology.content import Reason, split
from ontology.errors import ContentError

CANCELLING = "CANCELLING"
CANCELLED = "CANCELLED"
NOT_UNDERSTOOD = "NOT_UNDERSTOOD"
EXPIRED = "EXPIRED"
UNREACHABLE = "UNREACHABLE"

META_TERMINAL = frozenset({CANCELLED, NOT_UNDERSTOOD, EXPIRED, UNREACHABLE})
"""Terminal states that every protocol has besides its own."""


class Role(StrEnum):
    """Who speaks in a conversation."""

    INITIATOR = "initiator"
    PARTICIPANT = "participant"
    TARGET = "target"
    """In recruiting: an agent that the participant found, and that replies to the initiator itself."""

    @property
    def other(self) -> Role:
        """The role of the one that is spoken to."""
        return Role.PARTICIPANT if self is Role.INITIATOR else Role.INITIATOR


PARTIES = (Role.INITIATOR, Role.PARTICIPANT)
"""The two that hold a conversation."""

ANY = "*"
"""In a table: any act, but those that are the same in every protocol (cancel, not-understood)."""

Transitions = Mapping[tuple[str, Role, str], str]
"""``(state, sender's role, act)`` to next state. An act is a performative, or ``performative/kind``
where FIPA tells two contents of one performative apart; the kind is the content's tag."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One interaction protocol as data."""

    name: str
    """FIPA's token, as in the protocol parameter; one of our own begins with ``locution-``."""
    spec: str
    """The specification, e.g. ``SC00026H``; ``LOCUTION`` where it is ours."""
    start: str
    transitions: Transitions
    terminal: frozenset[str]
    """States in which the conversation is over; a late message may still have to be answered there."""
    deadlines: Mapping[str, str]
    """State to next state when the deadline passes, where it is not `EXPIRED`."""
    losses: Mapping[str, str] = field(default_factory=dict)
    """State to next state when the other side cannot be reached, where it is not `UNREACHABLE`: whoever is
    bound by what was said goes on waiting, and may be told once it is there again."""
    events: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """``(state, event)`` to next state, for what happens to one side without a word; see `happen`."""

    @property
    def states(self) -> frozenset[str]:
        """Every state of the table, without those that all protocols share."""
        found = {self.start, *self.terminal, *self.deadlines, *self.deadlines.values()}
        found |= {*self.losses, *self.losses.values()}
        found |= {state for state, _event in self.events} | set(self.events.values())
        for (state, _role, _act), following in self.transitions.items():
            found |= {state, following}
        return frozenset(found)

    def is_terminal(self, state: str) -> bool:
        """Whether a conversation in this state is over."""
        return state in self.terminal or state in META_TERMINAL

    def awaits(self, state: str, role: Role) -> bool:
        """Whether this role may say something in this state, apart from cancel and not-understood."""
        if state == CANCELLING:
            return role is Role.PARTICIPANT
        return any(source == state and speaker is role for source, speaker, _act in self.transitions)

    def opens_with(self, act: Performative) -> bool:
        """Whether this act begins the protocol."""
        return any(
            state == self.start and name.partition("/")[0] == act for state, _role, name in self.transitions
        )

    def goes_on_after(self, message: AclMessage) -> bool:
        """Whether a participant that says this has not said its last word, wherever it may say it."""
        speaks = {state for state, role, _act in self.transitions if role is Role.PARTICIPANT}
        found = [self.following(state, Role.PARTICIPANT, message) for state in speaks]
        after = [following for following in found if following is not None]
        return bool(after) and not any(map(self.is_terminal, after))

    def may_repeat(self, act: Performative) -> bool:
        """Whether a participant may say this for ever, so that only a cancel makes an end."""
        key = Role.PARTICIPANT, act.value
        return any(self.transitions.get((state, *key)) == state for state in self.states)

    def following(self, state: str, sender: Role, message: AclMessage) -> str | None:
        """The next state, or None where the act is out of sequence."""
        act = message.performative.value
        if (state, sender, act) in self._kinded:
            special = self.transitions.get((state, sender, f"{act}/{kind(message)}"))
            if special is not None:
                return special
        plain = self.transitions.get((state, sender, act))
        if plain is None and message.performative not in _META:
            plain = self.transitions.get((state, sender, ANY))
        return plain

    @cached_property
    def _kinded(self) -> frozenset[tuple[str, Role, str]]:
        """Where the content's kind matters; elsewhere the content need not be looked at."""
        return frozenset(
            (state, role, act.partition("/")[0]) for state, role, act in self.transitions if "/" in act
        )


def kind(message: AclMessage) -> str:
    """What tells two contents of one performative apart; empty if it is unreadable.

    It is the content's tag, as in ``inform/done``; of a reason it is the cause, as in
    ``failure/no-match``.
    """
    try:
        tag, arguments = split(message.content)
    except ContentError:
        return ""
    return str(arguments.get("cause", "")) if tag == Reason.tag else tag


_META = frozenset({Performative.CANCEL, Performative.NOT_UNDERSTOOD})
