from __future__ import annotations

import os
import socket
import sys

import pytest

from society import checking
from society.checking import Point, look
from society.config import SERVER, SocietyFile, load


def points(file: SocietyFile) -> dict[str, Point]:
    return {point.name: point for point in look(file)}


def test_a_society_that_would_run_has_no_fault(file):
    found = points(file)
    assert [point for point in found.values() if not point.ok] == []
    assert list(found) == [
        "file", "agent directory", "agent coordinator", "learning", "state", "data", "xmpp",
        "dashboard of directory", "dashboard of coordinator",
    ]  # fmt: skip


def test_every_fault_is_found_at_once(write_file, monkeypatch):
    path = write_file(
        agents='[[agent]]\nname = "a"\nkind = "absent:Kind"\n[[agent]]\nname = "b"\nkind = "learner"\n',
        society='data = "absent"\nstate = "society.toml"',
    )
    file = load(path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with (
        socket.create_server(("127.0.0.1", file.xmpp.port)),
        socket.create_server(("127.0.0.1", file.dashboard_port("b"))),
    ):
        found = points(file)
    faults = {point.name: point.text for point in found.values() if not point.ok}
    assert set(faults) == {
        "agent a", "agent b", "learning", "state", "data", "xmpp", "dashboard of b"
    }  # fmt: skip
    assert "there is no module 'absent'" in faults["agent a"]
    assert "pip install 'locution[learning]'" in faults["learning"]
    assert "cannot be used" in faults["state"]
    assert "there is no folder" in faults["data"]
    assert f"port {file.xmpp.port}: Address already in use" in faults["xmpp"]


async def test_a_society_that_runs_already_says_so_once(write_file, start):
    file = load(write_file())
    await start(file)
    found = points(file)
    assert [point for point in found.values() if not point.ok] == []
    assert found["running"].text == f"test runs already, in process {os.getpid()}"
    assert not {"xmpp", "dashboard of directory", "dashboard of coordinator"} & found.keys()


async def test_of_a_part_that_runs_the_rest_is_looked_at(write_file, start):
    file = load(write_file())
    await start(file, SERVER, "directory")
    with socket.create_server(("127.0.0.1", file.dashboard_port("coordinator"))):
        found = points(file)
    assert found["running"].text == f"xmpp-server, directory run already, in process {os.getpid()}"
    assert [point.name for point in found.values() if not point.ok] == ["dashboard of coordinator"]


def test_what_is_counted_is_counted_in_words(write_file):
    path = write_file(agents='[[agent]]\nname = "a"\nkind = "coordinator"\n')
    (path.parent / "one.csv").touch()
    found = points(load(path))
    assert found["file"].text.endswith("test, 1 agent")
    assert found["data"].text.endswith(": 1 dataset")


def test_without_learners_nobody_needs_torch(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    point = points(file)["learning"]
    assert point.ok
    assert "no learner needs it here" in point.text


@pytest.mark.parametrize("answers", [True, False])
def test_an_external_server_must_answer(write_file, answers):
    file = load(write_file(xmpp='server = "external"'))
    if answers:
        with socket.create_server(("127.0.0.1", file.xmpp.port)):
            point = points(file)["xmpp"]
    else:
        point = points(file)["xmpp"]
    assert point.ok is answers
    assert ("a server answers" if answers else "no server at") in point.text


def test_a_host_that_no_resolver_can_be_asked_for_is_a_fault():
    for point in (checking._free("xmpp", "a..b", 1), checking._reachable(Anywhere())):
        assert not point.ok
        assert "a..b port 1: " in point.text


class Anywhere:
    """A society file whose server is at a host that cannot be."""

    class xmpp:  # noqa: N801 - a table of the file
        host, port = "a..b", 1
