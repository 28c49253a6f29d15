"""A participant in a process of its own is killed or frozen in the middle of its work."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from behaviours import watching
from behaviours.events import MessageReceived
from behaviours.outcomes import Failed, Outcome, Succeeded
from ontology.errors import Cause
from tests.behaviours.samples import Add, Asker
from tests.conftest import World, becomes

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def process(world: World) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run an adder elsewhere."""
    world.account("adder")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.adder_process",
        str(world.xmpp.port),
        str(world.authority.file),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
    yield process
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def ask(world: World) -> tuple[Asker, asyncio.Task[Outcome]]:
    """Ask the adder for something that takes long, and wait until it is at work."""
    asker = await world.start(Asker, "asker")
    assert isinstance(await asker.request("adder@localhost", Add()), Succeeded)
    asking = asyncio.create_task(asker.request("adder@localhost", Add(manner="agreeing"), result_within=None))
    await world.fact(MessageReceived, agent="asker@localhost", performative="agree")
    await becomes(lambda: bool(asker.client._answering))  # a first probe
    return asker, asking


async def test_a_killed_process_is_noticed_within_five_seconds(
    world: World, process: asyncio.subprocess.Process
) -> None:
    asker, asking = await ask(world)
    process.kill()
    outcome = await asyncio.wait_for(asking, 5)
    assert isinstance(outcome, Failed)
    assert outcome.reason.cause == Cause.VANISHED
    assert outcome.reason.text == "adder@localhost has left"
    # The next one waits with the server, and nobody answers.
    assert not isinstance(await asker.request("adder@localhost", Add(), reply_within=0.1), Succeeded)


async def test_a_frozen_process_is_noticed_as_well(
    world: World, process: asyncio.subprocess.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watching.SILENT_AFTER * (watching.PROBE_WITHIN + watching.PROBE_EVERY) <= 12
    monkeypatch.setattr(watching, "PROBE_WITHIN", 0.3)
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.1)
    _asker, asking = await ask(world)
    process.send_signal(signal.SIGSTOP)
    outcome = await asyncio.wait_for(asking, 5)
    assert isinstance(outcome, Failed)
    assert outcome.reason.text == "adder@localhost has stopped answering"
