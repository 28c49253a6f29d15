"""The directory's terms: descriptions of agents and services, and the actions on them (FIPA00023, 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Concept, Ontology, Predicate


class ServiceDescription(Concept):
    """One service of an agent. In a search template an absent field matches anything."""

    name: str | None = None
    type: str | None = None
    protocols: tuple[str, ...] = ()
    ontologies: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    ownership: str | None = None
    properties: Mapping[str, str] = Field(default_factory=dict)


class DfAgentDescription(Concept):
    """What the directory knows of an agent. A registration needs a name; a search template does not."""

    name: AgentIdentifier | None = None
    services: tuple[ServiceDescription, ...] = ()
    protocols: tuple[str, ...] = ()
    ontologies: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    lease_time: Annotated[float, Field(gt=0)] | None = None
    """For how many seconds the registration holds; without it the directory's longest."""
    key: str | None = None
    """The public key that the agent signs its messages with: ``ed25519:`` and base64. Since 1.1."""


class SearchConstraints(Concept):
    """How far and how much to search."""

    max_depth: Annotated[int, Field(ge=0)] = 0
    """Over how many federated directories to pass the search on; 0 asks this one only."""
    max_results: Annotated[int, Field(ge=1)] | None = None
    search_id: str | None = None


class Register(AgentAction):
    """Add a description. Fails with already-registered."""

    description: DfAgentDescription


class Deregister(AgentAction):
    """Remove one's description. Fails with not-registered."""

    name: AgentIdentifier


class Modify(AgentAction):
    """Replace one's description, which also renews the lease. Fails with not-registered."""

    description: DfAgentDescription


DEFAULT_RESULTS = 1000
"""Descriptions that a search returns at most, where it does not say how many."""


class Search(AgentAction):
    """Find the descriptions that a template matches."""

    template: DfAgentDescription = DfAgentDescription()
    constraints: SearchConstraints = SearchConstraints()


class Found(Predicate):
    """The result of `Search`, ordered by name."""

    descriptions: tuple[DfAgentDescription, ...]


class Registered(Predicate):
    """The result of `Register` and `Modify`: the lease that was granted, in seconds."""

    lease_time: Annotated[float, Field(gt=0)]


class Replay(AgentAction):
    """Do again what came to nothing, as far as that is still allowed; for the operator only. Since 1.2.

    FIPA leaves it to the platform. Fails where there is no such letter, or it is too late.
    """

    letter: Annotated[str, Field(min_length=1, max_length=1000)]
    """What the agent's dead letter is filed under."""
    again: bool = False
    """Whether to say it again even where its receiver may have had it and forgotten that. Since 1.3."""


class Replayed(Predicate):
    """The result of `Replay`; the letter is dropped."""

    letter: str
    done: Literal["sent", "cancelled", "handled"]
    """Whether it was sent again, called off by a cancel, or handled by the agent that had received it."""
    text: str
    """One sentence for people."""


MANAGEMENT = Ontology(
    name="fipa-agent-management",
    version=(1, 3),
    terms=(
        Register, Deregister, Modify, Search, Found, Registered, Replay, Replayed,
        DfAgentDescription, ServiceDescription, SearchConstraints,
    ),
)  # fmt: skip
"""The ontology of the directory, under FIPA's name."""


def matches(template: DfAgentDescription, description: DfAgentDescription) -> bool:
    """Whether a template is a sub-structure of a description (FIPA00023, 4.2.4.1).

    An absent field matches anything; every element of a set must be there; every service of the
    template must match some service of the description; a property must have the same value.
    """
    if template.name is not None and (
        description.name is None or not template.name.is_same_agent(description.name)
    ):
        return False
    return (
        template.key in {None, description.key}
        and set(template.protocols) <= set(description.protocols)
        and set(template.ontologies) <= set(description.ontologies)
        and set(template.languages) <= set(description.languages)
        and all(any(_serves(wanted, had) for had in description.services) for wanted in template.services)
    )


def _serves(wanted: ServiceDescription, had: ServiceDescription) -> bool:
    return (
        wanted.name in {None, had.name}
        and wanted.type in {None, had.type}
        and wanted.ownership in {None, had.ownership}
        and set(wanted.protocols) <= set(had.protocols)
        and set(wanted.ontologies) <= set(had.ontologies)
        and set(wanted.languages) <= set(had.languages)
        and wanted.properties.items() <= had.properties.items()
    )
