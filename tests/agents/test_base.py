"""`agents.base`: what every agent of ours is, and what of SPADE it does otherwise."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import spade.agent
from spade.agent import Agent, DisconnectedException
from spade.behaviour import CyclicBehaviour, FSMBehaviour, OneShotBehaviour, PeriodicBehaviour, State
from spade.container import Container
from spade.message import Message
from spade.template import Template
from spade.xmpp_client import XMPPClient

from agents.base import LocutionAgent, Ports, Server
from behaviours.authority import Saying
from behaviours.connection import ConnectionFailed
from behaviours.delivery import Delivered, Undelivered
from behaviours.events import Connected, Disconnected, MessageNotUnderstood, MessageReceived
from behaviours.handlers import Handlers, hears, on
from behaviours.outcomes import Answer, Failed, Outcome, Succeeded
from behaviours.participating import Participation
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Done
from ontology.tasks import Progress
from resilience.sqlite_journal import SqliteJournal
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import Add, Adder, Asker, Half, Sum
from tests.conftest import PATIENCE, World, becomes, left_behind


class Diary(Adder):
    """Notes what is done with it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.notes: list[str] = []

    async def setup(self) -> None:
        self.notes.append(f"setup, connected {self.is_connected}, alive {self.is_alive()}")

    async def on_ready(self) -> None:
        self.notes.append(f"ready, connected {self.is_connected}, alive {self.is_alive()}")

    async def on_stop(self) -> None:
        self.notes.append(f"stop, connected {self.is_connected}, alive {self.is_alive()}")


async def test_the_life_of_an_agent(world: World) -> None:
    before = asyncio.all_tasks()
    agent = world.make(Diary, "diary")
    assert not agent.is_connected
    await agent.start()
    assert agent.is_connected
    await agent.stop()
    assert agent.notes == [
        "setup, connected True, alive False",
        "ready, connected True, alive True",
        "stop, connected True, alive True",
    ]
    assert not agent.is_connected
    assert not agent.is_alive()
    assert agent.stopped_because is None
    assert not await left_behind(before)
    assert [type(fact) for fact in world.facts] == [Connected]


async def test_an_agent_may_be_started_again(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    for _life in range(2):
        assert isinstance(await asker.request(adder.me, Add()), Succeeded)
        await adder.stop()
        await adder.start()


async def test_stopping_is_safe_before_the_start_twice_and_at_once(world: World) -> None:
    agent = world.make(Diary, "diary")
    await agent.stop()
    await agent.start()
    await asyncio.gather(agent.stop(), agent.stop(), agent.stop())
    await agent.stop()
    assert len(agent.notes) == 3


async def test_an_agent_may_stop_itself_in_a_handler_and_in_a_behaviour(world: World) -> None:
    class Tired(Asker):
        @on(Add)
        async def add(self, action: Add, task: Participation) -> Answer:
            await self.stop()
            return Done()

    class Stopping(OneShotBehaviour):
        async def run(self) -> None:
            await self.agent.stop()

    tired, asker = await world.start(Tired, "tired"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(tired.me, Add(), reply_within=0.5))
    await becomes(lambda: not tired.is_alive())
    asker.add_behaviour(Stopping())
    await becomes(lambda: not asker.is_alive())
    assert isinstance(await asking, Failed)  # it was stopped as well
    assert not tired.is_connected
    await becomes(lambda: not asker.is_connected)


async def test_an_agent_that_cannot_log_in_says_why_and_leaves_nothing_behind(world: World) -> None:
    before = asyncio.all_tasks()
    world.account("agent")
    agent = Adder("agent@localhost", "wrong", world.server, Ports(hook=world.record))
    with pytest.raises(ConnectionFailed, match="refused the password"):
        await agent.start()
    assert not agent.is_alive()
    await agent.stop()
    assert not await left_behind(before)
    assert world.facts == []
    world.excuse("No appropriate login method")


async def test_a_resource_that_was_asked_for_is_the_agents(world: World) -> None:
    agent = await world.start(Adder, "adder/here")
    assert str(agent.client.boundjid) == "adder@localhost/here"
    assert agent.me == AgentIdentifier(name="adder@localhost")


async def test_whose_journal_survives_has_the_same_address_each_time(world: World, tmp_path: Path) -> None:
    """The others have not: what they knew is gone, and nobody is to take them for one that still knows."""
    for name, resource in (("", "main"), ("b.2", "b.2")):
        journal = SqliteJournal(tmp_path / f"{resource}.sqlite")
        replica = {"replica": name} if name else {}
        agent = await world.start(Adder, "adder", journal=journal, **replica)
        assert str(agent.client.boundjid) == f"adder@localhost/{resource}"
        await agent.stop()
        await journal.close()
    named = await world.start(Adder, "adder/here", journal=SqliteJournal(tmp_path / "named.sqlite"))
    assert str(named.client.boundjid) == "adder@localhost/here"
    await named.stop()
    await named.ports.journal.close()
    first, second = await world.start(Adder, "other"), await world.start(Adder, "other")
    assert len({str(each.client.boundjid) for each in (first, second)}) == 2
    assert all(len(each.client.boundjid.resource) == 8 for each in (first, second))


@pytest.mark.parametrize("replica", ["", "a b", "a/b", "ä", "a\n", "x" * 65])
def test_a_replica_has_a_name_that_an_address_can_hold(replica: str) -> None:
    with pytest.raises(ValueError, match="is no name for a replica, which is part of its address"):
        Ports(replica=replica)


async def test_the_same_full_jid_elsewhere_stops_the_agent_for_good(world: World) -> None:
    first = await world.start(Diary, "adder/here")
    await world.start(Adder, "adder/here")
    await becomes(lambda: not first.is_alive())
    assert first.stopped_because is not None
    assert "conflict" in first.stopped_because
    assert world.of(Disconnected, agent="adder@localhost")
    await first.stop()
    assert first.notes[-1] == "stop, connected False, alive True"


async def test_an_agent_comes_back_with_its_server(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    port = world.xmpp.port
    await world.xmpp.stop()
    await world.fact(Disconnected, count=2)
    assert adder.is_alive()
    assert not adder.is_connected
    await world.serve(port=port)
    await world.fact(Connected, count=4)
    assert isinstance(await asker.request(adder.me, Add()), Succeeded)


async def test_an_agent_may_be_stopped_while_its_server_is_away(world: World) -> None:
    before = asyncio.all_tasks()
    asker = await world.start(Asker, "asker")
    await world.xmpp.stop()
    await world.fact(Disconnected)
    asking = asyncio.ensure_future(asker.request("adder@localhost", Add()))
    await asyncio.sleep(0)
    await asker.stop()
    assert isinstance(await asking, Failed)
    assert not await left_behind(before)


async def test_saying_good_bye_without_a_connection_fails_at_once_and_stops_nothing(world: World) -> None:
    class Polite(Asker):
        async def on_stop(self) -> None:
            outcomes.append(await self.request("adder@localhost", Add()))
            raise LookupError("forgot something")

    outcomes: list[Outcome] = []
    polite = await world.start(Polite, "polite")
    await world.xmpp.stop()
    await world.fact(Disconnected)
    async with asyncio.timeout(5):
        with pytest.raises(LookupError):
            await polite.stop()
    assert isinstance(outcomes[0], Failed)
    assert not polite.is_alive()
    with pytest.raises(LookupError):
        await polite.stop()
    polite._stopping = None


async def test_strangers_may_not_ask_unless_the_agent_says_so(world: World) -> None:
    agent = world.make(Adder, "adder")
    asked = Saying(
        peer=AgentIdentifier.of("friend@localhost/1"), receiver=agent.me, act=None, protocol="fipa-request"
    )
    policy = agent.authority.policy
    assert policy.judge(asked).why_not is None
    for stranger in ("friend@elsewhere", "elsewhere"):
        assert policy.judge(replace(asked, peer=AgentIdentifier.of(stranger))).why_not is not None


async def test_a_term_that_the_agent_does_not_speak_is_a_mistake_of_the_caller(world: World) -> None:
    asker = await world.start(Asker, "asker")
    with pytest.raises(ValueError, match="Progress is a term of none of this agent's ontologies"):
        await asker.inform("adder@localhost", Progress(task="t", epoch=1, epochs=2, loss=0, score=0))


async def test_what_is_informed_is_known_to_have_arrived_or_not(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    assert await asker.inform(adder.me, Half(done=1)) == Delivered(is_acknowledged=True)
    assert isinstance(await asker.inform("nobody@localhost", Half(done=1)), Undelivered)


# -- handlers ------------------------------------------------------------------------------------


def test_marked_methods_are_found_in_base_classes_too() -> None:
    class Base:
        @on(Add)
        async def add(self, action: Add, task: Participation) -> Answer:
            return Sum(value=0)

    class Derived(Base):
        @hears(Half)
        @hears(Sum)
        def hear(self, notice: object, sender: AgentIdentifier) -> None: ...

    derived = Derived()
    handlers = Handlers.of(derived)
    assert handlers.on == {Add: derived.add}
    assert dict(handlers.hears) == {Half: derived.hear, Sum: derived.hear}
    assert handlers.bids == {}


def test_two_methods_for_one_action_are_a_mistake() -> None:
    class Torn:
        @on(Add)
        async def one(self, action: Add, task: Participation) -> Answer:
            return Done()

        @on(Add)
        async def two(self, action: Add, task: Participation) -> Answer:
            return Done()

    with pytest.raises(TypeError, match=r"Torn: two methods are marked @on\(Add\)"):
        Handlers.of(Torn())


def test_a_listener_that_nobody_would_wait_for_is_a_mistake() -> None:
    async def coroutine(self: object, notice: Half, sender: AgentIdentifier) -> None: ...

    async def generator(self: object, notice: Half, sender: AgentIdentifier) -> AsyncIterator[None]:
        yield

    for method in (coroutine, generator):
        told = f"{method.__qualname__} is marked @hears and must not be async: it takes note and returns; "
        with pytest.raises(TypeError, match=re.escape(told + "start longer work with self.submit(...)")):
            hears(Half)(method)


# -- plain behaviours of SPADE on an agent of ours ------------------------------------------------


class Collector(CyclicBehaviour):
    """Keeps what it receives."""

    def __init__(self, arrived: Callable[[Message], None]) -> None:
        super().__init__()
        self.arrived = arrived

    async def run(self) -> None:
        message = await self.receive(timeout=10)
        if message is not None:
            self.arrived(message)


async def test_plain_behaviours_get_what_no_handler_wants(world: World) -> None:
    arrived: asyncio.Queue[Message] = asyncio.Queue()
    agent, puppet = world.make(Adder, "adder"), await Puppet.start(world, "puppet")
    template = Template()
    template.set_metadata("mood", "good")
    early = Collector(arrived.put_nowait)
    agent.add_behaviour(early, template)
    await agent.start()
    assert early.presence is agent.presence  # though there was none when it was added
    wanted = AclMessage(
        performative=Performative.INFORM,
        content="hello",
        conversation_id="t1",
        user_parameters={"X-mood": "x"},
    )
    stanza = render(wanted, "adder@localhost", "s1").replace('"X-mood"', '"mood"').replace(">x<", ">good<")
    puppet.write(stanza)
    message = await asyncio.wait_for(arrived.get(), 5)
    assert (message.body, message.thread) == ("hello", "t1")
    assert message.get_metadata("performative") == "inform"
    # What the template does not want is told so, and what a handler wants never gets there.
    puppet.say(AclMessage(performative=Performative.INFORM, content="hello"), agent.me)
    await puppet.hear(Performative.NOT_UNDERSTOOD)
    puppet.say(AclMessage(performative=Performative.REQUEST, content='{"add": {}}'), agent.me)
    await puppet.hear(Performative.INFORM)
    assert arrived.empty()
    assert len(world.of(MessageNotUnderstood, agent="adder@localhost")) == 1


async def test_a_heartbeat_swallows_nothing(world: World) -> None:
    beats = asyncio.Event()

    class Heart(PeriodicBehaviour):
        async def run(self) -> None:
            beats.set()

    agent, puppet = await world.start(Adder, "adder"), await Puppet.start(world, "puppet")
    heart, wanting = Heart(period=60), Heart(period=60)
    agent.add_behaviour(heart)
    await asyncio.wait_for(beats.wait(), 5)
    puppet.say(AclMessage(performative=Performative.INFORM, content="hello"), agent.me)
    await puppet.hear(Performative.NOT_UNDERSTOOD)
    # SPADE 4.1.4: as it is, everything matches where there is no template.
    assert heart.match(Message())
    assert heart.mailbox_size() == 0
    agent.add_behaviour(wanting, Template())
    puppet.say(AclMessage(performative=Performative.INFORM, content="hello"), agent.me)
    await becomes(lambda: wanting.mailbox_size() == 1)
    assert heart.mailbox_size() == 0


async def test_a_state_machine_of_spade_runs_beside_the_conversations(world: World) -> None:
    entered = asyncio.Event()

    class Only(State):  # type: ignore[misc]
        async def run(self) -> None:
            assert self.presence is self.agent.presence
            entered.set()

    agent = world.make(Adder, "adder")
    machine = FSMBehaviour()
    machine.add_state(name="only", state=Only(), initial=True)
    agent.add_behaviour(machine)
    await agent.start()
    await asyncio.wait_for(entered.wait(), 5)


# -- SPADE 4.1.4, as it is without us --------------------------------------------------------------


async def test_spade_4_1_4_hands_the_very_same_object_to_agents_of_one_process(fresh_container: None) -> None:
    sender, receiver = Agent("sender@here", "x"), Agent("receiver@here", "x")
    behaviour, other = Collector(print), Collector(print)
    for agent, each in ((sender, other), (receiver, behaviour)):
        agent.add_behaviour(each)
    message = Message(to="receiver@here", body="mine")
    message.set_metadata("performative", "no such act")
    await other.send(message)
    await becomes(lambda: behaviour.mailbox_size() > 0)
    received = await behaviour.receive()
    assert received is message


async def test_spade_4_1_4_changes_the_event_loop_policy_of_the_whole_process(fresh_container: None) -> None:
    policy = asyncio.get_event_loop_policy()
    Container().reset()
    assert asyncio.get_event_loop_policy() is not policy
    asyncio.set_event_loop_policy(policy)
    LocutionAgent("me@here", "x", Server(host="localhost"))
    assert asyncio.get_event_loop_policy() is policy


def test_spade_4_1_4_keeps_the_loop_of_the_first_container() -> None:
    policy = asyncio.get_event_loop_policy()

    async def loops() -> tuple[object, object]:
        return asyncio.get_running_loop(), Container().loop

    async def reset() -> object:
        Container().reset()
        return asyncio.get_running_loop()

    first = asyncio.run(reset())
    assert asyncio.run(loops())[1] is first
    asyncio.set_event_loop_policy(policy)


async def test_agents_of_ours_are_not_reached_past_the_socket(world: World) -> None:
    plain = Agent("plain@localhost", "secret")
    adder = await world.start(Adder, "adder")
    assert plain.container.has_agent("plain@localhost")
    assert not plain.container.has_agent(str(adder.jid))
    assert not plain.container.has_agent(adder.me.name)


async def test_spade_4_1_4_does_not_verify_and_connects_to_the_domain(
    fresh_container: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inspect.signature(Agent.__init__).parameters["verify_security"].default is False
    assert inspect.signature(Agent.start).parameters["auto_register"].default is True
    assert "host" not in inspect.signature(Agent.__init__).parameters
    addresses: list[tuple[str, int]] = []
    clients: list[XMPPClient] = []

    class Client(XMPPClient):  # type: ignore[misc]
        def connect(self, host: str, port: int) -> None:
            addresses.append((host, port))
            clients.append(self)
            self.event("disconnected")

    monkeypatch.setattr(spade.agent, "XMPPClient", Client)
    agent = Agent("me@domain.example", "x", port=5555)
    with pytest.raises(DisconnectedException):
        await agent.start()
    assert addresses == [("domain.example", 5555)]
    clients[0]["xep_0199"].disable_keepalive()


async def test_spade_4_1_4_does_not_come_back_and_does_not_know_that_it_is_gone(world: World) -> None:
    agent = Agent(world.account("plain"), "secret", port=world.xmpp.port)
    await agent.start(auto_register=False)
    world.adopt(agent)
    before = asyncio.all_tasks()
    agent.client.abort()
    await asyncio.wait_for(agent.client.disconnected_event.wait(), PATIENCE)
    assert not await left_behind(before), "nobody is about to connect again"
    assert not agent.client.is_connecting()
    assert not agent.client.is_connected()
    assert agent.is_alive()
    filters = agent.client._run_out_filters
    await agent.stop()
    filters.cancel()


def test_a_server_is_verified_unless_told_otherwise() -> None:
    server = Server(host="localhost")
    assert server.verify
    assert not server.auto_register
    assert server.port == 5222
    assert LocutionAgent.ontologies[0].name == "locution-learning"
    assert MessageReceived.is_trouble is False
