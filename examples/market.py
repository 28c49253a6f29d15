"""A market: stalls say in the directory what they sell, and a broker asks all that sell what is wanted.

::

    locution up --file examples/market.toml
    locution send customer request '{"compare": {"goods": "apples"}}' --file examples/market.toml
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.base import LocutionAgent
from agents.registered import RegisteredAgent
from behaviours.brokering import Brokered
from behaviours.handlers import answers, on
from behaviours.outcomes import Answer, Fail, Succeeded, sentence
from behaviours.participating import Participation
from ontology.content import AgentAction, Ontology, Predicate
from ontology.management import DfAgentDescription, ServiceDescription


class PriceOf(Predicate):
    """A question: what does it cost?"""

    goods: str


class Price(Predicate):
    """That much for a kilogram."""

    euros: float


class Compare(AgentAction):
    """Find out what it costs everywhere."""

    goods: str


class Prices(Predicate):
    """Stall to price."""

    euros: Mapping[str, float]


MARKET = Ontology(name="market", version=(1, 0), terms=(PriceOf, Price, Compare, Prices))


class Stall(RegisteredAgent):
    """Sells one kind of goods, and stands in the directory for it."""

    ontologies = (MARKET,)

    def __init__(self, *who: Any, directory: str, goods: str, price: float) -> None:
        super().__init__(*who, directory=directory)
        self.goods, self.price = goods, price

    def services(self) -> tuple[ServiceDescription, ...]:
        """What others find it by."""
        return (ServiceDescription(name=self.goods, type="selling"),)

    @answers(PriceOf)
    async def tell(self, _query: PriceOf, _task: Participation) -> Answer:
        """Tell the price."""
        return Price(euros=self.price)


class Customer(LocutionAgent):
    """Compares prices, and knows nobody but the broker."""

    ontologies = (MARKET,)

    def __init__(self, *who: Any, broker: str) -> None:
        super().__init__(*who)
        self.broker_of_ours = f"{broker}@{self.jid.domain}"

    @on(Compare)
    async def compare(self, wanted: Compare, _task: Participation) -> Answer:
        """Have everybody asked that sells such a thing."""
        sellers = DfAgentDescription(services=(ServiceDescription(name=wanted.goods, type="selling"),))
        question = PriceOf(goods=wanted.goods)
        asked = await self.broker(self.broker_of_ours, sellers, question, performative="query-ref")
        if not isinstance(asked, Brokered):
            return Fail("not-for-sale", sentence(asked))
        told = {name: each.result for name, each in asked.replies.items() if isinstance(each, Succeeded)}
        return Prices(euros={name: each.euros for name, each in told.items() if isinstance(each, Price)})
