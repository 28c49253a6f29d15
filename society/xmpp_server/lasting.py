"""One session's link under stream management: it counts, and it can outlast its connection (XEP-0198).

When the connection breaks without </stream:stream> the session falls asleep and stays for a while:

- Messages, presence and answers to its own requests wait in order, and are sent when it is resumed.
- It stays available to those who see its presence. A message to the bare JID goes to a session that is
  awake where the account has one, also to one that comes later (`surrender`).
- A request to it is refused at once, with recipient-unavailable. A client that was killed looks like one
  whose network is down for a second: whoever depends on it finds out by pinging (`behaviours.conversing`),
  and must not wait for an answer that cannot come before the session ends. So a request of type get that it
  has not acknowledged is answered as well when it falls asleep. One of type set may have been carried out:
  that waits.

When nobody resumes it in time, or too much waits, it ends as if it had closed just now: its presence is
unavailable, and what was not acknowledged goes the way of what was not written (`Messages.reroute`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from .acknowledging import REQUEST, Ledger, acknowledgement, count_of, failed, resumed
from .errors import StreamError
from .limits import Limits
from .stanzas import Stanza
from .switchboard import Session

ASK_AFTER = 10
"""Unacknowledged stanzas after which the client is asked how many it has handled."""
ASK_WITHIN = 0.1
"""Seconds in which it is asked in any case. Most clients of ours say it by themselves before."""


class Carrier(Protocol):
    """The connection of a session."""

    @property
    def is_heard(self) -> bool:
        """Whether what the client says is being read: it may have to wait for somebody (`flow`)."""
        ...

    def deliver(self, data: bytes) -> None:
        """Send; nothing happens when the connection is closed by now."""
        ...

    def cut(self) -> None:
        """Break the TCP connection with no goodbye."""
        ...

    def close(self, error: StreamError | None = None) -> None:
        """End the stream, and with it the session."""
        ...

    def detach(self) -> None:
        """Break the TCP connection; the session goes on over another one."""
        ...

    def hold_back(self) -> None:
        """Let wait who is sending to this client, until `release`."""
        ...

    def release(self) -> None:
        """Hear again who had to wait."""
        ...


class Home(Protocol):
    """Where sessions sleep, and who buries them."""

    limits: Limits

    def admit(self, lasting: Lasting) -> bool:
        """Whether the session may fall asleep."""
        ...

    def bury(self, lasting: Lasting, unacknowledged: list[bytes]) -> None:
        """End a session, with what its client may not have got."""
        ...

    def give_back(self, unacknowledged: Iterable[bytes]) -> None:
        """Answer requests that nobody will answer now."""
        ...


class Lasting:
    """See the module.

    Args:
        session: whose link this is.
        carrier: its connection.
        home: the server's.
        token: by which it can be resumed; "" when it cannot.
        seconds: how long it sleeps.

    Attributes:
        ledger: counts what comes in; the connection does that, for each stanza it has handled.
    """

    def __init__(self, session: Session, carrier: Carrier, home: Home, token: str, seconds: float) -> None:
        self.session = session
        self.token = token
        self.ledger = Ledger()
        self._carrier: Carrier | None = carrier
        self._home = home
        self._limits = home.limits
        self._seconds = seconds
        self._asked: int | None = None  # how much had been sent when we asked for the count that we await
        self._asking: asyncio.TimerHandle | None = None
        self._is_over = False
        self._timer: asyncio.TimerHandle | None = None  # asleep: until the end; crowded: our patience

    def deliver(self, data: bytes) -> None:
        """See `Link`; while asleep it waits."""
        if self._is_over:
            return
        self.ledger.push(data)
        carrier = self._carrier
        if carrier is None:
            if self._is_crowded:
                self.end()
            return
        carrier.deliver(data)
        if self._asked is None:
            self._ask_soon()
        if self._is_crowded:
            carrier.hold_back()
            if self._timer is None:
                self._be_patient()

    def cut(self) -> None:
        """See `Link`."""
        if self._carrier is not None:
            self._carrier.cut()

    def close(self, error: StreamError | None = None) -> None:
        """See `Link`."""
        if self._carrier is not None:
            self._carrier.close(error)
        self.end()  # also where the connection was closing already

    def receive(self, element: Stanza) -> None:
        """Act on an element of stream management.

        Raises:
            StreamError: the stream must end.
        """
        if element.kind == "r":
            self._say(acknowledgement(self.ledger.handled))
        elif element.kind == "a":
            self._acknowledge(count_of(element))
        elif element.kind in {"enable", "resume"}:
            self._say(failed("unexpected-request"))  # §3: once for each stream; §5: before binding
        else:
            raise StreamError("unsupported-stanza-type")

    def part(self, *, is_broken: bool) -> None:
        """The connection has ended; if it broke, the session may fall asleep."""
        self._carrier = None
        self._stop_timer()
        if self._is_over or not (is_broken and self.token and self._home.admit(self)):
            self.end()
            return
        self.session.asleep = self
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self.end)
        self._home.give_back(self.ledger.take_questions())

    def wake(self, carrier: Carrier) -> None:
        """Go on over another connection, whose client has said what it got."""
        self._stop_timer()
        self.session.asleep = None
        former, self._carrier = self._carrier, carrier
        if former is not None:
            former.detach()  # it broke, and we have not noticed yet
        carrier.deliver(resumed(self.token, self.ledger.handled))
        for data in self.ledger.to_repeat():
            carrier.deliver(data)
        self._asked = None
        self._ask()

    def surrender(self) -> list[bytes]:
        """Give up the messages that are for the account, to another session of it that has come."""
        return self.ledger.take_messages_to(self.session.bare.xml.encode())

    def end(self) -> None:
        """End the session. Harmless when repeated."""
        if not self._is_over:
            self._is_over = True
            self._carrier = None
            self._stop_timer()
            self.session.asleep = None
            self._home.bury(self, self.ledger.to_repeat())

    @property
    def _is_crowded(self) -> bool:
        ledger, limits = self.ledger, self._limits
        return len(ledger) > limits.unacknowledged_stanzas or ledger.size > limits.outgoing_bytes

    def _say(self, data: bytes) -> None:
        if self._carrier is not None:
            self._carrier.deliver(data)

    def _ask_soon(self) -> None:
        if len(self.ledger) >= ASK_AFTER:
            self._ask()
        elif self._asking is None and len(self.ledger):
            self._asking = asyncio.get_running_loop().call_later(ASK_WITHIN, self._ask)

    def _ask(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if len(self.ledger):
            self._asked = self.ledger.sent
            self._say(REQUEST)

    def _acknowledge(self, handled: int) -> None:
        before = len(self.ledger)
        self.ledger.acknowledge(handled)
        asked, self._asked = self._asked, None
        if asked != self.ledger.sent:  # else one that cannot count would be asked again and again
            self._ask_soon()
        if self._timer is not None and self._carrier is not None and len(self.ledger) < before:
            self._stop_timer()
            if self._is_crowded:
                self._be_patient()
            else:
                self._carrier.release()

    def _be_patient(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._limits.slow_seconds, self._give_up)

    def _give_up(self) -> None:
        if self._carrier is not None and self._carrier.is_heard:
            self._carrier.close(StreamError("resource-constraint", "you do not acknowledge what you get"))
        else:
            self._be_patient()  # it may have acknowledged, and we do not read it at present

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
