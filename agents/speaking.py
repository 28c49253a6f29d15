"""What an agent can say: one method for each interaction protocol, and the outcome as a value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from behaviours.auctioning import Auction, dutch_auction, english_auction
from behaviours.brokering import Brokered, proxy
from behaviours.contracting import Choose, Contract, Observer, ResultWithin, Revise, call_for_proposals
from behaviours.delivery import Delivery, DeliveryResult
from behaviours.initiating import REPLY_WITHIN, RESULT_WITHIN, OnNotice, ask
from behaviours.mailroom import Mailroom
from behaviours.outcomes import Failed, Outcome
from behaviours.polling import Decision, Quorum, call_for_votes
from behaviours.publishing import Subscription
from behaviours.readings import Reading
from behaviours.topics import Topics
from behaviours.understanding import nest
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, AgentAction, Ontology, Predicate, Term
from ontology.interaction import INTERACTION, Proxy, When
from ontology.management import MANAGEMENT, DfAgentDescription
from ontology.tasks import LEARNING
from protocols.brokering import BROKERING
from protocols.propose import PROPOSE
from protocols.query import QUERY
from protocols.recruiting import RECRUITING
from protocols.request_when import REQUEST_WHEN
from protocols.table import Protocol


class Speaker:
    """Holds conversations as their initiator. `agents.base.LocutionAgent` is one."""

    ontologies: ClassVar[tuple[Ontology, ...]] = (LEARNING, MANAGEMENT)
    """What this kind of agent understands beside the directory's terms and those of the protocols."""

    me: AgentIdentifier
    mailroom: Mailroom
    delivery: Delivery
    topics: Topics

    def _trace(self, message: AclMessage, peer: AgentIdentifier) -> None:
        """Take note of a message that was sent."""

    @property
    def understood(self) -> tuple[Ontology, ...]:
        """Everything that we understand: our own ontologies, then those of the platform."""
        names = {each.name for each in self.ontologies}
        return (*self.ontologies, *(each for each in (MANAGEMENT, INTERACTION) if each.name not in names))

    async def request(
        self,
        to: AgentIdentifier | str,
        action: AgentAction,
        *,
        reply_within: float = REPLY_WITHIN,
        result_within: float | None = RESULT_WITHIN,
        on_notice: OnNotice | None = None,
        conversation_id: str | None = None,
    ) -> Outcome:
        """Ask one agent to do something (FIPA00026); see `behaviours.initiating.ask`."""
        return await ask(
            self.mailroom,
            _identifier(to),
            self._ontology_with(action),
            action,
            reply_within=reply_within,
            result_within=result_within,
            on_notice=on_notice,
            conversation_id=conversation_id,
        )

    async def call_for_proposals(
        self,
        participants: Iterable[AgentIdentifier | str],
        action: AgentAction,
        choose: Choose,
        *,
        revise: Revise | None = None,
        reply_within: float = REPLY_WITHIN,
        result_within: ResultWithin = RESULT_WITHIN,
        observer: Observer | None = None,
    ) -> Contract:
        """Call for proposals and award; see `behaviours.contracting.call_for_proposals`."""
        return await call_for_proposals(
            self.mailroom,
            [_identifier(each) for each in participants],
            self._ontology_with(action),
            action,
            choose,
            revise=revise,
            reply_within=reply_within,
            result_within=result_within,
            observer=observer,
        )

    async def query_ref(
        self, to: AgentIdentifier | str, query: Term, *, reply_within: float = REPLY_WITHIN
    ) -> Outcome:
        """Ask an agent what fits a description (FIPA00027)."""
        return await self._ask(to, query, Performative.QUERY_REF, QUERY, reply_within)

    async def query_if(
        self, to: AgentIdentifier | str, proposition: Term, *, reply_within: float = REPLY_WITHIN
    ) -> Outcome:
        """Ask an agent whether something holds (FIPA00027); the result is a `Truth`."""
        return await self._ask(to, proposition, Performative.QUERY_IF, QUERY, reply_within)

    async def request_when(
        self,
        to: AgentIdentifier | str,
        action: AgentAction,
        condition: Term,
        *,
        reply_within: float = REPLY_WITHIN,
        result_within: float | None = None,
    ) -> Outcome:
        """Ask an agent to do something once a condition has become true (FIPA00028)."""
        known = self.mailroom.ontologies
        when = When(action=nest(action, known), condition=nest(condition, known))
        return await self._ask(to, when, Performative.REQUEST_WHEN, REQUEST_WHEN, reply_within, result_within)

    async def propose(
        self, to: AgentIdentifier | str, action: AgentAction, *, reply_within: float = REPLY_WITHIN
    ) -> Outcome:
        """Propose to do something (FIPA00036): `Succeeded` when it is accepted, `Refused` when rejected."""
        return await self._ask(to, action, Performative.PROPOSE, PROPOSE, reply_within)

    async def call_for_votes(
        self,
        voters: Iterable[AgentIdentifier | str],
        value: AgentAction,
        *,
        quorum: Quorum = "majority",
        within: float = REPLY_WITHIN,
    ) -> Decision | Failed:
        """Put a value to the vote, which commits with a quorum; see `behaviours.polling.call_for_votes`."""
        found = [_identifier(each) for each in voters]
        return await call_for_votes(self.mailroom, found, value, quorum=quorum, within=within)

    def subscribe(
        self, to: AgentIdentifier | str, query: Term, *, reply_within: float = REPLY_WITHIN
    ) -> Subscription:
        """Be told now and whenever it changes (FIPA00035); see `behaviours.publishing.Subscription`."""
        ontology = self._ontology_with(query)
        return Subscription(self.mailroom, _identifier(to), ontology, query, reply_within)

    async def english_auction(
        self, bidders: Iterable[AgentIdentifier | str], lot: Term, **rules: float
    ) -> Auction:
        """Sell a lot to whoever pays most (FIPA00031); see `behaviours.auctioning.english_auction`."""
        return await english_auction(self.mailroom, [_identifier(each) for each in bidders], lot, **rules)

    async def dutch_auction(
        self, bidders: Iterable[AgentIdentifier | str], lot: Term, *, units: int = 1, **rules: float
    ) -> Auction:
        """Sell units of a lot at a falling price (FIPA00032); see `behaviours.auctioning.dutch_auction`."""
        found = [_identifier(each) for each in bidders]
        return await dutch_auction(self.mailroom, found, lot, units=units, **rules)

    async def broker(
        self, broker: AgentIdentifier | str, wanted: DfAgentDescription, message: Term, **how: Any
    ) -> Brokered | Outcome:
        """Have a broker find agents, say something to them and pass on what they reply (FIPA00033)."""
        return await self._proxy(broker, wanted, message, BROKERING, (), **how)

    async def recruit(
        self,
        recruiter: AgentIdentifier | str,
        wanted: DfAgentDescription,
        message: Term,
        *,
        designated: Iterable[AgentIdentifier | str] = (),
        **how: Any,
    ) -> Brokered | Outcome:
        """Have a recruiter find agents that then reply to us themselves (FIPA00034).

        Or to those that are ``designated``, at most `behaviours.conversing.HEARERS`: each gets every reply
        and takes it by `@hears` of the term that it is, of `Reason` where it is a refusal or a failure. We
        wait for replies only if we are among them.
        """
        receivers = tuple(_identifier(each) for each in designated)
        return await self._proxy(recruiter, wanted, message, RECRUITING, receivers, **how)

    async def _proxy(
        self,
        to: AgentIdentifier | str,
        wanted: DfAgentDescription,
        message: Term,
        protocol: Protocol,
        receivers: tuple[AgentIdentifier, ...],
        *,
        performative: Literal["request", "query-if", "query-ref", "inform"] = "request",
        most: int | None = None,
        reply_within: float = REPLY_WITHIN,
        result_within: float = RESULT_WITHIN,
    ) -> Brokered | Outcome:
        nested = nest(message, self.mailroom.ontologies)
        asked = Proxy(
            template=wanted, performative=performative, message=nested, most=most, designated=receivers
        )
        within = {"reply_within": reply_within, "result_within": result_within}
        return await proxy(self.mailroom, _identifier(to), asked, protocol, **within)

    async def _ask(
        self,
        to: AgentIdentifier | str,
        term: Term,
        performative: Performative,
        protocol: Protocol,
        reply_within: float,
        result_within: float | None = RESULT_WITHIN,
    ) -> Outcome:
        return await ask(
            self.mailroom,
            _identifier(to),
            self._ontology_with(term),
            term,
            performative=performative,
            protocol=protocol,
            reply_within=reply_within,
            result_within=result_within,
        )

    async def inform(self, to: AgentIdentifier | str, predicate: Predicate) -> DeliveryResult:
        """Tell an agent something outside any protocol, and learn whether it has processed it.

        One that does not acknowledge is given a few seconds; then `Delivered.is_acknowledged` is False.
        """
        ontology = self._ontology_with(predicate)
        message = AclMessage(
            performative=Performative.INFORM,
            sender=self.me,
            receiver=(_identifier(to),),
            content=ontology.render(predicate),
            language=LANGUAGE,
            ontology=ontology.label,
        )
        return await self.mailroom.send(message)

    async def publish(self, topic: str, term: Term, *, shared: bool = False) -> DeliveryResult:
        """Tell whoever reads a topic something, and learn whether the server took it (XEP-0060).

        Who publishes first makes the topic; others may publish to it only if that was done with ``shared``.
        See `behaviours.topics.Topics.publish`.
        """
        ontology = self._ontology_with(term)
        return await self.topics.publish(topic, ontology.render(term), ontology.label, shared=shared)

    def read(self, topic: str) -> Reading:
        """Be told what anybody publishes to a topic, from now on; see `behaviours.readings.Reading`."""
        return self.topics.read(topic)

    def _ontology_with(self, term: Any) -> Ontology:
        for ontology in self.understood:
            if ontology.by_tag.get(term.tag) is type(term):
                return ontology
        names = ", ".join(each.label for each in self.understood)
        raise ValueError(f"{type(term).__name__} is a term of none of this agent's ontologies ({names})")


def _identifier(agent: AgentIdentifier | str) -> AgentIdentifier:
    return AgentIdentifier.of(agent) if isinstance(agent, str) else agent
