"""How a conversation can end, as values: none of these is an exception, and none can be overlooked.

A handler answers with a term of the ontology, `Refuse` or `Fail`. An initiator gets an `Outcome`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ontology.acl import AclMessage
from ontology.content import Reason, Term, as_content
from ontology.errors import Cause


@dataclass(frozen=True)
class Refuse:
    """A handler's answer: I will not do it."""

    cause: Cause | str
    text: str
    about: str | None = None
    retry_after: float | None = None
    """Seconds after which one may ask again; None where nobody knows, or it would be of no use."""

    def reason(self) -> Reason:
        """Why, as a term."""
        return Reason(cause=str(self.cause), text=self.text, about=self.about, retry_after=self.retry_after)

    def content(self) -> str:
        """The content of the refuse."""
        return as_content(self.reason())


@dataclass(frozen=True)
class Fail:
    """A handler's answer: I tried, and it did not work."""

    cause: Cause | str
    text: str
    about: str | None = None

    def reason(self) -> Reason:
        """Why, as a term."""
        return Reason(cause=str(self.cause), text=self.text, about=self.about)

    def content(self) -> str:
        """The content of the failure."""
        return as_content(self.reason())


Answer = Term | Refuse | Fail
"""What a handler returns; `ontology.content.Done` where there is no result to tell."""


@dataclass(frozen=True)
class Succeeded:
    """The participant informed us of the result."""

    result: Term
    message: AclMessage


@dataclass(frozen=True)
class Refused:
    """The participant will not do it."""

    reason: Reason


@dataclass(frozen=True)
class Failed:
    """The participant tried in vain, could not be reached, or vanished; the cause tells which."""

    reason: Reason


@dataclass(frozen=True)
class NotUnderstood:
    """The participant could not make sense of what we said."""

    reason: Reason


@dataclass(frozen=True)
class Expired:
    """No answer came in time."""

    reason: Reason


@dataclass(frozen=True)
class Cancelled:
    """We took it back, and the participant confirmed."""


Outcome = Succeeded | Refused | Failed | NotUnderstood | Expired | Cancelled
"""What became of a request or of an award."""


Ending = Refused | Failed | NotUnderstood | Expired | Cancelled | Succeeded
"""How a subscription ended; it has no success of its own, but a peer may say what it likes."""


def sentence(outcome: Outcome) -> str:
    """The outcome in one sentence, for people."""
    match outcome:
        case Succeeded(result=result):
            return f"done: {result.tag}"
        case Cancelled():
            return "cancelled"
        case Refused(reason) | Failed(reason) | NotUnderstood(reason) | Expired(reason):
            return reason.text
