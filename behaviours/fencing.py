"""In what office something is said, so that nobody obeys a leader of the past.

What a leader says as the leader names its group and the term of its leadership (`resilience.election`), in
the user-defined parameters X-group and X-term. Whoever has heard of a later term refuses what comes of an
earlier one. A leader that was frozen, or cut off, may go on speaking: it changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass

from behaviours.journaling import Lane
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.errors import shown
from resilience.snapshots import Snapshot

GROUP, TERM = "X-group", "X-term"
"""The user-defined parameters (FIPA00061, 2.1)."""

MOST_GROUPS = 1_000
"""Of how many an agent keeps the term; to forget one would let its former leaders in."""

LONGEST = 100
"""Characters of a group's name."""

HIGHEST = 2**63 - 1
"""No term is above; Consul's and SQLite's are not."""

FOLLOWED_WITHIN = 30.0
"""Seconds that whoever waits for the leader of a group waits for the next one to go on in its place."""

_KEY = "fence"


@dataclass(frozen=True, kw_only=True)
class Office:
    """One leadership of a group."""

    group: str
    term: int

    def stamped(self, message: AclMessage) -> AclMessage:
        """The message, said in this office."""
        parameters = {**message.user_parameters, GROUP: self.group, TERM: str(self.term)}
        return message.model_copy(update={"user_parameters": parameters})


acting: ContextVar[Office | None] = ContextVar("acting", default=None)
"""In what office the running task begins conversations."""


def office_of(message: AclMessage) -> Office | None:
    """In what office a message was said; None in none.

    Raises:
        ValueError: what it says of that cannot be one; the text says why.
    """
    group, term = message.user_parameters.get(GROUP), message.user_parameters.get(TERM)
    if group is None and term is None:
        return None
    if group is None or term is None:
        raise ValueError(f"{GROUP} and {TERM} go together: the name of a group, and the term of its leader")
    if not 0 < len(group) <= LONGEST:
        raise ValueError(f"{GROUP} is the name of a group, of at most {LONGEST} characters")
    if not (term.isascii() and term.isdigit() and len(term) <= 19 and 0 < int(term) <= HIGHEST):
        raise ValueError(f"{TERM} is a whole number above 0, not {shown(term)!r}")
    return Office(group=group, term=int(term))


class Succession:
    """Who may go on in place of a peer that has answered as the leader of a group: whoever leads it later."""

    def __init__(self) -> None:
        self.office: Office | None = None
        """In what office we were answered last."""

    def admits(self, message: AclMessage, peer: AgentIdentifier) -> bool:
        """Whether a message is of the leader of the same or a later term, and of the peer's domain."""
        with suppress(ValueError):
            office, sender = office_of(message), message.sender
            if self.office is not None and office is not None and sender is not None:
                is_of_group = office.group == self.office.group and office.term >= self.office.term
                return is_of_group and sender.domain == peer.domain
        return False

    def note(self, message: AclMessage) -> bool:
        """Take note of what was said; False if a leader of the past says it, whom somebody has followed."""
        with suppress(ValueError):
            office, latest = office_of(message), self.office
            self.office = office or latest
            if office is not None and latest is not None and office.group == latest.group:
                self.office = max(office, latest, key=lambda each: each.term)
                return office.term >= latest.term
        return True


class Fence:
    """The latest terms that one agent has heard of.

    Args:
        agent: its bare JID.
    """

    def __init__(self, agent: str) -> None:
        self._agent = agent
        self._latest: dict[str, int] = {}

    def objection(self, message: AclMessage) -> str | None:
        """Why a message is not obeyed, in one sentence; None if it may be. A later term is taken note of."""
        try:
            office = office_of(message)
        except ValueError as error:
            return str(error)
        if office is None:
            return None
        latest = self._latest.get(office.group, 0)
        if office.term < latest:
            return (
                f"the leader of {shown(office.group)} in term {office.term} was followed by that of term "
                f"{latest}: only the present one is obeyed"
            )
        if latest == 0 and len(self._latest) >= MOST_GROUPS:
            return f"there are {MOST_GROUPS:,} groups already whose leaders are obeyed; no further one is"
        self._latest[office.group] = office.term
        return None

    def keep(self, message: AclMessage, lane: Lane) -> None:
        """Write down, together with what a message brings about, of which terms we have heard."""
        if GROUP in message.user_parameters:
            lane.note(put={_KEY: self._snapshot})

    def restore(self, snapshots: Iterable[Snapshot]) -> None:
        """Take note of what former processes and other replicas have heard of."""
        for each in snapshots:
            if each.key == _KEY:
                for group, term in json.loads(each.text).items():
                    self._latest[group] = max(int(term), self._latest.get(group, 0))

    def _snapshot(self) -> Snapshot:
        return Snapshot(agent=self._agent, key=_KEY, form=1, text=json.dumps(self._latest))
