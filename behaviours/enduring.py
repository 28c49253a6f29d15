"""What lets an agent's conversations outlive its process: claims, chronicles, outbox and receipts together.

`Enduring` is what a mailroom has of all that. It claims what begins a conversation, so that of several
replicas of the agent one works on it; gives each conversation its chronicle; and says which conversations are
to go on: those that a former process has left, and those of a replica that lives no more.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from weakref import WeakSet

from behaviours.acknowledging import Acknowledging
from behaviours.chronicling import Chronicle, Guard, Work, key_of
from behaviours.delivery import Delivery
from behaviours.duplicates import Seen
from behaviours.events import Hook, PeerLeftAlone, ReplicaReplaced
from behaviours.fencing import Fence
from behaviours.journaling import Journaling, Lane
from behaviours.living import MAIN, Living
from behaviours.outboxing import Outbox
from behaviours.peering import bare
from behaviours.signing import is_signed, unsigned
from behaviours.wire import Received
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import to_json
from ontology.content import Reason
from ontology.errors import Cause
from protocols.history import Opened
from protocols.table import Role
from resilience.breakers import Breakers, Circuit
from resilience.inbox import Claim, Standing, digest_of
from resilience.journal import Journal


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A message of which we know whose it is to handle."""

    claim: Claim
    guard: Guard
    letters: tuple[str, ...] = ()
    """The dead letters that it was."""
    at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    """When, in seconds of the event loop."""

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
        self._clock, self.replica, self.send = clock, replica, send
        self.living = Living(me.name, replica, journal)
        self.on_end: Callable[[Reason], None] = lambda _reason: None
        """Told why nothing goes on here any more that has begun in this life."""
        self.journaling = Journaling(me.name, journal, hook, rng, replica)
        self.acknowledging = Acknowledging(send)
        self.breakers = Breakers(monotonic, on_change=self._changed)
        self.outbox = Outbox(
            me=me,
            delivery=delivery,
            journaling=self.journaling,
            breakers=self.breakers,
            on_reply=self.acknowledging.replied,
            send=send,
            hook=hook,
            clock=clock,
            rng=rng,
        )
        self._seen = Seen()
        self.fence = Fence(me.name)
        self.is_closed = False
        self._works: WeakSet[Work] = WeakSet()
        """Those that something may still be written through: what is over is held by nobody."""

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
        guard = self.owned(guard, self.living.token)
        claim = await self.journaling.insist(lambda: self.ask(guard))
        return Claimed(claim=claim, guard=guard)

    def owned(self, guard: Guard, life: str) -> Guard:
        """The guard with the token of one life of ours: each life can tell what those before it held."""
        return replace(guard, owner=digest_of(f"{life} {guard.sender} {guard.message_id}"))

    async def ask(self, guard: Guard, *dead: str) -> Claim:
        """Claim a message; what a former life held it has not finished, and nobody else can.

        Args:
            guard: as it is to be ours.
            dead: tokens of other holders that are known to be dead.
        """
        hold = guard.hold(self._me.name)
        claim = await self._journal.claim(hold, guard.digest)
        if claim.standing is not Standing.BUSY:
            return claim
        former = [self.owned(guard, life).owner for life in self.living.former or ()]
        return await self._journal.claim(hold, guard.digest, [*dead, *former])

    async def again(self, claimed: Claimed) -> Claimed:
        """Claim a message once more, after a while in which we may have ended what it has begun."""
        at = asyncio.get_running_loop().time()
        claim = await self.journaling.insist(lambda: self.ask(claimed.guard))
        return replace(claimed, claim=claim, at=at)

    async def fresh(self, claimed: Claimed) -> Claimed:
        """The claim as it is now, should it have waited for so long that it may have run out."""
        age = asyncio.get_running_loop().time() - claimed.at
        is_old = claimed.is_ours and age > self._journal.policy.terms.renew_every
        return await self.again(claimed) if is_old else claimed

    def is_second(self, received: Received, peer: AgentIdentifier) -> bool:
        """Whether a message has come before, as far as this process knows."""
        if not received.is_marked:
            is_named = bool(received.stanza_id)
            return is_named and self._seen.is_second(peer.jid, received.stanza_id, received.message)
        message = received.message
        said = hash((message.performative, message.content, message.conversation_id, message.in_reply_to))
        return not self.acknowledging.take(peer.jid, received.stanza_id, said)

    def done_with(self, received: Received, peer: AgentIdentifier) -> None:
        """The effect of a message is written down: it is acknowledged, and acknowledges what it answers."""
        if self.is_closed:
            return  # what comes as we end is not written any more: it comes again to the next process
        self.outbox.replied(peer.jid, received.message.in_reply_to)
        if received.is_marked:
            self.acknowledging.owe(peer.jid, received.stanza_id, received.message.reply_with)

    def count(
        self, lane: Lane, received: Received, peer: AgentIdentifier, letters: tuple[str, ...] = ()
    ) -> None:
        """A message is handled: done with once that is written down; if it never is, it has never come."""
        never_came = partial(self.acknowledging.drop, peer.jid, received.stanza_id)
        lane.note(drop=letters, then=partial(self.done_with, received, peer), lost=never_came)

    def lane(self, claimed: Claimed) -> Lane:
        """The commits of a message that is ours to handle."""
        return self.journaling.lane(claimed.guard.hold(self._me.name), lambda: None)

    def served(self, opened: Opened, guard: Guard, lane: Lane) -> Chronicle:
        """Write down that somebody has begun a conversation with us."""
        key = key_of(Role.PARTICIPANT, opened.peer, opened.message.conversation_id or "")
        repeats = opened.message.performative is not Performative.SUBSCRIBE
        work = self.known(Work(self._me.name, key, lane, self.journaling, guard, is_repeatable=repeats))
        work.guarded(guard)
        self.fence.keep(opened.message, lane)
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
            work = self.own(key)
            work.guard = Guard.own(opened.replica)
        return work.chronicle(key)

    def own(self, key: str) -> Work:
        """A work that nobody else has caused: it is written as long as we live."""
        life = self.journaling.open
        return self.known(
            Work(self._me.name, key, Lane(self.journaling, life.hold, life.give_up), self.journaling)
        )

    def known(self, work: Work) -> Work:
        """Take note of a work: it is written as long as we do not end."""
        self._works.add(work)
        if self.is_closed:
            work.close()  # as `close` has done with those before
        return work

    def end(self) -> None:
        """Another replica has taken what we had: nothing more of it is written or said here."""
        self._hook(ReplicaReplaced(agent=self._me.name, replica=self.replica))
        self.living.end()
        self.journaling.wait_to_live(self.living.hold, self.end)
        for work in tuple(self._works):
            work.lane.give_up()
        text = f"{self._me.local_name} was away, and another replica of it goes on with this"
        reason = Reason(cause=Cause.UNREACHABLE, text=text, about=self._me.name)
        self.outbox.leave(reason)
        self.on_end(reason)

    def works(self) -> list[Work]:
        """What is being worked on here, or is over and not yet written down."""
        return [each for each in self._works if not (each.is_settled or each.lane.is_taken)]

    @property
    def lease(self) -> float:
        """Seconds for which a replica may be away, until another one has what it had."""
        return self._journal.policy.terms.lease

    def is_poison(self, guard: Guard) -> bool:
        """Whether a message has killed its handler as often as is allowed."""
        return guard.begun > self._journal.policy.terms.most_attempts

    async def close(self) -> None:
        """Write what can be written, and leave the rest to the next process."""
        await self.journaling.concluded()  # so that what has been heard is acknowledged before we go
        self.is_closed = True
        for work in tuple(self._works):
            work.close()
        self.outbox.close()
        self.acknowledging.close()
        await self.journaling.close()


def _bare_message(message: AclMessage) -> AclMessage:
    """What two copies have in common; they differ in where they come from and when they were signed."""
    return unsigned(message).model_copy(update={"sender": None, "receiver": ()})
