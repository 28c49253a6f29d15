from __future__ import annotations

import base64

import pytest

from society.xmpp_server import CertificateAuthority, Limits, XmppServer
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import HEADER, STARTTLS, Wire, client_context, is_served, plain

SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


async def test_the_first_features_are_starttls_alone(server: XmppServer) -> None:
    async with Wire(server) as wire:
        features = await wire.open()
    assert '<starttls xmlns="urn:ietf:params:xml:ns:xmpp-tls"><required/></starttls>' in features
    assert "mechanism" not in features
    for attribute in ('from="localhost"', "version='1.0'", " id='"):
        assert attribute in features


async def test_after_tls_the_mechanisms(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        features = await wire.secure(authority)
    assert "starttls" not in features
    assert "register" not in features
    names = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")
    assert "".join(f"<mechanism>{name}</mechanism>" for name in names) in features


async def test_each_stream_has_its_own_id(server: XmppServer) -> None:
    async with Wire(server) as one, Wire(server) as other:
        assert await one.open() != await other.open()


@pytest.mark.parametrize(
    ("header", "condition"),
    [
        (HEADER.format(domain="elsewhere"), "host-unknown"),
        (HEADER.format(domain="a b"), "host-unknown"),
        (HEADER.format(domain="localhost").replace("1.0'>", "0.9'>"), "unsupported-version"),
        (HEADER.format(domain="localhost").replace("version='1.0'>", ">"), "unsupported-version"),
        (HEADER.format(domain="localhost").replace("jabber:client", "jabber:server"), "invalid-namespace"),
    ],
)
async def test_headers_that_are_refused(server: XmppServer, header: str, condition: str) -> None:
    async with Wire(server) as wire:
        wire.send(header)
        text = await wire.closed()
    assert text.startswith("<?xml version='1.0'?><stream:stream ")
    assert f"<stream:error><{condition} " in text
    assert text.endswith("</stream:stream>")


async def test_a_domain_is_compared_without_case(server: XmppServer) -> None:
    async with Wire(server) as wire:
        wire.send(HEADER.format(domain="LocalHost"))
        await wire.until("</stream:features>")


@pytest.mark.parametrize(
    "text",
    [
        "<message to='bob@localhost'><body>x</body></message>",
        "<presence/>",
        "<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq>",
        "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
    ],
)
async def test_stanzas_before_the_login_end_the_stream(
    server: XmppServer, authority: CertificateAuthority, text: str
) -> None:
    async with Wire(server) as wire:
        await wire.open()
        wire.send(text)
        assert "<not-authorized " in await wire.closed()
    async with Wire(server) as wire:
        await wire.secure(authority)
        wire.send(text)
        assert "<not-authorized " in await wire.closed()


async def test_stanzas_before_binding_end_the_stream(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    async with Wire(server) as wire:
        features = await wire.authenticate(authority, "alice")
        assert '<bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/>' in features
        assert "mechanism" not in features
        wire.send("<message to='bob@localhost'/>")
        assert "<not-authorized " in await wire.closed()


@pytest.mark.parametrize(
    ("element", "condition"),
    [
        (plain("alice", "wrong"), "not-authorized"),
        (plain("nobody", "secret"), "not-authorized"),
        (plain("alice", "secret", "bob@localhost"), "invalid-authzid"),
        (f"<auth xmlns='{SASL}' mechanism='DIGEST-MD5'>AAAA</auth>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}'>AAAA</auth>", "invalid-mechanism"),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>!</auth>", "incorrect-encoding"),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'><x/></auth>", "incorrect-encoding"),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>AAAA</auth>", "malformed-request"),
        (f"<auth xmlns='{SASL}' mechanism='PLAIN'>=</auth>", "malformed-request"),
        (f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>AAAA</auth>", "malformed-request"),
        (f"<response xmlns='{SASL}'>AAAA</response>", "malformed-request"),
        (f"<abort xmlns='{SASL}'/>", "aborted"),
    ],
)
async def test_failed_logins_say_why_and_may_be_repeated(
    server: XmppServer, authority: CertificateAuthority, element: str, condition: str
) -> None:
    async with Wire(server) as wire:
        await wire.secure(authority)
        wire.send(element)
        assert f'<failure xmlns="{SASL}"><{condition}/>' in await wire.until("</failure>")
        wire.send(plain("alice", "secret"))
        await wire.until("<success")


async def test_attempts_are_counted(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        await wire.secure(authority)
        wire.send(plain("alice", "wrong") * 10)
        text = await wire.closed()
    assert text.count("<failure ") == Limits().auth_attempts
    assert "<policy-violation " in text
    assert await is_served(server, authority)


async def test_plain_without_initial_response(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        await wire.secure(authority)
        wire.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'/>")
        await wire.until(f'<challenge xmlns="{SASL}"></challenge>')
        data = base64.b64encode(b"\0alice\0secret").decode()
        wire.send(f"<response xmlns='{SASL}'>{data}</response>")
        await wire.until("<success")


async def test_an_exchange_can_be_aborted(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        await wire.secure(authority)
        first = base64.b64encode(b"n,,n=alice,r=x").decode()
        wire.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>")
        await wire.until("</challenge>")
        wire.send(f"<abort xmlns='{SASL}'/>")
        await wire.until("<aborted/></failure>")
        wire.send(f"<response xmlns='{SASL}'>AAAA</response>")
        await wire.until("<malformed-request/></failure>")


async def test_nothing_goes_without_tls(server: XmppServer) -> None:
    async with Wire(server) as wire:
        await wire.open()
        wire.send(plain("alice", "secret"))
        assert "<encryption-required/>" in await wire.until("</failure>")
        wire.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>AAAA</auth>")
        assert "<encryption-required/>" in await wire.until("</failure>")


async def test_without_the_duty_of_tls_plain_still_needs_it(start: Start) -> None:
    server = await start(tls_required=False)
    async with Wire(server) as wire:
        features = await wire.open()
        assert "<starttls " in features
        assert "<required/>" not in features
        assert "SCRAM-SHA-256" in features
        assert "PLAIN" not in features
        wire.send(plain("alice", "secret"))
        assert "<encryption-required/>" in await wire.until("</failure>")


async def test_an_exchange_does_not_outlive_starttls(start: Start, authority: CertificateAuthority) -> None:
    server = await start(tls_required=False)
    async with Wire(server) as wire:
        await wire.open()
        first = base64.b64encode(b"n,,n=alice,r=x").decode()
        wire.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{first}</auth>")
        await wire.until("</challenge>")
        wire.send(STARTTLS)
        await wire.until("<proceed[^>]*>")
        await wire.writer.start_tls(client_context(authority), server_hostname="localhost")
        await wire.open()
        wire.send(f"<response xmlns='{SASL}'>{base64.b64encode(b'c=biws,r=x,p=AAAA').decode()}</response>")
        await wire.until("<malformed-request/></failure>")


async def test_without_an_authority_there_is_no_starttls(start: Start) -> None:
    server = await start(tls_required=False, authority=None)
    async with Wire(server) as wire:
        assert "starttls" not in await wire.open()
        wire.send(STARTTLS)
        assert '<failure xmlns="urn:ietf:params:xml:ns:xmpp-tls"/></stream:stream>' in await wire.closed()


async def test_tls_twice_is_refused(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        await wire.secure(authority)
        wire.send(STARTTLS)
        assert '<failure xmlns="urn:ietf:params:xml:ns:xmpp-tls"/>' in await wire.closed()


async def test_what_follows_starttls_in_plain_text_has_no_effect(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    """CVE-2011-0411: an attacker on the way adds commands that the server would obey as if inside TLS."""
    injected = HEADER.format(domain="localhost") + plain("alice", "secret")
    async with Wire(server) as wire:
        await wire.open()
        wire.send(STARTTLS + injected)
        assert (await wire.until("<proceed[^>]*>")).count("<") == 1
        await wire.writer.start_tls(client_context(authority), server_hostname="localhost")
        assert "mechanisms" in await wire.open()
        wire.send("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        assert "<not-authorized " in await wire.closed()


async def test_what_follows_starttls_in_another_segment_breaks_the_handshake(server: XmppServer) -> None:
    async with Wire(server) as wire:
        await wire.open()
        wire.send(STARTTLS)
        await wire.until("<proceed[^>]*>")
        wire.send(HEADER.format(domain="localhost") + plain("alice", "secret"))
        assert "stream" not in await wire.closed()


async def test_the_client_may_speak_right_after_the_handshake(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    for _ in range(20):
        async with Wire(server) as wire:
            await wire.secure(authority)  # the header is on its way before the server has seen "Finished"


@pytest.mark.parametrize(("wish", "bound"), [("home", "home"), ("a/b c", "a/b c"), ("&lt;x>", "&lt;x&gt;")])
async def test_the_resource_is_honoured(
    server: XmppServer, authority: CertificateAuthority, wish: str, bound: str
) -> None:
    async with Wire(server) as wire:
        await wire.login(authority, "alice", wish)
        assert wire.jid == f"alice@localhost/{bound}"


async def test_without_a_wish_the_server_chooses(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as one, Wire(server) as other:
        await one.login(authority, "alice", "")
        await other.login(authority, "alice", "")
        assert one.jid != other.jid
        assert server.sessions() == sorted([one.jid, other.jid])


async def test_unusable_resources(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        await wire.authenticate(authority, "alice")
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{}</resource></bind>"
        wire.send("<iq type='set' id='1'>" + bind.format("x" * 2000) + "</iq>")
        assert "<bad-request " in await wire.until("</iq>")
        wire.send("<iq type='set' id='2'>" + bind.format("ok") + "</iq>")
        assert "<jid>alice@localhost/ok</jid>" in await wire.until("</iq>")


async def test_sessions_are_counted(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(resources=1))
    async with Wire(server) as one, Wire(server) as other:
        await one.login(authority, "alice", "1")
        await other.authenticate(authority, "alice")
        other.send("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        assert "<resource-constraint " in await other.until("</iq>")


async def test_the_legacy_session_request(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        await wire.login(authority, "alice")
        wire.send("<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>")
        assert 'type="result"' in await wire.until('id="s"[^>]*>')


async def test_the_newcomer_takes_the_resource(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as old, Wire(server) as new, Wire(server) as bob:
        await bob.login(authority, "bob")
        await old.login(authority, "alice", "home")
        await new.login(authority, "alice", "home")
        assert "<stream:error><conflict " in await old.closed()
        bob.send("<message to='alice@localhost/home'><body>one</body></message>")
        bob.send("<message to='alice@localhost'><body>two</body></message>")
        assert "<body>one</body>" in await new.message()
        assert "<body>two</body>" in await new.message()
        assert server.sessions() == ["alice@localhost/home", "bob@localhost/r"]


async def test_a_second_login_works_twenty_times_of_twenty(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    async with Wire(server) as bob:
        await bob.login(authority, "bob")
        for number in range(20):
            # Half of them leave properly, half are cut off; half ask for a resource.
            async with Wire(server) as alice:
                await alice.login(authority, "alice", "home" if number % 2 else "")
                bob.send(f"<message to='alice@localhost'><body>{number}</body></message>")
                assert f"<body>{number}</body>" in await alice.message()
                if number % 4 < 2:
                    alice.send("</stream:stream>")
                    await alice.closed()


async def test_closing_the_stream_is_answered(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        await wire.login(authority, "alice")
        wire.send("</stream:stream>")
        assert (await wire.closed()).endswith("</stream:stream>")
    assert server.sessions() == []
