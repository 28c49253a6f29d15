"""A society of one's own: a shop that has its parcels delivered by whoever asks least for it.

::

    locution up --file examples/parcels.toml
    locution send shop request '{"deliver": {"parcel": "book", "kilograms": 2}}' --file examples/parcels.toml
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from agents.base import LocutionAgent
from behaviours.contracting import Proposal
from behaviours.handlers import bids, on
from behaviours.outcomes import Answer, Fail, Refuse, Succeeded, sentence
from behaviours.participating import Participation
from ontology.content import AgentAction, Ontology, Predicate


class Deliver(AgentAction):
    """Bring a parcel to its receiver."""

    parcel: str
    kilograms: Annotated[float, Field(gt=0)]


class Offer(Predicate):
    """What a carrier asks for it."""

    euros: float


class Delivered(Predicate):
    """The parcel has arrived."""

    parcel: str
    carrier: str


PARCELS = Ontology(name="parcels", version=(1, 0), terms=(Deliver, Offer, Delivered))


class Carrier(LocutionAgent):
    """Delivers parcels. Its options stand in the society file."""

    ontologies = (PARCELS,)

    def __init__(self, *who: Any, price: float, strength: float) -> None:
        super().__init__(*who)
        self.price, self.strength = price, strength

    @bids(Deliver)
    async def bid(self, parcel: Deliver, _task: Participation) -> Answer:
        """Answer a call for proposals."""
        if parcel.kilograms > self.strength:
            return Refuse("too-heavy", f"{parcel.kilograms} kg is more than {self.strength} kg")
        return Offer(euros=self.price * parcel.kilograms)

    @on(Deliver)
    async def deliver(self, parcel: Deliver, _task: Participation) -> Answer:
        """Do it, once the proposal is accepted."""
        return Delivered(parcel=parcel.parcel, carrier=self.name)


class Shop(LocutionAgent):
    """Takes requests and contracts them out."""

    ontologies = (PARCELS,)

    def __init__(self, *who: Any, carriers: tuple[str, ...]) -> None:
        super().__init__(*who)
        self.carriers = [f"{name}@{self.jid.domain}" for name in carriers]

    @on(Deliver)
    async def deliver(self, parcel: Deliver, _task: Participation) -> Answer:
        """Call for proposals among the carriers and pass the winner's result on."""
        contract = await self.call_for_proposals(self.carriers, parcel, cheapest, reply_within=5.0)
        for outcome in contract.awards.values():
            match outcome:
                case Succeeded(result=result):
                    return result
                case _:
                    return Fail("not-delivered", sentence(outcome))
        told = "; ".join(f"{name}: {sentence(why)}" for name, why in contract.declined.items())
        return Fail("no-carrier", f"no carrier takes it: {told}")


def cheapest(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Choose the lowest offer."""
    offers = [(each.term.euros, each) for each in proposals if isinstance(each.term, Offer)]
    return [min(offers, key=lambda offer: offer[0])[1]] if offers else []
