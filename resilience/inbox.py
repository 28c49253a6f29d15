"""Once from handler to effect: who may handle a message that may come more than once, and to several.

A message is claimed for the length of a lease, handled, and done; the claim, the stored reply and all that
the handler brought about are kept under one key (`resilience.journal` commits them together). A second
copy finds the message done and gets the stored reply; a replica of the same agent finds it busy and drops
its copy; after a death the lease runs out and the next copy takes over.

The rules are pure: each takes what is kept under the key and returns what is to be kept from now on. The
memory and SQLite bindings run them as they stand; the Lua scripts of the Redis binding say the same.

What makes it safe is the owner's token, not the lease: a commit stands only while nobody else has taken
over. The lease merely keeps two from working on the same thing at once, so a clock that jumps costs work
that is thrown away, and never a second effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeGuard

from resilience.forms import storable

ID_LIMIT = 1_000
"""Bytes of a message's id. Ours have 32; the key of every message is kept for as long as the retention."""

JID_LIMIT = 3_071
"""Bytes of a JID (RFC 7622, section 3.1)."""

RENEWALS = 3
"""How often a lease is renewed in its time."""


class Standing(StrEnum):
    """What a claim found."""

    NEW = "new"
    """Ours to handle; nobody has begun before."""
    TAKEOVER = "takeover"
    """Ours to handle; who had it before has died, or has given it back."""
    BUSY = "busy"
    """Another replica works on it: drop this copy without an acknowledgement."""
    DONE = "done"
    """It has been handled: send the stored reply again."""
    DEAD = "dead"
    """It has killed its handler too often. If the claim is ours, bury it; else it is buried already."""
    MISMATCH = "mismatch"
    """Another message has come under this id: refuse this one."""


class Phase(StrEnum):
    """What is kept of a message."""

    WORKING = "working"
    DONE = "done"
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what terms messages are claimed; the same for all replicas of an agent. In seconds.

    Raises:
        ValueError: a number is out of its range.
    """

    lease: float = 8.0
    """How long a claim holds without being renewed: after a death its message waits that long. No longer than
    whoever has said something else meanwhile waits for an acknowledgement (`resilience.outbox.Retrying`)."""
    most_attempts: int = 5
    """How often a handler may begin. A handler that dies each time is not to die for ever."""
    retention: float = 7_200.0
    """How long a message is remembered: longer than any sender may send it again."""

    def __post_init__(self) -> None:
        if self.lease <= 0 or self.most_attempts < 1 or self.retention <= self.lease:
            raise ValueError(f"lease, attempts and retention must be positive, retention the longest: {self}")

    @property
    def renew_every(self) -> float:
        """How often a holder renews: two renewals may fail before the lease runs out."""
        return self.lease / RENEWALS


@dataclass(frozen=True, kw_only=True)
class InboxKey:
    """What a message is known by.

    Raises:
        ValueError: a part is empty, too long, or cannot be kept; the text says which.
    """

    receiver: str
    """The bare JID that all replicas of the receiving agent share."""
    sender: str
    """The bare JID that the server has stamped: nobody can claim another's ids."""
    message_id: str
    """Made once by the sender, the same in each copy."""

    def __post_init__(self) -> None:
        storable(self.receiver, "the receiver's JID", JID_LIMIT)
        storable(self.sender, "the sender's JID", JID_LIMIT)
        storable(self.message_id, "the message's id", ID_LIMIT)


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One claimant's hand on a message.

    Raises:
        ValueError: the owner is unnamed.
    """

    key: InboxKey
    owner: str
    """A token made afresh for each copy that arrives, and kept when the claim itself is tried again."""

    def __post_init__(self) -> None:
        storable(self.owner, "the owner's token", ID_LIMIT)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The answer to a claim."""

    standing: Standing
    attempts: int = 0
    """How often it has been begun, this time included."""
    reply: str = ""
    """With DONE and DEAD: what was stored when it ended."""
    is_ours: bool = False
    """Whether the claimant holds it now and is to commit: with NEW, TAKEOVER, and DEAD while unburied."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is kept under a key. Moments are seconds since the epoch, on the store's clock."""

    phase: Phase
    owner: str
    """Who works on it, or who ended it; empty after it was given back."""
    leased_at: float
    lease: float
    attempts: int
    digest: str
    reply: str = ""
    kept_until: float


def digest_of(text: str) -> str:
    """What tells one body from another: the first half of its SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def claim(
    entry: Entry | None, owner: str, digest: str, now: float, terms: Terms, dead: Sequence[str] = ()
) -> tuple[Entry, Claim]:
    """Claim a message.

    The claim of one owner may be repeated, as after a timeout of the store, and is answered as before. Owners
    that are known to be dead are not waited for.

    Returns:
        What is to be kept (the very same entry if nothing changes), and the answer.
    """
    if entry is None or now >= entry.kept_until:
        entry = Entry(
            phase=Phase.WORKING,
            owner=owner,
            leased_at=now,
            lease=terms.lease,
            attempts=1,
            digest=digest,
            kept_until=now + terms.retention,
        )
        return entry, Claim(standing=Standing.NEW, attempts=1, is_ours=True)
    if entry.digest != digest:
        return entry, Claim(standing=Standing.MISMATCH)
    if entry.phase is not Phase.WORKING:
        standing = Standing.DONE if entry.phase is Phase.DONE else Standing.DEAD
        return entry, Claim(standing=standing, attempts=entry.attempts, reply=entry.reply)
    if entry.owner != owner:
        if entry.owner not in dead and _is_leased(entry, now):
            return entry, Claim(standing=Standing.BUSY, attempts=entry.attempts)
        entry = replace(entry, owner=owner, attempts=entry.attempts + 1)
    entry = replace(entry, leased_at=now, lease=terms.lease, kept_until=now + terms.retention)
    standing = Standing.NEW if entry.attempts == 1 else Standing.TAKEOVER
    if entry.attempts > terms.most_attempts:
        standing = Standing.DEAD
    return entry, Claim(standing=standing, attempts=entry.attempts, is_ours=True)


def held(entry: Entry | None, owner: str, now: float) -> Entry | None:
    """Return the entry if it is still this owner's to renew, give back or end."""
    return entry if _stands(entry, owner, now) and entry.phase is Phase.WORKING else None


def has_ended(entry: Entry | None, owner: str, now: float) -> bool:
    """Whether this owner has ended it already: then a repeated commit has nothing left to do."""
    return _stands(entry, owner, now) and entry.phase is not Phase.WORKING


def renewed(entry: Entry, now: float, terms: Terms) -> Entry:
    """Prolong the lease of a claim that is `held`."""
    return replace(entry, leased_at=now, lease=terms.lease, kept_until=now + terms.retention)


def released(entry: Entry) -> Entry | None:
    """Give back a claim that is `held`: the attempt does not count, and the next copy is handled at once.

    Returns:
        What is to be kept; None where that is nothing.
    """
    if entry.attempts == 1:
        return None
    return replace(entry, owner="", lease=0.0, attempts=entry.attempts - 1)


def ended(entry: Entry, phase: Phase, reply: str, now: float, terms: Terms) -> Entry:
    """End a claim that is `held`, with what later copies are answered."""
    return replace(entry, phase=phase, reply=reply, kept_until=now + terms.retention)


def _is_leased(entry: Entry, now: float) -> bool:
    # A lease that begins in the future was taken before the clock was set back, and must not last the
    # longer for it. The holder, if it lives, renews within a third of the lease.
    return abs(now - entry.leased_at) < entry.lease


def _stands(entry: Entry | None, owner: str, now: float) -> TypeGuard[Entry]:
    return entry is not None and now < entry.kept_until and entry.owner == owner
