"""`agents.tallying`: what a learner trains is told as facts, rows as they go and bids as they hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agents import tallying
from agents.tallying import Tally
from behaviours.events import Fact, RowsTrained, TrainingEnded
from behaviours.outcomes import Failed, Succeeded
from tests.agents.conftest import Society
from tests.agents.test_learner import Lab

LEARNER = "learner@localhost"


@pytest.fixture
def laboratory(society: Society, tmp_path: Path) -> Lab:
    return Lab(society, tmp_path)


async def test_every_row_of_every_epoch_is_counted(laboratory: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallying, "TOLD_EVERY", 0.0)
    await laboratory.learner()
    trained = await laboratory.trained(epochs=5, patience=5)
    facts = laboratory.world.of(RowsTrained, agent=LEARNER)
    assert trained.epochs == len(facts) == 5
    # 120 rows: 24 are held out, and a tenth of the others is for validation.
    assert [fact.rows for fact in facts] == [facts[0].rows] * 5
    assert 80 <= facts[0].rows <= 90
    (ended,) = laboratory.world.of(TrainingEnded, agent=LEARNER)
    assert (ended.outcome, ended.promised) == ("trained", None)
    assert 0 < ended.seconds <= trained.seconds + 1


async def test_rows_are_told_now_and_then_and_none_is_left_out(laboratory: Lab) -> None:
    await laboratory.learner()
    trained = await laboratory.trained(epochs=5, patience=5)
    facts = laboratory.world.of(RowsTrained, agent=LEARNER)
    assert trained.epochs == 5
    assert len(facts) <= 1 + trained.seconds / tallying.TOLD_EVERY
    assert 400 <= sum(fact.rows for fact in facts) <= 450


async def test_what_was_bid_is_told_beside_what_it_took(laboratory: Lab) -> None:
    await laboratory.learner()
    client = laboratory.society.client
    contract = await client.call_for_proposals([LEARNER], laboratory.task(), lambda bids: bids)
    (outcome,) = contract.awards.values()
    assert isinstance(outcome, Succeeded)
    (ended,) = laboratory.world.of(TrainingEnded, agent=LEARNER)
    assert ended.promised == contract.proposals[0].term.seconds


async def test_a_training_that_fails_is_told_as_that(laboratory: Lab) -> None:
    await laboratory.learner()
    assert isinstance(await laboratory.ask(laboratory.task(target="absent")), Failed)
    (ended,) = laboratory.world.of(TrainingEnded, agent=LEARNER)
    assert ended.outcome == "failed"
    assert laboratory.world.of(RowsTrained) == []


async def endless(tally: Tally) -> None:
    with tally:
        tally.trained(7)
        await asyncio.Event().wait()


async def test_a_training_that_is_cancelled_is_told_as_that() -> None:
    facts: list[Fact] = []
    training = asyncio.ensure_future(endless(Tally(LEARNER, facts.append, 3.0)))
    await asyncio.sleep(0)
    training.cancel()
    await asyncio.wait({training})
    rows, ended = facts
    assert rows == RowsTrained(agent=LEARNER, rows=7)
    assert isinstance(ended, TrainingEnded)
    assert (ended.outcome, ended.promised) == ("cancelled", 3.0)
