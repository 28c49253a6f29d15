"""Asks on behalf of those who do not know whom to ask (FIPA00033, FIPA00034), over the directory.

It serves both protocols: as a broker it passes the replies on, as a recruiter it has them sent. What it
passes on it need not understand. `behaviours.mediating` holds the conversations; here the targets are found.

Whom the initiator may not ask itself is not asked on its behalf either: that is seen to there, for every
broker. This one looks further where some are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.base import Ports, Server
from agents.registered import RegisteredAgent
from behaviours.handlers import brokers
from behaviours.mediating import barred_by
from behaviours.outcomes import Fail, Failed
from behaviours.participating import Participation
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE
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
    async def find_targets(self, wanted: Proxy, task: Participation) -> Sequence[AgentIdentifier] | Fail:
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
        unasked = barred_by(self.authority, wanted, task, fitting)
        # Where nobody is left it says why: it judges once more.
        return [name for name in fitting if name.name not in unasked][:most] or fitting[:most]
