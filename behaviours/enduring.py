"""What lets an agent's conversations outlive its process: claims, chronicles, outbox and receipts together.

`Enduring` is what a mailroom has of all that. It claims what begins a conversation, so that of several
replicas of the agent one works on it; gives each conversation its chronicle; and after a restart says which
conversations are to go on.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from weakref import WeakSet

from behaviours.acknowledging import Acknowledging
from behaviours.chronicling import Chronicle, Guard, Restored, Work, key_of, restored
from behaviours.delivery import Delivery
from behaviours.duplicates import Seen
from behaviours.events import ConversationLeft, Hook, PeerLeftAlone
from behaviours.journaling import Journaling, Lane
from behaviours.outboxing import Outbox
from behaviours.peering import bare
from behaviours.signing import is_signed, unsigned
from behaviours.wire import Received
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import to_json
from protocols.history import Heard, Opened
from protocols.table import Role
from resilience.breakers import Breakers, Circuit
from resilience.inbox import Claim, Standing, digest_of
from resilience.journal import Effects, Journal
from resilience.outbox import Outgoing
from resilience.snapshots import Snapshot

MAIN = "main"
"""The replica of an agent of which there is one."""

LIVES = "lives/"
"""Key of the snapshot with the lives of a replica, the newest first, followed by its name. What one of them
had claimed and not yet written down as it was killed, the next one has at once, and not after the lease."""

MOST_LIVES = 16


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A message of which we know whose it is to handle."""

    claim: Claim
    guard: Guard
    letters: tuple[str, ...] = ()
    """The dead letters that it was."""

    @property
    def is_ours(self) -> bool:
        """Whether we are to handle it."""
        return self.claim.is_ours


class Enduring:
    """The lasting side of one agent.

    Args:
        me: who we are.
        journal: where all of it is written.
        delivery: hands messages over.
        send: writes one stanza; what it cannot write now it drops.
        hook: sink of facts.
        clock: the wall clock, aware.
        monotonic: seconds, for the breakers.
        replica: which replica of the agent this process is.
        rng: source of jitter.
    """

    def __init__(
        self,
        *,
        me: AgentIdentifier,
        journal: Journal,
        delivery: Delivery,
        send: Callable[[str], None],
        hook: Hook,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        replica: str = MAIN,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._me, self._journal, self._hook = me, journal, hook
        self._clock, self.replica = clock, replica
        self.journaling = Journaling(me.name, journal, hook, rng)
        self.acknowledging = Acknowledging(send)
        self.outbox = Outbox(
            me=me,
            delivery=delivery,
            journaling=self.journaling,
            breakers=Breakers(monotonic, on_change=self._changed),
            on_reply=self.acknowledging.replied,
            send=send,
            hook=hook,
            clock=clock,
            rng=rng,
        )
        self._seen = Seen()
        self._works: WeakSet[Work] = WeakSet()
        """Those that something may still be written through: what is over is held by nobody."""
        self._life, self._former = uuid.uuid4().hex, list[str]()

    def _changed(self, peer: str, circuit: Circuit) -> None:
        if circuit is Circuit.OPEN:
            self._hook(PeerLeftAlone(agent=self._me.name, peer=peer))

    async def claim(self, received: Received, peer: AgentIdentifier) -> Claimed:
        """Ask whether a message that begins something is ours to handle.

        While the store is down it waits: what is not claimed is not handled, and not acknowledged.

        Raises:
            ValueError: the id cannot be kept.
        """
        told = to_json(_bare_message(received.message))
        message_id, digest = received.stanza_id, digest_of(told)
        if not (received.is_marked or is_signed(received.message)):
            # The ids of others count in one session, and some of them begin with 1 in each. A signature is of
            # one id, whatever session a copy is said to come from, so that none is done twice by a restart.
            session = peer.jid.partition("/")[2]
            message_id = digest_of(f"{session} {message_id or uuid.uuid4().hex} {digest}")
        guard = Guard(
            sender=bare(peer.jid),
            message_id=message_id,
            digest=digest,
            owner="",
            replica=self.replica,
        )
        guard = self._owned(guard, self._life)
        claim = await self.journaling.insist(lambda: self._ask(guard))
        return Claimed(claim=claim, guard=guard)

    def _owned(self, guard: Guard, life: str) -> Guard:
        """The guard with the token of one life of ours: each life can tell what those before it held."""
        return replace(guard, owner=digest_of(f"{life} {guard.sender} {guard.message_id}"))

    async def _ask(self, guard: Guard) -> Claim:
        """Claim a message; what a former life held it has not finished, and nobody else can."""
        hold = guard.hold(self._me.name)
        claim = await self._journal.claim(hold, guard.digest)
        if claim.standing is not Standing.BUSY:
            return claim
        for life in self._former:
            await self._journal.release(self._owned(guard, life).hold(self._me.name))
        return await self._journal.claim(hold, guard.digest)

    async def _begin_life(self, snapshots: Iterable[Snapshot]) -> None:
        """Write down that a new life begins, before anything is claimed in it."""
        key = LIVES + self.replica
        self._former = next((each.text.split() for each in snapshots if each.key == key), [])
        lives = " ".join([self._life, *self._former][:MOST_LIVES])
        mine = Snapshot(agent=self._me.name, key=key, form=1, text=lives)
        await self._journal.commit(Effects(agent=self._me.name, put=(mine,)))

    def is_second(self, received: Received, peer: AgentIdentifier) -> bool:
        """Whether a message has come before, as far as this process knows."""
        if not received.is_marked:
            is_named = bool(received.stanza_id)
            return is_named and self._seen.is_second(peer.jid, received.stanza_id, received.message)
        said = hash(_bare_message(received.message))
        return not self.acknowledging.take(peer.jid, received.stanza_id, said)

    def done_with(self, received: Received, peer: AgentIdentifier) -> None:
        """The effect of a message is written down: it is acknowledged, and acknowledges what it answers."""
        self.outbox.replied(peer.jid, received.message.in_reply_to)
        if received.is_marked:
            self.acknowledging.owe(peer.jid, received.stanza_id, received.message.reply_with)

    def lane(self, claimed: Claimed) -> Lane:
        """The commits of a message that is ours to handle."""
        return self.journaling.lane(claimed.guard.hold(self._me.name), lambda: None)

    def served(self, opened: Opened, guard: Guard, lane: Lane) -> Chronicle:
        """Write down that somebody has begun a conversation with us."""
        key = key_of(Role.PARTICIPANT, opened.peer, opened.message.conversation_id or "")
        repeats = opened.message.performative is not Performative.SUBSCRIBE
        work = Work(self._me.name, key, lane, self.journaling, guard, is_repeatable=repeats)
        self._works.add(work)
        work.guarded(guard)
        chronicle = work.chronicle(key)
        chronicle.write(opened)
        return chronicle

    def begun(self, opened: Opened, work: Work | None) -> Chronicle:
        """The chronicle of a conversation that we begin; `Seat.opened` writes its first entry.

        Args:
            opened: its beginning.
            work: the work whose handler begins it; None where we do so of our own accord.
        """
        key = key_of(Role.INITIATOR, opened.peer, opened.message.conversation_id or "")
        if work is None:
            work = Work(self._me.name, key, Lane(self.journaling), self.journaling)
            self._works.add(work)
            guard = Guard(sender="", message_id="", digest="", owner="", replica=self.replica)
            work.guarded(guard)
        return work.chronicle(key)

    async def restored(self) -> tuple[list[tuple[Restored, Work]], Sequence[Outgoing], Sequence[Snapshot]]:
        """What a former process has left, each conversation with the work that it belongs to, roots first.

        Raises:
            RecordsError: it cannot be read.
        """
        snapshots = await self._journal.snapshots(self._me.name)
        await self._begin_life(snapshots)
        found, failed = restored(snapshots)
        for error in failed:
            self._hook(ConversationLeft(agent=self._me.name, text=str(error)))
        roots = [each for each in found if not each.opened.parent]
        works: dict[str, Work] = {}
        for root in roots:
            work = await self._take_up(root)
            if work is not None:
                works[root.key] = work
        ours = [(each, works[each.opened.parent or each.key]) for each in found if _root(each) in works]
        for each, work in ours:
            work.known(each.keys)
            for event in each.events:
                if isinstance(event, Opened | Heard) and event.id:
                    # Once more: so its peer learns that we are back, and need not find out by probing.
                    self.acknowledging.owe(each.opened.peer, event.id, None)
        ours.sort(key=lambda pair: bool(pair[0].opened.parent))
        return ours, await self._journal.outgoing(self._me.name), snapshots

    async def _take_up(self, root: Restored) -> Work | None:
        guard = root.guard
        if guard is None or (not guard.sender and guard.replica != self.replica):
            return None
        if not guard.sender:
            work = Work(self._me.name, root.key, Lane(self.journaling), self.journaling)
            self._works.add(work)
            return work
        if guard.replica == self.replica:
            # The process that held it is gone, or will find that it has lost it.
            await self._journal.release(guard.hold(self._me.name))
        mine = self._owned(replace(guard, replica=self.replica, begun=guard.begun + 1), self._life)
        claim = await self._ask(mine)
        if not claim.is_ours:
            return None
        lane = self.journaling.lane(mine.hold(self._me.name), lambda: None)
        repeats = root.opened.message.performative is not Performative.SUBSCRIBE
        work = Work(self._me.name, root.key, lane, self.journaling, mine, is_repeatable=repeats)
        work.guarded(mine)
        self._works.add(work)
        return work

    def is_poison(self, guard: Guard) -> bool:
        """Whether a message has killed its handler as often as is allowed."""
        return guard.begun > self._journal.policy.terms.most_attempts

    async def close(self) -> None:
        """Write what can be written, and leave the rest to the next process."""
        for work in tuple(self._works):
            work.close()
        self.outbox.close()
        self.acknowledging.close()
        await self.journaling.close()


def _root(each: Restored) -> str:
    return each.opened.parent or each.key


def _bare_message(message: AclMessage) -> AclMessage:
    """What two copies have in common; they differ in where they come from and when they were signed."""
    return unsigned(message).model_copy(update={"sender": None, "receiver": ()})
