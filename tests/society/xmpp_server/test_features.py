from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from society.xmpp_server import CertificateAuthority, Limits, XmppServer
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import Wire, is_served, plain

INFO = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
ITEMS = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
PING = "<ping xmlns='urn:xmpp:ping'/>"


@pytest.fixture
async def alice(server: XmppServer, authority: CertificateAuthority) -> AsyncIterator[Wire]:
    async with Wire(server) as wire:
        yield await wire.login(authority, "alice")


async def ask(wire: Wire, payload: str, *, to: str = "", kind: str = "get") -> str:
    address = f"to='{to}'" if to else ""
    wire.send(f"<iq type='{kind}' id='q' {address}>{payload}</iq>")
    return await wire.until("<iq[^>]*id=.q.[^>]*>(</iq>|.*?</iq>)")


async def test_what_the_server_is(alice: Wire) -> None:
    answer = await ask(alice, INFO, to="localhost")
    assert 'from="localhost" to="alice@localhost/r" id="q" type="result"' in answer
    assert '<identity category="server" type="im" name="Locution"/>' in answer
    for feature in (
        "urn:xmpp:ping",
        "jabber:iq:version",
        "http://jabber.org/protocol/disco#info",
        "msgoffline",
    ):
        assert f'<feature var="{feature}"/>' in answer
    assert "register" not in answer
    assert 'type="result"' in await ask(alice, ITEMS, to="localhost")
    assert "<name>Locution</name>" in await ask(alice, "<query xmlns='jabber:iq:version'/>", to="localhost")


@pytest.mark.parametrize("to", ["", "alice@localhost"])
async def test_what_an_account_is(alice: Wire, to: str) -> None:
    assert '<identity category="account" type="registered"/>' in await ask(alice, INFO, to=to)
    assert 'type="result"' in await ask(alice, ITEMS, to=to)


@pytest.mark.parametrize("namespace", ["info", "items"])
async def test_there_are_no_nodes(alice: Wire, namespace: str) -> None:
    query = f"<query xmlns='http://jabber.org/protocol/disco#{namespace}' node='x'/>"
    assert "<item-not-found " in await ask(alice, query, to="localhost")
    assert "<item-not-found " in await ask(alice, query)


@pytest.mark.parametrize("to", ["", "localhost", "alice@localhost"])
async def test_pings(alice: Wire, to: str) -> None:
    assert 'type="result"' in await ask(alice, PING, to=to)


@pytest.mark.parametrize("payload", [PING, INFO, ITEMS, "<vCard xmlns='vcard-temp'/>"])
async def test_strangers_learn_nothing_of_an_account(alice: Wire, payload: str) -> None:
    known = await ask(alice, payload, to="bob@localhost")
    unknown = await ask(alice, payload, to="nobody@localhost")
    assert "<service-unavailable " in known
    assert known.replace("bob", "nobody") == unknown


async def test_friends_may_ask(server: XmppServer, authority: CertificateAuthority, alice: Wire) -> None:
    async with Wire(server) as bob:
        await bob.login(authority, "bob")
        alice.send("<presence to='bob@localhost' type='subscribe'/>")
        await alice.sync()
        bob.send("<presence to='alice@localhost' type='subscribed'/>")
        await bob.sync()
    assert 'type="result"' in await ask(alice, PING, to="bob@localhost")
    assert 'category="account"' in await ask(alice, INFO, to="bob@localhost")
    assert "<service-unavailable " in await ask(alice, ITEMS, to="bob@localhost")


async def test_vcards(server: XmppServer, authority: CertificateAuthority, alice: Wire) -> None:
    assert '<vCard xmlns="vcard-temp"/>' in await ask(alice, "<vCard xmlns='vcard-temp'/>")
    card = "<vCard xmlns='vcard-temp'><FN>Alice &amp; Ä</FN></vCard>"
    assert 'type="result"' in await ask(alice, card, kind="set")
    async with Wire(server) as bob:
        await bob.login(authority, "bob")
        assert "Alice &amp; " in await ask(bob, "<vCard xmlns='vcard-temp'/>", to="alice@localhost")


async def test_private_data(alice: Wire) -> None:
    def query(inner: str) -> str:
        return f"<query xmlns='jabber:iq:private'>{inner}</query>"

    assert '<storage xmlns="storage:bookmarks"/>' in await ask(
        alice, query("<storage xmlns='storage:bookmarks'/>")
    )
    full = query("<storage xmlns='storage:bookmarks'><conference jid='a@b'/></storage>")
    assert 'type="result"' in await ask(alice, full, kind="set")
    assert 'jid="a@b"' in await ask(alice, query("<storage xmlns='storage:bookmarks'/>"))
    for inner in ("", "<a/><b/>"):
        assert "<not-acceptable " in await ask(alice, query(inner))
    for n in range(Limits().private_entries):
        answer = await ask(alice, query(f"<x xmlns='urn:{n}'/>"), kind="set")
    assert "<resource-constraint " in answer


async def test_requests_to_the_server_are_bounded(alice: Wire) -> None:
    card = f"<vCard xmlns='vcard-temp'><PHOTO>{'x' * 300_000}</PHOTO></vCard>"
    assert "<policy-violation " in await ask(alice, card, kind="set")


# In-band registration (XEP-0077)

REGISTER = "<query xmlns='jabber:iq:register'>{}</query>"
FORM = REGISTER.format("<username>{}</username><password>{}</password>")


async def test_registration_is_closed(
    server: XmppServer, authority: CertificateAuthority, alice: Wire
) -> None:
    async with Wire(server) as wire:
        await wire.secure(authority)
        assert "<not-allowed " in await ask(wire, REGISTER.format(""))
        assert "<not-allowed " in await ask(wire, FORM.format("dave", "secret"), kind="set")
        wire.send(plain("dave", "secret"))
        assert "<not-authorized/>" in await wire.until("</failure>")
        wire.send(plain("alice", "secret"))
        await wire.until("<success")
    for payload, kind in (
        ("", "get"),
        ("<remove/>", "set"),
        ("<username>alice</username><password>x</password>", "set"),
    ):
        assert "<not-allowed " in await ask(alice, REGISTER.format(payload), kind=kind)
    assert await is_served(server, authority)


async def test_registration_needs_tls(start: Start) -> None:
    server = await start(registration=True, tls_required=False)
    async with Wire(server) as wire:
        assert "iq-register" not in await wire.open()
        assert "<not-allowed " in await ask(wire, FORM.format("dave", "secret"), kind="set")


async def test_registering_changing_and_removing(start: Start, authority: CertificateAuthority) -> None:
    server = await start(registration=True)
    async with Wire(server) as wire:
        assert "http://jabber.org/features/iq-register" in await wire.secure(authority)
        form = await ask(wire, REGISTER.format(""))
        assert "<username/><password/>" in form
        assert 'type="result"' in await ask(wire, FORM.format("Dave", "secret"), kind="set")
        wire.send(plain("dave", "secret"))
        await wire.until("<success")

    async with Wire(server) as dave, Wire(server) as alice:
        await dave.login(authority, "dave", "1")
        await alice.login(authority, "alice")
        assert "jabber:iq:register" in await ask(dave, INFO, to="localhost")
        assert "<registered/><username>dave</username>" in await ask(dave, REGISTER.format(""))
        assert "<not-allowed " in await ask(dave, FORM.format("alice", "x"), kind="set")
        assert "<bad-request " in await ask(dave, REGISTER.format("<password>x</password>"), kind="set")
        assert "<not-acceptable " in await ask(dave, FORM.format("dave", ""), kind="set")
        assert 'type="result"' in await ask(dave, FORM.format("dave", "other"), kind="set")
        async with Wire(server) as again:
            await again.login(authority, "dave", "2", password="other")
            dave.send("<presence to='alice@localhost' type='subscribe'/>")
            await dave.sync()
            assert "<bad-request " in await ask(dave, REGISTER.format("<remove/><x/>"), kind="set")
            assert 'type="result"' in await ask(
                dave, REGISTER.format("<remove/>"), kind="set", to="localhost"
            )
            assert "<not-authorized " in await dave.closed()
            assert "<not-authorized " in await again.closed()
        assert server.sessions() == ["alice@localhost/r"]
        alice.send("<message to='dave@localhost' id='m'/>")
        assert "<service-unavailable " in await alice.sync()
    async with Wire(server) as wire:
        await wire.secure(authority)
        wire.send(plain("dave", "other"))
        assert "<not-authorized/>" in await wire.until("</failure>")


@pytest.mark.parametrize(
    ("payload", "condition"),
    [
        (FORM.format("alice", "x"), "conflict"),
        (FORM.format("ALICE", "x"), "conflict"),
        (FORM.format("", "x"), "not-acceptable"),
        (FORM.format("a b", "x"), "not-acceptable"),
        (FORM.format("dave", ""), "not-acceptable"),
        (REGISTER.format(""), "not-acceptable"),
        (REGISTER.format("<remove/>"), "not-authorized"),
    ],
)
async def test_registrations_that_are_refused(
    start: Start, authority: CertificateAuthority, payload: str, condition: str
) -> None:
    server = await start(registration=True)
    async with Wire(server) as wire:
        await wire.secure(authority)
        assert f"<{condition} " in await ask(wire, payload, kind="set")


async def test_registrations_are_counted(start: Start, authority: CertificateAuthority) -> None:
    server = await start(registration=True, limits=Limits(registrations=2))
    async with Wire(server) as wire:
        await wire.secure(authority)
        answers = [await ask(wire, FORM.format(f"d{n}", "x"), kind="set") for n in range(3)]
    assert ["resource-constraint" in answer for answer in answers] == [False, False, True]


async def test_accounts_come_and_go_while_running(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    server.add_account("Erin", "secret")
    assert await is_served(server, authority, "erin")
    async with Wire(server) as wire:
        await wire.login(authority, "erin")
        server.remove_account("erin")
        assert "<not-authorized " in await wire.closed()
    with pytest.raises(ValueError, match="localpart"):
        server.add_account("a b", "x")
