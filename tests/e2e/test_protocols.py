"""Every interaction protocol between two processes, over a server in a third."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from protocols.registry import PROTOCOLS
from tests.e2e.actors import ANN, BOB, BROKER, SCENES
from tests.e2e.conftest import ROOT


class Actor:
    """A process that plays a part of `tests.e2e.actors`."""

    def __init__(self, *part: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.actors", *part],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        with self.process:  # closes the pipes, which is how it knows that it is over, and waits
            pass

    def ask(self, line: str = "") -> Any:
        """Say something and wait for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.next()

    def next(self) -> Any:
        """Wait for the next thing that it tells."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the process has ended with {self.process.wait()}"
        return json.loads(line)


class Stage:
    """The initiator, and the participants, which are somewhere else."""

    def __init__(self, initiator: Actor, participants: Actor) -> None:
        self.initiator, self.participants = initiator, participants

    @property
    def here(self) -> dict[str, Any]:
        """What tells that the participants' process has answered."""
        return {"here": {"pid": self.participants.pid, "number": 0}}

    def play(self, protocol: str) -> Any:
        """Let the initiator begin a protocol; return what came of it."""
        return self.initiator.ask(protocol)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give three processes: server, participants, initiator."""
    folder: Path = tmp_path_factory.mktemp("server")
    with Actor("server", str(folder)) as server:
        told = server.next()
        where = str(told["port"]), told["ca_file"]
        with Actor("participants", *where) as participants, Actor("initiator", *where) as initiator:
            assert participants.next() == initiator.next() == "ready"
            yield Stage(initiator, participants)
            while initiator.ask() or participants.ask():
                pass  # the last cancel may still be under way; in the end nothing is left open
    assert [each.process.returncode for each in (server, participants, initiator)] == [0, 0, 0]


def test_there_is_a_scene_for_each_protocol() -> None:
    assert sorted(SCENES) == sorted({each.name for each in PROTOCOLS.values()})


@pytest.mark.parametrize("protocol", ["fipa-request", "fipa-query", "fipa-request-when"])
def test_what_is_asked_is_answered_in_the_other_process(stage: Stage, protocol: str) -> None:
    assert stage.play(protocol) == stage.here
    assert stage.participants.pid != stage.initiator.pid


def test_propose(stage: Stage) -> None:
    assert stage.play("fipa-propose") == [{"move": {"to": "here"}}, "Refused"]


def test_vote(stage: Stage) -> None:
    assert stage.play("locution-vote") == [False, [ANN]]
    heard = sorted((stage.participants.next() for _ in range(2)), key=lambda line: line["of"])
    assert heard == [{"decided": False, "of": name} for name in ("ann", "bob")]


def test_contract_net(stage: Stage) -> None:
    assert stage.play("fipa-contract-net") == {ANN: stage.here}


def test_iterated_contract_net(stage: Stage) -> None:
    assert stage.play("fipa-iterated-contract-net") == [[[3, 5], [1.5, 2.5]], {ANN: stage.here}]


def test_subscribe(stage: Stage) -> None:
    expected = [{"here": {"pid": stage.participants.pid, "number": number}} for number in range(3)]
    assert stage.play("fipa-subscribe") == expected


def test_english_auction(stage: Stage) -> None:
    sold = stage.play("fipa-english-auction")
    # At 3 the quicker one of both gets the bid; at 5 ann has left. If bob holds 3, nobody bids 5.
    assert sold in ([[BOB, 3]], [[BOB, 5]])
    assert stage.participants.next() == {"bought": sold[0][1], "by": "bob"}


def test_dutch_auction(stage: Stage) -> None:
    assert stage.play("fipa-dutch-auction") == [[BOB, 5]]


@pytest.mark.parametrize("protocol", ["fipa-brokering", "fipa-recruiting"])
def test_brokering_and_recruiting(stage: Stage, protocol: str) -> None:
    through = {ANN: BROKER, BOB: BROKER} if protocol == "fipa-brokering" else {ANN: ANN, BOB: BOB}
    assert stage.play(protocol) == {name: [stage.here, sender] for name, sender in through.items()}


def test_who_is_designated_hears_the_replies_of_those_that_were_recruited(stage: Stage) -> None:
    assert stage.play("designated") == [[ANN, BOB], 0]
    heard = sorted((stage.participants.next() for _ in range(2)), key=lambda line: line["of"])
    assert heard == [{"heard": stage.participants.pid, "of": name} for name in (ANN, BOB)]
