"""``[election]`` of the society file: who decides which agent leads."""

from __future__ import annotations

from typing import Any

import pytest

from resilience.consul_lock import ConsulLock
from resilience.memory import MemoryLock
from resilience.sqlite_lock import SqliteLock
from society import commands
from society.checking import look
from society.config import SocietyFile, load
from society.errors import SocietyFileError, StartError
from society.keeping import open_lock
from society.state import StateFolder
from society.terminal import Terminal
from tests.society.conftest import Told, WriteFile, free_ports


def written(write_file: WriteFile, **settings: object) -> Any:
    """Write a society with an ``[election]``."""
    told = {key: f'"{value}"' if isinstance(value, str) else value for key, value in settings.items()}
    lines = [f"{key} = {value}" for key, value in told.items()]
    path = write_file()
    path.write_text(path.read_text() + "\n".join(["", "[election]", *lines, ""]))
    return path


def opened(file: SocietyFile) -> Any:
    """The lock of a society."""
    state = StateFolder(file.society.state)
    state.prepare()
    return open_lock(file, state)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, SqliteLock),
        ({"lock": "sqlite", "ttl": 3}, SqliteLock),
        ({"lock": "memory"}, MemoryLock),
        ({"lock": "consul"}, ConsulLock),
        ({"lock": "consul", "consul": "http://elsewhere:1", "ttl": 0.5}, ConsulLock),
    ],
)
async def test_the_lock_is_what_the_file_says(
    write_file: WriteFile, settings: dict[str, object], expected: type
) -> None:
    file = load(written(write_file, **settings))
    lock = opened(file)
    assert isinstance(lock, expected)
    if not isinstance(lock, MemoryLock):
        assert lock._ttl == settings.get("ttl", 1.5)
    if isinstance(lock, ConsulLock):
        assert lock._client.url == settings.get("consul", "http://127.0.0.1:8500")
        assert lock._society == file.society.name
    await lock.close()


@pytest.mark.parametrize(
    ("settings", "key", "told"),
    [
        ({"lock": "etcd"}, "lock", "[election] lock: should be 'sqlite', 'consul' or 'memory', not \"etcd\""),
        ({"ttl": 0.1}, "ttl", "[election] ttl: should be greater than or equal to 0.5, not 0.1"),
        ({"ttl": 3600}, "ttl", "[election] ttl: should be less than or equal to 60, not 3600"),
        ({"lock": "memory", "ttl": 2}, "ttl", "[election] ttl: a lock in memory ends with its process"),
        (
            {"consul": "http://here:8500"},
            "consul",
            "[election] consul: the lock is 'sqlite'; write lock = \"consul\" too, or leave this out",
        ),
        ({"leader": "me"}, "leader", "[election] has no setting 'leader'"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_line(
    write_file: WriteFile, settings: dict[str, object], key: str, told: str
) -> None:
    path = written(write_file, **settings)
    with pytest.raises(SocietyFileError) as caught:
        load(path)
    assert told in str(caught.value)
    assert caught.value.line is not None
    assert path.read_text().splitlines()[caught.value.line - 1].startswith(f"{key} = ")
    assert "\n" not in str(caught.value)


async def test_what_is_no_address_is_told_at_the_start(write_file: WriteFile) -> None:
    file = load(written(write_file, lock="consul", consul="here:8500"))
    with pytest.raises(StartError, match=r"\[election\] consul: 'here:8500' is no address of a Consul agent"):
        opened(file)


def test_whether_consul_answers_is_looked_at(write_file: WriteFile) -> None:
    port = free_ports(1)
    file = load(written(write_file, lock="consul", consul=f"http://127.0.0.1:{port}"))
    (point,) = [each for each in look(file) if each.name == "election"]
    assert not point.ok
    assert point.text.startswith(f"Consul does not answer at http://127.0.0.1:{port} (")


def test_the_environment_says_where_consul_is(write_file: WriteFile) -> None:
    path = written(write_file, lock="consul", consul="http://here:1")
    assert load(path, {"LOCUTION_CONSUL": "http://there:2"}).election.url == "http://there:2"
    # Another society's variable is nothing to one that has no Consul.
    assert load(write_file(), {"LOCUTION_CONSUL": "http://there:2"}).election.lock == "sqlite"


async def test_who_leads_is_listed(write_file: WriteFile, start: Any, told: Told) -> None:
    file = load(write_file())
    listed = Told()
    assert await commands.groups(file, listed) == 0
    assert listed.events == [("groups", {"groups": 0})]
    society = await start(file)
    await told.wait_for("ready")
    listed = Told()
    assert await commands.groups(file, listed) == 0
    (event, group), members, last = listed.events
    assert (event, last) == ("group", ("groups", {"groups": 1}))
    assert members == ("members", {"group": "coordinators", "members": ["coordinator@localhost"]})
    assert (group["name"], group["leader"], group["term"]) == ("coordinators", "coordinator@localhost", 1)
    assert 0 <= group["seconds"] < 60
    assert group["failover"] is None, "it is the first one"
    await society.stop()
    listed = Told()
    assert await commands.groups(file, listed) == 0
    assert listed.events[0] == (
        "group",
        {
            "name": "coordinators",
            "leader": None,
            "term": None,
            "since": None,
            "seconds": None,
            "failover": None,
        },
    )
    again = await start(file)
    listed = Told()
    assert await commands.groups(file, listed) == 0
    group = listed.events[0][1]
    assert group["term"] == 2
    assert 0 < group["failover"] < 60
    await again.stop()


async def test_what_only_one_process_knows_cannot_be_listed(write_file: WriteFile) -> None:
    file = load(written(write_file, lock="memory"))
    with pytest.raises(StartError, match=r'\[election\] lock is "memory": who leads only that process knows'):
        await commands.groups(file, Told())


async def test_while_consul_does_not_answer_that_is_said(write_file: WriteFile) -> None:
    file = load(written(write_file, lock="consul", consul=f"http://127.0.0.1:{free_ports(1)}"))
    with pytest.raises(StartError, match="Consul does not answer at"):
        await commands.groups(file, Told())


def test_people_are_shown_who_leads(capsys: pytest.CaptureFixture[str]) -> None:
    show = Terminal()
    since = "2026-11-20T12:00:00+00:00"
    show("group", name="g", leader="a@here", term=3, since=since, seconds=61.4, failover=1.3456)
    show("group", name="f", leader="a@here", term=1, since=since, seconds=61.4, failover=None)
    show("group", name="h", leader=None, term=None, since=None, seconds=None, failover=None)
    show("members", group="g", members=["a@here", "b@here"])
    show("groups", groups=2)
    show("groups", groups=0)
    assert capsys.readouterr().out.splitlines() == [
        f"g: a@here leads in term 3 for 61 s, since {since}; before that nobody led for 1.35 s",
        f"f: a@here leads in term 1 for 61 s, since {since}",
        "h: nobody leads",
        "g: 2 members, a@here, b@here",
        "nobody has led a group yet",
    ]
