"""`[delivery]` of the society file, and the store that it names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from resilience.inbox import Hold, InboxKey, Standing
from resilience.journal import Policy
from resilience.memory import MemoryDeadLetters, MemoryJournal
from resilience.records import RecordsError
from resilience.sqlite_journal import SqliteJournal
from society import keeping
from society.checking import look
from society.config import SocietyFile, load
from society.dead_letters import opened
from society.errors import SocietyFileError, StartError, StateError
from society.state import StateFolder
from tests.requirements import require
from tests.resilience.redis_server import PATH, RedisServer
from tests.society.conftest import WriteFile


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    require(PATH is not None, "redis-server")
    server = RedisServer(tmp_path, maxmemory_policy="noeviction")
    yield server
    server.stop()


def written(write_file: WriteFile, **settings: object) -> Path:
    """Write a society file with a table of that."""
    lines = [
        f"{key} = {value if not isinstance(value, str) else repr(value)}" for key, value in settings.items()
    ]
    path = write_file()
    path.write_text(path.read_text() + "\n".join(["", "[delivery]", *lines, ""]))
    return path


def test_without_a_table_the_numbers_are_those_of_the_policy(file: SocietyFile) -> None:
    assert file.delivery.policy == Policy()
    assert (file.delivery.store, file.delivery.durable) == ("sqlite", "process")


def test_every_number_reaches_the_policy(write_file: WriteFile) -> None:
    path = written(
        write_file,
        lease=1,
        retries=2,
        retry_first=3,
        retry_most=4.5,
        life=50,
        retention=6000,
        away=7.5,
        durable="power",
    )
    policy = load(path).delivery.policy
    assert (policy.terms.lease, policy.terms.retention, policy.away) == (1, 6000, 7.5)
    retrying = policy.retrying
    assert (retrying.attempts, retrying.first, retrying.most, retrying.life) == (2, 3, 4.5, 50)


@pytest.mark.parametrize(
    ("settings", "key", "told"),
    [
        ({"life": 10_000.0}, "life", "[delivery] life: ids are remembered for 7200 s, but a message may be"),
        ({"retention": 3_700}, "retention", "make the retention at least 4200 s"),
        ({"retry_first": 9}, "retry_first", "[delivery] retry_first: 9 s are longer than retry_most, 8 s"),
        ({"retry_most": 7_000}, "retry_most", "[delivery] retry_most: 7000 s are longer than life, 3600 s"),
        ({"lease": 7_200}, "lease", "[delivery] lease: 7200 s are not shorter than retention, 7200 s"),
        (
            {"lease": 12},
            "lease",
            "[delivery] lease: what is not acknowledged may be given up after 11.5 s already, and what a "
            "dead process had is taken over after 12 s only; raise retries or retry_most",
        ),
        ({"lease": 0}, "lease", "[delivery] lease: should be greater than 0, not 0"),
        (
            {"away": 20, "retries": 3},
            "away",
            "[delivery] away: what is not acknowledged is given up after about 7 s already, and a peer "
            "may be away for 20 s; raise retries or retry_most",
        ),
        ({"away": 0}, "away", "[delivery] away: should be greater than 0, not 0"),
        ({"away": "soon"}, "away", '[delivery] away: should be a valid number, not "soon"'),
        ({"retries": 0}, "retries", "[delivery] retries: should be greater than or equal to 1, not 0"),
        (
            {"store": "mongo"},
            "store",
            "[delivery] store: should be 'sqlite', 'redis' or 'memory', not \"mongo\"",
        ),
        ({"stor": "redis"}, "stor", "[delivery] has no setting 'stor'"),
        (
            {"redis": "redis://h"},
            "redis",
            "[delivery] redis: the store is 'sqlite'; write store = \"redis\" too",
        ),
        ({"store": "redis", "redis": "h:6379"}, "redis", "[delivery] redis: that is no address of a Redis"),
        (
            {"store": "redis", "durable": "power"},
            "durable",
            "[delivery] durable: that is for the SQLite file",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_line(
    write_file: WriteFile, settings: dict[str, object], key: str, told: str
) -> None:
    path = written(write_file, **settings)
    lines = path.read_text().splitlines()
    with pytest.raises(SocietyFileError) as caught:
        load(path)
    assert told in str(caught.value)
    assert caught.value.line is not None
    assert lines[caught.value.line - 1].startswith(f"{key} = ")
    assert "\n" not in str(caught.value)


def test_the_environment_says_where_redis_is_and_no_password_is_told(write_file: WriteFile) -> None:
    path = written(write_file, store="redis", redis="redis://elsewhere:1/0")
    assert load(path, {"LOCUTION_REDIS": "redis://:pass@here:2/3"}).delivery.url == "redis://:pass@here:2/3"
    with pytest.raises(SocietyFileError, match="LOCUTION_REDIS is no address of a Redis server") as caught:
        load(path, {"LOCUTION_REDIS": "secret@here"})
    assert "secret" not in str(caught.value)
    # Another society's variable is nothing to one that has no Redis.
    assert load(write_file(), {"LOCUTION_REDIS": "redis://here:2/3"}).delivery.store == "sqlite"


async def open_one(file: SocietyFile) -> keeping.Keeping:
    state = StateFolder(file.society.state)
    state.prepare()
    store = keeping.open_store(state)
    try:
        return await keeping.open_keeping(file, state, store)
    finally:
        store.close()


async def test_the_store_is_the_societys_one_file(write_file: WriteFile) -> None:
    file = load(written(write_file, lease=5))
    kept = await open_one(file)
    assert isinstance(kept.journal, SqliteJournal)
    assert kept.journal.path == StateFolder(file.society.state).database
    assert kept.journal.policy.terms.lease == 5
    await kept.close()


async def test_in_memory_letters_are_those_of_the_journal(write_file: WriteFile) -> None:
    kept = await open_one(load(written(write_file, store="memory")))
    assert isinstance(kept.journal, MemoryJournal)
    assert isinstance(kept.letters, MemoryDeadLetters)
    await kept.close()


async def test_a_file_that_is_no_database_is_one_sentence(file: SocietyFile) -> None:
    state = StateFolder(file.society.state)
    state.prepare()
    state.database.write_text("no database, and longer than the hundred bytes of a header" * 3)
    with pytest.raises(StateError, match=r"is damaged .*; restore it"):
        await keeping.open_journal(file, state)


@pytest.mark.redis
async def test_what_one_machine_has_claimed_another_leaves_alone(
    write_file: WriteFile, redis: RedisServer
) -> None:
    file = load(written(write_file, store="redis", redis=redis.url))
    key = InboxKey(receiver="a@localhost", sender="b@localhost", message_id="1")
    async with opened(file) as here, opened(file) as there:
        assert (await here.claim(Hold(key=key, owner="h"), "d")).standing is Standing.NEW
        assert (await there.claim(Hold(key=key, owner="t"), "d")).standing is Standing.BUSY


@pytest.mark.redis
async def test_a_redis_server_that_forgets_is_refused_in_one_sentence(
    write_file: WriteFile, tmp_path: Path, redis: RedisServer
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for settings, told in (
        ({"appendonly": "no", "maxmemory_policy": "noeviction"}, "set appendonly yes"),
        ({"maxmemory_policy": "allkeys-lru"}, "set maxmemory-policy noeviction"),
    ):
        server = RedisServer(folder, **settings)
        file = load(written(write_file, store="redis", redis=server.url))
        try:
            with pytest.raises(StartError, match=told):
                await open_one(file)
            assert told in {each.name: each for each in look(file)}["delivery"].text
        finally:
            server.stop()
    with pytest.raises(
        StartError, match=f"127.0.0.1:{server.port}/0 cannot be reached .*; start it, or corr"
    ):
        await open_one(file)
    points = {each.name: each for each in look(load(written(write_file, store="redis", redis=redis.url)))}
    assert points["delivery"].ok


def test_whether_the_file_can_be_used_is_looked_at(write_file: WriteFile) -> None:
    file = load(written(write_file, durable="power"))
    points = {each.name: each for each in look(file)}
    assert points["delivery"].ok
    assert "survives the death of the power supply" in points["delivery"].text
    with sqlite3.connect(StateFolder(file.society.state).database) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    points = {each.name: each for each in look(file)}
    assert not points["state"].ok
    assert "delivery" not in points  # it is the same file, and told once


async def test_two_processes_parts_share_the_file(write_file: WriteFile, start) -> None:
    file = load(write_file())
    first = await start(file, "xmpp-server", "directory")
    second = await start(file, "coordinator")
    one, other = (next(iter(each._agents.values())).ports.journal for each in (first, second))
    assert one is not other
    key = InboxKey(receiver="x@localhost", sender="y@localhost", message_id="1")
    assert (await one.claim(Hold(key=key, owner="1"), "d")).standing is Standing.NEW
    assert (await other.claim(Hold(key=key, owner="2"), "d")).standing is Standing.BUSY
    await second.stop()
    with pytest.raises(RecordsError, match="has been closed"):
        await other.check()
    await one.check()
