from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from society.xmpp_server import CertificateAuthority, Limits, XmppServer
from society.xmpp_server.rosters import RULES, Item, changed
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import Wire


class People:
    """Log people in; they leave with the test."""

    def __init__(self, server: XmppServer, authority: CertificateAuthority, stack: AsyncExitStack) -> None:
        self.server, self.authority, self.stack = server, authority, stack

    async def __call__(
        self, user: str, resource: str = "r", *, presence: str | None = "<presence/>", roster: bool = True
    ) -> Wire:
        wire = await self.stack.enter_async_context(Wire(self.server))
        await wire.login(self.authority, user, resource, presence=None)
        if roster:
            wire.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
            await wire.until('id="roster".*?</iq>')
        if presence is not None:
            wire.send(presence)
            await wire.until(f'<presence from="{user}@localhost/{resource}"[^>]*?(/>|>.*?</presence>)')
        return wire


@pytest.fixture
async def people(server: XmppServer, authority: CertificateAuthority) -> AsyncIterator[People]:
    async with AsyncExitStack() as stack:
        yield People(server, authority, stack)


def tags(text: str) -> list[str]:
    """Show the presences and roster items of what was received, without what varies."""
    found = re.findall(r"<presence ([^>]*?)/?>|<item ([^>]*?)/?>", text)
    return [" ".join(re.findall(r'"([^"]*)"', presence or item)) for presence, item in found]


async def befriend(one: Wire, other: Wire) -> None:
    for asking, asked in ((one, other), (other, one)):
        bare = [wire.jid.partition("/")[0] for wire in (asking, asked)]
        asking.send(f"<presence to='{bare[1]}' type='subscribe'/>")
        await asking.sync()
        asked.send(f"<presence to='{bare[0]}' type='subscribed'/>")
        await asked.sync()
    await one.sync()


async def test_subscribing_step_by_step(people: People) -> None:
    alice, bob = await people("alice"), await people("bob")
    alice.send("<presence to='bob@localhost/any' type='subscribe' id='s'/>")
    assert tags(await alice.sync()) == ["bob@localhost none subscribe"]
    assert tags(await bob.sync()) == ["alice@localhost bob@localhost subscribe s"]  # from the bare JID

    bob.send("<presence to='alice@localhost' type='subscribed'/>")
    assert tags(await bob.sync()) == ["alice@localhost from"]
    assert tags(await alice.sync()) == [
        "bob@localhost to",
        "bob@localhost alice@localhost subscribed",
        "bob@localhost/r alice@localhost",
    ]

    bob.send("<presence><show>away</show></presence>")
    assert tags(await alice.sync()) == ["bob@localhost/r alice@localhost"]
    alice.send("<presence><show>dnd</show></presence>")
    assert tags(await alice.sync()) == ["alice@localhost/r alice@localhost"]
    assert tags(await bob.sync()) == ["bob@localhost/r bob@localhost"]  # alice is not seen by bob

    alice.send("<presence to='bob@localhost' type='unsubscribe'/>")
    assert tags(await alice.sync()) == ["bob@localhost none", "bob@localhost/r alice@localhost unavailable"]
    assert tags(await bob.sync()) == ["alice@localhost none", "alice@localhost bob@localhost unsubscribe"]


async def test_a_subscription_is_taken_back(people: People) -> None:
    alice, bob = await people("alice"), await people("bob")
    await befriend(alice, bob)
    await bob.sync()
    bob.send("<presence to='alice@localhost' type='unsubscribed'/>")
    assert tags(await bob.sync()) == ["alice@localhost to"]
    assert tags(await alice.sync()) == [
        "bob@localhost from",
        "bob@localhost alice@localhost unsubscribed",
        "bob@localhost/r alice@localhost unavailable",
    ]


async def test_friends_see_each_other_come_and_go(people: People) -> None:
    alice, bob = await people("alice"), await people("bob")
    await befriend(alice, bob)
    await bob.sync()
    bob.send("</stream:stream>")
    await bob.closed()
    assert tags(await alice.sync()) == ["bob@localhost/r alice@localhost unavailable"]
    bob = await people("bob", "again", presence="<presence><status>here</status></presence>")
    assert tags(await bob.sync()) == ["alice@localhost/r bob@localhost/again"]
    assert "<status>here</status>" in await alice.sync()
    bob.writer.transport.abort()
    assert 'type="unavailable"' in await alice.until("<presence[^>]*/>")


async def test_presences_of_one_account_see_each_other(people: People) -> None:
    one = await people("alice", "1")
    two = await people("alice", "2", presence=None)
    assert tags(await one.sync()) == []
    two.send("<presence/>")
    assert tags(await two.sync()) == [
        "alice@localhost/2 alice@localhost",
        "alice@localhost/1 alice@localhost/2",
    ]
    assert tags(await one.sync()) == ["alice@localhost/2 alice@localhost"]
    two.send("<presence type='unavailable'/>")
    assert tags(await two.sync()) == []
    assert tags(await one.sync()) == ["alice@localhost/2 alice@localhost unavailable"]


async def test_requests_wait_for_the_account(people: People) -> None:
    alice = await people("alice")
    alice.send("<presence to='bob@localhost' type='subscribe'/>" * 2)
    await alice.sync()
    request = "alice@localhost bob@localhost subscribe"
    for resource in ("1", "2"):
        bob = await people("bob", resource)
        assert request in tags(await bob.sync())
        assert "alice" not in await roster(bob)  # RFC 6121 §A.1.2
    bob.send("<presence to='alice@localhost' type='unsubscribed'/>")
    await bob.sync()
    assert request not in tags(await (await people("bob", "3")).sync())


async def test_what_was_granted_is_answered_by_the_server(people: People) -> None:
    alice, bob = await people("alice"), await people("bob")
    await befriend(alice, bob)
    await bob.sync()
    # bob's side still has "from"; alice has lost "to" by accident of her store.
    store = people.server._router._subscriptions._rosters
    store.put("alice", Item(jid="bob@localhost", listed=True, by=True))
    alice.send("<presence to='bob@localhost' type='subscribe'/>")
    assert tags(await alice.sync())[-2:] == [
        "bob@localhost alice@localhost subscribed",
        "bob@localhost/r alice@localhost",
    ]
    assert tags(await bob.sync()) == []


@pytest.mark.parametrize("kind", ["subscribed", "unsubscribed", "unsubscribe"])
async def test_answers_without_a_question_reach_nobody(people: People, kind: str) -> None:
    alice, bob = await people("alice"), await people("bob")
    alice.send(f"<presence to='bob@localhost' type='{kind}'/>")
    assert tags(await alice.sync()) == []
    assert tags(await bob.sync()) == []


async def test_strangers_are_not_seen(people: People) -> None:
    alice, bob = await people("alice"), await people("bob")
    alice.send("<presence to='bob@localhost' type='probe'/><presence to='nobody@localhost' type='probe'/>")
    alice.send("<presence to='nobody@localhost'/><presence to='alice@localhost' type='subscribe'/>")
    alice.send("<presence to='nobody@localhost' type='subscribe'/>")
    assert tags(await alice.sync()) == ["nobody@localhost none subscribe"]
    assert tags(await bob.sync()) == []


async def test_a_probe_is_answered_for_friends(people: People) -> None:
    alice, bob = await people("alice"), await people("bob")
    await befriend(alice, bob)
    await alice.sync()
    alice.send("<presence to='bob@localhost' type='probe'/>")
    assert tags(await alice.sync()) == ["bob@localhost/r alice@localhost/r"]


async def test_directed_presence(people: People) -> None:
    alice, bob, carol = await people("alice"), await people("bob"), await people("carol")
    alice.send(
        "<presence to='bob@localhost'><status>psst</status></presence><presence to='carol@localhost/r'/>"
    )
    await alice.sync()
    assert tags(await bob.sync()) == ["alice@localhost/r bob@localhost"]
    assert tags(await carol.sync()) == ["alice@localhost/r carol@localhost/r"]
    alice.send("<presence to='carol@localhost/r' type='unavailable'/>")
    await alice.sync()
    assert tags(await carol.sync()) == ["alice@localhost/r carol@localhost/r unavailable"]
    alice.writer.transport.abort()  # who was told by name hears that she is gone
    assert 'type="unavailable"' in await bob.until("<presence[^>]*/>")
    assert tags(await carol.sync()) == []


async def test_unavailable_and_back(people: People) -> None:
    alice, bob = await people("alice"), await people("bob")
    await befriend(alice, bob)
    await bob.sync()
    alice.send("<presence type='unavailable'><status>lunch</status></presence>")
    await alice.sync()
    assert "<status>lunch</status>" in (text := await bob.sync())
    assert tags(text) == ["alice@localhost/r bob@localhost unavailable"]
    assert not people.server.is_online("alice")
    assert "alice@localhost/r" in people.server.sessions()
    bob.send("<message to='alice@localhost/r'><body>by name</body></message>")
    assert "by name" in await alice.message()
    alice.writer.transport.abort()
    assert tags(await bob.sync()) == []  # it had said goodbye


@pytest.mark.parametrize(
    "presence",
    [
        "<presence id='m'><priority>128</priority></presence>",
        "<presence id='m'><priority>high</priority></presence>",
        "<presence id='m' type='sideways'/>",
    ],
)
async def test_malformed_presence(people: People, presence: str) -> None:
    alice = await people("alice")
    alice.send(presence)
    assert "<bad-request " in await alice.sync()


async def test_large_presence_is_not_kept(people: People) -> None:
    alice = await people("alice")
    alice.send(f"<presence id='m'><status>{'x' * 300_000}</status></presence>")
    assert "<policy-violation " in await alice.sync()


async def test_foreign_presence(people: People) -> None:
    alice = await people("alice")
    for kind in ("", "type='subscribe'", "type='probe'"):
        alice.send(f"<presence to='x@elsewhere.example' {kind} id='m'/>")
        assert "<remote-server-not-found " in await alice.sync()
    alice.send("<presence to='x@elsewhere.example' type='unavailable'/>")
    assert await alice.sync() == ""


async def roster(wire: Wire) -> str:
    wire.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
    return await wire.until('id="roster".*?</iq>')


def setting(item: str) -> str:
    return f"<iq type='set' id='set'><query xmlns='jabber:iq:roster'>{item}</query></iq>"


async def test_the_roster_is_kept_and_pushed(people: People) -> None:
    alice, other = await people("alice", "1"), await people("alice", "2")
    deaf = await people("alice", "3", roster=False)
    for wire in (alice, other, deaf):
        await wire.sync()
    alice.send(
        setting("<item jid='Bob@localhost/x' name='B &amp; B'><group>a&lt;</group><group>b</group></item>")
    )
    item = (
        '<item jid="bob@localhost" subscription="none" name="B &amp; B">'
        "<group>a&lt;</group><group>b</group></item>"
    )
    for wire in (alice, other):
        text = await wire.sync()
        assert item in text
        assert f'<iq to="{wire.jid}" id="push-' in text
    assert await deaf.sync() == ""
    assert item in await roster(deaf)
    alice.send(setting("<item jid='bob@localhost' subscription='both'/>"))
    assert '<item jid="bob@localhost" subscription="none"></item>' in await other.sync()
    alice.send(setting("<item jid='bob@localhost' subscription='remove'/>"))
    assert '<item jid="bob@localhost" subscription="remove"/>' in await other.sync()
    assert '<query xmlns="jabber:iq:roster"></query>' in await roster(alice)


async def test_removing_a_contact_ends_both_subscriptions(people: People) -> None:
    alice, bob = await people("alice"), await people("bob")
    await befriend(alice, bob)
    await bob.sync()
    await alice.sync()
    alice.send(setting("<item jid='bob@localhost' subscription='remove'/>"))
    seen = tags(await alice.sync())
    assert seen[-1] == "bob@localhost remove"
    assert "bob@localhost/r alice@localhost unavailable" in seen
    assert tags(await bob.sync()) == [
        "alice@localhost to",
        "alice@localhost bob@localhost unsubscribe",
        "alice@localhost none",
        "alice@localhost bob@localhost unsubscribed",
        "alice@localhost/r bob@localhost unavailable",
    ]


@pytest.mark.parametrize(
    ("item", "condition"),
    [
        ("", "bad-request"),
        ("<item jid='a@b'/><item jid='c@d'/>", "bad-request"),
        ("<other/>", "bad-request"),
        ("<item/>", "jid-malformed"),
        ("<item jid='@'/>", "jid-malformed"),
        ("<item jid='a@b' subscription='remove'/>", "item-not-found"),
        ("<item jid='a@b'><group/></item>", "not-acceptable"),
        (f"<item jid='a@b' name='{'x' * 1024}'/>", "not-acceptable"),
    ],
)
async def test_roster_items_that_are_refused(people: People, item: str, condition: str) -> None:
    alice = await people("alice")
    alice.send(setting(item))
    assert f"<{condition} " in await alice.sync()


async def test_rosters_are_bounded(start: Start, authority: CertificateAuthority) -> None:
    server = await start(limits=Limits(roster_items=2))
    async with Wire(server) as alice, Wire(server) as bob:
        await alice.login(authority, "alice")
        await bob.login(authority, "bob")
        for n in range(3):
            alice.send(setting(f"<item jid='x{n}@localhost'/>"))
        assert (await alice.sync()).count("<resource-constraint ") == 1
        alice.send("<presence to='bob@localhost' type='subscribe'/>")
        await alice.sync()
        assert await bob.sync() == ""
        for n in range(3):
            bob.send(f"<presence to='x{n}@localhost'/>")
        assert (await bob.sync()).count("<resource-constraint ") == 1


STATES = [
    Item(jid="x", to=to, by=by, asking=asking, asked=asked)
    for to in (False, True)
    for by in (False, True)
    for asking in (False, True)
    for asked in (False, True)
    if not (to and asking) and not (by and asked)
]


@pytest.mark.parametrize("item", STATES)
def test_subscription_rules_keep_the_states_of_the_rfc(item: Item) -> None:
    for direction, request in RULES:
        after = changed(item, direction, request)
        assert after in STATES
        assert changed(after, direction, request) == after or (direction, request) == ("in", "subscribe")
    # What one side sends changes the other's half as the table says: "to" here is "by" there.
    assert changed(item, "out", "unsubscribe").to is False
    assert changed(item, "in", "unsubscribe").by is False


def test_only_what_was_asked_for_is_granted() -> None:
    for item in STATES:
        assert changed(item, "in", "subscribed").to is (item.to or item.asking)
        assert changed(item, "out", "subscribed").by is (item.by or item.asked)
