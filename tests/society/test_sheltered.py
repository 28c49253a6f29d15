"""`society.keeping.Sheltered`: no dead letter is lost because a disk is full."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resilience.dead_letters import DeadLetter
from resilience.memory import MemoryDeadLetters
from resilience.sqlite_store import SqliteStore, StoreError
from society.keeping import Sheltered

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def letter(number: int) -> DeadLetter:
    return DeadLetter(
        agent="a@localhost",
        peer="b@localhost",
        is_inbound=True,
        cause="unreachable",
        text=f"letter {number}",
        original="{}",
        when=NOW + timedelta(seconds=number),
    )


def test_letters_of_the_file_and_of_memory_are_one_pile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = SqliteStore(tmp_path / "a.sqlite")
    letters = Sheltered(file, MemoryDeadLetters())
    assert (letters.count(), letters.oldest()) == (0, None)

    def full(letter: DeadLetter) -> None:
        raise StoreError(file.path, "cannot grow, because the disk is full; make room")

    with monkeypatch.context() as patched:
        patched.setattr(file, "add", full)
        letters.add(letter(0))
    letters.add(letter(1))
    found = letters.list()
    assert found == [letter(1), letter(0)]
    assert (letters.count("a@localhost"), letters.oldest()) == (2, NOW)
    for each in found:
        assert letters.get(each.id) == each
        assert letters.drop(each.id)
        assert letters.get(each.id) is None
        assert not letters.drop(each.id)
    letters.add(replace(letter(2), id="own"))
    assert letters.get("own") == letter(2)
    file.close()
