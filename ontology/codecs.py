"""The written forms of a whole ACL message, each read and written: JSON, and FIPA's string and XML.

=======  =====================================  ====================
form     specification                          file
=======  =====================================  ====================
json     ours                                   `ontology.acl_json`
string   FIPA00070, fipa.acl.rep.string.std     `ontology.acl_string`
xml      FIPA00071, fipa.acl.rep.xml.std        `ontology.acl_xml`
=======  =====================================  ====================

String and XML keep all that an agent identifier holds; JSON keeps the JID that it leads to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ontology.acl import AclMessage
from ontology.acl_json import from_json, to_json
from ontology.acl_parameters import TEXT_PARAMETERS, build, read_agent, read_time, texts_of, write_time
from ontology.acl_string import from_string, to_string
from ontology.acl_xml import from_xml, to_xml
from ontology.errors import Cause, MessageError, shown

__all__ = [
    "FORMATS", "Format", "detect", "read",
    "from_json", "to_json", "from_string", "to_string", "from_xml", "to_xml",
    "TEXT_PARAMETERS", "build", "read_agent", "read_time", "texts_of", "write_time",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Format:
    """One written form."""

    write: Callable[[AclMessage], str]
    """Raises ValueError where the form cannot carry a character: XML has no U+0000."""
    read: Callable[[str, datetime | None], AclMessage]
    """The time is what a relative reply-by counts from. Raises nothing but `MessageError`."""


FORMATS: Mapping[str, Format] = {
    "json": Format(write=to_json, read=from_json),
    "string": Format(write=to_string, read=from_string),
    "xml": Format(write=to_xml, read=from_xml),
}
"""Every form by its name."""

_BEGINNINGS = {"{": "json", "(": "string", "<": "xml"}


def detect(text: str) -> str:
    """Tell the form of a message by the character that it begins with.

    Raises:
        MessageError: no form begins like that.
    """
    begun = text.lstrip()
    form = _BEGINNINGS.get(begun[:1])
    if form is None:
        how = "begins with { in JSON, with ( in FIPA00070 and with < in FIPA00071"
        found = f"this begins with {shown(begun[:20])!r}" if begun else "this is empty"
        raise MessageError(Cause.UNRECOGNISED_VALUE, f"an ACL message {how}; {found}")
    return form


def read(text: str, now: datetime | None = None) -> AclMessage:
    """Read a message in any form.

    Args:
        text: the message.
        now: what a relative reply-by counts from; None where none can be understood.

    Raises:
        MessageError: it is no ACL message; the error says why in one sentence.
    """
    return FORMATS[detect(text)].read(text, now)
