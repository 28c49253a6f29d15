"""Who is under stream management, and who of them sleeps (XEP-0198 §3 and §5)."""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from .acknowledging import count_of, enabled, failed
from .errors import StreamError
from .lasting import Carrier, Lasting
from .limits import Limits
from .router import Router
from .stanzas import Stanza
from .switchboard import Session

_REMEMBERED: Final = 1000
"""Sessions that have ended, whose clients can still be told what was handled."""


class Resumptions:
    """The sessions of one server that can be resumed.

    Args:
        router: the server's; it ends them.
        limits: how long and how many may sleep.
    """

    def __init__(self, router: Router, limits: Limits) -> None:
        self.limits = limits
        self._router = router
        self._resumable: dict[tuple[str, str], Lasting] = {}
        self._asleep: dict[Lasting, None] = {}
        self._ended: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._is_closed = False

    def enable(self, session: Session, carrier: Carrier, element: Stanza) -> Lasting:
        """Begin to count (§3)."""
        wishes = element.attributes
        token = secrets.token_urlsafe(18) if wishes.get("resume") in {"true", "1"} else ""
        seconds, wish = self.limits.resume_seconds, wishes.get("max", "")
        if wish.isascii() and wish.isdigit() and len(wish) < 10:
            seconds = min(seconds, int(wish))
        carrier.deliver(enabled(token, math.ceil(seconds)))
        lasting = Lasting(session, carrier, self, token, seconds)
        session.link = lasting
        if token:
            self._resumable[session.user, token] = lasting
        return lasting

    def resume(self, user: str, element: Stanza, carrier: Carrier) -> Lasting | None:
        """Find the session that a client wants to go on with (§5); it has been told when there is none.

        Only its own account finds it, whoever knows the token.

        Raises:
            StreamError: the client's count cannot be true. The session has ended: nobody can say any more
                what has arrived.
        """
        handled = count_of(element)
        key = user, element.attributes.get("previd", "")
        lasting = self._resumable.get(key)
        if lasting is None:
            carrier.deliver(failed("item-not-found", self._ended.get(key)))
            return None
        try:
            lasting.ledger.acknowledge(handled)
        except StreamError:
            lasting.close()
            raise
        self._asleep.pop(lasting, None)
        return lasting

    def admit(self, lasting: Lasting) -> bool:
        """See `Home`. When one too many sleeps, who has slept longest ends."""
        if self._is_closed:
            return False
        while len(self._asleep) >= self.limits.sleeping_sessions:
            next(iter(self._asleep)).end()
        self._asleep[lasting] = None
        return True

    def bury(self, lasting: Lasting, unacknowledged: list[bytes]) -> None:
        """See `Home`."""
        self._asleep.pop(lasting, None)
        key = lasting.session.user, lasting.token
        if self._resumable.pop(key, None) is not None:
            self._ended[key] = lasting.ledger.handled
            if len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
        self._router.leave(lasting.session, unacknowledged)

    def give_back(self, unacknowledged: Iterable[bytes]) -> None:
        """See `Home`."""
        self._router.give_back(unacknowledged)

    def close(self) -> None:
        """End all that sleep; from now on nobody falls asleep."""
        self._is_closed = True
        for lasting in list(self._asleep):
            lasting.end()
