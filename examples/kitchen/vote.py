"""locution-vote: agree on a value by quorum, and have every voter apply what was decided."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Boil, Cook, perform

from behaviours.handlers import decided, votes
from behaviours.outcomes import Failed, Refuse
from behaviours.participating import Participation
from ontology.content import Done


# [example]
class Guest(Cook):
    most, pot = 2.0, 1.0

    @votes(Boil)
    async def vote(self, action: Boil, task: Participation) -> Done | Refuse:
        return Done() if action.litres <= self.most else Refuse("too-much", "that is more than we drink")

    @decided(Boil)
    async def learn(self, action: Boil, task: Participation) -> None:
        if task.is_committed:
            self.pot = action.litres


class Thirsty(Guest):
    most = 6.0


async def play(cook: Cook) -> None:
    guests = ["ann@localhost", "bob@localhost", "cleo@localhost"]
    for litres in (5, 9):
        match await cook.call_for_votes(guests, Boil(litres=litres), quorum=2):
            case Failed(reason):
                print(reason.text)
            case decision if decision.is_committed:
                print(f"{litres} l: decided by {', '.join(decision.accepted)}")
            case decision:
                print(f"{litres} l: not decided, {len(decision.accepted)} were for it")


# [end]


if __name__ == "__main__":
    perform(play, ann=Thirsty, bob=Guest, cleo=Thirsty)
