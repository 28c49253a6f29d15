"""Which descriptions a template finds (FIPA00023, 4.2.4.1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontology.aid import AgentIdentifier
from ontology.management import DfAgentDescription, Search, ServiceDescription, matches
from tests.ontology.strategies import EXAMPLES, descriptions, identifiers, services, words

SETS = ("protocols", "ontologies", "languages")


def naive(template: DfAgentDescription, description: DfAgentDescription) -> bool:
    """Look at every element, one by one."""
    if template.name is not None:
        if description.name is None:
            return False
        if template.name.name != description.name.name:
            return False
    if template.key is not None and template.key != description.key:
        return False
    for each in SETS:
        for wanted in getattr(template, each):
            if wanted not in getattr(description, each):
                return False
    for wanted in template.services:
        found = False
        for had in description.services:
            found = found or naive_service(wanted, had)
        if not found:
            return False
    return True


def naive_service(wanted: ServiceDescription, had: ServiceDescription) -> bool:
    for each in ("name", "type", "ownership"):
        if getattr(wanted, each) is not None and getattr(wanted, each) != getattr(had, each):
            return False
    for each in SETS:
        for element in getattr(wanted, each):
            if element not in getattr(had, each):
                return False
    for name in wanted.properties:
        if name not in had.properties or had.properties[name] != wanted.properties[name]:
            return False
    return True


@EXAMPLES
@given(descriptions, descriptions)
def test_as_the_naive_reading_has_it(template, description):
    assert matches(template, description) is naive(template, description)


@EXAMPLES
@given(descriptions, descriptions, st.data())
def test_a_part_of_a_description_finds_it(description, other, data):
    """So that the test above does not only see templates that find nothing."""
    service = data.draw(st.sampled_from(description.services)) if description.services else None
    template = DfAgentDescription(
        name=data.draw(st.sampled_from([None, description.name])),
        services=() if service is None else (service.model_copy(update={"name": None, "languages": ()}),),
        protocols=description.protocols[:1],
    )
    assert matches(template, description)
    assert matches(template, other) is naive(template, other)


@EXAMPLES
@given(descriptions)
def test_a_description_finds_itself(description):
    assert matches(description, description)


@EXAMPLES
@given(descriptions)
def test_the_empty_template_finds_everything(description):
    assert matches(DfAgentDescription(), description)
    assert matches(Search().template, description)


@EXAMPLES
@given(descriptions, descriptions, descriptions)
def test_what_a_part_of_a_part_finds(template, between, description):
    if matches(template, between) and matches(between, description):
        assert matches(template, description)


NARROWINGS: dict[str, Callable[[DfAgentDescription, st.DataObject], DfAgentDescription]] = {
    "name": lambda each, data: each.model_copy(update={"name": each.name or data.draw(identifiers)}),
    "services": lambda each, data: each.model_copy(
        update={"services": (*each.services, data.draw(services))}
    ),
    **{
        name: lambda each, data, name=name: each.model_copy(
            update={name: (*getattr(each, name), data.draw(words))}
        )
        for name in SETS
    },
}


@EXAMPLES
@given(descriptions, descriptions, st.data())
def test_one_more_constraint_never_finds_more(template, description, data):
    if not matches(template, description):
        for what, narrow in NARROWINGS.items():
            assert not matches(narrow(template, data), description), what


@EXAMPLES
@given(services, descriptions, words, words)
def test_one_more_property_never_finds_more(service, description, name, value):
    narrower = service.model_copy(
        update={"properties": {**service.properties, name: service.properties.get(name, value)}}
    )
    if matches(DfAgentDescription(services=(narrower,)), description):
        assert matches(DfAgentDescription(services=(service,)), description)


def test_the_address_does_not_matter():
    template = DfAgentDescription(name=AgentIdentifier.of("Ann@a.org/desk"))
    assert matches(template, DfAgentDescription(name=AgentIdentifier.of("ann@a.org")))
    assert not matches(template, DfAgentDescription())
    assert not matches(template, DfAgentDescription(name=AgentIdentifier.of("bob@a.org")))


def test_the_lease_does_not_matter():
    assert matches(DfAgentDescription(lease_time=5), DfAgentDescription())


def test_one_service_has_to_have_it_all():
    wanted = ServiceDescription(type="train", languages=("json",))
    apart = (ServiceDescription(type="train"), ServiceDescription(type="predict", languages=("json",)))
    assert not matches(DfAgentDescription(services=(wanted,)), DfAgentDescription(services=apart))
    assert matches(DfAgentDescription(services=(wanted,)), DfAgentDescription(services=(*apart, wanted)))


@pytest.mark.parametrize(
    ("field", "wanted", "other"),
    [
        ("name", "digits", "words"),
        ("type", "train", "predict"),
        ("ownership", "ann", "bob"),
        ("protocols", ("fipa-request",), ("fipa-query",)),
        ("ontologies", ("locution-learning",), ()),
        ("languages", ("json",), ("sl",)),
        ("properties", {"device": "cuda"}, {"device": "cpu"}),
        ("properties", {"device": "cuda"}, {"speed": "cuda"}),
        ("properties", {"device": "cuda"}, {}),
    ],
)
def test_each_field_of_a_service_counts(field, wanted, other):
    template = DfAgentDescription(services=(ServiceDescription(**{field: wanted}),))
    right = ServiceDescription(**{"name": "x", "type": "y", field: wanted})
    wrong = ServiceDescription(**{"name": "x", "type": "y", field: other})
    assert matches(template, DfAgentDescription(services=(right,)))
    assert matches(template, DfAgentDescription(services=(wrong, right)))
    assert not matches(template, DfAgentDescription(services=(wrong,)))
    assert not matches(template, DfAgentDescription())
