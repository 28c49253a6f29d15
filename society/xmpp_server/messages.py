"""Where a message goes (RFC 6121 §8.5).

| to | type | rule |
|---|---|---|
| full JID, connected | any | to that session |
| full JID, not connected | chat, normal | as to the bare JID |
| bare JID | chat, normal | to the listening sessions of the highest priority, all when several are equal |
| bare JID, nobody listening | chat, normal | kept until somebody is; refused when too much waits |
| bare JID, all who listen sleep (`lasting`) | chat, normal | to one of them |
| bare JID | headline | to all listening sessions, or nobody |
| bare JID, or full and not connected | groupchat | refused |
| bare JID, or full and not connected | error | dropped |
| full JID, not connected | headline | dropped |

"Listening" is available with a priority that is not negative. Equal ones all get the message because a server
that picked one could pick the one whose user, or whose frozen process, is away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from .accounts import AccountStore
from .errors import JidError, StoreError
from .headers import header
from .jid import Jid
from .limits import Limits
from .offline import OfflineStore, delay
from .stanzas import Stanza
from .stream import StreamParser
from .switchboard import Session, Switchboard

_NO_STORE = frozenset({"urn:xmpp:hints\nno-store", "urn:xmpp:hints\nno-permanent-store"})  # XEP-0334
_CHAT_STATES = "http://jabber.org/protocol/chatstates\n"
_DELAY = "urn:xmpp:delay\ndelay"


class Messages:
    """Routes messages of one server. Between two full JIDs their order is kept."""

    def __init__(
        self,
        switchboard: Switchboard,
        accounts: AccountStore,
        offline: OfflineStore,
        limits: Limits,
        clock: Callable[[], datetime],
    ) -> None:
        self._switchboard = switchboard
        self._accounts = accounts
        self._offline = offline
        self._limits = limits
        self._clock = clock

    def route(self, sender: Jid, stanza: Stanza, target: Jid) -> None:
        """Send a message on, keep it, refuse it or drop it."""
        board = self._switchboard
        if target.domain != board.domain:
            is_ours = target.domain in board.services  # which take requests, and no messages
            board.refuse(
                sender, stanza, target, "service-unavailable" if is_ours else "remote-server-not-found"
            )  # RFC 6120 §10.4
            return
        kind = stanza.type
        if target.resource and target.local:
            session = board.find(target)
            if session is not None:
                board.forward(session, stanza, sender, target)  # §8.5.3.1
                return
        if kind == "error" or (kind == "headline" and target.resource):
            return  # §8.5.3.2.1
        if not target.local or kind == "groupchat":
            board.refuse(sender, stanza, target, "service-unavailable")
            return
        if kind == "headline":
            for session in board.listening(target.local):
                board.forward(session, stanza, sender, target)
            return
        best = board.best(target.local)
        for session in best:
            board.forward(session, stanza, sender, target)  # §8.5.2.1.1
        if not best:
            self._keep(sender, stanza, target)

    def flush(self, session: Session) -> None:
        """Deliver what waited for this session and account (XEP-0160 §3), also in its sessions that sleep."""
        inherited, session.inherited = session.inherited, []
        for data in inherited:
            self._switchboard.deliver(session, data, self._switchboard.domain, "message")
        for other in self._switchboard.sessions(session.user):
            if other.asleep is not None:
                self.reroute(other.asleep.surrender())
        for xml in self._offline.take(session.user):
            self._switchboard.deliver(session, xml.encode(), self._switchboard.domain, "message")

    def reroute(self, unsent: Iterable[bytes]) -> None:
        """Route messages again that were rendered for a session which ended before they were written.

        Requests are answered. A headline is dropped: all who listen have got their own (§8.5.2.1.2).
        """
        parser = StreamParser(self._limits)
        parser.feed(header(self._switchboard.domain, "again"))
        for data in unsent:
            if not data.startswith((b"<message ", b"<iq ")):
                continue
            for event in parser.feed(data):
                if isinstance(event, Stanza):
                    self._reroute(event)
        parser.close()

    def _reroute(self, stanza: Stanza) -> None:
        try:
            sender, target = Jid.parse(stanza.attributes["from"]), Jid.parse(stanza.attributes["to"])
        except (KeyError, JidError):  # the server's own doing; there is nobody to tell
            return
        board = self._switchboard
        if stanza.kind == "iq":
            if stanza.type in {"get", "set"}:
                board.refuse(sender, stanza, target, "recipient-unavailable")
        elif stanza.type != "headline":
            try:
                self.route(sender, stanza, target)
            except StoreError as error:
                board.refuse(sender, stanza, target, "resource-constraint", str(error))

    def _keep(self, sender: Jid, stanza: Stanza, target: Jid) -> None:
        """Store a message for an account with nobody listening (§8.5.2.2.1)."""
        board, user = self._switchboard, target.local
        if user not in self._accounts:
            board.refuse(sender, stanza, target, "service-unavailable")  # §8.5.1
            return
        if stanza.children and all(child.startswith(_CHAT_STATES) for child in stanza.children):
            return  # XEP-0160 §3: worth nothing later
        if not _NO_STORE.isdisjoint(stanza.children):
            board.refuse(sender, stanza, target, "service-unavailable", "nobody is there to take it now")
            return
        stamp = b"" if _DELAY in stanza.children else delay(board.domain, self._clock())
        xml = stanza.render(sender.xml, target.xml, stamp)
        full = self._what_is_full(user, len(xml))
        if full is not None:
            board.refuse(sender, stanza, target, "resource-constraint", full)
            return
        self._offline.append(user, xml.decode())

    def _what_is_full(self, user: str, size: int) -> str | None:
        """Why a message of so many bytes cannot be kept for an account, if it cannot."""
        limits, offline = self._limits, self._offline
        if offline.count(user) >= limits.offline_messages:
            return "too many messages wait for this account"
        if offline.size(user) + size > limits.offline_bytes:
            return f"too much waits; {limits.offline_bytes:,} bytes of messages are kept for this account"
        if offline.total() + size > limits.offline_total_bytes:
            return (
                f"too much waits; {limits.offline_total_bytes:,} bytes of messages are kept for all accounts "
                "together"
            )
        return None
