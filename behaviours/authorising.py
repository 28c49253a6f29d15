"""What one agent lets others say to it: the policy, and signatures where it asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from behaviours.authority import Policy, Saying, Verdict, own_domain, tags_of
from behaviours.clocking import system_now
from behaviours.conversing import Seat
from behaviours.events import Hook, MessageDisbelieved, ignore
from behaviours.fencing import Fence
from behaviours.sorting import protocol_of
from behaviours.vouching import KeyRing, Vouching, nobody
from behaviours.wire import Received, Unreadable
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.errors import Cause
from protocols.table import Protocol, Role
from resilience.memory import MemoryRecords


class Authority:
    """The authority over what is said to one agent.

    Args:
        me: the agent.
        policy: the rules; by default `own_domain`.
        ring: who has which key; by default nobody has any.
        hook: sink of facts.
        clock: the wall clock, aware: what the time of a signature is compared with.
    """

    def __init__(
        self,
        me: AgentIdentifier,
        policy: Policy | None = None,
        ring: KeyRing | None = None,
        *,
        hook: Hook = ignore,
        clock: Callable[[], datetime] = system_now,
    ) -> None:
        self._me, self._hook = me, hook
        self.policy = policy or own_domain(me.domain)
        self.ring = ring or KeyRing(me.name, nobody, MemoryRecords(), hook)
        self._vouching = Vouching(me, self.ring, clock)
        self.fence = Fence(me.name)
        """What keeps leaders of the past out."""

    def objection(self, received: Received, peer: AgentIdentifier, protocol: Protocol | None) -> str | None:
        """Why a message that begins something is not taken, in one sentence; None if it is. Ask once each.

        Args:
            received: what opens a conversation, or is said outside any.
            peer: whose it is said to be.
            protocol: the one that it opens; None outside any.
        """
        verdict = self._verdict(received.message, peer, protocol)
        if verdict.why_not is not None:
            return verdict.why_not
        fault = self._vouching.fault(received, peer) if verdict.is_to_be_signed else None
        return fault or self.fence.objection(received.message)

    def forbids(self, message: AclMessage, peer: AgentIdentifier, protocol: Protocol | None) -> str | None:
        """Why the rules do not allow a message that begins something, in one sentence, signed or not."""
        return self._verdict(message, peer, protocol).why_not

    def bars(
        self,
        proxied: AclMessage,
        peer: AgentIdentifier,
        inner: AclMessage,
        protocol: Protocol | None,
        targets: Iterable[AgentIdentifier],
    ) -> dict[str, str]:
        """Why somebody may not say itself what it has us say to others: a sentence by each one's name.

        They judge us, who speak to them, and not who is behind it. What it would have to sign is passed on
        only where that had to be signed as well: nothing else shows that it comes from there.

        Args:
            proxied: what it has said to us.
            peer: who that is.
            inner: what we are to say.
            protocol: the one that this opens; None outside any.
            targets: to whom.
        """
        tags = tags_of(inner) if self.policy.looks_at_tags else ()
        is_signed = self._verdict(proxied, peer, protocol_of(proxied)).is_to_be_signed
        barred = {}
        for target in targets:
            name = None if protocol is None else protocol.name
            saying = Saying(peer=peer, receiver=target, act=inner.performative, protocol=name, tags=tags)
            verdict = self.policy.judge(saying)
            if verdict.why_not is not None:
                barred[target.name] = verdict.why_not
            elif verdict.is_to_be_signed and not is_signed:
                barred[target.name] = (
                    f"{peer} may send {inner.performative.value} to {target.local_name} only signed, and a "
                    f"{proxied.performative.value} to {self._me.local_name} need not be: the rule for that "
                    "takes require_signature = true"
                )
        return barred

    def hears(self, unreadable: Unreadable) -> bool:
        """Whether what is no ACL message is taken. Nobody can sign such."""
        verdict = self.policy.judge(
            Saying(peer=unreadable.sender, receiver=self._me, act=None, protocol=None)
        )
        return verdict.why_not is None and not verdict.is_to_be_signed

    def believes(self, received: Received, peer: AgentIdentifier, seat: Seat) -> bool:
        """Whether a message goes on with a conversation as the agent that holds it; a doubt is a fact.

        Answers to us need a signature where everything does; what our initiator goes on with does where its
        first message may have. What opens the protocol anew, as the revised call of a further round, is held
        against the rules once more.
        """
        role, protocol = seat.conversation.role, seat.protocol
        fault = None
        if role is Role.PARTICIPANT and protocol.opens_with(received.message.performative):
            fault = self.objection(received, peer, protocol)
        elif self.policy.wants_signatures and (
            self.policy.require_signature
            if role is Role.INITIATOR
            else self.policy.is_to_be_signed(peer, self._me, protocol.name)
        ):
            fault = self._vouching.fault(received, peer)
        if fault is None and role is Role.PARTICIPANT:
            fault = self.fence.objection(received.message)
        if fault is not None:
            self.doubt(received, peer, fault)
        return fault is None

    def _verdict(self, message: AclMessage, peer: AgentIdentifier, protocol: Protocol | None) -> Verdict:
        return self.policy.judge(
            Saying(
                peer=peer,
                receiver=self._me,
                act=message.performative,
                protocol=protocol.name if protocol is not None else message.protocol,
                tags=tags_of(message) if self.policy.looks_at_tags else (),
            )
        )

    def doubt(self, received: Received, peer: AgentIdentifier, text: str) -> None:
        """Count a message that is not taken, and not answered either."""
        act = received.message.performative.value
        fact = MessageDisbelieved(
            agent=self._me.name,
            performative=act,
            protocol=received.message.protocol or "",
            peer=peer.name,
            cause=Cause.UNAUTHORISED,
            text=text,
        )
        self._hook(fact)
