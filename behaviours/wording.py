"""In which form each peer is answered: the one that it wrote in last, which it can read."""

from __future__ import annotations

from collections import OrderedDict

from behaviours.wire import SPADE, Incoming, Received, Unreadable
from ontology.aid import AgentIdentifier

PEERS = 10_000
"""Peers of another form than SPADE's that are remembered; the oldest make way."""


class Wording:
    """The forms of one agent's peers, by full JID: one account may have several clients."""

    def __init__(self, most: int = PEERS) -> None:
        self._most = most
        self._forms: OrderedDict[str, str] = OrderedDict()

    def note(self, incoming: Incoming | None) -> None:
        """Take note of how somebody has written to us."""
        match incoming:
            case Received(message=message, form=form) if message.sender is not None:
                jid = message.sender.jid
            case Unreadable(sender=sender, form=form):
                jid = sender.jid
            case _:
                return
        self._forms.pop(jid, None)
        if form != SPADE:
            self._forms[jid] = form
        if len(self._forms) > self._most:
            self._forms.popitem(last=False)

    def of(self, to: AgentIdentifier) -> str:
        """The form for a peer, as `wire.render` takes it."""
        return self._forms.get(to.jid, SPADE)
