"""fipa-dutch-auction: sell units to whoever takes them first, while the price falls (FIPA00032)."""

# ruff: noqa: D101, D102, D103, T201 - the text beside it says what it is, and it prints

from __future__ import annotations

from stage import Cook, Teapot, perform

from behaviours.handlers import values
from behaviours.participating import Participation


# [example]
class Collector(Cook):
    @values(Teapot)
    async def value(self, lot: Teapot, task: Participation) -> float | None:
        task.units = 2  # how many of them we would take
        return 30.0


async def play(cook: Cook) -> None:
    auction = await cook.dutch_auction(
        ["collector@localhost"],
        Teapot(maker="Spode"),
        start=40,
        decrement=5,
        reserve=20,
        units=2,
        round_within=0.2,
    )
    for sold in auction.sales:
        print(f"{sold.winner}: {sold.units} at {sold.price:g} each")


# [end]


if __name__ == "__main__":
    perform(play, collector=Collector)
