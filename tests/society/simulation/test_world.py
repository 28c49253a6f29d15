"""Agents in a simulated world: their life, what dies with them, and what of SPADE they bring along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytest
import spade.behaviour
from spade.behaviour import CyclicBehaviour, PeriodicBehaviour, TimeoutBehaviour
from spade.message import Message

from agents.base import LocutionAgent
from agents.directory_facilitator import DirectoryFacilitator
from agents.registered import RegisteredAgent
from behaviours.connection import ConnectionFailed
from behaviours.delivery import Delivered
from behaviours.events import ConversationEnded, DuplicateDropped
from behaviours.handlers import hears, on
from behaviours.outcomes import Answer, Expired, Failed, Succeeded
from behaviours.participating import Participation
from behaviours.readings import Update
from ontology.content import Done, Ontology
from ontology.management import ServiceDescription
from resilience.memory import MemoryJournal, MemoryRecords
from society.simulation import Crash, Faults, Simulation, SimulationError, simulate
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Half, Sum

LONG = 300.0


def result_of(scenario: Callable[[Simulation], Any], seed: int = 0) -> Any:
    return simulate(scenario, seed).result


def test_agents_converse():
    async def scenario(world: Simulation) -> Any:
        adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
        outcome = await asker.request(adder.me, Add(a=20, b=22))
        contract = await asker.call_for_proposals([adder.me], Add(), lambda bids: bids)
        assert adder.is_connected
        return outcome, [type(each) for each in contract.awards.values()]

    outcome, results = result_of(scenario)
    assert outcome.result == Sum(value=42)
    assert results == [Succeeded]


def test_a_stopped_agent_says_goodbye_and_may_be_restarted():
    async def scenario(world: Simulation) -> Any:
        await world.start(Adder, "adder")
        asker = await world.start(Asker, "asker")
        asking = world.run(asker, asker.request("adder@simulation", Add(manner="holding")))
        await asyncio.sleep(1)
        await world.stop("adder")
        outcome = await asking
        with pytest.raises(SimulationError, match="adder does not run; restart it first"):
            await world.stop("adder")
        adder = await world.restart("adder")
        return outcome, await asker.request(adder.me, Add())

    vanished, answered = result_of(scenario)
    assert isinstance(vanished, Failed)
    assert isinstance(answered, Succeeded)


class Careful(Asker):
    """Notes what it does in its records, and whatever it still does in the end."""

    def __init__(self, *args: Any, notes: list[str]) -> None:
        super().__init__(*args)
        self.notes = notes

    @on(Add)
    async def add(self, action: Add, task: Participation) -> Answer:
        self.ports.records.put("added", str(action.a), "begun")
        try:
            await asyncio.sleep(action.b)
            return Sum(value=action.a)
        finally:
            self.notes.append("cleanup")
            await self.inform(task.initiator, Half(done=0.5))

    async def on_stop(self) -> None:
        self.notes.append("stop")


def test_a_crash_runs_no_cleanup_and_leaves_the_records():
    async def scenario(world: Simulation) -> Any:
        notes: list[str] = []
        await world.start(partial(Careful, notes=notes), "careful")
        asker = await world.start(Adder, "asker")
        asking = world.run(asker, asker.request("careful@simulation", Add(a=7, b=60)))
        await asyncio.sleep(5)
        await world.crash("careful")
        outcome = await asking
        await asyncio.sleep(LONG)
        again = await world.restart("careful")
        return list(notes), outcome, list(asker.heard), dict(again.ports.records.all("added"))

    notes, outcome, heard, records = result_of(scenario)
    assert isinstance(outcome, Failed)
    assert outcome.reason.cause == "vanished"
    assert (notes, heard, records) == ([], [], {"7.0": "begun"})


def test_records_may_be_brought_along():
    async def scenario(world: Simulation) -> Any:
        records = MemoryRecords()
        records.put("added", "1", "before")
        adder = await world.start(Adder, "adder", records=records)
        return adder.ports.records is records

    assert result_of(scenario)


def test_what_an_agent_was_doing_when_it_crashed_ends_as_a_crash():
    async def scenario(world: Simulation) -> Any:
        await world.start(Adder, "adder")
        asker = await world.start(Asker, "asker")
        doing = [world.run(asker, asker.request("adder@simulation", Add(manner="holding"))) for _ in "ab"]
        await asyncio.sleep(1)
        await world.crash("asker")
        return [await each for each in doing], [each.fact for each in world.history]

    outcomes, facts = result_of(scenario)
    assert outcomes == [Crash(), Crash()]
    ended = [each for each in facts if isinstance(each, ConversationEnded) and "asker" in each.agent]
    assert ended == [], "the dead tell nothing"


def test_what_an_agent_does_may_succeed_and_raise_and_be_cancelled():
    async def scenario(world: Simulation) -> Any:
        agent = await world.start(Asker, "agent")

        async def fail() -> None:
            raise KeyError("bead")

        async def be_cancelled() -> None:
            raise asyncio.CancelledError

        with pytest.raises(KeyError):
            await world.run(agent, fail())
        with pytest.raises(asyncio.CancelledError):
            await world.run("agent", be_cancelled())
        return await world.run(agent, asyncio.sleep(5, "slept")), world.history

    result, history = result_of(scenario)
    assert result == "slept"
    assert [each.fact.how for each in history if "Ended " in str(each)][1:] == [
        "KeyError",
        "CancelledError",
        "str",
    ]


def test_an_agent_may_crash_itself_in_a_handler_and_goes_no_further():
    async def scenario(world: Simulation) -> Any:
        class Fragile(Asker):
            @on(Add)
            async def add(self, action: Add, task: Participation) -> Answer:
                world.note(self, "begun")
                await world.crash("fragile")
                world.note(self, "went on")
                return Done()

        await world.start(Fragile, "fragile")
        asker = await world.start(Asker, "asker")
        outcome = await asker.request("fragile@simulation", Add(), reply_within=10)
        return outcome, [each.fact.text for each in world.history if "Noted" in str(each)]

    outcome, notes = result_of(scenario)
    assert isinstance(outcome, Expired)
    assert notes == ["begun"]


def test_the_dead_are_heard_of_no_more_whoever_still_holds_them():
    async def scenario(world: Simulation) -> None:
        adder, asker = await world.start(Adder, "adder"), await world.start(Adder, "asker")
        await asyncio.sleep(1)
        await world.crash("adder")
        happened = len(world.history)
        adder.emit(DuplicateDropped(agent=adder.me.name, peer="nobody@simulation"))
        assert adder.connection is not None
        adder.connection.hand_over('<message to="asker@simulation"><body>boo</body></message>')
        await asyncio.sleep(1)
        assert len(world.history) == happened
        assert asker.heard == []

    result_of(scenario)


def test_a_crash_of_what_does_not_die_with_its_agent_is_refused():
    async def scenario(world: Simulation) -> None:
        await world.start(Adder, "adder")
        asker = await world.start(Asker, "asker")
        await asker.request("adder@simulation", Add())
        with pytest.raises(SimulationError, match=r"write world\.run\(asker, \.\.\.\) around what it does"):
            await world.crash("asker")
        await world.crash("adder")

    result_of(scenario)


def test_mistakes_of_a_scenario_are_told():
    async def scenario(world: Simulation) -> None:
        with pytest.raises(SimulationError, match="there is no agent 'bob' here; started so far: nobody"):
            await world.restart("bob")
        bob = await world.start(Asker, "bob")
        await world.stop("bob")
        await world.restart("bob")
        with pytest.raises(SimulationError, match="there is an agent 'bob' already"):
            bob = await world.start(Asker, "bob")
        await world.stop("bob")
        await world.restart("bob")
        with pytest.raises(SimulationError, match="bob runs; crash it or stop it first"):
            await world.restart("bob")
        with pytest.raises(SimulationError, match="this bob@simulation does not run any more"):
            world.run(bob, asyncio.sleep(1))
        await world.crash("bob")
        with pytest.raises(SimulationError, match="bob does not run; restart it first"):
            world.run("bob", asyncio.sleep(1))
        world.cut("bob", LONG)
        with pytest.raises(ConnectionFailed, match="bob@simulation: no session within 20 s"):
            await world.restart("bob")
        await asyncio.sleep(LONG)
        await world.restart("bob")

    result_of(scenario)


def test_replicas_have_one_address_and_a_process_each():
    async def scenario(world: Simulation) -> Any:
        journal = MemoryJournal(clock=lambda: world.clock().timestamp())
        replicas = [
            await world.start(Adder, f"adder/{name}", journal=journal, replica=name) for name in ("a", "b")
        ]
        asker = await world.start(Asker, "asker")
        found = [await asker.request("adder@simulation", Add(a=turn)) for turn in range(5)]
        assert [await world.run(each, asyncio.sleep(1, "slept")) for each in replicas] == ["slept"] * 2
        await world.crash("adder/a")
        found += [await asker.request("adder@simulation", Add(a=turn)) for turn in range(5)]
        await world.restart("adder/a")
        await world.crash("adder/b")
        found += [await asker.request("adder@simulation", Add(a=turn)) for turn in range(5)]
        return [each.connection.full_jid for each in replicas], found

    jids, outcomes = result_of(scenario)
    assert jids == ["adder@simulation/a", "adder@simulation/b"]
    assert [outcome.result.value for outcome in outcomes] == [2.0, 3.0, 4.0, 5.0, 6.0] * 3


def test_a_broken_connection_comes_back_and_what_was_in_doubt_is_sent_again():
    async def scenario(world: Simulation) -> Any:
        await world.start(Adder, "adder")
        asker = await world.start(Asker, "asker")
        asking = world.run(asker, asker.request("adder@simulation", Add()))
        await asyncio.sleep(0)
        world.cut("asker", 2)
        return await asking

    for seed in range(10):
        assert isinstance(result_of(scenario, seed), Succeeded), seed


def test_an_inform_waits_for_one_that_is_away():
    async def scenario(world: Simulation) -> Any:
        await world.start(Adder, "adder")
        asker = await world.start(Asker, "asker")
        await world.crash("adder")
        await asyncio.sleep(5)  # the server has noticed
        assert await asker.inform("adder@simulation", Half(done=0.5)) == Delivered()
        adder: Any = await world.restart("adder")
        await asyncio.sleep(1)
        return adder.heard

    assert result_of(scenario) == [(Half(done=0.5), "asker@simulation")]


def test_topics_have_readers():
    async def scenario(world: Simulation) -> Any:
        publisher, reader = await world.start(Asker, "publisher"), await world.start(Asker, "reader")
        assert await publisher.publish("progress", Half(done=0.5)) == Delivered()
        reading = reader.read("progress")
        await reading.begun()
        await publisher.publish("progress", Half(done=1.0))
        return await reading.receive()

    update = result_of(scenario)
    assert isinstance(update, Update)
    assert update.term == Half(done=1.0)


def test_a_directory_forgets_the_dead_and_learns_of_the_restarted():
    class Shop(RegisteredAgent):
        ontologies: ClassVar[tuple[Ontology, ...]] = (SUMS,)

        def services(self) -> tuple[ServiceDescription, ...]:
            return (ServiceDescription(name="sums", type="sums"),)

    async def scenario(world: Simulation) -> list[int]:
        await world.start(DirectoryFacilitator, "df")
        kind = partial(Shop, directory="df@simulation", lease=60.0)
        await world.start(kind, "shop")
        asker = await world.start(kind, "other")
        found = []

        async def look() -> None:
            entries = await world.run(asker, asker.find(ServiceDescription(type="sums")))
            assert isinstance(entries, tuple)
            found.append(len(entries))

        await asyncio.sleep(LONG)
        await look()
        await world.crash("shop")
        await look()
        await asyncio.sleep(61)
        await look()
        await world.crash("df")
        await world.restart("df")
        await world.restart("shop")
        await asyncio.sleep(60)
        await look()
        return found

    assert result_of(scenario) == [2, 2, 1, 2]


# -- plain SPADE -----------------------------------------------------------------------------


def test_periodic_behaviours_have_the_machines_clock_back_afterwards():
    before = spade.behaviour.now
    result_of(lambda _world: asyncio.sleep(1))
    assert spade.behaviour.now is before


def test_periodic_behaviours_go_by_the_virtual_clock():
    async def scenario(world: Simulation) -> Any:
        class Heartbeat(PeriodicBehaviour):
            async def run(self) -> None:
                world.note(self.agent, f"beat {world.time:.3f}")

        class Alarm(TimeoutBehaviour):
            async def run(self) -> None:
                world.note(self.agent, f"alarm {world.time:.3f}")

        class Alive(LocutionAgent):
            async def setup(self) -> None:
                self.add_behaviour(Heartbeat(period=10))
                self.add_behaviour(Alarm(start_at=world.clock().replace(tzinfo=None, second=35)))

        await world.start(Alive, "alive")
        await asyncio.sleep(45)
        return [each.fact.text for each in world.history if "Noted" in str(each)]

    assert [each.partition(".")[0] for each in result_of(scenario)] == [
        "beat 0",
        "beat 10",
        "beat 20",
        "beat 30",
        "alarm 35",
        "beat 40",
    ]


def test_plain_behaviours_send_and_receive():
    async def scenario(world: Simulation) -> Any:
        class Echo(CyclicBehaviour):
            async def run(self) -> None:
                message = await self.receive(timeout=60)
                if message is not None:
                    await self.send(message.make_reply())

        class Caller(CyclicBehaviour):
            async def on_start(self) -> None:
                message = Message(to="echo@simulation", body="hallo", metadata={"x": "y"})
                await self.send(message)

            async def run(self) -> None:
                message = await self.receive(timeout=60)
                if message is not None:
                    world.note(
                        self.agent, f"{message.sender.bare}: {message.body} {message.get_metadata('x')}"
                    )
                    self.kill()

        echo, caller = await world.start(LocutionAgent, "echo"), await world.start(LocutionAgent, "caller")
        echo.add_behaviour(Echo())
        caller.add_behaviour(Caller())
        await asyncio.sleep(5)
        return [each.fact.text for each in world.history if "Noted" in str(each)]

    assert result_of(scenario) == ["echo@simulation: hallo y"]


def test_a_listener_hears_once_what_the_network_doubles():
    async def scenario(world: Simulation) -> Any:
        class Listener(Asker):
            @hears(Half)
            def hear(self, notice: Half, _sender: object) -> None:
                world.note(self, f"{notice.done}")

        listener, teller = await world.start(Listener, "listener"), await world.start(Asker, "teller")
        await teller.inform(listener.me, Half(done=0.5))
        await asyncio.sleep(LONG)
        return [each.fact.text for each in world.history if "Noted" in str(each)]

    assert simulate(scenario, 0, faults=Faults(duplicate=1.0)).result == ["0.5"]
