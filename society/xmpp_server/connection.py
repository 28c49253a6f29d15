"""One client's TCP connection: asyncio's `Protocol` to one side, `Carrier`, `Wire`, `Reader` to the other."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

from .attending import Attendance
from .errors import StreamError
from .flow import Connections
from .headers import END, failure
from .negotiation import Negotiation, Wire
from .resuming import Resumptions
from .router import Router
from .secure import TlsLayer
from .stanzas import Stanza
from .stream import StreamParser
from .vigil import Vigil
from .writing import Writer, reset


class Connection(asyncio.Protocol):
    """See the module.

    Args:
        connections: the server's others.
        router: takes over after the login.
        context: for TLS, if it is offered.
        negotiate: makes the state of a login.
        resumptions: the sessions that can be resumed.

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
        resumptions: Resumptions,
    ) -> None:
        self._connections = connections
        self._limits = connections.limits
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._parser = StreamParser(self._limits)
        self._attendance = Attendance(self, negotiate(self), router, resumptions)
        self._tls: TlsLayer | None = None
        self._early_bytes = 0
        self._steps = 0
        self._is_closing = False
        self.heard = self._loop.time()
        self._vigil = Vigil(
            self._limits,
            end=self.close,
            hang_up=self._hang_up,
            ping=self._attendance.ping,
            silence=lambda: self._loop.time() - self.heard if self.is_heard else 0.0,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count, limit, and wait for the header. Late ones come even when the server has stopped."""
        self._transport = cast("asyncio.Transport", transport)
        connections = self._connections
        self._writer = Writer(
            self._transport,
            self._limits,
            on_crowded=lambda: connections.hold_speaker(self),
            on_drained=self.release,
            on_slow=lambda: self.close(StreamError("resource-constraint", "you read too slowly")),
        )
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.admit(self)
        self._vigil.begin_login()

    def data_received(self, data: bytes) -> None:
        """Decrypt, parse, act."""
        if self._is_closing:
            return
        self.heard = self._loop.time()
        if self._attendance.session is None:
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
            self._hang_up()

    def eof_received(self) -> bool:
        """Answer the client's end with ours; asyncio then closes the socket."""
        self._hang_up()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave; nothing of this connection stays behind."""
        self._is_closing = True
        self._vigil.stop()
        self._leave(self._writer.abandon(), is_broken=True)
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
        reset(self._transport)

    def detach(self) -> None:
        """Break the connection, of which the session has no need any more."""
        self._attendance.forget()
        self.cut()

    @property
    def is_heard(self) -> bool:
        """Whether what the client says is being read."""
        return not self._connections.backpressure.is_waiting(self)

    def hold_back(self) -> None:
        """Let the speaker wait until this client acknowledges; not for one that itself waits.

        For its word would not be read either: two that send to each other would wait for ever.
        """
        if self.is_heard and self._connections.speaker is not self:
            self._connections.hold_speaker(self)

    def release(self) -> None:
        """Read those again who had to wait for this client."""
        self._connections.backpressure.release(self)

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
        session = self._attendance.bind(user, resource)
        self._welcome()
        return session.jid.xml

    def resume(self, user: str, element: Stanza) -> None:
        """Become the connection of a session that has lost its own."""
        if self._attendance.resume(user, element):
            self._welcome()

    def close(self, error: StreamError | None = None) -> None:
        """Say goodbye and why, leave, and give the client a moment to close as well.

        Closing at once, with bytes unread, would reset the connection and the client might never read why.
        """
        if self._is_closing:
            return
        if self._tls is None or self._tls.established:
            self._attendance.greet()  # RFC 6120 §4.9.1.2: an error needs a stream to be in
        farewell = failure(error) + END if error is not None else END
        unsent = self._writer.finish(self._attendance.last_words + farewell)
        self._is_closing = True
        self._vigil.begin_closing(self.cut)
        self._leave(unsent)

    def _read(self, data: bytes) -> None:
        parser = self._parser
        self._connections.speaker = self
        try:
            for event in parser.feed(data):
                self._attendance.act(event)
                if self._is_closing or self._parser is not parser:
                    break  # RFC 6120 §5.4.3.3, §6.4.6: what follows belongs to no stream
        except StreamError as error:
            self.close(error)
        finally:
            self._connections.speaker = None
        steps = self._attendance.steps
        if self._steps != steps and self._attendance.session is None and not self._is_closing:
            self._steps = steps
            self._vigil.begin_login()

    def _hang_up(self, error: StreamError | None = None) -> None:
        """End a connection whose client has gone without </stream:stream>: the session may be resumed."""
        if not self._attendance.is_managed:
            self.close(error)
        elif not self._is_closing:
            self._is_closing = True
            self._leave(self._writer.abandon(), is_broken=True)
            self._vigil.begin_closing(self.cut)
            self._transport.close()

    def _leave(self, unsent: list[bytes], *, is_broken: bool = False) -> None:
        self._connections.strangers.discard(self)
        self._attendance.end(unsent, is_broken=is_broken)
        self._connections.backpressure.leave(self)

    def _welcome(self) -> None:
        self._connections.strangers.discard(self)
        self._vigil.begin_session()
