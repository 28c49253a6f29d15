"""Who is connected, and the one way by which stanzas reach them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from .errors import StreamError
from .faults import Interceptor, Passage
from .jid import Jid
from .stanzas import Stanza, quote, refusal


class Link(Protocol):
    """A session's connection."""

    def deliver(self, data: bytes) -> None:
        """Send; nothing happens when the connection is closed by now."""
        ...

    def cut(self) -> None:
        """Break the TCP connection with no goodbye."""
        ...

    def close(self, error: StreamError | None = None) -> None:
        """End the stream; the session leaves the switchboard before this returns."""
        ...


class Asleep(Protocol):
    """What a session without a connection waits for: see `lasting`."""

    def surrender(self) -> Iterable[bytes]:
        """Give up the messages that are for the account, to another session of it that has come."""
        ...


class Session:
    """One bound resource.

    Attributes:
        presence: the last presence without `to`; None while unavailable.
        priority: of that presence.
        interested: it asked for the roster, so it gets pushes (RFC 6121 §2.2).
        directed: who got presence from it by name, and must hear that it left (§4.6.3).
        asleep: its connection has broken, and it may be resumed (XEP-0198 §5); None while it is awake.
        heir: the session that takes its JID.
        inherited: messages that its predecessor has not got; it gets them once it is there.
    """

    __slots__ = (
        "asleep",
        "bare",
        "directed",
        "heir",
        "inherited",
        "interested",
        "jid",
        "link",
        "presence",
        "priority",
        "user",
    )

    def __init__(self, jid: Jid, link: Link) -> None:
        self.jid = jid
        self.bare = Jid(jid.local, jid.domain, "")
        self.user = jid.local
        self.link = link
        self.presence: Stanza | None = None
        self.priority = 0
        self.interested = False
        self.directed: set[Jid] = set()
        self.asleep: Asleep | None = None
        self.heir: Session | None = None
        self.inherited: list[bytes] = []


class Switchboard:
    """The sessions of one server, found in constant time."""

    def __init__(self, domain: str, faults: Interceptor | None = None) -> None:
        self.domain = domain
        self.domain_xml = quote(domain)
        self._faults = faults
        self._users: dict[str, dict[str, Session]] = {}
        self.services: set[str] = set()
        """Other domains that the server itself answers for. Nobody has an account there."""

    def __iter__(self) -> Iterator[Session]:
        return (session for sessions in self._users.values() for session in sessions.values())

    def add(self, session: Session) -> None:
        """Connect a session; there must be none with its JID."""
        self._users.setdefault(session.user, {})[session.jid.resource] = session

    def remove(self, session: Session) -> bool:
        """Disconnect a session. False when it is not (or no longer) the one with its JID."""
        sessions = self._users.get(session.user, {})
        if sessions.get(session.jid.resource) is not session:
            return False
        del sessions[session.jid.resource]
        if not sessions:
            del self._users[session.user]
        return True

    def find(self, jid: Jid) -> Session | None:
        """Return the session with exactly this full JID."""
        sessions = self._users.get(jid.local)
        return sessions.get(jid.resource) if sessions else None

    def sessions(self, user: str) -> list[Session]:
        """Return an account's sessions, available or not."""
        return list(self._users.get(user, {}).values())

    def available(self, user: str) -> list[Session]:
        """Return the sessions that sent presence."""
        return [session for session in self._users.get(user, {}).values() if session.presence is not None]

    def listening(self, user: str) -> list[Session]:
        """Return the sessions that take messages to the bare JID: available, priority not negative."""
        return [session for session in self.available(user) if session.priority >= 0]

    def best(self, user: str) -> list[Session]:
        """Return the listening sessions of the highest priority; all of them when several are equal.

        Where all sleep it is one of them, so that what waits there is not delivered twice when they end.
        """
        listening = self.listening(user)
        if len(listening) > 1:
            awake = [session for session in listening if session.asleep is None]
            highest = max(session.priority for session in awake or listening)
            best = [session for session in awake or listening if session.priority == highest]
            return best if awake else best[-1:]
        return listening

    def deliver(self, target: Session, data: bytes, sender: str, kind: str) -> None:
        """Send one stanza to a session, past the interceptor if there is one."""
        if self._faults is None:
            target.link.deliver(data)
        else:
            self._faults.pass_on(Passage(sender, target.jid.full, kind, data), target.link)

    def forward(self, target: Session, stanza: Stanza, sender: Jid, recipient: Jid) -> None:
        """Send a stanza with these addresses."""
        self.deliver(target, stanza.render(sender.xml, recipient.xml), sender.full, stanza.kind)

    def refuse(
        self,
        sender: Jid,
        stanza: Stanza,
        tried: Jid | None,
        condition: str,
        text: str = "",
        detail: str = "",
    ) -> None:
        """Answer a stanza with an error from the address that was tried (RFC 6120 §8.3.1).

        Nothing happens when the sender has left or when the stanza must not be answered by an error.
        """
        origin = tried.xml if tried is not None else self.domain_xml
        data = refusal(stanza, origin, sender.xml, condition, text, detail)
        target = self.find(sender)
        if data is not None and target is not None:
            self.deliver(target, data, tried.full if tried is not None else self.domain, stanza.kind)
