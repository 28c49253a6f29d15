from __future__ import annotations

import os
import socket
import sys

import pytest

from society import checking
from society.checking import Point, look
from society.config import SERVER, SocietyFile, load
from society.state import StateFolder
from tests.society.conftest import AGENTS, free_ports


def points(file: SocietyFile) -> dict[str, Point]:
    return {point.name: point for point in look(file)}


def test_a_society_that_would_run_has_no_fault(file):
    found = points(file)
    assert [point for point in found.values() if not point.ok] == []
    assert list(found) == [
        "file", "agent directory", "agent coordinator", "learning", "state", "delivery", "data", "xmpp",
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
    assert "in the folder of Locution: pip install -e '.[learning]'" in faults["learning"]
    assert "cannot be used" in faults["state"]
    assert "there is no folder" in faults["data"]
    assert f"port {file.xmpp.port}: Address already in use" in faults["xmpp"]


def test_the_port_of_the_metrics_is_looked_at_where_the_file_names_one(write_file):
    port = free_ports(1)
    path = write_file()
    path.write_text(f"{path.read_text()}\n[metrics]\nport = {port}\n")
    assert points(load(path))["metrics"] == Point("metrics", True, f"127.0.0.1 port {port} is free")
    with socket.create_server(("127.0.0.1", port)):
        assert not points(load(path))["metrics"].ok
    path.write_text(f"{path.read_text()}enabled = false\n")
    assert "metrics" not in points(load(path))


def test_a_kind_that_cannot_be_made_is_found(write_file, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"unmade_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from agents.base import LocutionAgent\n"
        "class Kind(LocutionAgent):\n    def __init__(self, jid): pass\n"
    )
    point = points(load(write_file(agents=f'[[agent]]\nname = "a"\nkind = "{name}:Kind"\n')))["agent a"]
    assert not point.ok
    assert f"Kind.__init__ ({name}.py, line 3) does not take what the society gives it" in point.text


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


def authority_of(file: SocietyFile) -> list[str]:
    return [point.text for point in look(file) if point.name == "authority" and not point.ok]


def test_rules_that_can_never_match_are_told_with_their_lines(write_file):
    rules = """
[[authority.rule]]
who = ["@society", "@ofice"]
[[authority.rule]]
who = ["*"]
receivers = ["coordinator",
             "directry"]
actions = ["serch", "train"]
[authority.groups]
office = ["ann@localhost"]
"""
    path = write_file(agents=AGENTS + rules)
    lines = path.read_text().splitlines()
    who, receivers, actions = (
        next(number for number, line in enumerate(lines, 1) if word in line)
        for word in ("@ofice", "receivers", "serch")
    )
    assert authority_of(load(path)) == [
        f"{path}:{who}: rule 1 of [authority] can never match for '@ofice': this society has no group "
        "'@ofice'; did you mean '@office'?",
        f"{path}:{receivers}: rule 2 of [authority] can never match for 'directry': this society has no "
        "agent 'directry'; did you mean 'directory'?",
        f"{path}:{actions}: rule 2 of [authority] can never match for 'serch': this society has no term "
        "'serch'; did you mean 'search'?",
    ]


def test_where_a_kind_cannot_be_imported_nobody_knows_its_terms(write_file):
    rules = """
[[authority.rule]]
who = ["*"]
actions = ["something"]
"""
    absent = '[[agent]]\nname = "a"\nkind = "absent:Kind"\n'
    assert authority_of(load(write_file(agents=AGENTS + rules))) != []
    assert authority_of(load(write_file(agents=absent + rules))) == []


def test_a_policy_that_can_be_obeyed_is_told_in_a_few_words(write_file):
    file = load(write_file(agents=AGENTS + '[[authority.rule]]\nwho = ["@society"]\n'))
    assert points(file)["authority"] == ("authority", True, "1 rule; nothing is signed")
    assert "authority" not in points(load(write_file()))


@pytest.mark.parametrize("xmpp", ["registration = true", 'server = "external"'])
def test_where_others_may_have_accounts_it_is_told_what_they_may_do(write_file, xmpp):
    point = points(load(write_file(xmpp=xmpp)))["authority"]
    assert point.ok
    assert point.text.startswith("whoever has an account at localhost may ask for anything")
    written = load(write_file(agents=AGENTS + '[[authority.rule]]\nwho = ["@society"]\n', xmpp=xmpp))
    assert points(written)["authority"].text == "1 rule; nothing is signed"


def test_the_keys_are_shown_that_others_may_have_to_know(write_file):
    file = load(write_file(agents=AGENTS + "[authority]\nrequire_signature = true\n"))
    found = points(file)
    assert found["authority"].text == "no rules: own domain only; everything is signed"
    assert found["key of directory"].text == "it is made on first start"
    keys = StateFolder(file.society.state).keys(["directory"])
    found = points(file)
    assert found["key of directory"].text == keys["directory"].public
    assert found["key of operator"].ok
    (file.society.state / "keys.json").write_text('{"directory": "secret"}')
    assert not points(file)["keys"].ok
