"""Conversations that others have left, and that go on here: former processes, and replicas that live no more.

What a process must do at its start (`restore`) a living replica does again and again for the others (`look`),
and for a single conversation whose first message comes once more (`resumes`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from behaviours.chronicling import Restored, Work
from behaviours.conversing import Seat
from behaviours.enduring import Claimed
from behaviours.events import DuplicateDropped
from behaviours.fencing import office_of
from behaviours.hosting import UNNAMED, Hosting
from behaviours.inheriting import Left
from behaviours.posting import OnLost
from behaviours.services import incapable, is_capable
from behaviours.straying import Straying
from behaviours.wire import Received
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import from_json
from ontology.content import Reason, explain
from ontology.errors import Cause, ContentError
from protocols import machine
from protocols.history import Opened, Said, begun, replayed
from protocols.registry import PROTOCOLS
from protocols.table import Role
from resilience.inbox import Standing
from resilience.outbox import Outgoing
from resilience.records import RecordsError


class Restoring(Hosting):
    """The hub of one agent's conversations, with those of its other lives; its arguments are `Hosting`'s."""

    def __init__(self, **hosting: Any) -> None:
        super().__init__(**hosting)
        self._straying = Straying(self._enduring, self._inheriting, self._seats, self.look, self.take_in)
        self._restoring = asyncio.Lock()
        """What is to be taken over is taken once."""
        self._looking: asyncio.Task[None] | None = None
        self._enduring.on_end = self._ended
        self._enduring.journaling.on_renewed = self._look_again

    async def restore(self) -> None:
        """Go on with what former processes have left: conversations, and messages on their way.

        Raises:
            RecordsError: it cannot be read; nothing has begun.
        """
        async with self._restoring:
            self._go_on(await self._inheriting.restored())
        await self.look()

    async def look(self) -> None:
        """Go on with what other replicas have left that live no more; later, if it cannot be read now."""
        async with self._restoring:
            with suppress(RecordsError):
                async for left in self._inheriting.followed():
                    self._go_on(left)

    async def resumes(self, claimed: Claimed) -> Claimed | None:
        """Go on with the conversation that a message had begun with somebody else before, if it had.

        Returns:
            None if it had; else the claim to the message, which is to be handled.
        """
        claimed = await self._enduring.fresh(claimed)
        if claimed.claim.standing is Standing.NEW or not claimed.is_ours:
            return claimed
        async with self._restoring:
            self._go_on(await self._enduring.journaling.insist(lambda: self._inheriting.resumed(claimed)))
        if self._inheriting.is_here(claimed.guard):
            return None
        return await self._enduring.again(claimed)  # we may have taken it up otherwise, and ended it

    async def take_over(self, message: AclMessage, name: str) -> None:
        """Go on with what another agent of our group was asked for, and has agreed to, as if it had been us.

        Args:
            message: what opened the conversation, with its sender.
            name: what tells this taking over from others; one of the same name is done once.
        """
        peer, protocol = message.sender or AgentIdentifier(name="nobody"), PROTOCOLS[message.protocol or ""]
        received = Received(message=message, stanza_id=name, is_stored=False)
        claimed = await self._enduring.claim(received, peer)
        if not claimed.is_ours:
            return
        opened = Opened(
            protocol=protocol.name, role=Role.PARTICIPANT, peer=peer.name, message=message, at=self.now()
        )
        chronicle = self._enduring.served(opened, claimed.guard, self._enduring.lane(claimed))
        agreed = Said(message=message.reply(Performative.AGREE))
        chronicle.write(agreed)
        left = Restored(
            key=chronicle.key, opened=opened, events=(opened, agreed), guard=claimed.guard, keys=()
        )
        self._resume(left, self._seated(left, chronicle.work))

    def take_in(self, seat: Seat, received: Received, peer: AgentIdentifier) -> None:
        """Let a conversation go on with what was said in it."""
        raise NotImplementedError

    def leave(self, claimed: Claimed, received: Received, peer: AgentIdentifier) -> None:
        """A message is not ours to handle: it has been handled, or another replica does so."""
        self.emit(DuplicateDropped(agent=self.me.name, peer=peer.name))
        if claimed.claim.standing is Standing.BUSY:
            self._enduring.acknowledging.drop(peer.jid, received.stanza_id)
            return
        if not received.is_marked and claimed.claim.reply:
            self._answer(from_json(claimed.claim.reply), peer)
        self._enduring.done_with(received, peer)

    def _look_again(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self.look())
            self.keep(self._looking)

    def _ended(self, reason: Reason) -> None:
        """Another replica has what this one had: begin anew, as if the process had been started again."""
        for seat in self._seats:
            if not seat.is_over:
                seat.lose(reason)  # whoever waits for it here waits in vain
                seat.release()
                self._seats.remove(seat)
        self._left.clear()
        self.keep(asyncio.get_running_loop().create_task(self._begin_again()))

    async def _begin_again(self) -> None:
        await self._enduring.journaling.insist(self.restore)

    def _go_on(self, left: Left) -> None:
        self._enduring.fence.restore(left.snapshots)
        seats: dict[str, Seat] = {}
        for each, work in left.found:
            seat = seats[each.key] = self._seated(each, work)
            if each.opened.parent:
                seat.resume(is_driven=True)
                self._left[each.key] = seat
        for each, _work in left.found:
            if not each.opened.parent:
                self._resume(each, seats[each.key])
        self._straying.concluded |= {each.conversation for each in left.outgoing} - seats.keys()
        self._enduring.outbox.restore(left.outgoing, left.snapshots, partial(self._lost_later, seats))
        self._straying.come()

    def _seated(self, each: Restored, work: Work) -> Seat:
        protocol, opened = PROTOCOLS[each.opened.protocol], each.opened
        is_ours = opened.role is Role.INITIATOR
        written = opened.message.receiver[0] if is_ours else opened.message.sender
        peer = written or AgentIdentifier(name=opened.peer)
        seat = Seat(self, protocol, begun(protocol, opened), peer, work.chronicle(each.key, each.events))
        if is_ours:
            seat.office = office_of(opened.message)
        else:
            seat.replies_to = opened.message.reply_to
        self._seats.add(seat)
        return seat

    def _resume(self, each: Restored, seat: Seat) -> None:
        """Go on with a conversation of its own right."""
        if each.opened.role is Role.INITIATOR:
            seat.resume(is_driven=False)
            self._see_through([seat, *self._abandoned(seat.chronicle.work)], each.opened.message)
            return
        stands = replayed(seat.protocol, each.events)
        if machine.is_over(seat.protocol, stands):
            seat.resume(is_driven=False)
            self._let_go(seat.chronicle.work)
            seat.chronicle.work.served()
            return
        message = each.opened.message
        if (message.conversation_id or "").startswith(UNNAMED):
            message = message.model_copy(update={"conversation_id": None})
        try:
            ontology = self.ontology_of(message)
            term = ontology.parse(message.content)
            if not is_capable(message, term, self._handlers, self.ontologies):
                text = incapable(self.me.local_name, message, term, self._handlers)
                raise ContentError(Cause.UNSUPPORTED_FUNCTION, text)  # noqa: TRY301
        except ContentError as error:
            seat.resume(is_driven=False)
            self._fail(seat, each.asked or message, error.cause, error.text)
            return
        guard = seat.chronicle.work.guard
        waits = stands.state in seat.protocol.losses and not seat.protocol.awaits(stands.state, stands.role)
        if guard is not None and self._enduring.is_poison(guard) and not waits:
            seat.resume(is_driven=False)
            text = self._burying.poison(message, seat.peer, term.tag, guard.begun - 1)
            self._fail(seat, each.asked or message, Cause.INTERNAL_ERROR, text)
            return
        seat.resume(is_driven=True)
        self._start(seat, message, term, ontology)

    def _fail(self, seat: Seat, message: AclMessage, cause: Cause, text: str) -> None:
        """End a conversation that cannot go on, with an answer to what was asked last."""
        for act in (Performative.FAILURE, Performative.REFUSE, Performative.REJECT_PROPOSAL):
            if seat.may_say(act):
                seat.say(message.reply(act, content=explain(cause, text)))
                break
        else:
            seat.lose(Reason(cause=cause, text=text))
        self._let_go(seat.chronicle.work)
        seat.chronicle.work.served()

    def _lost_later(self, seats: Mapping[str, Seat], left: Outgoing) -> OnLost:
        """What is to happen if a message of a former process is lost."""
        seat = seats.get(left.conversation)

        def lost(record: Outgoing, reason: Reason) -> None:
            self._burying.lost(
                from_json(record.message), AgentIdentifier.of(record.to), record, reason, is_left=True
            )
            if seat is not None:
                seat.lose(reason)

        return lost
