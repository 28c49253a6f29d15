"""The chaos test in short, and its negative controls: broken variants that it has to find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos import processes
from tests.chaos.running import Plan, Run
from tests.chaos.verdict import Verdict
from tests.requirements import require

SHORT = {"messages": 60, "kills": 4, "reply_within": 10.0, "patience": 40.0, "drain": 40.0}


async def chaos(folder: Path, **plan: Any) -> tuple[Run, Verdict]:
    """Run it and look that it was worth it."""
    run = Run(Plan(folder=folder, **{**SHORT, **plan}))
    verdict = await run()
    assert len(run.killed) == run.plan.kills
    assert verdict.messages == run.plan.messages
    assert verdict.conversations > verdict.messages / 2
    return run, verdict


async def test_nothing_is_lost_doubled_or_hung(tmp_path: Path) -> None:
    _run, verdict = await chaos(tmp_path)
    assert verdict.is_good, verdict
    assert verdict.told["Succeeded"] + verdict.told["acknowledged"] > verdict.messages / 2, verdict.told


@pytest.mark.prosody
@pytest.mark.redis
async def test_nothing_is_lost_doubled_or_hung_with_real_services(tmp_path: Path) -> None:
    require(processes.PROSODY is not None, "prosody")
    require(processes.REDIS is not None, "redis-server")
    _run, verdict = await chaos(tmp_path, xmpp="prosody", journal="redis", seed=2)
    assert verdict.is_good, verdict
    assert verdict.told["Succeeded"] + verdict.told["acknowledged"] > verdict.messages / 2, verdict.told


async def test_marking_before_the_effect_is_found(tmp_path: Path) -> None:
    _run, verdict = await chaos(tmp_path, breaks="mark-before", drain=3.0)
    assert verdict.lost, "what was marked and then died with its process must be missed"


async def test_marking_after_the_effect_is_found(tmp_path: Path) -> None:
    _run, verdict = await chaos(tmp_path, breaks="mark-after", drain=3.0)
    assert verdict.doubled, "what was done and then not marked must have been done twice"


async def test_forgetting_what_was_begun_is_found(tmp_path: Path) -> None:
    _run, verdict = await chaos(tmp_path, breaks="forget-begun", drain=3.0, messages=120)
    assert any("that is forgotten" in each for each in verdict.lost), "an award must be missed"
