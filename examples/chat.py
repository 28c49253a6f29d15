"""Ask an agent as any XMPP client can, here with slixmpp: who stands in the directory of digits.toml?

::

    cd examples
    locution up --file digits.toml
    python chat.py                     # in another terminal
"""

import asyncio
import json
import os
from pathlib import Path

import slixmpp

STATE = Path(".locution")
QUESTION = {"performative": "request", "conversation-id": "c1", "content": {"search": {}}}


async def main() -> None:
    """Log in as the operator, ask, and print the answer."""
    password = json.loads((STATE / "passwords.json").read_text())["operator"]
    client = slixmpp.ClientXMPP("operator@localhost", password)
    client.ca_certs = STATE / "certificates" / "ca.pem"
    client.connect("127.0.0.1", int(os.environ.get("LOCUTION_XMPP_PORT", "5222")))
    await client.wait_until("session_start", timeout=30)
    client.send_message("directory@localhost", json.dumps(QUESTION), mtype="chat")
    print((await client.wait_until("message", timeout=30))["body"])  # noqa: T201
    await client.disconnect()


asyncio.run(main())
