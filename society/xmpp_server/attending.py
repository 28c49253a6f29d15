"""What one connection is to the server: a stranger, a session, or a session under stream management."""

from __future__ import annotations

from .acknowledging import SM, acknowledgement, failed
from .features import ping
from .lasting import Carrier, Lasting
from .negotiation import Negotiation
from .resuming import Resumptions
from .router import Router
from .stanzas import STREAMS, Stanza
from .stream import Closed, Event
from .switchboard import Session


class Attendance:
    """One client, from its first word to the end of its session.

    Attributes:
        session: from binding or resumption on; None before and afterwards.
    """

    def __init__(
        self, carrier: Carrier, negotiation: Negotiation, router: Router, resumptions: Resumptions
    ) -> None:
        self.session: Session | None = None
        self._carrier = carrier
        self._negotiation = negotiation
        self._router = router
        self._resumptions = resumptions
        self._lasting: Lasting | None = None

    @property
    def steps(self) -> int:
        """How far the login has come."""
        return self._negotiation.steps

    @property
    def is_managed(self) -> bool:
        """Whether XEP-0198 is enabled."""
        return self._lasting is not None

    @property
    def last_words(self) -> bytes:
        """What the server says to the session before it ends the stream: how much it has handled."""
        return acknowledgement(self._lasting.ledger.handled) if self._lasting is not None else b""

    def greet(self) -> None:
        """Send the server's header, if that has not been done."""
        self._negotiation.greet()

    def ping(self) -> None:
        """Ask the client for a sign of life."""
        if self.session is not None:
            self.session.link.deliver(ping(self._router.switchboard.domain_xml, self.session.jid.xml))

    def bind(self, user: str, resource: str) -> Session:
        """Become a session. May raise StanzaError."""
        self.session = self._router.bind(user, resource, self._carrier)
        return self.session

    def resume(self, user: str, element: Stanza) -> bool:
        """Go on with a session that has lost its connection; False if there is none.

        Raises:
            StreamError: the stream must end.
        """
        lasting = self._resumptions.resume(user, element, self._carrier)
        if lasting is None:
            return False
        self._lasting, self.session = lasting, lasting.session
        lasting.wake(self._carrier)
        return True

    def act(self, event: Event) -> None:
        """Act on what the client says.

        Raises:
            StreamError: the stream must end.
        """
        if isinstance(event, Stanza):
            session = self.session
            if session is not None and event.namespace == SM:
                self._manage(session, event)
            elif session is not None and event.namespace != STREAMS:
                self._router.receive(session, event)
                if self._lasting is not None:
                    self._lasting.ledger.handle()
            elif event.namespace == STREAMS and event.kind == "error":
                self._carrier.close()  # RFC 6120 §4.9.1.1: the peer's error is the end
            else:
                self._negotiation.receive(event)
        elif isinstance(event, Closed):
            self._carrier.close()  # §4.4
        else:
            self._negotiation.receive(event)

    def end(self, unsent: list[bytes], *, is_broken: bool) -> None:
        """The stream is closed or, with no word of the client, the connection broken. Harmless when repeated.

        Args:
            unsent: what was not written; under stream management it is known better.
            is_broken: the session may be resumed.
        """
        session, self.session = self.session, None
        lasting, self._lasting = self._lasting, None
        if lasting is not None:
            lasting.part(is_broken=is_broken)
        elif session is not None:
            self._router.leave(session, unsent)

    def forget(self) -> None:
        """Leave the session to another connection."""
        self.session = self._lasting = None

    def _manage(self, session: Session, element: Stanza) -> None:
        """XEP-0198 §3: <enable/> comes first, and once."""
        if self._lasting is not None:
            self._lasting.receive(element)
        elif element.kind == "enable":
            self._lasting = self._resumptions.enable(session, self._carrier, element)
        else:
            self._carrier.deliver(failed("unexpected-request"))
