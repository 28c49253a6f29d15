"""`society.reporting`: what a process tells of itself over HTTP is true, whatever is taken away from it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import torch
from redis import Redis

import behaviours.supervising
from behaviours.shells import Shell
from society import health
from society.client import operator
from society.config import SERVER, SocietyFile, load
from society.errors import StartError
from society.launcher import RunningSociety
from tests.conftest import becomes
from tests.requirements import require, require_hardware
from tests.resilience import consul_server, redis_server
from tests.resilience.consul_server import ConsulServer
from tests.resilience.redis_server import RedisServer
from tests.society.conftest import AGENTS, PATIENCE, free_ports

COORDINATORS = AGENTS + '[[agent]]\nname = "deputy"\nkind = "coordinator"\n'
LIVE, READY, METRICS = "/health/live", "/health/ready", "/metrics"


def with_table(path: Path, text: str) -> SocietyFile:
    """The society of a file, with another table."""
    path.write_text(f"{path.read_text()}\n{text}\n")
    return load(path)


async def get(society: RunningSociety, path: str) -> tuple[int, Any]:
    """The status, and what is told: parsed, if it is JSON."""
    base = urlsplit(society._reporting.url)
    async with aiohttp.ClientSession() as session, session.get(f"http://{base.netloc}{path}") as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else text


async def until(society: RunningSociety, path: str, status: int) -> list[str]:
    """Ask until it answers so; its faults."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await get(society, path)
            if answer[0] == status:
                faults: list[str] = answer[1]["faults"]
                return faults
            await asyncio.sleep(0.02)  # nobody tells what somebody would be told who asked


async def gauge(society: RunningSociety, name: str) -> float:
    _status, text = await get(society, METRICS)
    (value,) = (line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} "))
    return float(value)


# -- the endpoint ---------------------------------------------------------------------------------


async def test_a_society_that_runs_is_live_and_ready_and_has_metrics(file, start, told):
    society = await start(file)
    url = (await told.wait_for("ready"))["metrics"]
    assert url == society._reporting.url
    assert await get(society, LIVE) == (200, {"status": "live", "faults": []})
    assert await get(society, READY) == (200, {"status": "ready", "faults": []})
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
    for line in (
        "locution_ready 1.0",
        "locution_agents 2.0",
        "locution_agents_connected 2.0",
        'locution_is_leader{group="coordinators"} 1.0',
        'locution_term{group="coordinators"} 1.0',
        'locution_acts_total{direction="in",outcome="received",performative="request",protocol="fipa-',
        "process_resident_memory_bytes ",
    ):
        assert line in text
    assert "@" not in text  # no JID
    async with operator(file):
        pass
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        assert answer.status == 405


async def test_it_lives_and_is_not_ready_while_it_starts(write_file, told):
    port = free_ports(1)
    file = with_table(write_file(), f"[metrics]\nport = {port}")
    society = RunningSociety(file, ["coordinator"], told)
    starting = asyncio.create_task(society.start())  # there is no XMPP server
    try:
        await becomes(lambda: society._reporting._endpoint._runner is not None)
        assert (await get(society, LIVE))[0] == 200
        assert await get(society, READY) == (
            503, {"status": "not ready", "faults": ["the society is still starting"]}
        )  # fmt: skip
        assert society._reporting.url == f"http://127.0.0.1:{port}/metrics"
    finally:
        starting.cancel()
        await asyncio.wait({starting})
        await society.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await get(society, LIVE)


async def test_it_is_not_ready_any_more_as_it_stops(file, start):
    society, answers = await start(file), []

    async def on_stop() -> None:
        answers.extend([await get(society, READY), await get(society, LIVE)])

    society._agents["coordinator"].on_stop = on_stop
    await society.stop()
    assert answers == [
        (503, {"status": "not ready", "faults": ["the society is stopping"]}),
        (200, {"status": "live", "faults": []}),
    ]


async def test_a_port_that_is_taken_is_told(file, write_file, start):
    society = await start(file, SERVER)
    port = urlsplit(society._reporting.url).port
    other = with_table(write_file(), f"[metrics]\nport = {port}")
    with pytest.raises(
        StartError,
        match=rf"society.toml: the metrics cannot be served at 127\.0\.0\.1 port {port}, because another "
        r"program holds that port; correct \[metrics\], or LOCUTION_METRICS_HOST and LOCUTION_METRICS_PORT: ",
    ):
        await start(other, "directory")


async def test_without_metrics_nothing_listens(write_file, start, told):
    society = await start(with_table(write_file(), "[metrics]\nenabled = false"))
    assert (await told.wait_for("ready"))["metrics"] is None
    assert society._reporting._endpoint._runner is None
    hook: Any = object()
    assert society._reporting.hook(hook) is hook


# -- the XMPP server ------------------------------------------------------------------------------


async def test_without_its_xmpp_server_no_agent_is_ready(file, start, told):
    server = await start(file, SERVER)
    society = await start(file, "directory", "coordinator")
    assert (await get(society, READY))[0] == 200
    await server.stop()
    faults = await until(society, READY, 503)
    assert faults == [
        f"{name} has no session with the XMPP server at 127.0.0.1 port {file.xmpp.port}"
        for name in ("directory", "coordinator")
    ]
    assert await gauge(society, "locution_agents_connected") == 0
    assert await gauge(society, "locution_ready") == 0
    assert (await get(society, LIVE))[0] == 200  # it will mend by itself:
    await start(file, SERVER)
    assert await until(society, READY, 200) == []


async def test_an_agent_that_was_stopped_is_missing(file, start):
    society = await start(file)
    await society._agents["coordinator"].stop()
    assert await get(society, READY) == (
        503, {"status": "not ready", "faults": ["coordinator has been stopped"]}
    )  # fmt: skip
    assert (await get(society, LIVE))[0] == 200


# -- what does not mend by itself -------------------------------------------------------------------


async def test_an_agent_that_stopped_by_itself_does_not_live(file, start):
    society = await start(file)
    agent = society._agents["coordinator"]
    agent._give_up("another one has logged in as it")
    await agent.stop()
    fault = "coordinator has stopped: another one has logged in as it"
    assert await get(society, LIVE) == (503, {"status": "dead", "faults": [fault]})
    assert await get(society, READY) == (503, {"status": "not ready", "faults": [fault]})
    assert await gauge(society, "locution_live") == 0


class Broken(Shell):
    async def run(self) -> None:
        raise ValueError("no use")


async def test_a_behaviour_that_was_given_up_is_told(file, start, monkeypatch):
    monkeypatch.setattr(behaviours.supervising, "RESTARTS", 0)
    society = await start(file)
    assert (await get(society, LIVE))[0] == 200
    society._agents["coordinator"].supervisor.start(Broken)
    faults = await until(society, LIVE, 503)
    assert faults == ["coordinator has given up its behaviour Shell/Broken: ValueError: no use"]
    assert (await get(society, READY))[1]["faults"] == faults


# -- the store ----------------------------------------------------------------------------------------


async def test_without_its_database_it_is_not_ready(file, start):
    society = await start(file)
    database = file.society.state / "society.sqlite"
    elsewhere = database.rename(database.with_name("elsewhere"))
    (fault,) = (each for each in await until(society, READY, 503) if "database" in each)
    assert fault.startswith(f"the database {database} was removed or replaced while it was in use;")
    assert await gauge(society, "locution_store_up") == 0
    _status, text = await get(society, METRICS)
    assert "locution_dead_letters NaN" in text
    elsewhere.rename(database)
    assert await until(society, READY, 200) == []
    assert await gauge(society, "locution_dead_letters") == 0


async def test_a_database_that_hangs_is_told_in_time(file, start):
    society = await start(file)
    other = sqlite3.connect(file.society.state / "society.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        asked = asyncio.get_running_loop().time()
        answer = await get(society, READY)
        assert asyncio.get_running_loop().time() - asked < health.ANSWER_WITHIN + 1
    finally:
        other.close()
    assert answer == (503, {"status": "not ready", "faults": ["the store has not answered within 2 s"]})
    assert await until(society, READY, 200) == []


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    require(redis_server.PATH is not None, "redis-server on the path")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    yield server
    server.stop()


@pytest.mark.redis
async def test_without_redis_it_is_not_ready(write_file, redis, start):
    file = with_table(write_file(), f'[delivery]\nstore = "redis"\nredis = "{redis.url}"')
    society = await start(file)
    assert await get(society, READY) == (200, {"status": "ready", "faults": []})
    redis.kill()
    (fault,) = await until(society, READY, 503)
    assert f"127.0.0.1:{redis.port}" in fault
    assert await gauge(society, "locution_store_up") == 0
    assert (await get(society, LIVE))[0] == 200
    redis.start()
    assert await until(society, READY, 200) == []
    redis.freeze()
    asked = asyncio.get_running_loop().time()
    assert (await get(society, READY))[0] == 503
    assert asyncio.get_running_loop().time() - asked < health.ANSWER_WITHIN + 1
    redis.thaw()
    assert await until(society, READY, 200) == []


@pytest.mark.redis
async def test_with_redis_both_what_it_writes_there_and_what_it_keeps_here_must_be_well(
    write_file, redis, start
):
    file = with_table(write_file(), f'[delivery]\nstore = "redis"\nredis = "{redis.url}"')
    society = await start(file)
    with Redis.from_url(redis.url) as client:
        client.replicaof("127.0.0.1", "1")  # from now on it can be read only
        (fault,) = await until(society, READY, 503)
        assert f"127.0.0.1:{redis.port}" in fault
        client.replicaof("NO", "ONE")
    assert await until(society, READY, 200) == []
    (file.society.state / "society.sqlite").unlink()  # what the directory and the accounts are kept in
    (fault,) = await until(society, READY, 503)
    assert "was removed or replaced" in fault


# -- the election -------------------------------------------------------------------------------------


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[ConsulServer]:
    require(consul_server.PATH is not None, "consul on the path")
    server = ConsulServer(tmp_path / "consul")
    try:
        server.ready()
        yield server
    finally:
        server.stop()


@pytest.mark.consul
async def test_without_consul_neither_the_leader_nor_who_stands_by_is_ready(write_file, consul, start):
    file = with_table(write_file(COORDINATORS), f'[election]\nlock = "consul"\nconsul = "{consul.url}"')
    both = [await start(file, SERVER, "directory", "coordinator"), await start(file, "deputy")]
    for society in both:
        assert await get(society, READY) == (200, {"status": "ready", "faults": []})
    leads = [
        society._agents[name].is_leader for society, name in zip(both, ("coordinator", "deputy"), strict=True)
    ]
    assert leads == [True, False]
    consul.kill()
    for society, name in zip(both, ("coordinator", "deputy"), strict=True):
        (fault,) = await until(society, READY, 503)
        assert fault.startswith(f"{name}: Consul does not answer at {consul.url} (")
        assert await gauge(society, "locution_election_up") == 0
        assert (await get(society, LIVE))[0] == 200
    consul.start()
    await asyncio.to_thread(consul.ready)
    for society in both:
        assert await until(society, READY, 200) == []  # also the one that stands by, while the other leads
    consul.freeze()
    await asyncio.gather(*(until(society, READY, 503) for society in both))
    consul.thaw()
    await asyncio.gather(*(until(society, READY, 200) for society in both))


# -- GPUs -----------------------------------------------------------------------------------------------


async def test_memory_of_a_gpu_is_told_once_it_is_used(file, start):
    require_hardware(torch.cuda.is_available(), "a CUDA device")
    society = await start(file)
    held = torch.zeros(1 << 20, device="cuda")
    _status, text = await get(society, METRICS)
    assert 'locution_gpu_memory_bytes{device="0",kind="total"} ' in text
    assert 'locution_gpu_memory_bytes{device="0",kind="used"} ' in text
    assert held.numel() == 1 << 20


async def test_without_a_gpu_nothing_is_told_of_its_memory(file, start):
    society = await start(file)
    if not torch.cuda.is_initialized():
        _status, text = await get(society, METRICS)
        assert "locution_gpu_memory_bytes{" not in text
