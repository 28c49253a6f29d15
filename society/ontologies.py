"""The ontologies that the command line knows: the built-in ones, and a user's own by its address."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ontology.content import Ontology
from ontology.export import json_schema
from ontology.interaction import INTERACTION
from ontology.management import MANAGEMENT
from ontology.tasks import LEARNING
from society.errors import MisuseError, SocietyError
from society.importing import import_own

BUILT_IN: Mapping[str, Ontology] = {each.name: each for each in (LEARNING, MANAGEMENT, INTERACTION)}


def find(name: str) -> Ontology:
    """Find an ontology by its name, or import a user's own from ``package.module:VARIABLE``.

    Raises:
        MisuseError: there is none; the sentence says what was looked for.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    module, colon, variable = name.partition(":")
    if not (module and colon and variable):
        known = ", ".join(BUILT_IN)
        raise MisuseError(f"no ontology is called {name!r}; write {known}, or package.module:VARIABLE")
    try:
        found = import_own(module, variable, Path.cwd(), f"in {Path.cwd()}")
    except SocietyError as error:
        raise MisuseError(f"ontology {name!r} cannot be imported: {error}") from error
    if not isinstance(found, Ontology):
        raise MisuseError(f"{name!r} is {type(found).__name__}, not an ontology.content.Ontology")
    return found


def export(ontology: Ontology, form: str) -> str:
    """Write an ontology in a form that others read: ``json-schema``, or ``owl`` in Turtle.

    Raises:
        SocietyError: the package that writes it is missing, or it cannot be described so.
    """
    if form == "json-schema":
        try:
            return json.dumps(json_schema(ontology), indent=2, ensure_ascii=False)
        except ValueError as error:
            raise SocietyError(f"ontology {ontology.label} has no JSON Schema: {error}") from error
    try:
        from ontology import owl  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rdflib":
            raise
        raise SocietyError(
            "OWL needs the package rdflib, which is not installed; in the folder of Locution: "
            "pip install -e '.[owl]'"
        ) from error
    return owl.to_turtle(ontology).rstrip("\n")


def listed() -> list[tuple[str, list[str]]]:
    """The built-in ontologies: the label of each, and the tags of its terms in order."""
    return [(each.label, sorted(each.by_tag)) for each in BUILT_IN.values()]
