"""fipa-request-when: ask for something to be done once a condition has become true (FIPA00028)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

import asyncio

from stage import Boil, Cook, IsEmpty, perform

from behaviours.handlers import holds, on
from behaviours.outcomes import sentence
from behaviours.participating import Participation
from ontology.content import Done


# [example]
class Kettle(Cook):
    @holds(IsEmpty)
    async def until_empty(self, condition: IsEmpty, task: Participation) -> None:
        await asyncio.sleep(0.1)  # until somebody has poured it out
        print("kettle: now I am empty")

    @on(Boil)
    async def boil(self, action: Boil, task: Participation) -> Done:
        return Done()


async def play(cook: Cook) -> None:
    outcome = await cook.request_when("kettle@localhost", Boil(litres=1), IsEmpty())
    print(f"cook: {sentence(outcome)}")


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle)
