"""How long one connection may say nothing: while it logs in, in a session, and once its stream is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .errors import StreamError
from .limits import Limits


class Vigil:
    """One timer, and what it stands for at present.

    Args:
        limits: see there.
        end: ends the stream, because the login takes too long.
        hang_up: ends the connection, because there is no sign of life.
        ping: asks for one.
        silence: how long nothing has been heard, in seconds, and 0 while nothing can be heard.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        end: Callable[[StreamError], None],
        hang_up: Callable[[StreamError], None],
        ping: Callable[[], None],
        silence: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._end, self._hang_up, self._ping, self._silence = end, hang_up, ping, silence
        self._loop = asyncio.get_running_loop()
        self._pinged: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin_login(self) -> None:
        """Allow one step of the login its time."""
        self._schedule(self._limits.login_seconds, self._late)

    def begin_session(self) -> None:
        """From now on look for signs of life."""
        self._schedule(self._limits.idle_seconds, self._look)

    def begin_closing(self, cut: Callable[[], None]) -> None:
        """Give the client a moment to close as well."""
        self._schedule(self._limits.closing_seconds, cut)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, seconds: float, callback: Callable[[], None]) -> None:
        self.stop()
        self._timer = self._loop.call_later(seconds, callback)

    def _late(self) -> None:
        seconds = self._limits.login_seconds
        self._end(StreamError("connection-timeout", f"no login within {seconds:g} s"))

    def _look(self) -> None:
        """Ping a silent peer, and give up one that does not answer (XEP-0199 §4.1)."""
        silence, now = self._silence(), self._loop.time()
        if silence < self._limits.idle_seconds:
            self._schedule(self._limits.idle_seconds - silence, self._look)
        elif self._pinged is not None and self._pinged > now - silence:
            self._hang_up(StreamError("connection-timeout", "no sign of life"))
        else:
            self._pinged = now
            self._ping()
            self._schedule(self._limits.ping_seconds, self._look)
