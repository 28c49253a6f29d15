"""What the sender and the receivers speak of."""

from __future__ import annotations

from ontology.content import AgentAction, Ontology, Predicate


class Work(AgentAction):
    """Do something that takes so many seconds; `key` names it in all histories."""

    key: str
    seconds: float


class Relay(AgentAction):
    """Have another agent do it, and pass on its result."""

    key: str
    seconds: float
    to: str


class Tender(AgentAction):
    """Have the first of the cheapest of some others do it, and pass on its result."""

    key: str
    seconds: float
    to: tuple[str, ...]


class Note(Predicate):
    """Something to take note of."""

    key: str


class Result(Predicate):
    """What came of it: a token that is made afresh each time a handler runs to its end."""

    key: str
    token: str


class Price(Predicate):
    """What it costs."""

    amount: float


CHAOS = Ontology(name="chaos", version=(1, 0), terms=(Work, Relay, Tender, Note, Result, Price))
