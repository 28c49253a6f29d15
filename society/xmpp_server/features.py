"""What the server itself answers: its own requests, and those to accounts, on whose behalf it speaks.

RFC 6121 §8.5.2.1.3: an IQ to a bare JID is never handed to a client.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from .errors import StanzaError
from .jid import Jid
from .limits import Limits
from .presence import Presences
from .registration import REGISTER, Registration
from .stanzas import Stanza, quote
from .subscriptions import ROSTER, Subscriptions
from .switchboard import Session

DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"
PING: Final = "urn:xmpp:ping"
VERSION: Final = "jabber:iq:version"
PRIVATE: Final = "jabber:iq:private"
VCARD: Final = "vcard-temp"
SESSION: Final = "urn:ietf:params:xml:ns:xmpp-session"

Handler = Callable[[Session, Stanza], str]


class Features:
    """Answers IQs. A handler returns the result's content or raises StanzaError."""

    def __init__(
        self,
        presences: Presences,
        subscriptions: Subscriptions,
        registration: Registration,
        limits: Limits,
        version: str,
        remove_account: Callable[[str], None],
        services: Sequence[Jid] = (),
    ) -> None:
        self._presences = presences
        self._subscriptions = subscriptions
        self._registration = registration
        self._limits = limits
        self._version = version
        self._remove_account = remove_account
        # A domain that is an IPv6 address has no subdomains.
        self._services = "".join(f'<item jid="{each.xml}"/>' for each in services if "[" not in each.domain)
        self._private: dict[tuple[str, str], bytes] = {}
        self._vcards: dict[str, bytes] = {}
        own: dict[tuple[str, str], Handler] = {
            ("get", f"{DISCO_INFO}\nquery"): self._account_info,
            ("get", f"{DISCO_ITEMS}\nquery"): self._items,
            ("get", f"{PING}\nping"): self._nothing,
            ("get", f"{ROSTER}\nquery"): lambda session, _stanza: self._subscriptions.get(session),
            ("set", f"{ROSTER}\nquery"): self._set_roster,
            ("get", f"{VCARD}\nvCard"): lambda session, _stanza: self._vcard(session.user),
            ("set", f"{VCARD}\nvCard"): self._set_vcard,
            ("get", f"{PRIVATE}\nquery"): self._get_private,
            ("set", f"{PRIVATE}\nquery"): self._set_private,
        }
        server: dict[tuple[str, str], Handler] = {
            ("get", f"{DISCO_INFO}\nquery"): self._server_info,
            ("get", f"{DISCO_ITEMS}\nquery"): self._server_items,
            ("get", f"{PING}\nping"): self._nothing,
            ("get", f"{VERSION}\nquery"): self._get_version,
        }
        both: dict[tuple[str, str], Handler] = {
            # RFC 3921 §3, which RFC 6121 dropped and clients still ask for.
            ("set", f"{SESSION}\nsession"): self._nothing,
            ("get", f"{REGISTER}\nquery"): lambda session, _stanza: self._registration.form(session.user),
            ("set", f"{REGISTER}\nquery"): self._register,
        }
        self._own = own | both
        self._server = server | both

    def to_server(self, session: Session, stanza: Stanza) -> str:
        """Answer a get or set that is addressed to the domain."""
        return self._find(self._server, stanza)(session, stanza)

    def to_self(self, session: Session, stanza: Stanza) -> str:
        """Answer one without address, or to the sender's own bare JID."""
        return self._find(self._own, stanza)(session, stanza)

    def to_account(self, session: Session, stanza: Stanza, owner: Jid) -> str:
        """Answer one to somebody else's bare JID. Strangers learn nothing, not even that there is one."""
        child = stanza.children[0]
        if stanza.type == "get" and self._subscriptions.may_see(session.user, owner.local):
            if child == f"{DISCO_INFO}\nquery":
                return self._account_info(session, stanza)
            if child == f"{PING}\nping":
                return ""
        if stanza.type == "get" and child == f"{VCARD}\nvCard" and owner.local in self._vcards:
            return self._vcard(owner.local)
        raise StanzaError("service-unavailable")

    def forget(self, user: str) -> None:
        """Drop what is kept for an account that is removed."""
        self._vcards.pop(user, None)
        for key in [key for key in self._private if key[0] == user]:
            del self._private[key]

    def _find(self, handlers: dict[tuple[str, str], Handler], stanza: Stanza) -> Handler:
        handler = handlers.get((stanza.type, stanza.children[0]))
        if handler is None:
            raise StanzaError("service-unavailable")  # RFC 6120 §8.4
        if len(stanza.inner) > self._limits.served_bytes:
            raise StanzaError(
                "policy-violation", f"the server reads at most {self._limits.served_bytes} bytes"
            )
        return handler

    def _nothing(self, _session: Session, _stanza: Stanza) -> str:
        return ""

    def _server_info(self, _session: Session, stanza: Stanza) -> str:
        features = [DISCO_INFO, DISCO_ITEMS, PING, VERSION, VCARD, PRIVATE, ROSTER, "msgoffline"]
        if self._registration.is_open:
            features.append(REGISTER)
        return _info(stanza, '<identity category="server" type="im" name="Locution"/>', features)

    def _account_info(self, _session: Session, stanza: Stanza) -> str:
        features = [DISCO_INFO, DISCO_ITEMS, PING]
        return _info(stanza, '<identity category="account" type="registered"/>', features)

    def _items(self, _session: Session, stanza: Stanza) -> str:
        if stanza.tree()[0].get("node"):
            raise StanzaError("item-not-found")
        return f'<query xmlns="{DISCO_ITEMS}"/>'

    def _server_items(self, session: Session, stanza: Stanza) -> str:
        self._items(session, stanza)
        return f'<query xmlns="{DISCO_ITEMS}">{self._services}</query>'

    def _get_version(self, _session: Session, _stanza: Stanza) -> str:
        return f'<query xmlns="{VERSION}"><name>Locution</name><version>{self._version}</version></query>'

    def _set_roster(self, session: Session, stanza: Stanza) -> str:
        leaving = self._subscriptions.set(session, stanza.tree()[0])
        if leaving is not None:
            self._presences.part(session.user, leaving)
        return ""

    def _register(self, session: Session, stanza: Stanza) -> str:
        if self._registration.change(session.user, stanza.tree()[0]):
            self._remove_account(session.user)
        return ""

    def _vcard(self, user: str) -> str:
        # XEP-0054 §3.1: an empty one rather than an error, which some clients take badly.
        return self._vcards.get(user, b'<vCard xmlns="vcard-temp"/>').decode()

    def _set_vcard(self, session: Session, stanza: Stanza) -> str:
        self._vcards[session.user] = _standalone(stanza)
        return ""

    def _get_private(self, session: Session, stanza: Stanza) -> str:
        name = _private_name(stanza)
        kept = self._private.get((session.user, name))
        if kept is not None:
            return kept.decode()
        namespace, _, local = name[1:].partition("}")
        return f'<query xmlns="{PRIVATE}">{_empty(local, namespace)}</query>'

    def _set_private(self, session: Session, stanza: Stanza) -> str:
        key = (session.user, _private_name(stanza))
        mine = sum(user == session.user for user, _name in self._private)
        if key not in self._private and mine >= self._limits.private_entries:
            raise StanzaError("resource-constraint", "too much private data")
        self._private[key] = _standalone(stanza)
        return ""


def ping(sender: str, recipient: str) -> bytes:
    """Write a ping of the server's own (XEP-0199 §4.1); the addresses are escaped."""
    request = f'id="ping-{secrets.token_hex(6)}" type="get"'
    return f'<iq from="{sender}" to="{recipient}" {request}><ping xmlns="{PING}"/></iq>'.encode()


def _info(stanza: Stanza, identity: str, features: list[str]) -> str:
    if stanza.tree()[0].get("node"):
        raise StanzaError("item-not-found")  # XEP-0030 §3.2
    variables = "".join(f'<feature var="{feature}"/>' for feature in features)
    return f'<query xmlns="{DISCO_INFO}">{identity}{variables}</query>'


def _standalone(stanza: Stanza) -> bytes:
    """Return the payload as text that needs no declarations from around it."""
    return ET.tostring(stanza.tree()[0])


def _private_name(stanza: Stanza) -> str:
    """Return the one element's name, as "{namespace}local" (XEP-0049 §2)."""
    query = stanza.tree()[0]
    if len(query) != 1 or not query[0].tag.startswith("{"):
        raise StanzaError("not-acceptable", "private data is one element with its own namespace")
    return query[0].tag


def _empty(local: str, namespace: str) -> str:
    return f'<{local} xmlns="{quote(namespace)}"/>'
