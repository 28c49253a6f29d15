"""What an agent understands: which ontology a content is read with, and terms that stand in others."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ontology.acl import AclMessage, Performative
from ontology.content import Ontology, Term, not_spoken, split
from ontology.errors import Cause, ContentError
from ontology.interaction import Nested


def ontology_for(message: AclMessage, ontologies: Sequence[Ontology]) -> Ontology:
    """The ontology that a message's content is to be read with, as its version asks (`Ontology.under`).

    Without an ontology parameter it is the first that has the content's term.

    Raises:
        ContentError: there is none for this ontology parameter, language or term.
    """
    if message.language is not None and message.language.lower() != "json":
        raise ContentError(
            Cause.UNSUPPORTED_VALUE, f"language {message.language!r}: only json is read here", "language"
        )
    label = message.ontology
    if label is not None:
        for each in ontologies:
            if each.speaks(label):
                return each.under(label)
        raise not_spoken(label, ontologies)
    tag, _arguments = split(message.content)
    for each in ontologies:
        if tag in each.by_tag:
            return each
    known = ", ".join(each.label for each in ontologies)
    raise ContentError(Cause.UNSUPPORTED_ACT, f"no ontology here ({known}) has a term {tag[:80]!r}", tag[:80])


def unnest(nested: Nested, ontologies: Sequence[Ontology]) -> tuple[Term, Ontology]:
    """Read a term that stands in another, and say which ontology it is of.

    Raises:
        ContentError: none of the ontologies has it, or it does not fit.
    """
    content = json.dumps(nested.content)
    message = AclMessage(performative=Performative.INFORM, content=content, ontology=nested.ontology)
    ontology = ontology_for(message, ontologies)
    return ontology.parse(content), ontology


def nest(term: Term, ontologies: Sequence[Ontology]) -> Nested:
    """Put a term into another.

    Raises:
        ValueError: none of the ontologies has it.
    """
    ontology = ontology_with(term, ontologies)
    return Nested(ontology=ontology.label, content=json.loads(ontology.render(term)))


def ontology_with(term: Term, ontologies: Sequence[Ontology]) -> Ontology:
    """The first of some ontologies that has a term.

    Raises:
        ValueError: none of them has it.
    """
    for ontology in ontologies:
        if ontology.by_tag.get(term.tag) is type(term):
            return ontology
    raise ValueError(f"{type(term).__name__} is a term of none of this agent's ontologies")
