"""What an agent has been awarded, carried on with while the leaders change that have ordered it.

A handler works as long as the conversation lasts in which it was asked. What the leader of a group orders is
to be done once, though its leaders die. So it is a piece of work of its own, known by the name of the task:
the latest leader waits for it, and for a while it goes on when nobody does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from behaviours.fencing import FOLLOWED_WITHIN, office_of
from behaviours.outcomes import Answer, Fail, Refuse
from behaviours.participating import Participation
from ontology.content import AgentAction, Predicate
from ontology.tasks import TaskName

KEPT = 1_000
"""Answers that are kept, at most, for leaders that come once the work is done."""

KEPT_FOR = 300.0
"""Seconds for which each is. Whoever leads next comes within `FOLLOWED_WITHIN`, unless its store is down."""

Tell = Callable[[Predicate], None]

Work = Callable[[Tell], Coroutine[Any, Any, Answer]]
"""Does what was ordered; it lets whoever waits for that know something meanwhile, and may be cancelled."""

Key = tuple[str, str, str]


class Commitment:
    """One piece of work, and the conversation that waits for it."""

    def __init__(self, key: Key | None, action: AgentAction) -> None:
        self.key, self.action = key, action
        self.doing: asyncio.Task[Answer]
        self._task: Participation | None = None
        self._ending: asyncio.TimerHandle | None = None

    @property
    def is_vain(self) -> bool:
        """Whether it has come to nothing."""
        if not self.doing.done():
            return False
        is_broken = self.doing.cancelled() or self.doing.exception() is not None
        return is_broken or isinstance(self.doing.result(), Refuse | Fail)

    def tell(self, notice: Predicate) -> None:
        """Let whoever waits for it know something."""
        if self._task is not None:
            self._task.tell(notice)

    async def answer(self, task: Participation) -> Answer:
        """Wait for it on behalf of a conversation, in place of the one before.

        Where its initiator cancels it is stopped. Where the initiator is gone it goes on, if a leader has
        ordered it, for as long as the next one may come.
        """
        if self._ending is not None:
            self._ending.cancel()
        if self._task is not None:
            self._task.leave(f"{task.initiator} leads now, and waits for this in its place")
        self._task = task
        try:
            return await asyncio.shield(self.doing)
        except asyncio.CancelledError:
            if self._task is task:
                self._task = None
                if self.key is None or task.cancel is not None:
                    self.doing.cancel()
                    await asyncio.wait({self.doing})
                elif not self.doing.done():
                    self._ending = asyncio.get_running_loop().call_later(FOLLOWED_WITHIN, self.doing.cancel)
            raise


class Commitments:
    """All that one agent has committed itself to.

    Args:
        submit: runs a coroutine as long as the agent lives.
    """

    def __init__(self, submit: Callable[[Coroutine[Any, Any, Answer]], asyncio.Task[Answer]]) -> None:
        self._submit = submit
        self._known: dict[Key, Commitment] = {}

    def find(self, task: Participation, name: TaskName | None) -> Commitment | None:
        """What is under way, or was done lately, for the group in whose name a conversation was begun."""
        key = _key(task, name)
        return None if key is None else self._known.get(key)

    def same(self, task: Participation, name: TaskName | None, action: AgentAction) -> Commitment | None:
        """As `find`, if it is this very action and not done in vain: it need not be done once more."""
        found = self.find(task, name)
        return None if found is None or found.is_vain or found.action != action else found

    async def fulfil(
        self, task: Participation, name: TaskName | None, action: AgentAction, work: Work
    ) -> Answer:
        """Do something on behalf of a conversation, unless it is being done already: then wait for that."""
        mine = self.same(task, name, action)
        return await (self._begin(_key(task, name), action, work) if mine is None else mine).answer(task)

    def _begin(self, key: Key | None, action: AgentAction, work: Work) -> Commitment:
        mine = Commitment(key, action)
        # In a context of its own: what it begins belongs to no conversation, each of which may end before it.
        mine.doing = Context().run(self._submit, work(mine.tell))
        if key is not None:
            self._known[key] = mine
            mine.doing.add_done_callback(lambda _doing: self._ended(key, mine))
        return mine

    def _ended(self, key: Key, mine: Commitment) -> None:
        if mine.doing.cancelled():
            self._forget(key, mine)
            return
        mine.doing.exception()  # whoever waits for it gets it; if nobody does, it is no news
        asyncio.get_running_loop().call_later(KEPT_FOR, self._forget, key, mine)
        done = [name for name, each in self._known.items() if each.doing.done()]
        for name in done[: max(0, len(done) - KEPT)]:
            del self._known[name]

    def _forget(self, key: Key, mine: Commitment) -> None:
        if self._known.get(key) is mine:
            del self._known[key]


def _key(task: Participation, name: TaskName | None) -> Key | None:
    """What a task is known by, if a leader orders it: it is its group's own."""
    office = office_of(task.message)
    return None if name is None or office is None else (office.group, name.client, name.id)
