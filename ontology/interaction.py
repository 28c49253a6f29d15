"""What the interaction protocols themselves talk about: truth, conditions, auctions, proxies, votes.

A message has one ontology. Where it is about something of another one, as an auction is about its lot,
that is `Nested`: the other term with the ontology that it is read with. Every agent understands these
terms beside its own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Concept, Ontology, Predicate
from ontology.management import DfAgentDescription


class Nested(Concept):
    """A term of another ontology."""

    ontology: str | None = None
    """As in a message's ontology parameter."""
    content: Annotated[dict[str, Any], Field(min_length=1, max_length=1)]
    """One key, the term's tag, as in a message's content."""


class Truth(Predicate):
    """The answer to a query-if (FIPA00027)."""

    value: bool


class When(Predicate):
    """The content of a request-when (FIPA00028): do this once that has become true."""

    action: Nested
    condition: Nested


class AuctionStarted(Predicate):
    """The inform that opens an auction (FIPA00031, FIPA00032)."""

    lot: Nested
    units: Annotated[int, Field(ge=1)] = 1


class PriceCall(Predicate):
    """The cfp of one round: who gives that much for a unit?"""

    price: float
    round: Annotated[int, Field(ge=1)]
    units: Annotated[int, Field(ge=1)] = 1
    """Units that are left."""
    standing: str | None = None
    """Who holds the highest bid so far, in an English auction."""


class PriceBid(Predicate):
    """The propose of a bidder: I do."""

    price: float
    units: Annotated[int, Field(ge=1)] = 1


class AuctionEnded(Predicate):
    """The inform that closes an auction."""

    sold: Annotated[int, Field(ge=0)]
    """Units that were sold."""
    price: float | None = None
    """The last price that was accepted; None if there was no bid."""
    winner: str | None = None


class Sale(AgentAction):
    """The request that completes an English auction, and what `hears` tells a winner."""

    lot: Nested
    price: float
    units: Annotated[int, Field(ge=1)] = 1


class Proxy(AgentAction):
    """The content of a proxy (FIPA00033, FIPA00034): who is to be found, and what to say to them."""

    template: DfAgentDescription
    """The agents that are wanted, as in a search of the directory."""
    performative: Literal["request", "query-if", "query-ref", "inform"] = "request"
    """The act of the embedded message."""
    message: Nested
    """The content of the embedded message."""
    most: Annotated[int, Field(ge=1)] | None = None
    """How many of the agents found are addressed at most."""
    designated: tuple[AgentIdentifier, ...] = ()
    """Who is to get the replies in recruiting, instead of the initiator."""


class ProxyDone(Predicate):
    """The inform that tells that the embedded message has gone out."""

    targets: tuple[str, ...]


class ProxyEnded(Predicate):
    """Tells beside the protocol that no more replies will come."""

    replies: Annotated[int, Field(ge=0)]


class Announcement(Predicate):
    """What a member of a task group tells all others. Since 1.1."""

    group: Annotated[str, Field(min_length=1, max_length=100)]
    id: Annotated[str, Field(min_length=1, max_length=64)]
    """Its announcer's own: should it come in two ways it is heard once."""
    content: Nested


class Committed(Predicate):
    """The inform that tells a voter that the value which it was asked about holds. Since 1.1."""


class Aborted(Predicate):
    """The inform that tells a voter that it does not. Since 1.1."""


INTERACTION = Ontology(
    name="locution-interaction",
    version=(1, 1),
    terms=(
        Nested, Truth, When, AuctionStarted, PriceCall, PriceBid, AuctionEnded, Sale,
        Proxy, ProxyDone, ProxyEnded, Announcement, Committed, Aborted,
    ),
)  # fmt: skip
"""The terms that every agent understands beside those of its own ontologies."""
