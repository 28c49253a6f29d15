"""One stream that may be gone on with after its connection has broken (XEP-0198), counters and XML only.

Stream management counts: each side says how many stanzas of the other it has handled. So a broken connection
loses nothing and doubles nothing, if the server still has the session when we are back: both send again what
the other has not counted, in order. If it has not, what was handed over is in doubt as without all this.

A server that keeps the session of a killed peer decides how soon that is noticed: ours refuses requests to it
at once, so probes find it gone within 4 s; Prosody lets them wait, so it is silent, which takes 12 s.

slixmpp's own plugin is not used: it counts stanza objects, and ours are text; it enables after the session
has begun, so that the first messages are not counted; and it takes more acknowledged than sent for good.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final
from xml.sax.saxutils import quoteattr

from behaviours.wire import CLIENT, Element

_log = logging.getLogger(__name__)

SM: Final = "urn:xmpp:sm:3"
ENABLE: Final = f'<enable xmlns="{SM}" resume="true"/>'
REQUEST: Final = f'<r xmlns="{SM}"/>'

WINDOW = 20
"""Stanzas after which the server is asked how many it has handled, if nobody asks before."""

KEPT = 10_000
"""Stanzas that are kept. With a server that leaves more unacknowledged the session cannot be resumed."""

_MODULUS: Final = 2**32
_OURS: Final = f"{{{SM}}}"
_STANZAS: Final = frozenset(CLIENT + kind for kind in ("message", "presence", "iq"))
_BEGINS: Final = ("<message", "<presence", "<iq")
_ID = re.compile(r"""<message[^>]*?\sid=(?:"([^"]*)"|'([^']*)')""")


class Resuming:
    """What we and the server owe each other, over any number of connections.

    Args:
        write: writes to the server; nothing happens when there is no connection.
        on_resumed: called when the session goes on, once everything is sent again that has to be.
        on_lost: called when it does not, though it might have.
    """

    def __init__(
        self, write: Callable[[str], None], on_resumed: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self._write, self._on_resumed, self._on_lost = write, on_resumed, on_lost
        self.is_offered = False
        """Whether the server speaks it, as far as it has said on this connection."""
        self._is_counting = False
        self._is_counted = False
        self._session = ""
        self._handled = 0
        self._said = 0
        """What of it the server knows."""
        self._kept: deque[str] = deque()
        self._first = 0
        """How many we had sent before the first of those that are kept."""
        self._acknowledged = 0
        self._asked = 0
        self._waiters: list[tuple[int, asyncio.Future[bool]]] = []
        self._verdict: asyncio.Future[bool] | None = None
        self._settled: frozenset[str] = frozenset()

    @property
    def is_counting(self) -> bool:
        """Whether the server tells us what it has handled."""
        return self._is_counting

    @property
    def can_resume(self) -> bool:
        """Whether the session may be gone on with over another connection."""
        return bool(self._session)

    def begin(self) -> None:
        """A new session stands: count, if the server does. What follows counts, whatever it will say (§3)."""
        if self._session:  # it has not even been asked for
            self.forget()
            self._on_lost()
        if self.is_offered:
            self._is_counting = True
            self._write(ENABLE)

    def counted(self, text: str) -> str:
        """Keep what is about to be written, if it is a stanza; return it with what has to go beside it.

        That may be a count of what we have handled: the server, which would ask for it, need not.
        """
        if not text.startswith(_BEGINS):
            return text
        count = self._count() if self._is_counted and self._handled != self._said else ""
        if not self._is_counting:
            return count + text
        self._kept.append(text)
        sent = self._first + len(self._kept)
        if sent - self._acknowledged > KEPT:
            _log.warning("the server has not acknowledged %d stanzas: the session cannot be resumed", KEPT)
            self.forget()
        elif sent - max(self._asked, self._acknowledged) >= WINDOW:
            self._asked = sent
            return count + text + REQUEST
        return count + text

    def takes(self, element: Element) -> bool:
        """Count a stanza of the server, or act on its word; True if it was that, for nobody else."""
        if element.tag in _STANZAS:
            self._handled = (self._handled + 1) % _MODULUS
            return False
        if not element.tag.startswith(_OURS):
            return False
        match element.tag.removeprefix(_OURS):
            case "r":
                self._write(self._count())
            case "a":
                self._acknowledge(element)
            case "enabled":
                self._handled = self._said = 0
                self._is_counted = True
                if self._is_counting and element.get("resume") in {"true", "1"}:
                    self._session = element.get("id", "")
            case "resumed":
                self._go_on(element)
            case "failed":
                self._give_up(element)
        return True

    def farewell(self) -> None:
        """Before the stream is closed: what we have handled is not to be kept for us."""
        if self._is_counted:
            self._write(self._count())

    async def resume(self) -> bool:
        """Ask the server to go on; False if a new session is needed. True as well if the connection broke."""
        self._verdict = asyncio.get_running_loop().create_future()
        self._write(f'<resume xmlns="{SM}" h="{self._handled}" previd={quoteattr(self._session)}/>')
        return await self._verdict

    async def confirmed(self, timeout: float) -> bool:
        """Whether the server has handled everything that is sent by now, be it after a break.

        False if it does not say so in time, or if the session is lost.
        """
        sent = self._first + len(self._kept)
        if self._acknowledged < sent:
            waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiters.append((sent, waiter))
            self._ask()
            try:
                if not await asyncio.wait_for(waiter, timeout):
                    return False
            except TimeoutError:
                return False
            finally:
                self._waiters = [each for each in self._waiters if each[1] is not waiter]
        self._let_go(sent)
        return True

    def is_settled(self, stanza: str) -> bool:
        """Whether a message that is handed over again need not be.

        That is so while everybody is told that we are online again: the server has handled it, or it was sent
        again already.
        """
        return bool(self._settled) and _id(stanza) in self._settled

    def settle(self) -> None:
        """Everybody has been told."""
        self._settled = frozenset()

    def broke(self) -> None:
        """The connection is lost: keep what is needed to resume, if that is possible."""
        self.is_offered = self._is_counting = self._is_counted = False
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_result(True)
        if not self._session:
            self.forget()

    def forget(self) -> None:
        """The session is over, or cannot be resumed any more."""
        self._is_counting = False
        self._session = ""
        for _sent, waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(False)
        self._kept.clear()
        self._first = self._acknowledged = self._asked = 0

    def _count(self) -> str:
        self._said = self._handled
        return f'<a xmlns="{SM}" h="{self._handled}"/>'

    def _ask(self) -> None:
        if self._is_counting:
            self._asked = self._first + len(self._kept)
            self._write(REQUEST)

    def _acknowledge(self, element: Element) -> None:
        text = element.get("h") or ""
        more = (int(text) - self._acknowledged) % _MODULUS if text.isdecimal() else _MODULUS
        if self._acknowledged + more > self._first + len(self._kept):
            if self._kept:
                _log.warning("the server acknowledges stanzas that were not sent: h=%r", text)
            return
        self._acknowledged += more
        for sent, waiter in self._waiters:
            if sent <= self._acknowledged and not waiter.done():
                waiter.set_result(True)
        self._let_go(self._acknowledged - KEPT)

    def _let_go(self, sent: int) -> None:
        while self._first < sent and self._kept:
            self._kept.popleft()
            self._first += 1

    def _go_on(self, element: Element) -> None:
        self._acknowledge(element)
        self._is_counting = self._is_counted = True
        self._said = self._handled
        self._settled = frozenset(map(_id, self._kept)) - {""}
        for stanza in islice(self._kept, self._acknowledged - self._first, None):
            self._write(stanza)
        self._ask()
        self._on_resumed()
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_result(True)

    def _give_up(self, element: Element) -> None:
        if element.get("h"):
            self._acknowledge(element)  # §5: this much it has handled of the session that is gone
        handled = islice(self._kept, self._acknowledged - self._first)
        settled = frozenset(map(_id, handled)) - {""}
        self.forget()
        self._settled = settled
        if self._verdict is not None and not self._verdict.done():
            self._on_lost()
            self._verdict.set_result(False)


def _id(stanza: str) -> str:
    found = _ID.match(stanza)
    return (found[1] or found[2] or "") if found is not None else ""
