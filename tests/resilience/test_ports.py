"""The ports of `resilience`: one body of tests for every binding."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resilience.dead_letters import DeadLetter, DeadLetters
from resilience.election import Lock
from resilience.memory import MemoryDeadLetters, MemoryLock, MemoryRecords
from resilience.records import Records
from resilience.sqlite_store import SqliteStore

NOW = datetime(2026, 11, 20, 12, 30, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def letters(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DeadLetters]:
    """Keep five dead letters."""
    if request.param == "memory":
        yield MemoryDeadLetters(limit=5)
    else:
        store = SqliteStore(tmp_path / "store", letters=5)
        yield store
        store.close()


@pytest.fixture(params=["memory", "sqlite"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    """Keep records."""
    if request.param == "memory":
        yield MemoryRecords()
    else:
        store = SqliteStore(tmp_path / "store")
        yield store
        store.close()


@pytest.fixture(params=["memory"])
def lock() -> Lock:
    """Decide elections."""
    return MemoryLock()


def letter(number: int, agent: str = "a@here") -> DeadLetter:
    """Make a letter."""
    return DeadLetter(
        agent=agent,
        peer="peer@here",
        is_inbound=number % 2 == 0,
        cause="unreachable",
        text=f"letter {number}",
        original="ä\x00\n'\"",
        when=NOW,
    )


def test_letters_come_back_newest_first_as_they_were(letters: DeadLetters) -> None:
    assert letters.list() == ()
    for number in range(3):
        letters.add(letter(number))
    assert list(letters.list()) == [letter(2), letter(1), letter(0)]


def test_letters_of_one_agent_and_no_more_than_asked_for(letters: DeadLetters) -> None:
    for number in range(4):
        letters.add(letter(number, agent=f"agent{number % 2}@here"))
    assert [each.text for each in letters.list("agent1@here")] == ["letter 3", "letter 1"]
    assert [each.text for each in letters.list("agent1@here", limit=1)] == ["letter 3"]
    assert letters.list("nobody@here") == ()
    assert len(letters.list(limit=3)) == 3


def test_old_letters_make_way(letters: DeadLetters) -> None:
    for number in range(12):
        letters.add(letter(number))
    assert [each.text for each in letters.list()] == [f"letter {number}" for number in (11, 10, 9, 8, 7)]


def test_letters_are_found_and_dropped_by_what_they_are_filed_under(letters: DeadLetters) -> None:
    for number in range(3):
        letters.add(letter(number))
    letters.add(replace(letter(3), id="own", conversation_id="c", protocol="p", state="S", attempts=5))
    found = letters.list()
    assert len({each.id for each in found}) == 4
    assert found[0].id == "own"
    for each in found:
        assert letters.get(each.id) == each
    assert letters.get("own") == replace(letter(3), conversation_id="c", protocol="p", state="S", attempts=5)
    assert letters.drop(found[1].id)
    assert not letters.drop(found[1].id)
    assert letters.get(found[1].id) is None
    for unknown in ("", "x", f"{found[2].id}x", f"0{found[2].id}"):
        assert letters.get(unknown) is None
        assert not letters.drop(unknown)
    assert [each.text for each in letters.list()] == ["letter 3", "letter 1", "letter 0"]


def test_a_letter_under_an_id_of_its_own_is_kept_once(letters: DeadLetters) -> None:
    for number in range(3):
        letters.add(replace(letter(number), id="own"))
    assert letters.list() == (letter(0),)


def test_letters_are_counted_and_the_oldest_is_known(letters: DeadLetters) -> None:
    assert (letters.count(), letters.oldest()) == (0, None)
    for number in range(4):
        when = NOW + timedelta(seconds=number)
        letters.add(replace(letter(number, agent=f"agent{number % 2}@here"), when=when))
    assert (letters.count(), letters.oldest()) == (4, NOW)
    assert letters.count("agent1@here") == 2
    assert letters.oldest("agent1@here") == NOW + timedelta(seconds=1)
    assert (letters.count("nobody@here"), letters.oldest("nobody@here")) == (0, None)


def test_records_are_written_replaced_and_removed(records: Records) -> None:
    assert records.all("c") == {}
    records.put("c", "b", "1")
    records.put("c", "a", "2")
    records.put("c", "b", "3")
    records.put("other", "b", "4")
    assert list(records.all("c").items()) == [("a", "2"), ("b", "3")]
    records.remove("c", "b")
    records.remove("c", "b")
    records.remove("nowhere", "b")
    assert records.all("c") == {"a": "2"}
    assert records.all("other") == {"b": "4"}


def test_what_was_read_does_not_change(records: Records) -> None:
    records.put("c", "a", "1")
    read = records.all("c")
    records.put("c", "a", "2")
    records.put("c", "b", "2")
    assert read == {"a": "1"}


async def test_one_holds_the_lock_under_a_term_that_grows(lock: Lock) -> None:
    assert await lock.acquire("g", "one") == 1
    assert await lock.acquire("g", "two") is None
    assert await lock.acquire("g", "one") is None
    assert await lock.acquire("other", "two") == 1
    await lock.release("g", 1)
    await lock.release("g", 1)
    assert await lock.acquire("g", "two") == 2
    await lock.release("g", 1)  # a leader of the past
    assert await lock.acquire("g", "one") is None


async def test_waiting_for_the_lock_to_be_free(lock: Lock) -> None:
    await asyncio.wait_for(lock.wait_free("g"), 1)
    term = await lock.acquire("g", "one")
    assert term is not None
    waiting = asyncio.ensure_future(lock.wait_free("g"))
    other = asyncio.ensure_future(lock.wait_free("other"))
    await asyncio.wait_for(other, 1)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await lock.release("g", term)
    await asyncio.wait_for(waiting, 1)


async def test_waiting_for_the_lock_to_be_lost(lock: Lock) -> None:
    term = await lock.acquire("g", "one")
    assert term is not None
    waiting = asyncio.ensure_future(lock.wait_lost("g", term))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await lock.release("g", term)
    assert await lock.acquire("g", "two") == term + 1
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(lock.wait_lost("g", term), 1)


async def test_waiting_may_be_cancelled(lock: Lock) -> None:
    term = await lock.acquire("g", "one")
    assert term is not None
    for waiting in (
        asyncio.ensure_future(lock.wait_free("g")),
        asyncio.ensure_future(lock.wait_lost("g", term)),
    ):
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await lock.release("g", term)
    await asyncio.wait_for(lock.wait_free("g"), 1)
