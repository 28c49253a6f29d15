"""What former processes and other replicas of an agent have left, and how it becomes ours.

All that one of them has left is taken at once: its conversations are claimed, and they and its messages are
written down as ours, under the claim by which they are ours to take. Should that be lost meanwhile, nothing
is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from behaviours.chronicling import Guard, Restored, Work, entry_of, key_of, restored
from behaviours.enduring import Claimed, Enduring
from behaviours.events import ConversationLeft, Hook, ReplicaFollowed
from ontology.acl import Performative
from protocols.history import Heard, Opened
from protocols.table import Role
from resilience.inbox import Hold
from resilience.journal import Effects, Outcome
from resilience.outbox import Outgoing
from resilience.snapshots import Snapshot


@dataclass(frozen=True, kw_only=True)
class Left:
    """What a former process or another replica has left, and we go on with."""

    found: Sequence[tuple[Restored, Work]] = ()
    """Conversations, each with the work that it belongs to, roots first."""
    outgoing: Sequence[Outgoing] = ()
    """Messages on their way: those of these conversations, and those of none."""
    snapshots: Sequence[Snapshot] = ()
    """All that the agent remembers."""
    missing: frozenset[tuple[str, str]] = frozenset()
    """What has begun further conversations, as sender and id. Another replica has claimed them; should it die
    before it has written that down, nobody else would go on with them."""


class Inheriting:
    """The heir of one agent's lives.

    Args:
        me: the agent's bare JID.
        enduring: its lasting side.
        hook: sink of facts.
    """

    def __init__(self, me: str, enduring: Enduring, hook: Hook) -> None:
        self._me, self._enduring, self._hook = me, enduring, hook
        self._living, self._journal = enduring.living, enduring.journaling.journal
        self._missing: frozenset[tuple[str, str]] = frozenset()
        """What is missing of our own."""

    def miss(self, guard: Guard) -> None:
        """Another replica has claimed what we had."""
        self._missing |= {_began(guard)}

    async def restored(self) -> Left:
        """Begin a life, and return what the lives of this replica before it have left.

        Raises:
            RecordsError: it cannot be read. It may be tried again.
        """
        await self._living.begin()
        if self._enduring.journaling.open.hold != self._living.hold:
            self._enduring.journaling.wait_to_live(self._living.hold, self._enduring.end)
        # What was written down before messages had a replica is whoever's comes first.
        left = await self._inherit(
            self._living.hold, _of(self._enduring.replica), _of(self._enduring.replica, "")
        )
        if left is None:
            left = Left()  # it has been taken from us already: `_end` comes
        self._missing = left.missing
        await self._living.learn(left.snapshots)
        self._enduring.journaling.live()
        return left

    async def followed(self) -> AsyncIterator[Left]:
        """Return what other replicas have left that live no more; it costs little while all live.

        Raises:
            RecordsError: it cannot be read. It may be tried again.
        """
        for name in await self._living.others():
            hold = await self._living.inherit(name)
            if hold is None:
                continue
            left = await self._inherit(hold, _of(name), _of(name))
            if left is None:
                continue  # another one was quicker
            if left.found or left.outgoing:
                self._tell_of(name, left)
                yield left
            await self._living.bury(name, hold, is_empty=not left.missing)
        if self._missing:
            missing, ours = self._missing, _of(self._enduring.replica)
            left = await self._inherit(
                self._living.hold, lambda guard: ours(guard) and _began(guard) in missing, lambda _each: False
            )
            if left is not None:
                self._missing = left.missing
                yield left

    def _tell_of(self, replica: str, left: Left) -> None:
        conversations, messages = len(left.found), len(left.outgoing)
        fact = ReplicaFollowed(
            agent=self._me, replica=replica, conversations=conversations, messages=messages
        )
        self._hook(fact)

    async def resumed(self, claimed: Claimed) -> Left:
        """What whoever held a message before us has left of the conversation that it has begun.

        Raises:
            RecordsError: it cannot be read. It may be tried again.
        """
        began = _began(claimed.guard)
        left = await self._inherit(
            claimed.guard.hold(self._me),
            lambda guard: _began(guard) == began,
            lambda _each: False,
            owner=claimed.guard.owner,
        )
        self._missing -= {began}
        return left or Left()

    async def _inherit(
        self,
        hold: Hold,
        is_left: Callable[[Guard], bool],
        is_loose: Callable[[Outgoing], bool],
        owner: str = "",
    ) -> Left | None:
        """Take over what somebody has left, all of it at once; None: it has been taken from us meanwhile.

        Args:
            hold: the claim by which it is ours to take.
            is_left: whether such a conversation, with all that its handler has begun, is meant.
            is_loose: whether a message is that belongs to no conversation any more.
            owner: our token, where the conversation is claimed already.
        """
        me = self._me
        snapshots, outgoing = await asyncio.gather(self._journal.snapshots(me), self._journal.outgoing(me))
        found, failed = restored(snapshots)
        for error in failed:
            self._hook(ConversationLeft(agent=me, text=str(error)))
        roots = {each.key: each.opened.parent or each.key for each in found}
        here = {work.key for work in self._enduring.works()}
        left = {
            each.key: each.guard
            for each in found
            if each.guard is not None
            and is_left(each.guard)
            and each.key not in here
            and not self._has_ended(each.guard)
        }
        taken = await asyncio.gather(*(self._take_up(each, owner) for each in left.values()))
        guards = {key: guard for key, guard in zip(left, taken, strict=True) if guard is not None}
        messages = [
            each
            for each in outgoing
            if each.id not in self._enduring.outbox
            and (roots[each.conversation] in guards if each.conversation in roots else is_loose(each))
        ]
        ours = {each.id: replace(each, replica=self._enduring.replica) for each in messages}
        effects = Effects(
            agent=me,
            outcome=Outcome.WORKING,
            put=tuple(guard.snapshot(me, key) for key, guard in guards.items()),
            tried=tuple(ours[each.id] for each in messages if each.replica != self._enduring.replica),
        )
        if self._enduring.is_closed:
            return None  # we end, and others look after what we have
        # A failure leaves open whether it is written, and nobody looks for it again as somebody else's.
        insist = self._enduring.journaling.insist
        if (effects.put or effects.tried) and not await insist(lambda: self._journal.commit(effects, hold)):
            return None
        works = {each.key: self._work(each, guards[each.key]) for each in found if each.key in guards}
        gone_on = [(each, works[roots[each.key]]) for each in found if roots[each.key] in works]
        for each, work in gone_on:
            work.known(each.keys)
            for event in each.events:
                if isinstance(event, Opened | Heard) and event.id:
                    # Once more: so its peer learns that we are back, and need not find out by probing.
                    self._enduring.acknowledging.owe(each.opened.peer, event.id, None)
        gone_on.sort(key=lambda pair: bool(pair[0].opened.parent))
        missing = frozenset(_began(guard) for key, guard in left.items() if key not in guards)
        return Left(found=gone_on, outgoing=tuple(ours.values()), snapshots=snapshots, missing=missing)

    async def _take_up(self, guard: Guard, owner: str) -> Guard | None:
        """Claim a conversation that somebody has left; None: somebody else has it."""
        mine = replace(guard, replica=self._enduring.replica, begun=guard.begun + 1)
        if not guard.sender or owner:
            return replace(mine, owner=owner)
        mine = self._enduring.owned(mine, self._living.token)
        # The process that held it is gone, or will find that it has lost it.
        return mine if (await self._enduring.ask(mine, guard.owner)).is_ours else None

    def _work(self, root: Restored, guard: Guard) -> Work:
        """The work of a conversation that is ours now."""
        if not guard.sender:
            work = self._enduring.own(root.key)
        else:
            lane = self._enduring.journaling.lane(guard.hold(self._me), lambda: None)
            repeats = root.opened.message.performative is not Performative.SUBSCRIBE
            work = self._enduring.known(
                Work(self._me, root.key, lane, self._enduring.journaling, guard, is_repeatable=repeats)
            )
        work.guarded_already(guard)
        return work

    def _has_ended(self, guard: Guard) -> bool:
        """Whether a conversation was one of this life, and has come to its end since it was read."""
        was_ours = guard.owner == self._enduring.owned(guard, self._living.token).owner
        return bool(guard.sender) and was_ours and _began(guard) not in self._missing

    def is_here(self, guard: Guard) -> bool:
        """Whether we have a conversation that such a message has begun."""
        guards = [each.guard for each in self._enduring.works()]
        return any(each is not None and _began(each) == _began(guard) for each in guards)

    async def is_elsewhere(self, peer: str, conversation_id: str) -> bool:
        """Whether there is such a conversation with a peer in the journal: is it not here, a replica has it.

        Raises:
            RecordsError: it cannot be read. It may be tried again.
        """
        keys = [entry_of(key) for key in _keys(peer, conversation_id)]
        return any(await asyncio.gather(*(self._journal.snapshot(self._me, key) for key in keys)))

    async def is_answered(self, peer: str, conversation_id: str) -> bool:
        """Whether something that another replica has said in such a conversation is still on its way.

        The conversation itself may be over.

        Raises:
            RecordsError: it cannot be read. It may be tried again.
        """
        if not await self._living.others():
            return False
        keys = _keys(peer, conversation_id)
        return any(each.conversation in keys for each in await self._journal.outgoing(self._me))


def _began(guard: Guard) -> tuple[str, str]:
    return guard.sender, guard.message_id


def _keys(peer: str, conversation_id: str) -> list[str]:
    return [key_of(role, peer, conversation_id) for role in (Role.INITIATOR, Role.PARTICIPANT)]


def _of(*replicas: str) -> Callable[[Guard | Outgoing], bool]:
    return lambda each: each.replica in replicas
