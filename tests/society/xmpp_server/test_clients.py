"""Clients that others have written."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import slixmpp

from society.xmpp_server import CertificateAuthority, XmppServer
from tests.requirements import require
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import PATIENCE, Wire

ROOT = Path(__file__).parents[3]


class Client(slixmpp.ClientXMPP):
    """slixmpp, with what it received in a queue."""

    def __init__(self, jid: str, authority: CertificateAuthority) -> None:
        super().__init__(jid, "secret")
        self.ca_certs = str(authority.file)
        self.enable_direct_tls = False
        self.messages: asyncio.Queue[slixmpp.Message] = asyncio.Queue()
        self.started = asyncio.Event()
        self.ended = asyncio.Event()
        self.add_event_handler("session_start", self._start)
        self.add_event_handler("message", self.messages.put_nowait)
        self.add_event_handler("message_error", self.messages.put_nowait)
        self.add_event_handler("disconnected", lambda _reason: self.ended.set())

    async def _start(self, _event: object) -> None:
        self.send_presence()
        await self.get_roster()
        self.started.set()

    async def next(self) -> slixmpp.Message:
        return await asyncio.wait_for(self.messages.get(), PATIENCE)


@asynccontextmanager
async def slix(
    server: XmppServer, authority: CertificateAuthority, jid: str, setup: Callable[[Client], object] = bool
) -> AsyncIterator[Client]:
    client = Client(jid, authority)
    setup(client)
    client.connect("127.0.0.1", server.port)
    await asyncio.wait_for(client.started.wait(), PATIENCE)
    try:
        yield client
    finally:
        if not client.ended.is_set():
            client.disconnect()
            await asyncio.wait_for(client.ended.wait(), PATIENCE)


async def test_slixmpp_talks_to_slixmpp(server: XmppServer, authority: CertificateAuthority) -> None:
    async with (
        slix(server, authority, "alice@localhost/a") as alice,
        slix(server, authority, "bob@localhost") as bob,
    ):
        alice.send_message("bob@localhost", "hello \u2603 <&>", mtype="chat")
        message = await bob.next()
        assert (str(message["from"]), message["body"]) == ("alice@localhost/a", "hello \u2603 <&>")
        message.reply("and back").send()
        assert (await alice.next())["body"] == "and back"
        alice.send_message("nobody@localhost", "x")
        error = await alice.next()
        assert error["error"]["condition"] == "service-unavailable"
        assert error["body"] == ""


async def test_slixmpp_asks(server: XmppServer, authority: CertificateAuthority) -> None:
    def plugins(client: Client) -> None:
        for name in ("xep_0030", "xep_0199", "xep_0092", "xep_0049", "xep_0054"):
            client.register_plugin(name)

    async with slix(server, authority, "alice@localhost", plugins) as alice:
        info = await alice["xep_0030"].get_info("localhost")
        assert ("server", "im", None, "Locution") in info["disco_info"]["identities"]
        assert await alice["xep_0199"].ping("localhost") >= 0
        assert (await alice["xep_0092"].get_version("localhost"))["software_version"]["name"] == "Locution"
        await alice["xep_0054"].get_vcard()


async def test_slixmpp_registers(start: Start, authority: CertificateAuthority) -> None:
    def register(client: Client) -> None:
        client.register_plugin("xep_0077")

        async def fill(_form: object) -> None:
            iq = client.Iq()
            iq["type"] = "set"
            iq["register"]["username"] = client.boundjid.user
            iq["register"]["password"] = "secret"
            await iq.send()

        client.add_event_handler("register", fill)

    server = await start(registration=True)
    async with slix(server, authority, "dave@localhost", register):
        assert server.is_online("dave")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
async def test_slixmpp_by_every_mechanism(
    server: XmppServer, authority: CertificateAuthority, mechanism: str
) -> None:
    def choose(client: Client) -> None:
        client["feature_mechanisms"].use_mech = mechanism

    async with slix(server, authority, "alice@localhost/x", choose):
        assert server.sessions() == ["alice@localhost/x"]


async def test_slixmpp_logs_in_again_and_again(server: XmppServer, authority: CertificateAuthority) -> None:
    async with slix(server, authority, "bob@localhost") as bob, AsyncExitStack() as stack:
        for number in range(20):
            # Every other login takes over a resource that is still in use.
            alice = await stack.enter_async_context(slix(server, authority, f"alice@localhost/{number // 2}"))
            bob.send_message(alice.boundjid.full, str(number), mtype="chat")
            assert (await alice.next())["body"] == str(number)


async def test_aioxmpp(server: XmppServer, authority: CertificateAuthority) -> None:
    require(importlib.util.find_spec("aioxmpp") is not None, "aioxmpp: pip install 'locution[interop]'")
    script = Path(__file__).with_name("aioxmpp_client.py")
    async with Wire(server) as alice:
        await alice.login(authority, "alice")
        process = await run(sys.executable, str(script), str(server.port), authority=authority)
        alice.send("<message to='bob@localhost/aioxmpp' type='chat' id='1'><body>too early</body></message>")
        assert "<body>ready</body>" in await alice.message()
        alice.send("<message to='bob@localhost/aioxmpp' type='chat' id='2'><body>hello</body></message>")
        assert "<body>got hello</body>" in await alice.message()
        output = await finish(process)
    assert output == "server/im\n"


async def test_plain_spade_agents(start: Start, authority: CertificateAuthority) -> None:
    for registration, argument in ((False, "login"), (False, "register"), (True, "register")):
        # auto_register is SPADE's default; it must not hurt when registration is closed.
        passwords = {} if registration else {"alice": "secret", "bob": "secret"}
        server = await start(registration=registration, passwords=passwords)
        script = Path(__file__).with_name("spade_pair.py")
        process = await run(sys.executable, str(script), str(server.port), argument, authority=authority)
        assert await finish(process) == "".join(f"request: {number}\n" for number in range(20))
        assert server.sessions() == []


async def test_go_sendxmpp(server: XmppServer, authority: CertificateAuthority) -> None:
    program = shutil.which("go-sendxmpp")
    require(program is not None, "go-sendxmpp: apt-get install go-sendxmpp")
    assert program is not None
    async with Wire(server) as bob:
        await bob.login(authority, "bob")
        arguments = [
            "-u",
            "alice@localhost",
            "-p",
            "secret",
            "-j",
            f"localhost:{server.port}",
            "bob@localhost",
        ]
        process = await run(program, *arguments, authority=authority, stdin=b"from go: <&>\n")
        text = await bob.message()
        assert "from go: &lt;&amp;" in text
        assert 'from="alice@localhost/' in text
        await finish(process)


async def run(
    *command: str, authority: CertificateAuthority, stdin: bytes = b""
) -> asyncio.subprocess.Process:
    environment: dict[str, Any] = {
        **os.environ,
        "SSL_CERT_FILE": str(authority.file),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    return process


async def finish(process: asyncio.subprocess.Process) -> str:
    try:
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    return output.decode()
