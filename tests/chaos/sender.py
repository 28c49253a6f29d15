"""The sender: `python -m tests.chaos.sender NAME LIFE PLACE RECEIVERS SEED`; it is not killed.

It reads numbers from its standard input, and begins so many conversations each time; it says ``told N``
whenever another one has ended. At the end of its input it says ``over`` once nobody waits any more.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from behaviours.delivery import Delivered
from behaviours.outcomes import Outcome, Succeeded, sentence
from tests.chaos.agent import Historian, live, say
from tests.chaos.terms import Note, Relay, Result, Tender, Work

AT_ONCE = 40
"""Conversations under way at once."""

RESULT_WITHIN = 60.0
"""Seconds that a receiver is given for the result once it has agreed."""

LONGEST = 0.5
"""Seconds that a piece of work takes at most."""


class Sender(Historian):
    """Begins conversations and writes down what it is told of each."""

    def __init__(self, *args: Any, receivers: Sequence[str], seed: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self._receivers = [f"{each}@localhost" for each in receivers]
        self._dice = random.Random(seed)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._told = 0

    async def on_ready(self) -> None:
        """Begin."""
        self.submit(self._run())

    async def _run(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, reader), sys.stdin)
        number, tasks = 0, []
        while line := await reader.readline():
            for _each in range(int(line)):
                number += 1
                tasks.append(self.submit(self._one(f"k{number:05}", self._drawn())))
        await asyncio.gather(*tasks)
        say("over")

    def _drawn(self) -> tuple[str, float, list[str]]:
        kind = self._dice.choices(("request", "relay", "tender", "call", "note"), (5, 1, 2, 2, 2))[0]
        to = self._dice.sample(self._receivers, k=len(self._receivers))
        return kind, self._dice.uniform(0, LONGEST), to

    async def _one(self, key: str, drawn: tuple[str, float, list[str]]) -> None:
        kind, seconds, to = drawn
        async with self._room:
            # Whom it is for, and who may do it.
            self.history.write("asked", key=key, what=kind, to=to if kind == "call" else to[:1])
            how = {"reply_within": self.place.reply_within, "result_within": RESULT_WITHIN}
            match kind:
                case "request":
                    self._tell(key, await self.request(to[0], Work(key=key, seconds=seconds), **how))
                case "relay":
                    relay = Relay(key=key, seconds=seconds, to=to[1])
                    self._tell(key, await self.request(to[0], relay, **how))
                case "tender":
                    tender = Tender(key=key, seconds=seconds, to=tuple(to[1:]))
                    self._tell(key, await self.request(to[0], tender, **how))
                case "call":
                    await self._call(key, to, Work(key=key, seconds=seconds))
                case _:
                    done = await self.inform(to[0], Note(key=key))
                    is_acknowledged = isinstance(done, Delivered) and done.is_acknowledged
                    text = "" if isinstance(done, Delivered) else done.reason.text
                    how_ended = "acknowledged" if is_acknowledged else type(done).__name__
                    self.history.write("told", key=key, how=how_ended, text=text)
        self._told += 1
        say(f"told {self._told}")

    async def _call(self, key: str, to: Sequence[str], work: Work) -> None:
        within = {"reply_within": self.place.reply_within, "result_within": RESULT_WITHIN}
        outcome = await self.awarded(to, work, **within)
        if isinstance(outcome, str):
            self.history.write("told", key=key, how="Declined", token="", text=outcome)
        else:
            self._tell(key, outcome)

    def _tell(self, key: str, outcome: Outcome) -> None:
        token = ""
        if isinstance(outcome, Succeeded):
            assert isinstance(outcome.result, Result)
            token = outcome.result.token
        how, text = type(outcome).__name__, sentence(outcome)
        self.history.write("told", key=key, how=how, token=token, text=text)


if __name__ == "__main__":
    _file, name_, life_, place_, receivers_, seed_ = sys.argv
    kind_ = partial(Sender, receivers=receivers_.split(","), seed=int(seed_))
    asyncio.run(live(kind_, name_, int(life_), place_))
