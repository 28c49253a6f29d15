"""SASL as XML elements, for one connection (RFC 6120 §6)."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from .limits import Limits
from .sasl import MECHANISMS, Authenticator, Challenge, Exchange, Failure, Outcome, Success, decode
from .stanzas import Stanza

SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to do after one element.

    Attributes:
        answer: for the client.
        user: who it has proved to be.
        is_over: the exchange has ended, well or not.
        is_hopeless: it has failed too often.
    """

    answer: bytes
    user: str | None = None
    is_over: bool = False
    is_hopeless: bool = False


def offer(*, secured: bool) -> str:
    """Write the mechanisms as a stream feature; PLAIN inside TLS only (§6.4.1, §13.8.3)."""
    names = "".join(f"<mechanism>{name}</mechanism>" for name in MECHANISMS if secured or name != "PLAIN")
    return f'<mechanisms xmlns="{SASL}">{names}</mechanisms>'


class Login:
    """Counts the tries and keeps the one in progress."""

    def __init__(self, authenticator: Authenticator, limits: Limits) -> None:
        self._authenticator = authenticator
        self._limits = limits
        self._exchange: Exchange | None = None
        self._failures = 0

    def receive(self, element: Stanza, *, secured: bool, requires_tls: bool) -> Verdict:
        """Act on <auth/>, <response/> or <abort/>."""
        exchange, self._exchange = self._exchange, None
        outcome: Outcome
        if element.kind == "auth":
            outcome = self._begin(element, secured=secured, requires_tls=requires_tls)
        elif element.kind == "abort":
            outcome = Failure("aborted")
        elif element.kind == "response" and exchange is not None:
            outcome = self._step(exchange, element)
        else:
            outcome = Failure("malformed-request")
        return self._verdict(outcome)

    def _begin(self, element: Stanza, *, secured: bool, requires_tls: bool) -> Outcome:
        mechanism = element.attributes.get("mechanism", "")
        if not secured and (requires_tls or mechanism == "PLAIN"):
            return Failure("encryption-required")  # §6.5.4
        exchange = self._authenticator.begin(mechanism)
        if isinstance(exchange, Failure):
            return exchange
        if element.inner:
            return self._step(exchange, element)
        self._exchange = exchange
        return Challenge(b"")  # §6.4.2: the client has more to say and waits for an empty challenge

    def _step(self, exchange: Exchange, element: Stanza) -> Outcome:
        try:
            text = "<" if element.children else element.text()
            data = b"" if text == "=" else decode(text)  # §6.4.2: "=" is a response of no bytes
        except ValueError:
            return Failure("incorrect-encoding")  # §6.5.5
        self._exchange = exchange
        return exchange.step(data)

    def _verdict(self, outcome: Outcome) -> Verdict:
        if isinstance(outcome, Challenge):
            answer = f'<challenge xmlns="{SASL}">{_encode(outcome.data)}</challenge>'
            return Verdict(answer=answer.encode())
        self._exchange = None
        if isinstance(outcome, Success):
            answer = f'<success xmlns="{SASL}">{_encode(outcome.data)}</success>'
            return Verdict(answer=answer.encode(), user=outcome.user, is_over=True)
        self._failures += 1
        said = f'<text xml:lang="en">{escape(outcome.text)}</text>' if outcome.text else ""
        answer = f'<failure xmlns="{SASL}"><{outcome.condition}/>{said}</failure>'
        hopeless = self._failures >= self._limits.auth_attempts  # §6.4.5
        return Verdict(answer=answer.encode(), is_over=True, is_hopeless=hopeless)


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
