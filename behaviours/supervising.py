"""Restarting what SPADE kills, and giving up loudly.

SPADE 4.1.4: an exception ends a behaviour and throws its mailbox away, while the agent lives on, deaf.
A supervised behaviour is made anew by its factory, after a pause; one that fails too often in too
short a time is given up, which is a fact, and stops the agent if it cannot do without it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from spade.behaviour import CyclicBehaviour
from spade.template import Template

from behaviours.events import BehaviourGivenUp, BehaviourRestarted, Hook
from resilience.backoff import delay

RESTARTS = 5
"""Restarts within `WINDOW` seconds after which a behaviour is given up."""

WINDOW = 60.0

Factory = Callable[[], CyclicBehaviour]


@dataclass(kw_only=True)
class _Charge:
    factory: Factory
    template: Template | None
    is_vital: bool
    failures: deque[float] = field(default_factory=deque)


class Supervisor:
    """Watches the behaviours of one agent.

    Args:
        me: the bare JID of the agent, for the facts.
        add: starts a behaviour, as `spade.agent.Agent.add_behaviour`.
        stop_agent: called with the reason when a vital behaviour is given up.
        hook: sink of facts.
        rng: source of jitter.
    """

    def __init__(
        self,
        me: str,
        add: Callable[[CyclicBehaviour, Template | None], None],
        stop_agent: Callable[[str], None],
        hook: Hook,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._me, self._add, self._stop_agent, self._hook, self._rng = me, add, stop_agent, hook, rng
        self.given_up: dict[str, str] = {}
        """What failed too often and stays dead, with its last error."""
        self._charges: dict[CyclicBehaviour, _Charge] = {}
        self._timers: set[asyncio.TimerHandle] = set()

    def start(
        self, factory: Factory, template: Template | None = None, *, is_vital: bool = False
    ) -> CyclicBehaviour:
        """Make a behaviour, start it and keep it running.

        Args:
            factory: makes the behaviour; called again for each restart, so state belongs elsewhere.
            template: the messages that SPADE passes to it.
            is_vital: whether the agent is to stop when the behaviour is given up.
        """
        return self._start(_Charge(factory=factory, template=template, is_vital=is_vital))

    def ended(self, behaviour: CyclicBehaviour) -> None:
        """Take note that SPADE has removed a behaviour; one that ended by itself is left alone."""
        charge = self._charges.pop(behaviour, None)
        error = behaviour.exit_code if behaviour.is_killed() else None
        if charge is None or not isinstance(error, BaseException):
            return
        text = f"{type(error).__name__}: {error}"
        now = asyncio.get_running_loop().time()
        charge.failures.append(now)
        while charge.failures[0] < now - WINDOW:
            charge.failures.popleft()
        if len(charge.failures) > RESTARTS:
            self.given_up[str(behaviour)] = text
            self._hook(BehaviourGivenUp(agent=self._me, behaviour=str(behaviour), text=text))
            if charge.is_vital:
                self._stop_agent(f"{behaviour} failed {len(charge.failures)} times in a minute: {text}")
            return
        attempt = len(charge.failures)
        self._hook(BehaviourRestarted(agent=self._me, behaviour=str(behaviour), attempt=attempt, text=text))
        self._later(delay(attempt, self._rng, first=0.1, most=5.0), charge)

    def close(self) -> None:
        """Restart nothing any more."""
        self._charges.clear()
        for timer in self._timers:
            timer.cancel()

    def _start(self, charge: _Charge) -> CyclicBehaviour:
        behaviour = charge.factory()
        self._charges[behaviour] = charge
        self._add(behaviour, charge.template)
        return behaviour

    def _later(self, seconds: float, charge: _Charge) -> None:
        def restart() -> None:
            self._timers.discard(timer)
            self._start(charge)

        timer = asyncio.get_running_loop().call_later(seconds, restart)
        self._timers.add(timer)
