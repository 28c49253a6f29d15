"""A way to a server that a test can cut: TCP on loopback, passed on unread."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Gate:
    """`async with Gate(port) as gate`: what connects to `gate.port` is passed on to the server's port.

    Attributes:
        port: where to connect.
        knocked: connections so far.
        passed: those that were let through.
        held: connections of which nothing gets through any more, and of which nobody is told.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_shut = False
        self._opened = asyncio.Event()
        self._opened.set()
        self.knocked = self.passed = self.held = 0
        self._running: set[asyncio.Event] = set()
        self._holding: list[asyncio.Event] = []

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.port = int(self._listener.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.close()
        self.open()
        self.let_go()
        self.cut()
        await self._listener.wait_closed()

    def cut(self) -> None:
        """Break every connection now, with all that is under way."""
        for writer in self._writers:
            writer.transport.abort()

    def shut(self) -> None:
        """Break every connection, and let none through until `open`."""
        self._opened.clear()
        self.cut()

    def open(self) -> None:
        """Let connections through."""
        self._opened.set()

    def hold(self) -> None:
        """Let nothing through of what is connected now, not even that an end has closed, until `let_go`.

        What connects from now on gets through.
        """
        self._holding += self._running
        self.held += len(self._running)
        for each in self._running:
            each.clear()

    def let_go(self) -> None:
        """Pass on what was held."""
        while self._holding:
            self._holding.pop().set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocked += 1
        self._writers.add(writer)
        try:
            await self._opened.wait()
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._server)
            self._writers.add(ours)
            self.passed += 1
            runs = asyncio.Event()
            runs.set()
            self._running.add(runs)
            try:
                await asyncio.gather(_copy(reader, ours, runs), _copy(theirs, writer, runs))
            finally:
                self._running.discard(runs)
                self._writers.discard(ours)
                ours.transport.abort()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, runs: asyncio.Event) -> None:
    while data := await reader.read(65536):
        await runs.wait()
        writer.write(data)
        await writer.drain()
    await runs.wait()
    writer.transport.abort()
