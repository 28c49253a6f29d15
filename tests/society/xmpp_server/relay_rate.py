"""Measure how many messages one server relays in a second, one way, over TLS.

    python -m tests.society.xmpp_server.relay_rate [messages] [bytes]

The server has a process of its own; sender and receiver share another one.
"""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import socket
import ssl
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from society.xmpp_server import CertificateAuthority, XmppServer
from tests.society.xmpp_server.wire import HEADER, STARTTLS


def _serve(folder: Path, pipe: Connection) -> None:
    async def main() -> None:
        authority = CertificateAuthority.open(folder)
        async with XmppServer(passwords={"a": "secret", "b": "secret"}, authority=authority) as server:
            pipe.send(server.port)
            started = time.process_time()
            await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
            pipe.send(time.process_time() - started)

    asyncio.run(main())


def _login(port: int, authority: CertificateAuthority, user: str) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    header = HEADER.format(domain="localhost").encode()

    def ask(sock: socket.socket, data: bytes, end: bytes) -> None:
        sock.sendall(data)
        got = b""
        while end not in got:
            got += sock.recv(65536)

    ask(raw, header, b"</stream:features>")
    ask(raw, STARTTLS.encode(), b"<proceed")
    context = ssl.create_default_context(cafile=str(authority.file))
    tls = context.wrap_socket(raw, server_hostname="localhost")
    ask(tls, header, b"</stream:features>")
    secret = base64.b64encode(f"\0{user}\0secret".encode())
    ask(
        tls,
        b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + secret + b"</auth>",
        b"<success",
    )
    ask(tls, header, b"</stream:features>")
    bind = b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind>"
    ask(tls, b"<iq type='set' id='1'>" + bind + b"</iq>", b"</iq>")
    ask(tls, b"<presence/>", b"<presence")
    return tls


def _acl(size: int) -> bytes:
    """A message in SPADE's wire form, of about this many bytes."""
    fields = "".join(
        f'<field var="{name}" type="text-single"><value>{value}</value></field>'
        for name, value in {"performative": "inform", "protocol": "fipa-request", "language": "json"}.items()
    )
    form = f'<x xmlns="jabber:x:data" type="form"><title>spade:x:metadata</title>{fields}</x>'
    start = '<message to="b@localhost/r" type="chat" id="0123456789abcdef"><body>'
    end = f"</body>{form}</message>"
    return (start + "x" * max(1, size - len(start) - len(end)) + end).encode()


def measure(messages: int, size: int, batch: int) -> tuple[float, float]:
    """Return messages a second, and the share of a processor that the server took.

    `batch` messages go into one write, and so into one TLS record, of the sender.
    """
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        authority = CertificateAuthority.open(Path(name))
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(Path(name), theirs))
        process.start()
        port = ours.recv()
        sender, receiver = _login(port, authority, "a"), _login(port, authority, "b")
        chunk = _acl(size) * batch
        started = time.perf_counter()
        thread = threading.Thread(target=lambda: [sender.sendall(chunk) for _ in range(messages // batch)])
        thread.start()
        count, tail = 0, b""
        while count < messages // batch * batch:
            data = tail + receiver.recv(262144)
            count += data.count(b"</message>")
            tail = data[-9:]
        elapsed = time.perf_counter() - started
        thread.join()
        sender.close()
        receiver.close()
        ours.send(None)
        busy = ours.recv()
        process.join()
    return count / elapsed, busy / elapsed


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    length = int(sys.argv[2]) if len(sys.argv) > 2 else 700
    for together in (1, 20):
        rate, load = measure(wanted, length, together)
        print(  # noqa: T201
            f"{rate:,.0f} messages of {length} bytes a second, sent {together} at a time; "
            f"the server took {load:.0%} of one core"
        )
