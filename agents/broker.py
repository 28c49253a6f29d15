"""Asks on behalf of those who do not know whom to ask (FIPA00033, FIPA00034), over the directory.

It serves both protocols: as a broker it passes the replies on, as a recruiter it has them sent. What it
passes on it need not understand. `behaviours.mediating` holds the conversations; here the targets are found.

A target judges the broker, who speaks to it, and not who is behind the proxy. So the broker holds the inner
message against its own policy first, as if the initiator itself said it: nobody reaches through it whom he
may not ask without it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from agents.base import Ports, Server
from agents.registered import RegisteredAgent
from behaviours.authority import Saying, tags_of
from behaviours.brokering import EMBEDDED
from behaviours.handlers import brokers
from behaviours.outcomes import Fail, Failed, Refuse
from behaviours.participating import Participation
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE
from ontology.errors import Cause
from ontology.interaction import INTERACTION, Proxy
from ontology.management import ServiceDescription
from ontology.quantities import Times
from protocols.brokering import BROKERING
from protocols.recruiting import RECRUITING

BROKERAGE = "brokering"
"""The type of its service in the directory. FIPA00023 reserves none for it."""

MOST = 100
"""Agents that one proxy is passed on to at most, unless a broker is told otherwise."""


class Broker(RegisteredAgent):
    """Finds in the directory whom a proxy describes.

    Where nobody fits, the proxy fails with no-match; where the directory does not answer, with that. Whom the
    initiator may not ask itself, by the broker's policy, is left out; where nobody else is found, the proxy
    is refused as unauthorised, with the rule that is missing.

    Args:
        jid: bare JID.
        password: of the account.
        server: where to log in.
        ports: collaborators.
        directory: bare JID of the directory facilitator.
        most: agents that are spoken to at most for one proxy, whatever it asks for: the first by name. One
            message makes so many, and each may be answered.
    """

    ontologies = (INTERACTION,)

    def __init__(
        self,
        jid: str,
        password: str,
        server: Server,
        ports: Ports | None = None,
        *,
        directory: str,
        most: Times = MOST,
    ) -> None:
        super().__init__(jid, password, server, ports, directory=directory)
        self._most = most

    def services(self) -> tuple[ServiceDescription, ...]:
        """Both protocols, about proxies."""
        service = ServiceDescription(
            name=BROKERAGE,
            type=BROKERAGE,
            protocols=(BROKERING.name, RECRUITING.name),
            ontologies=(INTERACTION.label,),
            languages=(LANGUAGE,),
        )
        return (service,)

    @brokers(Proxy)
    async def find_targets(
        self, wanted: Proxy, task: Participation
    ) -> Sequence[AgentIdentifier] | Refuse | Fail:
        """Search the directory. Neither we nor, in recruiting, the initiator are targets."""
        barred = {self.me.name}
        if task.message.protocol == RECRUITING.name:
            barred.add(task.initiator.name)  # `behaviours.mediating.serve_proxy` tells why
        most = min(self._most, wanted.most or self._most)
        # Who is left out is to take nobody's place: where some may be, more are looked at than are wanted.
        looked_at = max(most, MOST) if self.authority.policy.is_written else most
        found = await self.find_like(wanted.template, looked_at + len(barred))
        if isinstance(found, Failed):
            return Fail(found.reason.cause, found.reason.text, found.reason.about)
        # As `behaviours.mediating` reads the names: whoever is judged is the one that is spoken to.
        names = [AgentIdentifier.of(each.name.name) for each in found if each.name is not None]
        fitting = [name for name in names if name.name not in barred]
        objections = self._objections(wanted, task, fitting)
        allowed = [name for name in fitting if name.name not in objections]
        if objections and not allowed:
            return Refuse(Cause.UNAUTHORISED, next(iter(objections.values())))
        return allowed[:most]

    def _objections(
        self, wanted: Proxy, task: Participation, targets: Sequence[AgentIdentifier]
    ) -> dict[str, str]:
        """Why the initiator may not say itself what is to be passed on: a sentence by the target's name.

        What it would have to sign is passed on only where the proxy had to be signed as well: nothing else
        shows that it comes from the initiator.
        """
        policy, peer = self.authority.policy, task.initiator
        act, protocol = EMBEDDED[wanted.performative]
        inner = AclMessage(performative=act, content=json.dumps(wanted.message.content))
        proxied = Saying(
            peer=peer,
            receiver=self.me,
            act=task.message.performative,
            protocol=task.message.protocol,
            tags=tags_of(task.message) if policy.looks_at_tags else (),
        )
        is_signed = policy.judge(proxied).is_to_be_signed
        objections = {}
        for target in targets:
            saying = Saying(
                peer=peer,
                receiver=target,
                act=act,
                protocol=None if protocol is None else protocol.name,
                tags=tags_of(inner) if policy.looks_at_tags else (),
            )
            verdict = policy.judge(saying)
            if verdict.why_not is not None:
                objections[target.name] = verdict.why_not
            elif verdict.is_to_be_signed and not is_signed:
                objections[target.name] = (
                    f"{peer} may send {act.value} to {target.local_name} only signed, and a proxy to "
                    f"{self.me.local_name} need not be: the rule for that takes require_signature = true"
                )
        return objections
