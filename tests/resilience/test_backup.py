"""The commands of docs/operations.md that save and restore a store: what was open is open again."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from resilience.consul_lock import ConsulLock
from resilience.election import ElectionError
from resilience.inbox import Standing, digest_of
from resilience.journal import Effects, Journal
from resilience.ledger import DeposedError, Ledger
from resilience.ledger import Task as LedgerTask
from resilience.memory import MemoryJournal
from resilience.redis_store import RedisJournal
from resilience.sqlite_journal import SqliteJournal
from tests.requirements import require
from tests.resilience.consul_server import ConsulServer
from tests.resilience.records import ME, hold, letter, outgoing, snapshot
from tests.resilience.redis_server import RedisServer

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"

OPEN = 200
"""Conversations that are open when the backup is made."""

AT_ONCE = {"repl_diskless_sync_delay": "0"}
"""By default a server that is asked for all it has waits five seconds for others that want it as well."""

WITHIN = 30.0
"""Seconds after which a command hangs."""


def command(name: str) -> str:
    """What stands in the page after the mark of that name."""
    mark = re.escape(f"<!-- command: {name} -->")
    page = PAGE.read_text(encoding="utf-8")
    found = re.findall(rf"^{mark}\n```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{PAGE.name} has {len(found)} blocks marked {name}"
    return str(found[0])


async def run(name: str, folder: Path, **told: str) -> str:
    """Run a command of the page in a folder, with these variables of the environment; what it says."""
    # Its `python` is ours.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", command(name), cwd=folder, env={**os.environ, "PATH": path, **told},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(WITHIN):
            said, _nothing = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def converse(journal: Journal, number: int) -> None:
    """Hear a message, open a conversation for it and say something in it, all in one commit."""
    claim = hold(message_id=f"m{number}")
    assert (await journal.claim(claim, digest_of("question"))).standing is Standing.NEW
    begun = snapshot(f"conversation/{number}", f'{{"number": {number}}}')
    effects = Effects(agent=ME, put=(begun,), send=(outgoing(f"o{number}"),))
    assert await journal.commit(effects, claim)


@asynccontextmanager
async def talking(journal: Journal) -> AsyncIterator[Callable[[], int]]:
    """Have conversations opened, one after the other, while the block runs; give how many there are."""
    done = 0

    async def go_on() -> None:
        nonlocal done
        while True:
            await converse(journal, done)
            done += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(go_on())
    try:
        while done < OPEN:
            assert not task.done(), task.exception()
            await asyncio.sleep(0)
        yield lambda: done
    finally:
        task.cancel()
        await asyncio.wait({task})


async def numbers(journal: Journal) -> tuple[list[int], list[int]]:
    """Which conversations are open, and in which ones something is to be said."""
    opened = [int(each.key.rpartition("/")[2]) for each in await journal.snapshots(ME)]
    said = [int(each.id[1:]) for each in await journal.outgoing(ME)]
    return sorted(opened), sorted(said)


async def same(journal: Journal, at_least: int, at_most: int) -> None:
    """See that a journal has what one moment had: whole commits, in order, none of them missing."""
    opened, said = await numbers(journal)
    assert opened == said == list(range(len(opened)))
    assert at_least <= len(opened) <= at_most
    for number in (0, len(opened) - 1):
        claim = await journal.claim(hold("two", f"m{number}"), digest_of("question"))
        assert claim.standing is Standing.DONE  # a second copy of what was heard is told as one
    # A letter of before, and the journal takes new ones.
    assert [each.text for each in await journal.letters(ME)] == ["gone"]
    await converse(journal, at_most + 1)


async def bury(journal: Journal) -> None:
    await journal.commit(Effects(agent=ME, bury=(letter("gone"),)))


# -- SQLite -----------------------------------------------------------------------------------------


async def test_the_sqlite_file_is_saved_while_it_is_written_and_restored(tmp_path):
    state, fresh = tmp_path / "state", tmp_path / "fresh"
    state.mkdir()
    fresh.mkdir()
    journal = SqliteJournal(state / "society.sqlite")
    try:
        await bury(journal)
        async with talking(journal) as count:
            least = count()
            await run("save-sqlite", tmp_path, STATE=str(state))
            most = count()
        assert most > least  # it was in use
    finally:
        await journal.close()
    assert (tmp_path / "society.backup").stat().st_mode & 0o077 == 0  # passwords' hashes are in it
    # Where it goes to, another file and its log lie already.
    other = SqliteJournal(fresh / "society.sqlite")
    await other.commit(Effects(agent=ME, put=(snapshot("conversation/9999"),)))
    for each in ("society.sqlite", "society.sqlite-wal"):
        shutil.copy(fresh / each, fresh / f"{each}.kept")
    await other.close()
    for each in ("society.sqlite", "society.sqlite-wal"):
        (fresh / f"{each}.kept").rename(fresh / each)
    await run("restore-sqlite", tmp_path, STATE=str(fresh))
    restored = SqliteJournal(fresh / "society.sqlite")
    try:
        await same(restored, least, most)
    finally:
        await restored.close()


async def test_the_file_without_its_log_is_no_backup(tmp_path):
    journal = SqliteJournal(tmp_path / "society.sqlite")
    try:
        for number in range(10):
            await converse(journal, number)
        shutil.copy(tmp_path / "society.sqlite", tmp_path / "copy.sqlite")
        copy = SqliteJournal(tmp_path / "copy.sqlite")
        assert await copy.snapshots(ME) == ()
        await copy.close()
    finally:
        await journal.close()


async def test_to_save_a_file_that_is_not_there_makes_none(tmp_path):
    with pytest.raises(AssertionError, match="unable to open database file"):
        await run("save-sqlite", tmp_path, STATE=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


# -- Redis ------------------------------------------------------------------------------------------


async def redis_journal(server: RedisServer) -> RedisJournal:
    return await RedisJournal.open(server.url, timeout=10)


@pytest.mark.redis
async def test_redis_is_saved_while_it_is_written_and_restored(own_redis, tmp_path):
    require(shutil.which("redis-cli") is not None, "redis-cli")
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    server = own_redis(old, **AT_ONCE)
    journal = await redis_journal(server)
    try:
        await bury(journal)
        async with talking(journal) as count:
            least = count()
            said = await run("save-redis", tmp_path, REDIS_PORT=str(server.port))
            most = count()
        assert most > least  # it was in use
    finally:
        await journal.close()
    assert "RDB looks OK" in said
    server.kill()
    # Where it goes to, another server has been.
    other = own_redis(new)
    stranger = await redis_journal(other)
    await stranger.commit(Effects(agent=ME, put=(snapshot("conversation/9999"),)))
    await stranger.close()
    other.kill()
    await run("restore-redis", tmp_path, REDIS_DATA=str(new))
    restored = own_redis(new)
    journal = await redis_journal(restored)
    try:
        await same(journal, least, most)
    finally:
        await journal.close()
    # It keeps what is written from now on.
    restored.kill()
    restored.start()
    journal = await redis_journal(restored)
    try:
        assert most + 1 in (await numbers(journal))[0]
    finally:
        await journal.close()


@pytest.mark.redis
async def test_redis_does_not_read_a_dump_where_it_appends(own_redis, tmp_path):
    """The trap that the page names: the server starts, and is empty."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    server = own_redis(old, **AT_ONCE)
    journal = await redis_journal(server)
    await converse(journal, 0)
    await journal.close()
    await run("save-redis", tmp_path, REDIS_PORT=str(server.port))
    shutil.copy(tmp_path / "redis.rdb", new / "dump.rdb")
    journal = await redis_journal(own_redis(new))
    try:
        assert await journal.snapshots(ME) == ()
    finally:
        await journal.close()


# -- Consul -----------------------------------------------------------------------------------------


async def led(server: ConsulServer) -> int:
    """In which term somebody leads who stands for election at that server."""
    lock = ConsulLock(server.url, ttl=1.0)
    try:
        async with asyncio.timeout(WITHIN):
            while True:
                with suppress(ElectionError):  # it does not know its own node yet
                    if (term := await lock.acquire("planners", "ann@localhost")) is not None:
                        return term
                await asyncio.sleep(0.05)  # it tells nobody when it does
    finally:
        await lock.close()


@pytest.mark.consul
@pytest.mark.xdist_group("consul")
async def test_consul_goes_on_counting_terms_only_where_it_was_restored(consul, tmp_path):
    told = {"CONSUL_HTTP_ADDR": consul.url}
    for number in range(100):  # as a server that has run for a while
        consul.put(f"/v1/kv/backup/{number}")
    before = await led(consul)
    await run("save-consul", tmp_path, **told)
    later = await led(consul)
    assert later > before
    journal = MemoryJournal()
    ledger = Ledger(journal, "planners")
    await ledger.take(later)
    await ledger.write(LedgerTask(id="c1", client="asker@localhost", opening="{}"))
    fresh = ConsulServer(tmp_path / "fresh")
    told = {"CONSUL_HTTP_ADDR": fresh.url}
    try:
        await asyncio.to_thread(fresh.ready)
        # Without its data terms begin anew, and whoever leads is taken for a leader of the past.
        forgotten = await led(fresh)
        assert forgotten < before
        with pytest.raises(DeposedError, match=f"term {later} has the ledger"):
            await Ledger(journal, "planners").take(forgotten)
        await run("restore-consul", tmp_path, **told)
        fresh.kill()  # else it learns only within a minute that it is there itself
        fresh.start()
        await asyncio.to_thread(fresh.ready)
        assert await led(fresh) > before
        # What was elected after the snapshot is passed by counting on.
        await run("raise-consul", tmp_path, **told, LAST_TERM=str(later + 20))
        term = await led(fresh)
        assert term > later + 20
        (task,) = await Ledger(journal, "planners").take(term)
        assert task.id == "c1"
    finally:
        fresh.stop()
