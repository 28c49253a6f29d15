"""fipa-query: ask whether something holds, or what fits a description (FIPA00027)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Cook, IsEmpty, Temperature, Temperatures, perform

from behaviours.handlers import answers, confirms
from behaviours.outcomes import Succeeded, sentence
from behaviours.participating import Participation


# [example]
class Kettle(Cook):
    @confirms(IsEmpty)
    async def is_empty(self, proposition: IsEmpty, task: Participation) -> bool:
        return False

    @answers(Temperatures)
    async def measure(self, query: Temperatures, task: Participation) -> Temperature:
        return Temperature(celsius=20.5)


async def play(cook: Cook) -> None:
    is_empty = await cook.query_if("kettle@localhost", IsEmpty())
    how_warm = await cook.query_ref("kettle@localhost", Temperatures())
    for outcome in (is_empty, how_warm):
        print(outcome.result if isinstance(outcome, Succeeded) else sentence(outcome))


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle)
