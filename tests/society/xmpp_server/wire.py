"""A client that sends exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import ssl
from types import TracebackType
from typing import Self

from society.xmpp_server import CertificateAuthority, XmppServer

HEADER = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams' to='{domain}' version='1.0'>"
)
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PATIENCE = 10.0  # seconds for what should take milliseconds; nothing here waits for time to pass


def plain(user: str, password: str, authzid: str = "") -> str:
    data = base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()
    return f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{data}</auth>"


def client_context(authority: CertificateAuthority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


class Wire:
    """`async with Wire(server) as wire`: connected, nothing said yet."""

    def __init__(self, server: XmppServer) -> None:
        self.server = server
        self.received = b""
        self.jid = ""

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.server.port, limit=2**24)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)

    async def until(self, pattern: str) -> str:
        """Read up to and including what matches; fail when the stream ends before."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = re.search(pattern.encode(), self.received, re.DOTALL)
                if found:
                    text, self.received = self.received[: found.end()], self.received[found.end() :]
                    return text.decode()
                data = await self.reader.read(65536)
                if not data:
                    raise AssertionError(f"closed after {self.received!r}, waiting for {pattern!r}")
                self.received += data

    async def closed(self) -> str:
        """Read until the server closes; return what it said."""
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(OSError):  # an SSLError is one
                while data := await self.reader.read(65536):
                    self.received += data
        text, self.received = self.received, b""
        return text.decode(errors="replace")

    async def open(self) -> str:
        self.send(HEADER.format(domain=self.server.domain))
        return await self.until("</stream:features>|<stream:features/>")

    async def secure(self, authority: CertificateAuthority) -> str:
        await self.open()
        self.send(STARTTLS)
        await self.until("<proceed[^>]*>")
        assert self.received == b""
        await self.writer.start_tls(client_context(authority), server_hostname=self.server.domain)
        return await self.open()

    async def authenticate(self, authority: CertificateAuthority, user: str, password: str = "secret") -> str:
        await self.secure(authority)
        self.send(plain(user, password))
        await self.until("<success[^>]*>(</success>)?")
        return await self.open()

    async def login(
        self,
        authority: CertificateAuthority,
        user: str,
        resource: str = "r",
        *,
        presence: str | None = "<presence/>",
        password: str = "secret",
    ) -> Self:
        """Log in and, unless presence is None, become available."""
        await self.authenticate(authority, user, password)
        wish = f"<resource>{resource}</resource>" if resource else ""
        self.send(f"<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{wish}</bind></iq>")
        answer = await self.until("</iq>")
        found = re.search("<jid>(.*)</jid>", answer)
        assert found is not None, answer
        self.jid = found[1]
        if presence is not None:
            self.send(presence)
            await self.until("<presence[^>]*?(/>|>.*?</presence>)")
        return self

    async def sync(self) -> str:
        """Return what has come before the answer to a ping, which is everything sent to us until now."""
        self.send(f"<iq type='get' id='sync' to='{self.server.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
        text = await self.until("<iq[^>]*id=.sync.[^>]*type=.result.[^>]*>(</iq>)?")
        return text[: text.rindex("<iq")]

    async def message(self) -> str:
        return await self.until("<message[^>]*?(/>|>.*?</message>)")


async def is_served(server: XmppServer, authority: CertificateAuthority, user: str = "alice") -> bool:
    """Whether a newcomer can still log in and be sent a message."""
    async with Wire(server) as wire:
        await wire.login(authority, user, "probe")
        wire.send(f"<message to='{wire.jid}' id='probe'><body>still there</body></message>")
        await wire.until("still there</body></message>")
    return True
