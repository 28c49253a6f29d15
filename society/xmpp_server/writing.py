"""What goes out to one client.

Sending never waits: bytes are gathered during one turn of the event loop and written together. While the
client takes less than it gets they are held here, and above `Limits.outgoing_bytes` whoever sends more is not
read any longer, so memory is bounded. A client that takes nothing for `Limits.slow_seconds` is given up. What
is held here then is not lost, see `finish`; what the system had taken from us may be.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Final

from .limits import Limits
from .secure import TlsLayer

HIGH_WATER: Final = 256 * 1024
"""Bytes that asyncio may hold before we hold them."""


def reset(transport: asyncio.Transport) -> None:
    """Break a TCP connection at once, so that nothing of it lingers in the kernel."""
    if not transport.is_closing():
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Writer:
    """Gathers, encrypts, writes.

    Args:
        transport: where to.
        limits: see there.
        on_crowded: called for each stanza that exceeds `Limits.outgoing_bytes`.
        on_drained: called when the client has caught up.
        on_slow: called when it has not for too long.

    Attributes:
        tls: set to encrypt what is sent from then on.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        limits: Limits,
        *,
        on_crowded: Callable[[], None],
        on_drained: Callable[[], None],
        on_slow: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._limits = limits
        self._on_crowded = on_crowded
        self._on_drained = on_drained
        self._on_slow = on_slow
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_flushing = False
        self._is_full = False
        self._timer: asyncio.TimerHandle | None = None
        self.tls: TlsLayer | None = None
        transport.set_write_buffer_limits(high=HIGH_WATER)

    def send(self, data: bytes) -> None:
        """Send at the end of this turn of the event loop, or when the client has caught up."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._is_full:
            if self._held_bytes > self._limits.outgoing_bytes:
                self._on_crowded()
        elif self._held_bytes > HIGH_WATER:
            self.flush()
        elif not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is held, unless the client is behind."""
        self._is_flushing = False
        if self._held and not self._is_full:
            data = b"".join(self._held)
            self._held.clear()
            self._held_bytes = 0
            self._write(data)

    def pause(self) -> None:
        """The client is behind."""
        self._is_full = True
        self._timer = self._loop.call_later(self._limits.slow_seconds, self._on_slow)

    def resume(self) -> None:
        """The client has taken what asyncio held."""
        self._is_full = False
        self._stop_timer()
        self.flush()
        if not self._is_full:
            self._on_drained()

    def finish(self, farewell: bytes) -> list[bytes]:
        """Write a farewell and end; return the stanzas that the client will not get because it was behind."""
        unsent: list[bytes] = []
        if self._is_full:
            unsent, self._held = self._held, []
        self._held.append(farewell)
        data = b"".join(self._held)
        self._held = []
        self._stop_timer()
        if not self._transport.is_closing():
            if self.tls is not None and self.tls.established:
                self._write(data)
                # The client, told by TLS, closes first: then no TIME_WAIT of ours keeps the port busy.
                self._transport.write(self.tls.finish())
            else:
                if self.tls is None:
                    self._write(data)
                if self._transport.can_write_eof():
                    self._transport.write_eof()
        return unsent

    def abandon(self) -> list[bytes]:
        """The connection is lost: return the stanzas that were not written."""
        self._stop_timer()
        unsent, self._held = self._held, []
        return unsent

    def _write(self, data: bytes) -> None:
        if self.tls is not None:
            try:
                data = self.tls.encrypt(data)
            except ssl.SSLError:
                self._transport.abort()
                return
        self._transport.write(data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
