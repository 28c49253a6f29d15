"""Measure what one publication to many readers costs, over TLS.

    python -m tests.society.xmpp_server.fanout_rate [readers] [publications] [bytes]

The server has a process of its own; publisher and readers share another one.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path

from society.xmpp_server import CertificateAuthority, Limits, XmppServer
from tests.society.xmpp_server.wire import Wire

PUBSUB = "http://jabber.org/protocol/pubsub"


def _serve(folder: Path, pipe: Connection, accounts: int) -> None:
    async def main() -> None:
        authority = CertificateAuthority.open(folder)
        passwords = {f"u{number}": "secret" for number in range(accounts)}
        limits = Limits(unauthenticated_connections=100_000, idle_seconds=3600)
        async with XmppServer(passwords=passwords, authority=authority, limits=limits) as server:
            pipe.send(server.port)
            loop = asyncio.get_running_loop()
            while await loop.run_in_executor(None, pipe.recv):
                pipe.send(time.process_time())

    asyncio.run(main())


class _At:
    """The part of a server that `Wire` looks at."""

    domain = "localhost"

    def __init__(self, port: int) -> None:
        self.port = port


async def _ask(wire: Wire, verb: str) -> None:
    wire.send(f"<iq type='set' id='q' to='pubsub.localhost'><pubsub xmlns='{PUBSUB}'>{verb}</pubsub></iq>")
    await wire.until("<iq[^>]*id=.q.[^>]*type=.result.[^>]*?(/>|>.*?</iq>)")


async def _count(wire: Wire, messages: int) -> None:
    found, tail = wire.received.count(b"</message>"), wire.received[-9:]
    while found < messages:
        data = tail + await wire.reader.read(65536)
        found += data.count(b"</message>")
        tail = data[-9:]


async def _measure(port: int, folder: Path, pipe: Connection, readers: int, messages: int, size: int) -> None:
    authority = CertificateAuthority.open(folder)
    async with AsyncExitStack() as stack:
        wires: list[Wire] = []
        for number in range(readers + 1):
            wire = await stack.enter_async_context(Wire(_At(port)))  # type: ignore[arg-type]
            wires.append(await wire.login(authority, f"u{number}", presence=None))
        publisher, others = wires[0], wires[1:]
        await _ask(publisher, "<create node='n'/>")
        for wire in others:
            await _ask(wire, f"<subscribe node='n' jid='{wire.jid}'/>")
        pipe.send(True)
        before = pipe.recv()
        started = time.perf_counter()
        payload = f"<acl xmlns='urn:locution:acl'>{'x' * size}</acl>"
        reading = asyncio.gather(*(_count(wire, messages) for wire in others))
        for number in range(messages):
            await _ask(publisher, f"<publish node='n'><item id='{number}'>{payload}</item></publish>")
        await reading
        elapsed = time.perf_counter() - started
        pipe.send(True)
        busy = pipe.recv() - before
        pipe.send(False)
        print(  # noqa: T201
            f"{readers} readers, {messages} publications of {size} bytes: {elapsed / messages * 1000:.1f} ms "
            f"for each to reach all, {readers * messages / elapsed:,.0f} notifications a second; the server "
            f"took {busy / messages / readers * 1e6:.1f} µs for each"
        )


def main(readers: int, messages: int, size: int) -> None:
    """Start a server and measure."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        CertificateAuthority.open(Path(name))
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(Path(name), theirs, readers + 1))
        process.start()
        asyncio.run(_measure(ours.recv(), Path(name), ours, readers, messages, size))
        process.join()


if __name__ == "__main__":
    main(*(int(each) for each in [*sys.argv[1:], "1000", "50", "300"][:3]))
