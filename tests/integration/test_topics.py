"""Topics on real servers: Prosody's PubSub and that of the embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from behaviours import readings as module
from behaviours.events import MessageNotUnderstood
from behaviours.pubsub import PUBSUB
from behaviours.readings import Update
from ontology.aid import AgentIdentifier
from society.xmpp_server import CertificateAuthority
from tests.behaviours.talkers import Note, Talker, read, talker
from tests.conftest import World
from tests.integration.prosody import BINARY, prosody
from tests.requirements import require

ACCOUNTS = ("ann", "bob", "cid")
Enter = Callable[[str], Awaitable[Talker]]


@pytest.fixture(params=["embedded", pytest.param("prosody", marks=pytest.mark.prosody)])
async def enter(
    request: pytest.FixtureRequest,
    world: World,
    authority: CertificateAuthority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Enter]:
    """Log in on either server; Ann may make topics."""
    monkeypatch.setattr(module, "RETRY_FIRST", 0.05)
    monkeypatch.setattr(module, "RETRY_MOST", 0.05)
    if request.param == "embedded":
        yield lambda name: talker(world, name)
        return
    require(BINARY is not None, "prosody on the path")
    passwords = dict.fromkeys(ACCOUNTS, "secret")
    async with prosody(tmp_path, authority, passwords, publishers=["ann"]) as running:
        made: list[Talker] = []

        async def make(name: str) -> Talker:
            made.append(await talker(world, name, port=running.port, ca_file=authority.file))
            return made[-1]

        yield make
        for each in made:
            await each.stop()


async def delete(owner: Talker, topic: str) -> None:
    payload = f'<pubsub xmlns="{PUBSUB}#owner"><delete node="{topic}"/></pubsub>'
    await owner.connection.ask("set", "pubsub.localhost", payload, 10)


async def test_every_reader_gets_everything_in_order(enter: Enter) -> None:
    ann, bob, cid = [await enter(name) for name in ACCOUNTS]
    await ann.publish("prices", "before")
    readings = [await each.read("prices") for each in (bob, cid, ann)]
    texts = [str(number) for number in range(100)]
    for text in texts:
        await ann.publish("prices", text)
    for reading in readings:
        assert await read(reading, 100) == texts
    await ann.publish("prices", "after")
    update = await asyncio.wait_for(readings[0].receive(), 10)
    ann_as_the_service_has_her = AgentIdentifier(name="ann@localhost")
    assert update == Update(term=Note(text="after"), publisher=ann_as_the_service_has_her)
    assert bob.heard == []


async def test_a_reader_that_comes_first_gets_everything(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    reading = await bob.read("prices")
    also = await bob.read("prices")
    for number in range(10):
        await ann.publish("prices", str(number))
    assert await read(reading, 10) == [str(number) for number in range(10)]
    assert await read(also, 10) == [str(number) for number in range(10)]


@pytest.mark.parametrize(
    "text",
    ["", " ", "a\r\nb\tc", '<&>"]]>', "\u00e9\u2028\U0001f600", "\x00\ufffe", "x" * 200_000],
    ids=["empty", "blank", "lines", "markup", "unicode", "not in XML", "long"],
)
async def test_contents_arrive_as_they_were_said(enter: Enter, text: str) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    name = "a&b <c> \"d\" 'e' é"
    await ann.publish(name, "first")
    reading = await bob.read(name)
    await ann.publish(name, text)
    assert await read(reading, 1) == [text]


async def test_only_who_made_a_topic_publishes_to_it(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.publish("prices", "1")
    assert await bob.fail("prices", "2") == (
        "topic 'prices': only the agent that has made it may publish to it; "
        "to one that is made with shared=True all may"
    )


async def test_all_publish_to_a_topic_that_is_shared(enter: Enter) -> None:
    ann, bob, cid = [await enter(name) for name in ACCOUNTS]
    reading = await cid.read("prices")
    await ann.publish("prices", "1", shared=True)
    await bob.publish("prices", "2", shared=True)
    await bob.publish("prices", "3")
    await ann.publish("prices", "4")
    found = [await asyncio.wait_for(reading.receive(), 10) for _ in range(4)]
    assert found == [
        Update(term=Note(text=text), publisher=AgentIdentifier(name=f"{name}@localhost"))
        for text, name in (("1", "ann"), ("2", "bob"), ("3", "bob"), ("4", "ann"))
    ]


async def test_reading_ends(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.publish("prices", "0")
    reading = await bob.read("prices")
    await ann.publish("prices", "1")
    assert await read(reading, 1) == ["1"]
    reading.close()
    await ann.publish("prices", "2")
    assert [update async for update in reading] == []
    again = await bob.read("prices")
    await ann.publish("prices", "3")
    assert await read(again, 1) == ["3"]


async def test_a_topic_that_is_deleted_may_come_again(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.publish("prices", "0")
    reading = await bob.read("prices")
    await ann.publish("prices", "1")
    assert await read(reading, 1) == ["1"]
    await delete(ann, "prices")
    await ann.publish("prices", "2")
    await ann.publish("prices", "3")
    assert await read(reading, 2) == ["2", "3"]


async def test_what_is_no_message_is_left_out(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.publish("prices", "0")
    reading = await bob.read("prices")
    acl = "urn:locution:acl"
    for payload in (f'<acl xmlns="{acl}">hello</acl>', f'<acl xmlns="{acl}">{{}}</acl>', '<a xmlns="b"/>'):
        item = f'<publish node="prices"><item>{payload}</item></publish>'
        await ann.connection.ask("set", "pubsub.localhost", f'<pubsub xmlns="{PUBSUB}">{item}</pubsub>', 10)
    await ann.publish("prices", "1")
    assert await read(reading, 1) == ["1"]
    told = [fact.text for fact in bob.facts if isinstance(fact, MessageNotUnderstood)]
    assert len(told) == 3
    assert all(text.startswith("topic 'prices': the ") for text in told)


async def test_messages_to_the_agent_are_its_own(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.publish("prices", "0")
    await bob.read("prices")
    ann.connection.hand_over(
        f'<message to="bob@localhost/here"><body>x</body><event xmlns="{PUBSUB}#event">'
        f'<items node="prices"><item id="1"><acl xmlns="urn:locution:acl">{{"performative": "inform"}}</acl>'
        "</item></items></event></message>"
    )
    assert await ann.connection.confirm(10)
    assert await bob.connection.confirm(10)
    (stanza,) = bob.heard
    assert stanza.get("from") == "ann@localhost/here"
