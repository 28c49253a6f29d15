"""Rosters: who may see whom (RFC 6121 §2 and Appendix A). The subscription rules are one table."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypedDict
from xml.sax.saxutils import escape

from .stanzas import quote

Request = Literal["subscribe", "subscribed", "unsubscribe", "unsubscribed"]
Direction = Literal["out", "in"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One contact. The subscription is four facts (RFC 6121 §A.1).

    Attributes:
        jid: the contact's bare JID.
        to: we see the contact's presence.
        by: the contact sees ours ("from", which is a Python keyword).
        asking: we asked to see theirs and have no answer.
        asked: they asked to see ours and have no answer.
        listed: the user's own entry; False for one that only remembers `asked` (§A.1.2: not to be shown).
    """

    jid: str
    name: str = ""
    groups: tuple[str, ...] = ()
    to: bool = False
    by: bool = False
    asking: bool = False
    asked: bool = False
    listed: bool = False

    @property
    def subscription(self) -> str:
        """RFC 6121 §2.1.2.5."""
        if self.to:
            return "both" if self.by else "to"
        return "from" if self.by else "none"

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.listed or self.to or self.by or self.asking or self.asked)

    @property
    def is_visible(self) -> bool:
        """Whether the user's clients may see the item."""
        return self.listed or self.to or self.by or self.asking

    def xml(self) -> str:
        """Write the item as a roster has it."""
        name = f' name="{quote(self.name)}"' if self.name else ""
        asking = ' ask="subscribe"' if self.asking else ""
        groups = "".join(f"<group>{escape(group)}</group>" for group in self.groups)
        return (
            f'<item jid="{quote(self.jid)}" subscription="{self.subscription}"{name}{asking}>{groups}</item>'
        )


class _Facts(TypedDict, total=False):
    to: bool
    by: bool
    asking: bool
    asked: bool


# RFC 6121 §A.2 and §A.3: what each presence of subscription changes on the side that sends it and on the
# side that gets it. Repeating one changes nothing, which is how the router knows not to tell the client.
RULES: Final[dict[tuple[Direction, Request], _Facts]] = {
    ("out", "subscribe"): {"asking": True},
    ("out", "subscribed"): {"by": True, "asked": False},
    ("out", "unsubscribe"): {"to": False, "asking": False},
    ("out", "unsubscribed"): {"by": False, "asked": False},
    ("in", "subscribe"): {"asked": True},
    ("in", "subscribed"): {"to": True, "asking": False},
    ("in", "unsubscribe"): {"by": False, "asked": False},
    ("in", "unsubscribed"): {"to": False, "asking": False},
}


def changed(item: Item, direction: Direction, request: Request) -> Item:
    """Apply the table. Requests that mean nothing in this state leave the item as it is.

    - asking for what one has (§A.2.1);
    - approving what was not asked for (§A.2.2; pre-approval, §3.4, is not offered);
    - being approved without having asked (§A.3.2).
    """
    if request == "subscribe" and (item.to if direction == "out" else item.by):
        return item
    if request == "subscribed" and not (item.asked if direction == "out" else item.asking):
        return item
    return replace(item, **RULES[direction, request])


class RosterStore(Protocol):
    """Port: where rosters are kept. Called on the event loop, so it must not wait long."""

    def items(self, user: str) -> list[Item]:
        """Return a roster, invisible items included."""
        ...

    def get(self, user: str, jid: str) -> Item | None:
        """Return one item."""
        ...

    def put(self, user: str, item: Item) -> None:
        """Add or replace an item."""
        ...

    def remove(self, user: str, jid: str) -> None:
        """Forget an item; nothing happens when there is none."""
        ...


class MemoryRosters:
    """Rosters of one process."""

    def __init__(self) -> None:
        self._rosters: defaultdict[str, dict[str, Item]] = defaultdict(dict)

    def items(self, user: str) -> list[Item]:
        """See `RosterStore`."""
        return list(self._rosters[user].values()) if user in self._rosters else []

    def get(self, user: str, jid: str) -> Item | None:
        """See `RosterStore`."""
        return self._rosters[user].get(jid) if user in self._rosters else None

    def put(self, user: str, item: Item) -> None:
        """See `RosterStore`."""
        self._rosters[user][item.jid] = item

    def remove(self, user: str, jid: str) -> None:
        """See `RosterStore`."""
        if user in self._rosters:
            self._rosters[user].pop(jid, None)
            if not self._rosters[user]:
                del self._rosters[user]
