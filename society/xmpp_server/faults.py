"""A place for tests to stand between the router and the sockets, and two who stand there.

Without an interceptor nothing here runs. With one, every stanza that is about to be sent to a client goes
through `pass_on`, which sends it on by `line.deliver` never, once, or several times, now or later, or pulls
the plug by `line.cut`. Answers of the server itself pass as well; their sender is the server or the account.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

Later = Callable[[float, Callable[[], None]], object]
"""Calls back after so many seconds: `loop.call_later`, or a test's own clock."""

Action = Literal["pass", "drop", "duplicate", "delay", "hold", "cut"]
"""hold: behind the next stanza of the same line, which reorders the two."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One stanza on its way. `sender` and `recipient` are JIDs; `kind` is message, presence or iq."""

    sender: str
    recipient: str
    kind: str
    xml: bytes


class Line(Protocol):
    """The connection the stanza is about to go to."""

    def deliver(self, data: bytes) -> None:
        """Send; nothing happens when the connection is closed by now."""
        ...

    def cut(self) -> None:
        """Break the TCP connection with no goodbye."""
        ...


class Interceptor(Protocol):
    """Decides what becomes of each stanza."""

    def pass_on(self, passage: Passage, line: Line) -> None:
        """Called on the event loop for each stanza, in the order of sending; must not wait."""
        ...


class _Faults:
    """Carries out actions; who decides on them is left open."""

    def __init__(self, later: Later | None, seconds: Callable[[], float]) -> None:
        self._later = later
        self._seconds = seconds
        self._held: dict[str, list[tuple[bytes, Line]]] = {}

    def _choose(self, passage: Passage) -> Action:
        raise NotImplementedError

    def pass_on(self, passage: Passage, line: Line) -> None:
        """See `Interceptor`."""
        action = self._choose(passage)
        if action == "cut":
            self._held.pop(passage.recipient, None)
            line.cut()
            return
        if action == "hold":
            self._held.setdefault(passage.recipient, []).append((passage.xml, line))
            return
        if action == "delay":
            if self._later is None:
                raise ValueError("delaying needs a scheduler: give `later`")
            self._later(self._seconds(), lambda: line.deliver(passage.xml))
        elif action != "drop":
            for _ in range(2 if action == "duplicate" else 1):
                line.deliver(passage.xml)
        self.release(passage.recipient)

    def release(self, recipient: str) -> None:
        """Send what is held back for this JID."""
        for data, line in self._held.pop(recipient, ()):
            line.deliver(data)


class ScriptedFaults(_Faults):
    """One action for each stanza that `concerns` accepts, in order; when the script ends all pass."""

    def __init__(
        self,
        script: Iterable[Action],
        *,
        concerns: Callable[[Passage], bool] = lambda passage: passage.kind == "message",
        later: Later | None = None,
        delay_seconds: float = 0.05,
    ) -> None:
        super().__init__(later, lambda: delay_seconds)
        self._script: Iterator[Action] = iter(script)
        self._concerns = concerns
        self.seen: list[Passage] = []

    def _choose(self, passage: Passage) -> Action:
        if not self._concerns(passage):
            return "pass"
        self.seen.append(passage)
        return next(self._script, "pass")


class SeededFaults(_Faults):
    """Each action with its own probability, decided by `rng`: the same seed and stanzas, the same faults."""

    def __init__(
        self,
        rng: random.Random,
        *,
        drop: float = 0.0,
        duplicate: float = 0.0,
        delay: float = 0.0,
        hold: float = 0.0,
        cut: float = 0.0,
        concerns: Callable[[Passage], bool] = lambda passage: passage.kind == "message",
        later: Later | None = None,
        longest_delay_seconds: float = 0.2,
    ) -> None:
        if delay and later is None:
            raise ValueError("delaying needs a scheduler: give `later`")
        super().__init__(later, lambda: rng.uniform(0.0, longest_delay_seconds))
        self._rng = rng
        self._concerns = concerns
        self._odds: list[tuple[Action, float]] = [
            ("drop", drop),
            ("duplicate", duplicate),
            ("delay", delay),
            ("hold", hold),
            ("cut", cut),
        ]

    def _choose(self, passage: Passage) -> Action:
        if not self._concerns(passage):
            return "pass"
        drawn = self._rng.random()
        for action, probability in self._odds:
            if drawn < probability:
                return action
            drawn -= probability
        return "pass"
