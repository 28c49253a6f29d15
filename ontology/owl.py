"""An ontology in OWL 2, for tools of the semantic web: the only code that knows rdflib.

A term becomes a class, a field a property of that class's own: fields of one name mean different things in
different terms. What OWL has no word for is a JSON literal: maps, and rows of rows. An array becomes several
values, whose order is lost.
"""

from __future__ import annotations

import datetime
import decimal
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from rdflib import OWL, RDF, RDFS, XSD, BNode, Graph, Namespace, URIRef
from rdflib import Literal as Value
from rdflib.collection import Collection
from rdflib.term import IdentifiedNode

from ontology.content import AgentAction, Concept, Ontology, Predicate
from ontology.export import comment, field_comments, iri

KINDS = (Concept, Predicate, AgentAction)
BASE = Namespace("urn:locution:ontology#")
"""Where the kinds of terms are named, which all ontologies have in common."""

_MANY = (tuple, list, set, frozenset, Sequence, Set, Iterable)
_DATATYPES: Mapping[type, URIRef] = {
    bool: XSD.boolean,
    int: XSD.integer,
    float: XSD.double,
    str: XSD.string,
    bytes: XSD.base64Binary,
    decimal.Decimal: XSD.decimal,
    datetime.datetime: XSD.dateTime,
    datetime.date: XSD.date,
    datetime.time: XSD.time,
    datetime.timedelta: XSD.duration,
}


def to_turtle(ontology: Ontology) -> str:
    """Write an ontology as OWL 2 in Turtle; the same text each time."""
    return _Writer(ontology).write().serialize(format="turtle")


class _Writer:
    def __init__(self, ontology: Ontology) -> None:
        self._ontology = ontology
        self._iri = URIRef(iri(ontology))
        self._names = Namespace(f"{self._iri}#")
        self._graph = Graph()
        self._graph.bind("", self._names)
        self._graph.bind("locution", BASE)
        self._graph.bind("owl", OWL)
        self._tags: dict[type[BaseModel], str] = {term: tag for tag, term in ontology.by_tag.items()}
        self._others: dict[type[BaseModel], None] = {}
        """Models that are no terms of this ontology, in the order of their finding."""

    def write(self) -> Graph:
        graph, version = self._graph, ".".join(map(str, self._ontology.version))
        graph.add((self._iri, RDF.type, OWL.Ontology))
        graph.add((self._iri, OWL.versionIRI, URIRef(f"{self._iri}:{version}")))
        graph.add((self._iri, OWL.versionInfo, Value(version)))
        graph.add((self._iri, RDFS.label, Value(self._ontology.name)))
        for kind in KINDS:
            self._describe(BASE[kind.__name__], OWL.Class, kind.__name__, comment(kind))
        for term in self._tags:
            self._class(term)
        written: set[type[BaseModel]] = set()
        while missing := [model for model in self._others if model not in written]:
            for model in missing:
                written.add(model)
                self._class(model)
        return graph

    def _describe(self, node: IdentifiedNode, kind: URIRef, label: str, text: str) -> None:
        self._graph.add((node, RDF.type, kind))
        self._graph.add((node, RDFS.label, Value(label)))
        if text:
            self._graph.add((node, RDFS.comment, Value(text, lang="en")))

    def _class(self, model: type[BaseModel]) -> None:
        name = self._name(model)
        self._describe(name, OWL.Class, _last(name), comment(model))
        for each in model.__bases__:
            if each in self._tags:
                self._graph.add((name, RDFS.subClassOf, self._name(each)))
        for kind in KINDS:
            if issubclass(model, kind):
                self._graph.add((name, RDFS.subClassOf, BASE[kind.__name__]))
        inherited = {field for each in model.__mro__[1:] if each in self._tags for field in each.model_fields}
        comments = field_comments(model)
        for field in model.model_fields:
            if field not in inherited:
                self._property(model, field, comments.get(field, ""))

    def _property(self, model: type[BaseModel], field: str, text: str) -> None:
        info = model.model_fields[field]
        owner = self._name(model)
        name = URIRef(f"{owner}.{info.alias or field}")
        members, is_many = _shape(info.annotation)
        models = [each for each in members if _is_model(each)]
        if models:
            kind = OWL.ObjectProperty if len(models) == len(members) else RDF.Property
        else:
            kind = OWL.DatatypeProperty
        self._describe(name, kind, info.alias or field, text)
        self._graph.add((name, RDFS.domain, owner))
        if kind is not RDF.Property:  # OWL has no property of both things and values, so it has no range
            ranges = [self._name(each) for each in models] if models else self._data_ranges(members, name)
            self._graph.add((name, RDFS.range, self._union(ranges, name, is_data=not models)))
        if not is_many:
            how = OWL.cardinality if info.is_required() else OWL.maxCardinality
            restriction = BNode(f"{_last(name)}.restriction")
            self._graph.add((restriction, RDF.type, OWL.Restriction))
            self._graph.add((restriction, OWL.onProperty, name))
            self._graph.add((restriction, how, Value(1, datatype=XSD.nonNegativeInteger)))
            self._graph.add((owner, RDFS.subClassOf, restriction))

    def _data_ranges(self, members: Iterable[Any], name: URIRef) -> list[IdentifiedNode]:
        found: dict[IdentifiedNode, None] = {}
        for number, member in enumerate(members):
            choices = _choices(member)
            if choices:
                node = BNode(f"{_last(name)}.choice{number}")
                self._graph.add((node, RDF.type, RDFS.Datatype))
                self._list(node, OWL.oneOf, [Value(each) for each in choices])
                found[node] = None
            else:
                known = (uri for kind, uri in _DATATYPES.items() if member is kind)
                found[next(known, RDF.JSON)] = None
        return list(found)

    def _union(self, ranges: list[Any], name: URIRef, *, is_data: bool) -> IdentifiedNode:
        if len(ranges) == 1:
            return ranges[0]  # type: ignore[no-any-return]
        node = BNode(f"{_last(name)}.union")
        self._graph.add((node, RDF.type, RDFS.Datatype if is_data else OWL.Class))
        self._list(node, OWL.unionOf, ranges)
        return node

    def _list(self, subject: BNode, predicate: URIRef, members: list[Any]) -> None:
        head = BNode(f"{subject}.list")
        self._graph.add((subject, predicate, head))
        Collection(self._graph, head, members)

    def _name(self, model: type[BaseModel]) -> URIRef:
        tag = self._tags.get(model)
        if tag is None:
            self._others[model] = None
        return self._names[tag or model.__name__]


def _shape(annotation: Any) -> tuple[list[Any], bool]:
    """Of what types a field's values are, and whether it may have several."""
    members = [each for each in _members(annotation) if each is not type(None)]
    if len(members) == 1 and get_origin(members[0]) in _MANY:
        items = [each for each in get_args(members[0]) if each is not Ellipsis]
        if len(items) == 1:
            return list(_members(items[0])), True
    return members, False


def _members(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _members(get_args(annotation)[0])
    elif origin in {Union, types.UnionType}:
        for each in get_args(annotation):
            yield from _members(each)
    else:
        yield annotation


def _is_model(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, BaseModel)


def _choices(member: Any) -> tuple[Any, ...]:
    if get_origin(member) is Literal:
        return get_args(member)
    if isinstance(member, type) and issubclass(member, Enum):
        return tuple(each.value for each in member)
    return ()


def _last(name: URIRef) -> str:
    return name.rpartition("#")[2]
