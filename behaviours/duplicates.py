"""Telling second copies: a network, or a sender in doubt, may deliver a message twice."""

from __future__ import annotations

from collections import OrderedDict

from ontology.acl import AclMessage

REMEMBERED = 20_000
"""Messages that are remembered; the oldest make way."""


class Seen:
    """The messages that have come in, by sender and stanza id."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._seen: OrderedDict[tuple[str, str, int], None] = OrderedDict()

    def is_second(self, sender: str, stanza_id: str, message: AclMessage) -> bool:
        """Whether this message has come in before; from now on it has.

        What it says counts as well: some clients number their stanzas from 1 at each login.
        """
        key = (sender, stanza_id, hash(message))
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return False
