"""The machine that a simulated program sees: its clock is the loop's, and its randomness comes from a seed.

`sealed` replaces, for the thread that it is called in, what programs ask the machine for: random bytes
(``os.urandom``, by which `uuid` and `secrets` work), the generator of the module `random`, and the clocks of
`time`. A pause, a thread, a socket or a child process is refused. ``datetime.now()`` cannot be replaced:
agents ask their `Ports.clock`.
"""

from __future__ import annotations

import gc
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from behaviours.timing import timed_by
from society.simulation.outside import outside
from society.simulation.virtual_time import VirtualLoop

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""When every simulation begins."""

_EPOCH_SECONDS = EPOCH.timestamp()


@contextmanager
def sealed(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """Let the thread see a simulated machine.

    Args:
        loop: whose time it is.
        seed: of all randomness.
    """
    source = random.Random(f"{seed}/machine")  # noqa: S311 - it is to be guessed
    thread = threading.get_ident()

    def urandom(size: int) -> bytes:
        return source.randbytes(size)

    def replaced(module: Any, name: str, instead: Callable[..., Any]) -> None:
        original = getattr(module, name)

        def choose(*args: Any, **how: Any) -> Any:
            return (instead if threading.get_ident() == thread else original)(*args, **how)

        if name in vars(module):
            stack.callback(setattr, module, name, original)
        else:
            stack.callback(delattr, module, name)
        setattr(module, name, choose)

    def refused(module: Any, name: str, told: str) -> None:
        def refuse(*_args: Any, **_how: Any) -> Any:
            raise outside(told, loop.escapes)

        replaced(module, name, refuse)

    with ExitStack() as stack:
        state = random.getstate()
        stack.callback(random.setstate, state)
        random.seed(f"{seed}/random")
        replaced(os, "urandom", urandom)
        replaced(random, "_urandom", urandom)
        replaced(time, "time", lambda: since_1970(loop))
        for clock in ("monotonic", "perf_counter"):
            replaced(time, clock, loop.time)
        refused(time, "sleep", "time.sleep()")
        refused(threading.Thread, "start", "threading.Thread.start()")
        refused(subprocess.Popen, "__init__", "subprocess.Popen()")
        for act in ("bind", "connect", "connect_ex"):
            refused(socket.socket, act, f"socket.{act}()")
        stack.enter_context(timed_by(lambda: now(loop).replace(tzinfo=None)))
        yield


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for garbage only afterwards: when it is found depends on what was there before the run."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def now(loop: VirtualLoop) -> datetime:
    """The wall clock of a simulation."""
    return EPOCH + timedelta(seconds=loop.time())


def since_1970(loop: VirtualLoop) -> float:
    """The same in seconds, as `time.time` has it."""
    return _EPOCH_SECONDS + loop.time()
