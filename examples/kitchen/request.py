"""fipa-request: ask one agent to do something (FIPA00026)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Boil, Cook, Temperature, perform

from behaviours.handlers import on
from behaviours.outcomes import Refuse, Succeeded, sentence
from behaviours.participating import Participation


# [example]
class Kettle(Cook):
    @on(Boil)
    async def boil(self, action: Boil, task: Participation) -> Temperature | Refuse:
        return Temperature(celsius=100) if action.litres < 2 else Refuse("too-much", "I hold two litres")


async def play(cook: Cook) -> None:
    for litres in (1, 5):
        match await cook.request("kettle@localhost", Boil(litres=litres)):
            case Succeeded(result=Temperature(celsius=celsius)):
                print(f"{litres} l: it has {celsius:g} degrees")
            case outcome:
                print(f"{litres} l: {sentence(outcome)}")


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle)
