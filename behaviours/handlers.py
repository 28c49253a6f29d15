"""What an agent can do: methods marked with the term they are for.

::

    @on(Train)                    request, and an accepted proposal: carry the action out
    @bids(Train)                  cfp: answer with a proposal, or Refuse
    @answers(Temperatures)        query-ref: answer with what fits
    @confirms(IsFree)             query-if: answer True or False
    @holds(IsFree)                request-when: return once it has become true
    @considers(Move)              propose: answer Done() to accept, or Refuse to reject
    @votes(Move)                  locution-vote: answer Done() to accept, or Refuse to reject
    @decided(Move)                locution-vote: apply the decision, which `task.is_committed` tells
    @publishes(Temperatures)      subscribe: yield a term for each notification
    @values(Lot)                  auctions: what a unit is worth to us now, or None to leave
    @brokers(Proxy)               proxy: find targets
    @hears(Progress)              inform outside any protocol, or a reply that others asked for: take note
    @reads("rooms", IsFree)       topics: take what anybody publishes, one after the other
    @announced("cooks", Menu)     task groups: take what another member announces, one after the other

Every handler is ``async def name(self, term, task)``, a publisher is an async generator, a listener is
``def name(self, term, sender)``, and a reader is ``async def name(self, term, publisher)``, of announcements
as well.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from ontology.aid import AgentIdentifier
from ontology.content import AgentAction, Term

Handler = Callable[[Any, Any], Awaitable[Any]]
"""Takes the term and the `Participation`."""

Publisher = Callable[[Any, Any], AsyncIterator[Term]]

Listener = Callable[[Any, AgentIdentifier], None]

Reader = Callable[[Any, AgentIdentifier | None], Awaitable[None]]
"""Takes the term and its publisher, None where the PubSub service names none."""

_F = TypeVar("_F", bound=Callable[..., Any])

_MARK = "_locution_handles"


def on(action: type[AgentAction]) -> Callable[[_F], _F]:
    """Mark the method that carries out an action, on request or on award."""
    return _mark("on", action)


def bids(action: type[AgentAction]) -> Callable[[_F], _F]:
    """Mark the method that answers a call for proposals for an action: with a proposal, or `Refuse`."""
    return _mark("bids", action)


def answers(query: type[Term]) -> Callable[[_F], _F]:
    """Mark the method that answers a query-ref: with what fits, or `Refuse`."""
    return _mark("answers", query)


def confirms(proposition: type[Term]) -> Callable[[_F], _F]:
    """Mark the method that answers a query-if: with True, False or `Refuse`."""
    return _mark("confirms", proposition)


def holds(condition: type[Term]) -> Callable[[_F], _F]:
    """Mark the coroutine that returns once a condition has become true, for request-when."""
    return _mark("holds", condition)


def considers(action: type[AgentAction]) -> Callable[[_F], _F]:
    """Mark the method that decides on what somebody proposes to do: `Done` accepts, `Refuse` rejects."""
    return _mark("considers", action)


def votes(action: type[AgentAction]) -> Callable[[_F], _F]:
    """Mark the method that votes on a value: `Done`, or another term, accepts and binds, `Refuse` rejects.

    It is cancelled when its time is up, or when the others have decided it.
    """
    return _mark("votes", action)


def decided(action: type[AgentAction]) -> Callable[[_F], _F]:
    """Mark the method that applies what a vote has decided; `Participation.is_committed` tells what.

    It is called for every voter, however it has voted and also where it has not. What it returns is nobody's
    concern, but for `Fail`, which tells the initiator that it could not.
    """
    return _mark("decided", action)


def publishes(query: type[Term]) -> Callable[[_F], _F]:
    """Mark the async generator that yields a subscriber's notifications, until it is cancelled.

    `Refuse` before the first one refuses the subscription; later, as `Fail` and the end, it is a failure.

    Raises:
        TypeError: the method has no ``yield``.
    """
    mark = _mark("publishes", query)

    def apply(method: _F) -> _F:
        if inspect.iscoroutinefunction(method):
            raise TypeError(f"{method.__qualname__} is marked @publishes and has no yield")
        return mark(method)

    return apply


def values(lot: type[Term]) -> Callable[[_F], _F]:
    """Mark the method that says what a unit of a lot is worth, round by round; None leaves the auction."""
    return _mark("values", lot)


def brokers(action: type[AgentAction]) -> Callable[[_F], _F]:
    """Mark the method that finds the targets of a proxy: their identifiers, or `Refuse`."""
    return _mark("brokers", action)


def hears(predicate: type[Term]) -> Callable[[_F], _F]:
    """Mark the method that is told of an inform outside any protocol.

    And of what ends a conversation that others hold and have answered to us, by a reply-to or as a designated
    receiver (FIPA00034): the result, or a `Reason` of a refusal, a failure or a misunderstanding.

    Raises:
        TypeError: the method is async; nobody would wait for it.
    """
    mark = _mark("hears", predicate)

    def apply(method: _F) -> _F:
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise TypeError(
                f"{method.__qualname__} is marked @hears and must not be async: it takes note and returns; "
                "start longer work with self.submit(...)"
            )
        return mark(method)

    return apply


def reads(topic: str, term: type[Term] = Term) -> Callable[[_F], _F]:
    """Mark the coroutine that takes what is published to a topic, as long as the agent runs.

    What comes is taken one after the other, in the order of publishing; all readers of a topic share it. A
    term of another kind does not reach the method.

    Raises:
        TypeError: the method is no coroutine.
    """
    mark = _mark("reads", (topic, term))

    def apply(method: _F) -> _F:
        if not inspect.iscoroutinefunction(method):
            raise TypeError(f"{method.__qualname__} is marked @reads and is not async def")
        return mark(method)

    return apply


def announced(group: str, term: type[Term] = Term) -> Callable[[_F], _F]:
    """Mark the coroutine that takes what other members announce to a task group, as long as we are in it.

    What comes is taken one after the other; announcements of one member in the order in which they were made.
    A term of another kind does not reach the method.

    Raises:
        TypeError: the method is no coroutine.
    """
    mark = _mark("announced", (group, term))

    def apply(method: _F) -> _F:
        if not inspect.iscoroutinefunction(method):
            raise TypeError(f"{method.__qualname__} is marked @announced and is not async def")
        return mark(method)

    return apply


def _mark(kind: str, term: type[Term] | tuple[str, type[Term]]) -> Callable[[_F], _F]:
    def apply(method: _F) -> _F:
        setattr(method, _MARK, (*getattr(method, _MARK, ()), (kind, term)))
        return method

    return apply


def _none() -> Any:
    return field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """What an agent can do, by term."""

    on: Mapping[type[Term], Handler] = _none()
    bids: Mapping[type[Term], Handler] = _none()
    answers: Mapping[type[Term], Handler] = _none()
    confirms: Mapping[type[Term], Handler] = _none()
    holds: Mapping[type[Term], Handler] = _none()
    considers: Mapping[type[Term], Handler] = _none()
    votes: Mapping[type[Term], Handler] = _none()
    decided: Mapping[type[Term], Handler] = _none()
    publishes: Mapping[type[Term], Publisher] = _none()
    values: Mapping[type[Term], Handler] = _none()
    brokers: Mapping[type[Term], Handler] = _none()
    hears: Mapping[type[Term], Listener] = _none()
    reads: Mapping[tuple[str, type[Term]], Reader] = _none()
    """By topic and term."""
    announced: Mapping[tuple[str, type[Term]], Reader] = _none()
    """By group and term."""

    @classmethod
    def of(cls, agent: object) -> Handlers:
        """Collect the marked methods of an object, those of its base classes included.

        Raises:
            TypeError: two methods are marked for the same thing.
        """
        found: dict[str, dict[Any, Any]] = {each.name: {} for each in fields(cls)}
        for name in dir(type(agent)):
            for kind, term in getattr(getattr(type(agent), name, None), _MARK, ()):
                if term in found[kind]:
                    what = f"{term[0]!r}, {term[1].__name__}" if isinstance(term, tuple) else term.__name__
                    raise TypeError(f"{type(agent).__name__}: two methods are marked @{kind}({what})")
                found[kind][term] = getattr(agent, name)
        return cls(**found)
