"""Ontologies for other programs: JSON Schema, and OWL that rdflib reads back."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from pydantic import Field

from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Concept, Ontology, Predicate
from ontology.export import field_comments, iri, json_schema
from ontology.interaction import INTERACTION
from ontology.management import MANAGEMENT
from ontology.tasks import LEARNING
from tests.ontology.strategies import FEW, TERMS
from tests.requirements import require

HAS_RDFLIB = importlib.util.find_spec("rdflib") is not None
EACH = pytest.mark.parametrize("ontology", [LEARNING, MANAGEMENT, INTERACTION], ids=lambda each: each.name)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Place(Concept):
    """Somewhere."""

    name: str
    """How people call it."""


class Garage(Place):
    """A place for buses."""

    lots: int


class Passenger(Concept):
    """Who rides."""

    age: Annotated[int, Field(ge=0, description="In years.")]
    born: date | None = None


class Trip(AgentAction):
    """Ride from place to place.

    And back.
    """

    origin: Place
    """Where it begins."""
    via: tuple[Place, ...] = ()
    goal: Place | Garage | None = None
    driver: AgentIdentifier | None = None
    who: list[Passenger]
    colour: Colour = Colour.RED
    side: Literal["left", "right"]
    price: float = 0
    paid: bool
    notes: tuple[str, ...] = ()
    seats: dict[str, int] = Field(default_factory=dict)
    grid: tuple[tuple[int, ...], ...] = ()
    when: datetime
    label: int | str
    either: str | Place = ""
    named: str = Field(default="", alias="full-name")


class Over(Predicate):
    """It is over."""


TRIPS = Ontology(name="trips", version=(3, 1), terms=(Trip, Garage, Place, Over))


def references(value: object) -> Iterator[str]:
    match value:
        case dict():
            for name, each in value.items():
                if name == "$ref":
                    yield each
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)


class Checker:
    """The part of JSON Schema that pydantic writes for our terms; not a validator for others."""

    TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}  # noqa: RUF012

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def fits(self, schema: dict[str, Any], value: Any) -> bool:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            return self.fits(self.document["$defs"][name], value)
        if "anyOf" in schema:
            return any(self.fits(each, value) for each in schema["anyOf"])
        kind = schema.get("type")
        if kind in {"integer", "number"}:
            if isinstance(value, bool) or not isinstance(value, int if kind == "integer" else (int, float)):
                return False
        elif kind is not None and not isinstance(value, self.TYPES[kind]):
            return False
        if value not in schema.get("enum", [value]) or not re.search(schema.get("pattern", ""), str(value)):
            return False
        if kind == "array":
            return all(self.fits(schema.get("items", {}), each) for each in value)
        if kind == "object":
            return self._has_fields(schema, value)
        return True

    def _has_fields(self, schema: dict[str, Any], value: dict[str, Any]) -> bool:
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        if not set(schema.get("required", ())) <= set(value):
            return False
        return all(
            self.fits(known[name], each) if name in known else others is not False and self.fits(others, each)
            for name, each in value.items()
        )


class TestJsonSchema:
    @EACH
    def test_it_is_one_document_of_terms_by_tag(self, ontology):
        document = json_schema(ontology)
        assert json.loads(json.dumps(document)) == document
        assert document["title"] == ontology.label
        assert document["$id"] == f"urn:locution:ontology:{ontology.label.replace('/', ':')}"
        assert set(document["properties"]) == set(ontology.by_tag) <= set(document["$defs"])
        assert {each.removeprefix("#/$defs/") for each in references(document)} <= set(document["$defs"])
        assert all(each["additionalProperties"] is False for each in document["$defs"].values())

    def test_what_terms_are_made_of_is_there_too(self):
        assert "AgentIdentifier" in json_schema(MANAGEMENT)["$defs"]
        definitions = json_schema(TRIPS)["$defs"]
        assert {"trip", "place", "garage", "Passenger", "AgentIdentifier", "Colour"} <= set(definitions)
        assert definitions["trip"]["properties"]["origin"]["$ref"] == "#/$defs/place"
        assert definitions["trip"]["required"] == ["origin", "who", "side", "paid", "when", "label"]

    def test_docstrings_are_descriptions(self):
        definitions = json_schema(TRIPS)["$defs"]
        assert definitions["trip"]["description"] == "Ride from place to place.\n\nAnd back."
        assert definitions["trip"]["properties"]["origin"]["description"] == "Where it begins."
        assert definitions["garage"]["properties"]["name"]["description"] == "How people call it."
        assert definitions["Passenger"]["properties"]["age"]["description"] == "In years."
        train = json_schema(LEARNING)["$defs"]["train"]["properties"]
        assert train["target"]["description"] == "The column to predict."
        assert "full-name" in definitions["trip"]["properties"]

    def test_without_a_source_there_are_no_docstrings(self):
        made = type("Made", (Place,), {"__module__": "nowhere"})
        assert field_comments(made) == {"name": "How people call it."}

    @pytest.mark.parametrize("tag", sorted(LEARNING.by_tag))
    def test_whatever_is_said_fits(self, tag):
        document = json_schema(LEARNING)
        checker = Checker(document)

        @FEW
        @given(TERMS[LEARNING.by_tag[tag]])
        def fits(term):
            content = json.loads(LEARNING.render(term))
            assert checker.fits(document, content)
            assert not checker.fits(document, {tag: {**content[tag], "colour": 1}})

        fits()

    def test_a_type_without_a_word_is_told(self):
        class Opaque:
            pass

        class Odder(Concept):
            model_config = {"arbitrary_types_allowed": True}  # noqa: RUF012
            matter: Opaque

        with pytest.raises(ValueError, match="Cannot generate a JsonSchema"):
            json_schema(Ontology(name="odd", version=(1, 0), terms=(Odder,)))

    def test_names_are_safe_in_an_iri(self):
        odd = Ontology(name='a b<c>"ü', version=(1, 0), terms=())
        assert iri(odd) == "urn:locution:ontology:a%20b%3Cc%3E%22%C3%BC"


@pytest.fixture
def rdf() -> Any:
    require(HAS_RDFLIB, "rdflib (the extra `owl`)")
    return importlib.import_module("rdflib")


class Read:
    """An ontology that was written and read back."""

    def __init__(self, rdf: Any, ontology: Ontology) -> None:
        from ontology.owl import to_turtle  # noqa: PLC0415 - an extra

        self.rdf, self.text = rdf, to_turtle(ontology)
        self.graph = rdf.Graph().parse(data=self.text, format="turtle")
        self.iri = rdf.URIRef(iri(ontology))
        self.names = rdf.Namespace(f"{self.iri}#")

    def has(self, subject: str, predicate: Any, value: Any) -> bool:
        return (self.names[subject], predicate, value) in self.graph

    def range(self, name: str) -> Any:
        return self.graph.value(self.names[name], self.rdf.RDFS.range)

    def listed(self, node: Any, predicate: Any) -> list[Any]:
        collection = importlib.import_module("rdflib.collection").Collection
        return list(collection(self.graph, self.graph.value(node, predicate)))

    def cardinality(self, tag: str, field: str) -> tuple[str, int] | None:
        owl, rdfs = self.rdf.OWL, self.rdf.RDFS
        for node in self.graph.objects(self.names[tag], rdfs.subClassOf):
            if (node, owl.onProperty, self.names[f"{tag}.{field}"]) in self.graph:
                assert (node, self.rdf.RDF.type, owl.Restriction) in self.graph
                for how in (owl.cardinality, owl.maxCardinality):
                    if (value := self.graph.value(node, how)) is not None:
                        return str(how).rpartition("#")[2], value.toPython()
        return None


class TestOwl:
    @EACH
    def test_every_term_and_field_is_there(self, rdf, ontology):
        read = Read(rdf, ontology)
        version = ontology.label.partition("/")[2]
        assert (read.iri, rdf.RDF.type, rdf.OWL.Ontology) in read.graph
        assert read.graph.value(read.iri, rdf.OWL.versionInfo).toPython() == version
        assert read.graph.value(read.iri, rdf.OWL.versionIRI) == rdf.URIRef(f"{read.iri}:{version}")
        for tag, term in ontology.by_tag.items():
            assert read.has(tag, rdf.RDF.type, rdf.OWL.Class)
            assert read.has(tag, rdf.RDFS.label, rdf.Literal(tag))
            (kind,) = {Concept, Predicate, AgentAction} & set(term.__mro__)
            shared = rdf.URIRef(f"urn:locution:ontology#{kind.__name__}")
            assert read.has(tag, rdf.RDFS.subClassOf, shared)
            for field in term.model_fields:
                assert read.has(f"{tag}.{field}", rdf.RDFS.domain, read.names[tag])
                assert read.range(f"{tag}.{field}") is not None

    def test_it_is_the_same_text_each_time(self, rdf):
        assert Read(rdf, TRIPS).text == Read(rdf, TRIPS).text

    def test_what_is_known_of_a_task(self, rdf):
        read = Read(rdf, LEARNING)
        assert read.has("train.dataset", rdf.RDF.type, rdf.OWL.ObjectProperty)
        assert read.range("train.dataset") == read.names["dataset-ref"]
        assert read.has("train.epochs", rdf.RDF.type, rdf.OWL.DatatypeProperty)
        assert read.range("train.epochs") == rdf.XSD.integer
        assert read.cardinality("train", "dataset") == ("cardinality", 1)
        assert read.cardinality("train", "epochs") == ("maxCardinality", 1)
        assert read.cardinality("train", "drop") is None
        comment = rdf.Literal("The column to predict.", lang="en")
        assert read.has("train.target", rdf.RDFS.comment, comment)

    @pytest.mark.parametrize(
        ("field", "xsd"),
        [
            ("price", "double"),
            ("paid", "boolean"),
            ("notes", "string"),
            ("when", "dateTime"),
        ],
    )
    def test_types_of_values(self, rdf, field, xsd):
        assert Read(rdf, TRIPS).range(f"trip.{field}") == rdf.XSD[xsd]

    def test_types_of_things(self, rdf):
        read = Read(rdf, TRIPS)
        for field, name in (("origin", "place"), ("via", "place"), ("driver", "AgentIdentifier")):
            assert read.range(f"trip.{field}") == read.names[name]
            assert read.has(f"trip.{field}", rdf.RDF.type, rdf.OWL.ObjectProperty)
        assert read.cardinality("trip", "via") is None
        union = read.range("trip.goal")
        assert read.listed(union, rdf.OWL.unionOf) == [read.names["place"], read.names["garage"]]

    def test_choices_and_unions(self, rdf):
        read = Read(rdf, TRIPS)
        for field, values in (("colour", ["red", "blue"]), ("side", ["left", "right"])):
            found = read.listed(read.range(f"trip.{field}"), rdf.OWL.oneOf)
            assert [each.toPython() for each in found] == values
        assert read.listed(read.range("trip.label"), rdf.OWL.unionOf) == [rdf.XSD.integer, rdf.XSD.string]

    def test_what_owl_has_no_word_for(self, rdf):
        read = Read(rdf, TRIPS)
        for field in ("seats", "grid"):
            assert read.range(f"trip.{field}") == rdf.RDF.JSON
        assert read.has("trip.either", rdf.RDF.type, rdf.RDF.Property)
        assert read.range("trip.either") is None

    def test_models_that_are_no_terms_are_classes_too(self, rdf):
        read = Read(rdf, TRIPS)
        assert read.has("Passenger", rdf.RDF.type, rdf.OWL.Class)
        assert read.range("Passenger.born") == rdf.XSD.date
        assert read.has("AgentIdentifier.resolvers", rdf.RDFS.range, read.names["AgentIdentifier"])

    def test_a_term_that_another_is_derived_from_has_its_fields(self, rdf):
        read = Read(rdf, TRIPS)
        assert read.has("garage", rdf.RDFS.subClassOf, read.names["place"])
        assert read.range("garage.lots") == rdf.XSD.integer
        assert read.range("garage.name") is None

    def test_the_wire_has_the_name(self, rdf):
        assert Read(rdf, TRIPS).has("trip.full-name", rdf.RDFS.label, rdf.Literal("full-name"))
