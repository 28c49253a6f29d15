from __future__ import annotations

import asyncio
import re

import pytest

from society.xmpp_server import CertificateAuthority, Limits
from society.xmpp_server.flow import Backpressure
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import PATIENCE, Wire, is_served

BODY = "x" * 1000


@pytest.mark.parametrize(
    "wrong", [{"depth": 0}, {"login_seconds": -1.0}, {"stanza_bytes": 2000, "hard_bytes": 1000}]
)
def test_limits_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Limits"):
        Limits(**wrong)  # type: ignore[arg-type]


def stop_reading(wire: Wire) -> None:
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]


async def ask_for_ever(wire: Wire, question: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            wire.send(question * 100)
            await wire.writer.drain()


async def flood(wire: Wire, count: int, to: str = "bob@localhost/r") -> None:
    for number in range(count):
        wire.send(f"<message to='{to}' id='{number}'><body>{BODY}</body></message>")
        await wire.writer.drain()


async def test_a_slow_reader_slows_its_senders_and_loses_nothing(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(outgoing_bytes=100_000))
    async with Wire(server) as alice, Wire(server) as bob, Wire(server) as carol:
        await alice.login(authority, "alice")
        await bob.login(authority, "bob")
        await carol.login(authority, "carol")
        stop_reading(bob)
        sending = asyncio.create_task(flood(alice, 30_000))
        assert server._connections is not None
        held = server._connections.backpressure
        async with asyncio.timeout(PATIENCE):
            while not held._waiting:  # noqa: ASYNC110 - what is looked at makes no event
                await asyncio.sleep(0)
        carol.send(f"<message to='{carol.jid}'><body>not concerned</body></message>")
        await carol.message()
        assert not sending.done()
        bob.writer.transport.resume_reading()  # type: ignore[attr-defined]
        for number in range(30_000):
            assert f'id="{number}"' in await bob.message()
        await sending
        assert held._waiting == {}


async def test_a_reader_that_has_stopped_is_given_up_and_nothing_is_lost(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(outgoing_bytes=100_000, slow_seconds=0.3, closing_seconds=10))
    async with Wire(server) as alice, Wire(server) as bob, Wire(server) as other:
        await alice.login(authority, "alice")
        await bob.login(authority, "bob")
        stop_reading(bob)
        sending = asyncio.create_task(flood(alice, 30_000))
        # bob goes; what was not written to him waits for him, until there is too much of that.
        refused = await alice.until("</message>")
        assert "<resource-constraint " in refused
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        assert server.sessions() == [alice.jid]
        bob.writer.transport.resume_reading()  # type: ignore[attr-defined]
        said = await bob.closed()
        assert "<stream:error><resource-constraint " in said
        await other.login(authority, "bob", "other")
        waited = await other.sync()
        assert waited.count("<delay ") == Limits().offline_messages
        first_refused = re.findall('id="([0-9]+)"', refused)
        numbers = re.findall('id="([0-9]+)"', said) + re.findall('id="([0-9]+)"', waited) + first_refused
        assert numbers == [str(number) for number in range(len(numbers))]
    assert await is_served(server, authority)


async def test_a_client_that_only_asks_is_not_read_on(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(outgoing_bytes=50_000, slow_seconds=0.3, closing_seconds=0.1))
    async with Wire(server) as wire:
        await wire.login(authority, "alice")
        stop_reading(wire)
        question = b"<iq type='get' id='1' to='localhost'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
        connections = server._connections
        assert connections is not None
        with pytest.raises(ConnectionError):
            await ask_for_ever(wire, question)
    assert await is_served(server, authority)


async def test_a_silent_peer_is_pinged_and_then_given_up(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(idle_seconds=0.1, ping_seconds=0.1))
    async with Wire(server) as alice, Wire(server) as bob:
        await alice.login(authority, "alice")
        await bob.login(authority, "bob", presence=None)
        ping = await bob.until("<iq.*?</iq>")
        assert '<ping xmlns="urn:xmpp:ping"/>' in ping
        bob.send("<iq type='result' id='x' to='localhost'/>")
        assert "<ping " in await bob.until("<iq.*?</iq>")  # alive, and asked again
        assert "<connection-timeout " in await bob.closed()
    assert await is_served(server, authority)


async def test_whitespace_is_a_sign_of_life(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(idle_seconds=0.2, ping_seconds=0.2))
    async with Wire(server) as wire:
        await wire.login(authority, "alice")
        for _ in range(3):
            await wire.until("<iq.*?</iq>")
            wire.send(" ")
        assert server.sessions() == [wire.jid]


async def test_bytes_before_the_login_are_counted_inside_tls(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(unauthenticated_bytes=8000))
    async with Wire(server) as wire:
        await wire.secure(authority)
        wire.send(" " * 10_000)
        assert "<policy-violation " in await wire.closed()


async def test_when_too_many_log_in_the_most_silent_goes(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(unauthenticated_connections=2))
    async with Wire(server) as silent, Wire(server) as busy:
        await silent.open()
        await busy.open()
        assert await is_served(server, authority)
        assert "stream:stream" not in await silent.closed()
        busy.send(" ")
        assert server._connections is not None
        assert len(server._connections.strangers) <= 2


def test_backpressure_is_undone_exactly() -> None:
    class Client:
        paused = 0

        def pause_reading(self) -> None:
            self.paused += 1

        def resume_reading(self) -> None:
            self.paused -= 1

    pressure = Backpressure()
    sender, one, two = Client(), Client(), Client()
    for _ in range(2):
        pressure.hold(sender, one)
        pressure.hold(sender, two)
    assert sender.paused == 1
    pressure.release(one)
    assert pressure.is_waiting(sender)
    pressure.leave(two)
    assert not pressure.is_waiting(sender)
    assert sender.paused == 0
    pressure.hold(sender, sender)
    pressure.hold(sender, one)
    pressure.leave(sender)
    assert sender.paused == 0
    pressure.release(one)
    assert sender.paused == 0
