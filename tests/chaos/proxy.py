"""The way between agents and server, which can be cut, or swallow all that is sent on it."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress


class Proxy:
    """Passes on bytes on loopback, until it is told to drop connections, or to pass on nothing.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._listening: asyncio.Server | None = None
        self._passes = asyncio.Event()
        self._passes.set()
        self.port = 0

    async def start(self) -> None:
        """Listen on a free port."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]

    def cut(self, dice: random.Random) -> int:
        """Break some connections with no goodbye; how many."""
        tasks = [each for each in self._open if dice.random() < 0.5]
        for each in tasks:
            self._open[each].transport.abort()
            each.cancel()
        return len(tasks)

    def swallow(self) -> None:
        """Pass on nothing and break nothing, as a network that has failed in the middle."""
        self._passes.clear()

    def go_on(self) -> None:
        """Pass on again, and what has come meanwhile."""
        self._passes.set()

    async def stop(self) -> None:
        """Break all of them, and listen no more."""
        assert self._listening is not None
        self._listening.close()
        for each in tuple(self._open):
            each.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        there: asyncio.StreamWriter | None = None
        try:
            back, there = await asyncio.open_connection("127.0.0.1", self._server_port)
            ways = {asyncio.ensure_future(self._pass(*each)) for each in ((reader, there), (back, writer))}
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            del self._open[task]
            for each in (writer, there):
                if each is not None:
                    each.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
