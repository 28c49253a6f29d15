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
    """What one agent knows of its peers, by bare JID."""

    def __init__(self, journaling: Journaling) -> None:
        self._journaling = journaling
        self._known: OrderedDict[str, bool] = OrderedDict()

    def restore(self, snapshots: Iterable[Snapshot]) -> None:
        """Go by what a former process has written down."""
        for snapshot in snapshots:
            if snapshot.key.startswith(_KEY):
                self._known[snapshot.key.removeprefix(_KEY)] = True

    def acknowledges(self, peer: str) -> bool | None:
        """Whether a peer acknowledges; None: nothing has been heard of it yet."""
        return self._known.get(peer)

    def heard_from(self, peer: str, *, is_marked: bool) -> None:
        """A message has come from a peer, whose mark tells; one that ever bore it counts for good."""
        known = self._known.get(peer)
        if known or known is is_marked:
            return
        self._known[peer] = is_marked
        self._known.move_to_end(peer)
        if is_marked:
            self._journaling.open.note(
                put=(Snapshot(agent=self._journaling.agent, key=_KEY + peer, form=1, text=""),)
            )
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
