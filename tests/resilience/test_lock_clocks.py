"""Clocks and elections: a wall clock that jumps makes and unmakes no leader; a process that stands does."""

from __future__ import annotations

import asyncio
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resilience.consul_lock import ConsulLock, since_boot
from resilience.election import STEP_DOWN, Lock
from resilience.sqlite_lock import SqliteLock
from tests.chaos.processes import ROOT
from tests.requirements import require_hardware

TTL = 1.0

JUMPS = (600.0, -600.0)
"""Seconds by which the wall clock jumps."""

CONSUL = pytest.param("consul", marks=[pytest.mark.consul, pytest.mark.xdist_group("consul")])


@pytest.fixture(params=["sqlite", CONSUL])
def kind(request: pytest.FixtureRequest) -> str:
    """Give the name of each binding that outlives a process."""
    return str(request.param)


@pytest.fixture
def where(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give where it is kept; Consul is another one for each test's groups."""
    if kind == "sqlite":
        return str(tmp_path / "lock.sqlite")
    url = str(request.getfixturevalue("consul").url)
    request.getfixturevalue("consul").delete("/v1/kv/locution/localhost?recurse=true")
    return url


class Clocks:
    """A wall clock and a clock of seconds, which go with the machine's until they are moved."""

    def __init__(self) -> None:
        self.ahead = self.later = 0.0

    def wall(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def seconds(self) -> float:
        return since_boot() + self.later


Make = Callable[[Clocks], Lock]


@pytest.fixture
async def make(kind: str, where: str) -> AsyncIterator[Make]:
    """Make a lock with clocks of its own."""
    made: list[ConsulLock | SqliteLock] = []

    def another(clocks: Clocks) -> Lock:
        settings = {"ttl": TTL, "clock": clocks.seconds, "wall": clocks.wall}
        made.append(
            ConsulLock(where, **settings) if kind == "consul" else SqliteLock(Path(where), **settings)  # type: ignore[arg-type]
        )
        return made[-1]

    yield another
    for each in made:
        await each.close()


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_wall_clock_that_jumps_unmakes_no_leader(make: Make, jump: float) -> None:
    hers, his = Clocks(), Clocks()
    first, second = make(hers), make(his)
    term = await first.acquire("g", "ann@here")
    assert term is not None
    for clocks in (hers, his):
        clocks.ahead += jump
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.wait_free("g"), 1.5 * TTL)
        assert first.holds("g", term)
        assert await second.acquire("g", "ben@here") is None
    await first.leave("g", "ann@here")
    hers.ahead -= 2 * jump
    following = await second.acquire("g", "ben@here")
    assert following is not None
    assert following > term, "terms come of no clock"
    led = (await first.groups())["g"]
    assert led is not None
    assert led.failover is not None
    assert 0 <= led.failover < 5, "what is told of the last failover is of the two whose clocks agree"


async def test_time_that_passes_unseen_unmakes_a_leader_at_once(make: Make) -> None:
    """As when the machine sleeps, or the process is frozen: not even one answer may come in between."""
    clocks = Clocks()
    lock = make(clocks)
    term = await lock.acquire("g", "ann@here")
    assert term is not None
    assert lock.holds("g", term)
    clocks.later += STEP_DOWN * TTL
    assert not lock.holds("g", term)


def test_seconds_pass_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    require_hardware(hasattr(time, "CLOCK_BOOTTIME"), "a Linux kernel")
    slept = {time.CLOCK_BOOTTIME: 100.0, time.CLOCK_MONOTONIC: 40.0}  # no test can put the machine to sleep
    monkeypatch.setattr(time, "clock_gettime", slept.__getitem__)
    assert since_boot() == 100.0
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    assert since_boot() == 40.0


# -- the clock of a whole process ------------------------------------------------------------------

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static double ahead(void) {
    static volatile double *seconds = NULL;
    if (seconds == NULL) {
        int file = open(getenv("WALL_CLOCK"), O_RDONLY);
        seconds = mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, file, 0);
        close(file);
    }
    return *seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += (time_t)ahead();
    return done;
}

int gettimeofday(struct timeval *now, void *zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int done = real(now, zone);
    now->tv_sec += (time_t)ahead();
    return done;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL) *at = now.tv_sec;
    return now.tv_sec;
}
"""
"""What stands between a process and the system's wall clock, and moves it."""


class Process:
    """A candidate in a process of its own, whose wall clock can be moved."""

    def __init__(self, kind: str, where: str, library: Path, ahead: Path) -> None:
        ahead.write_bytes(struct.pack("d", 0.0))
        self._ahead = ahead.open("r+b")
        self._memory = mmap.mmap(self._ahead.fileno(), 8)
        variables = {"LD_PRELOAD": str(library), "WALL_CLOCK": str(ahead), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.resilience.holder", kind, where, str(TTL)],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def set_ahead(self, seconds: float) -> None:
        """Move its wall clock."""
        self._memory[:8] = struct.pack("d", seconds)

    def line(self) -> list[str]:
        """The next line that it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def ask(self) -> list[str]:
        """Ask it; the next line that it says, its answer where it had nothing else to say."""
        self.question()
        return self.line()

    def question(self) -> None:
        """Ask it, and do not wait."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.communicate()
        self._memory.close()
        self._ahead.close()


def test_the_wall_clock_of_whole_processes_jumps_and_then_one_stands(
    kind: str, where: str, tmp_path: Path
) -> None:
    compiler = shutil.which("cc")
    require_hardware(compiler is not None and sys.platform == "linux", "a C compiler on Linux")
    source, library = tmp_path / "wall.c", tmp_path / "wall.so"
    source.write_text(SHIM)
    assert compiler is not None
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    first = Process(kind, where, library, tmp_path / "first")
    second = None
    try:
        assert first.line()[0] == "leads"
        second = Process(kind, where, library, tmp_path / "second")
        assert second.ask()[:2] == ["now", "0"]
        for each, jump in ((second, -600.0), (first, 600.0)):
            each.set_ahead(jump)
            time.sleep(1.5 * TTL)  # it is what would unmake a leader
            assert second.ask()[:2] == ["now", "0"]
        now, is_leader, told = first.ask()
        assert (now, is_leader) == ("now", "1")
        assert abs(float(told) - time.time() - 600) < 5, "it has jumped"
        first.process.send_signal(signal.SIGSTOP)
        first.set_ahead(-600.0)  # as if no time had passed
        assert second.line()[0] == "leads"
        first.question()
        first.process.send_signal(signal.SIGCONT)
        said = first.line()
        assert said[0] == "lost" or said[1] == "0"
    finally:
        first.end()
        if second is not None:
            second.end()
