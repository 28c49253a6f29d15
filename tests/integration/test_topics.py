"""Topics on real servers: Prosody's PubSub and that of the embedded one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from behaviours import topics as module
from behaviours.pubsub import PUBSUB
from behaviours.topics import TopicError
from ontology.aid import AgentIdentifier
from society.xmpp_server import CertificateAuthority
from tests.behaviours.talkers import Talker, read, talker
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
    await ann.topics.publish("prices", "before")
    readings = [await each.topics.subscribe("prices") for each in (bob, cid, ann)]
    contents = [f'{{"price": {{"value": {number}}}}}' for number in range(100)]
    for content in contents:
        await ann.topics.publish("prices", content, ontology="market/1.0")
    for reading in readings:
        assert await read(reading, 100) == contents
    await ann.topics.publish("prices", "after")
    message = await asyncio.wait_for(readings[0].receive(), 10)
    assert message is not None
    assert (message.performative, message.content, message.language) == ("inform", "after", "json")
    assert message.sender == AgentIdentifier(name="ann@localhost"), "as the service has it"
    assert bob.heard == []


async def test_a_reader_that_comes_first_gets_everything(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    reading = await bob.topics.subscribe("prices")
    also = await bob.topics.subscribe("prices")
    for number in range(10):
        await ann.topics.publish("prices", str(number))
    assert await read(reading, 10) == [str(number) for number in range(10)]
    assert await read(also, 10) == [str(number) for number in range(10)]


@pytest.mark.parametrize(
    "content",
    ["", " ", "a\r\nb\tc", '<&>"]]>', "\u00e9\u2028\U0001f600", '{"a": "\\u0000"}', "x" * 200_000],
    ids=["empty", "blank", "lines", "markup", "unicode", "escape", "long"],
)
async def test_contents_arrive_as_they_were_said(enter: Enter, content: str) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    name = "a&b <c> \"d\" 'e' é"
    await ann.topics.publish(name, "first")
    reading = await bob.topics.subscribe(name)
    await ann.topics.publish(name, content)
    assert await read(reading, 1) == [content]


async def test_only_who_made_a_topic_publishes_to_it(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.topics.publish("prices", "1")
    with pytest.raises(TopicError) as caught:
        await bob.topics.publish("prices", "2")
    assert str(caught.value) == "topic 'prices': only the agent that has made it may publish to it"
    assert caught.value.topic == "prices"


async def test_reading_ends(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.topics.publish("prices", "0")
    reading = await bob.topics.subscribe("prices")
    await ann.topics.publish("prices", "1")
    waiting = asyncio.ensure_future(anext(reading))
    assert await asyncio.wait_for(waiting, 10) == "1"
    await bob.topics.unsubscribe("prices")
    await bob.topics.unsubscribe("prices")
    await ann.topics.publish("prices", "2")
    assert [content async for content in reading] == []
    assert await bob.connection.confirm(10)
    again = await bob.topics.subscribe("prices")
    await ann.topics.publish("prices", "3")
    assert await read(again, 1) == ["3"]
    await bob.topics.close()
    assert [content async for content in again] == []
    await bob.topics.close()


async def test_a_topic_that_is_deleted_may_come_again(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.topics.publish("prices", "0")
    reading = await bob.topics.subscribe("prices")
    await ann.topics.publish("prices", "1")
    assert await read(reading, 1) == ["1"]
    await delete(ann, "prices")
    await ann.topics.publish("prices", "2")
    await ann.topics.publish("prices", "3")
    assert await read(reading, 2) == ["2", "3"]


async def test_what_is_no_message_is_left_out(enter: Enter, caplog: pytest.LogCaptureFixture) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.topics.publish("prices", "0")
    reading = await bob.topics.subscribe("prices")
    caplog.set_level(logging.WARNING, "behaviours.readings")
    acl = "urn:locution:acl"
    for payload in (f'<acl xmlns="{acl}">hello</acl>', f'<acl xmlns="{acl}">{{}}</acl>', '<a xmlns="b"/>'):
        item = f'<publish node="prices"><item>{payload}</item></publish>'
        await ann.connection.ask("set", "pubsub.localhost", f'<pubsub xmlns="{PUBSUB}">{item}</pubsub>', 10)
    await ann.topics.publish("prices", "1")
    assert await read(reading, 1) == ["1"]
    told = [record.message for record in caplog.records]
    assert len(told) == 3
    assert all("topic 'prices': a publication was left out: the " in text for text in told)


async def test_messages_to_the_agent_are_its_own(enter: Enter) -> None:
    ann, bob = await enter("ann"), await enter("bob")
    await ann.topics.publish("prices", "0")
    await bob.topics.subscribe("prices")
    ann.connection.hand_over(
        f'<message to="bob@localhost/here"><body>x</body><event xmlns="{PUBSUB}#event">'
        f'<items node="prices"><item id="1"><acl xmlns="urn:locution:acl">{{"performative": "inform"}}</acl>'
        "</item></items></event></message>"
    )
    assert await ann.connection.confirm(10)
    assert await bob.connection.confirm(10)
    (stanza,) = bob.heard
    assert stanza.get("from") == "ann@localhost/here"
