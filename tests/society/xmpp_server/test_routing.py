from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from society.xmpp_server import CertificateAuthority, Limits, MemoryOffline, StoreError, XmppServer
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import Wire


@pytest.fixture
async def alice(server: XmppServer, authority: CertificateAuthority) -> AsyncIterator[Wire]:
    async with Wire(server) as wire:
        yield await wire.login(authority, "alice")


@pytest.fixture
async def bob(server: XmppServer, authority: CertificateAuthority) -> AsyncIterator[Wire]:
    async with Wire(server) as wire:
        yield await wire.login(authority, "bob")


def error(tried: str, condition: str, kind: str = "cancel", name: str = "message") -> str:
    return (
        f'<{name} from="{tried}" to="alice@localhost/r" id="m" type="error"><error type="{kind}">'
        f'<{condition} xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>'
    )


@pytest.mark.parametrize("to", ["bob@localhost", "bob@localhost/r", "BOB@LOCALHOST"])
@pytest.mark.parametrize("kind", ["chat", "normal", "headline", "unheard-of"])
async def test_delivered_with_the_servers_stamp(alice: Wire, bob: Wire, to: str, kind: str) -> None:
    alice.send(f"<message to='{to}' type='{kind}' id='m'><body>x</body><y xmlns='urn:y'/></message>")
    assert await bob.message() == (
        f'<message from="alice@localhost/r" to="{to.lower()}" type="{kind}" id="m">'
        "<body>x</body><y xmlns='urn:y'/></message>"
    )


async def test_an_error_and_a_groupchat_message_need_a_full_jid(alice: Wire, bob: Wire) -> None:
    for kind in ("error", "groupchat"):
        alice.send(f"<message to='bob@localhost/r' type='{kind}' id='m'><body>x</body></message>")
        assert f'type="{kind}"' in await bob.message()
    alice.send("<message to='bob@localhost' type='error' id='m'/>")
    alice.send("<message to='bob@localhost' type='groupchat' id='m'/>")
    assert (await alice.sync()).startswith(error("bob@localhost", "service-unavailable"))
    assert await bob.sync() == ""


@pytest.mark.parametrize(
    ("to", "condition", "kind"),
    [
        ("nobody@localhost", "service-unavailable", "cancel"),
        ("nobody@localhost/r", "service-unavailable", "cancel"),
        ("localhost", "service-unavailable", "cancel"),
        ("localhost/r", "service-unavailable", "cancel"),
        ("bob@elsewhere.example", "remote-server-not-found", "cancel"),
        ("elsewhere.example", "remote-server-not-found", "cancel"),
    ],
)
async def test_what_cannot_be_delivered_comes_back(alice: Wire, to: str, condition: str, kind: str) -> None:
    alice.send(f"<message to='{to}' id='m'><body>confidential</body></message>")
    alice.send(f"<message to='{to}' id='m' type='error'><body>confidential</body></message>")
    answer = await alice.sync()
    assert answer.startswith(error(to, condition, kind))
    assert answer.count("<message") == 1
    assert "<body" not in answer


@pytest.mark.parametrize("to", ["", "@localhost", "a@b@localhost/", "bob@localhost/", "b ob@localhost"])
async def test_malformed_addresses(alice: Wire, to: str) -> None:
    alice.send(f"<message to='{to}' id='m'/>")
    assert (await alice.sync()).startswith(error("localhost", "jid-malformed", "modify"))
    alice.send(f"<iq to='{to}' id='m' type='get'><query xmlns='urn:x'/></iq>")
    assert (await alice.sync()).startswith(error("localhost", "jid-malformed", "modify", "iq"))


async def test_without_an_address_a_message_is_for_oneself(alice: Wire) -> None:
    alice.send("<message id='m'><body>note</body></message>")
    assert 'to="alice@localhost"' in await alice.message()


async def test_a_full_jid_that_left_falls_back_to_the_account(alice: Wire, bob: Wire) -> None:
    for kind in ("chat", "normal"):
        alice.send(f"<message to='bob@localhost/gone' type='{kind}' id='m'><body>x</body></message>")
        assert 'to="bob@localhost/gone"' in await bob.message()
    for kind in ("headline", "error"):
        alice.send(f"<message to='bob@localhost/gone' type='{kind}' id='m'><body>x</body></message>")
    alice.send("<message to='bob@localhost/gone' type='groupchat' id='m'><body>x</body></message>")
    answer = await alice.sync()
    assert answer.startswith(error("bob@localhost/gone", "service-unavailable"))
    assert answer.count("<message") == 1
    assert await bob.sync() == ""


async def test_priorities_decide_who_gets_it(
    server: XmppServer, authority: CertificateAuthority, alice: Wire
) -> None:
    async with Wire(server) as low, Wire(server) as high, Wire(server) as equal, Wire(server) as never:
        presence = "<presence><priority>{}</priority></presence>"
        await low.login(authority, "bob", "low", presence=presence.format(0))
        await high.login(authority, "bob", "high", presence=presence.format(5))
        await equal.login(authority, "bob", "equal", presence=presence.format(5))
        await never.login(authority, "bob", "never", presence=presence.format(-1))
        alice.send("<message to='bob@localhost' type='chat'><body>chat</body></message>")
        alice.send("<message to='bob@localhost' type='headline'><body>headline</body></message>")
        alice.send("<message to='bob@localhost/never' type='chat'><body>by name</body></message>")
        await alice.sync()
        got = {}
        for wire in (low, high, equal, never):
            text = await wire.sync()
            got[wire.jid.partition("/")[2]] = [
                word for word in ("chat", "headline", "by name") if f">{word}<" in text
            ]
    assert got == {
        "low": ["headline"],
        "high": ["chat", "headline"],
        "equal": ["chat", "headline"],
        "never": ["by name"],
    }


@pytest.mark.parametrize("claimed", ["bob@localhost", "alice@localhost/other", "localhost", "", "@"])
@pytest.mark.parametrize("stanza", ["message", "presence", "iq"])
async def test_a_false_sender_ends_the_stream(alice: Wire, bob: Wire, claimed: str, stanza: str) -> None:
    alice.send(f"<{stanza} from='{claimed}' to='bob@localhost/r' id='m' type='error'/>")
    assert "<invalid-from " in await alice.closed()
    assert await bob.sync() == ""


@pytest.mark.parametrize("claimed", ["alice@localhost", "alice@localhost/r", "ALICE@localhost/r"])
async def test_a_true_sender_is_completed(alice: Wire, bob: Wire, claimed: str) -> None:
    alice.send(f"<message from='{claimed}' to='bob@localhost'><body>x</body></message>")
    assert (await bob.message()).startswith('<message from="alice@localhost/r" to=')


async def test_iqs_are_routed_by_full_jid_only(alice: Wire, bob: Wire) -> None:
    alice.send("<iq to='bob@localhost/r' type='get' id='m'><query xmlns='urn:x'/></iq>")
    assert await bob.until("</iq>") == (
        '<iq from="alice@localhost/r" to="bob@localhost/r" type="get" id="m"><query xmlns=\'urn:x\'/></iq>'
    )
    bob.send("<iq to='alice@localhost/r' type='result' id='m'/>")
    assert 'from="bob@localhost/r"' in await alice.until("<iq[^>]*/>")
    for to in ("bob@localhost/gone", "bob@localhost", "nobody@localhost", "localhost", "localhost/x"):
        alice.send(f"<iq to='{to}' type='get' id='m'><query xmlns='urn:x'/></iq>")
        assert (await alice.sync()).startswith(error(to, "service-unavailable", name="iq"))
        alice.send(f"<iq to='{to}' type='result' id='m'/><iq to='{to}' type='error' id='m'/>")
        assert await alice.sync() == ""
    assert await bob.sync() == ""


@pytest.mark.parametrize(
    "iq",
    [
        "<iq to='bob@localhost/r' type='get'><query xmlns='urn:x'/></iq>",
        "<iq to='bob@localhost/r' type='get' id='m'/>",
        "<iq to='bob@localhost/r' type='set' id='m'><a xmlns='urn:x'/><b xmlns='urn:x'/></iq>",
        "<iq to='bob@localhost/r' id='m'><a xmlns='urn:x'/></iq>",
        "<iq to='bob@localhost/r' id='m' type='put'><a xmlns='urn:x'/></iq>",
    ],
)
async def test_malformed_iqs(alice: Wire, bob: Wire, iq: str) -> None:
    alice.send(iq)
    assert "<bad-request " in await alice.sync()
    assert await bob.sync() == ""


async def test_unknown_elements_end_the_stream(server: XmppServer, authority: CertificateAuthority) -> None:
    for element in ("<greeting/>", "<message xmlns='urn:x'/>", "<enable xmlns='urn:xmpp:sm:2'/>"):
        async with Wire(server) as wire:
            await wire.login(authority, "alice")
            wire.send(element)
            assert "<unsupported-stanza-type " in await wire.closed()


async def test_order_is_kept(alice: Wire, bob: Wire) -> None:
    alice.send("".join(f"<message to='bob@localhost/r'><body>{n}</body></message>" for n in range(2000)))
    for n in range(2000):
        assert f"<body>{n}</body>" in await bob.message()


# Messages for those who are away.

WHEN = datetime(2026, 11, 20, 7, 0, 0, 250_000, UTC)
STAMP = '<delay xmlns="urn:xmpp:delay" from="localhost" stamp="2026-11-20T07:00:00.250000Z"/>'


async def test_waiting_messages_come_in_order_and_stamped(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(clock=lambda: WHEN)
    async with Wire(server) as alice, Wire(server) as bob:
        await alice.login(authority, "alice")
        for n in range(5):
            to = "bob@localhost/gone" if n % 2 else "bob@localhost"
            alice.send(f"<message to='{to}' type='chat' id='{n}'><body>{n}</body></message>")
        for kind in ("headline", "error"):
            alice.send(f"<message to='bob@localhost' type='{kind}'><body>{kind}</body></message>")
        alice.send(
            "<message to='bob@localhost' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
        )
        assert await alice.sync() == ""
        assert not server.is_online("bob")
        await bob.login(authority, "bob", presence="<presence><priority>-1</priority></presence>")
        assert await bob.sync() == ""
        assert not server.is_online("bob")
        bob.send("<presence/>")
        for n in range(5):
            text = await bob.message()
            assert f"<body>{n}</body>{STAMP}</message>" in text
            assert 'from="alice@localhost/r"' in text
        assert "<message" not in await bob.sync()
        assert server.is_online("bob")
        bob.send("<presence/>")
        assert "<message" not in await bob.sync()


async def test_too_many_waiting_messages(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(offline_messages=2))
    async with Wire(server) as alice, Wire(server) as bob:
        await alice.login(authority, "alice")
        alice.send("<message to='bob@localhost' id='m'><body>x</body></message>" * 3)
        answer = await alice.sync()
        assert answer.startswith(error("bob@localhost", "resource-constraint", "wait"))
        assert answer.count("<message") == 1
        await bob.login(authority, "bob")
        assert (await bob.sync()).count("<message") == 2


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ({"offline_bytes": 1500}, "1,500 bytes of messages are kept for this account"),
        ({"offline_total_bytes": 1500}, "1,500 bytes of messages are kept for all accounts together"),
    ],
)
async def test_too_large_waiting_messages(
    start: Start, authority: CertificateAuthority, limit: dict[str, int], told: str
) -> None:
    server = await start(limits=Limits(**limit))
    one = f"<message to='bob@localhost' id='m'><body>{'ü' * 250}</body></message>"
    async with Wire(server) as alice, Wire(server) as bob:
        await alice.login(authority, "alice")
        alice.send(one * 3)  # of 500 bytes and a little each: two fit
        answer = await alice.sync()
        assert answer.startswith(error("bob@localhost", "resource-constraint", "wait"))
        assert told in answer
        assert answer.count("<message") == 1
        alice.send("<message to='carol@localhost' id='m'><body>" + "x" * 500 + "</body></message>")
        assert ("<message" in await alice.sync()) == ("offline_total_bytes" in limit)
        await bob.login(authority, "bob")
        assert (await bob.sync()).count("<message") == 2
        bob.send("<presence type='unavailable'/>")
        await bob.sync()
        alice.send(one)
        assert "<message" not in await alice.sync()


async def test_messages_that_must_not_wait_are_refused(alice: Wire) -> None:
    alice.send(
        "<message to='bob@localhost' id='m'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>"
    )
    assert (await alice.sync()).startswith(error("bob@localhost", "service-unavailable"))


async def test_a_store_that_fails_is_reported(start: Start, authority: CertificateAuthority) -> None:
    class Full(MemoryOffline):
        def append(self, user: str, stanza_xml: str) -> None:
            raise StoreError("the disk is full")

    server = await start(offline=Full())
    async with Wire(server) as alice:
        await alice.login(authority, "alice")
        alice.send("<message to='bob@localhost' id='m'><body>x</body></message>")
        answer = await alice.sync()
        assert answer.startswith(error("bob@localhost", "resource-constraint", "wait"))
        assert "the disk is full" in answer


async def test_a_message_with_prefixes_survives_the_wait(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    async with Wire(server) as alice, Wire(server) as bob:
        await alice.login(authority, "alice")
        alice.send("<message xmlns:p='urn:p' to='bob@localhost'><p:x p:y='&amp;&quot;'>ü</p:x></message>")
        await alice.sync()
        await bob.login(authority, "bob")
        assert '<message from="alice@localhost/r" to="bob@localhost" xmlns:p="urn:p">' in (
            text := await bob.message()
        )
        assert "<p:x p:y='&amp;&quot;'>ü</p:x>" in text
