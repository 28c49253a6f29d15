"""PubSub as others' clients do it, and with a thousand readers."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import slixmpp
from slixmpp.exceptions import IqError

from society.xmpp_server import CertificateAuthority, XmppServer
from society.xmpp_server.stanzas import Stanza
from tests.requirements import require
from tests.society.xmpp_server.test_clients import Client, finish, run, slix
from tests.society.xmpp_server.test_pubsub import Asker, fine
from tests.society.xmpp_server.wire import PATIENCE

SERVICE = "pubsub.localhost"
PUBSUB = "http://jabber.org/protocol/pubsub"
CHILD = f"{PUBSUB}\npubsub"
READERS = 1000


def with_pubsub(client: Client) -> None:
    client.register_plugin("xep_0060")
    client.register_plugin("xep_0030")


async def test_slixmpp(server: XmppServer, authority: CertificateAuthority) -> None:
    async with (
        slix(server, authority, "alice@localhost/a", with_pubsub) as alice,
        slix(server, authority, "bob@localhost/b", with_pubsub) as bob,
    ):
        items = await alice["xep_0030"].get_items("localhost")
        assert (SERVICE, None, None) in items["disco_items"]["items"]
        info = await alice["xep_0030"].get_info(SERVICE)
        assert ("pubsub", "service", None, "Locution") in info["disco_info"]["identities"]
        publisher, reader = alice["xep_0060"], bob["xep_0060"]
        form = alice["xep_0004"].make_form(ftype="submit")
        form.add_field("FORM_TYPE", "hidden", value="http://jabber.org/protocol/pubsub#node_config")
        form.add_field("pubsub#max_items", value="5")
        await publisher.create_node(SERVICE, "news", config=form)
        config = await publisher.get_node_config(SERVICE, "news")
        assert config["pubsub_owner"]["configure"]["form"].get_values()["pubsub#max_items"] == "5"
        told: asyncio.Queue[slixmpp.Message] = asyncio.Queue()
        for name in ("pubsub_publish", "pubsub_retract", "pubsub_delete"):
            bob.add_event_handler(name, told.put_nowait)
        subscribed = await reader.subscribe(SERVICE, "news")
        assert subscribed["pubsub"]["subscription"]["subscription"] == "subscribed"
        for number in range(10):
            payload = ET.fromstring(f"<acl xmlns='urn:x'>{number} &lt;</acl>")
            answer = await publisher.publish(SERVICE, "news", id=str(number), payload=payload)
            assert answer["pubsub"]["publish"]["item"]["id"] == str(number)
        for number in range(10):
            message = await asyncio.wait_for(told.get(), PATIENCE)
            item = message["pubsub_event"]["items"]["item"]
            assert (item["id"], item["payload"].text) == (str(number), f"{number} <")
        found = (await reader.get_items(SERVICE, "news"))["pubsub"]["items"]
        assert [item["id"] for item in found] == ["5", "6", "7", "8", "9"]
        assert len((await reader.get_subscriptions(SERVICE))["pubsub"]["subscriptions"]) == 1
        assert (await publisher.get_affiliations(SERVICE))["pubsub"]["affiliations"]
        with pytest.raises(IqError) as caught:
            await reader.publish(SERVICE, "news", payload=payload)
        assert (caught.value.condition, caught.value.etype) == ("forbidden", "auth")
        await publisher.retract(SERVICE, "news", "9")
        message = await asyncio.wait_for(told.get(), PATIENCE)
        assert message["pubsub_event"]["items"]["retract"]["id"] == "9"
        await reader.unsubscribe(SERVICE, "news")
        await reader.subscribe(SERVICE, "news")
        await publisher.delete_node(SERVICE, "news")
        message = await asyncio.wait_for(told.get(), PATIENCE)
        assert message["pubsub_event"]["delete"]["node"] == "news"


async def test_aioxmpp(server: XmppServer, authority: CertificateAuthority) -> None:
    require(importlib.util.find_spec("aioxmpp") is not None, "aioxmpp: pip install 'locution[interop]'")
    script = Path(__file__).with_name("aioxmpp_pubsub.py")
    process = await run(sys.executable, str(script), str(server.port), authority=authority)
    output = await finish(process)
    assert output.splitlines() == [
        "features: CREATE_NODES DELETE_NODES PUBLISH RETRACT_ITEMS RETRIEVE_ITEMS SUBSCRIBE",
        "published: one",
        "got: one by bob@localhost",
        "held: one",
        "subscriptions: bob@localhost",
        "refused: ITEM_NOT_FOUND",
        "deleted: news",
    ]


class Ear:
    """A session's connection that keeps what it gets."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def deliver(self, data: bytes) -> None:
        self.heard.append(data)

    def cut(self) -> None:
        raise AssertionError("nobody cuts here")

    def close(self, error: object = None) -> None:
        raise AssertionError("nobody closes here")


async def test_a_thousand_readers(server: XmppServer, authority: CertificateAuthority) -> None:
    """All get everything in order. Over sockets `fanout_rate` measures what it costs."""
    router = server._router
    ears = [Ear() for _ in range(READERS)]
    async with Asker(server) as alice:
        await alice.login(authority, "alice")
        assert fine(await alice.create("news"))
        for number in range(READERS):
            server.add_account(f"u{number}", "secret")
        sessions = [router.bind(f"u{number}", "r", ear) for number, ear in enumerate(ears)]
        for session in sessions:
            verb = f'<subscribe node="news" jid="{session.jid.xml}"/>'
            pubsub = f'<pubsub xmlns="{PUBSUB}">{verb}</pubsub>'.encode()
            request = Stanza("iq", {"type": "set", "id": "s", "to": SERVICE}, pubsub, children=[CHILD])
            router.receive(session, request)
        for number in range(20):
            assert fine(await alice.publish("news", str(number)))
        for number, ear in enumerate(ears):
            assert b'type="result"' in ear.heard[0]
            ids = [data.partition(b'<item id="')[2].partition(b'"')[0] for data in ear.heard[1:]]
            assert ids == [str(each).encode() for each in range(20)]
            assert f'to="u{number}@localhost/r"'.encode() in ear.heard[1]
        for session in sessions:
            router.leave(session)
        assert list(router._pubsub._nodes.subscribers("news")) == []
