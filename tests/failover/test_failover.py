"""A leader that is killed or frozen is followed soon, and nobody obeys it any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from behaviours.fencing import Fence
from resilience.election import TTL
from tests.failover.plotting import plot
from tests.failover.running import Accepted, Found, Running
from tests.requirements import require
from tests.resilience.consul_server import PATH

SOON = 5.0
"""Seconds; what is hoped for is a little less than the TTL."""


@pytest.mark.parametrize("lock", ["sqlite", pytest.param("consul", marks=pytest.mark.consul)])
async def test_a_leader_that_is_killed_or_frozen_is_followed(tmp_path: Path, lock: str) -> None:
    require(lock == "sqlite" or PATH is not None, "consul")
    found = await Running(tmp_path, lock, TTL, 20).run(kills=1, freezes=1)
    assert found.faults == []
    assert len(found.terms) >= 3
    assert len(found.killed) == len(found.frozen) == 1
    assert max(*found.killed, *found.frozen) < SOON
    assert {each.term for each in found.accepted} <= found.terms.keys()
    assert len(found.ended) > 100
    assert {how for _request, how in found.ended} == {"well"}


async def test_a_leader_that_goes_on_after_its_time_is_refused(tmp_path: Path) -> None:
    found = await Running(tmp_path, "sqlite", 0.6, 20, is_stubborn=True).run(kills=0, freezes=1)
    assert found.refused > 0
    assert found.faults == []


async def test_without_the_fence_it_would_be_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: what the run looks for can be found."""
    monkeypatch.setattr(Fence, "objection", lambda _fence, _message: None)
    running = Running(tmp_path, "sqlite", 0.6, 20, is_stubborn=True)
    running.found.refused = 1  # nobody will be
    found = await running.run(kills=0, freezes=2)
    assert any("was obeyed after term" in fault for fault in found.faults)


def test_what_must_not_be_is_seen() -> None:
    found = Found(terms={1: "ann", 2: "ben"}, in_flight=1)
    found.accepted += [
        Accepted(leader="ann", term=1, request=(7, 1)),
        Accepted(leader="ben", term=2, request=(8, 1)),
    ]
    assert found.faults == []
    found.accepted.append(Accepted(leader="ann", term=1, request=(7, 1)))
    assert found.obeyed == ["term 1 was obeyed after term 2"]
    found.accepted[:] = [Accepted(leader="cid", term=2)]
    assert found.obeyed == found.faults == ["cid was obeyed in term 2, of ben"]


def test_a_request_that_does_not_end_once_is_seen() -> None:
    def found(*ended: tuple[int, str], done: tuple[int, ...] = (1,), **settings: Any) -> Found:
        accepted = [Accepted(leader="ann", term=1, request=(7, each)) for each in done]
        told = [((7, number), how) for number, how in ended]
        return Found(terms={1: "ann"}, in_flight=1, accepted=accepted, ended=told, **settings)

    assert found((1, "well")).faults == []
    assert found(done=(1,)).faults == [], "its leader fell"
    assert found(done=(1,)).unanswered == 1
    assert found((1, "well"), done=(1, 1)).faults == ["request (7, 1) was done 2 times"]
    assert found((1, "well"), (1, "well")).faults == ["request (7, 1) ended 2 times"]
    assert found((1, "well"), (2, "well")).faults == ["request (7, 2) was answered and never done"]
    assert found((1, "Failed")).faults == ["request (7, 1) ended as Failed"]
    assert found((1, "Refused"), is_stubborn=True).faults == []
    assert found(done=(1, 2)).faults == ["2 requests were lost, and at most 1 were under way at an end"]


def test_the_times_are_drawn() -> None:
    drawn = plot({"consul": Found(killed=[0.5, 1.5], frozen=[2.6])}, 1.5)
    assert drawn.count("<circle") == 3
    assert "consul, frozen" in drawn
