"""The login of one connection, without sockets: header, STARTTLS, SASL, binding (RFC 6120 §4 to §7)."""

from __future__ import annotations

import secrets
from typing import Final, Protocol

from .acknowledging import FEATURE as FEATURE_OF_SM
from .acknowledging import SM, failed
from .errors import JidError, StanzaError, StoreError, StreamError
from .headers import features, header
from .jid import prepare_domain
from .limits import Limits
from .login import SASL, Login, offer
from .registration import FEATURE, REGISTER, Registration
from .sasl import Authenticator
from .stanzas import CLIENT, Stanza, refusal, reply
from .stream import Closed, Event, Opened

TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"
SESSION: Final = "urn:ietf:params:xml:ns:xmpp-session"


class Wire(Protocol):
    """What the login needs of its connection."""

    def deliver(self, data: bytes) -> None:
        """Write to the client."""
        ...

    def start_tls(self) -> None:
        """Begin TLS, forgetting all that has come and was not yet understood."""
        ...

    def restart(self) -> None:
        """Expect a new stream header, forgetting all that has come and was not yet understood."""
        ...

    def bind(self, user: str, resource: str) -> str:
        """Make the session; return its full JID, escaped. May raise StanzaError."""
        ...

    def resume(self, user: str, element: Stanza) -> None:
        """Go on with a former session, or tell the client why not. May raise StreamError."""
        ...

    def close(self, error: StreamError | None = None) -> None:
        """End the stream."""
        ...


class Negotiation:
    """One connection on its way to a session.

    Attributes:
        greeted: the server's header is out, so that an error can follow it.
        steps: steps of the login done so far; the deadline starts again with each.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        domain: str,
        authenticator: Authenticator,
        registration: Registration,
        limits: Limits,
        offers_tls: bool,
        requires_tls: bool,
    ) -> None:
        self._wire = wire
        self._domain = domain
        self._authenticator = authenticator
        self._registration = registration
        self._limits = limits
        self._offers_tls = offers_tls
        self._requires_tls = requires_tls
        self._secured = False
        self._user: str | None = None
        self._login = Login(authenticator, limits)
        self._registered = 0
        self.greeted = False
        self.steps = 0

    def receive(self, event: Event) -> None:
        """Act on one event.

        Raises:
            StreamError: the stream must end.
        """
        if isinstance(event, StreamError):
            raise event
        if isinstance(event, Opened):
            self._open(event.attributes)
        elif isinstance(event, Closed):
            self._wire.close()
        elif event.oversized:
            raise StreamError("policy-violation", "too much before the login")
        elif event.namespace == TLS and event.kind == "starttls":
            self._start_tls()
        elif event.namespace == SASL:
            self._authenticate(event)
        elif event.namespace == SM and self._user is not None:
            self._manage(self._user, event)
        elif event.namespace != CLIENT or event.kind not in {"message", "presence", "iq"}:
            raise StreamError("unsupported-stanza-type")
        elif event.kind == "iq" and self._user is not None and event.children == [f"{BIND}\nbind"]:
            self._bind(self._user, event)
        elif event.kind == "iq" and self._user is None and event.children == [f"{REGISTER}\nquery"]:
            self._register(event)
        else:
            raise StreamError("not-authorized", "log in first")  # §4.9.3.12

    def _open(self, attributes: dict[str, str]) -> None:
        """Answer a stream header (§4.7)."""
        self.greet()
        try:
            to = prepare_domain(attributes["to"]) if "to" in attributes else self._domain
        except JidError:
            to = ""
        if to != self._domain:
            raise StreamError("host-unknown", f"this server is {self._domain}")  # §4.9.3.6
        major, _, minor = attributes.get("version", "0.9").partition(".")
        if major != "1" or not minor.isdigit():
            raise StreamError("unsupported-version", "XMPP 1.0 is needed")  # §4.7.5
        self.steps += 1
        self._wire.deliver(features(self._features()))

    def greet(self) -> None:
        """Send the server's header, once for each stream."""
        if not self.greeted:
            self.greeted = True
            self._wire.deliver(header(self._domain, secrets.token_hex(8)))

    def _features(self) -> list[str]:
        if self._user is not None:
            bind, session = f'<bind xmlns="{BIND}"/>', f'<session xmlns="{SESSION}"><optional/></session>'
            return [bind, session, FEATURE_OF_SM]
        parts: list[str] = []
        if self._offers_tls and not self._secured:
            required = "<required/>" if self._requires_tls else ""
            parts.append(f'<starttls xmlns="{TLS}">{required}</starttls>')
            if self._requires_tls:
                return parts  # §5.3.1: alone, when it is required
        parts.append(offer(secured=self._secured))
        if self._registration.is_open and self._secured:
            parts.append(FEATURE)
        return parts

    def _start_tls(self) -> None:
        if not self._offers_tls or self._secured or self._user is not None:
            self._wire.deliver(f'<failure xmlns="{TLS}"/>'.encode())  # §5.4.2.2
            self._wire.close()
            return
        self.steps += 1
        self._secured = True
        self._login = Login(self._authenticator, self._limits)  # §5.4.3.3: nothing learnt before counts
        self.greeted = False
        self._wire.deliver(f'<proceed xmlns="{TLS}"/>'.encode())
        self._wire.start_tls()

    def _authenticate(self, element: Stanza) -> None:
        """One SASL element (§6.4)."""
        if self._user is not None:
            raise StreamError("not-authorized", "you are logged in")
        verdict = self._login.receive(element, secured=self._secured, requires_tls=self._requires_tls)
        self._wire.deliver(verdict.answer)
        if verdict.is_over:
            self.steps += 1
        if verdict.is_hopeless:
            raise StreamError("policy-violation", "too many failed logins")  # §6.4.5
        if verdict.user is not None:
            self._user = verdict.user
            self.greeted = False
            self._wire.restart()  # §6.4.6

    def _bind(self, user: str, stanza: Stanza) -> None:
        """Bind a resource (§7.6); after it the connection belongs to the session."""
        if stanza.id is None or stanza.type != "set":
            self._refuse(stanza, StanzaError("bad-request"))
            return
        resource = stanza.tree()[0].findtext(f"{{{BIND}}}resource") or ""
        try:
            jid = self._wire.bind(user, resource)
        except StanzaError as error:
            self._refuse(stanza, error)
        else:
            self._wire.deliver(
                reply(stanza, "", "", "result", f'<bind xmlns="{BIND}"><jid>{jid}</jid></bind>')
            )

    def _manage(self, user: str, element: Stanza) -> None:
        """Before binding, a former session can be resumed, and nothing else (XEP-0198 §5)."""
        if element.kind == "resume":
            self._wire.resume(user, element)
        else:
            self._wire.deliver(failed("unexpected-request"))

    def _register(self, stanza: Stanza) -> None:
        """Registration before the login (XEP-0077 §3.1), inside TLS only."""
        if not self._secured or stanza.id is None or stanza.type not in {"get", "set"}:
            self._refuse(stanza, StanzaError("not-allowed" if not self._secured else "bad-request"))
            return
        try:
            content = self._registration.form(None) if stanza.type == "get" else self._create(stanza)
        except StanzaError as error:
            self._refuse(stanza, error)
        except StoreError as error:
            self._refuse(stanza, StanzaError("resource-constraint", str(error)))
        else:
            self._wire.deliver(reply(stanza, "", "", "result", content))

    def _create(self, stanza: Stanza) -> str:
        if self._registered >= self._limits.registrations:
            raise StanzaError("resource-constraint", "too many accounts over one connection")
        self._registration.create(stanza.tree()[0])
        self._registered += 1
        return ""

    def _refuse(self, stanza: Stanza, error: StanzaError) -> None:
        data = refusal(stanza, "", "", error.condition, error.text)
        if data is not None:
            self._wire.deliver(data)
