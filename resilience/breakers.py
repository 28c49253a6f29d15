"""Circuit breakers, one for each peer: whoever keeps failing is left alone for a while.

The only `import pybreaker`. A breaker opens after so many failures within a window, lets one probe through
after a rest, and closes when the probe succeeds. What counts is the way to the peer: a message that could
not be delivered or was not acknowledged is a failure, and a refusal is a success, for somebody was there
to refuse. What was cancelled tells nothing, nor does what began before the breaker last changed.

The states, counting and listeners are pybreaker's. Version 1.4 of it counts failures in a row, however
old, lets everybody in while half-open, reads the wall clock and cannot await: those four things are done
here. That takes private methods of it, hence the upper bound in pyproject.toml; a model tests the whole.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from pybreaker import STATE_CLOSED, CircuitBreaker, CircuitMemoryStorage

PEERS = 1_000
"""Breakers that are kept; beyond that the closed one makes way that was asked longest ago."""


class Circuit(StrEnum):
    """The state of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


OnChange = Callable[[str, Circuit], None]
"""Told a peer and the new state of its breaker."""


@dataclass(frozen=True, kw_only=True)
class Breaking:
    """When a breaker opens, and for how long. In seconds.

    Raises:
        ValueError: a number is out of its range.
    """

    failures: int = 5
    window: float = 60.0
    """How close together the failures must lie."""
    rest: float = 30.0
    """How long until a probe is let through; and how long until the next one, if a probe tells nothing."""

    def __post_init__(self) -> None:
        if self.failures < 1 or self.window <= 0 or self.rest <= 0:
            raise ValueError(f"failures, window and rest must be positive: {self}")


class Attempt:
    """One thing that is tried with a peer; the first of the three that is told of it counts.

    As a context manager it is `withdrawn` at the end unless something was told: so an exception and a
    cancellation are neutral, and no probe is forgotten.
    """

    def __init__(self, breaker: _Breaker) -> None:
        self._breaker, self._era = breaker, breaker.era
        self._is_open = True

    def succeeded(self) -> None:
        """The peer was there, whatever it said."""
        if self._ends():
            self._breaker.state._handle_success()  # noqa: SLF001 - as the module's docstring says

    def failed(self) -> None:
        """The peer was not there."""
        if self._ends():
            with suppress(_FailedError):  # pybreaker raises what it is given when it opens
                self._breaker.state._handle_error(_FailedError(), reraise=False)  # noqa: SLF001 - likewise

    def withdrawn(self) -> None:
        """Nobody knows; a probe makes room for the next one."""
        self._ends()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.withdrawn()

    def _ends(self) -> bool:
        """End it; whether its outcome is one of the breaker's present state."""
        was_open, self._is_open = self._is_open, False
        self._breaker.leave(self)
        return was_open and self._era == self._breaker.era


class Breakers:
    """The breakers of one agent.

    Args:
        clock: monotonic seconds.
        breaking: when they open, and for how long.
        on_change: sink of their changes.
        most: how many are kept.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        breaking: Breaking | None = None,
        on_change: OnChange = lambda _peer, _circuit: None,
        most: int = PEERS,
    ) -> None:
        self._clock, self._breaking = clock, breaking or Breaking()
        self._on_change, self._most = on_change, most
        self._breakers: OrderedDict[str, _Breaker] = OrderedDict()

    def attempt(self, peer: str) -> Attempt | None:
        """Begin to try something with a peer; None: it is to be left alone now.

        Whoever gets an attempt must end it.
        """
        breaker = self._breakers.get(peer)
        if breaker is None:
            breaker = _Breaker(peer, self._breaking, self._clock, self._on_change)
            self._breakers[peer] = breaker
            if len(self._breakers) > self._most:
                self._forget_one()
        self._breakers.move_to_end(peer)
        return breaker.admit()

    def circuit(self, peer: str) -> Circuit:
        """The state of a peer's breaker; it turns half-open only when it is asked for an attempt."""
        breaker = self._breakers.get(peer)
        return Circuit.CLOSED if breaker is None else breaker.circuit

    def revive(self, peer: str) -> bool:
        """The peer was heard from: if its breaker is open, let a probe through now; whether it was."""
        breaker = self._breakers.get(peer)
        return breaker is not None and breaker.revive()

    def rest(self, peer: str) -> float:
        """Seconds until another attempt may be granted; 0 where one may be now."""
        breaker = self._breakers.get(peer)
        return 0.0 if breaker is None else breaker.rest

    def broken(self) -> Mapping[str, Circuit]:
        """The peers whose breakers are not closed."""
        found = ((peer, breaker.circuit) for peer, breaker in self._breakers.items())
        return {peer: circuit for peer, circuit in found if circuit is not Circuit.CLOSED}

    def _forget_one(self) -> None:
        """Make room: who fails is remembered before who does not."""
        *others, _newest = self._breakers
        closed = (peer for peer in others if self._breakers[peer].circuit is Circuit.CLOSED)
        del self._breakers[next(closed, others[0])]


class _FailedError(Exception):
    """What pybreaker is told of a failure."""


class _Window(CircuitMemoryStorage):
    """Counts the failures of the last seconds; a success among them takes none away."""

    def __init__(self, window: float, clock: Callable[[], float]) -> None:
        super().__init__(STATE_CLOSED)
        self._window, self._clock = window, clock
        self._failures: deque[float] = deque()

    def increment_counter(self) -> None:
        self._failures.append(self._clock())

    def reset_counter(self) -> None:
        """Keep them: pybreaker calls this at each success."""

    def clear(self) -> None:
        """Forget them, as the breaker closes."""
        self._failures.clear()

    @property
    def counter(self) -> int:
        limit = self._clock() - self._window
        while self._failures and self._failures[0] <= limit:
            self._failures.popleft()
        return len(self._failures)


class _Breaker(CircuitBreaker):
    """The breaker of one peer.

    Attributes:
        era: grows with each change of state: an outcome of an earlier era says nothing about this one.
    """

    def __init__(
        self, peer: str, breaking: Breaking, clock: Callable[[], float], on_change: OnChange
    ) -> None:
        self.era = 0
        self._peer, self._clock, self._on_change = peer, clock, on_change
        self._storage = _Window(breaking.window, clock)
        self._since = 0.0
        """When it opened, or when the probe that is under way began."""
        self._probe: Attempt | None = None
        super().__init__(
            fail_max=breaking.failures,
            reset_timeout=breaking.rest,
            name=peer,
            throw_new_error_on_trip=False,
            state_storage=self._storage,
        )

    @property
    def circuit(self) -> Circuit:
        return Circuit(self.current_state)

    @property
    def rest(self) -> float:
        is_resting = self.circuit is Circuit.OPEN or self._probe is not None
        return max(0.0, self._since + self.reset_timeout - self._clock()) if is_resting else 0.0

    def admit(self) -> Attempt | None:
        if self.circuit is Circuit.CLOSED:
            return Attempt(self)
        if self.rest > 0:
            return None
        if self.circuit is Circuit.OPEN:
            self.half_open()
        self._since = self._clock()
        self._probe = Attempt(self)
        return self._probe

    def revive(self) -> bool:
        if self.circuit is not Circuit.OPEN:
            return False
        self._since = self._clock() - self.reset_timeout
        return True

    def leave(self, attempt: Attempt) -> None:
        if self._probe is attempt:
            self._probe = None

    def open(self) -> bool:
        self._since = self._clock()
        opened = super().open()
        self._changed()
        return opened

    def half_open(self) -> None:
        super().half_open()
        self._changed()

    def close(self) -> None:
        super().close()
        self._storage.clear()
        self._changed()

    def _changed(self) -> None:
        self.era += 1
        self._probe = None
        self._on_change(self._peer, self.circuit)
