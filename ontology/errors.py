"""What can be wrong with what was said; each error names the act that answers it.

::

    OntologyError
    ├── MessageError     not-understood   no ACL message can be made of it
    └── ContentError     not-understood   the content does not fit the ontology
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from ontology.acl import Performative


class Cause(StrEnum):
    """Why something was refused, failed or not understood: FIPA00023 section 4, then our own."""

    # not-understood
    UNSUPPORTED_ACT = "unsupported-act"
    UNEXPECTED_ACT = "unexpected-act"
    UNSUPPORTED_VALUE = "unsupported-value"
    UNRECOGNISED_VALUE = "unrecognised-value"
    # refuse
    UNAUTHORISED = "unauthorised"
    UNSUPPORTED_FUNCTION = "unsupported-function"
    MISSING_ARGUMENT = "missing-argument"
    UNEXPECTED_ARGUMENT = "unexpected-argument"
    UNEXPECTED_ARGUMENT_COUNT = "unexpected-argument-count"
    MISSING_PARAMETER = "missing-parameter"
    UNEXPECTED_PARAMETER = "unexpected-parameter"
    UNRECOGNISED_PARAMETER_VALUE = "unrecognised-parameter-value"
    # failure
    ALREADY_REGISTERED = "already-registered"
    NOT_REGISTERED = "not-registered"
    INTERNAL_ERROR = "internal-error"
    # ours: FIPA leaves time, transport and load to the platform
    UNREACHABLE = "unreachable"
    """The message could not be handed over: no such agent, offline, or no connection."""
    VANISHED = "vanished"
    """The peer was there and is gone, or has stopped answering."""
    EXPIRED = "expired"
    """The deadline passed without an answer."""
    LATE = "late"
    """The answer came after the deadline."""
    OVERLOADED = "overloaded"
    """Too much to do at present; ask again later."""
    NO_PROPOSAL = "no-proposal"
    """Nobody offered to do it."""
    NOT_CHOSEN = "not-chosen"
    """Another proposal was better."""


class OntologyError(Exception):
    """The root of this package's errors.

    Attributes:
        performative: the act that answers this error.
        cause: FIPA's token, or ours.
        text: one sentence: what, where, how to mend it.
        about: the act, argument or value at fault, where there is one.
    """

    performative: ClassVar[Performative] = Performative.NOT_UNDERSTOOD

    def __init__(self, cause: Cause, text: str, about: str | None = None) -> None:
        super().__init__(text)
        self.cause = cause
        self.text = text
        self.about = about


def shown(value: object) -> str:
    """What a peer sent, as it may stand in a sentence: one line, printable, at most 60 characters."""
    text = value if isinstance(value, str) else repr(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return text if text.isprintable() else repr(text)[1:-1]


class MessageError(OntologyError):
    """What arrived is no ACL message."""


class ContentError(OntologyError):
    """The content of an ACL message does not fit the ontology."""
