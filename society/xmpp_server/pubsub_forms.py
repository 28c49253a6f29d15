"""A node's configuration as a data form (XEP-0060 §8.2, XEP-0004).

Fields that stand for something which this service always does the same way are taken when they ask for just
that. Any other wish is refused, and never ignored: whoever asks for a whitelist must not get an open node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from .errors import StanzaError
from .limits import Limits
from .pubsub_nodes import Config

DATA: Final = "jabber:x:data"
NODE_CONFIG: Final = "http://jabber.org/protocol/pubsub#node_config"

_BOOLEAN: Final = {"1": True, "true": True, "0": False, "false": False}
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "publish_model": ("publishers", "open"),
    "notification_type": ("headline", "normal"),
}
_FIXED: Final[Mapping[str, frozenset[str]]] = {
    "access_model": frozenset({"open"}),
    "deliver_notifications": frozenset({"1", "true"}),
    "deliver_payloads": frozenset({"1", "true"}),
    "node_type": frozenset({"leaf"}),
    "notify_delete": frozenset({"1", "true"}),
    "notify_retract": frozenset({"1", "true"}),
    "send_last_published_item": frozenset({"never"}),
    "subscribe": frozenset({"1", "true"}),
}
_TITLE_BYTES: Final = 1023


def read_config(form: ET.Element | None, config: Config, limits: Limits) -> Config:
    """Change a configuration as a submitted form asks; without a form, or with a cancelled one, not at all.

    Raises:
        StanzaError: not-acceptable; the text names the field and what may stand in it.
    """
    if form is None or form.get("type") == "cancel":
        return config
    if form.tag != f"{{{DATA}}}x" or form.get("type") != "submit":
        raise StanzaError("bad-request", "a configuration is a submitted data form")
    changes: dict[str, Any] = {}
    seen: set[str] = set()
    for field in form.findall(f"{{{DATA}}}field"):
        name = field.get("var", "")
        values = [value.text or "" for value in field.findall(f"{{{DATA}}}value")]
        if name in seen or len(values) != 1:
            raise StanzaError("not-acceptable", f"{name[:80]}: one field with one value")
        seen.add(name)
        if name == "FORM_TYPE":
            if values[0] != NODE_CONFIG:
                raise StanzaError("not-acceptable", f"the form's FORM_TYPE is {NODE_CONFIG}")
        else:
            changes |= _read(name, values[0], limits)
    return replace(config, **changes)


def _read(name: str, value: str, limits: Limits) -> dict[str, Any]:
    field = name.removeprefix("pubsub#")
    if field in _FIXED and name != field:
        _demand(value in _FIXED[field], name, " or ".join(sorted(_FIXED[field])))
        return {}
    readers: dict[str, Callable[[], Any]] = {
        "title": lambda: _title(name, value),
        "max_items": lambda: _max_items(name, value, limits.pubsub_items),
        "persist_items": lambda: _boolean(name, value),
    }
    if field in _CHOICES and name != field:
        _demand(value in _CHOICES[field], name, " or ".join(_CHOICES[field]))
        return {field: value}
    if field not in readers or name == field:
        raise StanzaError("not-acceptable", f"{name[:80]} cannot be configured here")
    return {field: readers[field]()}


def _title(name: str, value: str) -> str:
    _demand(len(value.encode()) <= _TITLE_BYTES, name, f"at most {_TITLE_BYTES} bytes")
    return value


def _max_items(name: str, value: str, most: int) -> int:
    if value == "max":
        return most
    _demand(value.isascii() and value.isdigit() and len(value) < 10, name, f"0 to {most}, or max")
    _demand(int(value) <= most, name, f"0 to {most}, or max")
    return int(value)


def _boolean(name: str, value: str) -> bool:
    _demand(value in _BOOLEAN, name, "1 or 0")
    return _BOOLEAN[value]


def _demand(holds: bool, name: str, wanted: str) -> None:
    if not holds:
        raise StanzaError("not-acceptable", f"{name}: write {wanted}")


def config_form(config: Config) -> str:
    """Write a configuration as the form by which it can be changed."""
    return (
        f'<x xmlns="{DATA}" type="form">'
        f'<field var="FORM_TYPE" type="hidden"><value>{NODE_CONFIG}</value></field>'
        f"{_field('title', 'text-single', config.title)}"
        f"{_field('max_items', 'text-single', str(config.max_items))}"
        f"{_field('persist_items', 'boolean', str(int(config.persist_items)))}"
        f"{_field('publish_model', 'list-single', config.publish_model)}"
        f"{_field('notification_type', 'list-single', config.notification_type)}"
        f"{_field('access_model', 'list-single', 'open')}"
        "</x>"
    )


def _field(name: str, kind: str, value: str) -> str:
    choices = _CHOICES.get(name) or ((value,) if kind == "list-single" else ())
    options = "".join(f"<option><value>{each}</value></option>" for each in choices)
    return f'<field var="pubsub#{name}" type="{kind}"><value>{escape(value)}</value>{options}</field>'
