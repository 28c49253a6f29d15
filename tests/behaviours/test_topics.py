"""Topics when the connection breaks, the server restarts, or the service says something unforeseen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal
from xml.etree import ElementTree

import pytest

from behaviours import connection as connection_module
from behaviours import pubsub, readings
from behaviours import topics as module
from behaviours.connection import ConnectionFailed, RequestRefused
from behaviours.readings import Followed, Reading, TopicError
from behaviours.topics import Topics
from behaviours.wire import Element
from ontology.acl import AclMessage, Performative
from ontology.codecs import to_json
from society.xmpp_server import ScriptedFaults
from tests.behaviours.talkers import PATIENCE, Talker, read, talker
from tests.conftest import World, left_behind


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon."""
    monkeypatch.setattr(module, "RETRY_FIRST", 0.02)
    monkeypatch.setattr(module, "RETRY_MOST", 0.05)
    monkeypatch.setattr(connection_module, "RECONNECT_MOST", 0.1)


async def cut(world: World, who: Talker) -> None:
    """Break a connection from the server's side."""
    who.sessions.clear()
    who.breaks.clear()
    for session in world.xmpp._switchboard.sessions(who.connection.boundjid.user):
        session.link.cut()
    async with asyncio.timeout(PATIENCE):
        await who.breaks.wait()


async def back(who: Talker) -> None:
    async with asyncio.timeout(PATIENCE):
        await who.sessions.wait()


class TestOnAServer:
    @pytest.mark.parametrize("resource", ["here", ""])
    async def test_a_reader_that_comes_back_has_missed_nothing(self, world: World, resource: str) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob", resource=resource)
        await ann.topics.publish("prices", "before")
        reading = await bob.topics.subscribe("prices")
        await ann.topics.publish("prices", "0")
        assert await read(reading, 1) == ["0"]
        for turn in range(3):
            await cut(world, bob)
            await ann.topics.publish("prices", f"{turn} away")
            await back(bob)
            await ann.topics.publish("prices", f"{turn} here")
            assert await read(reading, 2) == [f"{turn} away", f"{turn} here"]
        subscribed = world.xmpp._router._pubsub._nodes.subscribers("prices")
        assert [jid.full for jid in subscribed] == [bob.connection.full_jid]

    async def test_a_reader_that_has_read_nothing_yet_does_not_get_what_was_before(
        self, world: World
    ) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        await ann.topics.publish("prices", "before")
        reading = await bob.topics.subscribe("prices")
        await cut(world, bob)
        await ann.topics.publish("prices", "away")
        await back(bob)
        assert await read(reading, 1) == ["away"]

    async def test_who_was_away_for_long_gets_what_is_still_held(self, world: World) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        await ann.topics.publish("prices", "before")
        reading = await bob.topics.subscribe("prices")
        await cut(world, bob)
        for number in range(30):
            await ann.topics.publish("prices", str(number))
        await back(bob)
        await ann.topics.publish("prices", "now")
        found = await read(reading, module.KEPT)
        if found[-1] != "now":  # it came before we caught up, or after
            found += await read(reading, 1)
        assert found[-module.KEPT :] == [*(str(number) for number in range(11, 30)), "now"]

    async def test_topics_are_made_again_after_the_server_was_restarted(self, world: World) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        await ann.topics.publish("prices", "before")
        reading = await bob.topics.subscribe("prices")
        await ann.topics.publish("prices", "1")
        assert await read(reading, 1) == ["1"]
        port = world.xmpp.port
        for who in (ann, bob):
            who.sessions.clear()
        await world.xmpp.stop()
        await world.serve(port=port)
        await back(ann)
        await ann.topics.publish("prices", "2")
        await ann.topics.publish("prices", "3")
        await back(bob)
        assert await read(reading, 2) == ["2", "3"]

    async def test_without_a_connection_it_is_said(self, world: World) -> None:
        ann = await talker(world, "ann")
        await ann.topics.publish("prices", "1")
        await ann.connection.close()
        with pytest.raises(TopicError) as caught:
            await ann.topics.publish("prices", "2")
        assert str(caught.value) == (
            "topic 'prices': nobody knows whether it was published: there is no session with the server"
        )
        with pytest.raises(TopicError, match="topic 'prices': there is no session with the server"):
            await ann.topics.subscribe("prices")
        await ann.topics.unsubscribe("prices")

    async def test_a_connection_that_breaks_under_a_request(self, world: World) -> None:
        ann = await talker(world, "ann")
        await ann.topics.publish("prices", "1")
        publishing = asyncio.ensure_future(ann.topics.publish("prices", "2"))
        await asyncio.sleep(0)
        ann.connection.abort()
        with pytest.raises(TopicError, match="nobody knows whether it was published: the connection"):
            await publishing

    async def test_what_xml_cannot_carry_is_said_before(self, world: World) -> None:
        ann = await talker(world, "ann")
        for topic, content in (("prices", "\ufffe"), ("pri\x00ces", "x")):
            with pytest.raises(TopicError, match="a character that XML cannot carry"):
                await ann.topics.publish(topic, content)

    async def test_too_many_topics(self, world: World) -> None:
        ann = await talker(world, "ann")
        for number in range(100):
            await ann.topics.publish(f"topic {number}", "x")
        with pytest.raises(TopicError) as caught:
            await ann.topics.publish("one more", "x")
        assert str(caught.value) == (
            "topic 'one more': the XMPP server refuses: conflict: an account has at most 100 nodes"
        )

    async def test_nothing_is_left_behind(self, world: World) -> None:
        before = asyncio.all_tasks()
        bob = await talker(world, "bob")
        reading = await bob.topics.subscribe("never")
        await bob.stop()
        assert [content async for content in reading] == []
        assert not await left_behind(before)

    async def test_an_answer_that_does_not_come(self, world: World) -> None:
        await world.xmpp.stop()
        faults = ScriptedFaults(["drop"], concerns=lambda passage: passage.sender == "pubsub.localhost")
        await world.serve(faults=faults)
        ann = await talker(world, "ann")
        await ann.connection.ask("get", "localhost", pubsub.FIND, 10)
        with pytest.raises(ConnectionFailed, match=r"pubsub.localhost has not answered within 0\.05 s"):
            await ann.connection.ask("get", "pubsub.localhost", pubsub.DESCRIBE, 0.05)
        await ann.topics.publish("prices", "1")


class FakeLine:
    """`topics.Line` whose answers the test writes."""

    def __init__(self, answer: Callable[[str, str], Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []
        self.is_online = True
        self.full_jid = "me@here/1"
        self.on_message: Callable[[Element], bool]
        self.on_online: Callable[[], None]

    async def ask(self, kind: Literal["get", "set"], to: str, payload: str, timeout: float) -> Element:
        self.asked.append((to, payload))
        await asyncio.sleep(0)
        answer = self.answer(to, payload)
        if isinstance(answer, Exception):
            raise answer
        return ElementTree.fromstring(f'<iq xmlns="jabber:client">{answer or ""}</iq>')

    def watch(self, on_message: Callable[[Element], bool], on_online: Callable[[], None]) -> None:
        self.on_message, self.on_online = on_message, on_online


def event(content: str, sender: str = "pubsub.here") -> Element:
    told = f'<event xmlns="{pubsub.EVENT}">{content}</event>'
    return ElementTree.fromstring(f'<message xmlns="jabber:client" from="{sender}">{told}</message>')


def item(name: str) -> str:
    acl = to_json(AclMessage(performative=Performative.INFORM, content=name))
    return f'<item id="{name}"><acl xmlns="{pubsub.ACL}">{acl}</acl></item>'


def items(*names: str, topic: str = "t") -> str:
    return f'<items node="{topic}">{"".join(map(item, names))}</items>'


def held(*names: str) -> str:
    return f'<pubsub xmlns="{pubsub.PUBSUB}">{items(*names)}</pubsub>'


class TestFinding:
    async def test_the_service_that_the_server_lists_is_taken_and_remembered(self) -> None:
        def answer(to: str, payload: str) -> Any:
            if payload == pubsub.FIND:
                listed = "".join(
                    f'<item jid="{name}.here"/>' for name in ("chat", "broken", "topics", "other")
                )
                return f'<query xmlns="{pubsub.DISCO_ITEMS}">{listed}</query>'
            if payload == pubsub.DESCRIBE:
                if to == "broken.here":
                    return RequestRefused("service-unavailable", "")
                kind = 'category="pubsub" type="service"' if to == "topics.here" else 'category="x" type="y"'
                return f'<query xmlns="{pubsub.DISCO_INFO}"><identity {kind}/></query>'
            return ""

        line = FakeLine(answer)
        topics = Topics(line)
        await topics.publish("t", "1")
        await topics.publish("t", "2")
        assert [to for to, _payload in line.asked] == [
            *("here", "chat.here", "broken.here", "topics.here", "topics.here", "topics.here")
        ]

    @pytest.mark.parametrize("listed", [RequestRefused("service-unavailable", ""), "", "<x/>"])
    async def test_without_one_it_is_the_usual_name(self, listed: Any) -> None:
        line = FakeLine(lambda _to, payload: listed if payload == pubsub.FIND else "")
        await Topics(line).publish("t", "1")
        assert [to for to, _payload in line.asked] == ["here", "pubsub.here"]

    @pytest.mark.parametrize("condition", ["service-unavailable", "remote-server-not-found"])
    async def test_a_server_without_one_is_told(self, condition: str) -> None:
        topics = Topics(FakeLine(lambda _to, _payload: RequestRefused(condition, "")))
        with pytest.raises(TopicError, match="topic 't': the XMPP server has no PubSub service"):
            await topics.publish("t", "1")
        with pytest.raises(TopicError, match="the XMPP server has no PubSub service"):
            await topics.subscribe("t")

    async def test_a_broken_connection_is_not_taken_for_an_answer(self) -> None:
        line = FakeLine(lambda _to, _payload: ConnectionFailed("gone"))
        topics = Topics(line)
        with pytest.raises(TopicError, match="gone"):
            await topics.publish("t", "1")
        line.answer = lambda _to, _payload: ""
        await topics.publish("t", "1")
        assert [to for to, _payload in line.asked] == ["here", "here", "pubsub.here"]


class TestMaking:
    @pytest.mark.parametrize("condition", ["forbidden", "not-allowed"])
    async def test_who_may_not_is_told_what_would_allow_it(self, condition: str) -> None:
        def answer(_to: str, payload: str) -> Any:
            missing = RequestRefused("item-not-found", "")
            return RequestRefused(condition, "") if "<create" in payload else missing

        with pytest.raises(TopicError, match="does not let this account make topics; of Prosody's pubsub"):
            await Topics(FakeLine(answer)).publish("t", "1")

    async def test_somebody_may_be_quicker(self) -> None:
        answers: list[Any] = ["", RequestRefused("item-not-found", ""), RequestRefused("conflict", ""), ""]
        await Topics(FakeLine(lambda _to, _payload: answers.pop(0))).publish("t", "1")
        assert answers == []

    async def test_another_refusal_is_told(self) -> None:
        answers: list[Any] = [
            *("", RequestRefused("item-not-found", ""), RequestRefused("resource-constraint", "full"))
        ]
        with pytest.raises(TopicError, match="topic 't': the XMPP server refuses: resource-constraint: full"):
            await Topics(FakeLine(lambda _to, _payload: answers.pop(0))).publish("t", "1")


class TestCatchingUp:
    async def test_what_comes_meanwhile_waits_for_what_was_missed(self) -> None:
        def answer(_to: str, payload: str) -> Any:
            if "max_items" in payload:
                return held("a")
            if "<items" in payload:
                line.on_message(event(items("c")))
                line.on_message(event(items("d")))
                return held("a", "b", "c")
            return ""

        line = FakeLine(answer)
        topics = Topics(line)
        reading = await topics.subscribe("t")
        line.on_online()
        assert await read(reading, 3) == ["b", "c", "d"]
        assert line.on_message(event(items("e")))
        assert await read(reading, 1) == ["e"]

    async def test_a_service_that_reads_nothing_back(self) -> None:
        line = FakeLine(lambda _to, payload: RequestRefused("forbidden", "") if "<items" in payload else "")
        reading = await Topics(line).subscribe("t")
        line.on_online()
        line.on_message(event(items("a")))
        assert await read(reading, 1) == ["a"]

    async def test_a_refusal_for_good_ends_the_reading(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        reading = await Topics(line).subscribe("t")
        line.on_message(event(items("a")))
        line.answer = lambda _to, _payload: RequestRefused("not-allowed", "you are banned")
        line.on_online()
        assert await read(reading, 1) == ["a"]
        with pytest.raises(
            TopicError, match="topic 't': the XMPP server refuses: not-allowed: you are banned"
        ):
            await read(reading, 1)
        assert [content async for content in reading] == []

    async def test_a_trouble_that_passes_is_waited_for(self) -> None:
        troubles = [RequestRefused("remote-server-not-found", ""), ConnectionFailed("slow"), "", held("a")]
        line = FakeLine(lambda _to, _payload: "")
        reading = await Topics(line, rng=lambda: 0.0).subscribe("t")
        line.answer = lambda _to, _payload: troubles.pop(0)
        line.on_online()
        assert await read(reading, 1) == ["a"]

    async def test_an_old_session_is_unsubscribed_by_the_new_one(self) -> None:
        def answer(_to: str, payload: str) -> Any:
            return RequestRefused("unexpected-request", "") if "<unsubscribe" in payload else ""

        line = FakeLine(answer)
        reading = await Topics(line).subscribe("t")
        line.full_jid = "me@here/2"
        line.on_online()
        line.on_message(event(items("a")))
        assert await read(reading, 1) == ["a"]
        verbs = [payload.partition("><")[2].partition(" ")[0] for _to, payload in line.asked[1:]]
        assert verbs == ["subscribe", "items", "unsubscribe", "subscribe", "items"]

    async def test_a_refused_farewell(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = Topics(line)
        reading = await topics.subscribe("t")
        line.answer = lambda _to, _payload: RequestRefused("not-allowed", "")
        with pytest.raises(TopicError, match="not-allowed"):
            await topics.unsubscribe("t")
        assert [content async for content in reading] == []

    async def test_a_farewell_that_gets_no_answer(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = Topics(line)
        await topics.subscribe("t")
        line.answer = lambda _to, _payload: ConnectionFailed("gone")
        await topics.unsubscribe("t")

    async def test_a_frozen_server_does_not_hold_up_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "FAREWELL_WITHIN", 0.01)
        line = FakeLine(lambda _to, _payload: "")
        topics = Topics(line)
        reading = await topics.subscribe("t")

        async def never(*_arguments: object) -> Element:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(line, "ask", never)
        await topics.close()
        assert [content async for content in reading] == []


class TestNotices:
    @pytest.mark.parametrize(
        "content",
        ["", "<items/>", '<items node="t"><retract id="a"/></items>', '<purge node="t"/>', items("a")],
    )
    async def test_the_services_own_are_taken(self, content: str) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = Topics(line)
        await topics.publish("t", "1")
        assert line.on_message(event(content))

    async def test_others_are_not(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = Topics(line)
        assert not line.on_message(event(items("a"))), "no service is known yet"
        await topics.subscribe("t")
        for sender in ("x@pubsub.here", "pubsub.here/x", "pubsub.here.evil", ""):
            assert not line.on_message(event(items("a"), sender))
        plain = '<message xmlns="jabber:client" from="pubsub.here"><body>x</body></message>'
        assert not line.on_message(ElementTree.fromstring(plain))
        bounced = event(items("a"))
        bounced.set("type", "error")  # type: ignore[attr-defined]
        assert not line.on_message(bounced)


class TestReading:
    async def test_there_is_an_end_to_what_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readings, "WAITING", 3)
        reading = Reading("t")
        for number in range(5):
            reading.put(AclMessage(performative=Performative.INFORM, content=str(number)))
        assert await read(reading, 3) == ["0", "1", "2"]
        with pytest.raises(TopicError, match="more than 3 publications wait to be read"):
            await anext(reading)
        with pytest.raises(StopAsyncIteration):
            await anext(reading)

    async def test_waiting_may_be_given_up(self) -> None:
        reading = Reading("t")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reading.receive(), 0.001)
        reading.put(AclMessage(performative=Performative.INFORM))
        assert await read(reading, 1) == [""]

    def test_the_newest_is_known_once(self) -> None:
        followed = Followed("t")
        followed.begin([])
        assert followed.last is None
        followed.begin([pubsub.Entry(id="a", message=AclMessage(performative=Performative.INFORM))])
        followed.begin([pubsub.Entry(id="b", message=AclMessage(performative=Performative.INFORM))])
        assert followed.last == "a"
