"""The PubSub service, held against XEP-0060 by a client that sends exactly what it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from society.xmpp_server import CertificateAuthority, Limits, MemoryNodes, NodeStore, StoreError, XmppServer
from society.xmpp_server.pubsub_nodes import Config, Item, Node, kept
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import Wire, is_served

PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER = f"{PUBSUB}#owner"
ERRORS = f"{PUBSUB}#errors"
SERVICE = "pubsub.localhost"


class Asker(Wire):
    """A client of the service."""

    async def ask(self, payload: str, kind: str = "set", to: str = SERVICE) -> str:
        """Ask anything; what comes before the answer is dropped."""
        self.send(f"<iq type='{kind}' id='q' to='{to}'>{payload}</iq>")
        text = await self.until("<iq[^>]*id=.q.[^>]*?(/>|>.*?</iq>)")
        return text[text.rindex("<iq ") :]

    async def do(self, verb: str, kind: str = "set", namespace: str = PUBSUB) -> str:
        return await self.ask(f"<pubsub xmlns='{namespace}'>{verb}</pubsub>", kind)

    async def create(self, node: str, *fields: str, form: str = "submit") -> str:
        configure = f"<configure><x xmlns='jabber:x:data' type='{form}'>{''.join(fields)}</x></configure>"
        return await self.do(f"<create node='{node}'/>{configure if fields else ''}")

    async def publish(self, node: str, item: str = "", text: str = "x") -> str:
        identity = f" id='{item}'" if item else ""
        payload = f"<acl xmlns='urn:x'>{text}</acl>"
        return await self.do(f"<publish node='{node}'><item{identity}>{payload}</item></publish>")

    async def subscribe(self, node: str, jid: str = "") -> str:
        return await self.do(f"<subscribe node='{node}' jid='{jid or self.jid}'/>")

    async def items(self, node: str, most: str = "") -> str:
        wish = f" max_items='{most}'" if most else ""
        return await self.do(f"<items node='{node}'{wish}/>", "get")


def field(name: str, value: str) -> str:
    return f"<field var='{name}'><value>{value}</value></field>"


def config(**fields: str) -> list[str]:
    form_type = field("FORM_TYPE", f"{PUBSUB}#node_config")
    return [form_type, *(field(f"pubsub#{name}", value) for name, value in fields.items())]


def fine(answer: str) -> bool:
    return 'type="result"' in answer


def failed(answer: str, condition: str, specific: str = "", kind: str = "cancel") -> bool:
    detail = f'<{specific} xmlns="{ERRORS}"/>' if specific else ""
    return f'<error type="{kind}"><{condition} ' in answer and detail in answer


@pytest.fixture
async def clients(server: XmppServer, authority: CertificateAuthority) -> AsyncIterator[list[Asker]]:
    """Alice, Bob and Carol."""
    async with AsyncExitStack() as stack:
        found = []
        for name in ("alice", "bob", "carol"):
            client = await stack.enter_async_context(Asker(server))
            found.append(await client.login(authority, name))
        yield found


@pytest.fixture
async def alice(clients: list[Asker]) -> Asker:
    return clients[0]


@pytest.fixture
async def bob(clients: list[Asker]) -> Asker:
    return clients[1]


class TestDiscovery:
    async def test_the_service_is_found_at_the_server(self, alice: Asker) -> None:
        items = await alice.ask("<query xmlns='http://jabber.org/protocol/disco#items'/>", "get", "localhost")
        assert f'<item jid="{SERVICE}"/>' in items
        items = await alice.ask(
            "<query xmlns='http://jabber.org/protocol/disco#items'/>", "get", "alice@localhost"
        )
        assert SERVICE not in items
        info = await alice.ask("<query xmlns='http://jabber.org/protocol/disco#info'/>", "get")
        assert info.startswith(f'<iq from="{SERVICE}" to="alice@localhost/r" id="q" type="result">')
        assert '<identity category="pubsub" type="service" name="Locution"/>' in info
        assert f'<feature var="{PUBSUB}"/>' in info
        assert f'<feature var="{PUBSUB}#publish"/>' in info
        assert fine(await alice.ask("<ping xmlns='urn:xmpp:ping'/>", "get"))

    async def test_its_nodes_and_their_items_are_listed(self, alice: Asker) -> None:
        await alice.create("a&amp;b")
        await alice.publish("a&amp;b", "one")
        items = "<query xmlns='http://jabber.org/protocol/disco#items'{}/>"
        assert f'<item jid="{SERVICE}" node="a&amp;b"/>' in await alice.ask(items.format(""), "get")
        listed = await alice.ask(items.format(" node='a&amp;b'"), "get")
        assert f'node="a&amp;b"><item jid="{SERVICE}" name="one"/></query>' in listed
        info = "<query xmlns='http://jabber.org/protocol/disco#info' node='{}'/>"
        assert 'category="pubsub" type="leaf"' in await alice.ask(info.format("a&amp;b"), "get")
        assert failed(await alice.ask(info.format("b"), "get"), "item-not-found")

    @pytest.mark.parametrize(
        ("payload", "kind"),
        [("<x xmlns='y'/>", "get"), ("<ping xmlns='urn:xmpp:ping'/>", "set"), ("<x/>", "set")],
    )
    async def test_what_it_does_not_know(self, alice: Asker, payload: str, kind: str) -> None:
        assert failed(await alice.ask(payload, kind), "service-unavailable")

    @pytest.mark.parametrize("to", ["x@pubsub.localhost", "pubsub.localhost/x", "alice@pubsub.localhost/r"])
    async def test_nobody_has_an_account_there(self, alice: Asker, to: str) -> None:
        assert failed(await alice.ask("<ping xmlns='urn:xmpp:ping'/>", "get", to), "service-unavailable")
        for kind in ("chat", "headline", "groupchat"):
            alice.send(f"<message to='{to}' type='{kind}' id='m'><body>x</body></message>")
            assert failed(await alice.sync(), "service-unavailable")

    async def test_it_takes_no_messages_and_no_presence(self, alice: Asker, bob: Asker) -> None:
        alice.send(f"<message to='{SERVICE}' id='m'><body>x</body></message>")
        assert failed(await alice.sync(), "service-unavailable")
        alice.send(f"<message to='{SERVICE}' id='m' type='error'/><iq to='{SERVICE}' id='i' type='result'/>")
        for kind in ("", "subscribe", "unavailable", "probe"):
            wish = f"type='{kind}'" if kind else ""
            alice.send(f"<presence to='{SERVICE}' {wish}/><presence to='bob@{SERVICE}' {wish}/>")
        assert await alice.sync() == ""
        assert await bob.sync() == ""

    @pytest.mark.parametrize("to", ["pubsub.example.org", "other.localhost", "xpubsub.localhost"])
    async def test_other_domains_stay_foreign(self, alice: Asker, to: str) -> None:
        assert failed(await alice.ask("<ping xmlns='urn:xmpp:ping'/>", "get", to), "remote-server-not-found")

    async def test_it_is_called_after_the_domain(self, start: Start, authority: CertificateAuthority) -> None:
        server = await start(domain="xmpp.example", hosts=["localhost"])
        async with Asker(server) as alice:
            await alice.login(authority, "alice")
            ping = "<ping xmlns='urn:xmpp:ping'/>"
            assert fine(await alice.ask(ping, "get", "pubsub.xmpp.example"))
            assert failed(await alice.ask(ping, "get", SERVICE), "remote-server-not-found")


class TestNodes:
    async def test_one_is_made_and_deleted(self, alice: Asker, bob: Asker) -> None:
        answer = await alice.create("news")
        assert f'<pubsub xmlns="{PUBSUB}"><create node="news"/></pubsub>' in answer
        assert failed(await bob.create("news"), "conflict")
        assert failed(await alice.create("news"), "conflict")
        assert failed(await bob.do("<delete node='news'/>", namespace=OWNER), "forbidden", kind="auth")
        await bob.subscribe("news")
        assert fine(await alice.do("<delete node='news'/>", namespace=OWNER))
        told = await bob.message()
        assert f'<event xmlns="{PUBSUB}#event"><delete node="news"/></event>' in told
        assert failed(await alice.do("<delete node='news'/>", namespace=OWNER), "item-not-found")
        assert "<subscriptions></subscriptions>" in await bob.do("<subscriptions/>", "get")
        assert fine(await bob.create("news"))

    async def test_who_owns_what(self, alice: Asker, bob: Asker) -> None:
        for name in ("one", "two"):
            await alice.create(name)
        affiliations = await alice.do("<affiliations/>", "get")
        for name in ("one", "two"):
            assert f'<affiliation node="{name}" affiliation="owner"/>' in affiliations
        assert "two" not in await alice.do("<affiliations node='one'/>", "get")
        assert "<affiliations></affiliations>" in await bob.do("<affiliations/>", "get")

    async def test_there_are_so_many_for_each_account(
        self, start: Start, authority: CertificateAuthority
    ) -> None:
        server = await start(limits=Limits(pubsub_nodes=2))
        async with Asker(server) as alice, Asker(server) as bob:
            await alice.login(authority, "alice")
            await bob.login(authority, "bob")
            assert fine(await alice.create("1"))
            assert fine(await alice.create("2"))
            assert failed(await alice.create("3"), "conflict", "max-nodes-exceeded")
            assert fine(await bob.create("3"))
            await alice.do("<delete node='1'/>", namespace=OWNER)
            assert fine(await alice.create("4"))

    async def test_a_node_has_a_name(self, alice: Asker) -> None:
        for verb in ("<create/>", "<create node=''/>"):
            assert failed(await alice.do(verb), "not-acceptable", "nodeid-required", "modify")
        for verb, kind in (
            ("<publish/>", "set"),
            ("<retract/>", "set"),
            (f"<subscribe jid='{alice.jid}'/>", "set"),
            ("<items/>", "get"),
        ):
            assert failed(await alice.do(verb, kind), "bad-request", "nodeid-required", "modify")
        assert failed(await alice.create("x" * 1024), "bad-request", kind="modify")
        assert fine(await alice.create("ä" * 511))

    async def test_what_is_not_offered_is_said(self, alice: Asker) -> None:
        await alice.create("news")
        for verb, kind, namespace, feature in (
            ("<options node='news'/>", "get", PUBSUB, "subscription-options"),
            ("<default/>", "get", OWNER, "retrieve-default"),
            ("<purge node='news'/>", "set", OWNER, "purge-nodes"),
            ("<affiliations node='news'/>", "set", OWNER, "modify-affiliations"),
            ("<subscriptions node='news'/>", "get", OWNER, "manage-subscriptions"),
            (
                f"<subscribe node='news' jid='{alice.jid}'/><options/>",
                "set",
                PUBSUB,
                "subscription-options",
            ),
            (
                "<publish node='news'><item><a/></item></publish><publish-options/>",
                "set",
                PUBSUB,
                "publish-options",
            ),
        ):
            answer = await alice.do(verb, kind, namespace)
            assert failed(answer, "feature-not-implemented"), verb
            assert f'<unsupported xmlns="{ERRORS}" feature="{feature}"/>' in answer
        for verb in ("<fly/>", "<create xmlns='y' node='z'/>", "<create xmlns='' node='z'/>"):
            assert failed(await alice.do(verb), "feature-not-implemented")
        assert failed(await alice.do(""), "bad-request", kind="modify")


class TestConfiguration:
    async def test_the_owner_reads_and_changes_it(self, alice: Asker, bob: Asker) -> None:
        assert fine(await alice.create("news", *config(max_items="3", title="A &lt; B")))
        form = await alice.do("<configure node='news'/>", "get", OWNER)
        assert 'var="pubsub#max_items" type="text-single"><value>3</value>' in form
        assert "<value>A &lt; B</value>" in form
        assert 'var="pubsub#access_model" type="list-single"><value>open</value>' in form
        assert failed(await bob.do("<configure node='news'/>", "get", OWNER), "forbidden", kind="auth")
        for number in range(4):
            await alice.publish("news", str(number))
        change = "<configure node='news'><x xmlns='jabber:x:data' type='{}'>{}</x></configure>"
        fields = "".join(config(max_items="1", publish_model="open"))
        assert failed(await bob.do(change.format("submit", fields), "set", OWNER), "forbidden", kind="auth")
        assert fine(await alice.do(change.format("cancel", fields), "set", OWNER))
        assert 'id="1"' in await alice.items("news")
        assert fine(await alice.do(change.format("submit", fields), "set", OWNER))
        kept = await alice.items("news")
        assert 'id="2"' not in kept
        assert 'id="3"' in kept
        assert fine(await bob.publish("news", "4"))
        assert "A &lt; B" in await alice.do("<configure node='news'/>", "get", OWNER)

    @pytest.mark.parametrize(
        "fields",
        [
            config(),
            config(access_model="open", send_last_published_item="never", deliver_payloads="true"),
            config(max_items="max", persist_items="1", notify_retract="1", node_type="leaf"),
            config(max_items="0"),
            [field("pubsub#title", "no FORM_TYPE")],
        ],
    )
    async def test_what_can_be_had(self, alice: Asker, fields: list[str]) -> None:
        assert fine(await alice.create("news", *fields))

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            (config(access_model="whitelist"), "pubsub#access_model: write open"),
            (config(access_model="authorize"), "pubsub#access_model: write open"),
            (config(publish_model="subscribers"), "pubsub#publish_model: write publishers or open"),
            (config(notification_type="chat"), "pubsub#notification_type: write headline or normal"),
            (config(max_items="257"), "pubsub#max_items: write 0 to 256, or max"),
            (config(max_items="-1"), "pubsub#max_items: write 0 to 256, or max"),
            (config(max_items="٣"), "pubsub#max_items: write 0 to 256, or max"),
            (config(max_items="9" * 5000), "pubsub#max_items: write 0 to 256, or max"),
            (config(max_items=""), "pubsub#max_items: write 0 to 256, or max"),
            (config(persist_items="maybe"), "pubsub#persist_items: write 1 or 0"),
            (config(send_last_published_item="on_sub"), "pubsub#send_last_published_item: write never"),
            (config(title="x" * 1024), "pubsub#title: write at most 1023 bytes"),
            (config(collection="all"), "pubsub#collection cannot be configured here"),
            ([field("max_items", "3")], "max_items cannot be configured here"),
            ([field("access_model", "open")], "access_model cannot be configured here"),
            ([field("", "3")], "cannot be configured here"),
            ([field("FORM_TYPE", "x")], "the form's FORM_TYPE is http"),
            ([field("pubsub#title", "x")] * 2, "pubsub#title: one field with one value"),
            (["<field var='pubsub#title'/>"], "pubsub#title: one field with one value"),
            (["<field var='pubsub#title'><value/><value/></field>"], "one field with one value"),
        ],
    )
    async def test_what_cannot(self, alice: Asker, fields: list[str], told: str) -> None:
        answer = await alice.create("news", *fields)
        assert failed(answer, "not-acceptable", kind="modify")
        assert told in answer
        assert failed(await alice.items("news"), "item-not-found")

    async def test_what_is_no_form(self, alice: Asker) -> None:
        for form in ("form", "result", ""):
            answer = await alice.create("news", *config(), form=form)
            assert failed(answer, "bad-request", kind="modify")
        answer = await alice.do("<create node='news'/><configure><y/></configure>")
        assert failed(answer, "bad-request", kind="modify")
        assert fine(await alice.do("<create node='news'/><configure/>"))


class TestPublishing:
    async def test_everybody_who_is_subscribed_is_told_in_order(self, clients: list[Asker]) -> None:
        alice, bob, carol = clients
        await alice.create("news")
        answer = await bob.subscribe("news", "bob@localhost")
        assert '<subscription node="news" jid="bob@localhost" subscription="subscribed"/>' in answer
        await carol.subscribe("news")
        for number in range(50):
            answer = await alice.publish("news", f"i{number}", f"number {number}")
            assert f'<publish node="news"><item id="i{number}"/></publish>' in answer
        for client, jid in ((bob, "bob@localhost"), (carol, "carol@localhost/r")):
            for number in range(50):
                assert await client.message() == (
                    f'<message from="{SERVICE}" to="{jid}" type="headline"><event xmlns="{PUBSUB}#event">'
                    f'<items node="news"><item id="i{number}" publisher="alice@localhost">'
                    f'<acl xmlns="urn:x">number {number}</acl></item></items></event></message>'
                )
            assert await client.sync() == ""

    async def test_an_item_without_an_id_gets_one(self, alice: Asker) -> None:
        await alice.create("news")
        answers = {await alice.publish("news") for _ in range(2)}
        assert len(answers) == 2
        assert failed(await alice.publish("news", "x" * 1024), "bad-request", kind="modify")

    async def test_an_id_that_is_used_again_replaces(self, alice: Asker) -> None:
        await alice.create("news")
        for name, text in (("a", "1"), ("b", "2"), ("a", "3")):
            await alice.publish("news", name, text)
        items = await alice.items("news")
        assert items.count("<item ") == 2
        assert items.index(">2<") < items.index(">3<")

    async def test_only_the_owner_publishes(self, alice: Asker, bob: Asker) -> None:
        await alice.create("news")
        await bob.subscribe("news")
        assert failed(await bob.publish("news"), "forbidden", kind="auth")
        assert failed(await alice.publish("olds"), "item-not-found")
        assert await bob.sync() == ""

    async def test_everybody_publishes_to_an_open_node(self, alice: Asker, bob: Asker) -> None:
        await alice.create("news", *config(publish_model="open"))
        assert fine(await bob.publish("news", "b"))
        assert 'publisher="bob@localhost"' in await alice.items("news")

    @pytest.mark.parametrize(
        ("content", "condition", "specific"),
        [
            ("", "bad-request", "item-required"),
            ("<item/>", "bad-request", "payload-required"),
            ("<item>words</item>", "bad-request", "payload-required"),
            ("<item><a/><b/></item>", "bad-request", "invalid-payload"),
            ("<item><a/></item><item><a/></item>", "bad-request", "invalid-payload"),
            ("<thing><a/></thing>", "bad-request", "invalid-payload"),
            ("<item xmlns='y'><a/></item>", "bad-request", "invalid-payload"),
        ],
    )
    async def test_what_is_no_item(self, alice: Asker, content: str, condition: str, specific: str) -> None:
        await alice.create("news")
        answer = await alice.do(f"<publish node='news'>{content}</publish>")
        assert failed(answer, condition, specific, "modify")

    async def test_an_item_is_retracted(self, clients: list[Asker]) -> None:
        alice, bob, carol = clients
        await alice.create("news", *config(publish_model="open"))
        await carol.subscribe("news")
        await bob.publish("news", "b1")
        await bob.publish("news", "b2")
        await alice.publish("news", "a")
        for _ in range(3):
            await carol.message()
        retract = "<retract node='news'><item id='{}'/></retract>"
        assert failed(await bob.do(retract.format("a")), "forbidden", kind="auth")
        assert failed(await bob.do(retract.format("z")), "forbidden", kind="auth")
        assert fine(await bob.do(retract.format("b1")))
        assert '#event"><items node="news"><retract id="b1"/></items></event>' in await carol.message()
        assert fine(await alice.do(retract.format("b2")))
        assert failed(await alice.do(retract.format("b2")), "item-not-found")
        for content in ("", "<item/>", "<item id=''/>", "<item id='a'/><item id='a'/>", "<x id='a'/>"):
            answer = await alice.do(f"<retract node='news'>{content}</retract>")
            assert failed(answer, "bad-request", "item-required", "modify")
        assert 'id="a"' in await alice.items("news")
        assert "b1" not in await alice.items("news")


class TestItems:
    async def test_the_last_ones_are_had(self, alice: Asker, bob: Asker) -> None:
        await alice.create("news")
        for number in range(25):
            await alice.publish("news", str(number))
        items = await bob.items("news")
        assert items.count("<item ") == 20
        assert items.index('id="5"') < items.index('id="24"')
        assert (await bob.items("news", "2")).count("<item ") == 2
        assert 'id="24"' in await bob.items("news", "1")
        assert (await bob.items("news", "999999999")).count("<item ") == 20
        assert (await bob.items("news", "0")).count("<item ") == 0
        found = await bob.do("<items node='news'><item id='7'/><item id='0'/></items>", "get")
        assert found.count("<item ") == 1
        for most in ("-1", "x", "1e3", "9" * 5000):
            assert failed(await bob.items("news", most), "bad-request", kind="modify")
        assert failed(await bob.items("olds"), "item-not-found")

    async def test_a_node_may_keep_none(self, alice: Asker, bob: Asker) -> None:
        await alice.create("news", *config(persist_items="0"))
        await bob.subscribe("news")
        await alice.publish("news", text="now")
        assert "now" in await bob.message()
        assert '<items node="news"></items>' in await bob.items("news")

    def test_together_they_fit_into_an_answer(self) -> None:
        def item(name: str, size: int) -> Item:
            return Item(id=name, publisher="a@b", payload="x" * size, size=size)

        items = [item(name, 40) for name in "abc"]
        found = kept(items, item("d", 40), Config(max_items=10), 100)
        assert [each.id for each in found] == ["c", "d"]
        assert [each.id for each in kept(items, item("b", 1), Config(max_items=2), 100)] == ["c", "b"]
        assert [each.id for each in kept(items, item("d", 100), Config(), 100)] == ["d"]
        assert list(kept(items, item("d", 1), Config(max_items=0), 100)) == []


class TestSubscribing:
    async def test_one_subscribes_oneself(self, alice: Asker, bob: Asker) -> None:
        await alice.create("news")
        for jid in ("", "alice@localhost", "localhost", "@", "bob@localhost.evil", "bob@pubsub.localhost/r"):
            answer = await bob.do(f"<subscribe node='news' jid='{jid}'/>")
            assert failed(answer, "bad-request", "invalid-jid", "modify")
            answer = await bob.do(f"<unsubscribe node='news' jid='{jid}'/>")
            assert failed(answer, "bad-request", "invalid-jid", "modify")
        answer = await bob.subscribe("news", "bob@localhost/nowhere")
        assert failed(answer, "bad-request", "invalid-jid", "modify")
        assert failed(await bob.subscribe("olds"), "item-not-found")

    async def test_it_is_once_and_for_all(self, alice: Asker, bob: Asker) -> None:
        await alice.create("news")
        await bob.subscribe("news")
        await bob.subscribe("news")
        listed = await bob.do("<subscriptions/>", "get")
        assert listed.count("<subscription ") == 1
        assert "<subscriptions></subscriptions>" in await bob.do("<subscriptions node='x'/>", "get")
        assert "<subscriptions></subscriptions>" in await alice.do("<subscriptions/>", "get")
        await alice.publish("news")
        await bob.message()
        assert await bob.sync() == ""
        unsubscribe = f"<unsubscribe node='news' jid='{bob.jid}'{{}}/>"
        answer = await bob.do(unsubscribe.format(" subid='5'"))
        assert failed(answer, "not-acceptable", "invalid-subid", "modify")
        assert fine(await bob.do(unsubscribe.format("")))
        assert failed(await bob.do(unsubscribe.format("")), "unexpected-request", "not-subscribed")
        assert failed(await bob.do(f"<unsubscribe node='olds' jid='{bob.jid}'/>"), "item-not-found")
        await alice.publish("news")
        assert await bob.sync() == ""

    async def test_a_full_jid_ends_with_its_session(
        self, server: XmppServer, authority: CertificateAuthority, alice: Asker, bob: Asker
    ) -> None:
        await alice.create("news")
        async with Asker(server) as other:
            await other.login(authority, "bob", "other")
            await other.subscribe("news")
            await other.subscribe("news", "bob@localhost/r")
            await other.subscribe("news", "bob@localhost")
            other.send("</stream:stream>")
            await other.closed()
        listed = await bob.do("<subscriptions/>", "get")
        assert listed.count("<subscription ") == 2
        assert "bob@localhost/other" not in listed
        async with Asker(server) as other:
            await other.login(authority, "bob", "other", presence=None)
            await alice.publish("news")
            assert await other.sync() == ""

    async def test_the_account_gets_it_wherever_it_listens(
        self, server: XmppServer, authority: CertificateAuthority, alice: Asker, bob: Asker
    ) -> None:
        await alice.create("news")
        await bob.subscribe("news", "bob@localhost")
        async with Asker(server) as other, Asker(server) as deaf:
            await other.login(authority, "bob", "other")
            await deaf.login(
                authority, "bob", "deaf", presence="<presence><priority>-1</priority></presence>"
            )
            await bob.sync()
            await alice.publish("news", text="to all")
            assert "to all" in await bob.message()
            assert "to all" in await other.message()
            assert "to all" not in await deaf.sync()

    async def test_a_headline_does_not_wait_and_a_normal_message_does(
        self, server: XmppServer, authority: CertificateAuthority, alice: Asker
    ) -> None:
        await alice.create("now")
        await alice.create("whenever", *config(notification_type="normal"))
        async with Asker(server) as dave:
            server.add_account("dave", "secret")
            await dave.login(authority, "dave")
            await dave.subscribe("now", "dave@localhost")
            await dave.subscribe("whenever", "dave@localhost")
            dave.send("</stream:stream>")
            await dave.closed()
        for node in ("now", "whenever"):
            assert fine(await alice.publish(node, text=f"from {node}"))
        async with Asker(server) as dave:
            await dave.login(authority, "dave", presence=None)
            dave.send("<presence/>")
            told = await dave.sync()
            assert "from whenever" in told
            assert "urn:xmpp:delay" in told
            assert "from now" not in told

    async def test_there_are_so_many_subscribers(self, start: Start, authority: CertificateAuthority) -> None:
        server = await start(limits=Limits(pubsub_subscribers=2))
        async with Asker(server) as alice:
            await alice.login(authority, "alice")
            await alice.create("news")
            async with Asker(server) as bob, Asker(server) as carol:
                await bob.login(authority, "bob")
                await carol.login(authority, "carol")
                assert fine(await bob.subscribe("news"))
                assert fine(await bob.subscribe("news", "bob@localhost"))
                assert fine(await bob.subscribe("news"))
                answer = await carol.subscribe("news")
                assert failed(answer, "policy-violation", "too-many-subscriptions", "modify")

    async def test_an_account_that_is_removed_leaves_nothing(
        self, server: XmppServer, alice: Asker, bob: Asker
    ) -> None:
        await alice.create("alices")
        await bob.create("bobs")
        await bob.subscribe("alices", "bob@localhost")
        await alice.subscribe("bobs")
        server.remove_account("bob")
        assert '<delete node="bobs"/>' in await alice.message()
        assert failed(await alice.publish("bobs"), "item-not-found")
        assert fine(await alice.publish("alices"))
        nodes = server._router._pubsub._nodes
        assert list(nodes.subscribers("alices")) == []


class TestHostile:
    async def test_requests_are_bounded(self, alice: Asker, server: XmppServer) -> None:
        big = f"<create node='news'/><configure>{'<x/>' * 80_000}</configure>"
        assert failed(await alice.do(big), "policy-violation", kind="modify")
        query = f"<query xmlns='http://jabber.org/protocol/disco#info'>{'x' * 300_000}</query>"
        assert failed(await alice.ask(query, "get"), "policy-violation", kind="modify")

    async def test_a_large_item_goes_round_and_a_larger_one_does_not(self, alice: Asker, bob: Asker) -> None:
        await alice.create("news")
        await bob.subscribe("news")
        assert fine(await alice.publish("news", "big", "x" * 900_000))
        assert len(await bob.message()) > 900_000
        assert failed(await alice.publish("news", "huge", "x" * 1_100_000), "policy-violation", kind="modify")

    async def test_an_item_that_grows_by_being_written_anew(self, alice: Asker) -> None:
        await alice.create("news")
        payload = "<a xmlns='urn:a'>" + ("<b xmlns='urn:b'/>" * 1000) + "</a>"
        assert fine(await alice.do(f"<publish node='news'><item>{payload}</item></publish>"))
        payload = f"<a xmlns='urn:a' xmlns:q='urn:q'>{'<q:b/>' * 150_000}</a>"
        answer = await alice.do(f"<publish node='news'><item>{payload}</item></publish>")
        assert failed(answer, "not-acceptable", "payload-too-big", "modify")
        quotes = "&#39;" * 10
        payload = f"<p:a xmlns:p='urn:a' xmlns:q='{'u' * 60_000}'>{'<q:b/><b/>' * 10_000}{quotes}</p:a>"
        assert fine(await alice.do(f"<publish node='news'><item>{payload}</item></publish>"))
        assert len(await alice.items("news", "1")) < 500_000

    async def test_a_payload_cannot_leave_its_item(self, alice: Asker, bob: Asker) -> None:
        await alice.create("news")
        await bob.subscribe("news")
        text = "&lt;/acl>&lt;/item>]]&gt;&#13;&amp;"
        payload = f"<acl xmlns='urn:x' a='&quot;&lt;&#10;'><b xmlns=''>{text}</b></acl>"
        await alice.do(f"<publish node='news'><item id='&quot;&gt;&lt;'>{payload}</item></publish>")
        told = await bob.message()
        assert '<item id="&quot;&gt;&lt;" publisher="alice@localhost">' in told
        assert "<b>&lt;/acl&gt;&lt;/item&gt;]]&gt;&#13;&amp;</b>" in told
        assert '<n0:acl xmlns="" xmlns:n0="urn:x" a="&quot;&lt;&#10;">' in told

    async def test_thousands_of_requests_leave_the_server_well(
        self, server: XmppServer, authority: CertificateAuthority, alice: Asker
    ) -> None:
        for number in range(2000):
            verb = f"<subscribe node='n{number}' jid='alice@localhost/{number}'/>"
            alice.send(
                f"<iq type='set' id='s{number}' to='{SERVICE}'><pubsub xmlns='{PUBSUB}'>{verb}</pubsub></iq>"
            )
        assert (await alice.sync()).count("<item-not-found ") == 2000
        assert await is_served(server, authority)
        nodes = server._router._pubsub._nodes
        assert list(nodes.subscriptions("alice")) == []
        assert list(nodes.names()) == []

    async def test_a_store_that_fails_is_reported(
        self, start: Start, authority: CertificateAuthority
    ) -> None:
        class Full(MemoryNodes):
            def put(self, node: Node) -> None:
                raise StoreError("the disk is full")

        server = await start(nodes=Full())
        async with Asker(server) as alice:
            await alice.login(authority, "alice")
            answer = await alice.create("news")
            assert failed(answer, "resource-constraint", kind="wait")
            assert "the disk is full" in answer


def test_a_store_forgets_completely() -> None:
    store = MemoryNodes()
    assert isinstance(store, MemoryNodes)
    port: NodeStore = store
    port.put(Node(name="a", owner="alice", config=Config()))
    port.remove("a")
    port.remove("a")
    assert not any(vars(store).values())
