"""Which peers acknowledge what they get, as far as we have heard of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from behaviours.journaling import Journaling
from resilience.snapshots import Snapshot

REMEMBERED = 10_000
"""Peers that are remembered; beyond that the one makes way that was heard of first."""

_KEY = "acknowledges/"
"""Key of the snapshot that says that a peer acknowledges, followed by its bare JID."""


class Peers:
    """What one agent knows of its peers.

    An account may have sessions that acknowledge and others that do not: an agent, and the command line.
    """

    def __init__(self, journaling: Journaling) -> None:
        self._journaling = journaling
        self._known: OrderedDict[str, bool] = OrderedDict()
        """By bare JID: whether any of its sessions ever did."""
        self._sessions: OrderedDict[str, bool] = OrderedDict()
        """By full JID: whether this one ever did."""

    def restore(self, snapshots: Iterable[Snapshot]) -> None:
        """Go by what a former process has written down."""
        for snapshot in snapshots:
            if snapshot.key.startswith(_KEY):
                self._known[snapshot.key.removeprefix(_KEY)] = True

    def acknowledges(self, jid: str) -> bool | None:
        """Whether a session, or an account, acknowledges; None: nothing has been heard of it yet."""
        session = self._sessions.get(jid)
        return self._known.get(bare(jid)) if session is None else session

    def heard_from(self, jid: str, *, is_marked: bool) -> None:
        """A message has come from a session, whose mark tells; one that ever bore it counts for good."""
        _remember(self._sessions, jid, is_marked or self._sessions.get(jid, False))
        account = bare(jid)
        known = self._known.get(account)
        if known or known is is_marked:
            return
        _remember(self._known, account, is_marked)
        if is_marked:
            acknowledges = Snapshot(agent=self._journaling.agent, key=_KEY + account, form=1, text="")
            self._journaling.open.note(put={acknowledges.key: lambda: acknowledges})


def _remember(known: OrderedDict[str, bool], jid: str, acknowledges: bool) -> None:
    known[jid] = acknowledges
    known.move_to_end(jid)
    if len(known) > REMEMBERED:
        known.popitem(last=False)


def bare(jid: str) -> str:
    """A JID without its resource."""
    return jid.partition("/")[0]
