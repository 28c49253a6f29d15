"""A process is killed while a task is under way: its learner's, or its coordinator's; the task ends well."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.conftest import Place

pytest.importorskip("torch")


def test_a_task_survives_the_death_of_its_learner(place: Place) -> None:
    # In any order: those that are first wait for the server.
    learners = {
        f"{name}@localhost": place.start("up", "--only", name, "--json")
        for name in ("learner-1", "learner-2")
    }
    core = place.start("up", "--only", "xmpp-server", "directory", "coordinator", "--json")
    for running in (core, *learners.values()):
        running.event("ready")
    long = ("--network", "cnn", "--epochs", "150", "--patience", "150")
    train = place.start("train", "digits.csv", "--target", "digit", *long, "--json")
    winner = train.event("awarded")["learner"]
    train.event("progress")
    assert learners[winner].end(signal.SIGKILL) == -signal.SIGKILL

    lost = train.event("award-lost")
    assert lost["learner"] == winner
    successor = train.event("awarded")
    assert successor["learner"] in learners.keys() - {winner}
    assert successor["attempt"] == 2
    trained = train.event("trained")
    assert trained["learner"] == successor["learner"]
    assert trained["model"]["metrics"]["accuracy"] >= 0.9
    assert train.end() == 0
    assert train.errors == []

    # What is left of the society still works, and goes in good order.
    code, predict = place.run("predict", trained["label"], "digits.csv", "--drop", "digit", "--first", "1")
    assert code == 0, predict.told()
    assert learners[successor["learner"]].end(signal.SIGTERM) == 0
    assert core.end(signal.SIGTERM) == 0


def test_a_task_survives_the_death_of_its_coordinator(place: Place) -> None:
    """The next one leads soon, finds the task in the ledger, and answers the client, who need do nothing.

    What the learner has begun it goes on with: there is one training, and the client sees the rest of it.
    """
    file = place.folder / "digits.toml"
    file.write_text(file.read_text() + '\n[[agent]]\nname = "coordinator-2"\nkind = "coordinator"\n')
    rest = place.start("up", "--only", "xmpp-server", "directory", "learner-1", "learner-2", "--json")
    rest.event("ready")
    first = place.start("up", "--only", "coordinator", "--json")
    first.event("ready")
    second = place.start("up", "--only", "coordinator-2", "--json")
    second.event("ready")
    code, groups = place.run("groups", "--json")
    assert (code, groups.events[0]["leader"], groups.events[0]["term"]) == (0, "coordinator@localhost", 1)
    long = ("--network", "cnn", "--epochs", "60", "--patience", "60")
    train = place.start("train", "digits.csv", "--target", "digit", *long, "--json")
    reached = train.event("progress")["epoch"]
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    assert train.event("taken-over")["leader"] == "coordinator-2@localhost"
    assert train.event("progress")["epoch"] > reached
    trained = train.event("trained")
    assert trained["model"]["metrics"]["accuracy"] >= 0.9
    assert train.end() == 0
    assert train.errors == []
    assert len(train.of("called")) == len(train.of("awarded")) == len(train.of("trained")) == 1
    epochs = [each["epoch"] for each in train.of("progress")]
    assert epochs == sorted(set(epochs)), "it was not begun anew"
    assert (trained["epochs"], trained["label"]) == (60, "digits:1")
    code, groups = place.run("groups", "--json")
    assert (code, groups.events[0]["leader"], groups.events[0]["term"]) == (0, "coordinator-2@localhost", 2)
    for running in (second, rest):
        assert running.end(signal.SIGTERM) == 0
