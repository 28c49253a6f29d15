"""The ontologies that the command line knows: the built-in ones, and a user's own by its address."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from ontology.content import Ontology
from ontology.export import json_schema
from ontology.interaction import INTERACTION
from ontology.management import MANAGEMENT
from ontology.tasks import LEARNING
from society.errors import MisuseError, SocietyError

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
    here = str(Path.cwd())
    if here not in sys.path:
        # Last, so that a user's modules shadow nothing of ours.
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module), variable, None)
    except ModuleNotFoundError as error:
        is_absent = error.name is not None and f"{module}.".startswith(f"{error.name}.")
        text = f"there is no module {error.name!r} on the path or in {here}" if is_absent else str(error)
        raise MisuseError(f"ontology {name!r} cannot be imported: {text}") from error
    except Exception as error:  # the module is the user's, and anything may be wrong with it
        told = f"{type(error).__name__}: {error}"
        raise MisuseError(f"ontology {name!r} cannot be imported: {told}") from error
    if found is None:
        raise MisuseError(f"ontology {name!r} cannot be imported: module {module!r} has no {variable!r}")
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
            "OWL needs the package rdflib, which is not installed; run: pip install 'locution[owl]'"
        ) from error
    return owl.to_turtle(ontology).rstrip("\n")


def listed() -> list[tuple[str, list[str]]]:
    """The built-in ontologies: the label of each, and the tags of its terms in order."""
    return [(each.label, sorted(each.by_tag)) for each in BUILT_IN.values()]
