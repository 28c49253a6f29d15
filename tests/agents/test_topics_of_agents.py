"""Topics as agents have them: `publish`, `read` and `@reads`, with terms in and out."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest

from agents.base import LocutionAgent
from behaviours import connection as connection_module
from behaviours import readings
from behaviours.delivery import Delivered, Undelivered
from behaviours.events import (
    Connected,
    HandlerFailed,
    MessageNotUnderstood,
    MessageReceived,
    MessageSent,
    MessageUndelivered,
)
from behaviours.handlers import Handlers, reads
from behaviours.outcomes import Failed
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import Done, Ontology, Predicate, Term
from ontology.models import DeviceDescription
from society.xmpp_server import XmppServer
from tests.conftest import PATIENCE, World, becomes, left_behind


class Temperature(Predicate):
    """So warm."""

    celsius: float


class IsEmpty(Predicate):
    """There is nothing in it."""


KITCHEN = Ontology(name="kitchen", version=(1, 0), terms=(Temperature, IsEmpty))
OTHER = Ontology(name="garden", version=(1, 0), terms=(Temperature,))


class Kettle(LocutionAgent):
    """Publishes."""

    ontologies: ClassVar[tuple[Ontology, ...]] = (KITCHEN,)


class Guest(Kettle):
    """Reads, and keeps what it has read."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read_so_far: list[tuple[str, float]] = []
        self.changed = asyncio.Event()

    @reads("temperatures", Temperature)
    async def warm(self, update: Temperature, publisher: AgentIdentifier | None) -> None:
        if update.celsius < 0:
            raise ValueError("that is ice")
        self.read_so_far.append((str(publisher), update.celsius))
        self.changed.set()

    async def has_read(self, *celsius: float) -> None:
        """Wait until exactly this has been read."""
        async with asyncio.timeout(PATIENCE):
            while len(self.read_so_far) < len(celsius):
                self.changed.clear()
                await self.changed.wait()
        assert [each for _publisher, each in self.read_so_far] == list(celsius)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back soon."""
    monkeypatch.setattr(readings, "RETRY_FIRST", 0.02)
    monkeypatch.setattr(readings, "RETRY_MOST", 0.05)
    monkeypatch.setattr(connection_module, "RECONNECT_MOST", 0.1)


async def warm(kettle: Kettle, *celsius: float) -> None:
    """Publish temperatures."""
    for each in celsius:
        assert await kettle.publish("temperatures", Temperature(celsius=each)) == Delivered()


async def test_terms_go_in_and_come_out(world: World) -> None:
    kettle, cook = await world.start(Kettle, "kettle"), await world.start(Kettle, "cook")
    await warm(kettle, 10)
    async with cook.read("temperatures") as updates:
        await warm(kettle, 20.5, 21)
        found = []
        async for update in updates:
            found.append(update)
            if len(found) == 2:
                break
    assert found == [Temperature(celsius=20.5), Temperature(celsius=21)]


async def test_a_reader_is_subscribed_once_its_agent_is_ready(world: World) -> None:
    kettle = await world.start(Kettle, "kettle")
    await warm(kettle, 10)
    guests = [await world.start(Guest, f"guest{number}") for number in range(3)]
    await warm(kettle, *range(20, 40))
    for guest in guests:
        await guest.has_read(*range(20, 40))
        assert {publisher for publisher, _celsius in guest.read_so_far} == {"kettle@localhost"}


async def test_a_reader_that_comes_before_the_topic_misses_nothing(world: World) -> None:
    guest, kettle = await world.start(Guest, "guest"), await world.start(Kettle, "kettle")
    await warm(kettle, 1, 2, 3)
    await guest.has_read(1, 2, 3)


async def test_what_is_published_while_an_agent_becomes_ready_is_read_by_it(world: World) -> None:
    class Thermostat(Guest):
        async def on_ready(self) -> None:
            await warm(self, 18)

    thermostat = await world.start(Thermostat, "thermostat")
    await thermostat.has_read(18)
    assert thermostat.read_so_far == [("thermostat@localhost", 18)]


async def test_a_handler_that_raises_is_a_fact_and_reads_on(world: World) -> None:
    kettle = await world.start(Kettle, "kettle")
    await warm(kettle, 1)
    guest = await world.start(Guest, "guest")
    await warm(kettle, -1, 2)
    await guest.has_read(2)
    failed = await world.fact(HandlerFailed, agent="guest@localhost", peer="kettle@localhost")
    assert failed.text == "ValueError: that is ice"
    assert failed.where.startswith("test_topics_of_agents.py, line ")


async def test_what_does_not_fit_is_a_fact_and_is_not_handed_out(world: World) -> None:
    class Gardener(Kettle):
        ontologies: ClassVar[tuple[Ontology, ...]] = (OTHER,)

    gardener = await world.start(Gardener, "gardener")
    await warm(gardener, 1)
    guest = await world.start(Guest, "guest")
    assert await gardener.publish("temperatures", Temperature(celsius=30)) == Delivered()
    told = await world.fact(MessageNotUnderstood, agent="guest@localhost", peer="gardener@localhost")
    assert told.text.startswith("topic 'temperatures': ontology 'garden/1.0' is not spoken here; kitchen/1.0")
    assert guest.read_so_far == []


async def test_another_term_than_the_handlers_is_a_fact_and_is_not_handed_out(world: World) -> None:
    kettle = await world.start(Kettle, "kettle")
    await warm(kettle, 1)
    guest = await world.start(Guest, "guest")
    assert await kettle.publish("temperatures", IsEmpty()) == Delivered()
    await warm(kettle, 2)
    await guest.has_read(2)
    told = await world.fact(MessageNotUnderstood, agent="guest@localhost")
    assert told.text == "topic 'temperatures': is-empty is not read here; temperature is"


async def test_a_term_of_no_ontology_is_the_callers_mistake(world: World) -> None:
    kettle = await world.start(Kettle, "kettle")
    with pytest.raises(ValueError, match="DeviceDescription is a term of none of this agent's ontologies"):
        await kettle.publish("devices", DeviceDescription(kind="cpu", name="x", memory_bytes=1))


async def test_a_topic_is_its_makers_unless_it_is_shared(world: World) -> None:
    kettle, urn = await world.start(Kettle, "kettle"), await world.start(Kettle, "urn")
    guest = await world.start(Guest, "guest")
    await warm(kettle, 1)
    match await urn.publish("temperatures", Temperature(celsius=2), shared=True):
        case Undelivered(reason=reason):
            assert reason.text == (
                "topic 'temperatures': only the agent that has made it may publish to it; "
                "to one that is made with shared=True all may"
            )
        case delivered:
            pytest.fail(str(delivered))
    await world.fact(MessageUndelivered, agent="urn@localhost", peer="pubsub.localhost", cause="unauthorised")
    async with guest.read("calls") as calls:
        assert await kettle.publish("calls", IsEmpty(), shared=True) == Delivered()
        assert await urn.publish("calls", Done()) == Delivered()
        async with asyncio.timeout(PATIENCE):
            assert [await anext(calls), await anext(calls)] == [IsEmpty(), Done()]
    await guest.has_read(1)


async def test_publications_are_facts_and_stand_in_the_record(world: World) -> None:
    record: list[AclMessage] = []
    guest = await world.start(Guest, "guest", record=record.append)
    await warm(guest, 20)
    await guest.has_read(20)
    said = {"agent": "guest@localhost", "performative": "inform", "protocol": ""}
    assert len(world.of(MessageSent, peer="pubsub.localhost", **said)) == 1
    assert len(world.of(MessageReceived, peer="guest@localhost", **said)) == 1
    (message,) = record
    assert (message.sender, message.receiver) == (guest.me, (AgentIdentifier(name="pubsub.localhost"),))
    assert (message.ontology, message.content) == ("kitchen/1.0", '{"temperature":{"celsius":20.0}}')
    assert message.user_parameters == {"X-topic": "temperatures"}


async def test_readers_and_publishers_go_on_after_the_server_was_restarted(world: World) -> None:
    kettle, guest = await world.start(Kettle, "kettle"), await world.start(Guest, "guest")
    async with guest.read("temperatures") as updates:
        await warm(kettle, 1)
        await guest.has_read(1)
        port = world.xmpp.port
        await world.xmpp.stop()  # the topics are kept in memory only
        await world.serve(port=port)
        await warm(kettle, 2, 3)
        await world.fact(Connected, agent="guest@localhost", count=2)
        await guest.has_read(1, 2, 3)
        async with asyncio.timeout(PATIENCE):
            found = [await anext(updates) for _ in range(3)]
        assert found == [Temperature(celsius=each) for each in (1, 2, 3)]


async def test_readings_end_with_their_agent(world: World) -> None:
    before = asyncio.all_tasks()
    kettle, guest = await world.start(Kettle, "kettle"), await world.start(Guest, "guest")
    await warm(kettle, 1)
    await guest.has_read(1)
    reading = guest.read("temperatures")
    await reading.begun()
    await guest.stop()
    (ending,) = [each async for each in reading]
    assert isinstance(ending, Failed)
    assert ending.reason.text == "topic 'temperatures': guest was stopped"
    assert subscribers(world.xmpp) == []
    await warm(kettle, 2)
    await guest.start()
    await warm(kettle, 3)
    await guest.has_read(1, 3)
    await kettle.stop()
    await guest.stop()
    assert not await left_behind(before)


async def test_an_agent_may_stop_itself_in_a_reader_and_publish_as_it_ends(world: World) -> None:
    class Tired(Guest):
        @reads("calls", IsEmpty)
        async def leave(self, _update: IsEmpty, _publisher: AgentIdentifier | None) -> None:
            await self.stop()

        async def on_stop(self) -> None:
            await warm(self, 0)

    guest, tired = await world.start(Guest, "guest"), await world.start(Tired, "tired")
    await tired.publish("calls", IsEmpty())
    await becomes(lambda: not tired.is_alive())
    await guest.has_read(0)


async def test_an_agent_that_stops_without_a_connection_does_not_wait_to_publish(world: World) -> None:
    class Polite(Guest):
        outcome: object = None

        async def on_stop(self) -> None:
            self.outcome = await self.publish("temperatures", Temperature(celsius=0))

    polite = await world.start(Polite, "polite")
    await world.xmpp.stop()
    await becomes(lambda: not polite.is_connected)
    async with asyncio.timeout(PATIENCE):
        await polite.stop()
    assert isinstance(polite.outcome, Undelivered)
    assert "it was not published" in polite.outcome.reason.text
    await world.serve()


def test_readers_are_marked_by_topic_and_term() -> None:
    class Many:
        @reads("a", Temperature)
        @reads("b")
        async def one(self, update: Term, publisher: AgentIdentifier | None) -> None:
            """Read."""

        @reads("a", IsEmpty)
        async def two(self, update: IsEmpty, publisher: AgentIdentifier | None) -> None:
            """Read."""

    assert set(Handlers.of(Many()).reads) == {("a", Temperature), ("a", IsEmpty), ("b", Term)}


def test_two_readers_of_one_thing_are_a_mistake() -> None:
    class Twice(Guest):
        @reads("temperatures", Temperature)
        async def again(self, update: Temperature, publisher: AgentIdentifier | None) -> None:
            """Read."""

    with pytest.raises(
        TypeError, match=r"Twice: two methods are marked @reads\('temperatures', Temperature\)"
    ):
        Handlers.of(object.__new__(Twice))


def test_a_reader_is_a_coroutine() -> None:
    with pytest.raises(TypeError, match="warm is marked @reads and is not async def"):

        @reads("temperatures", Temperature)
        def warm(_self: object, _update: Temperature, _publisher: object) -> None:
            """Read."""


def subscribers(xmpp: XmppServer) -> list[object]:
    """Who is subscribed to the topic."""
    return list(xmpp._router._pubsub._nodes.subscribers("temperatures"))
