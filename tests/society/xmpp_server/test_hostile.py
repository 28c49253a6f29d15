"""Bytes that are meant to do harm. After each, others are still served."""

from __future__ import annotations

import asyncio
import random
import resource
from collections.abc import AsyncIterator

import pytest

from society.xmpp_server import CertificateAuthority, Limits, XmppServer
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import HEADER, STARTTLS, Wire, is_served, plain

HELLO = HEADER.format(domain="localhost")
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


@pytest.fixture(autouse=True)
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """No exception reaches the event loop, and no task outlives the server."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    yield
    loop.set_exception_handler(None)
    assert complaints == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


ENTITIES = "<!DOCTYPE l [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY b{n} '&b{n - 1};&b{n - 1};'>" for n in range(1, 30)
)
BEFORE_THE_LOGIN = {
    "entities": (ENTITIES + "]>" + HELLO, "restricted-xml"),
    "entities in the stream": (HELLO + ENTITIES, "not-well-formed"),
    "external dtd": ("<!DOCTYPE s SYSTEM 'http://localhost/x'>" + HELLO, "restricted-xml"),
    "comment": (HELLO + "<!-- -->", "restricted-xml"),
    "processing instruction": (HELLO + "<?php x?>", "restricted-xml"),
    "deep nesting": (HELLO + "<a>" * 5000, "policy-violation"),
    "deep nesting of auth": (HELLO + f"<auth xmlns='{SASL}'>" + "<a>" * 5000, "policy-violation"),
    "huge attribute": (HELLO + "<a b='" + "x" * 60_000, None),
    "huger attribute": (HELLO + "<a b='" + "x" * 70_000, "policy-violation"),
    "huge name": (HELLO + "<" + "x" * 70_000, "policy-violation"),
    "huge text": (HELLO + "<a>" + "x" * 70_000, "policy-violation"),
    "huge comment": (HELLO + "<!--" + "x" * 70_000, "policy-violation"),
    "many attributes": (HELLO + "<a " + " ".join(f"a{n}=''" for n in range(3000)) + ">", "policy-violation"),
    "whitespace for ever": (HELLO + " " * 70_000, "policy-violation"),
    "many small elements": (HELLO + f"<abort xmlns='{SASL}'/>" * 1000, "policy-violation"),
    "invalid utf-8": (HELLO.encode() + b"<a>\xc3\x28</a>", "not-well-formed"),
    "overlong utf-8": (HELLO.encode() + b"<a>\xc0\xaf</a>", "not-well-formed"),
    "surrogates": (HELLO.encode() + b"<a>\xed\xa0\x80</a>", "not-well-formed"),
    "nul": (HELLO.encode() + b"\0", "unsupported-encoding"),
    "utf-16": (HELLO.encode("utf-16"), "unsupported-encoding"),
    "unbound prefix": (HELLO + "<p:a/>", "not-well-formed"),
    "http": ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "not-well-formed"),
    "tls without starttls": (b"\x16\x03\x01\x00\xa5\x01" + b"\x01" * 200, "unsupported-encoding"),
    "a header to be repeated": (HELLO.replace("to=", f"xml:lang='{'x' * 60_000}' to="), "policy-violation"),
    "prefixes to be repeated": (HELLO.replace("to=", f"xmlns:a='{'x' * 60_000}' to="), "policy-violation"),
    "two headers": (HELLO + HELLO.removeprefix("<?xml version='1.0'?>"), None),
    "sasl junk": (HELLO + f"<auth xmlns='{SASL}' mechanism='PLAIN'>\u2603</auth>" * 9, "policy-violation"),
    "sasl in the wrong order": (HELLO + f"<success xmlns='{SASL}'/>" * 9, "policy-violation"),
    "server's words": (HELLO + "<stream:features/>", "unsupported-stanza-type"),
    "an error": (HELLO + "<stream:error><conflict xmlns='x'/></stream:error>", ""),
    "the end": (HELLO + "</stream:stream>", ""),
    "more after the end": (HELLO + "</stream:stream><a/>", ""),
}


@pytest.mark.parametrize(("data", "condition"), BEFORE_THE_LOGIN.values(), ids=BEFORE_THE_LOGIN)
async def test_before_the_login(
    server: XmppServer, authority: CertificateAuthority, data: str | bytes, condition: str | None
) -> None:
    async with Wire(server) as wire:
        wire.send(data)
        if condition is not None:
            text = await wire.closed()
            assert f"<{condition} " in text if condition else "<stream:error>" not in text
            assert text.endswith("</stream:stream>")
        assert await is_served(server, authority)


IN_A_SESSION = {
    "deep nesting": ("<message>" + "<a>" * 5000, "policy-violation"),
    "unclosed tags": ("<message to='bob@localhost'>" + "<a><b>" * 20, None),
    "huge attribute": ("<message a='" + "x" * 100_000, "policy-violation"),
    "many attributes": (
        "<message><a " + " ".join(f"a{n}=''" for n in range(3000)) + "/>",
        "policy-violation",
    ),
    "hash collisions": ("<message " + " ".join(f"a{n:08x}='1'" for n in range(60)) + "/>", None),
    "text between stanzas": ("hello", "bad-format"),
    "spoofed sender": ("<message from='carol@localhost' to='alice@localhost'/>", "invalid-from"),
    "stream error condition": ("<stream:error/>", ""),
    "tls again": (STARTTLS, "unsupported-stanza-type"),
    "login again": (plain("bob", "secret"), "unsupported-stanza-type"),
    "bind again": ("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", None),
    "namespace in a namespace": ("<message xmlns:a='urn:a b'><a:b/></message>", None),
    "closing tag of another": ("<message></presence>", "not-well-formed"),
    "stray closing tags": ("</message></message>", "not-well-formed"),
    "broken id": ("<message to='nobody@localhost' id='&lt;/message>&amp;&quot;&apos;'/>", None),
    "broken address": (
        "<message to='&lt;/message>&quot;'/><message to='nobody@localhost/&quot;&lt;'/>",
        None,
    ),
}


@pytest.mark.parametrize(("data", "condition"), IN_A_SESSION.values(), ids=IN_A_SESSION)
async def test_in_a_session(
    server: XmppServer, authority: CertificateAuthority, data: str, condition: str | None
) -> None:
    async with Wire(server) as wire:
        await wire.login(authority, "bob")
        wire.send(data)
        if condition is not None:
            text = await wire.closed()
            assert f"<{condition} " in text if condition else "<stream:error>" not in text
        assert await is_served(server, authority)


async def test_thirty_megabytes(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        await wire.login(authority, "bob")
        wire.send("<message to='alice@localhost' id='m'><body>")
        wire.send(b"x" * 30_000_000)
        assert "<policy-violation " in await wire.closed()
        assert await is_served(server, authority)


async def test_five_megabytes_are_refused_and_the_stream_goes_on(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    async with Wire(server) as wire, Wire(server) as alice:
        await wire.login(authority, "bob")
        await alice.login(authority, "alice")
        wire.send(f"<message to='alice@localhost' id='m'><body>{'x' * 5_000_000}</body></message>")
        wire.send(f"<iq to='alice@localhost/r' id='n' type='get'><a xmlns='b'>{'<c/>' * 500_000}</a></iq>")
        wire.send("<message to='alice@localhost'><body>short</body></message>")
        text = await wire.sync()
        assert text.count("<policy-violation ") == 2
        assert 'from="alice@localhost" to="bob@localhost/r" id="m" type="error"' in text
        assert "a stanza is limited to 1048576 bytes" in text
        assert "short" in await alice.message()


async def test_half_open_and_slow_connections(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(login_seconds=0.2))
    async with (
        Wire(server) as silent,
        Wire(server) as slow,
        Wire(server) as halfway,
        Wire(server) as handshake,
    ):
        await halfway.secure(authority)
        await handshake.open()
        handshake.send(STARTTLS)
        await handshake.until("<proceed[^>]*>")
        trickle = asyncio.create_task(trickle_into(slow))
        for wire in (silent, slow, halfway):
            assert "<connection-timeout " in await wire.closed()
        await handshake.closed()
        await trickle
        assert await is_served(server, authority)


async def trickle_into(wire: Wire) -> None:
    """Send a byte now and then until the server has had enough."""
    for byte in HELLO.encode():
        if wire.reader.at_eof():
            return
        wire.send(bytes([byte]))
        await asyncio.sleep(0.01)


async def test_a_thousand_connections(server: XmppServer, authority: CertificateAuthority) -> None:
    """They cost the server a bounded number of sockets, and they do not shut anybody out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    writers = []
    try:
        for _ in range(1000):
            _reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writers.append(writer)
        assert server._connections is not None
        assert await is_served(server, authority)
        assert len(server._connections.all) <= Limits().unauthenticated_connections
    finally:
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_garbage_instead_of_a_handshake(server: XmppServer, authority: CertificateAuthority) -> None:
    rng = random.Random(3)
    for _ in range(20):
        async with Wire(server) as wire:
            await wire.open()
            wire.send(STARTTLS)
            await wire.until("<proceed[^>]*>")
            wire.send(rng.randbytes(rng.randint(1, 500)) + b"\0" * 500)
            wire.writer.write_eof()
            await wire.closed()
    assert await is_served(server, authority)


async def test_random_bytes_and_mutated_sessions(server: XmppServer, authority: CertificateAuthority) -> None:
    rng = random.Random(5)
    whole = (
        f"{HELLO}<auth xmlns='{SASL}' mechanism='PLAIN'>AAAA</auth>"
        "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>"
        "<message to='a@b'><body>&amp;</body></message></stream:stream>"
    ).encode()
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(data))
            data[at : at + rng.randint(0, 10)] = rng.randbytes(rng.randint(0, 6))
        async with Wire(server) as wire:
            wire.send(bytes(data) if rng.random() < 0.8 else rng.randbytes(300))
            wire.writer.write_eof()
            await wire.closed()
    assert await is_served(server, authority)


async def test_random_stanzas_in_a_session(server: XmppServer, authority: CertificateAuthority) -> None:
    """Whatever well-formed nonsense a client sends, its stream and others' go on or end properly."""
    rng = random.Random(11)
    kinds = ["message", "presence", "iq"]
    types = [
        "",
        *("get", "set", "result", "error", "chat", "headline", "groupchat", "subscribe", "subscribed"),
    ]
    types += ["unsubscribe", "unsubscribed", "probe", "unavailable", "x"]
    addresses = [
        "",
        "localhost",
        "alice@localhost",
        "alice@localhost/r",
        "bob@localhost",
        "x@y",
        "@",
        "z@localhost",
    ]
    namespaces = [
        "jabber:iq:roster",
        "jabber:iq:register",
        "jabber:iq:private",
        "vcard-temp",
        "urn:xmpp:ping",
        "x",
    ]
    namespaces += ["http://jabber.org/protocol/disco#info", "urn:ietf:params:xml:ns:xmpp-session"]
    inners = ["", "<item jid='z@localhost'/>", "<item/>", "<x/>", "<x xmlns='y'/>", "<remove/>", "text"]
    async with Wire(server) as wire, Wire(server) as alice:
        await wire.login(authority, "bob")
        await alice.login(authority, "alice")
        for number in range(1500):
            kind, to = rng.choice(kinds), rng.choice(addresses)
            payload = rng.choice(["query", "vCard", "ping", "session", "priority"])
            inner = f"<{payload} xmlns='{rng.choice(namespaces)}'>{rng.choice(inners)}</{payload}>"
            attributes = f"type='{rng.choice(types)}'" + (f" to='{to}'" if rng.random() < 0.8 else "")
            wire.send(f"<{kind} id='{number}' {attributes}>{inner * rng.randint(0, 2)}</{kind}>")
            if number % 100 == 99:
                await wire.sync()
        await alice.sync()
    assert await is_served(server, authority)
