"""What becomes of the stanzas of a session: checked, stamped, and handed to whoever they concern."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from .accounts import AccountStore
from .errors import JidError, StanzaError, StoreError, StreamError
from .features import Features
from .jid import Jid, prepare_resource
from .limits import Limits
from .messages import Messages
from .offline import OfflineStore
from .presence import Presences
from .pubsub import PubSub
from .pubsub_nodes import NodeStore
from .registration import Registration
from .rosters import RosterStore
from .stanzas import CLIENT, Stanza, reply
from .subscriptions import Subscriptions
from .switchboard import Link, Session, Switchboard


class Router:
    """The rules of one server, without sockets."""

    def __init__(
        self,
        switchboard: Switchboard,
        *,
        accounts: AccountStore,
        offline: OfflineStore,
        rosters: RosterStore,
        nodes: NodeStore,
        registration: Registration,
        limits: Limits,
        clock: Callable[[], datetime],
        version: str,
    ) -> None:
        self.switchboard = switchboard
        self._accounts = accounts
        self._offline = offline
        self._limits = limits
        self._parse = functools.lru_cache(maxsize=4096)(Jid.parse)  # a society has few addresses, and repeats
        self._messages = Messages(switchboard, accounts, offline, limits, clock)
        self._subscriptions = Subscriptions(switchboard, accounts, rosters, limits)
        self._presences = Presences(switchboard, self._subscriptions, self._messages, limits)
        self._pubsub = PubSub(switchboard, self._messages, nodes, limits)
        self._features = Features(
            self._presences,
            self._subscriptions,
            registration,
            limits,
            version,
            self.remove_account,
            (self._pubsub.jid,),
        )

    def bind(self, user: str, resource: str, link: Link) -> Session:
        """Give a connection its full JID (RFC 6120 §7); without a wish the server chooses the resource.

        Raises:
            StanzaError: the resource is unusable, or the account has too many sessions.
        """
        try:
            prepared = prepare_resource(resource) if resource else secrets.token_urlsafe(9)
        except JidError as error:
            raise StanzaError("bad-request", f"the resource is unusable: {error.reason}") from error
        jid = Jid(user, self.switchboard.domain, prepared)
        session = Session(jid, link)
        former = self.switchboard.find(jid)
        if former is not None:
            # §7.7.2.2: the newcomer is more likely to be alive. The former one leaves before this goes on.
            former.heir = session
            former.link.close(StreamError("conflict", "somebody has logged in with the same resource"))
        else:
            self._make_room(user)
        self.switchboard.add(session)
        return session

    def _make_room(self, user: str) -> None:
        sessions = self.switchboard.sessions(user)
        if len(sessions) >= self._limits.resources:
            asleep = next((session for session in sessions if session.asleep is not None), None)
            if asleep is None:
                text = f"at most {self._limits.resources} sessions"
                raise StanzaError("resource-constraint", text)  # §7.6.2.1
            asleep.link.close()

    def leave(self, session: Session, unsent: Iterable[bytes] = ()) -> None:
        """End a session; what was not written any more goes to its heir or the account's others, or waits.

        An heir comes first: others may not know what to do with what was meant for one address. With Prosody
        0.12 it inherits where there are no others; else all comes back, also what some of them have got.
        """
        if self.switchboard.remove(session):
            self._presences.vanish(session)
            # Of a store that fails nobody is left who could be told.
            with suppress(StoreError):
                self._pubsub.leave(session)
            left = [*session.inherited, *unsent]
            if session.heir is not None:
                session.heir.inherited = [each for each in left if self._is_inherited(each)]
                left = [each for each in left if each.startswith(b"<iq ")]
            self._messages.reroute(left)

    def _is_inherited(self, unsent: bytes) -> bool:
        """Whether a stanza is a message, and no news of a node: a reader asks for what it has missed."""
        is_news = unsent.startswith(f'<message from="{self._pubsub.jid}"'.encode())
        return unsent.startswith(b"<message ") and not is_news

    def give_back(self, unsent: Iterable[bytes]) -> None:
        """Answer requests to a session that was there and cannot take them now."""
        self._messages.reroute(unsent)

    def remove_account(self, user: str) -> None:
        """Remove an account with all that belongs to it, and end its sessions."""
        for contact in self._subscriptions.contacts(user):
            self._presences.part(user, contact)
        self._accounts.remove(user)
        self._offline.take(user)
        self._pubsub.forget(user)
        self._features.forget(user)

    def receive(self, session: Session, stanza: Stanza) -> None:
        """Act on one stanza.

        Raises:
            StreamError: the stream must end.
        """
        kind = stanza.kind
        if stanza.namespace != CLIENT or kind not in {"message", "presence", "iq"}:
            raise StreamError("unsupported-stanza-type")
        claimed = stanza.attributes.get("from")
        if claimed is not None:
            self._check_sender(session, claimed)
        target: Jid | None = None
        try:
            to = stanza.attributes.get("to")
            if to is not None:
                target = self._parse(to)
            if stanza.oversized:
                text = f"a stanza is limited to {self._limits.stanza_bytes} bytes"
                self.switchboard.refuse(session.jid, stanza, target, "policy-violation", text)
            elif kind == "message":
                # RFC 6120 §10.3.1: without `to`, a message is for the sender's own account.
                self._messages.route(session.jid, stanza, target or session.bare)
            elif kind == "iq":
                self._iq(session, stanza, target)
            else:
                self._presences.receive(session, stanza, target)
        except JidError as error:
            self.switchboard.refuse(session.jid, stanza, None, "jid-malformed", error.reason)
        except StanzaError as error:
            self.switchboard.refuse(session.jid, stanza, target, error.condition, error.text, error.detail)
        except StoreError as error:
            self.switchboard.refuse(session.jid, stanza, target, "resource-constraint", str(error))

    def _check_sender(self, session: Session, claimed: str) -> None:
        """RFC 6120 §8.1.2.1 lets a server validate or override; validating shows a mistake (§4.9.3.9).

        Whatever was claimed, what is delivered carries the address that the server knows.
        """
        try:
            sender = self._parse(claimed)
        except JidError:
            raise StreamError("invalid-from", "from is no JID") from None
        if sender not in (session.jid, session.bare):
            raise StreamError("invalid-from", f"you are {session.jid.full}")

    def _iq(self, session: Session, stanza: Stanza, target: Jid | None) -> None:
        """Route or answer an IQ (RFC 6120 §8.2.3, RFC 6121 §8.5)."""
        board = self.switchboard
        kind = stanza.type
        if stanza.id is None or kind not in {"get", "set", "result", "error"}:
            raise StanzaError("bad-request", "an IQ has an id, and a type of get, set, result or error")
        if kind in {"get", "set"} and len(stanza.children) != 1:
            raise StanzaError("bad-request", "a request has exactly one payload")
        if target is not None and target.domain != board.domain and target.domain not in board.services:
            raise StanzaError("remote-server-not-found")
        if target is not None and target.domain == board.domain and target.resource:
            other = board.find(target) if target.local else None
            if other is None:
                raise StanzaError("service-unavailable")  # RFC 6121 §8.5.3.2.3
            if other.asleep is not None and kind in {"get", "set"}:
                raise StanzaError("recipient-unavailable")  # the reason is in `lasting`
            board.forward(other, stanza, session.jid, target)
        elif kind in {"get", "set"}:  # answers to our own pings need nothing
            content = self._answer(session, stanza, target)
            origin = target.xml if target is not None else ""
            data = reply(stanza, origin, session.jid.xml, "result", content)
            board.deliver(session, data, target.full if target is not None else session.bare.full, "iq")
            if kind == "set" and session.user not in self._accounts:
                self._expel(session.user)

    def _answer(self, session: Session, stanza: Stanza, target: Jid | None) -> str:
        if target is None or target == session.bare:
            return self._features.to_self(session, stanza)
        if target.domain == self._pubsub.jid.domain:
            return self._pubsub.answer(session, stanza, target)
        if not target.local:
            return self._features.to_server(session, stanza)
        return self._features.to_account(session, stanza, target)

    def _expel(self, user: str) -> None:
        """End the sessions of an account that is gone (XEP-0077 §3.2)."""
        sessions: Sequence[Session] = self.switchboard.sessions(user)
        for session in sessions:
            session.link.close(StreamError("not-authorized", "the account is removed"))
