"""fipa-english-auction: sell to whoever pays most (FIPA00031)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Cook, Teapot, perform

from behaviours.handlers import hears, values
from behaviours.participating import Participation
from ontology.aid import AgentIdentifier
from ontology.interaction import Sale


# [example]
class Collector(Cook):
    purse = 30.0

    @values(Teapot)
    async def value(self, lot: Teapot, task: Participation) -> float | None:
        return self.purse if task.call.price <= self.purse else None  # None leaves the auction

    @hears(Sale)
    def buy(self, sale: Sale, seller: AgentIdentifier) -> None:
        print(f"{self.me.local_name}: I pay {sale.price:g}")


class Rich(Collector):
    purse = 100.0


async def play(cook: Cook) -> None:
    bidders = ["collector@localhost", "rich@localhost"]
    auction = await cook.english_auction(bidders, Teapot(maker="Spode"), start=20, increment=5, reserve=25)
    print(f"sold for {auction.highest:g} after {auction.rounds} rounds" if auction.sales else "not sold")


# [end]


if __name__ == "__main__":
    perform(play, collector=Collector, rich=Rich)
