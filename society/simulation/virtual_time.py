"""An event loop whose time is a number: when nothing is ready it jumps to the next timer.

Nothing real is waited for, so an hour takes as long as what happens in it, and what happens depends on the
program alone. Whatever would reach out of the loop, a socket, a thread, a child process, is refused in one
sentence.

Callbacks and tasks belong to a `Process`, by the context that they run in, and what they start belongs to the
same one. A process that is killed does not take another step, as after ``kill -9``: no ``finally`` runs.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar, TypeVarTuple

from society.simulation.outside import METHODS, refusing

STANDSTILL = 100_000
"""Turns of the loop without any time going by, after which it is taken to run in a circle."""

LITTER = 1000
"""Cancelled timers that are swept up where they are the most."""

_Args = TypeVarTuple("_Args")
_Result = TypeVar("_Result")


class Stuck(Exception):  # noqa: N818 - it reads as what happened
    """The program cannot end: nothing is left that could happen, or time stands still, or runs out."""


class Process:
    """What is killed together; see `here`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.has_leaked = False
        """Whether something was done in its name that does not belong to it, and would not die with it."""
        self.context = copy_context()
        """What its callbacks are run in."""
        self.context.run(_process.set, self)

    def __repr__(self) -> str:
        return f"<Process {self.name}{' (dead)' if self.is_dead else ''}>"


_process: ContextVar[Process | None] = ContextVar("process", default=None)


def here() -> Process | None:
    """The process that the caller belongs to; None outside of all."""
    return _process.get()


class _Future(asyncio.Future[Any]):
    """A future that a set has its place for, the same in each run; others go by their address in memory."""

    def __init__(self, serial: int, loop: asyncio.AbstractEventLoop) -> None:
        self._serial = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class _Task(asyncio.Task[Any]):
    """Likewise, and it knows whose it is."""

    def __init__(self, serial: int, coro: Any, process: Process | None, **how: Any) -> None:
        self._serial, self.process = serial, process
        super().__init__(coro, **how)

    def __hash__(self) -> int:
        return self._serial


class _Handle(asyncio.Handle):
    """As its parent, which asks the loop each time whether it is being debugged."""

    __slots__ = ()

    def __init__(self, callback: Any, args: Any, loop: VirtualLoop, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None


class _TimerHandle(asyncio.TimerHandle):
    """Likewise."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Any, args: Any, loop: VirtualLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None
        self._when, self._scheduled = when, False


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module.

    Args:
        limit: seconds of its time after which it is `Stuck`.

    Attributes:
        escapes: what has tried to reach out; whoever did may have swallowed the exception.
    """

    _ready: deque[asyncio.Handle]
    _stopping: bool

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.escapes: list[str] = []
        self.outside = copy_context()
        """A context of no process, for whatever goes on when processes die."""
        self.outside.run(_process.set, None)
        self._limit = limit
        self._now = 0.0
        self._standing = 0
        self._serials = itertools.count()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        """A heap; of two at one time the one that was set first goes first."""
        self._cancelled = 0
        self._has_dead = False
        self._graves: list[_Task] = []

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._now

    def _run_once(self) -> None:
        """BaseEventLoop's turns, with no outside to look at: all of them, until it is to stop."""
        ready = self._ready
        while not self._stopping:
            if ready:
                self._standing += 1
                if self._standing > STANDSTILL:
                    text = f"time stands still at {self._now:.6f} s: a coroutine goes round without waiting"
                    raise Stuck(f"{text} (SPADE's receive() needs a timeout)")
            else:
                self._standing = 0
                self._go_on()
            timers, now = self._timers, self._now
            while timers and timers[0][0] <= now:
                ready.append(heappop(timers)[2])
            for _each in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:  # noqa: SLF001
                    handle._run()  # noqa: SLF001

    def _go_on(self) -> None:
        """Go on to the next moment at which something happens."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heappop(timers)
        if not timers:
            raise Stuck("nothing is left that could happen, and something is still waited for")
        self._now = max(self._now, timers[0][0])
        if self._now > self._limit:
            raise Stuck(f"it has not ended within {self._limit:g} simulated seconds")

    # -- what belongs to whom ------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future."""
        return _Future(next(self._serials), self)

    def create_task(
        self, coro: Any, *, name: object = None, context: Context | None = None, **_more: Any
    ) -> asyncio.Task[Any]:
        """Start a coroutine; it belongs to the process of its context."""
        process = _process.get() if context is None else _owner(context)
        return _Task(next(self._serials), coro, process, loop=self, name=name, context=context)

    def call_soon(
        self, callback: Callable[[*_Args], object], *args: *_Args, context: Context | None = None
    ) -> asyncio.Handle:
        """Call back in this turn; of a dead process, never."""
        handle = _Handle(callback, args, self, context)
        if not (self._has_dead and _is_dead(handle)):
            self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Args], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back after some seconds; of a dead process, never."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Args], object],
        *args: *_Args,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call back at a time; of a dead process, never."""
        if context is not None:
            _owner(context)
        handle = _TimerHandle(when, callback, args, self, context)
        if not (self._has_dead and _is_dead(handle)):
            heappush(self._timers, (when, next(self._serials), handle))
        return handle

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        self._cancelled += 1
        if self._cancelled > LITTER and self._cancelled > len(self._timers) / 2:
            self._timers = [each for each in self._timers if not each[2].cancelled()]
            heapify(self._timers)
            self._cancelled = 0

    def begin(self, process: Process, coro: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Start a coroutine in a process."""
        return self.create_task(coro, context=process.context.copy())

    def kill(self, process: Process) -> None:
        """Let a process take no further step."""
        process.is_dead = self._has_dead = True
        # Held before anything else: a coroutine that nobody holds is closed, and would run its cleanup.
        self._graves += [each for each in self._tasks() if each.process is process]
        for handle in self._handles():
            if _is_dead(handle):
                handle.cancel()

    def bury(self) -> None:
        """Close every coroutine that is left, without any effect, and then the loop."""
        self.set_exception_handler(lambda _loop, _context: None)
        closed: set[_Task] = set()
        while left := [each for each in self._tasks() if each not in closed]:
            for task in left:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
                coroutine: Any = task.get_coro()
                with suppress(BaseException):  # it may not be awaited any more, and says so
                    self.outside.copy().run(coroutine.close)
            closed |= set(left)
        for handle in self._handles():
            handle.cancel()
        self.close()
        self._timers.clear()
        self._graves.clear()

    def _handles(self) -> list[asyncio.Handle]:
        return [*self._ready, *(each[2] for each in self._timers)]

    def _tasks(self) -> list[_Task]:
        found = [each for each in asyncio.all_tasks(self) if isinstance(each, _Task)]
        return sorted(found, key=hash)

    # -- what BaseEventLoop leaves to others ---------------------------------------------------

    def _write_to_self(self) -> None:
        """Nothing blocks that would have to be woken."""


def _owner(context: Context) -> Process | None:
    """Whose a context is; an empty one, in which something is begun for nobody, is of its maker."""
    if _process not in context:
        context.run(_process.set, _process.get())
    return context[_process]


def _is_dead(handle: asyncio.Handle) -> bool:
    process: Process | None = handle._context.get(_process)  # type: ignore[attr-defined]  # noqa: SLF001
    return process is not None and process.is_dead


for _name in METHODS:
    setattr(VirtualLoop, _name, refusing(_name))
