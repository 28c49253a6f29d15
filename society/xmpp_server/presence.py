"""Presence: who is told who is there (RFC 6121 §4)."""

from __future__ import annotations

from typing import Final, cast, get_args

from .errors import StanzaError
from .jid import Jid
from .limits import Limits
from .messages import Messages
from .rosters import Request
from .stanzas import Stanza
from .subscriptions import Subscriptions
from .switchboard import Session, Switchboard

_UNAVAILABLE: Final = Stanza("presence", {"type": "unavailable"})
_PRIORITY: Final = "jabber:client\npriority"


class Presences:
    """Presence of one server's sessions."""

    def __init__(
        self, switchboard: Switchboard, subscriptions: Subscriptions, messages: Messages, limits: Limits
    ) -> None:
        self._switchboard = switchboard
        self._subscriptions = subscriptions
        self._messages = messages
        self._limits = limits

    def receive(self, session: Session, stanza: Stanza, target: Jid | None) -> None:
        """Act on a presence stanza.

        Raises:
            StanzaError: it must be answered by this error.
        """
        kind = stanza.type
        if len(stanza.inner) > self._limits.served_bytes:
            raise StanzaError("policy-violation", f"presence is limited to {self._limits.served_bytes} bytes")
        if target is not None and target.domain in self._switchboard.services:
            return  # nobody's presence means anything to a service, nor has it one
        if target is not None and target.domain != self._switchboard.domain:
            if kind not in {"unavailable", "error"}:
                raise StanzaError("remote-server-not-found")
        elif kind in get_args(Request):
            if target is not None and target.local and target.local != session.user:
                self._subscribe(session.user, target, cast("Request", kind), stanza)
        elif kind == "probe":
            if target is not None:
                self._probe(session, target.local)
        elif kind not in {"", "unavailable", "error"}:
            raise StanzaError("bad-request", "no such type of presence")
        elif target is not None:
            self._direct(session, stanza, target)
        elif kind == "":
            self._appear(session, stanza)
        elif kind == "unavailable":
            self.vanish(session, stanza)

    def vanish(self, session: Session, stanza: Stanza = _UNAVAILABLE) -> None:
        """Tell everybody who saw the session that it is gone (§4.5.2, §4.6.3). Harmless when repeated."""
        told: set[Session] = set()
        if session.presence is not None:
            session.presence = None
            session.priority = 0
            for other in self._audience(session):
                told.add(other)
                self._switchboard.forward(other, stanza, session.jid, other.bare)
        for jid in session.directed:
            for other in self._addressed(jid):
                if other not in told and other is not session:
                    told.add(other)
                    self._switchboard.forward(other, stanza, session.jid, jid)
        session.directed.clear()

    def _appear(self, session: Session, stanza: Stanza) -> None:
        """Become available, or change what one is (§4.2 and §4.4)."""
        priority = _priority(stanza)
        first = session.presence is None
        heard = not first and session.priority >= 0
        session.presence, session.priority = stanza, priority
        for other in self._audience(session):  # §4.2.2: the session itself is told as well
            self._switchboard.forward(other, stanza, session.jid, other.bare)
        if first:
            self._greet(session)
        if priority >= 0 and not heard:
            self._messages.flush(session)

    def _greet(self, session: Session) -> None:
        """Tell a new session who is there (§4.3), and who wants to see it (§3.1.3)."""
        for user in (session.user, *self._subscriptions.watched(session.user)):
            for other in self._switchboard.available(user):
                if other is not session and other.presence is not None:
                    self._switchboard.forward(session, other.presence, other.jid, session.jid)
        for jid in self._subscriptions.waiting(session.user):
            asking = Stanza("presence", {"type": "subscribe"})
            self._switchboard.forward(session, asking, Jid.parse(jid), session.bare)

    def part(self, user: str, contact: Jid) -> None:
        """Remove a contact from an account's roster, and with it both subscriptions (§2.5.2)."""
        endings: tuple[Request, Request] = ("unsubscribe", "unsubscribed")
        for request in endings:
            self._subscribe(user, contact, request, Stanza("presence", {"type": request}))
        self._subscriptions.remove(user, contact)

    def _subscribe(self, user: str, target: Jid, request: Request, stanza: Stanza) -> None:
        if not self._subscriptions.request(user, target, request, stanza):
            return
        if request == "subscribed":  # §3.1.5: and now they see us
            self._show(user, target.local)
        elif request == "unsubscribed":  # §3.2.2
            self._hide(user, target.local)
        elif request == "unsubscribe":  # §3.3.3
            self._hide(target.local, user)
        elif self._subscriptions.may_see(user, target.local):  # they had agreed before
            self._show(target.local, user)

    def _show(self, owner: str, watcher: str) -> None:
        """Send the owner's presence to the watcher's sessions."""
        for other in self._switchboard.available(watcher):
            for mine in self._switchboard.available(owner):
                if mine.presence is not None:
                    self._switchboard.forward(other, mine.presence, mine.jid, other.bare)

    def _hide(self, owner: str, watcher: str) -> None:
        for other in self._switchboard.available(watcher):
            for mine in self._switchboard.available(owner):
                self._switchboard.forward(other, _UNAVAILABLE, mine.jid, other.bare)

    def _probe(self, session: Session, user: str) -> None:
        """Answer a probe (§4.3.2); those who may not see get no answer, as if nobody were there."""
        if self._subscriptions.may_see(session.user, user):
            for other in self._switchboard.available(user):
                if other.presence is not None:
                    self._switchboard.forward(session, other.presence, other.jid, session.jid)

    def _direct(self, session: Session, stanza: Stanza, target: Jid) -> None:
        """Send presence to somebody by name (§4.6)."""
        if stanza.type == "unavailable":
            session.directed.discard(target)
        elif stanza.type == "" and target.local:
            if len(session.directed) >= self._limits.roster_items:
                raise StanzaError("resource-constraint", "too many directed presences")
            session.directed.add(target)
        for other in self._addressed(target):
            self._switchboard.forward(other, stanza, session.jid, target)

    def _addressed(self, jid: Jid) -> list[Session]:
        if not jid.resource:
            return self._switchboard.available(jid.local)
        session = self._switchboard.find(jid)
        return [] if session is None else [session]

    def _audience(self, session: Session) -> list[Session]:
        """Return the available sessions of the account and of those who see its presence."""
        users = (session.user, *self._subscriptions.watchers(session.user))
        return [other for user in users for other in self._switchboard.available(user)]


def _priority(stanza: Stanza) -> int:
    """Read the priority (§4.7.2.3): -128 to 127, 0 when absent."""
    if _PRIORITY not in stanza.children:
        return 0
    text = stanza.tree().findtext("{jabber:client}priority", "").strip()
    try:
        priority = int(text)
    except ValueError:
        raise StanzaError("bad-request", "a priority is a number from -128 to 127") from None
    if not -128 <= priority <= 127:
        raise StanzaError("bad-request", "a priority is a number from -128 to 127")
    return priority
