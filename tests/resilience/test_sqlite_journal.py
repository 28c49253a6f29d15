"""What only a file can do: `resilience.sqlite_journal` under kill -9, full disks, and old forms."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from resilience.inbox import Standing
from resilience.journal import Effects
from resilience.sqlite_file import SCHEMA_VERSION, STEPS, StoreError
from resilience.sqlite_journal import CHECKPOINT, SqliteJournal
from resilience.sqlite_store import SqliteStore
from tests.resilience.records import ME, NOW, hold, letter, outgoing, snapshot


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(tmp_path / "a.sqlite")
    yield journal
    await journal.close()


def watch(journal: SqliteJournal) -> list[str]:
    """Note every statement from now on."""
    seen: list[str] = []
    journal._thread.submit(journal._file.connection.set_trace_callback, seen.append).result()
    return seen


async def refused(path: Path) -> str:
    """Open a file that cannot be used; the sentence."""
    with pytest.raises(StoreError) as caught:
        await SqliteJournal(path).close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- batches and threads ---------------------------------------------------------------------------


async def test_what_is_asked_at_once_is_one_transaction(journal):
    seen = watch(journal)
    effects = [Effects(agent=ME, put=(snapshot(f"{number}"),)) for number in range(50)]
    assert await asyncio.gather(*(journal.commit(each) for each in effects)) == [True] * 50
    assert [each for each in seen if each in {"BEGIN IMMEDIATE", "COMMIT"}] == ["BEGIN IMMEDIATE", "COMMIT"]


async def test_the_loop_goes_on_while_the_disk_is_waited_for(journal):
    with closing(SqliteStore(journal.path)) as other:
        other._connection.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(journal.commit(Effects(agent=ME, put=(snapshot(),))))
        for _turn in range(1000):
            await asyncio.sleep(0)
        assert not waiting.done()
        other._connection.execute("ROLLBACK")
        assert await waiting


async def commits(journal: SqliteJournal, how_many: int) -> None:
    """Write so many snapshots, one after the other."""
    for number in range(how_many):
        assert await journal.commit(Effects(agent=ME, put=(snapshot(f"{number}"),)))


async def threads(journal: SqliteJournal) -> set[str]:
    """In which threads three commits are written, by their names."""
    seen: set[str] = set()
    noting = lambda _statement: seen.add(threading.current_thread().name.partition("_")[0])  # noqa: E731
    journal._file.connection.set_trace_callback(noting)
    await commits(journal, 3)
    journal._file.connection.set_trace_callback(None)
    return seen


async def test_a_quick_transaction_is_written_where_it_is_asked_for(journal, monkeypatch):
    monkeypatch.setattr("resilience.sqlite_journal.LONG", 60.0)
    assert await threads(journal) == {"MainThread"}


async def test_after_a_long_transaction_the_loop_leaves_them_to_the_thread(journal, monkeypatch):
    monkeypatch.setattr("resilience.sqlite_journal.LONG", 0.0)
    monkeypatch.setattr("resilience.sqlite_journal.AVOIDED", 60.0)
    await commits(journal, 1)
    assert await threads(journal) == {"journal"}


async def test_the_loop_never_waits_for_the_power_supply(tmp_path):
    journal = SqliteJournal(tmp_path / "a.sqlite", durable="power")
    assert await threads(journal) == {"journal"}
    await journal.close()


async def test_the_log_is_copied_into_the_file_in_the_thread(journal, monkeypatch):
    monkeypatch.setattr("resilience.sqlite_journal.LONG", 60.0)
    seen: list[tuple[str, str]] = []
    noting = lambda statement: seen.append((statement, threading.current_thread().name))  # noqa: E731
    journal._file.connection.set_trace_callback(noting)
    await commits(journal, 3 * CHECKPOINT)
    copied = [thread for statement, thread in seen if "wal_checkpoint" in statement]
    assert len(copied) == 3
    assert not any("MainThread" in thread for thread in copied)
    # Nor is the disk waited for as the log begins anew.
    order = [each for each in seen if "wal_checkpoint" in each[0] or each[0] == "COMMIT"]
    after = [order[n + 1][1] for n, each in enumerate(order[:-1]) if "wal_checkpoint" in each[0]]
    assert after
    assert "MainThread" not in after
    # 4 pages for each, and what a page says of itself: the log begins anew each time.
    assert journal.path.with_name("a.sqlite-wal").stat().st_size < 2 * CHECKPOINT * 4 * 4200


async def test_one_that_fails_does_not_take_the_others_with_it(journal):
    await journal.commit(Effects(agent=ME, put=(snapshot("before"),)))
    await _limit(journal, 20)
    large = Effects(agent=ME, put=(snapshot("large", "x" * 1_000_000),))
    small = [Effects(agent=ME, put=(snapshot(f"{number}"),)) for number in range(3)]
    calls = (journal.commit(each) for each in (small[0], large, *small[1:]))
    first, failed, *others = await asyncio.gather(*calls, return_exceptions=True)
    assert [first, *others] == [True] * 3
    assert isinstance(failed, StoreError)
    assert "cannot grow, because the disk is full; make room" in str(failed)
    assert [each.key for each in await journal.snapshots(ME)] == ["0", "1", "2", "before"]


async def _limit(journal: SqliteJournal, pages: int) -> None:
    def limit() -> None:
        now = journal._file.run("PRAGMA page_count")[0][0]
        journal._file.run(f"PRAGMA max_page_count = {now + pages}")

    await asyncio.wrap_future(journal._thread.submit(limit))


async def test_a_lock_that_is_not_given_up_fails_all_that_wait_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("resilience.sqlite_file.BUSY_SECONDS", 0.05)
    journal = SqliteJournal(tmp_path / "a.sqlite")
    seen = watch(journal)
    with closing(SqliteStore(journal.path)) as other:
        other._connection.execute("BEGIN IMMEDIATE")
        calls = (journal.claim(hold(f"{number}"), "d") for number in range(10))
        results = await asyncio.gather(*calls, return_exceptions=True)
        other._connection.execute("ROLLBACK")
    fault = "has been locked for 0.05 s by another process that hangs; find and stop it"
    assert {str(each) for each in results} == {f"the database {journal.path} {fault}"}
    # Once without waiting and once for all, not each for itself.
    assert len([each for each in seen if each == "BEGIN IMMEDIATE"]) <= 2
    assert (await journal.claim(hold(), "d")).standing is Standing.NEW
    await journal.close()


async def test_a_closed_journal_says_so(journal):
    await journal.close()
    with pytest.raises(StoreError, match="has been closed"):
        await journal.claim(hold(), "d")
    assert not any(thread.name.startswith("journal") for thread in threading.enumerate())


@pytest.mark.parametrize(("durable", "number"), [("process", 1), ("power", 2)])
async def test_what_a_commit_survives_can_be_chosen(tmp_path, durable, number):
    journal = SqliteJournal(tmp_path / "a.sqlite", durable=durable)
    reading = journal._thread.submit(journal._file.run, "PRAGMA synchronous")
    assert await asyncio.wrap_future(reading) == [(number,)]
    await journal.close()


async def test_ids_past_their_retention_are_cleared_away(tmp_path):
    now = 1000.0
    journal = SqliteJournal(tmp_path / "a.sqlite", clock=lambda: now)
    for number in range(50):
        await journal.claim(hold(message_id=f"{number}"), "d")
    now += journal.policy.terms.retention
    for number in range(20):
        await journal.claim(hold(message_id=f"new{number}"), "d")
    counting = journal._thread.submit(journal._file.run, "SELECT count(*) FROM inbox")
    assert await asyncio.wrap_future(counting) == [(20,)]
    await journal.close()


async def test_a_file_that_is_taken_away_is_told_and_nothing_is_let_out(tmp_path, monkeypatch):
    monkeypatch.setattr("resilience.sqlite_journal.LOOKED_AT", 0.0)
    journal = SqliteJournal(tmp_path / "a.sqlite")
    await commits(journal, 1)
    journal.path.rename(tmp_path / "away")
    fault = "was removed or replaced while it was in use; put it back, and start again whoever uses it"
    for _time in range(2):
        with pytest.raises(StoreError) as caught:
            await journal.commit(Effects(agent=ME, put=(snapshot("1"),)))
        assert str(caught.value) == f"the database {journal.path} {fault}"
    (tmp_path / "away").rename(journal.path)
    await commits(journal, 1)
    await journal.close()


# -- kill -9 ---------------------------------------------------------------------------------------

WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from resilience.journal import Effects
from resilience.sqlite_journal import CHECKPOINT, SqliteJournal
from tests.resilience.records import ME, hold, outgoing, snapshot

async def write(journal, first):
    for number in itertools.count(first, 4):
        name = f"{number}"
        await journal.claim(hold(name, name), "d")
        effects = Effects(agent=ME, reply=name, put=(snapshot(name),), send=(outgoing(name),))
        await journal.commit(effects, hold(name, name))
        print(name, flush=True)

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    await asyncio.gather(*(write(journal, first) for first in range(4)))

asyncio.run(main())
"""


def _write_until_killed(path: Path) -> set[str]:
    """Let a process write, and kill it in the middle; what it said was committed."""
    command = [sys.executable, "-c", WRITER, str(path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert writer.stdout is not None
    told = {writer.stdout.readline().strip() for _line in range(30)}
    writer.send_signal(signal.SIGKILL)
    rest, _errors = writer.communicate()
    return told | set(rest.split("\n")[:-1])


async def test_a_process_that_is_killed_leaves_whole_commits_and_all_it_spoke_of(tmp_path):
    path = tmp_path / "a.sqlite"
    told: set[str] = set()
    for _round in range(4):
        told |= _write_until_killed(path)
        journal = SqliteJournal(path)
        kept = {each.key for each in await journal.snapshots(ME)}
        assert told <= kept
        assert {each.id for each in await journal.outgoing(ME)} == kept
        for name in kept:
            claim = await journal.claim(hold("again", name), "d")
            assert (claim.standing, claim.reply) == (Standing.DONE, name)
        await journal.close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _race(path: Path, barrier: Any, queue: Any, number: int) -> None:
    async def race() -> list[str]:
        journal = SqliteJournal(path)
        barrier.wait()
        won = []
        for message in range(40):
            claim = await journal.claim(hold(f"process{number}", f"{message}"), "d")
            if claim.is_ours and await journal.commit(
                Effects(agent=ME), hold(f"process{number}", f"{message}")
            ):
                won.append(f"{message}")
        await journal.close()
        return won

    queue.put(asyncio.run(race()))


def test_processes_that_race_for_the_same_messages_get_each_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(3), context.Queue()
    path = tmp_path / "a.sqlite"
    processes = [context.Process(target=_race, args=(path, barrier, queue, n)) for n in range(3)]
    for process in processes:
        process.start()
    won = [name for _process in processes for name in queue.get(timeout=60)]
    for process in processes:
        process.join(60)
        process.close()
    queue.close()
    assert sorted(won, key=int) == [f"{message}" for message in range(40)]


# -- what is wrong with a file ---------------------------------------------------------------------


async def test_a_damaged_file_is_told_at_once_or_when_it_is_read(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database\n" * 1000)
    assert f"the database {path} is damaged (file is not a database); restore it" in await refused(path)
    path.unlink()
    journal = SqliteJournal(path)
    await journal.commit(Effects(agent=ME, put=tuple(snapshot(f"{n}", "x" * 1000) for n in range(200))))
    await journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))

    async def read() -> None:
        journal = SqliteJournal(path)
        try:
            await journal.snapshots(ME)
        finally:
            await journal.close()

    with pytest.raises(StoreError, match="is damaged"):
        await read()


async def test_a_full_disk_is_told_loses_nothing_and_may_be_mended(small_disk):
    journal = SqliteJournal(small_disk / "a.sqlite")
    await journal.claim(hold(), "d")
    filler = small_disk / "filler"
    with suppress(OSError):  # until it is full
        filler.write_bytes(b"x" * 8_000_000)
    large = Effects(agent=ME, put=tuple(snapshot(f"{n}", "x" * 4_000) for n in range(100)))
    with pytest.raises(StoreError, match="cannot grow, because the disk is full; make room"):
        await journal.commit(large, hold())
    assert await journal.snapshots(ME) == ()
    with pytest.raises(StoreError, match="the disk is full"):
        await _checked(journal, times=2_000)  # the log has some room left
    filler.unlink()
    await journal.check()
    assert await journal.commit(large, hold())
    assert len(await journal.snapshots(ME)) == 100
    await journal.close()


async def _checked(journal: SqliteJournal, times: int) -> None:
    for _time in range(times):
        await journal.check()


def _write_as_nobody(path: Path, queue: Any) -> None:
    if os.geteuid() == 0:
        os.setuid(65534)

    async def write() -> str:
        try:
            journal = SqliteJournal(path)
            await journal.claim(hold(), "d")
            await journal.close()
        except StoreError as error:
            return str(error)
        return ""

    queue.put(asyncio.run(write()))


def test_a_file_without_the_right_to_write_is_told():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with tempfile.TemporaryDirectory() as name:  # where nobody gets in
        folder = Path(name)
        path = folder / "a.sqlite"
        SqliteStore(path).close()
        Path(f"{path}.lock").chmod(0o666)
        path.chmod(0o444)
        folder.chmod(0o555)
        process = context.Process(target=_write_as_nobody, args=(path, queue))
        process.start()
        told = queue.get(timeout=60)
        process.join(60)
        folder.chmod(0o700)
    process.close()
    queue.close()
    assert told == (
        f"the database {path} cannot be written; give its folder and files to this user, "
        "or name another state folder"
    )


async def test_a_newer_file_is_refused(tmp_path):
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.commit()
    assert f"was written in form {SCHEMA_VERSION + 1} by a newer version" in await refused(path)


@pytest.mark.parametrize("form", range(1, SCHEMA_VERSION))
async def test_a_file_of_each_older_form_is_brought_up_to_date(tmp_path, form):
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        for step in STEPS[:form]:
            connection.executescript(step)
        connection.execute("INSERT INTO records VALUES ('c', 'k', 'old')")
        connection.execute(
            'INSERT INTO dead_letters (id, agent, peer, is_inbound, cause, text, original, "when") '
            "VALUES (17, ?, 'b@localhost', 1, 'unreachable', 'gone', '{}', ?)",
            (ME, NOW.isoformat()),
        )
        connection.execute(f"PRAGMA user_version = {form}")
        connection.commit()
    journal = SqliteJournal(path)
    absent: Any = {"conversation_id": "", "protocol": "", "state": "", "attempts": 0, "made": None}
    old = letter(peer="b@localhost", original="{}", **absent)
    assert await journal.letters(ME) == (old,)
    assert await journal.letter(ME, "17") == old
    await journal.commit(Effects(agent=ME, bury=(letter("new"),), send=(outgoing(),)))
    assert [each.id for each in await journal.letters(ME)] == ["18", "17"]
    assert await journal.drop(ME, "17")
    await journal.close()
    with closing(SqliteStore(path)) as store:
        assert store.all("c") == {"k": "old"}


async def test_store_and_journal_share_one_file(journal):
    with closing(SqliteStore(journal.path)) as store:
        store.add(letter("one"))
        await journal.commit(Effects(agent=ME, bury=(letter("two", original="\ud800"),)))
        assert [each.text for each in store.list()] == ["two", "one"]
        assert store.list()[0].original == "\\ud800"
        assert (store.count(), store.oldest()) == (2, NOW)
        assert await journal.drop(ME, store.list()[1].id)
        assert store.count(ME) == 1
