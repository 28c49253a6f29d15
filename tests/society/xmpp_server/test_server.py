from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import statistics
import time
from pathlib import Path

import pytest

from society.xmpp_server import CertificateAuthority, Limits, XmppServer
from society.xmpp_server.errors import ListenError
from tests.society.xmpp_server.conftest import PASSWORDS, Start
from tests.society.xmpp_server.wire import PATIENCE, Wire, is_served


def is_free(port: int, *, reuse: bool = False) -> bool:
    """Whether the port can be had at once; `reuse` as every server sets it, past connections in TIME_WAIT."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def test_stopping_says_goodbye_and_frees_the_port(authority: CertificateAuthority) -> None:
    server = XmppServer(passwords=PASSWORDS, authority=authority)
    assert "not listening" in repr(server)
    await server.start()
    assert f"listening on 127.0.0.1:{server.port}" in repr(server)
    async with Wire(server) as alice, Wire(server) as stranger, Wire(server) as mute:
        await alice.login(authority, "alice")
        await stranger.open()
        stopping = asyncio.create_task(server.stop())
        assert (await alice.closed()).endswith("</stream:error></stream:stream>")
        assert "<system-shutdown " in await stranger.closed()
        assert "<system-shutdown " in await mute.closed()
    await stopping
    assert is_free(server.port, reuse=True)
    assert server.sessions() == []
    await server.stop()


async def test_who_comes_while_it_stops_is_turned_away(authority: CertificateAuthority) -> None:
    """The system accepts connections before asyncio hears of them."""
    server = XmppServer(passwords=PASSWORDS, authority=authority)
    await server.start()
    connections = server._connections
    assert connections is not None
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", server.port))
        await server.stop()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while await loop.sock_recv(sock, 1000):  # a goodbye, if asyncio had heard of it
                    pass
    assert connections.all == set()


async def test_clients_that_do_not_close_are_not_waited_for(authority: CertificateAuthority) -> None:
    server = XmppServer(passwords=PASSWORDS, authority=authority, limits=Limits(closing_seconds=0.05))
    await server.start()
    async with Wire(server) as alice:
        await alice.login(authority, "alice")
        async with asyncio.timeout(2):
            await server.stop()
        assert is_free(server.port)


async def test_nothing_of_a_stopped_server_is_left(authority: CertificateAuthority) -> None:
    tasks = asyncio.all_tasks()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    async with XmppServer(passwords=PASSWORDS, authority=authority) as server:
        assert await is_served(server, authority)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert asyncio.all_tasks() == tasks
    gc.collect()  # an unclosed socket or transport would warn, and warnings are errors


async def test_a_stopped_server_can_start_again_on_its_port(authority: CertificateAuthority) -> None:
    server = XmppServer(passwords=PASSWORDS, authority=authority)
    await server.start()
    port = server.port
    await server.stop()
    again = XmppServer(passwords=PASSWORDS, authority=authority, port=port)
    for _ in range(3):
        async with again:
            assert again.port == port
            assert await is_served(again, authority)


async def test_starting_twice_is_a_mistake(server: XmppServer) -> None:
    with pytest.raises(RuntimeError, match="started already"):
        await server.start()


async def test_a_busy_port_is_explained_in_a_sentence(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    other = XmppServer(authority=authority, port=server.port)
    with pytest.raises(
        OSError, match=f"cannot listen on 127.0.0.1 port {server.port} .*choose another"
    ) as caught:
        await other.start()
    assert isinstance(caught.value, ListenError)
    assert caught.value.errno is not None
    await other.stop()
    assert await is_served(server, authority)


async def test_an_address_of_elsewhere(authority: CertificateAuthority) -> None:
    for host in ("192.0.2.1", "no-such-host.invalid", "a..b"):
        with pytest.raises(ListenError, match=host):
            await XmppServer(authority=authority, host=host).start()


def test_tls_is_not_forgotten_by_accident() -> None:
    with pytest.raises(ValueError, match="authority"):
        XmppServer()


async def test_it_listens_on_the_loopback_interface_only(server: XmppServer) -> None:
    assert server._server is not None
    assert [sock.getsockname()[0] for sock in server._server.sockets] == ["127.0.0.1"]


async def test_ipv6(start: Start, authority: CertificateAuthority) -> None:
    try:
        server = await start(host="::1")
    except ListenError:
        pytest.skip("needs IPv6")
    _reader, writer = await asyncio.open_connection("::1", server.port)
    writer.close()
    await writer.wait_closed()


async def test_servers_share_nothing(start: Start, authority: CertificateAuthority) -> None:
    one = await start(domain="one.example", passwords={"alice": "secret"})
    two = await start(domain="two.example", passwords={"alice": "secret", "bob": "secret"})
    async with Wire(one) as first, Wire(two) as second:
        await first.login(authority, "alice")
        await second.login(authority, "alice")
        first.send("<message to='alice@two.example' id='m'/><message to='bob@one.example' id='m'/>")
        answers = await first.sync()
        assert "<remote-server-not-found " in answers
        assert "<service-unavailable " in answers
        assert await second.sync() == ""
    assert not two.is_online("bob")
    assert one.sessions() == two.sessions() == []


def test_servers_in_several_event_loops(authority: CertificateAuthority) -> None:
    server = XmppServer(passwords=PASSWORDS, authority=authority)

    async def main() -> None:
        async with server:
            assert await is_served(server, authority)

    for _ in range(2):
        asyncio.run(main())


def test_on_uvloop(authority: CertificateAuthority) -> None:
    """SPADE makes uvloop the policy."""
    uvloop = pytest.importorskip("uvloop", reason="needs uvloop, which comes with spade")

    async def main() -> None:
        async with XmppServer(passwords=PASSWORDS, authority=authority) as server:
            for _ in range(5):
                assert await is_served(server, authority)
            async with Wire(server) as wire:
                await wire.login(authority, "bob")
                stopping = asyncio.create_task(server.stop())
                assert "<system-shutdown " in await wire.closed()
            await stopping

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def test_who_is_online(server: XmppServer, authority: CertificateAuthority) -> None:
    assert not server.is_online("alice")
    async with Wire(server) as wire:
        await wire.login(authority, "alice", presence=None)
        assert server.sessions() == ["alice@localhost/r"]
        assert not server.is_online("alice")
        wire.send("<presence/>")
        await wire.sync()
        assert server.is_online("Alice")
        wire.send("</stream:stream>")
        await wire.closed()
    assert not server.is_online("alice")


async def test_starting_takes_less_than_fifty_milliseconds(tmp_path: Path) -> None:
    passwords = {f"agent{number}": "secret" for number in range(50)}
    CertificateAuthority.open(tmp_path)
    seconds = []
    for _ in range(9):
        started = time.perf_counter()
        server = XmppServer(passwords=passwords, authority=CertificateAuthority.open(tmp_path))
        await server.start()
        seconds.append(time.perf_counter() - started)
        await server.stop()
    assert statistics.median(seconds) < 0.05
