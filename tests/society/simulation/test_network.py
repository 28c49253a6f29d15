"""The simulated network: XMPP's rules, and each fault by itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents.base import Connection
from behaviours.connection import XmppConnection
from behaviours.pubsub import Line
from behaviours.transport import ConnectionFailed, Life, RequestRefused, Transport
from behaviours.wire import Element
from society.simulation import Faults, Simulation, simulate
from society.simulation.connection import SimulatedConnection
from society.simulation.happenings import Arrived, Dropped, Written
from society.simulation.virtual_time import Process

LONG = 30.0


class End:
    """One account's client, and what it heard."""

    def __init__(self, world: Simulation, name: str, resource: str = "here") -> None:
        self.heard: list[Element] = []
        self.told: list[str] = []
        self.process = Process(name)
        world.network.add_account(name)
        self.connection = SimulatedConnection(
            world.network,
            self.process,
            f"{name}@simulation/{resource}",
            "secret",
            on_message=self.heard.append,
            on_online=lambda jid: self.told.append(f"online {jid}"),
            on_offline=lambda reason: self.told.append(f"offline: {reason}"),
            on_fatal=lambda reason: self.told.append(f"fatal: {reason}"),
            rng=lambda: 0.0,
        )

    def say(self, text: str, to: str, inner: str = "", kind: str = "chat") -> None:
        body = f"<body>{text}</body>{inner}"
        self.connection.hand_over(f'<message type="{kind}" to="{to}" id="i{text}">{body}</message>')

    @property
    def texts(self) -> list[str]:
        return [each.find("{jabber:client}body").text for each in self.heard if each.get("type") != "error"]

    @property
    def errors(self) -> list[str]:
        found = (each.find("{jabber:client}error") for each in self.heard if each.get("type") == "error")
        return [each[0].tag.rpartition("}")[2] for each in found]


async def ends(world: Simulation, *names: str) -> list[End]:
    made = [End(world, name) for name in names]
    for each in made:
        await each.connection.open()
    return made


def run(scenario: Callable[[Simulation], Awaitable[Any]], seed: int = 0, **faults: Any) -> Any:
    return simulate(scenario, seed, faults=Faults(**faults)).result


def test_it_offers_what_agents_need_and_as_the_real_one_does():
    wanted = {name for kind in (Connection, Transport, Line) for name in vars(kind)}
    for name in sorted(each for each in wanted if not each.startswith("_")):
        real, ours = (inspect.getattr_static(kind, name) for kind in (XmppConnection, SimulatedConnection))
        assert type(real) is type(ours), name
        if not isinstance(real, property):
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(real).parameters), name


def test_messages_are_text_that_bears_the_servers_from():
    async def scenario(world: Simulation) -> Any:
        alice, bob = await ends(world, "alice", "bob")
        alice.say("a &lt; b", "bob@simulation")
        await asyncio.sleep(1)
        return alice.told, bob.heard[0].get("from"), bob.texts

    assert run(scenario) == (["online alice@simulation/here"], "alice@simulation/here", ["a < b"])


def test_between_two_agents_order_is_kept_unless_it_is_not_to_be():
    async def scenario(world: Simulation) -> list[str]:
        alice, bob = await ends(world, "alice", "bob")
        for number in range(100):
            alice.say(str(number), "bob@simulation/here")
        await asyncio.sleep(LONG)
        return bob.texts

    assert run(scenario) == [str(number) for number in range(100)]
    mixed = run(scenario, reorder=0.3)
    assert mixed != sorted(mixed, key=int)
    assert sorted(mixed, key=int) == [str(number) for number in range(100)]


def test_faults_come_as_often_as_is_asked():
    async def scenario(world: Simulation) -> int:
        alice, bob = await ends(world, "alice", "bob")
        for number in range(1000):
            alice.say(str(number), "bob@simulation/here")
        await asyncio.sleep(LONG)
        return len(bob.texts)

    assert run(scenario) == 1000
    assert run(scenario, drop=1.0) == 0
    assert run(scenario, duplicate=1.0) == 2000
    assert 650 < run(scenario, drop=0.3) < 750
    assert 1250 < run(scenario, duplicate=0.3) < 1350


def test_delays_are_within_their_span():
    async def scenario(world: Simulation) -> float:
        alice, _bob = await ends(world, "alice", "bob")
        alice.say("now", "bob@simulation")
        await asyncio.sleep(LONG)
        began, ended = (
            next(each.at for each in world.history if isinstance(each.fact, kind) and "now" in str(each))
            for kind in (Written, Arrived)
        )
        return ended - began

    for seed in range(20):
        assert 5 < run(scenario, seed, delay=(5.0, 9.0)) < 9.02


def test_a_single_link_may_have_faults_of_its_own_in_one_direction():
    async def scenario(world: Simulation) -> Any:
        alice, bob = await ends(world, "alice", "bob")
        world.network.faults_between["alice", "bob"] = Faults(drop=1.0)
        alice.say("to bob", "bob@simulation")
        bob.say("to alice", "alice@simulation")
        await asyncio.sleep(1)
        return alice.texts, bob.texts

    assert run(scenario) == (["to alice"], [])


def test_across_a_partition_everything_is_lost_until_it_is_healed():
    async def scenario(world: Simulation) -> Any:
        alice, bob, carol = await ends(world, "alice", "bob", "carol")
        assert await alice.connection.probe("bob@simulation/here", 1) is Life.ALIVE
        world.network.partition(["alice"], ["bob"])
        alice.say("1", "bob@simulation")
        bob.say("2", "alice@simulation")
        alice.say("3", "carol@simulation")
        assert await alice.connection.probe("bob@simulation/here", 1) is Life.SILENT
        world.network.heal()
        alice.say("4", "bob@simulation")
        await asyncio.sleep(1)
        return alice.texts, bob.texts, carol.texts

    assert run(scenario) == ([], ["4"], ["3"])


def test_what_is_for_nobody_comes_back():
    async def scenario(world: Simulation) -> Any:
        (alice,) = await ends(world, "alice")
        alice.say("1", "nobody@simulation")
        alice.say("2", "bob@elsewhere.example")
        await asyncio.sleep(1)
        return alice.errors

    assert run(scenario) == ["service-unavailable", "remote-server-not-found"]


def test_what_is_for_somebody_who_is_away_is_kept_unless_it_says_otherwise():
    async def scenario(world: Simulation) -> Any:
        (alice,) = await ends(world, "alice")
        bob = End(world, "bob")
        alice.say("1", "bob@simulation")
        alice.say("2", "bob@simulation/here")
        alice.say("3", "bob@simulation", '<no-store xmlns="urn:xmpp:hints"/>')
        await asyncio.sleep(1)
        await bob.connection.open()
        await asyncio.sleep(1)
        assert all(each.find("{urn:xmpp:delay}delay") is not None for each in bob.heard)
        return alice.errors, bob.texts

    assert run(scenario) == (["service-unavailable"], ["1", "2"])


def test_probes_tell_who_is_there():
    async def scenario(world: Simulation) -> list[Life]:
        alice, bob = await ends(world, "alice", "bob")
        jid, probe = "bob@simulation/here", alice.connection.probe
        found = [await probe(jid, 1), await probe("bob@simulation/elsewhere", 1)]
        await bob.connection.close()
        found.append(await probe(jid, 1))
        return found

    # One that has never answered may be a client that knows no pings.
    assert run(scenario) == [Life.ALIVE, Life.ALIVE, Life.GONE]


def test_a_confirmation_says_that_the_server_has_handled_all():
    async def scenario(world: Simulation) -> list[bool]:
        (alice,) = await ends(world, "alice")
        found = [await alice.connection.confirm(1)]
        world.cut("alice", LONG)
        found.append(await alice.connection.confirm(1))
        return found

    assert run(scenario, drop=1.0) == [True, False]


def test_requests_are_answered_refused_or_lost():
    async def scenario(world: Simulation) -> list[str]:
        alice, bob = await ends(world, "alice", "bob")
        ask, disco = alice.connection.ask, '<query xmlns="http://jabber.org/protocol/disco#items"/>'
        answer = await ask("get", "simulation", disco, 1)
        told = [answer[0][0].get("jid")]
        with pytest.raises(RequestRefused) as refused:
            await ask("get", "bob@simulation/here", disco, 1)
        told.append(refused.value.condition)
        world.network.partition(["alice"], ["bob"])
        with pytest.raises(ConnectionFailed, match="has not answered within 1 s"):
            await ask("get", "bob@simulation/here", disco, 1)
        asking = asyncio.ensure_future(ask("get", "bob@simulation/here", disco, LONG))
        await asyncio.sleep(1)
        world.cut("alice")
        with pytest.raises(ConnectionFailed, match="the connection to the server is lost"):
            await asking
        await alice.connection.close()
        with pytest.raises(ConnectionFailed, match="there is no session"):
            await ask("get", "simulation", disco, 1)
        assert bob.heard == []
        return told

    assert run(scenario) == ["pubsub.simulation", "service-unavailable"]


def test_a_cut_loses_what_is_under_way_and_is_noticed_by_and_by():
    async def scenario(world: Simulation) -> Any:
        alice, bob = await ends(world, "alice", "bob")
        for number in range(10):
            alice.say(str(number), "bob@simulation")
        world.cut("alice", 5)
        alice.say("into the void", "bob@simulation")
        assert alice.connection.is_online, "nobody has noticed yet"
        await asyncio.sleep(4)
        assert not alice.connection.is_online
        with pytest.raises(ConnectionFailed):
            alice.say("never", "bob@simulation")
        await alice.connection.wait_online()
        assert world.time > 5
        alice.say("again", "bob@simulation")
        await asyncio.sleep(1)
        dropped = (each.fact.stanza for each in world.history if isinstance(each.fact, Dropped))
        return bob.texts, sum("<message" in each for each in dropped), alice.told

    online = "online alice@simulation/here"
    assert run(scenario) == (["again"], 11, [online, "offline: the connection was lost", online])


def test_connections_are_cut_as_often_as_is_asked():
    async def scenario(world: Simulation) -> int:
        alice, _bob = await ends(world, "alice", "bob")
        for number in range(300):
            await alice.connection.wait_online()
            alice.say(str(number), "bob@simulation")
            await asyncio.sleep(1)
        return sum("offline" in each for each in alice.told)

    assert run(scenario) == 0
    assert 10 < run(scenario, cut=0.1) < 50


def test_who_logs_in_with_the_same_full_jid_sends_the_former_away():
    async def scenario(world: Simulation) -> list[str]:
        first, _second = await ends(world, "alice", "alice")
        await asyncio.sleep(1)
        return first.told

    told = run(scenario)
    assert told[-1].startswith("fatal: alice@simulation/here: conflict")


def test_a_login_fails_in_a_sentence():
    async def scenario(world: Simulation) -> None:
        bob = End(world, "bob")
        world.cut("bob", LONG)
        with pytest.raises(ConnectionFailed, match="bob@simulation: no session within 20 s"):
            await bob.connection.open()
        stranger = End(world, "carol")
        stranger.connection._jid = "stranger@simulation/here"
        with pytest.raises(ConnectionFailed, match="there is no account stranger@simulation"):
            await stranger.connection.open()

    run(scenario)


def test_who_leaves_gets_no_more_and_what_comes_waits():
    async def scenario(world: Simulation) -> Any:
        alice, bob = await ends(world, "alice", "bob")
        await bob.connection.close()
        await bob.connection.close()
        alice.say("1", "bob@simulation/here")
        await asyncio.sleep(1)
        assert bob.texts == []
        again = End(world, "bob", "again")
        await again.connection.open()
        await asyncio.sleep(1)
        return bob.told, again.texts

    assert run(scenario) == (["online bob@simulation/here"], ["1"])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"drop": 1.5}, "Faults.drop is a probability between 0 and 1, not 1.5"),
        ({"duplicate": -0.1}, "Faults.duplicate is a probability between 0 and 1, not -0.1"),
        ({"delay": (2.0, 1.0)}, r"Faults.delay is \(least, most\)"),
        ({"late": -1.0}, "seconds that are not negative"),
    ],
)
def test_faults_that_cannot_be_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Faults(**wrong)
