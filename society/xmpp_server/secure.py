"""One connection's TLS, without sockets: ciphertext and plain text in, both out.

asyncio's `start_tls` is not used: what the client pipelined before the handshake must be thrown away, what it
sends in the same segment as the end of the handshake must not, and uvloop's version differs from asyncio's.
"""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass

_READ = 256 * 1024


@dataclass(frozen=True, slots=True)
class Opened:
    """What a read brought: bytes for the application, bytes for the wire, and whether the peer has ended."""

    plain: bytes
    wire: bytes
    ended: bool


class TlsLayer:
    """The server's side of TLS on one connection. Every method may raise ssl.SSLError: then close."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.established = False

    def receive(self, data: bytes) -> Opened:
        """Take ciphertext. During the handshake there is no plain text, only an answer for the wire."""
        self._incoming.write(data)
        plain: list[bytes] = []
        ended = False
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
            while chunk := self._tls.read(_READ):
                plain.append(chunk)
            ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        return Opened(plain[0] if len(plain) == 1 else b"".join(plain), self._outgoing.read(), ended)

    def encrypt(self, data: bytes) -> bytes:
        """Turn plain text into ciphertext. Memory BIOs have no bound, so all of it is taken at once."""
        self._tls.write(data)
        return self._outgoing.read()

    def finish(self) -> bytes:
        """Say goodbye (close_notify); the peer's own is not waited for."""
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        return self._outgoing.read()

    def last_words(self) -> bytes:
        """After a failure: the alert that tells the peer why, if there is one."""
        return self._outgoing.read()
