"""fipa-subscribe: be told now and whenever it changes (FIPA00035)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from stage import Cook, Temperature, Temperatures, perform

from behaviours.handlers import publishes
from behaviours.outcomes import sentence
from behaviours.participating import Participation


# [example]
class Kettle(Cook):
    @publishes(Temperatures)
    async def heat(self, query: Temperatures, task: Participation) -> AsyncIterator[Temperature]:
        for celsius in range(20, 101, 20):
            yield Temperature(celsius=celsius)
            await asyncio.sleep(0.01)


async def play(cook: Cook) -> None:
    async with cook.subscribe("kettle@localhost", Temperatures()) as updates:
        async for update in updates:  # leaving the block earlier cancels
            match update:
                case Temperature(celsius=celsius):
                    print(f"{celsius:g} degrees")
                case ending:
                    print(sentence(ending))


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle)
