"""What this process tells machines over HTTP: its metrics, and whether it lives and can work.

::

    GET /metrics         for Prometheus
    GET /health/live     200, or 503: what will not mend by itself; start the process anew
    GET /health/ready    200, or 503: what is missing just now; send it no work

Both kinds of health answer with JSON: ``{"status": "ready", "faults": []}``. Nothing here changes anything,
and nothing of what agents say to each other is shown. `EndpointError` is the only exception.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

__all__ = ("Endpoint", "EndpointError")

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to call it; the caller binds
_SHUTDOWN_SECONDS = 0.25
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

Faults = Callable[[], Awaitable[Sequence[str]]]
"""What is wrong, one sentence each."""


class EndpointError(Exception):
    """The endpoint cannot start; the message is one sentence for the person who runs the society."""


class Endpoint:
    """The HTTP endpoint of one process.

    Args:
        host: address to listen on. There is no login: whoever reaches it may read all.
        port: TCP port; 0 takes any free one.
        metrics: gives the metrics, as Prometheus reads them.
        content_type: of that.
        dead: gives what will not mend by itself.
        faults: gives what keeps the process from working just now.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        metrics: Callable[[], Awaitable[bytes]],
        content_type: str,
        dead: Faults,
        faults: Faults,
    ) -> None:
        self._host, self._port = host, port
        self._metrics, self._content_type = metrics, content_type
        self._dead, self._faults = dead, faults
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where the metrics are; with port 0, known after `start`."""
        host = _ANY_ADDRESS.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/metrics"

    async def start(self) -> None:
        """Listen; returns when the first request would be answered.

        Raises:
            EndpointError: the port is taken, or the host not this machine's.
        """
        app = web.Application()
        app.router.add_get("/metrics", self._get_metrics)
        app.router.add_get("/health/live", self._get_live)
        app.router.add_get("/health/ready", self._get_ready)
        # No log of requests: Prometheus alone would fill it. No signals: the launcher has them.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            taken = error.errno == errno.EADDRINUSE
            why = "another program holds that port" if taken else error.strerror or str(error)
            raise EndpointError(
                f"the metrics cannot be served at {self._host} port {self._port}, because {why}; correct "
                "[metrics], or LOCUTION_METRICS_HOST and LOCUTION_METRICS_PORT: every process of a machine "
                "needs a port of its own, and 0 takes any free one"
            ) from error
        self._runner, self._port = runner, runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port, within half a second. Does nothing if not started."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _get_metrics(self, _request: web.Request) -> web.Response:
        headers = {**_HEADERS, "Content-Type": self._content_type}
        return web.Response(body=await self._metrics(), headers=headers)

    async def _get_live(self, _request: web.Request) -> web.Response:
        return _told("live", "dead", await self._dead())

    async def _get_ready(self, _request: web.Request) -> web.Response:
        return _told("ready", "not ready", await self._faults())


def _told(well: str, ill: str, faults: Sequence[str]) -> web.Response:
    answer = {"status": ill if faults else well, "faults": list(faults)}
    return web.json_response(answer, status=503 if faults else 200, headers=_HEADERS)
