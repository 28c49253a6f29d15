"""An aioxmpp client that publishes and reads, run as a process of its own: its warnings are not ours."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aioxmpp
import aioxmpp.connector
import aioxmpp.pubsub
import aioxmpp.pubsub.xso as pubsub_xso
import aioxmpp.xso

from tests.society.xmpp_server.aioxmpp_client import Chain, _context

SERVICE = aioxmpp.JID.fromstr("pubsub.localhost")
WANTED = ("CREATE_NODES", "DELETE_NODES", "PUBLISH", "RETRACT_ITEMS", "RETRIEVE_ITEMS", "SUBSCRIBE")


@pubsub_xso.as_payload_class
class Acl(aioxmpp.xso.XSO):
    """The payload."""

    TAG = ("urn:locution:acl", "acl")
    text = aioxmpp.xso.Text()


async def main(port: int) -> None:
    layer = aioxmpp.make_security_layer("secret", ssl_context_factory=_context)
    client = aioxmpp.PresenceManagedClient(
        aioxmpp.JID.fromstr("bob@localhost/aioxmpp"),
        layer._replace(certificate_verifier_factory=Chain),
        override_peer=[("localhost", port, aioxmpp.connector.STARTTLSConnector())],
    )
    service = client.summon(aioxmpp.PubSubClient)
    told: asyncio.Queue[Any] = asyncio.Queue()
    service.on_item_published.connect(lambda *found, **_more: told.put_nowait(found))
    service.on_node_deleted.connect(lambda *found, **_more: told.put_nowait(found))
    async with client.connected():
        features = {feature.name for feature in await service.get_features(SERVICE)}
        print("features:", *(name for name in WANTED if name in features))  # noqa: T201
        await service.create(SERVICE, "news")
        await service.subscribe(SERVICE, "news")
        acl = Acl()
        acl.text = "hello"
        print("published:", await service.publish(SERVICE, "news", acl, id_="one"))  # noqa: T201
        _jid, _node, item = await asyncio.wait_for(told.get(), 10)
        assert item.registered_payload.text == "hello"
        print("got:", item.id_, "by", item.publisher)  # noqa: T201
        held = await service.get_items(SERVICE, "news", max_items=1)
        print("held:", *(each.id_ for each in held.payload.items))  # noqa: T201
        subscriptions = await service.get_subscriptions(SERVICE)
        print("subscriptions:", *(each.jid for each in subscriptions.subscriptions))  # noqa: T201
        try:
            await service.publish(SERVICE, "olds", acl)
        except aioxmpp.errors.XMPPError as error:
            print("refused:", error.condition.name)  # noqa: T201
        await service.delete(SERVICE, "news")
        _jid, node, *_rest = await asyncio.wait_for(told.get(), 10)
        print("deleted:", node)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
