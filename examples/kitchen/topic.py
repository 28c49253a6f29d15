"""Topics: publish for whoever reads, without knowing who does (XEP-0060)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Boil, Cook, IsEmpty, Temperature, perform

from behaviours.delivery import Undelivered
from behaviours.handlers import on, reads
from behaviours.outcomes import sentence
from behaviours.participating import Participation
from ontology.aid import AgentIdentifier
from ontology.content import Done


# [example]
class Kettle(Cook):
    @on(Boil)
    async def boil(self, action: Boil, task: Participation) -> Done:
        for celsius in (20, 60, 100):
            match await self.publish("temperatures", Temperature(celsius=celsius)):
                case Undelivered(reason=reason):
                    print(reason.text)
        return Done()


class Guest(Cook):
    @reads("temperatures", Temperature)
    async def wait(self, update: Temperature, publisher: AgentIdentifier | None) -> None:
        print(f"guest: {publisher} says {update.celsius:g} degrees")
        if update.celsius >= 100:
            await self.publish("pot", IsEmpty(), shared=True)  # others may publish to it as well


async def play(cook: Cook) -> None:
    async with cook.read("pot") as updates:  # leaving the block ends the reading
        await cook.request("kettle@localhost", Boil(litres=1))
        async for update in updates:
            match update:
                case IsEmpty():
                    print("cook: the pot is empty")
                    break
                case ending:
                    print(sentence(ending))


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle, guest=Guest)
