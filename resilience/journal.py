"""One port for all that an agent must not lose, so that what belongs together is committed together.

For each message that comes in::

    hold = Hold(key=InboxKey(receiver=me, sender=stamped, message_id=id), owner=uuid4().hex)
    claim = await journal.claim(hold, digest_of(body))
    # claim.standing: NEW and TAKEOVER are handled, BUSY is dropped, DONE answered with claim.reply
    while the handler runs, each policy.terms.renew_every seconds: await journal.renew(hold)
    await journal.commit(Effects(agent=me, reply=..., put=..., send=...), hold)
    # only now the acknowledgement and the outgoing messages go out

Whatever fails raises `RecordsError` with one sentence. Then the message is neither handled nor
acknowledged, and the agent is not ready: the sender, who keeps it in its outbox, sends it again. Every
call may be repeated with the same arguments, and it does no harm if the first had been carried out.
Cancelling a call leaves open whether it has been carried out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from resilience.dead_letters import DeadLetter
from resilience.forms import storable
from resilience.inbox import JID_LIMIT, Claim, Hold, Terms
from resilience.outbox import Outgoing, Retrying
from resilience.snapshots import KEY_LIMIT, Snapshot

CLOCK_ERROR = 600.0
"""Seconds by which the clocks of sender and receiver may differ: so much longer an id is remembered."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The numbers of delivery; the same on both ends.

    Raises:
        ValueError: an id would be forgotten while its message may still be sent again, or a number is out of
            its range.
    """

    terms: Terms = field(default_factory=Terms)
    retrying: Retrying = field(default_factory=Retrying)
    away: float = 3.0
    """Seconds that a peer may be away, as while its process is started anew, before our conversation with it
    is given up. Few, so that work is soon given to somebody else."""

    def __post_init__(self) -> None:
        if not 0 < self.away < math.inf:
            raise ValueError(f"a peer may be away for a positive number of seconds, not {self.away:g}")
        needed = self.retrying.life + CLOCK_ERROR
        if self.terms.retention < needed:
            raise ValueError(
                f"ids are remembered for {self.terms.retention:g} s, but a message may be sent again for "
                f"{self.retrying.life:g} s, and clocks may differ by {CLOCK_ERROR:g} s: its effect could "
                f"come twice; make the retention at least {needed:g} s, or the life of a message shorter"
            )


class Outcome(StrEnum):
    """What becomes of the claim that guards a commit."""

    DONE = "done"
    DEAD = "dead"
    WORKING = "working"
    """It goes on: more is to come of this message."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What a commit brings about: all of it or nothing, in the order of the fields.

    Raises:
        ValueError: a record is another agent's, or cannot be kept.
    """

    agent: str
    """The bare JID of the agent that all of it belongs to."""
    outcome: Outcome = Outcome.DONE
    """Says nothing where no claim guards the commit."""
    reply: str = ""
    """With DONE and DEAD: what a later copy is answered; its form is the caller's affair."""
    put: tuple[Snapshot, ...] = ()
    """Snapshots to write or replace."""
    remove: tuple[str, ...] = ()
    """Keys of snapshots to remove; one that is not there is no error."""
    send: tuple[Outgoing, ...] = ()
    """Messages that go into the outbox, in order."""
    tried: tuple[Outgoing, ...] = ()
    """Messages that were sent once more; one that has left the outbox meanwhile stays away."""
    settled: tuple[str, ...] = ()
    """Ids of messages that leave the outbox; one that is not there is no error."""
    bury: tuple[DeadLetter, ...] = ()
    """Dead letters to add; the oldest beyond the limit make way. Without an id of its own a letter is
    added twice if a commit that no claim guards is repeated."""
    drop: tuple[str, ...] = ()
    """Ids of dead letters to remove, as of one that is sent anew; one that is not there is no error."""

    def __post_init__(self) -> None:
        storable(self.agent, "the agent's JID", JID_LIMIT)
        storable(self.reply, "the stored reply")
        for each in (*self.remove, *self.settled, *self.drop):
            storable(each, "the key or id of what is to be removed", KEY_LIMIT)
        records: tuple[Snapshot | Outgoing | DeadLetter, ...]
        records = (*self.put, *self.send, *self.tried, *self.bury)
        others = {each.agent for each in records} - {self.agent}
        if others:
            raise ValueError(f"a commit of {self.agent} holds records of {', '.join(sorted(others))}")


@dataclass(frozen=True, kw_only=True)
class Depth:
    """How much an agent has in store; quick to ask."""

    outgoing: int = 0
    snapshots: int = 0
    letters: int = 0
    oldest_letter: datetime | None = None


class Journal(Protocol):
    """Where an agent's claims, conversations, outgoing messages and dead letters are kept.

    Each call is atomic, and durable when it returns as far as the binding says. Every call may raise
    `RecordsError`. Calls of one event loop only.
    """

    policy: Policy

    @property
    def survives(self) -> bool:
        """Whether it is there after a restart: then an agent comes back as the one that it was."""

    async def claim(self, hold: Hold, digest: str, dead: Sequence[str] = ()) -> Claim:
        """Ask for a message (`resilience.inbox`).

        Args:
            hold: the message's key and this copy's token.
            digest: `digest_of` the body.
            dead: tokens of holders that are known to be dead: theirs is taken over before its lease is out.
        """

    async def renew(self, hold: Hold) -> bool:
        """Prolong the lease; False: it is not ours any more, and its work will be thrown away."""

    async def release(self, hold: Hold) -> None:
        """Give a claim back unhandled, as at a graceful stop; one that is not ours is left alone."""

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Write everything at once.

        Args:
            effects: what is to be written.
            hold: the claim without which nothing is to be written; None for what no message caused.

        Returns:
            False: the claim is not ours any more, and nothing has been written.

        Raises:
            ValueError: the claim is another agent's.
        """

    async def outgoing(self, agent: str) -> Sequence[Outgoing]:
        """Return all that stands in the outbox, in the order of being put there."""

    async def snapshots(self, agent: str) -> Sequence[Snapshot]:
        """Return all snapshots, ordered by key."""

    async def snapshot(self, agent: str, key: str) -> Snapshot | None:
        """Return one snapshot, if it is there."""

    async def letters(self, agent: str, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest dead letters, newest first."""

    async def letter(self, agent: str, id: str) -> DeadLetter | None:  # noqa: A002 - as the field is called
        """Return one dead letter, if it is there."""

    async def drop(self, agent: str, id: str) -> bool:  # noqa: A002 - as the field is called
        """Remove a dead letter; whether it was there. To replay one, commit its `send` and `drop` at once."""

    async def depth(self, agent: str) -> Depth:
        """Say how much there is."""

    async def check(self) -> None:
        """Return if the store can be written just now: what readiness means."""

    async def close(self) -> None:
        """Let go of the store after what is under way; safe to call again."""


def guard(effects: Effects, hold: Hold | None) -> None:
    """Refuse a commit under a claim of another agent, before anything is written.

    Raises:
        ValueError: that is so.
    """
    if hold is not None and hold.key.receiver != effects.agent:
        raise ValueError(f"a commit of {effects.agent} is guarded by a claim of {hold.key.receiver}")
