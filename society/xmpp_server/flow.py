"""What the connections of one server share: their number, and who must wait for whom."""

from __future__ import annotations

import asyncio
from typing import Generic, Protocol, TypeVar

from .limits import Limits


class Reader(Protocol):
    """A connection whose reading can be interrupted."""

    def pause_reading(self) -> None:
        """Take no more from the client for now."""
        ...

    def resume_reading(self) -> None:
        """Go on."""
        ...


class Backpressure:
    """Who is not being read because somebody cannot take what he sends."""

    def __init__(self) -> None:
        self._waiting: dict[Reader, set[Reader]] = {}
        self._crowded: dict[Reader, set[Reader]] = {}

    def is_waiting(self, reader: Reader) -> bool:
        """Whether this client is not being read at present."""
        return reader in self._waiting

    def hold(self, reader: Reader, crowded: Reader) -> None:
        """Stop reading one client until another is released; harmless when repeated."""
        if reader not in self._waiting:
            reader.pause_reading()
        self._waiting.setdefault(reader, set()).add(crowded)
        self._crowded.setdefault(crowded, set()).add(reader)

    def release(self, crowded: Reader) -> None:
        """Read those again who waited for this client and for no other."""
        for reader in self._crowded.pop(crowded, ()):
            reasons = self._waiting[reader]
            reasons.discard(crowded)
            if not reasons:
                del self._waiting[reader]
                reader.resume_reading()

    def leave(self, reader: Reader) -> None:
        """Forget a client that is closing; it is read again, so that its end is noticed."""
        self.release(reader)
        reasons = self._waiting.pop(reader, set())
        for crowded in reasons:
            self._crowded[crowded].discard(reader)
        if reasons:
            reader.resume_reading()


class Stranger(Reader, Protocol):
    """A connection, seen from `Connections`. `heard` is when it last said something, on the loop's clock."""

    heard: float

    def cut(self) -> None:
        """Break the connection."""
        ...


C = TypeVar("C", bound=Stranger)


class Connections(Generic[C]):
    """All connections of one server: who is logging in, and whose words are being acted on."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.all: set[C] = set()
        self.strangers: set[C] = set()
        self.speaker: C | None = None
        self.is_closed = False
        self.backpressure = Backpressure()
        self._emptied = asyncio.Event()

    def admit(self, connection: C) -> None:
        """Count a new connection. When too many are logging in, the one silent for longest has to go.

        Refusing the newcomer instead would let a few hundred idle connections shut everybody out.
        """
        self.all.add(connection)
        if self.is_closed:
            connection.cut()
            return
        if len(self.strangers) >= self.limits.unauthenticated_connections:
            longest = min(self.strangers, key=lambda stranger: stranger.heard)
            self.strangers.discard(longest)
            longest.cut()
        self.strangers.add(connection)

    def hold_speaker(self, crowded: C) -> None:
        """Do not read who is sending to a client more than we can pass on."""
        if self.speaker is not None:
            self.backpressure.hold(self.speaker, crowded)

    def forget(self, connection: C) -> None:
        """Stop counting a connection that is closed."""
        self.all.discard(connection)
        self.strangers.discard(connection)
        if not self.all:
            self._emptied.set()

    async def empty(self) -> None:
        """Wait until all connections are closed. Nothing is changed when this is cancelled."""
        while self.all:
            self._emptied.clear()
            await self._emptied.wait()
