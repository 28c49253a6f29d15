"""Which handler an opening act needs, and who serves it: the participant's side of every protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from behaviours.answering import serve_proposal, serve_query_if, serve_query_ref, serve_request_when
from behaviours.bidding import serve_auction
from behaviours.handlers import Handlers
from behaviours.mediating import serve_proxy
from behaviours.participating import Job, serve_call, serve_request
from behaviours.publishing import serve_subscription
from behaviours.understanding import unnest
from behaviours.voting import serve_vote
from ontology.acl import AclMessage, Performative
from ontology.content import AgentAction, Ontology, Term
from ontology.errors import Cause, ContentError
from ontology.interaction import AuctionStarted, Nested, Proxy, When
from protocols.registry import TABLES
from protocols.table import Protocol
from protocols.vote import VOTE


@dataclass(frozen=True, kw_only=True)
class Service:
    """How one opening act is served."""

    kinds: tuple[str, ...]
    """The fields of `Handlers` that must have the term; the first names what the agent can do."""
    serve: Callable[[Job], Awaitable[None]]


SERVICES: Mapping[Performative, Service] = {
    Performative.REQUEST: Service(kinds=("on",), serve=serve_request),
    Performative.CFP: Service(kinds=("bids", "on"), serve=serve_call),
    Performative.QUERY_REF: Service(kinds=("answers",), serve=serve_query_ref),
    Performative.QUERY_IF: Service(kinds=("confirms",), serve=serve_query_if),
    Performative.REQUEST_WHEN: Service(kinds=("on",), serve=serve_request_when),
    Performative.PROPOSE: Service(kinds=("considers",), serve=serve_proposal),
    Performative.SUBSCRIBE: Service(kinds=("publishes",), serve=serve_subscription),
    Performative.INFORM: Service(kinds=("values",), serve=serve_auction),
    Performative.PROXY: Service(kinds=("brokers",), serve=serve_proxy),
}
"""Every act that opens a protocol of FIPA's. An inform does where the protocol is an auction."""

VOTING = Service(kinds=("votes", "decided"), serve=serve_vote)
"""What a propose opens where the protocol is our own, in which there is something to decide on as well."""


def _service(message: AclMessage) -> Service:
    return VOTING if message.protocol == VOTE.name else SERVICES[message.performative]


async def serve(job: Job) -> None:
    """Carry one conversation from its first message to its end. Never raises for what a handler does."""
    await _service(job.opening).serve(job)


_FRAMES: Mapping[Performative, type[Term]] = {
    Performative.REQUEST_WHEN: When,
    Performative.INFORM: AuctionStarted,
    Performative.PROXY: Proxy,
}
"""Acts that are about a term of the protocols themselves, in which the agents' own terms stand."""


def spoken(handlers: Handlers) -> tuple[str, ...]:
    """The names of the protocols in which an agent can be the participant, with these handlers."""
    acts = [act for act, service in SERVICES.items() if _is_served(act, service, handlers)]

    def is_spoken(table: Protocol) -> bool:
        if table is VOTE:
            return _is_served(Performative.PROPOSE, VOTING, handlers)
        return any(map(table.opens_with, acts))

    return tuple(table.name for table in TABLES if is_spoken(table))


def _is_served(act: Performative, service: Service, handlers: Handlers) -> bool:
    terms = [set(getattr(handlers, kind)) for kind in service.kinds]
    is_waiting = act is not Performative.REQUEST_WHEN or bool(handlers.holds)
    return is_waiting and bool(set.intersection(*terms))


def is_capable(message: AclMessage, term: Term, handlers: Handlers, ontologies: Sequence[Ontology]) -> bool:
    """Whether the agent has the handlers that an opening message about a term needs.

    Raises:
        ContentError: a nested term cannot be read, or the act cannot be about such a term.
    """
    act = message.performative
    frame = _FRAMES.get(act)
    if frame is not None and not isinstance(term, frame):
        text = f"what is said by this {act.value} is {frame.tag}, not {term.tag}"
        raise ContentError(Cause.UNSUPPORTED_VALUE, text, term.tag)
    if act is Performative.REQUEST_WHEN and isinstance(term, When):
        action, _of = unnest(term.action, ontologies)
        condition, _of = unnest(term.condition, ontologies)
        return type(action) in handlers.on and type(condition) in handlers.holds
    if act is Performative.INFORM and isinstance(term, AuctionStarted):
        term, _of = unnest(term.lot, ontologies)
    return all(type(term) in getattr(handlers, kind) for kind in _service(message).kinds)


_DOES = {
    "on": "does",
    "bids": "takes calls for",
    "answers": "answers",
    "confirms": "can tell of",
    "considers": "decides on",
    "votes": "votes on",
    "publishes": "publishes",
    "values": "bids for",
    "brokers": "brokers",
}


def incapable(name: str, message: AclMessage, term: Term, handlers: Handlers) -> str:
    """Say that an agent does not do something, and what it does."""
    act, kind = message.performative, _service(message).kinds[0]
    can = _tags(handlers, kind)
    if act is Performative.REQUEST_WHEN and isinstance(term, When):
        asked = f"{_tag(term.action)} when {_tag(term.condition)}"
        return f"{name} cannot do {asked}; it does {can}, and can wait for {_tags(handlers, 'holds')}"
    if isinstance(term, AuctionStarted):
        return f"{name} does not bid for {_tag(term.lot)}; it {_DOES[kind]} {can}"
    what = "an action" if isinstance(term, AgentAction) else "a statement, not an action"
    if kind not in {"on", "bids"}:
        return f"{name} does not serve a {act.value} about {term.tag}; it {_DOES[kind]} {can}"
    return f"{term.tag} is {what} that {name} does not do; it {_DOES[kind]} {can}"


def _tags(handlers: Handlers, kind: str) -> str:
    return ", ".join(sorted(each.tag for each in getattr(handlers, kind))) or "nothing"


def _tag(nested: Nested) -> str:
    return next(iter(nested.content))
