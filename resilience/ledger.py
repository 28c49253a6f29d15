"""The task ledger of a group: what it has accepted and not yet answered, written by its present leader only.

It lies in the journal (`resilience.journal`), so that all its bindings keep it: each task is a snapshot, and
the right to write is a claim in the name of one term. Whoever leads next takes that claim over, and from then
on nothing that a leader of the past writes is kept, be it only slow, frozen or cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from resilience.forms import Form, storable
from resilience.inbox import ID_LIMIT, JID_LIMIT, Hold, InboxKey, digest_of
from resilience.journal import Effects, Journal, Outcome
from resilience.snapshots import KEY_LIMIT, Snapshot


class Stage(StrEnum):
    """How far a task has come."""

    ACCEPTED = "accepted"
    """It is to be done; nobody was called for it yet."""
    CALLED = "called"
    """A call for proposals is out."""
    AWARDED = "awarded"
    """Somebody has won it, and is at work."""


def _staged(fields: dict[str, Any]) -> dict[str, Any]:
    """A task of form 1, of which no more was known than that it had been accepted."""
    return {**fields, "stage": Stage.ACCEPTED.value}


FORM = Form(what="a task of a group", newest=2, steps={1: _staged})

AGAIN = 0.05
"""Seconds between two attempts to take a ledger that another new leader is taking."""

_TERM, _TASK = "term", "task/"
_DIGEST = digest_of("ledger")


class DeposedError(Exception):
    """A leader of a later term has the ledger; nothing was written. The text is one sentence."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something that a group has accepted to do.

    Raises:
        ValueError: a part is empty, too long, or cannot be kept; the text says which.
    """

    id: str
    """The conversation-id of whoever wants it."""
    client: str
    """The bare JID of whoever wants it."""
    opening: str
    """The message that asks for it, as JSON."""
    stage: Stage = Stage.ACCEPTED
    attempt: int = 0
    """How often it was called for; the last call counts."""
    conversation: str = ""
    """The conversation-id of the last call."""
    winner: str = ""
    """The bare JID of whoever has it, where it is awarded."""
    promised: float = 0.0
    """Seconds in which the winner has said that it would be done."""
    since: str = ""
    """When it came to this stage: ISO 8601, UTC."""
    progress: str = ""
    """What the winner has told last, as JSON. It lags behind."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """Who has won it before in vain, and why that was in vain."""

    def __post_init__(self) -> None:
        storable(self.id, "the task's id", ID_LIMIT)
        storable(self.client, "the client's JID", JID_LIMIT)
        storable(self.opening, "the message that asks for it")
        for text in (
            self.conversation,
            self.winner,
            self.since,
            self.progress,
            *self.lost,
            *self.lost.values(),
        ):
            storable(text, "how far it is")
        object.__setattr__(self, "stage", Stage(self.stage))
        object.__setattr__(self, "lost", MappingProxyType(dict(self.lost)))

    @property
    def key(self) -> str:
        """What it is known by: an id is its client's own."""
        return storable(f"{_TASK}{self.client}/{self.id}", "the task's key", KEY_LIMIT)

    def to_json(self) -> str:
        """Write it down; `from_json` reads it."""
        return FORM.write({**vars(self), "lost": dict(self.lost)})

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Read what `to_json` wrote, now or in an older version.

        Raises:
            FormError: it is of a newer form, or no task.
        """
        fields = FORM.read(text)
        try:
            return cls(**fields)
        except (TypeError, ValueError, AttributeError) as error:
            raise FORM.foreign(text) from error


class Ledger:
    """The ledger of one group, as one of its members has it.

    Args:
        journal: where it lies.
        group: whose it is.
    """

    def __init__(self, journal: Journal, group: str) -> None:
        self._journal, self._group = journal, group
        self._agent = f"group/{group}"
        self._hold: Hold | None = None

    async def take(self, term: int) -> tuple[Task, ...]:
        """Have the ledger written in this term, and in no earlier one any more; all tasks that stand in it.

        Args:
            term: of our leadership (`resilience.election`), above 0.

        Raises:
            DeposedError: a later term has it.
            RecordsError: the store cannot be asked. It may be tried again.
        """
        hold = self._holder(term)
        while True:
            latest = await self._latest()
            if latest > term:
                raise self._deposed(term, latest)
            former = [self._holder(latest).owner] if 0 < latest < term else []
            if (await self._journal.claim(hold, _DIGEST, former)).is_ours:
                break
            # Another new leader has claimed it, and has not yet written in which term; or has died at that.
            await asyncio.sleep(AGAIN)
        mine = Snapshot(agent=self._agent, key=_TERM, form=1, text=str(term))
        if not await self._journal.commit(self._effects(put=(mine,)), hold):
            raise self._deposed(term, await self._latest())
        self._hold = hold
        # What the leader before has written up to now is there, and it writes no more.
        snapshots = await self._journal.snapshots(self._agent)
        return tuple(Task.from_json(each.text) for each in snapshots if each.key.startswith(_TASK))

    async def write(self, *tasks: Task) -> None:
        """Write tasks down as they stand, all at once.

        Raises:
            DeposedError: the ledger is not ours, or not any more. Nothing was written.
            RecordsError: the store cannot be written. It may be tried again.
        """
        put = tuple(
            Snapshot(agent=self._agent, key=each.key, form=FORM.newest, text=each.to_json()) for each in tasks
        )
        await self._commit(self._effects(put=put))

    async def forget(self, *tasks: Task) -> None:
        """Remove tasks; what is not there is no error.

        Raises:
            DeposedError: the ledger is not ours, or not any more. Nothing was removed.
            RecordsError: the store cannot be written. It may be tried again.
        """
        await self._commit(self._effects(remove=tuple(each.key for each in tasks)))

    async def renew(self) -> bool:
        """Show that we live, at least once in a lease of the journal; False: the ledger is not ours.

        Raises:
            RecordsError: the store cannot be asked. It may be tried again.
        """
        return self._hold is not None and await self._journal.renew(self._hold)

    async def _commit(self, effects: Effects) -> None:
        if self._hold is None or not await self._journal.commit(effects, self._hold):
            term = 0 if self._hold is None else int(self._hold.owner.rpartition(" ")[2])
            raise self._deposed(term, await self._latest())

    def _effects(self, put: Iterable[Snapshot] = (), remove: Iterable[str] = ()) -> Effects:
        return Effects(agent=self._agent, outcome=Outcome.WORKING, put=tuple(put), remove=tuple(remove))

    def _holder(self, term: int) -> Hold:
        key = InboxKey(receiver=self._agent, sender=self._agent, message_id="ledger")
        return Hold(key=key, owner=f"term {term}")

    async def _latest(self) -> int:
        written = await self._journal.snapshot(self._agent, _TERM)
        return 0 if written is None else int(written.text)

    def _deposed(self, term: int, latest: int) -> DeposedError:
        has = f"term {latest} has the ledger of {self._group}"
        return DeposedError(f"{has}: nothing is written in term {term}" if term else f"{has}: take it first")
