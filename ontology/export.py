"""An ontology for programs that are not ours: one JSON Schema document for all content under it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, PydanticUserError
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from ontology.content import Ontology

_MODE: JsonSchemaMode = "validation"


def iri(ontology: Ontology) -> str:
    """The name of an ontology among all that there are: ``urn:locution:ontology:NAME``."""
    return f"urn:locution:ontology:{quote(ontology.name)}"


def json_schema(ontology: Ontology) -> dict[str, Any]:
    """Describe content under an ontology as one document of JSON Schema, draft 2020-12.

    Content is an object with one key, a term's tag. ``$defs`` holds each term by its tag, and what terms
    are made of besides, by class name.

    Raises:
        ValueError: a field of a term has a type that JSON Schema has no word for.
    """
    terms = sorted(ontology.by_tag.items())
    try:
        found, schema = models_json_schema([(term, _MODE) for _tag, term in terms])
    except PydanticUserError as error:
        raise ValueError(error.message) from error
    renamed = {found[term, _MODE]["$ref"]: f"#/$defs/{tag}" for tag, term in terms}
    definitions = {
        _last(renamed.get(f"#/$defs/{name}", name)): _renamed(definition, renamed)
        for name, definition in schema["$defs"].items()
    }
    for tag, term in terms:
        for field, text in field_comments(term).items():
            stated = definitions[tag].get("properties", {}).get(_on_the_wire(term, field))
            if stated is not None:
                stated.setdefault("description", text)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{iri(ontology)}:{ontology.version[0]}.{ontology.version[1]}",
        "title": ontology.label,
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {tag: {"$ref": f"#/$defs/{tag}"} for tag, _term in terms},
        "$defs": dict(sorted(definitions.items())),
    }


def comment(model: type[BaseModel]) -> str:
    """A class's docstring; "" where it has none of its own."""
    return inspect.cleandoc(model.__doc__ or "")


def field_comments(model: type[BaseModel]) -> dict[str, str]:
    """What is said of a class's fields: by ``Field(description=...)``, or by a docstring below the field.

    The docstrings are read from the source; where there is none, as in a console, they are missing.
    """
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each is not BaseModel:
            found |= _docstrings(each)
    described = {name: info.description for name, info in model.model_fields.items() if info.description}
    return {name: text for name, text in (found | described).items() if name in model.model_fields}


def _docstrings(model: type[BaseModel]) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    except (OSError, TypeError, SyntaxError):
        return {}
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef)] or [[]]
    found = {}
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found


def _on_the_wire(model: type[BaseModel], field: str) -> str:
    return model.model_fields[field].alias or field


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """Copy a schema, with other references."""
    match value:
        case {"$ref": str(reference), **others}:
            return {"$ref": names.get(reference, reference), **_renamed(others, names)}
        case dict():
            return {name: _renamed(each, names) for name, each in value.items()}
        case list():
            return [_renamed(each, names) for each in value]
    return value


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]
