"""Elections over three servers of Consul of which some die: never two lead, and soon one does again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from resilience.consul_lock import ConsulLock
from resilience.election import STEP_DOWN, TTL, ElectionError
from tests.requirements import require
from tests.resilience.campaign import Campaign, Reign
from tests.resilience.consul_server import PATH, ConsulServer

pytestmark = [pytest.mark.consul, pytest.mark.xdist_group("consul")]

SOON = 30.0
"""Seconds in which somebody leads again: the servers elect a leader of their own first, which takes some."""

MARGIN = 0.3
"""Seconds in which a test hears of what happened."""

NAMES = ("ann", "ben", "cid")


class Cluster:
    """Three servers of Consul, and beside each of them a candidate."""

    def __init__(self, folder: Path) -> None:
        first = ConsulServer(folder / "one", of=3)
        self.servers = [
            first,
            *(ConsulServer(folder / each, of=3, join=first.serf) for each in ("two", "three")),
        ]
        self.locks = [ConsulLock(each.url, society="here") for each in self.servers]
        self.campaign = Campaign()

    def ready(self) -> None:
        """Wait until all of them can be used."""
        for each in self.servers:
            each.ready()
            while len(each.get("/v1/status/peers")) < len(self.servers):
                time.sleep(0.05)  # it tells nobody but its log

    def stand(self) -> None:
        """Have all candidates stand."""
        for name, lock in zip(NAMES, self.locks, strict=True):
            self.campaign.enter(name, lock)

    def beside(self, leader: str) -> ConsulServer:
        """The server beside a candidate."""
        return self.servers[NAMES.index(leader.partition("@")[0])]

    def candidate(self, server: ConsulServer) -> str:
        """The candidate beside a server."""
        return f"{NAMES[self.servers.index(server)]}@here"

    async def told_by(self, server: ConsulServer) -> Reign | None:
        """The reign that a server tells of; None where it tells of none, or not of one that goes on."""
        try:
            led = (await self.locks[self.servers.index(server)].groups()).get("g")
        except ElectionError:
            return None
        going_on = (each for each in self.campaign.reigns if each.ended is None)
        return next((each for each in going_on if led is not None and each.term == led.term), None)

    async def stop(self) -> None:
        """End all of it."""
        await self.campaign.stop()
        for each in self.servers:
            each.stop()
        for lock in self.locks:
            await lock.close()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Give three servers, of which a leader is known, and candidates of which none stands yet."""
    require(PATH is not None, "consul")
    cluster = Cluster(tmp_path)
    try:
        await asyncio.to_thread(cluster.ready)
        yield cluster
    finally:
        await cluster.stop()
    assert cluster.campaign.faults() == []


def end(server: ConsulServer, how: str) -> float:
    """Kill a server, or freeze it; when that was."""
    begun = time.monotonic()
    server.kill() if how == "killed" else server.freeze()
    return begun


def until_led(servers: list[ConsulServer]) -> None:
    """Wait until one of these servers leads the others."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        with suppress(OSError):
            if any(each.is_leader for each in servers):
                return
        time.sleep(0.05)
    pytest.fail(f"the servers have elected no leader within {SOON:g} s")


def ends_by(campaign: Campaign, term: int) -> Callable[[], bool]:
    """Whether the reign of a term is over."""
    return lambda: all(each.ended is not None for each in campaign.reigns if each.term == term)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_the_leader_of_the_servers_dies(cluster: Cluster, how: str) -> None:
    campaign = cluster.campaign
    cluster.stand()
    first = await campaign.led(SOON)
    (server,) = [each for each in cluster.servers if each.is_leader]
    begun = end(server, how)
    living = [each for each in cluster.servers if each is not server]
    await asyncio.to_thread(until_led, living)
    # A leader that hears in time that it still is one goes on; else there is another.
    async with asyncio.timeout(SOON):
        while await cluster.told_by(living[0]) is None:  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.05)
    assert campaign.leader is not None
    assert cluster.beside(campaign.leader.leader) is not server
    assert first.ended is None or campaign.leader.begun - begun < SOON


async def test_while_two_servers_of_three_are_gone_nobody_leads(cluster: Cluster) -> None:
    campaign = cluster.campaign
    cluster.stand()
    first = await campaign.led(SOON)
    left = cluster.beside(first.leader)
    gone = [each for each in cluster.servers if each is not left]
    begun = time.monotonic()
    for each in gone:
        each.kill()
    await campaign.until(lambda: first.ended is not None, 5)
    assert first.ended is not None
    assert first.ended - begun < STEP_DOWN * TTL + MARGIN, "by its own clock, and not by an answer"
    with pytest.raises(TimeoutError):
        await campaign.led(3 * TTL)
    for each in gone:
        assert "does not answer" in campaign.troubles[cluster.candidate(each)]
    for each in gone:
        each.start()
    second = await campaign.led(2 * SOON, above=first.term)
    with pytest.raises(TimeoutError):
        await campaign.until(ends_by(campaign, second.term), 2 * TTL)


async def test_the_server_beside_the_leader_dies(cluster: Cluster) -> None:
    """Its agent of Consul is its only way to the others."""
    campaign: Any = cluster.campaign
    cluster.stand()
    first = await campaign.led(SOON)
    begun = end(cluster.beside(first.leader), "killed")
    await campaign.until(lambda: first.ended is not None, 5)
    assert first.ended is not None
    assert first.ended - begun < STEP_DOWN * TTL + MARGIN
    second = await campaign.led(2 * SOON, above=first.term)
    assert second.leader != first.leader
