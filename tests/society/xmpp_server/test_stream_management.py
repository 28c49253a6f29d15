"""XEP-0198: what is counted, what is kept, and what becomes of a session whose connection has broken."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Callable

import pytest
import slixmpp

from society.xmpp_server import CertificateAuthority, Limits, MemoryOffline, StreamError, XmppServer, lasting
from society.xmpp_server.acknowledging import Ledger
from tests.gates import Gate
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import PATIENCE, Wire, is_served

SM = "xmlns='urn:xmpp:sm:3'"
ENABLE = f"<enable {SM} resume='true'/>"
REQUEST = f"<r {SM}/>"
BIND = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
SM3 = 'xmlns="urn:xmpp:sm:3"'
UNEXPECTED = '<failed xmlns="urn:xmpp:sm:3"><unexpected-request '
NOT_FOUND = '<failed xmlns="urn:xmpp:sm:3"><item-not-found '
TOO_HIGH = '<handled-count-too-high xmlns="urn:xmpp:sm:3" h="{}" send-count="{}"/>'


class Client(Wire):
    """A client that knows stream management."""

    token = ""

    async def begin(
        self,
        authority: CertificateAuthority,
        user: str = "bob",
        resource: str = "r",
        *,
        presence: str | None = "<presence/>",
    ) -> Client:
        """Log in and enable it; what comes later is counted."""
        await self.login(authority, user, resource, presence=presence)
        await self.sync()
        self.send(ENABLE)
        self.token = found(' id="([^"]+)"', await self.until("<enabled[^>]*>"))
        return self

    async def resume(
        self, authority: CertificateAuthority, former: Client, got: int | str, user: str = "bob"
    ) -> str:
        """Log in, and go on with the session of another connection; return what the server says to that."""
        await self.authenticate(authority, user)
        self.token, self.jid = former.token, former.jid
        self.send(f"<resume {SM} previd='{former.token}' h='{got}'/>")
        return await self.until("<resumed[^>]*>|<failed.*?</failed>")

    async def so_far(self) -> str:
        """What has come by now; the question for it is no stanza."""
        self.send(REQUEST)
        text = await self.until("<a [^>]*>")
        return text[: text.rindex("<a ")]

    async def hear(self, count: int) -> list[str]:
        """The bodies of the next messages."""
        return [found("<body>(.*)</body>", await self.message()) for _ in range(count)]

    def acknowledge(self, count: int | str) -> None:
        self.send(f"<a {SM} h='{count}'/>")

    def speak(self, to: str, *bodies: object, kind: str = "chat") -> None:
        """Say so much in one breath: the server reads all of it at once."""
        message = f"<message to='{to}' type='{kind}' id='m{{0}}'><body>{{0}}</body></message>"
        self.send("".join(message.format(each) for each in bodies))


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return match[1]


def bodies(text: str) -> list[str]:
    return re.findall("<body>(.*?)</body>", text)


async def gone(server: XmppServer, jid: str) -> None:
    """Wait until the server knows that a connection has broken."""
    async with asyncio.timeout(PATIENCE):
        while jid in server.sessions():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.001)


async def broken(wire: Wire) -> None:
    """Break a connection, and wait until the server knows."""
    wire.writer.transport.abort()
    await gone(wire.server, wire.jid)


@pytest.fixture
async def bob(server: XmppServer, authority: CertificateAuthority) -> AsyncIterator[Client]:
    """A client with a resumable session."""
    async with Client(server) as wire:
        yield await wire.begin(authority, "bob")


@pytest.fixture
async def alice(server: XmppServer, authority: CertificateAuthority) -> AsyncIterator[Client]:
    """A client that does without."""
    async with Client(server) as wire:
        await wire.login(authority, "alice")
        yield wire


# -- counting ------------------------------------------------------------------------------------


def test_both_counters_begin_again_at_2_to_the_32nd() -> None:
    ledger = Ledger()
    ledger.handled = 2**32 - 1
    ledger.handle()
    assert ledger.handled == 0
    ledger._acknowledged = 2**32 - 2
    for number in range(4):
        ledger.push(b"%d" % number)
    assert ledger.sent == 2
    ledger.acknowledge(1)
    assert (ledger.to_repeat(), ledger.size) == ([b"3"], 1)
    with pytest.raises(StreamError):
        ledger.acknowledge(2**32 - 1)
    ledger.acknowledge(2)
    assert (len(ledger), ledger.size) == (0, 0)


async def test_it_is_offered_after_the_login(server: XmppServer, authority: CertificateAuthority) -> None:
    async with Wire(server) as wire:
        assert "urn:xmpp:sm" not in await wire.secure(authority)
    async with Wire(server) as wire:
        assert '<sm xmlns="urn:xmpp:sm:3"/>' in await wire.authenticate(authority, "alice")


@pytest.mark.parametrize(
    ("wish", "promise"),
    [
        ("resume='true'", ' resume="true" max="60"/>'),
        ("resume='1' max='30'", ' resume="true" max="30"/>'),
        ("resume='true' max='600'", ' resume="true" max="60"/>'),
        ("resume='true' max='soon'", ' resume="true" max="60"/>'),
        ("resume='false'", '<enabled xmlns="urn:xmpp:sm:3"/>'),
        ("", '<enabled xmlns="urn:xmpp:sm:3"/>'),
    ],
)
async def test_what_is_wished_for_and_what_is_promised(alice: Client, wish: str, promise: str) -> None:
    alice.send(f"<enable {SM} {wish}/>")
    assert (await alice.until("<enabled[^>]*>")).endswith(promise)


async def test_what_the_client_says_is_counted(bob: Client) -> None:
    bob.send(REQUEST)
    assert await bob.until("<a [^>]*>") == '<a xmlns="urn:xmpp:sm:3" h="0"/>'
    bob.speak("alice@localhost", 1, 2)
    bob.send(f"<presence/><iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq> {REQUEST}{REQUEST}")
    assert 'h="4"' in await bob.until("<a [^>]*>")
    assert 'h="4"' in await bob.until("<a [^>]*>")


async def test_the_client_is_asked_once_and_again_when_more_has_come(
    alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "ASK_WITHIN", PATIENCE)
    alice.speak(bob.jid, *range(25))
    await alice.sync()
    text = await bob.so_far()
    assert len(bodies(text.partition('<r xmlns="urn:xmpp:sm:3"/>')[0])) == lasting.ASK_AFTER
    assert text.count("<r ") == 1
    bob.acknowledge(1)
    assert await bob.until("<r [^>]*>") == '<r xmlns="urn:xmpp:sm:3"/>'
    bob.acknowledge(25)
    assert await bob.so_far() == ""


async def test_the_client_is_asked_soon(alice: Client, bob: Client) -> None:
    alice.speak(bob.jid, 1)
    await bob.until("<r [^>]*>")
    bob.acknowledge(1)
    alice.speak(bob.jid, 2)
    await bob.until("<r [^>]*>")
    alice.speak(bob.jid, 3)
    await bob.message()
    bob.acknowledge(2)
    await bob.until("<r [^>]*>")


async def test_a_client_that_cannot_count_is_not_asked_for_ever(
    alice: Client, bob: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "ASK_WITHIN", 0.0)
    alice.speak(bob.jid, 1)
    await bob.until("<r [^>]*>")
    bob.acknowledge(0)
    for _look in range(5):
        assert await bob.so_far() == ""


# -- what comes at the wrong time, or is wrong -------------------------------------------------------


async def test_before_binding_there_is_nothing_to_count(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    async with Wire(server) as wire:
        await wire.authenticate(authority, "alice")
        for element in (ENABLE, REQUEST, f"<a {SM} h='0'/>", f"<nonsense {SM}/>"):
            wire.send(element)
            assert (await wire.until("</failed>")).startswith(UNEXPECTED)
        wire.send(BIND)
        assert "<jid>alice@localhost/" in await wire.until("</iq>")
        wire.send(ENABLE)
        await wire.until("<enabled ")


async def test_before_the_login_it_ends_the_stream(
    server: XmppServer, authority: CertificateAuthority
) -> None:
    for element in (ENABLE, f"<resume {SM} previd='x' h='0'/>"):
        async with Wire(server) as wire:
            await wire.secure(authority)
            wire.send(element)
            assert "<unsupported-stanza-type " in await wire.closed()


async def test_before_it_is_enabled_nobody_counts(alice: Client) -> None:
    for element in (REQUEST, f"<a {SM} h='0'/>", f"<resume {SM} previd='x' h='0'/>"):
        alice.send(element)
        assert (await alice.until("</failed>")).startswith(UNEXPECTED)
    assert await alice.sync() == ""


async def test_it_is_enabled_once(bob: Client) -> None:
    bob.speak("alice@localhost", 1)
    for element in (ENABLE, f"<resume {SM} previd='{bob.token}' h='0'/>"):
        bob.send(element)
        assert (await bob.until("</failed>")).startswith(UNEXPECTED)
    bob.send(REQUEST)
    assert 'h="1"' in await bob.until("<a [^>]*>")
    bob.send(f"<nonsense {SM}/>")
    assert "<unsupported-stanza-type " in await bob.closed()


async def test_ten_thousand_requests_are_answered(
    server: XmppServer, authority: CertificateAuthority, bob: Client
) -> None:
    bob.send(REQUEST * 10_000)
    for _ in range(100):
        await bob.until('(<a xmlns="urn:xmpp:sm:3" h="0"/>){100}')
    assert await bob.so_far() == ""
    assert await is_served(server, authority)


@pytest.mark.parametrize(
    "count", ["", "-1", "x", "1.0", "\N{ARABIC-INDIC DIGIT ONE}", "4294967296", "1" * 5000]
)
async def test_what_is_no_count(alice: Client, bob: Client, count: str) -> None:
    alice.speak(bob.jid, 1)
    await bob.message()
    bob.acknowledge(count)
    assert "<bad-format " in await bob.closed()


@pytest.mark.parametrize("count", [3, 2**32 - 1])
async def test_more_than_was_sent_cannot_be_acknowledged(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client, count: int
) -> None:
    alice.speak(bob.jid, 1, 2)
    assert await bob.hear(2) == ["1", "2"]
    bob.acknowledge(count)
    farewell = await bob.closed()
    assert "<undefined-condition xmlns=" in farewell
    assert TOO_HIGH.format(count, 2) in farewell
    async with Client(server) as wire:  # what was lost nobody can say: all of it counts as lost
        assert 'h="0"' in await wire.resume(authority, bob, 0)
        wire.send(BIND + "<presence/>")
        assert await wire.hear(2) == ["1", "2"]


async def test_nor_can_less_than_was_acknowledged_before(alice: Client, bob: Client) -> None:
    alice.speak(bob.jid, 1, 2)
    await bob.hear(2)
    bob.acknowledge(2)
    bob.acknowledge(1)
    assert TOO_HIGH.format(1, 2) in await bob.closed()


@pytest.mark.parametrize(("acknowledged", "claimed"), [(2, 4), (2, 1), (0, 2**32 - 1)])
async def test_a_resumption_with_a_wrong_count_ends_the_session(
    server: XmppServer,
    authority: CertificateAuthority,
    alice: Client,
    bob: Client,
    acknowledged: int,
    claimed: int,
) -> None:
    alice.speak(bob.jid, 1, 2)
    await bob.hear(2)
    bob.acknowledge(acknowledged)
    await bob.so_far()
    await broken(bob)
    alice.speak(bob.jid, 3)
    await alice.sync()
    async with Client(server) as wire:
        await wire.authenticate(authority, "bob")
        wire.send(f"<resume {SM} previd='{bob.token}' h='{claimed}'/>")
        assert TOO_HIGH.format(claimed, 3) in await wire.closed()
    async with Client(server) as wire:
        assert (await wire.resume(authority, bob, acknowledged)).startswith(f"<failed {SM3} h=")
        wire.send(BIND + "<presence/>")
        kept = ["1", "2", "3"][acknowledged:]
        assert await wire.hear(len(kept)) == kept


async def test_a_resumption_needs_a_count(
    server: XmppServer, authority: CertificateAuthority, bob: Client
) -> None:
    await broken(bob)
    async with Client(server) as wire:
        await wire.authenticate(authority, "bob")
        wire.send(f"<resume {SM} previd='{bob.token}'/>")
        assert "<bad-format " in await wire.closed()
    async with Client(server) as wire:
        assert "<resumed " in await wire.resume(authority, bob, 0)


async def test_who_knows_a_token_needs_the_account_as_well(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    await broken(bob)
    alice.speak(bob.jid, "private")
    await alice.sync()
    async with Client(server) as mallory:
        assert (await mallory.resume(authority, bob, 0, "carol")).startswith(NOT_FOUND)
        mallory.send(BIND + "<presence/>")  # the login goes on
        await mallory.until("<presence")
        assert "private" not in await mallory.sync()
    async with Client(server) as wire:
        assert "<resumed " in await wire.resume(authority, bob, 0)
        assert await wire.hear(1) == ["private"]


async def test_a_token_that_nobody_was_given(
    server: XmppServer, authority: CertificateAuthority, bob: Client
) -> None:
    await broken(bob)
    token = bob.token
    for guess in ("", token[:-1], token.swapcase(), "&lt;x/&gt;", "x" * 30_000):
        bob.token = guess
        async with Client(server) as wire:
            assert (await wire.resume(authority, bob, 0)).startswith(NOT_FOUND)
    bob.token = token
    async with Client(server) as wire:
        assert "<resumed " in await wire.resume(authority, bob, 0)


# -- resuming ------------------------------------------------------------------------------------


async def test_what_was_not_acknowledged_is_sent_again_in_order(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    bob.speak("alice@localhost", "b1")
    alice.speak(bob.jid, *range(10))
    assert await bob.hear(10) == [str(number) for number in range(10)]
    bob.acknowledge(3)
    await bob.so_far()
    await broken(bob)
    alice.speak(bob.jid, *range(10, 20))
    await alice.sync()
    async with Client(server) as wire:
        assert await wire.resume(authority, bob, 5) == (
            f'<resumed xmlns="urn:xmpp:sm:3" previd="{bob.token}" h="1"/>'
        )
        alice.speak(bob.jid, *range(20, 30))
        assert await wire.hear(25) == [str(number) for number in range(5, 30)]
        wire.speak("alice@localhost", "b2")
        wire.send(REQUEST)
        assert 'h="2"' in await wire.until("<a [^>]*>")
        assert await alice.hear(1) == ["b2"]
        wire.acknowledge(30)
        assert await wire.so_far() == ""
        await broken(wire)
    async with Client(server) as again:  # and once more
        assert 'h="2"' in await again.resume(authority, bob, 30)
        assert await again.so_far() == ""
        assert server.sessions() == ["alice@localhost/r", "bob@localhost/r"]


async def test_an_end_without_farewell_is_a_break(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    """Also where TLS or TCP are closed in good order."""
    bob.writer.close()
    await gone(server, bob.jid)
    async with Client(server) as wire:
        assert "<resumed " in await wire.resume(authority, bob, 0)
        alice.speak(bob.jid, 1)
        assert await wire.hear(1) == ["1"]


async def test_a_stream_that_was_closed_cannot_be_resumed(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    bob.speak("alice@localhost", 1)
    bob.send("</stream:stream>")
    assert '<a xmlns="urn:xmpp:sm:3" h="1"/></stream:stream>' in await bob.closed()
    async with Client(server) as wire:
        assert (await wire.resume(authority, bob, 0)).startswith(
            '<failed xmlns="urn:xmpp:sm:3" h="1"><item-not'
        )


async def test_without_resumption_a_break_is_the_end(
    server: XmppServer, authority: CertificateAuthority, alice: Client
) -> None:
    async with Client(server) as bob:
        await bob.login(authority, "bob")
        bob.send(f"<enable {SM}/>")
        await bob.until("<enabled[^>]*>")
        alice.speak(bob.jid, 1, 2)
        await bob.hear(2)
        bob.acknowledge(1)
        await bob.so_far()
        await broken(bob)
        assert [session.user for session in server._switchboard] == ["alice"]
    async with Client(server) as bob:
        await bob.login(authority, "bob", presence=None)
        bob.send("<presence/>")
        assert await bob.hear(1) == ["2"]


async def test_a_break_that_the_server_has_not_noticed(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    alice.speak(bob.jid, 1, 2)
    await bob.hear(2)
    async with Client(server) as wire:
        assert "<resumed " in await wire.resume(authority, bob, 1)
        assert await wire.hear(1) == ["2"]
        assert "conflict" not in await bob.closed()
        alice.speak(bob.jid, 3)
        assert await wire.hear(1) == ["3"]
        assert server.sessions() == ["alice@localhost/r", "bob@localhost/r"]


async def test_a_client_that_has_vanished_may_come_back(
    start: Start, authority: CertificateAuthority
) -> None:
    """No FIN, no RST: the server gives the connection up, and says nothing that would end the session."""
    server = await start(limits=Limits(idle_seconds=0.05, ping_seconds=0.05))
    async with Client(server) as bob, Client(server) as wire:
        await bob.begin(authority)
        farewell = await bob.closed()
        assert "<ping " in farewell
        assert "stream:" not in farewell
        assert "<resumed " in await wire.resume(authority, bob, 1)


# -- asleep --------------------------------------------------------------------------------------


async def test_a_sleeping_session_is_still_available(
    server: XmppServer, authority: CertificateAuthority, bob: Client
) -> None:
    async with Client(server) as other:
        await other.login(authority, "bob", "other")
        await broken(bob)
        assert server.sessions() == [other.jid]
        assert server.is_online("bob")
        assert "unavailable" not in await other.sync()
        other.send("<presence type='unavailable'/>")
        await other.sync()
        assert not server.is_online("bob")


async def test_requests_to_a_sleeping_session_are_refused_at_once(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    await broken(bob)
    for kind in ("get", "set"):
        alice.send(f"<iq type='{kind}' id='{kind}' to='{bob.jid}'><ping xmlns='urn:xmpp:ping'/></iq>")
        assert "<recipient-unavailable " in await alice.until(f"<iq[^>]*id=.{kind}.*?</iq>")
    async with Client(server) as wire:
        await wire.resume(authority, bob, 0)
        assert await wire.so_far() == ""


async def test_what_was_asked_before_the_break(start: Start, authority: CertificateAuthority) -> None:
    """A get is answered when the session falls asleep, a set when it ends: it may have been carried out."""
    server = await start(limits=Limits(resume_seconds=0.2))
    async with Client(server) as alice, Client(server) as bob, Client(server) as wire:
        await alice.login(authority, "alice")
        await bob.begin(authority)
        for kind in ("set", "get"):
            alice.send(f"<iq type='{kind}' id='{kind}' to='{bob.jid}'><ping xmlns='urn:xmpp:ping'/></iq>")
        alice.speak(bob.jid, 1)
        await bob.message()
        bob.writer.transport.abort()
        refused = "<iq[^>]* id=.{}. .*?<recipient-unavailable .*?</iq>"
        assert 'id="set"' not in await alice.until(refused.format("get"))
        assert "<resumed " in await wire.resume(authority, bob, 0)
        assert re.findall(r"<(?:iq|message)[^>]* id=.(\w+)", await wire.so_far()) == ["set", "m1"]
        alice.speak(bob.jid, 2)  # the count goes on from what was sent again
        await wire.message()
        wire.acknowledge(3)
        assert await wire.so_far() == ""
        alice.send(f"<iq type='set' id='again' to='{bob.jid}'><ping xmlns='urn:xmpp:ping'/></iq>")
        await alice.sync()
        wire.writer.transport.abort()
        text = await alice.until(refused.format("again"))
        assert "<message" not in text
    assert bodies("".join(server._router._offline.take("bob"))) == []  # of what was acknowledged


async def test_the_answer_to_a_request_waits(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    bob.send(f"<iq type='get' id='q' to='{alice.jid}'><ping xmlns='urn:xmpp:ping'/></iq>")
    await alice.until("</iq>")
    await broken(bob)
    alice.send(f"<iq type='result' id='q' to='{bob.jid}'/>")
    await alice.sync()
    async with Client(server) as wire:
        assert 'h="1"' in await wire.resume(authority, bob, 0)
        assert 'id="q"' in await wire.so_far()


async def test_messages_to_the_account_go_to_who_is_awake(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    async with Client(server) as other, Client(server) as wire:
        await other.login(authority, "bob", "other")
        await bob.so_far()
        await broken(bob)
        alice.speak("bob@localhost", 1)
        alice.speak(bob.jid, 2)
        alice.speak("bob@localhost", 3)
        await alice.sync()
        assert bodies(await other.sync()) == ["1", "3"]
        await wire.resume(authority, bob, 1)  # the presence of the other
        assert bodies(await wire.so_far()) == ["2"]


async def test_messages_to_the_account_wait_in_order_with_the_others(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    await broken(bob)
    for number in range(6):
        alice.speak(bob.jid if number % 2 else "bob@localhost", number)
    alice.send("<message to='bob@localhost'><body>6</body><no-store xmlns='urn:xmpp:hints'/></message>")
    alice.speak("bob@localhost", 7, kind="headline")
    assert await alice.sync() == ""
    async with Client(server) as wire:
        await wire.resume(authority, bob, 0)
        assert bodies(await wire.so_far()) == list("01234567")


async def test_a_session_that_comes_takes_what_is_for_the_account(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    """A process that was killed and started again must not wait for what was sent to it meanwhile."""
    alice.speak("bob@localhost", 0)
    alice.speak(bob.jid, 1)
    await bob.hear(2)
    await broken(bob)
    alice.speak("bob@localhost", 2)
    alice.speak(bob.jid, 3)
    alice.speak("bob@localhost", 4, kind="headline")
    alice.speak("bob@localhost", 5)
    await alice.sync()
    async with Client(server) as other, Client(server) as wire:
        await other.begin(authority, "bob", "other", presence=None)
        other.send("<presence/>")
        assert await other.hear(3) == ["0", "2", "5"]
        await wire.resume(authority, bob, 1)
        assert bodies(await wire.so_far()) == ["1", "3", "4"]
        alice.speak(bob.jid, 6)
        await wire.message()
        wire.acknowledge(1 + 3 + 2 + 1)  # two presences, and one message more than was for itself
        assert await wire.so_far() == ""


async def test_of_several_that_sleep_one_gets_a_message(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    async with Client(server) as other, Client(server) as third:
        await other.begin(authority, "bob", "other")
        await broken(bob)
        await broken(other)
        alice.speak("bob@localhost", 1)
        await alice.sync()
        await third.login(authority, "bob", "third", presence=None)
        third.send("<presence/>")
        assert await third.hear(1) == ["1"]
        assert bodies(await third.sync()) == []


# -- the end of sleep ------------------------------------------------------------------------------


async def test_nobody_came_back(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(resume_seconds=0.05))
    async with Client(server) as alice, Client(server) as other, Client(server) as bob:
        await alice.login(authority, "alice")
        await other.login(authority, "bob", "other", presence="<presence><priority>-1</priority></presence>")
        await bob.begin(authority)
        bob.speak("alice@localhost", "x")
        alice.speak(bob.jid, 1)
        alice.speak("bob@localhost", 2, kind="headline")
        alice.speak(bob.jid, 3)
        assert await bob.hear(3) == ["1", "2", "3"]
        bob.acknowledge(1)
        await bob.so_far()
        await broken(bob)
        await other.until("<presence from=.bob@localhost/r[^>]*unavailable[^>]*>")
        alice.speak(bob.jid, 4)
        await alice.sync()
        assert bodies(await other.sync()) == []
        async with Client(server) as wire:
            assert 'h="1"' in await wire.resume(authority, bob, 1)
            wire.send(BIND + "<presence/>")
            assert await wire.hear(2) == ["3", "4"]
            await wire.sync()


async def test_a_headline_is_not_doubled_when_a_session_ends(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(resume_seconds=0.05))
    async with Client(server) as alice, Client(server) as other, Client(server) as bob:
        await alice.login(authority, "alice")
        await other.login(authority, "bob", "other")
        await bob.begin(authority)
        alice.speak("bob@localhost", 1, kind="headline")
        alice.speak(bob.jid, 2)
        await bob.hear(2)
        await broken(bob)
        assert await other.hear(2) == ["1", "2"]
        assert bodies(await other.sync()) == []


async def test_a_limit_on_sleep_that_the_client_wished_for(
    server: XmppServer, authority: CertificateAuthority, alice: Client
) -> None:
    async with Client(server) as bob:
        await bob.login(authority, "bob")
        bob.send(f"<enable {SM} resume='true' max='0'/>")
        bob.token = found(' id="([^"]+)"', await bob.until("<enabled[^>]*>"))
        bob.writer.transport.abort()
    async with asyncio.timeout(PATIENCE):
        while True:
            async with Client(server) as wire:
                if "<failed " in await wire.resume(authority, bob, 0):
                    return
                await broken(wire)


async def test_the_same_resource_replaces_a_sleeping_session(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    alice.speak(bob.jid, 1, 2)
    await bob.hear(2)
    bob.acknowledge(1)
    await bob.so_far()
    await broken(bob)
    alice.speak(bob.jid, 3)
    await alice.sync()
    async with Client(server) as new, Client(server) as wire:
        await new.login(authority, "bob", presence=None)
        assert new.jid == bob.jid
        assert (await wire.resume(authority, bob, 1)).startswith(
            '<failed xmlns="urn:xmpp:sm:3" h="0"><item-not'
        )
        new.send("<presence/>")
        assert await new.hear(2) == ["2", "3"]


@pytest.mark.parametrize("is_noticed", [True, False])
async def test_who_takes_the_resource_inherits_what_its_former_session_has_not_acknowledged(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client, *, is_noticed: bool
) -> None:
    """A replica that was killed: what was for it is not for the others."""
    async with Client(server) as other, Client(server) as new:
        await other.login(authority, "bob", "other")
        alice.speak(bob.jid, 1)
        alice.speak("bob@localhost", 2)
        alice.speak("bob@localhost", 3, kind="headline")
        alice.send(f"<iq type='set' id='set' to='{bob.jid}'><do xmlns='x'/></iq>")
        await bob.until("<iq [^>]*id=.set.*?</iq>")
        if is_noticed:
            await broken(bob)
            alice.speak(bob.jid, 4)
        else:
            alice.speak(bob.jid, 4)
            await alice.sync()
        await new.login(authority, "bob", presence=None)
        if not is_noticed:
            assert "<stream:error><conflict " in await bob.closed()
        assert "<recipient-unavailable " in await alice.until("<iq [^>]*id=.set.*?</iq>")
        assert await new.sync() == ""
        new.send("<presence/>")
        assert await new.hear(4) == ["1", "2", "3", "4"]
        assert bodies(await new.sync()) == []
        assert bodies(await other.sync()) == ["2", "3"]


async def test_what_an_heir_leaves_behind_goes_to_the_others(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    alice.speak(bob.jid, 1)
    await bob.hear(1)
    await broken(bob)
    async with Client(server) as second, Client(server) as third:
        await second.login(authority, "bob", presence=None)
        await third.login(authority, "bob", presence=None)
        await second.closed()
        await broken(third)
    async with Client(server) as last:
        await last.login(authority, "bob", "another", presence=None)
        last.send("<presence/>")
        assert await last.hear(1) == ["1"]


async def test_an_account_may_have_too_many_sessions_asleep(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(resources=2))
    async with Client(server) as one, Client(server) as two, Client(server) as three, Client(server) as four:
        await one.begin(authority, "bob", "one")
        await two.begin(authority, "bob", "two")
        await broken(one)
        await three.begin(authority, "bob", "three")
        await four.authenticate(authority, "bob")
        four.send(BIND)
        assert "<resource-constraint " in await four.until("</iq>")
        assert server.sessions() == [three.jid, two.jid]


async def test_who_has_slept_longest_makes_way(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(sleeping_sessions=2))
    async with Client(server) as alice:
        await alice.login(authority, "alice")
        sleepers = []
        for name in ("one", "two", "three"):
            async with Client(server) as bob:
                await bob.begin(authority, "bob", name)
                await bob.sync()
                await broken(bob)
                sleepers.append(bob)
        for each, answer in zip(sleepers, ("<failed ", "<resumed ", "<resumed "), strict=True):
            async with Client(server) as wire:
                assert answer in await wire.resume(authority, each, 0)


@pytest.mark.parametrize("limits", [{"unacknowledged_stanzas": 3}, {"outgoing_bytes": 600}])
async def test_too_much_waits_for_a_sleeping_session(
    start: Start, authority: CertificateAuthority, limits: dict[str, int]
) -> None:
    server = await start(limits=Limits(**limits))
    async with Client(server) as alice, Client(server) as bob, Client(server) as new:
        await alice.login(authority, "alice")
        await bob.begin(authority)
        await broken(bob)
        alice.speak(bob.jid, *("x" * 100 + str(number) for number in range(6)))
        await alice.sync()
        assert (await new.resume(authority, bob, 0)).startswith('<failed xmlns="urn:xmpp:sm:3" h="0">')
        new.send(BIND + "<presence/>")
        assert [each[-1] for each in await new.hear(6)] == list("012345")


async def test_who_was_resumed_does_not_sleep_any_more(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(sleeping_sessions=1, resume_seconds=0.3))
    async with Client(server) as bob, Client(server) as wire, Client(server) as carol:
        await bob.begin(authority)
        await broken(bob)
        await wire.resume(authority, bob, 0)
        await carol.begin(authority, "carol")
        await broken(carol)
        assert await wire.so_far() == ""
        async with asyncio.timeout(PATIENCE):
            while len(list(server._switchboard)) > 1:  # noqa: ASYNC110 - until Carol is gone as well
                await asyncio.sleep(0.01)
        assert await wire.so_far() == ""
        assert server.sessions() == [wire.jid]


async def test_the_server_stops(start: Start, authority: CertificateAuthority) -> None:
    offline = MemoryOffline()
    server = await start(offline=offline)
    async with Client(server) as alice, Client(server) as bob, Client(server) as carol:
        await alice.login(authority, "alice")
        await bob.begin(authority)
        await carol.begin(authority, "carol")
        alice.speak(bob.jid, 1)
        await bob.hear(1)
        await broken(bob)
        alice.speak(bob.jid, 2)
        alice.speak(carol.jid, 3)
        await alice.sync()
        before = asyncio.all_tasks()
        await server.stop()
        assert bodies("".join(offline.take("bob"))) == ["1", "2"]
        assert bodies("".join(offline.take("carol"))) == ["3"]
        assert '<a xmlns="urn:xmpp:sm:3" h="0"/><stream:error><system-shutdown ' in await carol.closed()
        assert asyncio.all_tasks() <= before


async def test_the_account_is_removed(
    server: XmppServer, authority: CertificateAuthority, alice: Client, bob: Client
) -> None:
    await broken(bob)
    alice.speak(bob.jid, 1)
    await alice.sync()
    server.remove_account("bob")
    assert 'id="m1" type="error"' in await alice.until("</message>")


# -- who does not acknowledge ----------------------------------------------------------------------


async def test_who_does_not_acknowledge_is_given_up(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(unacknowledged_stanzas=5, slow_seconds=0.2))
    async with Client(server) as alice, Client(server) as bob, Client(server) as new:
        await alice.login(authority, "alice")
        await bob.begin(authority)
        alice.speak(bob.jid, *range(20))
        farewell = await bob.closed()
        assert "<resource-constraint " in farewell
        assert "you do not acknowledge what you get" in farewell
        await alice.sync()  # it is heard again
        await new.login(authority, "bob", presence=None)
        new.send("<presence/>")
        assert await new.hear(20) == [str(number) for number in range(20)]


async def test_who_sends_to_one_that_does_not_acknowledge_has_to_wait(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(unacknowledged_stanzas=5, slow_seconds=PATIENCE))
    async with Client(server) as alice, Client(server) as bob:
        await alice.login(authority, "alice")
        await bob.begin(authority)
        alice.speak(bob.jid, *range(20))
        await bob.hear(20)
        alice.speak("alice@localhost", "behind")
        for _look in range(3):
            await bob.so_far()
        assert server._connections is not None
        assert len(server._connections.backpressure._waiting) == 1
        bob.acknowledge(20)
        assert await alice.hear(1) == ["behind"]


async def test_who_is_not_heard_may_have_acknowledged(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(unacknowledged_stanzas=5, slow_seconds=0.3))
    async with Client(server) as alice, Client(server) as bob, Client(server) as carol:
        await alice.login(authority, "alice")
        await bob.begin(authority)
        await carol.begin(authority, "carol")
        alice.speak(bob.jid, *range(20))
        await bob.hear(20)
        bob.speak(carol.jid, *range(20))  # which has Bob wait as well
        await carol.hear(20)
        bob.acknowledge(20)
        assert "<resource-constraint " in await carol.closed()
        await alice.sync()
        assert server.sessions() == [alice.jid, bob.jid]


async def test_who_acknowledges_late_is_waited_for(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(unacknowledged_stanzas=5, slow_seconds=PATIENCE))
    async with Client(server) as alice, Client(server) as bob:
        await alice.login(authority, "alice")
        await bob.begin(authority)
        for start_at in range(0, 50, 10):
            for number in range(start_at, start_at + 10):
                alice.speak(bob.jid, number)
                await alice.writer.drain()
            alice.speak("bob@localhost/nobody", "behind", kind="error")
            for number in range(start_at, start_at + 10):
                assert await bob.hear(1) == [str(number)]
                bob.acknowledge(number + 1)
        await alice.sync()


async def test_two_that_do_not_acknowledge_do_not_wait_for_each_other(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(unacknowledged_stanzas=5, slow_seconds=PATIENCE))
    async with Client(server) as bob, Client(server) as carol:
        await bob.begin(authority, "bob")
        await carol.begin(authority, "carol")
        for _round in range(3):
            bob.speak(carol.jid, *range(20))
            carol.speak(bob.jid, *range(20))
        for wire in (bob, carol):
            total = 0
            while total < 60:
                await wire.message()
                total += 1
                wire.acknowledge(total)
        bob.send(REQUEST)
        assert 'h="60"' in await bob.until('<a [^>]* h="60"/>')


async def test_one_that_writes_to_itself_hears_itself_acknowledge(
    start: Start, authority: CertificateAuthority
) -> None:
    server = await start(limits=Limits(unacknowledged_stanzas=5, slow_seconds=PATIENCE))
    async with Client(server) as bob:
        await bob.begin(authority)
        bob.speak(bob.jid, *range(20))
        assert len(await bob.hear(20)) == 20
        bob.acknowledge(20)
        assert bodies(await bob.so_far()) == []


# -- a client that others have written -------------------------------------------------------------


class Slix(slixmpp.ClientXMPP):
    """slixmpp with its own plugin for XEP-0198; it comes back whenever its connection breaks."""

    def __init__(self, jid: str, port: int, authority: CertificateAuthority) -> None:
        super().__init__(jid, "secret")
        self.ca_certs = str(authority.file)
        self.enable_direct_tls = False
        self.register_plugin("xep_0198")
        self.port = port
        self.heard: list[str] = []
        self.events: list[str] = []
        self.news = asyncio.Event()
        self.is_over = False
        self.add_event_handler("session_start", lambda _event: self.send_presence())
        self.add_event_handler("message", self._hear)
        for name in ("sm_enabled", "session_resumed", "sm_failed", "disconnected"):
            self.add_event_handler(name, functools.partial(self._note, name))

    def _hear(self, message: slixmpp.Message) -> None:
        self.heard.append(message["body"])
        self.news.set()

    def _note(self, name: str, _event: object) -> None:
        self.events.append(name)
        self.news.set()
        if name == "disconnected" and not self.is_over:
            self.connect("127.0.0.1", self.port)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self.news.clear()
                await self.news.wait()

    async def close(self) -> None:
        self.is_over = True
        self.events.clear()
        self.disconnect()
        await self.until(lambda: "disconnected" in self.events)


async def test_slixmpp_resumes(server: XmppServer, authority: CertificateAuthority, alice: Client) -> None:
    async with Gate(server.port) as gate:
        slix = Slix("bob@localhost/slix", gate.port, authority)
        slix.connect("127.0.0.1", gate.port)
        await slix.until(lambda: "sm_enabled" in slix.events)
        for number in range(200):
            alice.speak("bob@localhost/slix", number)
            slix.send_message("alice@localhost", str(number), mtype="chat")
            if number % 60 == 30:
                resumed = slix.events.count("session_resumed")
                gate.cut()
                alice.speak("bob@localhost/slix", f"{number} cut")
                await slix.until(lambda before=resumed: slix.events.count("session_resumed") > before)
            await asyncio.sleep(0.001)
        await slix.until(lambda: len(slix.heard) >= 203)
        expected = [str(number) for number in range(200)]
        for number in (150, 90, 30):
            expected.insert(number + 1, f"{number} cut")
        assert slix.heard == expected
        assert set(await alice.hear(200)) == {str(number) for number in range(200)}
        assert "sm_failed" not in slix.events
        await slix.close()
