"""fipa-iterated-contract-net: call again until an offer is good enough (FIPA00030)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from collections.abc import Sequence

from stage import Boil, Cook, Offer, perform

from behaviours.contracting import Proposal
from behaviours.handlers import bids, on
from behaviours.participating import Participation
from ontology.content import Done


# [example]
class Kettle(Cook):
    minutes = 8.0

    @bids(Boil)
    async def offer(self, action: Boil, task: Participation) -> Offer:
        self.minutes -= 2  # each round a better offer
        return Offer(minutes=self.minutes)

    @on(Boil)
    async def boil(self, action: Boil, task: Participation) -> Done:
        return Done()


def quickest(proposals: Sequence[Proposal]) -> list[Proposal]:
    return sorted(proposals, key=lambda each: each.term.minutes)[:1]


def revise(proposals: Sequence[Proposal]) -> Boil | None:
    best = quickest(proposals)[0].term.minutes
    print(f"offered: {best:g} minutes")
    return Boil(litres=1) if best > 3 else None


async def play(cook: Cook) -> None:
    kettles = ["kettle@localhost", "other@localhost"]
    contract = await cook.call_for_proposals(kettles, Boil(litres=1), quickest, revise=revise)
    print(f"awarded: {len(contract.awards)}")


# [end]


if __name__ == "__main__":
    perform(play, kettle=Kettle, other=Kettle)
