"""What an agent understands and can do, and the sentences that say so."""

from __future__ import annotations

from collections.abc import Sequence

from behaviours.participating import Handlers
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Ontology, Term, split
from ontology.errors import Cause, ContentError


def ontology_for(message: AclMessage, ontologies: Sequence[Ontology]) -> Ontology:
    """The ontology that a message's content is to be read with.

    Without an ontology parameter it is the first that has the content's term.

    Raises:
        ContentError: there is none for this ontology parameter, language or term.
    """
    if message.language is not None and message.language.lower() != "json":
        raise ContentError(
            Cause.UNSUPPORTED_VALUE, f"language {message.language!r}: only json is read here", "language"
        )
    label = message.ontology
    known = ", ".join(each.label for each in ontologies)
    if label is not None:
        for each in ontologies:
            if each.speaks(label):
                return each
        raise ContentError(
            Cause.UNSUPPORTED_VALUE, f"ontology {label[:80]!r} is not spoken here; {known} are", "ontology"
        )
    tag, _arguments = split(message.content)
    for each in ontologies:
        if tag in each.by_tag:
            return each
    raise ContentError(Cause.UNSUPPORTED_ACT, f"no ontology here ({known}) has a term {tag[:80]!r}", tag[:80])


def incapable(me: AgentIdentifier, handlers: Handlers, action: Term, *, is_call: bool) -> str:
    """Say that an agent does not do something, and what it does."""
    known = handlers.bids if is_call else handlers.on
    can = ", ".join(sorted(term.tag for term in known)) or "nothing"
    what = "takes calls for" if is_call else "does"
    kind = "an action" if isinstance(action, AgentAction) else "a statement, not an action"
    return f"{action.tag} is {kind} that {me.local_name} does not do; it {what} {can}"
