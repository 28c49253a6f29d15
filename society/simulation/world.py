"""The world while a scenario runs: its agents, their processes, and all that happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from functools import partial
from random import Random
from typing import Any, TypeVar

from agents.base import LocutionAgent, Ports, Server
from behaviours.events import Fact
from resilience.memory import MemoryJournal
from society.simulation import happenings
from society.simulation.connection import SimulatedConnection
from society.simulation.evidence import History
from society.simulation.happenings import Happening
from society.simulation.hosts import Crash, Host, SimulationError, address_of
from society.simulation.machine import now, since_1970
from society.simulation.network import Faults, Network
from society.simulation.store import SlowJournal
from society.simulation.streams import DOMAIN
from society.simulation.virtual_time import Process, VirtualLoop

QUIET = 2.0
"""Seconds without anything under way, beside what a link may hold back, until a world is at rest."""

AgentKind = TypeVar("AgentKind", bound=LocutionAgent)
Result = TypeVar("Result")


class Simulation:
    """A world while its scenario runs; `simulate` makes it.

    Attributes:
        seed: of everything.
        rng: the scenario's own.
        network: for partitions, and for faults of single links.
        history: all that has happened so far.
    """

    def __init__(self, seed: int, faults: Faults, loop: VirtualLoop) -> None:
        self.seed = seed
        self.rng = Random(f"{seed}/scenario")  # noqa: S311 - it is to be guessed
        self.history = History()
        self.network = Network(loop, Random(f"{seed}/network"), faults, self.record)  # noqa: S311
        self._journal_rng = Random(f"{seed}/journal")  # noqa: S311
        self.is_over = False
        self._moment = loop.time(), now(loop)
        self._loop = loop
        self._hosts: dict[str, Host] = {}
        self._works = 0

    @property
    def time(self) -> float:
        """Seconds since the beginning."""
        return self._loop.time()

    def clock(self) -> datetime:
        """The wall clock of all agents."""
        if self._moment[0] != self._loop.time():
            self._moment = self._loop.time(), now(self._loop)
        return self._moment[1]

    def record(self, fact: Fact) -> None:
        """Add to the history."""
        if not self.is_over:
            self.history.append(Happening(self._loop.time(), fact))

    def note(self, agent: LocutionAgent | str, text: str) -> None:
        """Add a note to the history, such as an effect that is to come about once."""
        self.record(happenings.Noted(agent=address_of(agent), text=text))

    # -- agents --------------------------------------------------------------------------------

    async def start(self, kind: Callable[..., AgentKind], name: str, **ports: Any) -> AgentKind:
        """Make an agent, with its account, and start it.

        Args:
            kind: the class, or anything that takes jid, password, server and ports.
            name: the local part of its JID; with a resource behind a slash, one of several replicas.
            **ports: of its collaborators (`Ports`), what is not to be in memory.

        Raises:
            SimulationError: there is one of that name.
            ConnectionFailed: it is kept away from its server.
        """
        if name in self._hosts:
            raise SimulationError(f"there is an agent {name!r} already; restart it, or choose another name")
        self.network.add_account(name.partition("/")[0])
        own = {"journal": MemoryJournal(clock=lambda: since_1970(self._loop)), "clock": self.clock, **ports}
        journal = own["journal"]
        own["journal"] = SlowJournal(journal, self._journal_rng, self.record)
        self._hosts[name] = Host(kind, Ports(**own), journal)
        agent: Any = await self._start(name)
        started: AgentKind = agent
        return started

    async def restart(self, name: str) -> LocutionAgent:
        """Start an agent anew that has crashed or was stopped: another object, with the ports of the first.

        Raises:
            SimulationError: it runs, or never has.
        """
        host = self._host(name)
        if host.process is not None:
            raise SimulationError(f"{name} runs; crash it or stop it first")
        return await self._start(name)

    async def stop(self, name: str) -> None:
        """Stop an agent politely.

        Raises:
            SimulationError: it does not run.
        """
        host, agent, process = self._running(name)
        await self._loop.begin(process, agent.stop())
        host.agent = host.process = None
        host.connections.clear()
        self.record(happenings.Stopped(agent=address_of(name), number=host.number))

    async def crash(self, name: str) -> None:
        """Kill an agent as ``kill -9`` does. From its own process this never returns.

        Raises:
            SimulationError: it does not run, or does something that would not die with it.
        """
        host, _agent, process = self._running(name)
        if process.has_leaked:
            raise SimulationError(
                f"{name} has said something outside its process, which cannot crash with it: "
                f"write world.run({name}, ...) around what it does in the scenario"
            )
        self._loop.kill(process)
        for connection in host.connections:
            connection.abandon()
        host.agent = host.process = None
        host.connections.clear()
        self.record(happenings.Crashed(agent=address_of(name), number=host.number))
        works, host.works = host.works, {}
        for work, outcome in works.items():
            self._end(name, work, outcome, Crash())
        await asyncio.sleep(0)  # the dead do not wake up from this

    async def rest(self, within: float = 600.0) -> None:
        """Let all come to an end: the network is whole, every agent runs, and what is under way arrives.

        What is left then with each agent is put into the history, for invariants such as `nothing_lost`.

        Args:
            within: seconds after which it is put there as it is, be there never so much under way.

        Raises:
            ConnectionFailed: an agent that was down could not be started.
        """
        straggling = self.network.mend() + QUIET
        for name, host in self._hosts.items():
            if host.process is None:
                await self.restart(name)
        end, quiet_since = self.time + within, self.time
        while quiet_since + straggling > self.time < end:
            await asyncio.sleep(1.0)
            for name, host in self._hosts.items():
                if await host.has_work(address_of(name)):
                    quiet_since = self.time
        for name, host in self._hosts.items():
            self.record(await host.left(address_of(name)))

    def run(
        self, agent: LocutionAgent | str, doing: Coroutine[Any, Any, Result]
    ) -> asyncio.Future[Result | Crash]:
        """Have an agent begin something within its process; wait for what comes of it, or do not.

        Raises:
            SimulationError: it does not run.
        """
        try:
            name = agent if isinstance(agent, str) else self._name_of(agent)
            host, _agent, process = self._running(name)
        except SimulationError:
            doing.close()
            raise
        self._works += 1
        work, outcome = self._works, self._loop.create_future()
        host.works[work] = outcome
        what = getattr(doing, "__qualname__", "something")
        self.record(happenings.Begun(agent=address_of(name), work=work, what=what))
        task = self._loop.begin(process, doing)
        task.add_done_callback(partial(self._done, name, work), context=self._loop.outside)
        return outcome

    def cut(self, name: str, seconds: float = 0.0) -> None:
        """Break an agent's connection; it can have no other for so many seconds."""
        self.network.cut(name, seconds)

    # -- inside --------------------------------------------------------------------------------

    async def _start(self, name: str) -> LocutionAgent:
        host = self._host(name)
        host.number += 1
        host.process = process = Process(name)
        self.record(happenings.Started(agent=address_of(name), number=host.number))
        told = host.ports.hook

        def hook(fact: Fact) -> None:
            if not process.is_dead:
                self.record(fact)
                told(fact)

        def connect(*args: Any, **how: Any) -> SimulatedConnection:
            connection = SimulatedConnection(self.network, process, *args, **how)
            host.connections.append(connection)
            return connection

        ports = replace(host.ports, hook=hook, connect=connect)
        local, slash, resource = name.partition("/")
        jid, server = f"{local}@{DOMAIN}{slash}{resource}", Server(host=DOMAIN)
        host.agent = agent = process.context.copy().run(host.kind, jid, "simulated", server, ports)
        # SPADE 4.1.4: its container keeps the first event loop that it has seen.
        agent.set_loop(self._loop)
        try:
            outcome = await self.run(name, agent.start())
        except BaseException:
            self._loop.kill(process)
            host.agent = host.process = None
            raise
        if outcome == Crash():
            raise SimulationError(f"{name} crashed while it was started")
        return agent

    def _done(self, name: str, work: int, task: asyncio.Task[Any]) -> None:
        outcome = self._hosts[name].works.pop(work, None)
        if outcome is not None:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            self._end(name, work, outcome, task.result() if error is None else error)

    def _end(self, name: str, work: int, outcome: asyncio.Future[Any], value: object) -> None:
        how = type(value).__name__
        self.record(happenings.Ended(agent=address_of(name), work=work, how=how, value=value))
        if outcome.done():
            return
        if isinstance(value, asyncio.CancelledError):
            outcome.cancel()
        elif isinstance(value, BaseException):
            outcome.set_exception(value)
        else:
            outcome.set_result(value)

    def _name_of(self, agent: LocutionAgent) -> str:
        for name, host in self._hosts.items():
            if host.agent is agent:
                return name
        raise SimulationError(f"this {agent.me} does not run any more; take the one that a restart returns")

    def _host(self, name: str) -> Host:
        if name not in self._hosts:
            known = ", ".join(self._hosts) or "nobody"
            raise SimulationError(f"there is no agent {name!r} here; started so far: {known}")
        return self._hosts[name]

    def _running(self, name: str) -> tuple[Host, LocutionAgent, Process]:
        host = self._host(name)
        if host.process is None or host.agent is None:
            raise SimulationError(f"{name} does not run; restart it first")
        return host, host.agent, host.process
