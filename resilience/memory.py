"""The ports bound to memory: for tests, for users' tests, and for societies that need no memory."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from resilience import inbox
from resilience.dead_letters import LETTERS, DeadLetter
from resilience.election import Led
from resilience.inbox import Claim, Entry, Hold, InboxKey, Phase
from resilience.journal import Depth, Effects, Outcome, Policy, guard
from resilience.outbox import Outgoing
from resilience.snapshots import Snapshot


class MemoryDeadLetters:
    """`DeadLetters` in memory; the oldest make way beyond `limit`."""

    def __init__(self, limit: int = LETTERS) -> None:
        self._limit, self._added = limit, 0
        self._letters: dict[str, DeadLetter] = {}
        """By id, oldest first."""

    def add(self, letter: DeadLetter) -> None:
        """Keep a letter."""
        self._added += 1
        # No plain number: what a file cannot take lies here beside the letters of that file.
        letter = letter if letter.id else replace(letter, id=f"m{self._added}")
        self._letters.setdefault(letter.id, letter)
        if len(self._letters) > self._limit:
            del self._letters[next(iter(self._letters))]

    def list(self, agent: str | None = None, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest letters, newest first."""
        return tuple(reversed(self._of(agent)))[:limit]

    def get(self, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one letter, if it is there."""
        return self._letters.get(id)

    def drop(self, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a letter; whether it was there."""
        return self._letters.pop(id, None) is not None

    def count(self, agent: str | None = None) -> int:
        """How many letters are kept."""
        return len(self._of(agent))

    def oldest(self, agent: str | None = None) -> datetime | None:
        """When the letter that has lain longest was written."""
        return next((letter.when for letter in self._of(agent)), None)

    def _of(self, agent: str | None) -> tuple[DeadLetter, ...]:
        return tuple(letter for letter in self._letters.values() if agent in {None, letter.agent})


class MemoryRecords:
    """`Records` in memory."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, str]] = {}

    def put(self, collection: str, key: str, text: str) -> None:
        """Write or replace a record."""
        self._records.setdefault(collection, {})[key] = text

    def remove(self, collection: str, key: str) -> None:
        """Remove a record; one that is not there is no error."""
        self._records.get(collection, {}).pop(key, None)

    def all(self, collection: str) -> Mapping[str, str]:
        """Return every record of a collection, ordered by key."""
        return dict(sorted(self._records.get(collection, {}).items()))


class MemoryLock:
    """`Lock` within one process: the election of a society that runs in one.

    Args:
        clock: seconds that no wall clock moves.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._freed: dict[str, float] = {}
        self._failovers: dict[str, float] = {}
        self._terms: dict[str, int] = {}
        self._holders: dict[str, str] = {}
        self._since: dict[str, datetime] = {}
        self._changed = asyncio.Condition()

    async def acquire(self, group: str, candidate: str) -> int | None:
        """Try to take the lock at once: the term, or None where somebody else has it."""
        if group in self._holders:
            return None
        self._terms[group] = self._terms.get(group, 0) + 1
        self._holders[group], self._since[group] = candidate, datetime.now(UTC)
        if group in self._freed:
            self._failovers[group] = self._clock() - self._freed[group]
        return self._terms[group]

    async def wait_free(self, group: str) -> None:
        """Return once the lock may be free."""
        async with self._changed:
            await self._changed.wait_for(lambda: group not in self._holders)

    def holds(self, group: str, term: int) -> bool:
        """Whether the lock of that term is held."""
        return group in self._holders and self._terms[group] == term

    async def wait_lost(self, group: str, term: int) -> None:
        """Return once the lock of that term is not held any more."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.holds(group, term))

    async def release(self, group: str, term: int) -> None:
        """Give up the lock of that term; one that is not held any more is no error."""
        if self.holds(group, term):
            await self.leave(group, self._holders[group])

    async def leave(self, group: str, candidate: str) -> None:
        """Stand no more."""
        if self._holders.get(group) == candidate:
            del self._holders[group]
            self._freed[group] = self._clock()
            async with self._changed:
                self._changed.notify_all()

    async def groups(self) -> Mapping[str, Led | None]:
        """Who leads each group that somebody has led, by its name."""
        return {
            group: Led(
                leader=self._holders[group],
                term=term,
                since=self._since[group],
                failover=self._failovers.get(group),
            )
            if group in self._holders
            else None
            for group, term in sorted(self._terms.items())
        }

    async def close(self) -> None:
        """Nothing is to be done."""


class MemoryJournal:
    """`Journal` in memory, for any number of agents: nothing survives the process.

    Args:
        policy: the numbers of delivery.
        letters: where dead letters lie; its own by default.
        clock: seconds since the epoch.
    """

    survives = False

    def __init__(
        self,
        policy: Policy | None = None,
        letters: MemoryDeadLetters | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy or Policy()
        self._letters, self._clock = letters or MemoryDeadLetters(), clock
        self._entries: OrderedDict[InboxKey, Entry] = OrderedDict()
        """Those that are forgotten next come first."""
        self._outgoing: dict[str, dict[str, Outgoing]] = {}
        self._snapshots: dict[str, dict[str, Snapshot]] = {}

    async def claim(self, hold: Hold, digest: str, dead: Sequence[str] = ()) -> Claim:
        """Ask for a message."""
        now = self._clock()
        self._forget(now)
        known = self._entries.get(hold.key)
        entry, claim = inbox.claim(known, hold.owner, digest, now, self.policy.terms, dead)
        if entry is not known:
            self._keep(hold.key, entry)
        return claim

    async def renew(self, hold: Hold) -> bool:
        """Prolong the lease; False: it is not ours any more."""
        now = self._clock()
        held = inbox.held(self._entries.get(hold.key), hold.owner, now)
        if held is not None:
            self._keep(hold.key, inbox.renewed(held, now, self.policy.terms))
        return held is not None

    async def release(self, hold: Hold) -> None:
        """Give a claim back unhandled; one that is not ours is left alone."""
        held = inbox.held(self._entries.get(hold.key), hold.owner, self._clock())
        if held is not None:
            left = inbox.released(held)
            del self._entries[hold.key]
            if left is not None:
                self._keep(hold.key, left)

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Write everything at once; False: the claim is not ours any more."""
        guard(effects, hold)
        if hold is not None:
            now, entry = self._clock(), self._entries.get(hold.key)
            if inbox.has_ended(entry, hold.owner, now):
                return True
            held = inbox.held(entry, hold.owner, now)
            if held is None:
                return False
            if effects.outcome is not Outcome.WORKING:
                phase = Phase(effects.outcome.value)
                self._keep(hold.key, inbox.ended(held, phase, effects.reply, now, self.policy.terms))
        self._apply(effects)
        return True

    async def outgoing(self, agent: str) -> Sequence[Outgoing]:
        """Return all that stands in the outbox, in the order of being put there."""
        return tuple(self._outgoing.get(agent, {}).values())

    async def snapshots(self, agent: str) -> Sequence[Snapshot]:
        """Return all snapshots, ordered by key."""
        return tuple(each for _key, each in sorted(self._snapshots.get(agent, {}).items()))

    async def snapshot(self, agent: str, key: str) -> Snapshot | None:
        """Return one snapshot, if it is there."""
        return self._snapshots.get(agent, {}).get(key)

    async def letters(self, agent: str, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest dead letters, newest first."""
        return self._letters.list(agent, limit)

    async def letter(self, agent: str, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one dead letter, if it is there."""
        found = self._letters.get(id)
        return found if found is not None and found.agent == agent else None

    async def drop(self, agent: str, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a dead letter; whether it was there."""
        return await self.letter(agent, id) is not None and self._letters.drop(id)

    async def depth(self, agent: str) -> Depth:
        """Say how much there is."""
        return Depth(
            outgoing=len(self._outgoing.get(agent, {})),
            snapshots=len(self._snapshots.get(agent, {})),
            letters=self._letters.count(agent),
            oldest_letter=self._letters.oldest(agent),
        )

    async def check(self) -> None:
        """Return: memory can always be written."""

    async def close(self) -> None:
        """Do nothing: another agent, or the same one again, goes on with it."""

    def _apply(self, effects: Effects) -> None:
        snapshots = self._snapshots.setdefault(effects.agent, {})
        outgoing = self._outgoing.setdefault(effects.agent, {})
        for snapshot in effects.put:
            snapshots[snapshot.key] = snapshot
        for key in effects.remove:
            snapshots.pop(key, None)
        for sent in effects.send:
            outgoing[sent.id] = sent
        for tried in effects.tried:
            if tried.id in outgoing:
                outgoing[tried.id] = tried
        for settled in effects.settled:
            outgoing.pop(settled, None)
        for letter in effects.bury:
            self._letters.add(letter)
        for dropped in effects.drop:
            found = self._letters.get(dropped)
            if found is not None and found.agent == effects.agent:
                self._letters.drop(dropped)

    def _keep(self, key: InboxKey, entry: Entry) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)

    def _forget(self, now: float) -> None:
        while self._entries:
            key, entry = next(iter(self._entries.items()))
            if now < entry.kept_until:
                return
            del self._entries[key]
