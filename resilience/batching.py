"""What the tasks of an event loop ask a store for within one turn goes there together.

One batch is under way at a time; what comes up meanwhile makes the next one. So fifty commits at once cost
one transaction or one round trip, and a single one waits for nobody. Where several have gone together, the
next batch is let grow as long as it does: most of the cost is that of a batch, not of what is in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

CarryOut = Callable[[list[Item]], Awaitable[Sequence[Any]]]
"""Does a batch, in order: the result of each, or the exception that it ends in; or raises for all."""

MOST = 500
"""Items of one batch: so few that it takes no noticeable time."""


QUIET = 3
"""Rounds of the event loop in which a batch has not grown, and goes."""


class Batches(Generic[Item]):
    """The way to a store that answers batches. For one event loop.

    Args:
        carry_out: does a batch.
    """

    def __init__(self, carry_out: CarryOut[Item]) -> None:
        self._carry_out = carry_out
        self._asked: list[tuple[Item, asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Any:
        """Have an item done; its result. Cancelling leaves open whether it is done."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._asked.append((item, answer))
        if self._task is None:
            # A task begins after those that are ready now, which may ask as well.
            self._task = loop.create_task(self._run())
        return await answer

    async def drained(self) -> None:
        """Return once all that was asked for has been done."""
        while self._task is not None:
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        try:
            while self._asked:
                batch, self._asked = self._asked[:MOST], self._asked[MOST:]
                await self._do(batch)
                if len(batch) > 1:
                    await self._grow()
        finally:
            self._task = None

    async def _grow(self) -> None:
        """Wait while more is asked for."""
        quiet = 0
        while quiet < QUIET and len(self._asked) < MOST:
            before = len(self._asked)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._asked) == before else 0

    async def _do(self, batch: list[tuple[Item, asyncio.Future[Any]]]) -> None:
        results: Sequence[Any] = ()
        try:
            results = await self._carry_out([item for item, _answer in batch])
        except Exception as error:  # noqa: BLE001 - whoever asked is told, whatever it is
            results = [error] * len(batch)
        finally:
            for (_item, answer), result in zip(batch, results, strict=False):
                if answer.done():  # whoever asked was cancelled
                    continue
                if isinstance(result, BaseException):
                    answer.set_exception(result)
                else:
                    answer.set_result(result)
            for _item, answer in batch[len(results) :]:  # the loop is being shut down
                answer.cancel()
