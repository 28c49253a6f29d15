"""What a process reports of itself: its facts as metrics, its health, and the endpoint that serves both."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from agents.base import LocutionAgent
from behaviours.events import Fact, Hook
from resilience.journal import Journal
from resilience.sqlite_store import SqliteStore
from society.config import SocietyFile
from society.endpoint import Endpoint, EndpointError
from society.errors import StartError
from society.health import Physician
from society.metrics import CONTENT_TYPE, Metrics


class Reporting:
    """The reports of one process, as ``[metrics]`` of the society file has them; or none.

    Args:
        file: the society.
        store: what the society keeps beside its messages.
    """

    def __init__(self, file: SocietyFile, store: SqliteStore) -> None:
        self._file, self._metrics, self._physician = file, Metrics(gpu_memory), Physician(store)
        table = file.metrics
        self._endpoint = Endpoint(
            table.host,
            table.port,
            metrics=self._text,
            content_type=CONTENT_TYPE,
            dead=self._dead,
            faults=self._faults,
        )

    @property
    def url(self) -> str | None:
        """Where the metrics are, once it has started; None where there are none."""
        return self._endpoint.url if self._file.metrics.enabled else None

    def hook(self, other: Hook) -> Hook:
        """A hook that counts each fact, and tells it to another hook."""
        if not self._file.metrics.enabled:
            return other
        count = self._metrics

        def tell(fact: Fact) -> None:
            count(fact)
            other(fact)

        return tell

    async def start(self) -> None:
        """Answer from now on: the process lives, and is not ready.

        Raises:
            StartError: the address cannot be used.
        """
        if self._file.metrics.enabled:
            try:
                await self._endpoint.start()
            except EndpointError as error:
                raise StartError(f"{self._file.path}: {error}") from error

    def know(self, agents: Mapping[str, LocutionAgent], journal: Journal) -> None:
        """Report on these agents from now on, by name; they may not be started yet."""
        self._physician.know(agents, journal)

    def begin(self) -> None:
        """All has been started."""
        self._physician.begin()

    def end(self) -> None:
        """All is about to be stopped: the process is ready no more."""
        self._physician.end()

    async def stop(self) -> None:
        """Answer no more. Safe to call again, and before `start`."""
        await self._endpoint.stop()

    async def _text(self) -> bytes:
        return self._metrics.text(await self._physician.look())

    async def _dead(self) -> Sequence[str]:
        return self._physician.dead()

    async def _faults(self) -> Sequence[str]:
        return (await self._physician.look()).faults


def gpu_memory() -> Mapping[str, tuple[int, int]]:
    """Bytes in use and in all of each GPU that this process uses, by its number."""
    devices = sys.modules.get("learning.devices")  # torch takes seconds: only a learner brings it
    found: Mapping[str, tuple[int, int]] = {} if devices is None else devices.gpu_memory()
    return found
