"""One bench for each binding of the journal: it opens journals on the same store and moves their time."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from resilience.inbox import Terms
from resilience.journal import Journal, Policy
from resilience.memory import MemoryDeadLetters, MemoryJournal
from resilience.redis_store import RedisJournal
from resilience.sqlite_journal import SqliteJournal
from tests.requirements import require
from tests.resilience.consul_server import PATH as CONSUL
from tests.resilience.consul_server import ConsulServer
from tests.resilience.redis_server import PATH, RedisServer

BINDINGS = ("memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis))

_NUMBERS = itertools.count(1)


class Clock:
    """Seconds since the epoch that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_795_168_800.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bench:
    """A store that several journals share.

    Attributes:
        policy: what the journals go by; set it before `open`.
        letters: how many dead letters are kept; likewise.
    """

    policy: Policy = field(default_factory=Policy)
    letters: int = 10_000
    opened: list[Journal] = field(default_factory=list)

    @property
    def terms(self) -> Terms:
        """On what terms messages are claimed."""
        return self.policy.terms

    async def open(self) -> Journal:
        """Open a journal, as one more replica would."""
        journal = await self.make()
        self.opened.append(journal)
        return journal

    async def make(self) -> Journal:
        """Make a journal on the store."""
        raise NotImplementedError

    def elapse(self, seconds: float) -> None:
        """Let time pass in the store."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close every journal."""
        for journal in self.opened:
            await journal.close()


@dataclass
class MemoryBench(Bench):
    """All replicas are one object: memory ends with its process."""

    clock: Clock = field(default_factory=Clock)

    async def make(self) -> Journal:
        if self.opened:
            return self.opened[0]
        return MemoryJournal(self.policy, MemoryDeadLetters(self.letters), self.clock)

    def elapse(self, seconds: float) -> None:
        self.clock.now += seconds


@dataclass(kw_only=True)
class SqliteBench(Bench):
    path: Path
    clock: Clock = field(default_factory=Clock)

    async def make(self) -> Journal:
        return SqliteJournal(self.path, self.policy, letters=self.letters, clock=self.clock)

    def elapse(self, seconds: float) -> None:
        self.clock.now += seconds


AGE = """
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    redis.call('HINCRBY', key, 'leased_at', -ARGV[2])
    redis.call('PEXPIRE', key, math.max(0, redis.call('PTTL', key) - ARGV[2]))
end
"""


@dataclass(kw_only=True)
class RedisBench(Bench):
    """The server's clock cannot be moved: instead everything gets older."""

    server: RedisServer
    prefix: str = field(default_factory=lambda: f"test{next(_NUMBERS)}")

    async def make(self) -> Journal:
        return await RedisJournal.open(
            self.server.url,
            self.policy,
            prefix=self.prefix,
            letters=self.letters,
            timeout=10,  # a machine that runs other tests may stall
        )

    def elapse(self, seconds: float) -> None:
        with redis.Redis.from_url(self.server.url) as client:
            client.eval(AGE, 0, f"{self.prefix}:*:in:*", round(seconds * 1000))


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a server that all tests of this process share; each takes its own prefix."""
    require(PATH is not None, "redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Give what starts a server for this test alone, with settings of its own."""
    require(PATH is not None, "redis-server")
    started: list[RedisServer] = []

    def start(folder: Path = tmp_path, **settings: str) -> RedisServer:
        started.append(RedisServer(folder, **settings))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture(params=BINDINGS)
def make_bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Bench]:
    """Give what makes an empty store of each binding in turn."""

    def make(**fields: Any) -> Bench:
        if request.param == "memory":
            return MemoryBench(**fields)
        if request.param == "sqlite":
            return SqliteBench(path=tmp_path_factory.mktemp("sqlite") / "a.sqlite", **fields)
        return RedisBench(server=request.getfixturevalue("redis_server"), **fields)

    return make


@pytest.fixture
async def bench(make_bench: Callable[..., Bench]) -> AsyncIterator[Bench]:
    """Give a store, once for each binding."""
    bench = make_bench()
    yield bench
    await bench.close()


@pytest.fixture(scope="session")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulServer]:
    """Run a server of Consul for all tests; each has groups of its own."""
    require(CONSUL is not None, "consul")
    server = ConsulServer(tmp_path_factory.mktemp("consul"))
    try:
        server.ready()
        yield server
    finally:
        server.stop()
