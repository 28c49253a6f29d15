"""Rosters and subscriptions as the clients see them (RFC 6121 §2 and §3)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from xml.etree import ElementTree as ET

from .accounts import AccountStore
from .errors import JidError, StanzaError
from .jid import Jid
from .limits import Limits
from .rosters import Direction, Item, Request, RosterStore, changed
from .stanzas import Stanza, quote
from .switchboard import Session, Switchboard

ROSTER = "jabber:iq:roster"
_QUERY = f"{{{ROSTER}}}"


class Subscriptions:
    """Keeps both sides' rosters in step; both accounts are on this server, or there is nobody to ask."""

    def __init__(
        self, switchboard: Switchboard, accounts: AccountStore, rosters: RosterStore, limits: Limits
    ) -> None:
        self._switchboard = switchboard
        self._accounts = accounts
        self._rosters = rosters
        self._limits = limits

    def watchers(self, user: str) -> list[str]:
        """Return the accounts that see this one's presence."""
        return self._local_users(item for item in self._rosters.items(user) if item.by)

    def watched(self, user: str) -> list[str]:
        """Return the accounts whose presence this one sees."""
        return self._local_users(item for item in self._rosters.items(user) if item.to)

    def may_see(self, user: str, owner: str) -> bool:
        """Whether `user` is the owner or has a subscription to the owner's presence."""
        if user == owner:
            return True
        item = self._rosters.get(owner, f"{user}@{self._switchboard.domain}")
        return item is not None and item.by

    def waiting(self, user: str) -> list[str]:
        """Return who asked this account and has no answer: bare JIDs (§3.1.3: told at every login)."""
        return [item.jid for item in self._rosters.items(user) if item.asked]

    def get(self, session: Session) -> str:
        """Answer a roster request; from now on this session gets the changes (§2.1.3)."""
        session.interested = True
        items = "".join(item.xml() for item in self._rosters.items(session.user) if item.is_visible)
        return f'<query xmlns="{ROSTER}">{items}</query>'

    def set(self, session: Session, query: ET.Element) -> Jid | None:
        """Add or rename one item (§2.1.5, §2.3, §2.4); return the contact when it is to be removed instead.

        Removing also ends the subscriptions, which is a matter of presence: see `Presences.part`.
        """
        if len(query) != 1 or query[0].tag != f"{_QUERY}item":
            raise StanzaError("bad-request", "a roster set has exactly one item")
        entry = query[0]
        try:
            contact = Jid.parse(entry.get("jid", ""))
        except JidError as error:
            raise StanzaError("jid-malformed", error.reason) from error
        jid = contact.bare
        known = self._rosters.get(session.user, jid)
        if entry.get("subscription") == "remove":
            if known is None or not known.is_visible:
                raise StanzaError("item-not-found")
            return contact
        groups = tuple(dict.fromkeys(group.text or "" for group in entry.findall(f"{_QUERY}group")))
        if "" in groups or any(len(text.encode()) > 1023 for text in (*groups, entry.get("name", ""))):
            raise StanzaError("not-acceptable", "names and groups have 1 to 1023 bytes")
        if known is None and len(self._rosters.items(session.user)) >= self._limits.roster_items:
            raise StanzaError(
                "resource-constraint", f"a roster has at most {self._limits.roster_items} items"
            )
        item = replace(known or Item(jid=jid), name=entry.get("name", ""), groups=groups, listed=True)
        self._rosters.put(session.user, item)
        self._push(session.user, item.xml())
        return None

    def request(self, user: str, target: Jid, request: Request, stanza: Stanza) -> bool:
        """Carry out one presence of subscription; False when it changed nothing (§3.1 to §3.3)."""
        me = Jid(user, self._switchboard.domain, "")
        contact = Jid(target.local, target.domain, "")
        before = self._rosters.get(user, contact.bare) or Item(jid=contact.bare)
        if (
            before.is_empty
            and request == "subscribe"
            and len(self._rosters.items(user)) >= self._limits.roster_items
        ):
            return False
        if not self._change(user, contact.bare, "out", request) and not (
            request == "subscribe" and before.asking
        ):
            return False
        if contact.local not in self._accounts:
            return False  # §8.5.1: silently
        theirs = self._rosters.get(contact.local, me.bare)
        if request == "subscribe" and theirs is not None and theirs.by:
            # §3.1.3: they had agreed already, so their server answers for them.
            self._change(user, contact.bare, "in", "subscribed")
            answer = Stanza("presence", {"type": "subscribed"})
            self._tell(user, answer, contact, me, "subscribed")
            return True
        if not self._change(contact.local, me.bare, "in", request):
            return False
        self._tell(contact.local, stanza, me, contact, request)
        return True

    def contacts(self, user: str) -> list[Jid]:
        """Return everybody in an account's roster, those who only asked included."""
        return [Jid.parse(item.jid) for item in self._rosters.items(user)]

    def remove(self, user: str, contact: Jid) -> None:
        """Forget an item whose subscriptions have ended (§2.5.2)."""
        self._rosters.remove(user, contact.bare)
        self._push(user, f'<item jid="{quote(contact.bare)}" subscription="remove"/>')

    def _change(self, user: str, jid: str, direction: Direction, request: Request) -> bool:
        """Apply one rule to one side's item, and tell that side's clients."""
        before = self._rosters.get(user, jid) or Item(jid=jid)
        after = changed(before, direction, request)
        if after == before:
            return False
        if after.is_visible:
            after = replace(after, listed=True)  # it stays until the user removes it
        if after.is_empty:
            self._rosters.remove(user, jid)
        else:
            self._rosters.put(user, after)
        if after.is_visible and after.xml() != (before.xml() if before.is_visible else ""):
            self._push(user, after.xml())
        return True

    def _tell(self, user: str, stanza: Stanza, sender: Jid, recipient: Jid, request: Request) -> None:
        """Show a presence of subscription to an account's clients (§3.1.3 and §3.1.6)."""
        for session in self._switchboard.sessions(user):
            if session.presence is not None if request == "subscribe" else session.interested:
                self._switchboard.forward(session, stanza, sender, recipient)

    def _push(self, user: str, item: str) -> None:
        """Tell an account's interested sessions of a change (§2.1.6)."""
        for session in self._switchboard.sessions(user):
            if session.interested:
                data = (
                    f'<iq to="{session.jid.xml}" id="push-{secrets.token_hex(6)}" type="set">'
                    f'<query xmlns="{ROSTER}">{item}</query></iq>'
                )
                self._switchboard.deliver(session, data.encode(), session.bare.full, "iq")

    def _local_users(self, items: Iterable[Item]) -> list[str]:
        suffix = f"@{self._switchboard.domain}"
        return [item.jid.removesuffix(suffix) for item in items if item.jid.endswith(suffix)]
