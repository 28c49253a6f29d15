"""The replicas of one agent, and which of them live.

A replica lives by a claim to its own name (`resilience.inbox`), which it renews like any other. What no
message of others has caused it writes under that claim. When it dies the lease runs out, and another replica
may claim its name: from then on nothing more of it is written, should it only have been frozen, and what it
had is the other's to go on with.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace

from resilience.inbox import Hold, InboxKey
from resilience.journal import Effects, Journal
from resilience.snapshots import Snapshot

MAIN = "main"
"""The replica of an agent of which there is one."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")

MOST_LIVES = 16

WAIT_MOST = 1.0
"""Seconds at most between two attempts to claim our own name, while another replica takes what it had."""

_LIVES = "lives/"
_LIFE = "life"


def checked(replica: str) -> str:
    """Return the name of a replica as it is.

    Raises:
        ValueError: it cannot be one.
    """
    if _NAME.fullmatch(replica) is None:
        raise ValueError(
            f"{replica[:80]!r} is no name for a replica, which is part of its address: write "
            "1 to 64 letters, digits, dots, hyphens or underscores"
        )
    return replica


class Living:
    """One replica of an agent, and what it knows of the others.

    The lives of each, the newest first, are written down under its name. What one of them had claimed and not
    yet written down as it was killed, the next one has at once, and not after the lease. They are not kept
    among all else of the agent, so that it costs little to ask which replicas there are.

    Args:
        me: the agent's bare JID.
        replica: which of its replicas we are.
        journal: where all of it is written.
    """

    def __init__(self, me: str, replica: str, journal: Journal) -> None:
        self._me, self._replica, self._journal = me, replica, journal
        self._agent = f"{me}/lives"
        self.token = uuid.uuid4().hex
        """Of this life; no other has it."""
        self.former: list[str] | None = None
        """The tokens of the lives before this one; None until the first one of this process has begun."""
        self._dead: Sequence[str] = ()
        """Those of processes that have ended, or will find that they have lost their name."""

    @property
    def hold(self) -> Hold:
        """The claim that we live by."""
        return self._hold(self._replica, self.token)

    def _hold(self, replica: str, token: str) -> Hold:
        # No message can be claimed under this key: its sender would be a full JID.
        key = InboxKey(receiver=self._me, sender=f"{self._me}/{replica}", message_id=_LIFE)
        return Hold(key=key, owner=token)

    async def begin(self) -> None:
        """Begin a life, as soon as nobody else has our name, and before anything is claimed in it.

        Raises:
            RecordsError: it could not be claimed or written down. It may be tried again.
        """
        if self.former is None:
            self.former = self._dead = await self._left()
        while not await self._claim(self.hold, self._dead):  # noqa: ASYNC110 - a store has no event
            await asyncio.sleep(min(self._journal.policy.terms.renew_every, WAIT_MOST))
        self._dead = ()
        await self._write()

    def end(self) -> None:
        """Another replica has our name. The next life begins by `begin`."""
        self.former = [self.token, *(self.former or ())]
        self.token = uuid.uuid4().hex

    async def others(self) -> Sequence[str]:
        """The names of the other replicas that there are or have been; quick to ask."""
        lives = [each.key for each in await self._journal.snapshots(self._agent)]
        if self._replica not in lives:
            await self._write()  # one that was about to bury us was slow, and we live again
        return [each for each in lives if each != self._replica]

    async def inherit(self, replica: str) -> Hold | None:
        """Claim the name of another replica; None: it lives, or somebody else has it already."""
        hold = self._hold(replica, self.token)
        return hold if await self._claim(hold) else None

    async def bury(self, replica: str, hold: Hold, *, is_empty: bool) -> None:
        """Give the name of a replica back, and forget it if nothing is left of it."""
        if is_empty:
            await self._journal.commit(Effects(agent=self._agent, remove=(replica,)))
        await self._journal.release(hold)

    async def learn(self, snapshots: Iterable[Snapshot]) -> None:
        """Take note of replicas that were written down among all else, when nobody looked for others."""
        older = {each.key.removeprefix(_LIVES): each for each in snapshots if each.key.startswith(_LIVES)}
        if not older:
            return
        known = {self._replica, *await self.others()}
        new = [replace(each, agent=self._agent, key=name) for name, each in older.items()]
        kept = tuple(each for each in new if each.key not in known)
        await self._journal.commit(Effects(agent=self._agent, put=kept))
        gone = tuple(each.key for each in older.values())
        await self._journal.commit(Effects(agent=self._me, remove=gone))

    async def _write(self) -> None:
        lives = " ".join([self.token, *(self.former or ())][:MOST_LIVES])
        mine = Snapshot(agent=self._agent, key=self._replica, form=1, text=lives)
        await self._journal.commit(Effects(agent=self._agent, put=(mine,)))

    async def _claim(self, hold: Hold, dead: Sequence[str] = ()) -> bool:
        return (await self._journal.claim(hold, _LIFE, dead)).is_ours

    async def _left(self) -> list[str]:
        """The tokens of our former lives, be they written down as they were when nobody looked for others."""
        lives = await self._journal.snapshot(self._agent, self._replica)
        older = await self._journal.snapshot(self._me, _LIVES + self._replica)
        return [token for each in (lives, older) if each is not None for token in each.text.split()]
