from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from contextlib import closing
from typing import Any

import aiohttp
import pytest

from agents.base import LocutionAgent
from behaviours.outcomes import Failed
from resilience.memory import MemoryDeadLetters, MemoryJournal, MemoryLock
from society import arguments, client, commands, events, launcher, wiring
from society.client import operator, search
from society.config import SERVER, SocietyFile, load
from society.errors import NotRunningError, StartError, StateError
from society.keeping import Keeping, open_store
from society.launcher import RunningSociety, run
from society.state import StateFolder
from society.telemetry import Telemetry
from tests.behaviours.samples import Add
from tests.society.conftest import AGENTS, PATIENCE, Told, free_ports


async def names_in_directory(file: SocietyFile) -> list[str]:
    async with operator(file) as agent:
        found = await search(agent, file)
    assert isinstance(found, tuple)
    return [each.name.name for each in found if each.name is not None]


async def test_ready_means_that_agents_are_found_and_have_dashboards(file, start, told):
    await start(file)
    ready = await told.wait_for("ready")
    assert [agent["name"] for agent in ready["agents"]] == ["directory", "coordinator"]
    assert ready["agents"][1] == {
        "name": "coordinator",
        "jid": "coordinator@localhost",
        "kind": "coordinator",
        "dashboard": f"http://127.0.0.1:{file.dashboard_port('coordinator')}/spade",
    }
    assert (ready["society"], ready["serves"], ready["xmpp"]) == ("test", True, f"127.0.0.1:{file.xmpp.port}")
    assert await names_in_directory(file) == ["coordinator@localhost"]
    async with aiohttp.ClientSession() as session, session.get(ready["agents"][1]["dashboard"]) as page:
        text = await page.text()
    assert page.status == 200
    assert "coordinator@localhost" in text
    assert "leader elected" in text


async def test_without_dashboards_no_port_is_opened(write_file, start, told):
    file = load(write_file(dashboard="enabled = false"))
    await start(file)
    assert {agent["dashboard"] for agent in (await told.wait_for("ready"))["agents"]} == {None}
    with pytest.raises(OSError, match="Connect"):
        await asyncio.open_connection("127.0.0.1", file.dashboard_port("directory"))


async def test_parts_of_a_society_find_each_other(file, start, told, tmp_path):
    # In any order: what is started first waits for the server.
    waiting = asyncio.create_task(start(file, "coordinator"))
    await asyncio.sleep(0)
    await start(file, SERVER, "directory")
    await waiting
    assert await names_in_directory(file) == ["coordinator@localhost"]


async def test_an_agent_runs_once(file, start):
    await start(file, SERVER)
    with pytest.raises(StateError, match="xmpp-server runs already, in process"):
        RunningSociety(file, [SERVER], Told())


LEARNERS = (
    AGENTS
    + """
[[agent]]
name = "other-1"
kind = "broker"

[[agent]]
name = "other-2"
kind = "broker"
"""
)


async def test_any_agent_of_a_kind_is_the_first_that_runs_nowhere_yet(write_file, start, told):
    file = load(write_file(LEARNERS))
    await start(file, SERVER, "directory")
    first = await start(file, any_of="broker")
    second = await start(file, any_of="broker")
    with pytest.raises(StartError, match=r"society.toml: all 2 agents of kind 'broker' run already; add"):
        RunningSociety(file, (), Told(), any_of="broker")
    assert [list(each._agents) for each in (first, second)] == [["other-1"], ["other-2"]]
    await first.stop()
    third = await start(file, any_of="broker")
    assert list(third._agents) == ["other-1"]


def test_any_agent_of_a_kind_that_is_not_there(write_file):
    with pytest.raises(StartError, match=r"society.toml has no kind 'lerner'; it has coordinator, directory"):
        RunningSociety(load(write_file()), (), Told(), any_of="lerner")


async def test_replicas_of_an_agent_run_beside_each_other(file, start, monkeypatch):
    first = await start(file)
    monkeypatch.setenv("LOCUTION_DASHBOARD_PORT", str(free_ports(3)))
    second = await start(load(file.path), "coordinator", replica="b")
    agents = [each._agents["coordinator"] for each in (first, second)]
    assert [each.connection.full_jid for each in agents] == [
        "coordinator@localhost/main",
        "coordinator@localhost/b",
    ]
    with pytest.raises(StateError, match="coordinator@b runs already, in process"):
        RunningSociety(file, ["coordinator"], Told(), replica="b")


def test_replicas_share_what_they_write_down(write_file):
    path = write_file()
    path.write_text(path.read_text() + '\n[delivery]\nstore = "memory"\n')
    with pytest.raises(StartError, match=r'"memory", which no other process sees; write store = "sqlite"'):
        RunningSociety(load(path), ["coordinator"], Told(), replica="b")


async def test_a_server_that_does_not_appear_is_told(file, start, monkeypatch, told):
    monkeypatch.setattr(launcher, "APPEAR_WITHIN", 0.1)
    monkeypatch.setattr(events, "TELL_AFTER", 0.0)
    with pytest.raises(StartError, match=r"no XMPP server has appeared at .* locution up --only xmpp-server"):
        await start(file, "coordinator")
    assert told.events == [("waiting", {"xmpp": f"127.0.0.1:{file.xmpp.port}"})]


async def test_an_agent_that_was_stopped_may_run_again_elsewhere(file, start, told):
    society = await start(file)
    watching = asyncio.create_task(society.until_over())
    await society._agents["coordinator"].stop()
    await told.wait_for("agent-stopped")
    again = await start(file, "coordinator")
    assert await names_in_directory(file) == ["coordinator@localhost"]
    await again.stop()
    watching.cancel()


async def test_a_wrong_password_is_told(file, start, monkeypatch):
    await start(file, SERVER)
    monkeypatch.setenv("LOCUTION_PASSWORD_DIRECTORY", "wrong")
    with pytest.raises(
        StartError, match="agent 'directory' did not start: directory@localhost: the server ref"
    ):
        await start(file, "directory")


async def test_agents_of_ones_own_may_fail_to_start(write_file, fresh_container, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "failing_kinds.py").write_text(
        "from agents.base import LocutionAgent\n"
        "class Early(LocutionAgent):\n    def __init__(self, *who):\n        raise KeyError('x')\n"
        "class Late(LocutionAgent):\n    async def on_ready(self):\n        raise KeyError('x')\n"
    )
    for name, message in (
        ("Early", "could not be made: KeyError: 'x'"),
        ("Late", "did not start: KeyError: 'x'"),
    ):
        file = load(write_file(f'[[agent]]\nname = "a"\nkind = "failing_kinds:{name}"\n'))
        with pytest.raises(StartError, match=f"agent 'a' {message}"):
            await run(file, [], Told())


SUMS = """
[[agent]]
name = "asker"
kind = "tests.behaviours.samples:Asker"

[[agent]]
name = "adder"
kind = "tests.behaviours.samples:Adder"
options = { mood = "holding" }
"""


async def test_what_was_awarded_is_given_back_at_a_stop(write_file, start):
    file = load(write_file(SUMS))
    asker = (await start(file, SERVER, "asker"))._agents["asker"]
    other = await start(file, "adder")
    calling = asyncio.create_task(asker.call_for_proposals(["adder@localhost"], Add(a=1), list))
    await asyncio.wait_for(other._agents["adder"].started.wait(), PATIENCE)
    await other.stop()
    (award,) = (await asyncio.wait_for(calling, PATIENCE)).awards.values()
    assert isinstance(award, Failed)
    assert award.reason.text == "adder is being stopped, and gives back what it was awarded"


async def test_what_the_society_knows_survives_a_restart(write_file, start, told):
    file = load(write_file(xmpp="registration = true"))
    first = await start(file)
    passwords = (file.society.state / "passwords.json").read_text()
    await first.stop()
    await start(file)
    assert (file.society.state / "passwords.json").read_text() == passwords
    assert await names_in_directory(file) == ["coordinator@localhost"]


async def test_a_signal_stops_everything(file, fresh_container, told):
    running = asyncio.create_task(run(file, [], told))
    await told.wait_for("ready")
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        assert await running == 0
    assert told.names[-2:] == ["stopping", "stopped"]
    assert told.events[-2] == ("stopping", {"because": "SIGTERM"})
    for port in (file.xmpp.port, file.dashboard_port("directory")):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_signal_during_the_start_stops_it(file, fresh_container, told, monkeypatch):
    running = asyncio.create_task(run(file, ["coordinator"], told))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGINT)
    async with asyncio.timeout(PATIENCE):
        assert await running == 0
    assert told.names == ["stopping", "stopped"]


async def test_an_agent_that_falls_is_reported_and_the_exit_code_is_1(
    file, fresh_container, told, monkeypatch
):
    made: dict[str, LocutionAgent] = {}
    original = launcher.make_agents

    def remember(*arguments: Any) -> Any:
        made.update(original(*arguments))
        return made

    monkeypatch.setattr(launcher, "make_agents", remember)
    running = asyncio.create_task(run(file, [], told))
    await told.wait_for("ready")
    made["coordinator"]._give_up("it had enough")
    assert await told.wait_for("agent-stopped") == {"name": "coordinator", "because": "it had enough"}
    await made["directory"].stop()
    async with asyncio.timeout(PATIENCE):
        assert await running == 1
    assert told.names == ["ready", "agent-stopped", "agent-stopped", "stopped"]


async def test_what_stands_by_is_not_searched_for_garbage(file, fresh_container, told):
    gc.unfreeze()
    running = asyncio.create_task(run(file, [], told))
    try:
        await told.wait_for("ready")
        async with asyncio.timeout(PATIENCE):
            while not gc.get_freeze_count():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
    finally:
        gc.unfreeze()
        os.kill(os.getpid(), signal.SIGTERM)
        await running


async def test_a_client_gives_up_when_the_society_is_gone_for_good(file, start, monkeypatch):
    monkeypatch.setattr(client, "LOST_AFTER", 0.1)
    society = await start(file)
    async with operator(file) as agent:
        asking = asyncio.create_task(client.connected(agent, never()))
        await society.stop()
        with pytest.raises(NotRunningError, match="the connection to the society is lost"):
            await asking


async def never() -> Any:
    await asyncio.Event().wait()


async def test_clients_trust_only_the_societys_own_authority(file, start, authority):
    await start(file, SERVER)
    own = file.society.state / "certificates" / "ca.pem"
    own.write_bytes(authority.file.read_bytes())
    hint = "; probably the server of another society runs on that port: stop that one, or choose another"
    with pytest.raises(NotRunningError, match=f"the server's certificate is not trusted.*{hint}"):
        await names_in_directory(file)
    with pytest.raises(StartError, match=f"agent 'directory' did not start: .* is not trusted.*{hint}"):
        await start(file, "directory")
    own.write_bytes(b"")
    with pytest.raises(NotRunningError, match="cannot log in to 'test'"):
        await names_in_directory(file)
    own.unlink()
    message = arguments.message(file, ["directory"], "inform", "x", {})
    with pytest.raises(NotRunningError, match="cannot log in to 'test'"):
        await commands.send(file, message, 0, Told())


def test_an_echo_of_sigterm_does_not_end_the_graceful_stop(monkeypatch):
    ended: list[int] = []
    clock = [100.0]
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(launcher.time, "monotonic", lambda: clock[0])
    signals = launcher._Signals.__new__(launcher._Signals)
    signals.received, signals.came, signals._came_at = None, asyncio.Event(), 0.0
    signals._receive(signal.SIGTERM)
    clock[0] += 0.49
    signals._receive(signal.SIGTERM)
    assert (signals.received, ended) == ("SIGTERM", [])
    signals._receive(signal.SIGINT)
    assert ended == [128 + signal.SIGINT]
    clock[0] += 0.02
    signals._receive(signal.SIGTERM)
    assert ended[1:] == [128 + signal.SIGTERM]


def test_a_kind_that_calls_exit_is_one_sentence(write_file, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = write_file(agents='[[agent]]\nname = "a"\nkind = "leaving:Kind"\n')
    (path.parent / "leaving.py").write_text(
        "import sys\nfrom agents.base import LocutionAgent\n"
        "class Kind(LocutionAgent):\n    def __init__(self, *who): sys.exit('one\\ntwo')\n"
    )
    file = load(path)
    state = StateFolder(file.society.state)
    state.prepare()
    kinds = wiring.import_kinds(file, file.agents)
    store = open_store(state)
    keeping = Keeping(journal=MemoryJournal(), letters=MemoryDeadLetters(), lock=MemoryLock())
    with closing(store), pytest.raises(StartError, match=r"^agent 'a' could not be made: one two$"):
        wiring.make_agents(file, state, kinds, store, Telemetry(), keeping)
