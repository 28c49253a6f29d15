"""A client of another library, aioxmpp, unmodified: it logs in, asks in FIPA ACL, and is answered.

On a Prosody server and on the embedded one; with the message as SPADE's data form and as JSON in the body.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agents.base import Ports, Server
from behaviours.outcomes import Succeeded
from ontology.acl import AclMessage, Performative
from ontology.codecs import from_json
from society.xmpp_server import CertificateAuthority
from tests.behaviours.fakes import arrived
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Sum
from tests.conftest import World
from tests.integration.prosody import BINARY, prosody
from tests.requirements import require

HAS_AIOXMPP = importlib.util.find_spec("aioxmpp") is not None

pytestmark = [
    # aioxmpp is of 2023: it uses what Python has deprecated since.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PASSWORDS = {"adder": "secret", "asker": "secret", "client": "secret"}


@dataclass
class Place:
    """A server with an adder on it."""

    server: Server
    adder: Adder


@pytest.fixture(params=["embedded", pytest.param("prosody", marks=pytest.mark.prosody)])
async def place(
    request: pytest.FixtureRequest, world: World, authority: CertificateAuthority, tmp_path: Path
) -> AsyncIterator[Place]:
    """Start an adder on either server."""
    if request.param == "embedded":
        world.account("client")
        yield Place(world.server, await world.start(Adder, "adder"))
        return
    require(BINARY is not None, "prosody on the path")
    async with prosody(tmp_path, authority, PASSWORDS) as running:
        server = Server(host="127.0.0.1", port=running.port, ca_file=authority.file)
        adder = Adder("adder@localhost", "secret", server, Ports(hook=world.record))
        await adder.start()
        yield Place(server, adder)
        await adder.stop()


class AioxmppClient:
    """An aioxmpp client that is logged in, and what it hears."""

    def __init__(self, client: Any, library: Any) -> None:
        self.client, self.library = client, library
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        dispatcher = client.summon(library.dispatcher.SimpleMessageDispatcher)
        dispatcher.register_callback(library.MessageType.CHAT, None, self.heard.put_nowait)

    def message(self, body: str) -> Any:
        """Make a message for the adder."""
        message = self.library.Message(
            type_=self.library.MessageType.CHAT, to=self.library.JID.fromstr("adder@localhost")
        )
        message.body[None] = body
        return message

    async def ask(self, message: Any) -> Any:
        """Send a message and wait for the answer."""
        await self.client.send(message)
        return await asyncio.wait_for(self.heard.get(), 10)


@pytest.fixture
async def client(place: Place) -> AsyncIterator[AioxmppClient]:
    """Log in with aioxmpp."""
    require(HAS_AIOXMPP, "aioxmpp (the extra `interop`)")
    aioxmpp: Any = importlib.import_module("aioxmpp")
    for part in ("connector", "dispatcher", "forms"):
        importlib.import_module(f"aioxmpp.{part}")
    # aioxmpp 0.13.3 reads the certificate's names by a call that pyOpenSSL has dropped, so it cannot verify.
    layer = aioxmpp.make_security_layer("secret", no_verify=True)
    made = aioxmpp.PresenceManagedClient(
        aioxmpp.JID.fromstr("client@localhost"),
        layer,
        override_peer=[("127.0.0.1", place.server.port, aioxmpp.connector.STARTTLSConnector())],
    )
    async with asyncio.timeout(20):
        async with made.connected():
            yield AioxmppClient(made, aioxmpp)


def content(answer: Any) -> Any:
    """The term in an answer."""
    return SUMS.parse(answer.body.any())


async def test_a_request_as_a_data_form_is_answered(client: AioxmppClient) -> None:
    forms = client.library.forms
    message = client.message('{"add": {"a": 40, "b": 2}}')
    fields = {
        "performative": "request",
        "protocol": "fipa-request",
        "conversation-id": "c1",
        "reply-with": "r1",
        "ontology": "sums/1.0",
    }
    message.xep0004_data = [
        forms.Data(type_=forms.DataType.FORM),
    ]
    message.xep0004_data[0].title = "spade:x:metadata"
    for name, value in fields.items():
        field = forms.Field(type_=forms.FieldType.TEXT_SINGLE, var=name, values=[value])
        message.xep0004_data[0].fields.append(field)
    answer = await client.ask(message)
    assert content(answer) == Sum(value=42)
    told = {field.var: field.values[0] for field in answer.xep0004_data[0].fields}
    assert told["performative"] == "inform"
    assert (told["conversation-id"], told["in-reply-to"]) == ("c1", "r1")


async def test_a_request_as_json_in_the_body_is_answered(client: AioxmppClient) -> None:
    answer = await client.ask(client.message('{"performative": "request", "content": {"add": {"a": 1}}}'))
    assert not answer.xep0004_data
    assert json.loads(answer.body.any()) == {"performative": "inform", "content": {"sum": {"value": 3}}}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"content": {"add": {"manner": "refusing"}}}, ["refuse", "busy", "I am busy"]),
        ({"content": {"add": {"manner": "failing"}}}, ["failure", "broken", "the abacus is broken"]),
        (
            {"content": {"add": {"c": 1}}},
            ["not-understood", "unexpected-argument", "add.c is no argument of add"],
        ),
        (
            {"performative": "shout"},
            ["not-understood", "unsupported-act", "'shout' is none of the 22 acts of FIPA00037"],
        ),
    ],
)
async def test_whoever_writes_json_reads_the_act_and_the_reason(
    client: AioxmppClient, said: dict[str, Any], told: list[str]
) -> None:
    request = {"performative": "request", "conversation-id": "c1", "reply-with": "r1", **said}
    answer = json.loads((await client.ask(client.message(json.dumps(request)))).body.any())
    assert list(answer)[:2] == ["performative", "content"]
    assert (answer["conversation-id"], answer["in-reply-to"]) == ("c1", "r1")
    reason = answer["content"]["reason"]
    assert [answer["performative"], reason["cause"], reason["text"]] == told


async def test_what_comes_before_the_result_is_told_in_json_as_well(
    place: Place, client: AioxmppClient
) -> None:
    place.adder.release.set()
    asked = '{"performative": "request", "conversation-id": "c1", "content": {"add": {"manner": "agreeing"}}}'
    answers = [json.loads((await client.ask(client.message(asked))).body.any())]
    while answers[-1].get("performative") != "inform" or "X-about" in answers[-1]:
        answers.append(json.loads((await asyncio.wait_for(client.heard.get(), 10)).body.any()))
    assert [each["performative"] for each in answers] == ["agree", "inform", "inform"]
    assert (answers[1]["X-about"], answers[1]["content"]) == ("c1", {"half": {"done": 0.5}})
    assert answers[2]["content"] == {"sum": {"value": 3.0}}


async def test_what_is_no_message_is_answered_as_agents_do(client: AioxmppClient) -> None:
    answer = await client.ask(client.message("hello"))
    assert "this agent speaks FIPA ACL" in answer.body.any()
    assert answer.xep0004_data[0].title == "spade:x:metadata"


async def test_our_agents_converse_over_either_server(place: Place, world: World) -> None:
    world.account("asker")
    asker = Asker("asker@localhost", "secret", place.server, Ports(hook=world.record))
    await asker.start()
    try:
        outcome = await asker.request(place.adder.me, Add(a=40))
        assert isinstance(outcome, Succeeded)
        assert outcome.result == Sum(value=42)
        cut = await asker.request("nobody@localhost", Add())
        assert "no such agent" in str(cut)
        contract = await asker.call_for_proposals([place.adder.me], Add(), lambda proposals: proposals)
        assert list(contract.awards) == ["adder@localhost"]
        assert await asker.client.confirm(5)
    finally:
        await asker.stop()


def test_json_and_form_say_the_same() -> None:
    request = AclMessage(performative=Performative.REQUEST, content='{"add": {}}')
    body = '{"performative": "request", "content": {"add": {}}}'
    assert from_json(body) == request
    assert arrived(f"<message><body>{body}</body></message>").content == request.content
