from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from resilience.memory import MemoryRecords
from resilience.sqlite_store import SqliteStore
from resilience.sqlite_store import StoreError as DatabaseError
from society.xmpp_server import MemoryAccounts, MemoryOffline, PasswordError, StoreError
from society.xmpp_server.rosters import Item
from society.xmpp_stores import ACCOUNTS, RecordedAccounts, RecordedOffline, RecordedRosters


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[SqliteStore]:
    """A database whose disk is full."""
    with closing(SqliteStore(tmp_path / "a.sqlite")) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        yield store


def test_what_a_stranger_registered_is_there_after_a_restart(records):
    accounts = RecordedAccounts({}, records)
    accounts.set_password("ann", "pencil")
    before = accounts.credentials("ann")
    again = RecordedAccounts({}, records)
    assert "ann" in again
    assert again.credentials("ann") == before
    again.remove("ann")
    assert "ann" not in again
    assert "ann" not in RecordedAccounts({}, records)


def test_a_password_is_never_written_down(records):
    accounts = RecordedAccounts({"learner-1": "inner-secret"}, records)
    accounts.set_password("ann", "outer-secret")
    accounts.set_password("learner-1", "other-secret")
    assert accounts.credentials("learner-1") is not None
    assert set(records.all(ACCOUNTS)) == {"ann"}
    assert "secret" not in str(records._records)


def test_the_societys_own_accounts_come_first_and_are_not_remembered(records):
    RecordedAccounts({}, records).set_password("learner-1", "usurped")
    memory = MemoryAccounts()
    memory.set_password("learner-1", "own")
    own = RecordedAccounts({"learner-1": "own"}, records).credentials("learner-1")
    assert own is not None
    usurped = RecordedAccounts({}, records).credentials("learner-1")
    assert usurped is not None
    assert own.salt != usurped.salt
    assert "learner-2" not in RecordedAccounts({"learner-1": "own"}, records)


def test_a_forbidden_password_changes_nothing(records):
    accounts = RecordedAccounts({}, records)
    with pytest.raises(PasswordError):
        accounts.set_password("ann", "\x00")
    assert "ann" not in accounts
    assert dict(records.all(ACCOUNTS)) == {}


def test_waiting_messages_survive_a_restart_in_order(records):
    offline = RecordedOffline(records)
    for number in range(12):
        offline.append("ann", f"<message id='{number}'/>")
    offline.append("bob", "<message/>")
    again = RecordedOffline(records)
    assert (again.count("ann"), again.count("bob"), again.count("eve")) == (12, 1, 0)
    assert (again.size("ann"), again.size("bob"), again.size("eve")) == (206, 10, 0)
    assert again.total() == 216
    assert again.take("ann") == [f"<message id='{number}'/>" for number in range(12)]
    assert (again.take("ann"), again.count("ann"), again.size("ann"), again.total()) == ([], 0, 0, 10)
    again.append("ann", "<late/>")
    assert RecordedOffline(records).take("ann") == ["<late/>"]
    assert RecordedOffline(records).take("bob") == ["<message/>"]


@pytest.mark.parametrize("make", [MemoryOffline, lambda: RecordedOffline(MemoryRecords())])
def test_what_waits_is_measured_in_bytes(make):
    offline = make()
    offline.append("ann", "<m>ü</m>")
    offline.append("ann", "<m/>")
    offline.append("bob", "<m/>")
    assert (offline.size("ann"), offline.size("bob"), offline.size("eve"), offline.total()) == (13, 4, 0, 17)
    offline.take("ann")
    offline.take("eve")
    assert (offline.size("ann"), offline.total()) == (0, 4)
    offline.append("ann", "<m/>")
    assert (offline.size("ann"), offline.total()) == (4, 8)


def test_rosters_survive_a_restart(records):
    item = Item(jid="bob@localhost", name="Bob", groups=("a", "b"), to=True, listed=True)
    rosters = RecordedRosters(records)
    rosters.put("ann", item)
    rosters.put("ann", Item(jid="eve@localhost/x"))
    rosters.remove("ann", "eve@localhost/x")
    rosters.remove("ann", "eve@localhost/x")
    rosters.remove("nobody", "x")
    again = RecordedRosters(records)
    assert again.items("ann") == [item]
    assert again.get("ann", "bob@localhost") == item
    assert (again.get("ann", "eve@localhost/x"), again.items("nobody")) == (None, [])


def test_a_full_disk_is_told_in_the_servers_words_and_nothing_is_taken(full):
    accounts, offline, rosters = RecordedAccounts({}, full), RecordedOffline(full), RecordedRosters(full)
    with pytest.raises(StoreError, match="the disk is full"):
        offline.append("ann", "x" * 100_000)
    assert (offline.count("ann"), offline.total(), offline.take("ann")) == (0, 0, [])
    with pytest.raises(StoreError, match="the disk is full"):
        rosters.put("ann", Item(jid="b@localhost", name="x" * 100_000))
    assert rosters.items("ann") == []
    accounts.set_password("ann", "fits")
    assert "ann" in accounts


def test_messages_stay_when_they_cannot_be_removed(records, monkeypatch):
    offline = RecordedOffline(records)
    offline.append("ann", "<message/>")

    def fail(*_: object) -> None:
        raise DatabaseError(Path("x"), "is full")

    monkeypatch.setattr(records, "remove", fail)
    with pytest.raises(StoreError):
        offline.take("ann")
    assert (offline.size("ann"), offline.total()) == (10, 10)
    monkeypatch.undo()
    assert offline.take("ann") == ["<message/>"]
