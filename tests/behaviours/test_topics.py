"""Topics when the connection breaks, the server restarts, or the service says something unforeseen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Literal
from xml.etree import ElementTree

import pytest
from pydantic import field_validator

from behaviours import connection as connection_module
from behaviours import pubsub, readings
from behaviours import topics as module
from behaviours.connection import ConnectionFailed, RequestRefused
from behaviours.delivery import Delivered, Undelivered
from behaviours.events import (
    Fact,
    HandlerFailed,
    MessageNotUnderstood,
    MessageReceived,
    MessageSent,
    MessageUndelivered,
)
from behaviours.outcomes import Failed, Refused
from behaviours.readings import Reading, Update
from behaviours.topics import Topics
from behaviours.wire import STANZA_LIMIT, Element
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import to_json
from ontology.content import Done, Ontology, Predicate, Term
from ontology.errors import Cause
from society.xmpp_server import ScriptedFaults
from tests.behaviours.talkers import NOTES, PATIENCE, Note, Talker, publish, read, talker
from tests.conftest import World, becomes, left_behind

ME = AgentIdentifier(name="me@here")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon."""
    monkeypatch.setattr(readings, "RETRY_FIRST", 0.02)
    monkeypatch.setattr(readings, "RETRY_MOST", 0.05)
    monkeypatch.setattr(connection_module, "RECONNECT_MOST", 0.1)


async def cut(world: World, who: Talker, *, may_resume: bool = False) -> None:
    """Break a connection from the server's side, and by default the session with it (XEP-0198)."""
    who.sessions.clear()
    who.breaks.clear()
    if not may_resume:
        who.connection._resuming.forget()
    for session in world.xmpp._switchboard.sessions(who.connection.boundjid.user):
        session.link.cut()
    async with asyncio.timeout(PATIENCE):
        await who.breaks.wait()


async def back(who: Talker) -> None:
    async with asyncio.timeout(PATIENCE):
        await who.sessions.wait()


async def rest(reading: Reading) -> list[object]:
    """Whatever comes until the end."""
    async with asyncio.timeout(PATIENCE):
        return [each async for each in reading]


def sentences(items: list[object]) -> list[str]:
    """The texts of endings."""
    return [each.reason.text for each in items if isinstance(each, Refused | Failed)]


class TestOnAServer:
    @pytest.mark.parametrize("resource", ["here", ""])
    async def test_a_reader_that_comes_back_has_missed_nothing(self, world: World, resource: str) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob", resource=resource)
        await ann.publish("prices", "before")
        reading = await bob.read("prices")
        await ann.publish("prices", "0")
        assert await read(reading, 1) == ["0"]
        for turn in range(3):
            await cut(world, bob)
            await ann.publish("prices", f"{turn} away")
            await back(bob)
            await ann.publish("prices", f"{turn} here")
            assert await read(reading, 2) == [f"{turn} away", f"{turn} here"]
        subscribed = world.xmpp._router._pubsub._nodes.subscribers("prices")
        assert [jid.full for jid in subscribed] == [bob.connection.full_jid]

    async def test_a_reader_that_has_read_nothing_yet_does_not_get_what_was_before(
        self, world: World
    ) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        await ann.publish("prices", "before")
        reading = await bob.read("prices")
        await cut(world, bob)
        await ann.publish("prices", "away")
        await back(bob)
        assert await read(reading, 1) == ["away"]

    async def test_who_was_away_for_long_gets_what_is_still_held(self, world: World) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        await ann.publish("prices", "before")
        reading = await bob.read("prices")
        await cut(world, bob)
        for number in range(30):
            await ann.publish("prices", str(number))
        await back(bob)
        await ann.publish("prices", "now")
        found = await read(reading, module.KEPT)
        if found[-1] != "now":  # it came before we caught up, or after
            found += await read(reading, 1)
        assert found[-module.KEPT :] == [*(str(number) for number in range(11, 30)), "now"]

    async def test_who_waits_for_a_topic_waits_on_after_a_break(self, world: World) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        reading = await bob.read("prices")
        for may_resume in (True, False):
            await cut(world, bob, may_resume=may_resume)
            await back(bob)
        await ann.publish("prices", "1")
        assert await read(reading, 1) == ["1"]

    async def test_topics_are_made_again_after_the_server_was_restarted(self, world: World) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        await ann.publish("prices", "before")
        reading = await bob.read("prices")
        await ann.publish("prices", "1")
        assert await read(reading, 1) == ["1"]
        port = world.xmpp.port
        for who in (ann, bob):
            who.sessions.clear()
        await world.xmpp.stop()
        await world.serve(port=port)
        await ann.publish("prices", "2")  # as soon as there is a connection again
        await ann.publish("prices", "3")
        await back(bob)
        assert await read(reading, 2) == ["2", "3"]

    async def test_to_read_without_a_connection_is_to_read_once_there_is_one(self, world: World) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        await ann.publish("prices", "before")
        await cut(world, bob)
        async with bob.topics.read("prices") as reading:
            assert not bob.connection.is_online
            await back(bob)
            another = bob.topics.read("prices")
            await becomes(lambda: bool(world.xmpp._router._pubsub._nodes.subscribers("prices")))
            await ann.publish("prices", "now")
            assert await read(reading, 1) == ["now"]
            assert await read(another, 1) == ["now"]

    async def test_who_stops_does_not_wait_for_a_connection_to_publish(self, world: World) -> None:
        ann = await talker(world, "ann")
        await ann.publish("prices", "1")
        await ann.connection.close()
        publishing = asyncio.ensure_future(ann.fail("prices", "2"))
        await asyncio.sleep(0)
        assert not publishing.done()
        ann.topics.close()
        why = "topic 'prices': it was not published: there is no connection to the server"
        assert await asyncio.wait_for(publishing, PATIENCE) == why
        assert await ann.fail("prices", "3") == why
        assert sentences(await rest(ann.topics.read("prices"))) == ["topic 'prices': ann was stopped"]

    async def test_a_publication_waits_for_a_connection_only_so_long(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PATIENCE", 0.01)
        ann = await talker(world, "ann")
        await ann.connection.close()
        assert "there is no connection to the server" in await ann.fail("prices")
        (lost,) = ann.facts
        assert lost == MessageUndelivered(
            agent="ann@localhost",
            performative="inform",
            peer="pubsub.localhost",
            cause="unreachable",
            text="topic 'prices': it was not published: there is no connection to the server",
        )
        assert ann.traced == [], "nothing was said"

    async def test_a_connection_that_breaks_under_a_request(self, world: World) -> None:
        ann = await talker(world, "ann")
        await ann.publish("prices", "1")
        ann.connection._resuming.forget()
        publishing = asyncio.ensure_future(ann.fail("prices", "2"))
        await asyncio.sleep(0)
        ann.connection.abort()
        assert "nobody knows whether it was published: the connection" in await publishing

    async def test_too_many_topics(self, world: World) -> None:
        ann = await talker(world, "ann")
        for number in range(100):
            await ann.publish(f"topic {number}", "x")
        assert await ann.fail("one more") == (
            "topic 'one more': the XMPP server refuses: conflict: an account has at most 100 nodes"
        )

    async def test_who_reads_no_more_is_not_subscribed_any_more_and_may_read_again(
        self, world: World
    ) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        nodes = world.xmpp._router._pubsub._nodes
        await ann.publish("prices", "0")
        first, second = await bob.read("prices"), await bob.read("prices")
        first.close()
        first.close()
        await ann.publish("prices", "1")
        assert await rest(first) == []
        assert await read(second, 1) == ["1"]
        second.close()
        third = await bob.read("prices")  # it does not overtake the farewell
        await ann.publish("prices", "2")
        assert await read(third, 1) == ["2"]
        third.close()
        await becomes(lambda: not nodes.subscribers("prices"))

    async def test_nothing_is_left_behind(self, world: World) -> None:
        before = asyncio.all_tasks()
        bob = await talker(world, "bob")
        reading = await bob.read("never")
        await bob.stop()
        assert sentences(await rest(reading)) == ["topic 'never': bob was stopped"]
        reading.close()
        assert not await left_behind(before)

    async def test_an_answer_that_does_not_come(self, world: World) -> None:
        await world.xmpp.stop()
        faults = ScriptedFaults(["drop"], concerns=lambda passage: passage.sender == "pubsub.localhost")
        await world.serve(faults=faults)
        ann = await talker(world, "ann")
        await ann.connection.ask("get", "localhost", pubsub.FIND, 10)
        with pytest.raises(ConnectionFailed, match=r"pubsub.localhost has not answered within 0\.05 s"):
            await ann.connection.ask("get", "pubsub.localhost", pubsub.DESCRIBE, 0.05)
        await ann.publish("prices", "1")

    async def test_what_is_said_and_read_is_told_and_shown(self, world: World) -> None:
        ann, bob = await talker(world, "ann"), await talker(world, "bob")
        await ann.publish("prices", "0")
        reading, own = await bob.read("prices"), await ann.read("prices")
        ann.traced.clear()
        ann.facts.clear()
        await ann.publish("prices", "1")
        assert await read(reading, 1) == await read(own, 1) == ["1"]
        said = {"performative": "inform", "protocol": ""}
        assert set(ann.facts) == {
            MessageSent(agent="ann@localhost", peer="pubsub.localhost", **said),
            MessageReceived(agent="ann@localhost", peer="ann@localhost", **said),
        }
        assert bob.facts == [MessageReceived(agent="bob@localhost", peer="ann@localhost", **said)]
        (sent,), (received,) = ann.traced, bob.traced
        assert (sent.sender, sent.receiver) == (
            AgentIdentifier(name="ann@localhost"),
            (AgentIdentifier(name="pubsub.localhost"),),
        )
        for each in (sent, received):
            assert (each.performative, each.ontology, each.language) == ("inform", "notes/1.0", "json")
            assert each.content == '{"note":{"text":"1"}}'
            assert each.user_parameters == {"X-topic": "prices"}


class FakeLine:
    """`pubsub.Line` whose answers the test writes."""

    def __init__(self, answer: Callable[[str, str], Any]) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []
        self.is_online = True
        self.full_jid = "me@here/1"
        self.on_message: Callable[[Element], bool]
        self.on_online: Callable[[], None]

    async def wait_online(self) -> None:
        if not self.is_online:
            await asyncio.Event().wait()

    async def ask(self, kind: Literal["get", "set"], to: str, payload: str, timeout: float) -> Element:
        self.asked.append((to, payload))
        await asyncio.sleep(0)
        answer = self.answer(to, payload)
        if isinstance(answer, Exception):
            raise answer
        return ElementTree.fromstring(f'<iq xmlns="jabber:client">{answer or ""}</iq>')

    def watch(self, on_message: Callable[[Element], bool], on_online: Callable[[], None]) -> None:
        self.on_message, self.on_online = on_message, on_online


def on(line: FakeLine, ontology: Ontology = NOTES, facts: list[Fact] | None = None) -> Topics:
    """Topics on a line."""
    hook = (facts if facts is not None else []).append
    return Topics(ME, line, (ontology,), hook=hook, rng=lambda: 0.0)


async def say(topics: Topics, text: str = "1") -> str:
    """Publish a note; return why it was not, if so."""
    match await publish(topics, "t", text):
        case Delivered():
            return ""
        case Undelivered(reason=reason):
            return reason.text


async def follow(topics: Topics) -> Reading:
    """Read a topic from now on."""
    reading = topics.read("t")
    async with asyncio.timeout(PATIENCE):
        await reading.begun()
    return reading


def event(content: str, sender: str = "pubsub.here") -> Element:
    told = f'<event xmlns="{pubsub.EVENT}">{content}</event>'
    return ElementTree.fromstring(f'<message xmlns="jabber:client" from="{sender}">{told}</message>')


def item(name: str, content: str | None = None, publisher: str = "", **parameters: Any) -> str:
    content = NOTES.render(Note(text=name)) if content is None else content
    message = AclMessage(**{"performative": Performative.INFORM, "content": content, **parameters})
    by = f' publisher="{publisher}"' if publisher else ""
    return f'<item id="{name}"{by}><acl xmlns="{pubsub.ACL}">{to_json(message)}</acl></item>'


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
        topics = on(line)
        assert [await say(topics), await say(topics)] == ["", ""]
        assert [to for to, _payload in line.asked] == [
            *("here", "chat.here", "broken.here", "topics.here", "topics.here", "topics.here")
        ]

    @pytest.mark.parametrize("listed", [RequestRefused("service-unavailable", ""), "", "<x/>"])
    async def test_without_one_it_is_the_usual_name(self, listed: Any) -> None:
        line = FakeLine(lambda _to, payload: listed if payload == pubsub.FIND else "")
        assert await say(on(line)) == ""
        assert [to for to, _payload in line.asked] == ["here", "pubsub.here"]

    @pytest.mark.parametrize("condition", ["service-unavailable", "remote-server-not-found"])
    async def test_a_server_without_one_is_told(self, condition: str) -> None:
        topics = on(FakeLine(lambda _to, _payload: RequestRefused(condition, "")))
        told = "topic 't': the XMPP server has no PubSub service; embedded and Prosody servers can have one"
        assert await say(topics) == told
        assert sentences(await rest(await follow(topics))) == [told]
        assert sentences(await rest(await follow(topics))) == [told], "it is asked again"

    async def test_a_broken_connection_is_not_taken_for_an_answer(self) -> None:
        line = FakeLine(lambda _to, _payload: ConnectionFailed("gone"))
        topics = on(line)
        assert await say(topics) == "topic 't': it was not published: gone"
        line.answer = lambda _to, _payload: ""
        assert await say(topics) == ""
        assert [to for to, _payload in line.asked] == ["here", "here", "pubsub.here"]


class TestMaking:
    @pytest.mark.parametrize("condition", ["forbidden", "not-allowed"])
    async def test_who_may_not_is_told_what_would_allow_it(self, condition: str) -> None:
        def answer(_to: str, payload: str) -> Any:
            missing = RequestRefused("item-not-found", "")
            return RequestRefused(condition, "") if "<create" in payload else missing

        told = await say(on(FakeLine(answer)))
        assert told.startswith("topic 't': the XMPP server does not let this account make topics; of Prosody")

    async def test_somebody_may_be_quicker(self) -> None:
        answers: list[Any] = ["", RequestRefused("item-not-found", ""), RequestRefused("conflict", ""), ""]
        assert await say(on(FakeLine(lambda _to, _payload: answers.pop(0)))) == ""
        assert answers == []

    async def test_another_refusal_is_told(self) -> None:
        answers: list[Any] = [
            *("", RequestRefused("item-not-found", ""), RequestRefused("resource-constraint", "full"))
        ]
        told = await say(on(FakeLine(lambda _to, _payload: answers.pop(0))))
        assert told == "topic 't': the XMPP server refuses: resource-constraint: full"

    async def test_what_may_not_be_published_is_undelivered_with_fipas_failure(self) -> None:
        line = FakeLine(lambda _to, payload: RequestRefused("forbidden", "") if "<publish" in payload else "")
        result = await publish(on(line), "t", "1")
        assert isinstance(result, Undelivered)
        assert result.reason.cause == Cause.UNAUTHORISED
        assert result.reason.text.startswith("topic 't': only the agent that has made it may publish to it")
        failure = result.failure
        assert (failure.performative, failure.sender, failure.receiver) == (
            Performative.FAILURE,
            AgentIdentifier(name="ams@here"),
            (ME,),
        )

    @pytest.mark.parametrize("topic", ["", "pri\x00ces", "\ufffe"])
    async def test_a_name_that_cannot_be_is_the_callers_mistake(self, topic: str) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = on(line)
        with pytest.raises(ValueError, match="a topic has a name, of characters that XML can carry"):
            await publish(topics, topic, "x")
        with pytest.raises(ValueError, match="a topic has a name"):
            topics.read(topic)
        assert line.asked == []

    async def test_what_cannot_be_sent_is_the_callers_mistake(self) -> None:
        topics = on(FakeLine(lambda _to, _payload: ""))
        with pytest.raises(ValueError, match=r"the publication has 1,000,\d\d\d bytes as a stanza"):
            await publish(topics, "t", "x" * STANZA_LIMIT)
        with pytest.raises(ValueError, match="U\\+FFFE, which XML cannot carry"):
            await topics.publish("t", "\ufffe")


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
        reading = await follow(on(line))
        line.on_online()
        assert await read(reading, 3) == ["b", "c", "d"]
        assert line.on_message(event(items("e")))
        assert await read(reading, 1) == ["e"]

    async def test_what_comes_while_we_begin_is_read(self) -> None:
        def answer(_to: str, payload: str) -> Any:
            if "max_items" in payload:
                line.on_message(event(items("b")))
                line.on_message(event(items("c")))
                return held("b")
            return held("a", "b", "c", "d") if "<items" in payload else ""

        line = FakeLine(answer)
        reading = await follow(on(line))
        assert await read(reading, 2) == ["b", "c"]
        line.on_online()
        assert await read(reading, 1) == ["d"]

    async def test_a_beginning_that_breaks_off_does_not_bring_the_past(self) -> None:
        troubles: list[Any] = [ConnectionFailed("slow")]

        def answer(_to: str, payload: str) -> Any:
            if "max_items" in payload:
                return troubles.pop() if troubles else held("b")
            return held("a", "b") if "<items" in payload else ""

        line = FakeLine(answer)
        topics = on(line)
        reading = await follow(topics)
        line.on_online()
        await becomes(lambda: not troubles and line.asked[-1][1] == pubsub.retrieve("t", 1))
        line.on_message(event(items("c")))
        assert await read(reading, 1) == ["c"]

    async def test_a_service_that_reads_nothing_back(self) -> None:
        line = FakeLine(lambda _to, payload: RequestRefused("forbidden", "") if "<items" in payload else "")
        reading = await follow(on(line))
        line.on_online()
        line.on_message(event(items("a")))
        assert await read(reading, 1) == ["a"]

    async def test_a_refusal_for_good_ends_the_reading(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = on(line)
        reading = await follow(topics)
        line.on_message(event(items("a")))
        line.answer = lambda _to, _payload: RequestRefused("not-allowed", "you are banned")
        line.on_online()
        note, ending = await rest(reading)
        assert note == Note(text="a")
        assert sentences([ending]) == ["topic 't': the XMPP server refuses: not-allowed: you are banned"]
        assert isinstance(ending, Refused)
        assert await rest(reading) == []
        asked = len(line.asked)
        line.on_online()
        await asyncio.sleep(0)
        assert len(line.asked) == asked, "it is not asked again"
        topics.close()
        await topics.closed()

    async def test_a_trouble_that_passes_is_waited_for(self) -> None:
        troubles = [RequestRefused("remote-server-not-found", ""), ConnectionFailed("slow"), "", held("a")]
        line = FakeLine(lambda _to, _payload: "")
        reading = await follow(on(line))
        line.answer = lambda _to, _payload: troubles.pop(0)
        line.on_online()
        assert await read(reading, 1) == ["a"]

    async def test_an_old_session_is_unsubscribed_by_the_new_one(self) -> None:
        def answer(_to: str, payload: str) -> Any:
            return RequestRefused("unexpected-request", "") if "<unsubscribe" in payload else ""

        line = FakeLine(answer)
        reading = await follow(on(line))
        line.full_jid = "me@here/2"
        line.on_online()
        line.on_message(event(items("a")))
        assert await read(reading, 1) == ["a"]
        verbs = [payload.partition("><")[2].partition(" ")[0] for _to, payload in line.asked[1:]]
        assert verbs == ["subscribe", "items", "unsubscribe", "subscribe", "items"]

    @pytest.mark.parametrize("trouble", [RequestRefused("not-allowed", ""), ConnectionFailed("gone")])
    async def test_a_farewell_that_fails_is_nobodys_business(self, trouble: Exception) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = on(line)
        async with topics.read("t") as reading:
            line.answer = lambda _to, _payload: trouble
        topics.close()
        await topics.closed()
        assert "<unsubscribe" in line.asked[-1][1]
        assert await rest(reading) == []

    async def test_a_frozen_server_does_not_hold_up_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "FAREWELL_WITHIN", 0.01)
        line = FakeLine(lambda _to, _payload: "")
        topics = on(line)
        reading = await follow(topics)

        async def never(*_arguments: object) -> Element:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(line, "ask", never)
        topics.close()
        await topics.closed()
        assert sentences(await rest(reading)) == ["topic 't': me was stopped"]


class TestNotices:
    @pytest.mark.parametrize(
        "content",
        ["", "<items/>", '<items node="t"><retract id="a"/></items>', '<purge node="t"/>', items("a")],
    )
    async def test_the_services_own_are_taken(self, content: str) -> None:
        line = FakeLine(lambda _to, _payload: "")
        await say(on(line))
        assert line.on_message(event(content))

    async def test_others_are_not(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = on(line)
        assert not line.on_message(event(items("a"))), "no service is known yet"
        await follow(topics)
        for sender in ("x@pubsub.here", "pubsub.here/x", "pubsub.here.evil", ""):
            assert not line.on_message(event(items("a"), sender))
        plain = '<message xmlns="jabber:client" from="pubsub.here"><body>x</body></message>'
        assert not line.on_message(ElementTree.fromstring(plain))
        bounced = event(items("a"))
        bounced.set("type", "error")  # type: ignore[attr-defined]
        assert not line.on_message(bounced)


class Picky(Predicate):
    """A term whose author has made a mistake."""

    text: str

    @field_validator("text")
    @classmethod
    def _check(cls, _text: str) -> str:
        raise RuntimeError("I am broken")


class TestUnderstanding:
    async def test_what_does_not_fit_is_left_out_and_told(self) -> None:
        facts: list[Fact] = []
        line = FakeLine(lambda _to, _payload: "")
        reading = await follow(on(line, facts=facts))
        for name, content, parameters in (
            ("no JSON", "hello", {}),
            ("no term of ours", '{"price": {}}', {}),
            ("a wrong argument", '{"note": {"text": 1}}', {}),
            ("another ontology", '{"note": {"text": "x"}}', {"ontology": "diaries/1.0"}),
            ("another act", '{"note": {"text": "x"}}', {"performative": Performative.REQUEST}),
        ):
            publication = item(name, content, "Ann@here/x", **parameters)
            assert line.on_message(event(f'<items node="t">{publication}</items>'))
        odd = '<item id="odd"/>', item("nobody", publisher="a b")
        line.on_message(event(f'<items node="t">{"".join(odd)}</items>'))
        line.on_message(event(items("good")))
        assert await read(reading, 1) == ["good"]
        told = [fact for fact in facts if isinstance(fact, MessageNotUnderstood)]
        assert [fact.peer for fact in told] == ["ann@here"] * 5 + ["pubsub.here"] * 2
        assert [fact.cause for fact in told] == [
            *("unrecognised-value", "unsupported-act", "unsupported-value", "unsupported-value"),
            *("unexpected-act", "unrecognised-value", "unrecognised-parameter-value"),
        ]
        assert told[0].text == ("topic 't': the content is not JSON: Expecting value at line 1, column 1")
        assert told[4].text == "topic 't': a publication is an inform, not request"

    async def test_a_term_that_breaks_is_a_fact_and_the_session_goes_on(self) -> None:
        facts: list[Fact] = []
        line = FakeLine(lambda _to, _payload: "")
        both = Ontology(name="both", version=(1, 0), terms=(Note, Picky))
        reading = await follow(on(line, both, facts))
        picky = item("x", '{"picky": {"text": "x"}}')
        assert line.on_message(event(f'<items node="t">{picky}</items>'))
        line.on_message(event(items("good")))
        assert await read(reading, 1) == ["good"]
        (failed,) = [fact for fact in facts if isinstance(fact, HandlerFailed)]
        assert failed.text == "RuntimeError: I am broken"
        assert "test_topics.py" in failed.where

    async def test_terms_are_read_under_the_ontology_that_is_named(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        reading = await follow(on(line))
        newer = item("x", '{"note": {"text": "x", "size": 3}}', "ann@here", ontology="notes/1.7")
        line.on_message(event(f'<items node="t">{newer}</items>'))
        update = await reading.receive()
        assert update == Update(term=Note(text="x"), publisher=AgentIdentifier(name="ann@here"))


class TestReading:
    async def test_there_is_an_end_to_what_waits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readings, "WAITING", 3)
        line = FakeLine(lambda _to, _payload: "")
        topics = on(line)
        slow = await follow(topics)
        line.on_message(event(items(*"abcde")))
        *notes, ending = await rest(slow)
        assert notes == [Note(text=name) for name in "abc"]
        assert isinstance(ending, Failed)
        assert ending.reason.text == "topic 't': more than 3 publications wait; read them faster"
        assert await rest(slow) == []

    async def test_waiting_may_be_given_up(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        reading = await follow(on(line))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reading.receive(), 0.001)
        line.on_message(event(items("a")))
        assert await read(reading, 1) == ["a"]

    async def test_who_leaves_gets_nothing_more(self) -> None:
        line = FakeLine(lambda _to, _payload: "")
        topics = on(line)
        async with topics.read("t") as reading:
            line.on_message(event(items(*"abc")))
            async for note in reading:
                assert note == Note(text="a")
                break
        assert await rest(reading) == []
        waiting = topics.read("t")
        rest_of_it = asyncio.ensure_future(rest(waiting))
        await asyncio.sleep(0)
        waiting.close()
        assert await rest_of_it == []


class TestServing:
    async def serve(self, line: FakeLine, *readers: tuple[str, type[Term], Any]) -> tuple[Topics, list[Fact]]:
        facts: list[Fact] = []
        topics = on(line, facts=facts)
        await topics.serve({(topic, term): reader for topic, term, reader in readers})
        return topics, facts

    async def test_terms_go_to_their_readers_in_turn_and_others_are_told(self) -> None:
        took: list[str] = []

        async def note(update: Note, _publisher: object) -> None:
            await asyncio.sleep(0.001 if update.text == "a" else 0)
            took.append(update.text)

        async def done(_update: Done, publisher: object) -> None:
            took.append(f"done by {publisher}")

        line = FakeLine(lambda _to, _payload: "")
        topics, facts = await self.serve(line, ("t", Note, note), ("t", Done, done))
        others = [item("d", '{"done": {}}', "ann@here"), item("r", '{"reason": {"cause": "", "text": ""}}')]
        line.on_message(event(f'<items node="t">{item("a")}{"".join(others)}{item("b")}</items>'))
        await becomes(lambda: len(took) == 3)
        assert took == ["a", "done by ann@here", "b"]
        (told,) = [fact for fact in facts if isinstance(fact, MessageNotUnderstood)]
        assert told.text == "topic 't': reason is not read here; done, note is"
        topics.close()
        await topics.closed()

    async def test_what_a_reader_raises_is_a_fact_and_the_reading_goes_on(self) -> None:
        took = asyncio.Event()

        async def stumble(update: Term, _publisher: object) -> None:
            assert isinstance(update, Note)
            if update.text == "bad":
                raise KeyError(update.text)
            if update.text == "cancelled":
                gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                gone.cancel()
                await gone
            took.set()

        line = FakeLine(lambda _to, _payload: "")
        topics, facts = await self.serve(line, ("t", Term, stumble))
        line.on_message(event(items("bad", "cancelled", "good")))
        await asyncio.wait_for(took.wait(), PATIENCE)
        failed = [fact for fact in facts if isinstance(fact, HandlerFailed)]
        assert [(fact.peer, fact.text) for fact in failed] == [
            ("pubsub.here", "KeyError: 'bad'"),
            ("pubsub.here", "CancelledError: "),
        ]
        assert failed[0].where.startswith("test_topics.py, line ")
        assert failed[0].where.endswith(", in stumble")
        assert "Traceback" in failed[0].traceback
        topics.close()
        await topics.closed()

    async def test_a_refusal_is_a_fact(self) -> None:
        async def never(*_arguments: object) -> None:
            raise AssertionError

        line = FakeLine(lambda _to, _payload: RequestRefused("service-unavailable", ""))
        topics, facts = await self.serve(line, ("t", Note, never))
        await becomes(lambda: bool(facts))
        for _turn in range(20):
            await asyncio.sleep(0)
        assert len(line.asked) == 2, "it is not asked again"
        topics.close()
        await topics.closed()
        (failed,) = facts
        assert isinstance(failed, HandlerFailed)
        assert failed.text.startswith(
            "its handler reads no more: topic 't': the XMPP server has no PubSub service"
        )

    async def test_a_reader_that_was_too_slow_begins_anew(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readings, "WAITING", 2)
        took: list[str] = []
        release = asyncio.Event()

        async def slow(update: Note, _publisher: object) -> None:
            await release.wait()
            took.append(update.text)

        line = FakeLine(lambda _to, payload: held("f") if "<items" in payload else "")
        topics, facts = await self.serve(line, ("t", Note, slow))
        line.on_message(event(items(*"abcdef")))
        release.set()
        await becomes(lambda: [each for _to, each in line.asked].count(pubsub.retrieve("t", 1)) == 2)
        line.on_message(event(items("g")))
        await becomes(lambda: "g" in took)
        assert took == ["a", "b", "g"]
        (failed,) = [fact for fact in facts if isinstance(fact, HandlerFailed)]
        assert "more than 2 publications wait" in failed.text
        verbs = [payload.partition("><")[2].partition(" ")[0] for _to, payload in line.asked[1:]]
        assert verbs == ["subscribe", "items", "unsubscribe", "subscribe", "items"]
        topics.close()
        await topics.closed()
