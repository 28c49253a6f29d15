"""Whether a message is of whom it says it is: known keys, the time of signing, and what has come before.

A key is known by the society file or its state folder; else from the directory, or from the registration that
brings it, and the first one is kept (`KeyRing.pin`): another one for the same agent is not believed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

from behaviours.events import Hook, RecordNotKept
from behaviours.signing import SIGNED_AT, is_by, is_signed, signed_at
from behaviours.wire import Received
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.errors import OntologyError
from ontology.management import MANAGEMENT, Modify, Register
from resilience.records import Records, RecordsError

WINDOW = 600.0
"""Seconds by which a clock may be wrong or a message late: what came within them is remembered."""

REMEMBERED = 100_000
"""Messages that are remembered. Beyond that the window shrinks, and nothing is replayed either."""

COLLECTION = "keys"
"""Of the records: bare JID to public key."""

Known = Callable[[str], str | None]
"""The public key that a bare JID has for certain, as the operator has it."""


def nobody(_name: str) -> str | None:
    """The keys of those that have none."""
    return None


class KeyRing:
    """Which agent has which public key.

    Args:
        me: our bare JID, for the facts.
        known: what the operator says; it stands above all that is found out.
        records: where the keys are kept that were found out.
        hook: sink of facts.
    """

    def __init__(self, me: str, known: Known, records: Records, hook: Hook) -> None:
        self._me, self._known, self._records, self._hook = me, known, records, hook
        self._pinned: dict[str, str] | None = None

    def find(self, name: str) -> str | None:
        """The public key of the agent with this bare JID, if it is known."""
        return self._known(name) or self._pins().get(name)

    def is_another(self, name: str, key: str | None) -> bool:
        """Whether an agent is known by a key, and this is not it."""
        found = self.find(name)
        return found is not None and found != key

    def pin(self, name: str, key: str) -> None:
        """Know an agent by this key from now on; one that is known by another keeps that."""
        if self.find(name) is not None:
            return
        self._pins()[name] = key
        try:
            self._records.put(COLLECTION, name, key)
        except (RecordsError, OSError) as error:  # it holds until a restart
            self._hook(RecordNotKept(agent=self._me, key=name, text=str(error)))

    def _pins(self) -> dict[str, str]:
        if self._pinned is None:
            self._pinned = dict(self._records.all(COLLECTION))
        return self._pinned


class Replays:
    """The signed messages of the last while, of which none is taken twice.

    When there are too many, the oldest are forgotten, and what was signed no later than they is not taken.

    Args:
        most: messages that are remembered.
    """

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._seen: set[tuple[str, str]] = set()
        self._by_time: list[tuple[datetime, tuple[str, str]]] = []
        self._floor: datetime | None = None

    def is_second(self, sender: str, signature: str, at: datetime, now: datetime) -> bool:
        """Whether a message has come before, or may have; from now on it has.

        Args:
            sender: the bare JID.
            signature: what tells the message from all others that the sender has signed.
            at: when it was signed, within `WINDOW` of now.
            now: the time, aware.
        """
        while self._by_time and self._by_time[0][0] < now - timedelta(seconds=WINDOW):
            self._forget()
        key = (sender, signature)
        if key in self._seen or (self._floor is not None and at <= self._floor):
            return True
        self._seen.add(key)
        heapq.heappush(self._by_time, (at, key))
        if len(self._by_time) > self._most:
            self._floor = self._forget()
        return False

    def _forget(self) -> datetime:
        at, key = heapq.heappop(self._by_time)
        self._seen.discard(key)
        return at


class Vouching:
    """Says of a message whether its sender has signed it.

    Args:
        me: the receiver.
        ring: who has which key.
        clock: the wall clock, aware.
    """

    def __init__(self, me: AgentIdentifier, ring: KeyRing, clock: Callable[[], datetime]) -> None:
        self._me, self.ring, self._clock = me, ring, clock
        self._replays = Replays()

    def fault(self, received: Received, peer: AgentIdentifier) -> str | None:
        """What is wrong with a signature, in one sentence; None if nothing is. Ask once for each message."""
        message, now = received.message, self._clock()
        at = signed_at(message)
        if not is_signed(message) or at is None or not received.stanza_id:
            return f"{peer} has to sign what it says to {self._me.local_name}, and this is not signed"
        apart = (now - at).total_seconds()
        if abs(apart) > WINDOW:
            when = f"{abs(apart):,.0f} s {'ago' if apart > 0 else 'from now'}, and {WINDOW:g} s are allowed"
            return f"this was signed {when}: it took too long, or our clocks differ"
        key = self.ring.find(peer.name) or brought_key(message, peer)
        if key is None:
            where = "neither in [authority.keys] nor in the directory"
            return f"the key of {peer}, which has signed this, is not known here: it stands {where}"
        if not is_by(key, message, stanza_id=received.stanza_id, sender=peer, receiver=self._me):
            return f"this is not signed by the key that {peer} is known by, or was changed on its way"
        # Its sender may send it again, and signs it anew then: that is a second copy, and no replay.
        signature = f"{received.stanza_id} {message.user_parameters[SIGNED_AT]}"
        if self._replays.is_second(peer.name, signature, at, now):
            return f"this message of {peer} has come before: somebody has sent it again"
        return None


def brought_key(message: AclMessage, peer: AgentIdentifier) -> str | None:
    """The key that an agent registers with: it is believed of one that is not known by another."""
    if "key" not in (message.content or ""):
        return None
    try:
        term = MANAGEMENT.parse(message.content)
    except OntologyError:
        return None
    if not isinstance(term, Register | Modify) or term.description.name is None:
        return None
    return term.description.key if term.description.name.is_same_agent(peer) else None
