"""Running a society, or a part of it, in this process: start order, signals, and a graceful stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from agents.base import LocutionAgent
from agents.directory_facilitator import DirectoryFacilitator
from agents.registered import RegisteredAgent
from behaviours.handing_back import hand_back
from behaviours.living import MAIN
from resilience.records import RecordsError
from society.cataloguing import Catalogue, open_catalogue
from society.choosing import chosen, claimed, held_as, see_to_sharing
from society.config import SERVER, SocietyFile
from society.dashboard import DashboardError
from society.errors import SocietyError, StartError
from society.events import Tell, told_if_slow
from society.keeping import Keeping, open_keeping, open_store
from society.reporting import Reporting
from society.state import StateFolder
from society.telemetry import Telemetry
from society.wiring import (
    embedded_server,
    import_kinds,
    make_agents,
    make_dashboards,
    mended,
    server_address,
    told,
)
from society.xmpp_server import XmppServerError

_log = logging.getLogger("locution")

APPEAR_WITHIN = 20.0
"""Seconds that a process waits for the server of another one to appear: both may be started at once."""

ENTER_WITHIN = 5.0
"""Seconds in which agents should stand in the directory; then readiness is told all the same."""

STOP_WITHIN = 10.0
"""Seconds for the graceful stop; then the process ends as it is."""

LOOK_EVERY = 0.25

ECHO_WITHIN = 0.5
"""Seconds in which a second SIGTERM is the first one's echo: a supervisor sends it to us and to our group."""


class RunningSociety:
    """The agents of one process, and the embedded server if it is to run here.

    Args:
        file: the society.
        only: the names of what is to run here, `SERVER` among them or not; empty for everything.
        tell: told what happens.
        began: when the start began, of `time.monotonic`; by default now.
        replica: which replica of its agents this process is.
        any_of: a kind, of which one agent is to run here that runs nowhere else: the first such of the file.

    Raises:
        SocietyError: the file, a kind or the state folder cannot be used.
    """

    def __init__(
        self,
        file: SocietyFile,
        only: Sequence[str],
        tell: Tell,
        began: float | None = None,
        replica: str = MAIN,
        any_of: str | None = None,
    ) -> None:
        self._file, self._tell = file, tell
        self._began = time.monotonic() if began is None else began
        self._replica = replica
        see_to_sharing(file, replica)
        self._state = StateFolder(file.society.state)
        self._telemetry = Telemetry()
        try:
            if any_of is not None:
                only = (claimed(file, self._state, any_of, replica),)
            self._serves = file.is_embedded and (not only or SERVER in only)
            self._kinds = kinds = import_kinds(file, chosen(file, only))
            self._state.prepare()
            for name in (*((SERVER,) if self._serves else ()), *(held_as(each, replica) for each in kinds)):
                self._state.claim(name)
            self._store = open_store(self._state)
        except SocietyError:
            self._state.release()
            raise
        try:
            self._server = embedded_server(file, self._state, self._store) if self._serves else None
        except SocietyError:
            self._store.close()
            self._state.release()
            raise
        self._reporting = Reporting(file, self._store)
        self._keeping: Keeping | None = None
        self._catalogue: Catalogue | None = None
        self._agents: dict[str, LocutionAgent] = {}
        self.has_failed = False
        """Whether an agent has stopped for a reason of its own."""

    async def start(self) -> None:
        """Start what tells of it, the server, the directory, everyone else at once, and their dashboards.

        Safe to cancel; call `stop` afterwards in any case.

        Raises:
            SocietyError: something did not start.
        """
        await self._reporting.start()
        self._keeping = keeping = await open_keeping(self._file, self._state, self._store)
        if self._server is not None:
            try:
                await self._server.start()
            except XmppServerError as error:
                raise StartError(_without_zero(error)) from error
        else:
            address = server_address(self._file, self._state)
            await self._appeared(address.host, address.port)
        hook = self._reporting.hook(self._telemetry)
        made = make_agents(self._file, self._state, self._kinds, self._store, hook, keeping, self._replica)
        self._reporting.know(made, keeping.journal)
        dashboards = make_dashboards(self._file, made, self._telemetry)
        directories = {name for name, agent in made.items() if isinstance(agent, DirectoryFacilitator)}
        for names in (directories, made.keys() - directories):
            await self._start_agents({name: made[name] for name in made if name in names})
        self._catalogue = open_catalogue(self._file, made, keeping.journal, self._replica, self._telemetry)
        if self._catalogue is not None:
            self._catalogue.begin()
        for dashboard in dashboards.values():
            try:
                await dashboard.start()
            except DashboardError as error:
                raise StartError(_without_zero(error)) from error
        await self._entered(made.values())
        self._reporting.begin()
        self._tell(
            "ready",
            society=self._file.society.name,
            xmpp=f"{self._file.xmpp.host}:{self._file.xmpp.port}",
            serves=self._serves,
            seconds=round(time.monotonic() - self._began, 3),
            metrics=self._reporting.url,
            agents=[
                {
                    "name": name,
                    "jid": agent.me.name,
                    "kind": self._kind_name(name),
                    "dashboard": dashboards[name].url if name in dashboards else None,
                }
                for name, agent in made.items()
            ],
        )

    async def until_over(self) -> None:
        """Return when every agent has stopped; without agents, never."""
        had_agents = bool(self._agents)
        while self._agents or not had_agents:
            for name, agent in list(self._agents.items()):
                if not agent.is_alive():
                    del self._agents[name]
                    self._state.release(
                        held_as(name, self._replica)
                    )  # it may be started anew, in another process
                    self.has_failed = self.has_failed or agent.stopped_because is not None
                    self._tell("agent-stopped", name=name, because=agent.stopped_because)
            await asyncio.sleep(LOOK_EVERY)

    async def stop(self) -> None:
        """Stop everyone, the directory and the server last. Agents still say good-bye to each other."""
        self._reporting.end()
        if self._catalogue is not None:
            await self._catalogue.close()
        directories = {
            name: agent for name, agent in self._agents.items() if isinstance(agent, DirectoryFacilitator)
        }
        others = {name: agent for name, agent in self._agents.items() if name not in directories}
        for agent in others.values():
            if agent.is_alive() and agent.is_connected:
                await hand_back(agent.mailroom)
        for agents in (others, directories):
            stopping = (agent.stop() for agent in agents.values())
            for name, outcome in zip(
                agents, await asyncio.gather(*stopping, return_exceptions=True), strict=True
            ):
                if isinstance(outcome, Exception):
                    _log.error("%s did not stop cleanly: %s", name, told(outcome))
        if self._keeping is not None:
            try:
                await self._keeping.close()
            except RecordsError as error:
                _log.error("the journal was not closed cleanly: %s", error)
        if self._server is not None:
            await self._server.stop()
        await self._reporting.stop()
        self._telemetry.close()
        try:
            self._store.close()
        except RecordsError as error:
            _log.error("the database was not closed cleanly: %s", error)
        self._state.release()

    async def _start_agents(self, agents: dict[str, LocutionAgent]) -> None:
        # Also those that do not come to stand: what they have begun must be stopped.
        self._agents.update(agents)
        outcomes = await asyncio.gather(*(agent.start() for agent in agents.values()), return_exceptions=True)
        for name, outcome in zip(agents, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                _log.debug("%s", name, exc_info=outcome)
                raise StartError(f"agent {name!r} did not start: {mended(told(outcome))}") from outcome

    async def _appeared(self, host: str, port: int) -> None:
        """Wait until the server accepts connections."""
        last: OSError | None = None
        with suppress(TimeoutError), told_if_slow(self._tell, "waiting", xmpp=f"{host}:{port}"):
            async with asyncio.timeout(APPEAR_WITHIN):
                while True:
                    try:
                        _reader, writer = await asyncio.open_connection(host, port)
                    except OSError as error:
                        last = error
                        await asyncio.sleep(LOOK_EVERY)
                    else:
                        writer.close()
                        return
        why = (last.strerror or str(last)) if last is not None else "it does not answer"
        mend = f"start it: locution up --only {SERVER}" if self._file.is_embedded else "start it"
        raise StartError(
            f"no XMPP server has appeared at {host} port {port} within {APPEAR_WITHIN:g} s ({why}); {mend}, "
            "or correct [xmpp] in the society file"
        )

    async def _entered(self, agents: Iterable[LocutionAgent]) -> None:
        """Wait until all that offer something stand in the directory, so that "ready" means usable."""
        registering = [agent for agent in agents if isinstance(agent, RegisteredAgent)]
        with suppress(TimeoutError):
            async with asyncio.timeout(ENTER_WITHIN):
                while any(each.services() and not each.entry.is_entered for each in registering):  # noqa: ASYNC110 - an entry has no event
                    await asyncio.sleep(LOOK_EVERY / 10)
                return
        _log.warning("not every agent stands in the directory yet; they go on trying")

    def _kind_name(self, name: str) -> str:
        return next(agent.kind for agent in self._file.agents if agent.name == name)


def _without_zero(error: Exception) -> str:
    """Leave out a piece of advice: the server and the dashboards take port 0, a society file does not."""
    return str(error).replace(" (0 takes any free one)", "")


async def run(
    file: SocietyFile,
    only: Sequence[str],
    tell: Tell,
    *,
    began: float | None = None,
    replica: str = MAIN,
    any_of: str | None = None,
    on_stopping: Callable[[], None] = lambda: None,
) -> int:
    """Run a society until a signal comes or every agent has stopped.

    SIGINT and SIGTERM stop it gracefully; a second one ends the process at once.

    Args:
        file: the society.
        only: the names of what is to run here; empty for everything.
        tell: told what happens.
        began: when the start began, of `time.monotonic`; by default now.
        replica: which replica of its agents this process is.
        any_of: a kind, of which one agent that runs nowhere else is to run here.
        on_stopping: called when the stop begins, e.g. `LastResort.start`.

    Returns:
        The exit code: 0 after a stop that was asked for, 1 if an agent stopped for a reason of its own.

    Raises:
        SocietyError: it did not start; what had started is stopped again.
    """
    signals = _Signals()
    society = RunningSociety(file, only, tell, began, replica, any_of)
    try:
        if await _unless(signals, society.start()):
            # What is there by now stays. To go through it for garbage stops the event loop for a third of a
            # second, in which no leader gives a sign of life.
            gc.freeze()
            await _unless(signals, society.until_over())
    finally:
        on_stopping()
        if signals.received:
            tell("stopping", because=signals.received)
        await society.stop()
    tell("stopped")
    return 1 if society.has_failed else 0


class _Signals:
    """The first signal is noted; the second one ends the process, unless it is an echo (`ECHO_WITHIN`)."""

    def __init__(self) -> None:
        self.received: str | None = None
        self.came = asyncio.Event()
        self._came_at = 0.0
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._receive, number)

    def _receive(self, number: signal.Signals) -> None:
        if self.received == number.name == "SIGTERM" and time.monotonic() < self._came_at + ECHO_WITHIN:
            return
        if self.received is not None:
            os._exit(128 + number)
        self.received = number.name
        self._came_at = time.monotonic()
        self.came.set()


async def _unless(signals: _Signals, work: Coroutine[Any, Any, None]) -> bool:
    """Do something unless a signal comes first; whether it was done."""
    task = asyncio.ensure_future(work)
    came = asyncio.ensure_future(signals.came.wait())
    await asyncio.wait({task, came}, return_when=asyncio.FIRST_COMPLETED)
    came.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    await asyncio.wait({task})
    return False


class LastResort:
    """Ends the process in `STOP_WITHIN` seconds whatever hangs: nobody can stop a thread from outside."""

    def __init__(self) -> None:
        self._timer = threading.Timer(STOP_WITHIN, self._end)
        self._timer.daemon = True

    def start(self) -> None:
        """Begin to count."""
        self._timer.start()

    def cancel(self) -> None:
        """Everything has stopped, or never began to."""
        self._timer.cancel()

    def _end(self) -> None:
        _log.error("not everything stopped within %g s; ending now", STOP_WITHIN)
        os._exit(1)
