"""What is wrong with a setting, in words; and an agent's options, read by the types of its constructor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from society.toml_lines import Place


def explained(fault: Mapping[str, Any]) -> str:
    """What pydantic has found wrong, without its own words for what the file is written in."""
    if fault["type"] in {"model_type", "dict_type"}:
        told = "should be a table"
    elif fault["type"] == "string_pattern_mismatch":
        told = "write lower-case letters, digits, dots, hyphens and underscores, a letter or digit first"
    else:
        told = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    given = json.dumps(fault["input"], default=str, ensure_ascii=False)
    return f"{told}, not {given if len(given) <= 60 else given[:57] + '...'}"


class OptionError(Exception):
    """An option of a kind is missing or has a wrong value.

    Attributes:
        place: the way to it within the options.
    """

    def __init__(self, place: Place, text: str) -> None:
        super().__init__(text)
        self.place = place


def read_options(parameters: Mapping[str, tuple[Any, Any]], given: Mapping[str, Any]) -> dict[str, Any]:
    """Read options by the types of a signature.

    Args:
        parameters: name to annotation and default; the default is ``...`` where there is none.
        given: the options as the file has them.

    Returns:
        What was given, as the annotations want it: a list may be a tuple, and text a path.

    Raises:
        OptionError: one is missing or has a wrong type.
    """
    config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, protected_namespaces=())
    fields: dict[str, Any] = dict(parameters)
    model: type[BaseModel] = create_model("Options", __config__=config, **fields)
    try:
        read = model.model_validate_json(json.dumps(given, default=str))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = ".".join(map(str, fault["loc"]))
        text = (
            f"it needs the option {name}"
            if fault["type"] == "missing"
            else f"option {name}: {explained(fault)}"
        )
        raise OptionError(fault["loc"], text) from error
    return {name: getattr(read, name) for name in read.model_fields_set}
