"""fipa-contract-net: let several agents offer, and award the best (FIPA00029)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Boil, Cook, Offer, perform

from behaviours.handlers import bids, on
from behaviours.outcomes import sentence
from behaviours.participating import Participation
from ontology.content import Done


# [example]
class Kettle(Cook):
    minutes = 3.0

    @bids(Boil)
    async def offer(self, action: Boil, task: Participation) -> Offer:
        return Offer(minutes=self.minutes * action.litres)

    @on(Boil)
    async def boil(self, action: Boil, task: Participation) -> Done:
        return Done()


class OldKettle(Kettle):
    minutes = 9.0


async def play(cook: Cook) -> None:
    contract = await cook.call_for_proposals(
        ["kettle@localhost", "old@localhost"],
        Boil(litres=1),
        lambda proposals: sorted(proposals, key=lambda each: each.term.minutes)[:1],
    )
    for name, outcome in contract.awards.items():
        print(f"{name}: {sentence(outcome)}")


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle, old=OldKettle)
