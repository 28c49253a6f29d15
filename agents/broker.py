"""Asks on behalf of those who do not know whom to ask (FIPA00033, FIPA00034), over the directory.

It serves both protocols: as a broker it passes the replies on, as a recruiter it has them sent. What it
passes on it need not understand. `behaviours.mediating` holds the conversations; here the targets are found.
"""

from __future__ import annotations

from collections.abc import Sequence

from agents.base import Ports, Server
from agents.registered import RegisteredAgent
from behaviours.handlers import brokers
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


class Broker(RegisteredAgent):
    """Finds in the directory whom a proxy describes.

    Where nobody fits, the proxy fails with no-match; where the directory does not answer, with that.

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
        found = await self.find_like(wanted.template, most + len(barred))
        if isinstance(found, Failed):
            return Fail(found.reason.cause, found.reason.text, found.reason.about)
        names = [each.name for each in found if each.name is not None and each.name.name not in barred]
        return names[:most]
