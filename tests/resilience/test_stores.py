"""One body of tests over the bindings of `Records` and `DeadLetters`, then what only a file can do."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from resilience.dead_letters import DeadLetter, DeadLetters
from resilience.memory import MemoryDeadLetters, MemoryRecords
from resilience.records import Records
from resilience.sqlite_store import SCHEMA_VERSION, SqliteStore, StoreError

LIMIT = 5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(tmp_path / "a.sqlite", letters=LIMIT)) as store:
        yield store


@pytest.fixture(params=["memory", "sqlite"])
def records(request: pytest.FixtureRequest) -> Records:
    made: Records = MemoryRecords() if request.param == "memory" else request.getfixturevalue("store")
    return made


@pytest.fixture(params=["memory", "sqlite"])
def letters(request: pytest.FixtureRequest) -> DeadLetters:
    memory = request.param == "memory"
    made: DeadLetters = MemoryDeadLetters(LIMIT) if memory else request.getfixturevalue("store")
    return made


def letter(text: str = "gone", **fields: Any) -> DeadLetter:
    given = {
        "agent": "a@localhost",
        "peer": "b@localhost",
        "is_inbound": True,
        "cause": "unreachable",
        "text": text,
        "original": "{}",
        "when": datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC),
        "made": datetime(2026, 11, 20, 11, 0, 0, 1, tzinfo=UTC),
    }
    return DeadLetter(**{**given, **fields})


# -- every binding ---------------------------------------------------------------------------------


def test_records_are_kept_replaced_and_ordered(records):
    for key, text in (("b", "1"), ("a", "2"), ("b", "3"), ("ä", '"\n\x00'), ("", "")):
        records.put("c", key, text)
    assert list(records.all("c").items()) == [("", ""), ("a", "2"), ("b", "3"), ("ä", '"\n\x00')]


def test_collections_are_apart(records):
    records.put("c", "k", "1")
    records.put("d", "k", "2")
    records.remove("c", "k")
    assert (dict(records.all("c")), dict(records.all("d"))) == ({}, {"k": "2"})
    assert dict(records.all("never")) == {}


def test_removing_what_is_not_there_is_no_error(records):
    records.remove("c", "k")
    records.put("c", "k", "1")
    records.remove("c", "k")
    records.remove("c", "k")
    assert dict(records.all("c")) == {}


def test_what_all_returned_does_not_change(records):
    records.put("c", "k", "1")
    before = records.all("c")
    records.put("c", "l", "2")
    assert dict(before) == {"k": "1"}


def test_letters_come_back_as_they_were_newest_first(letters):
    first, second = letter("first"), letter("second", is_inbound=False, original="\x00ü{")
    letters.add(first)
    letters.add(second)
    assert list(letters.list()) == [second, first]


def test_letters_can_be_listed_by_agent_and_number(letters):
    own = [letter(str(number), agent="x@localhost") for number in range(3)]
    for each in (own[0], letter(), own[1], own[2]):
        letters.add(each)
    assert list(letters.list("x@localhost")) == own[::-1]
    assert list(letters.list("x@localhost", limit=2)) == [own[2], own[1]]
    assert list(letters.list(limit=1)) == [own[2]]
    assert list(letters.list("nobody@localhost")) == []


def test_the_oldest_letters_make_way(letters):
    for number in range(LIMIT + 3):
        letters.add(letter(str(number)))
    assert [each.text for each in letters.list()] == ["7", "6", "5", "4", "3"]


# -- the file -------------------------------------------------------------------------------------


def test_a_file_remembers(tmp_path):
    path = tmp_path / "a.sqlite"
    with closing(SqliteStore(path)) as store:
        store.put("c", "k", "1")
        store.add(letter())
    with closing(SqliteStore(path)) as store:
        assert (dict(store.all("c")), list(store.list())) == ({"k": "1"}, [letter()])


def test_two_openings_of_one_file_see_each_other(store):
    with closing(SqliteStore(store.path)) as other:
        store.put("c", "k", "1")
        assert dict(other.all("c")) == {"k": "1"}
        other.remove("c", "k")
        assert dict(store.all("c")) == {}


def _write(path: Path, barrier: Any, number: int) -> None:
    barrier.wait()
    with closing(SqliteStore(path)) as store:
        for count in range(20):
            store.put("c", f"{number}-{count}", "x")
            store.add(letter())


def test_processes_may_open_and_write_one_file_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    path = tmp_path / "a.sqlite"
    processes = [context.Process(target=_write, args=(path, barrier, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    for process in processes:
        process.close()
    with closing(SqliteStore(path)) as store:
        assert (len(store.all("c")), len(store.list(limit=1000))) == (80, 80)


def refused(action: Callable[[], Any]) -> str:
    with pytest.raises(StoreError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_newer_file_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        connection.commit()
    before = path.read_bytes()
    told = refused(lambda: SqliteStore(path))
    newer = f"was written in form {SCHEMA_VERSION + 1} by a newer version of Locution"
    assert f"{newer}, and this one reads form {SCHEMA_VERSION};" in told
    assert path.read_bytes() == before


def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")
        connection.commit()
    before = path.read_bytes()
    assert "belongs to another program" in refused(lambda: SqliteStore(path))
    assert path.read_bytes() == before


def test_what_is_no_database_is_told_so(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"digit,pixel\n" * 1000)
    assert f"the database {path} is damaged (file is not a database)" in refused(lambda: SqliteStore(path))
    assert path.read_bytes() == b"digit,pixel\n" * 1000


def test_a_file_that_was_damaged_is_told_so(tmp_path):
    path = tmp_path / "a.sqlite"
    with closing(SqliteStore(path)) as store:
        for number in range(200):
            store.put("c", str(number), "x" * 1000)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))

    def read() -> None:
        with closing(SqliteStore(path)) as store:
            store.all("c")

    assert "is damaged" in refused(read)


def test_without_its_folder_there_is_no_file(tmp_path):
    told = refused(lambda: SqliteStore(tmp_path / "absent" / "a.sqlite"))
    assert "cannot be opened: No such file or directory; its folder must exist" in told


def test_a_full_disk_is_told_and_nothing_is_lost(store):
    store.put("c", "k", "1")
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    assert "cannot grow, because the disk is full; make room" in refused(
        lambda: store.put("c", "large", "x" * 1_000_000)
    )
    assert "cannot grow" in refused(lambda: store.add(letter("x" * 1_000_000)))
    assert dict(store.all("c")) == {"k": "1"}
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.put("c", "l", "2")


def test_a_file_that_must_not_be_written_is_told(store):
    store._connection.execute("PRAGMA query_only = ON")
    assert "cannot be written; give its folder and files to this user" in refused(
        lambda: store.put("c", "k", "1")
    )


def test_a_writer_that_hangs_is_told_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("resilience.sqlite_file.BUSY_SECONDS", 0.05)
    path = tmp_path / "a.sqlite"
    with closing(SqliteStore(path)) as store, closing(SqliteStore(path)) as other:
        other._connection.execute("BEGIN IMMEDIATE")
        assert "has been locked for 0.05 s by another process that hangs" in refused(
            lambda: store.put("c", "k", "1")
        )
        other._connection.execute("ROLLBACK")
        store.put("c", "k", "1")


def test_records_reach_the_disk_and_letters_may_take_their_time(store):
    seen: list[str] = []
    store._connection.set_trace_callback(seen.append)
    store.put("c", "k", "1")
    store.add(letter())
    pragmas = [each.split()[-1] for each in seen if each.startswith("PRAGMA synchronous")]
    assert pragmas == ["FULL", "NORMAL"]


def test_only_this_user_may_read_the_files(tmp_path):
    before = os.umask(0)
    try:
        with closing(SqliteStore(tmp_path / "a.sqlite")) as store:
            store.put("c", "k", "secret")
            rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert rights == {f"a.sqlite{end}": 0o600 for end in ("", "-wal", "-shm", ".lock")}
