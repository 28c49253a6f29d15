"""Starting, stopping and starting again."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from tests.e2e.conftest import ROOT, Place

pytest.importorskip("torch")


def test_a_society_stops_in_good_order_and_remembers_its_models(place: Place) -> None:
    first = place.start("up", "--json")
    ready = first.event("ready")
    assert [agent["name"] for agent in ready["agents"]] == [
        "directory", "coordinator", "learner-1", "learner-2",
    ]  # fmt: skip
    code, train = place.run("train", "digits.csv", "--target", "digit", "--epochs", "3")
    assert code == 0, train.told()
    began = time.monotonic()
    assert first.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10
    assert [event["event"] for event in first.events] == ["starting", "ready", "stopping", "stopped"]
    assert first.errors == []

    code, agents = place.run("agents")
    assert code == 1
    assert "no society 'digits' at 127.0.0.1" in agents.errors[0]

    again = place.start("up")
    again.line(lambda line: line.startswith("ready: digits, 4 agents"), "that it is ready")
    code, predict = place.run("predict", "digits", "digits.csv", "--first", "1")
    assert code == 0, predict.told()
    assert again.end(signal.SIGINT) == 0


def test_a_society_that_trains_stops_in_time_as_well(place: Place) -> None:
    running = place.start("up", "--json")
    running.event("ready")
    train = place.start(
        "train", "digits.csv", "--target", "digit", "--epochs", "100000", "--patience", "100000", "--json"
    )
    train.event("progress")
    began = time.monotonic()
    assert running.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 10
    assert train.end(signal.SIGTERM) == 130


def test_a_second_signal_ends_it_at_once(place: Place) -> None:
    # Nobody serves, so this one is still waiting when the signals come.
    running = place.start("up", "--only", "xmpp-server", "--json")
    running.event("ready")
    running.process.send_signal(signal.SIGSTOP)
    running.process.send_signal(signal.SIGTERM)
    running.process.send_signal(signal.SIGINT)
    running.process.send_signal(signal.SIGCONT)
    assert running.end() in {128 + signal.SIGINT, 128 + signal.SIGTERM}


def test_the_server_can_run_alone(place: Place) -> None:
    server = place.start("xmpp-server", "--json")
    assert server.event("ready")["agents"] == []
    with socket.create_connection(("127.0.0.1", int(place.variables["LOCUTION_XMPP_PORT"])), timeout=10):
        pass
    assert server.end(signal.SIGTERM) == 0


def test_passwords_are_never_shown(place: Place) -> None:
    running = place.start("up", "--only", "xmpp-server", "directory", "--verbose")
    running.line(lambda line: line.startswith("ready"), "that it is ready")
    assert running.end(signal.SIGTERM) == 0
    passwords = (place.folder / ".locution" / "passwords.json").read_text().split('"')[3::4]
    assert len(passwords) == 5
    assert not any(password in running.told() for password in passwords)


def test_a_users_own_agents_run_from_the_example(place: Place) -> None:
    for name in ("parcels.toml", "parcels.py"):
        (place.folder / name).write_text((ROOT / "examples" / name).read_text())
    (place.folder / "parcels.toml").replace(place.folder / "digits.toml")
    shop = place.start("up", "--json")
    shop.event("ready")
    code, send = place.run("send", "shop", "request", '{"deliver": {"parcel": "book", "kilograms": 2}}')
    assert code == 0, send.told()
    assert send.lines[-1] == '  {"delivered":{"parcel":"book","carrier":"bicycle"}}'
    assert shop.end(signal.SIGTERM) == 0
