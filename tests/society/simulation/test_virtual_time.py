"""The event loop and the machine of a simulation: time, chance, what is outside, and what dies."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from contextvars import Context
from datetime import UTC, datetime
from typing import Any

import pytest

from society.simulation import Faults, Outside, SeedFailed, Simulation, Stuck, explore, simulate
from society.simulation.virtual_time import Process, VirtualLoop


def result_of(doing: Callable[[], Awaitable[Any]], seed: int = 0, **how: Any) -> Any:
    async def scenario(_world: Simulation) -> Any:
        return await doing()

    return simulate(scenario, seed, **how).result


def test_an_hour_takes_no_time():
    async def wait() -> tuple[float, float, float, datetime]:
        loop, began = asyncio.get_running_loop(), time.time()
        await asyncio.sleep(3600)
        return loop.time(), time.monotonic(), time.time() - began, began

    began = time.perf_counter()
    now, monotonic, passed, wall = result_of(wait)
    assert time.perf_counter() - began < 1
    assert (now, monotonic, passed) == (3600, 3600, 3600)
    assert wall == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_the_wall_clock_goes_with_the_loop():
    async def scenario(world: Simulation) -> list[str]:
        await asyncio.sleep(90.5)
        return [world.clock().isoformat(), str(world.time)]

    assert simulate(scenario, 0).result == ["2026-01-01T00:01:30.500000+00:00", "90.5"]


def test_timers_go_off_in_order_and_those_of_one_moment_as_they_were_set():
    async def wait() -> list[str]:
        loop, said = asyncio.get_running_loop(), []
        for name, seconds in (("c", 2.0), ("a", 1.0), ("d", 2.0), ("b", 1.0), ("e", 2.0)):
            loop.call_later(seconds, said.append, name)
        loop.call_later(1.5, said.append, "never").cancel()
        await asyncio.sleep(3)
        return said

    assert result_of(wait) == ["a", "b", "c", "d", "e"]


def test_cancelled_timers_are_swept_up():
    async def wait() -> int:
        loop: Any = asyncio.get_running_loop()
        for _each in range(5000):
            loop.call_later(1e6, print).cancel()
        async with asyncio.timeout(5):
            await asyncio.sleep(1)
        return len(loop._timers)

    assert result_of(wait) < 2500


def test_time_limits_of_asyncio_hold():
    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert result_of(wait) == 7


async def wait_for_nothing() -> None:
    await asyncio.Event().wait()


async def go_round() -> None:
    while True:  # noqa: ASYNC110 - on purpose
        await asyncio.sleep(0)


async def tick() -> None:
    while True:  # noqa: ASYNC110 - likewise
        await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("doing", "told"),
    [
        (wait_for_nothing, "nothing is left that could happen"),
        (go_round, "time stands still at 0.000000 s"),
        (tick, "it has not ended within 1000 simulated seconds"),
    ],
)
def test_what_cannot_end_is_told(doing, told):
    with pytest.raises(SeedFailed, match=told) as caught:
        result_of(doing, within=1000)
    assert isinstance(caught.value.__cause__, Stuck)


async def in_a_thread() -> None:
    await asyncio.to_thread(print)


async def over_tcp() -> None:
    await asyncio.open_connection("localhost", 1)


async def in_a_child() -> None:
    await asyncio.create_subprocess_exec(sys.executable)


async def asleep() -> None:
    time.sleep(1)  # noqa: ASYNC251 - that is refused


async def by_socket() -> None:
    with socket.socket() as each:
        each.connect(("localhost", 1))


async def by_popen() -> None:
    subprocess.run([sys.executable], check=False)  # noqa: ASYNC221 - likewise


async def by_thread() -> None:
    threading.Thread(target=print).start()


@pytest.mark.parametrize(
    ("doing", "told"),
    [
        (in_a_thread, "loop.run_in_executor()"),
        (over_tcp, "loop.getaddrinfo()|loop.create_connection()"),
        (in_a_child, "loop.subprocess_exec()"),
        (asleep, "time.sleep()"),
        (by_socket, "socket.connect()"),
        (by_popen, "subprocess.Popen()"),
        (by_thread, "threading.Thread.start()"),
    ],
)
def test_what_reaches_out_is_refused_in_a_sentence_and_fails_the_run_even_if_it_is_swallowed(doing, told):
    async def swallowing() -> None:
        with pytest.raises(Outside, match="give the agent a collaborator that does without"):
            await doing()

    with pytest.raises(SeedFailed) as caught:
        result_of(swallowing)
    (failure,) = caught.value.run.failures
    assert failure.partition(" reaches out of the simulation, where there are no threads")[0] in told


def test_the_machine_is_as_before_afterwards():
    before = (os.urandom, time.time, time.sleep, threading.Thread.start, random.getstate(), gc.isenabled())
    result_of(lambda: asyncio.sleep(1))
    after = (os.urandom, time.time, time.sleep, threading.Thread.start, random.getstate(), gc.isenabled())
    assert after == before
    assert "connect" not in vars(socket.socket)
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_other_threads_have_the_real_machine():
    go, found = threading.Event(), []

    def look() -> None:
        go.wait(10)
        found.append((time.time(), os.urandom(8)))

    other = threading.Thread(target=look)
    other.start()

    async def let_go() -> bytes:
        go.set()
        other.join(10)
        return os.urandom(8)

    mine = result_of(let_go)
    (told, theirs) = found[0]
    assert abs(told - time.time()) < 60
    assert theirs != mine


async def draw() -> list[object]:
    return [random.random(), uuid.uuid4(), secrets.token_hex(), os.urandom(3), random.SystemRandom().random()]


def test_chance_comes_from_the_seed():
    assert result_of(draw, seed=1) == result_of(draw, seed=1)
    assert not {*map(str, result_of(draw, seed=1))} & {*map(str, result_of(draw, seed=2))}


def test_the_rng_of_the_scenario_has_nothing_to_do_with_that_of_the_network():
    async def scenario(world: Simulation) -> float:
        await asyncio.sleep(0)
        return world.rng.random()

    drawn = {simulate(scenario, 3, faults=faults).result for faults in (Faults(), Faults(drop=0.5))}
    assert len(drawn) == 1


def test_sets_of_tasks_and_futures_have_an_order():
    async def names() -> list[str]:
        order: list[str] = []

        async def be_cancelled(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                order.append(name)

        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(be_cancelled(str(number))) for number in range(200)}
        futures = {loop.create_future(): number for number in range(200)}
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return [*order, *(str(futures[each]) for each in set(futures))]

    litter = []
    orders = []
    for size in (1, 1000, 7):
        litter.append([object() for _ in range(size)])
        orders.append(result_of(names))
    assert orders[0] == orders[1] == orders[2]


def test_it_is_called_from_a_plain_function():
    async def outer(_world: Simulation) -> None:
        simulate(outer, 0)

    with pytest.raises(SeedFailed, match="a simulation brings its own event loop: call it from a plain"):
        simulate(outer, 0)


def test_what_a_scenario_raises_is_the_cause_with_the_seed_beside_it():
    async def scenario(_world: Simulation) -> None:
        raise KeyError("bead")

    with pytest.raises(SeedFailed, match="seed 5: KeyError: 'bead'") as caught:
        simulate(scenario, 5)
    assert isinstance(caught.value.__cause__, KeyError)
    assert repr(explore(scenario, [5, 6])) == (
        "[<seed 5: KeyError: 'bead' (0 happenings)>, <seed 6: KeyError: 'bead' (0 happenings)>]"
    )
    assert len(explore(scenario, range(100), most=3)) == 3


# -- processes -------------------------------------------------------------------------------


class Mortal:
    """A process that does all kinds of things, and notes what still happens."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop, self.process, self.notes = loop, Process("mortal"), list[str]()
        loop.begin(self.process, self.live())

    async def live(self) -> None:
        self.loop.call_later(5, self.notes.append, "a timer")
        self.loop.create_task(self.work("a task"))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.work("a group"))
        finally:
            self.notes.append("cleanup")
            await self.work("more cleanup")

    async def work(self, name: str) -> None:
        try:
            await asyncio.sleep(5)
            self.notes.append(name)
        finally:
            self.notes.append(f"cleanup of {name}")
            self.loop.create_task(asyncio.sleep(1))


def test_a_process_that_is_killed_takes_no_further_step():
    async def scenario(_world: Simulation) -> list[str]:
        loop: Any = asyncio.get_running_loop()
        mortal, survivor = Mortal(loop), Mortal(loop)
        await asyncio.sleep(1)
        loop.kill(mortal.process)
        gc.collect()
        await asyncio.sleep(10)
        assert "more cleanup" in survivor.notes
        return list(mortal.notes)

    assert simulate(scenario, 0).result == []


def test_the_dead_do_not_clean_up_even_if_nobody_but_a_timer_holds_them():
    async def scenario(_world: Simulation) -> list[str]:
        loop: Any = asyncio.get_running_loop()
        process, notes = Process("sleeper"), []

        async def sleep() -> None:
            try:
                await asyncio.sleep(5)
            finally:
                notes.append("cleanup")

        loop.begin(process, sleep())
        await asyncio.sleep(1)
        loop.begin(process, sleep())  # which is not even begun
        loop.kill(process)
        await asyncio.sleep(10)
        return list(notes)

    assert simulate(scenario, 0).result == []
    gc.collect()


def test_what_the_dead_wait_for_does_not_wake_them():
    async def scenario(_world: Simulation) -> list[str]:
        loop: Any = asyncio.get_running_loop()
        event, notes, process = asyncio.Event(), [], Process("sleeper")

        async def sleep() -> None:
            await event.wait()
            notes.append("awake")

        loop.begin(process, sleep())
        await asyncio.sleep(0)
        loop.kill(process)
        event.set()
        loop.call_soon(notes.append, "called", context=process.context)
        loop.call_later(1, notes.append, "called", context=process.context)
        await asyncio.sleep(2)
        return notes

    assert simulate(scenario, 0).result == []


def test_what_is_begun_in_a_context_of_its_own_is_of_the_process_that_has_begun_it():
    async def scenario(_world: Simulation) -> list[str]:
        loop: Any = asyncio.get_running_loop()
        notes: list[str] = []
        begun: list[asyncio.Task[None]] = []

        async def tell(text: str) -> None:
            await asyncio.sleep(1)
            notes.append(text)

        async def begin(name: str) -> None:
            begun.append(loop.create_task(tell(f"task of {name}"), context=Context()))
            loop.call_later(1, notes.append, f"timer of {name}", context=Context())

        mortal, survivor = Process("mortal"), Process("survivor")
        for each in (mortal, survivor):
            await loop.begin(each, begin(each.name))
        loop.kill(mortal)
        await asyncio.sleep(2)
        return sorted(notes)

    assert simulate(scenario, 0).result == ["task of survivor", "timer of survivor"]


def test_what_is_left_at_the_end_is_closed_without_a_complaint():
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)  # it is not waited for any more

    async def leave() -> None:
        loop = asyncio.get_running_loop()
        left = [loop.create_task(stubborn()) for _each in range(3)]
        await asyncio.sleep(0)
        left.append(loop.create_task(stubborn()))  # which is not even begun

    result_of(leave)
    gc.collect()


def test_an_exception_that_nobody_catches_is_in_the_history():
    async def scenario(_world: Simulation) -> None:
        async def fail() -> None:
            raise KeyError("bead")

        asyncio.get_running_loop().create_task(fail())
        await asyncio.sleep(1)

    assert "Complained agent='' text=\"KeyError: 'bead'\"" in simulate(scenario, 0).text
