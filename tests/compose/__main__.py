"""Build the image, start everything, kill containers while models are trained, and look what came of it.

    python -m tests.compose            # what `make compose-test` runs
    python -m tests.compose --keep     # for development: leave the containers running

Its last line is ``compose-test passed: ...`` with the counts, or one sentence that says what is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.compose import faults, observers, strangers
from tests.compose.outside import Outside, outside
from tests.compose.stack import Stack, StackError, docker, say, stack, until

TASKS = 4
"""Trainings that are under way when something is killed."""

STOPS_WITHIN = 10.0
"""Seconds that an agent has after SIGTERM."""

STARTED_AFTER = {"leader": 8.0, "learner": 8.0, "redis": 1.0, "prosody": 1.0, "consul": 1.0}
"""What is killed, and how many seconds later it is started anew: others take over an agent's work before."""


async def _killing(found: Stack, client: Outside, victim: str, number: int) -> list[str]:
    """Ask for some models, kill a container while one is trained, start it anew, and wait for all of them."""
    leader = await client.leader()
    models = [f"{victim}-{each}" for each in range(TASKS)]
    for seed, model in enumerate(models):
        client.ask(model, f"{leader}@localhost", seed=number * TASKS + seed)
    learner = await client.under_way(models)
    names = {"leader": leader, "learner": learner}
    container = (
        await asyncio.to_thread(found.container_of, names[victim])
        if victim in names
        else (await asyncio.to_thread(found.containers, victim))[0]
    )
    began = time.monotonic()
    await asyncio.to_thread(found.kill, container)
    say(f"killed {container}" + (f", which ran {names[victim]}" if victim in names else ""))
    await asyncio.sleep(STARTED_AFTER[victim])
    await asyncio.to_thread(found.start, container)
    await client.ended(models)
    lost = sum(len(client.awards[model]) - 1 for model in models)
    say(f"{len(models)} tasks done {time.monotonic() - began:.1f} s after it, {lost} awarded once more")
    await asyncio.to_thread(until, found.are_healthy, "health of every container")
    return models


async def _stopping(found: Stack, client: Outside, victim: str, number: int) -> list[str]:
    """Stop whoever leads or trains, as `docker stop` does: it gives back what it has, and ends in time."""
    leader = await client.leader()
    models = [f"{victim}-stopped-{each}" for each in range(TASKS)]
    for seed, model in enumerate(models):
        client.ask(model, f"{leader}@localhost", seed=100 + number * TASKS + seed)
    learner = await client.under_way(models)
    name = {"leader": leader, "learner": learner}[victim]
    container = await asyncio.to_thread(found.container_of, name)
    began = time.monotonic()
    await asyncio.to_thread(docker, "stop", container)
    seconds = time.monotonic() - began
    code = (await asyncio.to_thread(docker, "inspect", "--format", "{{.State.ExitCode}}", container)).strip()
    if code != "0" or seconds > STOPS_WITHIN:
        raise StackError(f"{name} ended with {code} after {seconds:.1f} s when it was stopped")
    if victim == "learner" and not any("is being stopped" in loss for loss in client.losses):
        raise StackError(f"{name} has not given back what it was awarded: {client.losses}")
    await client.ended(models)
    say(f"stopped {container}, which ran {name}, in {seconds:.1f} s; {len(models)} tasks done without it")
    await asyncio.to_thread(found.start, container)
    await asyncio.to_thread(until, found.are_healthy, "health of every container")
    return models


def _kept(found: Stack) -> Counter[str]:
    """How many versions of each model the learners have kept."""
    lines = found.inside("directory", "sh", "-c", "cd /state/models && ls -d */*/").split()
    return Counter(line.split("/")[0] for line in lines)


def _see_that_none_is_buried(found: Stack) -> None:
    letters = found.inside("directory", "locution", "dead-letters", "list", "--json").strip().splitlines()
    buried = [line for line in letters if '"event": "dead-letter"' in line]
    if buried:
        raise StackError(f"{len(buried)} dead letters, the newest: {buried[0][:600]}")


def _restart(found: Stack) -> None:
    """Stop everything and start it again: all agents are back, and nothing has come to nothing."""
    began = time.monotonic()
    found.run("stop")
    stopped = time.monotonic()
    found.up()
    seconds = time.monotonic() - stopped
    say(f"stopped everything in {stopped - began:.1f} s, and started it again in {seconds:.1f} s")
    listed = found.inside("directory", "locution", "agents", "--json")
    names = {f"coordinator-{number}" for number in (1, 2, 3)}
    names |= {f"learner-{number + 1}" for number in range(found.learners)}
    missing = [name for name in sorted(names) if f"{name}@localhost" not in listed]
    if missing:
        raise StackError(f"not in the directory after a restart: {', '.join(missing)}")
    _see_that_none_is_buried(found)


def _judge(found: Stack, client: Outside, models: list[str]) -> str:
    twice = [model for model in models if len(client.answers[model]) != 1]
    if twice:
        raise StackError(f"not answered exactly once: {', '.join(twice)}")
    kept = _kept(found)
    wrong = [f"{model} ({kept[model]} times)" for model in models if kept[model] != 1]
    if wrong:
        raise StackError(f"not trained exactly once: {', '.join(wrong)}")
    _see_that_none_is_buried(found)
    killed = len(STARTED_AFTER)
    return f"{len(models)} tasks done exactly once, {killed} containers killed, 2 stopped, 0 dead letters"


async def _chaos(found: Stack, folder: Path) -> str:
    async with outside(found, folder) as client:
        models: list[str] = []
        for number, victim in enumerate(STARTED_AFTER):
            models += await _killing(found, client, victim, number)
        for number, victim in enumerate(("leader", "learner")):
            models += await _stopping(found, client, victim, number)
        return await asyncio.to_thread(_judge, found, client, models)


def _timed(what: str, work: Callable[[], None]) -> None:
    began = time.monotonic()
    work()
    say(f"{what}: {time.monotonic() - began:.1f} s")


def main() -> int:
    """Run everything; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose")
    parser.add_argument("--keep", action="store_true", help="leave the containers running")
    keep = parser.parse_args().keep
    began = time.monotonic()
    try:
        with stack(f"locution-test-{os.getpid()}") as found, tempfile.TemporaryDirectory() as folder:
            _timed("image built", lambda: void(found.run("build", within=900)))
            _timed("up --wait", found.up)
            strangers.train(found, Path(folder))
            observers.look(found)
            told = asyncio.run(_chaos(found, Path(folder)))
            _restart(found)
            told += f", {strangers.talk(found, Path(folder))} answers to a stranger's client"
            told += f", {faults.all_told(found, Path(folder))} mistakes told in one sentence"
            if keep:
                say(f"left running: docker compose -p {found.name} ...")
                os._exit(0)
    except StackError as error:
        sys.stdout.write(f"compose-test failed: {error}\n")
        return 1
    sys.stdout.write(f"compose-test passed: {told}; {time.monotonic() - began:.0f} s\n")
    return 0


def void(_result: object) -> None:
    """Drop a result."""


sys.exit(main())
