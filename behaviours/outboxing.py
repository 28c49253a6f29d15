"""What we have said, until the peer's agent says that it has processed it: at least once, else a dead letter.

A message is written into the outbox before it goes (`resilience.outbox`). What follows depends on the peer:

- an agent that **acknowledges** (every agent of ours) is asked after the message, 1, 2, 4 and 8 seconds
  later, until it says that it is processed, or missing: then it is sent again, under the same id. At last
  it is a dead letter, and whoever said it is told. While it says that it has taken it, it is asked again.
- a peer that **does not** (a plain SPADE agent, a chat client) is sent to once. It is recognised by its own
  messages, which bear no mark, or by its silence when it is asked; that the message was sent is all that
  anybody can know then.

A peer that fails again and again is not written to for a while (`resilience.breakers`): its messages wait in
the outbox, and fail when they expire.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial

from behaviours.clocking import after
from behaviours.delivery import Delivery, Trace
from behaviours.events import Hook, MessageAskedAfter
from behaviours.journaling import Journaling, Lane
from behaviours.naming import new_id
from behaviours.peering import Peers, bare
from behaviours.posting import Again, Named, OnLost, OnSettled, Waiting
from behaviours.receipts import Receipts, render
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.codecs import to_json
from ontology.content import Reason
from ontology.errors import Cause
from resilience import outbox
from resilience.breakers import Breakers, Circuit
from resilience.outbox import Due, Outgoing
from resilience.snapshots import Snapshot

GRACE = 1.0
"""Seconds after its reply-by at which a message is given up: its conversation has expired by then."""

SETTLED_TOGETHER = 0.05
"""Seconds in which acknowledgements are gathered before the outbox is told."""


class Outbox:
    """The outbox of one agent.

    Args:
        me: who we are.
        delivery: hands messages over, once each, and hears of those that come back.
        journaling: where the outbox is written.
        breakers: who is to be left alone.
        on_reply: told whom a reply has gone to, and its in-reply-to.
        send: writes one stanza; what it cannot write now it drops.
        hook: sink of facts.
        clock: the wall clock, aware.
        rng: source of jitter.
    """

    def __init__(
        self,
        *,
        me: AgentIdentifier,
        delivery: Delivery,
        journaling: Journaling,
        breakers: Breakers,
        on_reply: Callable[[str, str], None],
        send: Callable[[str], None],
        hook: Hook,
        clock: Callable[[], datetime],
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._me, self._delivery, self._journaling = me, delivery, journaling
        self._send, self._hook, self._clock, self._rng = send, hook, clock, rng
        self._breakers, self._on_reply = breakers, on_reply
        self._retrying = journaling.journal.policy.retrying
        self._waiting: dict[str, Waiting] = {}
        self._named = Named()
        self._peers = Peers(journaling)
        self._held: dict[str, deque[str]] = {}
        """By the JID that they go to: ids of messages that its breaker holds back, in order."""
        self._settled: list[str] = []
        self._settling: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._waiting

    def post(
        self,
        message: AclMessage,
        to: AgentIdentifier,
        on_lost: OnLost,
        *,
        lane: Lane | None = None,
        conversation: str = "",
        on_settled: OnSettled = lambda _is_acknowledged: None,
        trace: Trace = lambda _message, _to: None,
        again: Again | None = None,
    ) -> str:
        """Write a message down, and send it as soon as that is done.

        Args:
            message: what to say.
            to: to whom.
            on_lost: called at most once, later, when it is given up.
            lane: the work that it belongs to.
            conversation: the key of the conversation that it belongs to.
            on_settled: called at most once, later, when it is not.
            trace: shown what is to be sent.
            again: the dead letter that it was, which goes with the commit.

        Returns:
            The message's id.

        Raises:
            ValueError: it cannot be written as a stanza. Nothing has happened.
        """
        message_id = new_id() if again is None else again.id
        stanza = self._delivery.check(message, to, message_id)
        record = outbox.posted(
            agent=self._me.name,
            id=message_id,
            to=bare(to.jid),
            message=to_json(message),
            conversation=conversation,
            now=self._clock(),
            reply_by=None if message.reply_by is None else after(message.reply_by, GRACE),
            retrying=self._retrying,
            replica=self._journaling.replica,
        )
        record = record if again is None else again.in_outbox(record)
        if self._is_closed:
            reason = Reason(cause=Cause.UNREACHABLE, text="the agent was stopped", about=to.name)
            asyncio.get_running_loop().call_soon(on_lost, record, reason)
            return record.id
        trace(message, to)
        self._keep(Waiting(record, message, to, on_lost, on_settled, stanza=stanza))
        lane = lane or self._journaling.open
        drop = () if again is None else (again.id,)
        lane.note(send=(record,), drop=drop, then=partial(self._hand_over, record.id))
        return record.id

    def restore(
        self,
        records: Iterable[Outgoing],
        snapshots: Iterable[Snapshot],
        on_lost: Callable[[Outgoing], OnLost],
    ) -> None:
        """Go on with what a former process has left.

        Nobody knows whether it has gone: its receiver is asked. One that does not acknowledge gets nothing a
        second time, and a message to it that may not have gone ends with the dead letters.
        """
        self._peers.restore(snapshots)
        for record in records:
            waiting = Waiting.left(record, on_lost(record))
            self._keep(waiting)
            self._later(waiting, 0.0)

    def heard_from(self, peer: str, *, is_marked: bool) -> None:
        """A message has come from that JID, whose mark tells whether it acknowledges."""
        self._peers.heard_from(peer, is_marked=is_marked)
        for jid in {peer, bare(peer)}:
            if self._breakers.revive(jid):
                self._hurry(jid)  # it is back: what waits for it need not wait for the rest to be over

    def replied(self, peer: str, in_reply_to: str | None) -> None:
        """A reply has come and its effect is written down: it acknowledges what it answers."""
        if in_reply_to is not None:
            message_id = self._named.answered(bare(peer), in_reply_to)
            if message_id is not None:
                self._settle(message_id, is_acknowledged=True)

    def told(self, peer: str, receipts: Receipts) -> None:
        """Receipts have come from that JID."""
        session, peer = peer, bare(peer)
        self.heard_from(session, is_marked=True)
        for message_id in receipts.acknowledged:
            waiting = self._waiting.get(message_id)
            if waiting is not None and outbox.settles(waiting.record, peer):
                self._settle(message_id, is_acknowledged=True)
        for waiting in self._answered_for(receipts.taken, peer):
            waiting.taken()
        for waiting in self._answered_for(receipts.missing, peer):
            waiting.missed(session)
            if outbox.due(waiting.record, self._clock(), self._retrying) is not Due.EXPIRED:
                self._write(waiting)

    def _answered_for(self, ids: Iterable[str], peer: str) -> Iterator[Waiting]:
        # Each question has one answer: else a few ids would have large messages sent without end.
        for waiting in [self._waiting[each] for each in ids if each in self._waiting]:
            if waiting.is_asked and outbox.settles(waiting.record, peer):
                waiting.is_asked = False
                self._was_there(waiting)
                yield waiting

    def leave(self, reason: Reason | None = None) -> None:
        """Leave what stands here now to the next process, or to another replica, for that reason."""
        self._held.clear()
        for waiting in [self._drop(each) for each in tuple(self._waiting)]:
            if waiting is not None:
                waiting.leave(reason)

    def close(self) -> None:
        """Leave everything as it is written down, for the next process."""
        self._is_closed = True
        self.leave()
        if self._settling is not None:
            self._settling.cancel()
            self._write_settled()

    def _keep(self, waiting: Waiting) -> None:
        self._waiting[waiting.record.id] = waiting
        self._named.add(waiting)

    def _drop(self, message_id: str) -> Waiting | None:
        waiting = self._waiting.pop(message_id, None)
        if waiting is None:
            return None
        if waiting.timer is not None:
            waiting.timer.cancel()
        self._named.drop(waiting)
        return waiting

    def _hand_over(self, message_id: str) -> None:
        waiting = self._waiting.get(message_id)
        if waiting is None or self._is_closed:
            return
        held = self._held.get(waiting.to.jid)
        if held is not None:
            waiting.stanza = None  # a signature on it would grow old
            held.append(message_id)  # each peer hears us in order
        elif self._is_granted(waiting):
            self._write(waiting)
        else:
            self._held[waiting.to.jid] = deque([message_id])

    def _release(self, peer: str) -> None:
        """Hand over what was held back, in order, as far as the peer's breaker lets it through."""
        held = self._held.get(peer, deque())
        while held:
            waiting = self._waiting.get(held[0])
            if waiting is not None and not self._is_granted(waiting):
                return
            held.popleft()
            if waiting is not None:
                self._write(waiting)
        self._held.pop(peer, None)

    def _hurry(self, peer: str) -> None:
        """Look now after all that was to wait until the peer's breaker lets it through."""
        for waiting in tuple(self._waiting.values()):
            if waiting.to.jid == peer and waiting.attempt is None:
                self._later(waiting, 0.0)

    def _was_there(self, waiting: Waiting) -> None:
        """The peer has answered; if its breaker was waiting for that, so was all that is meant for it."""
        was_doubtful = self._breakers.circuit(waiting.to.jid) is not Circuit.CLOSED
        waiting.end(has_failed=False)
        if was_doubtful and self._breakers.circuit(waiting.to.jid) is Circuit.CLOSED:
            self._hurry(waiting.to.jid)

    def _is_granted(self, waiting: Waiting) -> bool:
        """Whether the peer may be tried now; if it may, an attempt is counted, else it waits."""
        waiting.attempt = self._breakers.attempt(waiting.to.jid)
        if waiting.attempt is None:
            left = (waiting.record.expires - self._clock()).total_seconds()
            self._later(waiting, max(0.0, min(self._breakers.rest(waiting.to.jid), left)))
            return False
        waiting.record = outbox.tried(waiting.record, self._clock(), self._rng, self._retrying)
        self._later(waiting, outbox.wait(waiting.record, self._clock(), self._retrying))
        return True

    def _write(self, waiting: Waiting) -> None:
        waiting.is_sent = True
        message_id, stanza = waiting.record.id, waiting.stanza
        waiting.stanza = None
        if waiting.message.in_reply_to is not None:
            self._on_reply(waiting.to.jid, waiting.message.in_reply_to)
        on_lost = partial(self._failed, message_id)
        self._delivery.post(waiting.message, waiting.to, on_lost, message_id=message_id, stanza=stanza)

    def _later(self, waiting: Waiting, seconds: float) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
        loop = asyncio.get_running_loop()
        waiting.timer = loop.call_later(seconds, self._look, waiting.record.id)

    def _look(self, message_id: str) -> None:
        """Nothing has been heard of a message for a while."""
        waiting = self._waiting.get(message_id)
        if waiting is None or self._is_closed:
            return
        now, acknowledges = self._clock(), self._peers.acknowledges(waiting.to.jid)
        if acknowledges is False and waiting.record.attempts:
            self._let_go(waiting)
            return
        match outbox.due(waiting.record, now, self._retrying):
            case Due.LATER:
                self._later(waiting, outbox.wait(waiting.record, now, self._retrying))
            case Due.EXPIRED if waiting.is_left and not waiting.was_asked:
                self._ask(waiting)  # it may have arrived in time
                self._later(waiting, self._journaling.journal.policy.away)
            case Due.EXPIRED:
                self._give_up(message_id, Cause.EXPIRED, "its time was over before it was acknowledged")
            case Due.EXHAUSTED if acknowledges:
                times = waiting.record.attempts
                text = f"{waiting.to} was written to {times} times and did not acknowledge it"
                self._give_up(message_id, Cause.UNREACHABLE, text)
            case Due.EXHAUSTED:
                self._let_go(waiting)
            case Due.NOW if not waiting.is_sent and not waiting.is_left:
                self._release(waiting.to.jid)  # the breaker has held it back until now
            case Due.NOW:
                self._ask(waiting)

    def _let_go(self, waiting: Waiting) -> None:
        """Its receiver does not acknowledge: that it was sent is all that can be known, if that."""
        if waiting.is_sent:
            self._settle(waiting.record.id, is_acknowledged=False)
        else:
            text = "the process that said it has ended, and nobody knows whether it was sent"
            self._give_up(waiting.record.id, Cause.UNREACHABLE, text)

    def _ask(self, waiting: Waiting) -> None:
        if self._delivery.is_waiting(waiting.record.id):
            # There has been no connection yet: nothing was attempted.
            self._later(waiting, self._retrying.first)
            return
        if self._peers.acknowledges(waiting.to.jid) and waiting.was_asked:
            waiting.end(has_failed=True)
        else:  # it may just be slow, or know nothing of receipts
            waiting.end(has_failed=None)
        if not self._is_granted(waiting):
            return
        waiting.was_asked = waiting.is_asked = True
        self._journaling.open.note(tried=(waiting.record,))
        self._hook(
            MessageAskedAfter(agent=self._me.name, peer=waiting.to.name, attempt=waiting.record.attempts)
        )
        for stanza in render(waiting.record.to, Receipts(asked=(waiting.record.id,))):
            self._send(stanza)

    def _failed(self, message_id: str, reason: Reason) -> None:
        """It came back, or there was no connection for too long."""
        waiting = self._drop(message_id)
        if waiting is not None:
            # A server has said at once that there is nobody: that costs nothing, and holds nothing up.
            waiting.end(has_failed=None)
            self._note_settled(message_id)
            waiting.on_lost(waiting.record, reason)
            self._release(waiting.to.jid)

    def _give_up(self, message_id: str, cause: Cause, text: str) -> None:
        waiting = self._drop(message_id)
        if waiting is None:
            return
        waiting.end(has_failed=cause is Cause.UNREACHABLE)
        self._delivery.forget(message_id)
        self._note_settled(message_id)
        reason = Reason(cause=cause, text=text, about=waiting.to.name)
        self._hook(waiting.undelivered(self._me.name, reason))
        waiting.on_lost(waiting.record, reason)
        self._release(waiting.to.jid)

    def _settle(self, message_id: str, *, is_acknowledged: bool) -> None:
        waiting = self._drop(message_id)
        if waiting is not None:
            self._delivery.forget(message_id)
            self._note_settled(message_id)
            if is_acknowledged:
                self._was_there(waiting)
            waiting.end(has_failed=None)
            self._release(waiting.to.jid)
            if is_acknowledged:
                self._hook(waiting.acknowledged(self._me.name))
            waiting.on_settled(is_acknowledged)
            before = self._named.done_before(waiting)
            if is_acknowledged and before is not None:
                self._settle(before, is_acknowledged=True)

    def _note_settled(self, message_id: str) -> None:
        self._settled.append(message_id)
        if self._settling is None and not self._is_closed:
            self._settling = asyncio.get_running_loop().call_later(SETTLED_TOGETHER, self._write_settled)

    def _write_settled(self) -> None:
        self._settling = None
        settled, self._settled = tuple(self._settled), []
        self._journaling.open.note(settled=settled)
