"""fipa-propose: offer to do something, and learn whether it is wanted (FIPA00036)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Boil, Cook, perform

from behaviours.handlers import considers
from behaviours.outcomes import Refuse, sentence
from behaviours.participating import Participation
from ontology.content import Done


# [example]
class Guest(Cook):
    @considers(Boil)
    async def consider(self, action: Boil, task: Participation) -> Done | Refuse:
        return Done() if action.litres >= 1 else Refuse("too-little", "that is not enough for two")


async def play(cook: Cook) -> None:
    for litres in (0.5, 1):
        print(f"{litres} l: {sentence(await cook.propose('guest@localhost', Boil(litres=litres)))}")


# [end]


if __name__ == "__main__":
    perform(play, guest=Guest)
