"""Receipts between agents as stanzas: what has been processed, what is asked after, and what never came.

A message that bears `MARK` stands in its sender's outbox until it is acknowledged, and its sender
acknowledges what it gets. Everything else about receipts travels in message stanzas without body, which
plain SPADE agents never see and chat clients do not show; servers are told not to store them (XEP-0334).

An agent that waits for an acknowledgement does not send again: it asks after the message's id. Whoever has
processed it says so; whoever has it and has not come to it yet says that, and is asked again later; whoever
never got it says that, and only then is it sent again. So an agent that knows
nothing of receipts never gets a second copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from behaviours.wire import ACKNOWLEDGEABLE, NO_STORE, Element
from ontology.acl_xml import escaped

NAMESPACE = ACKNOWLEDGEABLE[1:].partition("}")[0]

MARK = f'<acknowledgeable xmlns="{NAMESPACE}"/>'
"""In a message: it is to be acknowledged, and whoever sent it acknowledges."""

IDS = 500
"""Ids in one stanza; the rest go into further ones."""


@dataclass(frozen=True, kw_only=True)
class Receipts:
    """What a stanza says of messages by their ids."""

    acknowledged: tuple[str, ...] = ()
    """The peer has processed them: they are done."""
    asked: tuple[str, ...] = ()
    """What has become of them?"""
    taken: tuple[str, ...] = ()
    """The peer has got them, and is not done with them yet."""
    missing: tuple[str, ...] = ()
    """The peer never got them: they are to be sent again."""
    sought: tuple[str, ...] = ()
    """Which replica has these conversations (`behaviours.seeking`)?"""
    here: tuple[str, ...] = ()
    """The one that says so has these conversations."""
    kept: tuple[str, ...] = ()
    """Another one has them, or will."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return not any(getattr(self, field) for field in _KINDS)


_KINDS = {
    "acknowledged": "acknowledged",
    "asked": "unacknowledged",
    "taken": "taken",
    "missing": "missing",
    "sought": "where",
    "here": "here",
    "kept": "kept",
}
"""Field to element."""

_FIELDS = {f"{{{NAMESPACE}}}{name}": field for field, name in _KINDS.items()}
_ID = f"{{{NAMESPACE}}}id"


def render(to: str, receipts: Receipts) -> list[str]:
    """Write receipts as stanzas, each of at most `IDS` ids.

    Args:
        to: the JID that they are for.
        receipts: what is to be said.
    """
    said = [(name, each) for field, name in _KINDS.items() for each in getattr(receipts, field)]
    return [
        f'<message type="chat" to={quoteattr(to)}>{_elements(said[start : start + IDS])}{NO_STORE}</message>'
        for start in range(0, len(said), IDS)
    ]


def _elements(said: Iterable[tuple[str, str]]) -> str:
    by_name: dict[str, list[str]] = {}
    for name, each in said:
        by_name.setdefault(name, []).append(f"<id>{escaped(each)}</id>")
    return "".join(f'<{name} xmlns="{NAMESPACE}">{"".join(ids)}</{name}>' for name, ids in by_name.items())


def read(stanza: Element) -> Receipts | None:
    """Read receipts; None where a stanza is something else. At most `IDS` of each kind count."""
    if stanza.get("type") == "error":
        return None
    found: dict[str, list[str]] = {}
    for element in stanza:
        field = _FIELDS.get(element.tag)
        if field is not None:
            found.setdefault(field, []).extend(each.text for each in element.findall(_ID) if each.text)
    receipts = Receipts(**{field: tuple(ids[:IDS]) for field, ids in found.items()})
    return None if receipts.is_empty else receipts
