"""One client's TCP connection: asyncio's `Protocol` to one side; `Link`, `Wire` and `Reader` to the other."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from typing import cast

from .errors import StreamError
from .features import ping
from .flow import Connections
from .headers import END, failure
from .negotiation import Negotiation, Wire
from .router import Router
from .secure import TlsLayer
from .stanzas import STREAMS, Stanza
from .stream import Closed, Event, StreamParser
from .switchboard import Session
from .writing import Writer


class Connection(asyncio.Protocol):
    """See the module.

    Args:
        connections: the server's others.
        router: takes over after the login.
        context: for TLS, if it is offered.
        negotiate: makes the state of a login.

    Attributes:
        heard: when the client last said something, on the event loop's clock.
    """

    _transport: asyncio.Transport
    _writer: Writer

    def __init__(
        self,
        connections: Connections[Connection],
        router: Router,
        context: ssl.SSLContext | None,
        negotiate: Callable[[Wire], Negotiation],
    ) -> None:
        self._connections = connections
        self._limits = connections.limits
        self._router = router
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._negotiation = negotiate(self)
        self._parser = StreamParser(self._limits)
        self._session: Session | None = None
        self._tls: TlsLayer | None = None
        self._early_bytes = 0
        self._steps = 0
        self._is_closing = False
        self._pinged = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.heard = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count, limit, and wait for the header. Late ones come even when the server has stopped."""
        self._transport = cast("asyncio.Transport", transport)
        connections = self._connections
        self._writer = Writer(
            self._transport,
            self._limits,
            on_crowded=self._hold_back_speaker,
            on_drained=lambda: connections.backpressure.release(self),
            on_slow=lambda: self.close(StreamError("resource-constraint", "you read too slowly")),
        )
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.admit(self)
        self._schedule(self._limits.login_seconds, self._late)

    def data_received(self, data: bytes) -> None:
        """Decrypt, parse, act."""
        if self._is_closing:
            return
        self.heard = self._loop.time()
        if self._session is None:
            self._early_bytes += len(data)
            if self._early_bytes > self._limits.unauthenticated_bytes:
                self.close(StreamError("policy-violation", "too much before the login"))
                return
        if self._tls is None:
            self._read(data)
            return
        try:
            received = self._tls.receive(data)
        except ssl.SSLError:
            self._transport.write(self._tls.last_words())
            self.close()
            return
        self._transport.write(received.wire)
        if received.plain:
            self._read(received.plain)
        if received.ended:
            self.close()

    def eof_received(self) -> bool:
        """Answer the client's end with ours; asyncio then closes the socket."""
        self.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave; nothing of this connection stays behind."""
        self._is_closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._leave(self._writer.abandon())
        self._parser.close()
        self._connections.forget(self)

    def pause_writing(self) -> None:
        """The client takes less than it gets."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writer.resume()

    def deliver(self, data: bytes) -> None:
        """Send, at the end of this turn of the event loop."""
        if not self._is_closing:
            self._writer.send(data)

    def pause_reading(self) -> None:
        """Take no more from the client for now."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on; the client could not be heard meanwhile."""
        self.heard = self._loop.time()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def cut(self) -> None:
        """Break the connection; asyncio calls `connection_lost` in its next turn."""
        self._is_closing = True
        if not self._transport.is_closing():
            # Reset, so that nothing of the connection lingers in the kernel.
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def start_tls(self) -> None:
        """Answer in plain text, then speak TLS; what came behind <starttls/> is gone with the parser."""
        if self._context is None:
            raise StreamError("internal-server-error")
        self._writer.flush()
        self._writer.tls = self._tls = TlsLayer(self._context)
        self.restart()

    def restart(self) -> None:
        """Parse a new stream from here."""
        self._parser.close()
        self._parser = StreamParser(self._limits)

    def bind(self, user: str, resource: str) -> str:
        """Become a session."""
        self._session = self._router.bind(user, resource, self)
        self._connections.strangers.discard(self)
        self._schedule(self._limits.idle_seconds, self._check_alive)
        return self._session.jid.xml

    def close(self, error: StreamError | None = None) -> None:
        """Say goodbye and why, leave, and give the client a moment to close as well.

        Closing at once, with bytes unread, would reset the connection and the client might never read why.
        """
        if self._is_closing:
            return
        if self._tls is None or self._tls.established:
            self._negotiation.greet()  # RFC 6120 §4.9.1.2: an error needs a stream to be in
        unsent = self._writer.finish((failure(error) if error is not None else b"") + END)
        self._is_closing = True
        self._schedule(self._limits.closing_seconds, self.cut)
        self._leave(unsent)

    def _read(self, data: bytes) -> None:
        parser = self._parser
        self._connections.speaker = self
        try:
            for event in parser.feed(data):
                self._act(event)
                if self._is_closing or self._parser is not parser:
                    break  # RFC 6120 §5.4.3.3, §6.4.6: what follows belongs to no stream
        except StreamError as error:
            self.close(error)
        finally:
            self._connections.speaker = None
        if self._steps != self._negotiation.steps and self._session is None and not self._is_closing:
            self._steps = self._negotiation.steps
            self._schedule(self._limits.login_seconds, self._late)

    def _act(self, event: Event) -> None:
        if isinstance(event, Stanza):
            if self._session is not None and event.namespace != STREAMS:
                self._router.receive(self._session, event)
            elif event.namespace == STREAMS and event.kind == "error":
                self.close()  # RFC 6120 §4.9.1.1: the peer's error is the end
            else:
                self._negotiation.receive(event)
        elif isinstance(event, Closed):
            self.close()  # §4.4
        else:
            self._negotiation.receive(event)

    def _leave(self, unsent: list[bytes]) -> None:
        self._connections.strangers.discard(self)
        session, self._session = self._session, None
        if session is not None:
            self._router.leave(session, unsent)
        self._connections.backpressure.leave(self)

    def _hold_back_speaker(self) -> None:
        """Do not read who is sending to us more than we can pass on."""
        speaker = self._connections.speaker
        if speaker is not None:
            self._connections.backpressure.hold(speaker, self)

    def _schedule(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback)

    def _late(self) -> None:
        self.close(StreamError("connection-timeout", f"no login within {self._limits.login_seconds:g} s"))

    def _check_alive(self) -> None:
        """Ping a silent peer, and give up one that does not answer (XEP-0199 §4.1)."""
        session = self._session
        if session is None:
            return
        now, limits = self._loop.time(), self._limits
        is_unread = self._connections.backpressure.is_waiting(self)
        silence = 0.0 if is_unread else now - self.heard
        if silence < limits.idle_seconds:
            self._schedule(limits.idle_seconds - silence, self._check_alive)
        elif self._pinged > self.heard:
            self.close(StreamError("connection-timeout", "no sign of life"))
        else:
            self._pinged = now
            self.deliver(ping(self._router.switchboard.domain_xml, session.jid.xml))
            self._schedule(limits.ping_seconds, self._check_alive)
