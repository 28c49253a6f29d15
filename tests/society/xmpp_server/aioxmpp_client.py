"""An aioxmpp client, run as a process of its own by `test_clients`: its warnings are not ours."""

from __future__ import annotations

import asyncio
import os
import sys

import aioxmpp
import aioxmpp.connector
import aioxmpp.security_layer


def _context() -> object:
    context = aioxmpp.security_layer.default_ssl_context()
    context.load_verify_locations(os.environ["SSL_CERT_FILE"])
    return context


class Chain(aioxmpp.security_layer.CertificateVerifier):
    """Verifies by the authority. aioxmpp 0.13's own also reads the name, which pyOpenSSL 24 took from it."""

    def verify_callback(self, *arguments: object) -> bool:
        return bool(arguments[-1])

    async def post_handshake(self, transport: object) -> None:
        pass


def _message(text: str) -> aioxmpp.Message:
    message = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=aioxmpp.JID.fromstr("alice@localhost"))
    message.body[None] = text
    return message


async def main(port: int) -> None:
    layer = aioxmpp.make_security_layer("secret", ssl_context_factory=_context)
    client = aioxmpp.PresenceManagedClient(
        aioxmpp.JID.fromstr("bob@localhost/aioxmpp"),
        layer._replace(certificate_verifier_factory=Chain),
        override_peer=[("localhost", port, aioxmpp.connector.STARTTLSConnector())],
    )
    received: asyncio.Queue[str] = asyncio.Queue()

    def listen(message: aioxmpp.Message) -> None:
        received.put_nowait(message.body.any())

    dispatcher = client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
    dispatcher.register_callback(aioxmpp.MessageType.CHAT, None, listen)
    disco = client.summon(aioxmpp.DiscoClient)
    async with client.connected():
        info = await disco.query_info(aioxmpp.JID.fromstr("localhost"))
        print(f"{info.identities[0].category}/{info.identities[0].type_}")  # noqa: T201
        await client.send(_message("ready"))
        while (text := await asyncio.wait_for(received.get(), 10)) != "hello":
            pass
        await client.send(_message(f"got {text}"))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
