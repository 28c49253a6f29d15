"""One client's connection with its server, in memory: in order, without a loss until it breaks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context
from functools import partial
from random import Random
from typing import Generic, Protocol, TypeVar

from behaviours.events import Fact
from society.simulation.happenings import Cut, Dropped
from society.simulation.virtual_time import VirtualLoop
from society.xmpp_server.errors import StreamError
from society.xmpp_server.headers import header
from society.xmpp_server.limits import Limits
from society.xmpp_server.router import Router
from society.xmpp_server.stanzas import Stanza
from society.xmpp_server.stream import Closed, StreamParser
from society.xmpp_server.switchboard import Session

DOMAIN = "simulation"

LATENCY = (0.0005, 0.003)
"""Seconds between a client and its server."""

NOTICED_AFTER = (0.0, 3.0)
"""Seconds after which either side notices that a connection is broken, each by itself."""

Thing = TypeVar("Thing")


class Client(Protocol):
    """One end of a connection, in an agent's process."""

    @property
    def context(self) -> Context:
        """What it is to be called in."""

    def take(self, stanza: str) -> None:
        """Take a stanza."""

    def broke(self, reason: str, *, is_fatal: bool) -> None:
        """Learn that the connection is gone, for good if the server has sent us away."""


class Home(Protocol):
    """What a stream needs of the network that it is in."""

    loop: VirtualLoop
    rng: Random
    record: Callable[[Fact], None]
    limits: Limits
    router: Router

    @property
    def cuts(self) -> float:
        """How probable it is that a connection breaks at a stanza."""

    def receive(self, stream: Stream, stanza: Stanza, text: str) -> None:
        """Take what a client has written."""


class Pipe(Generic[Thing]):
    """Passes on in order, each thing after some time; never before what went in earlier."""

    def __init__(self, loop: VirtualLoop, rng: Random, out: Callable[[Thing], None]) -> None:
        self._loop, self._rng, self._out = loop, rng, out
        self.waiting: deque[Thing] = deque()

    def put(self, thing: Thing, span: tuple[float, float], context: Context) -> None:
        """Pass something on after some time of a span, in a context."""
        self.waiting.append(thing)
        self._loop.call_later(self._rng.uniform(*span), self._pop, context=context)

    def _pop(self) -> None:
        # Whichever timer this is, one runs out for each thing that goes in: the eldest comes out.
        if self.waiting:
            self._out(self.waiting.popleft())


class Stream:
    """One connection of a client with its server; a `society.xmpp_server.switchboard.Link` to that."""

    def __init__(self, network: Home, client: Client, name: str, resource: str) -> None:
        self._network, self._client = network, client
        self.account = f"{name}@{DOMAIN}"
        self._up: Pipe[str] = Pipe(network.loop, network.rng, self._heard)
        self._down: Pipe[str] = Pipe(network.loop, network.rng, client.take)
        self._is_whole, self._has_ended = True, False
        self._parser = StreamParser(network.limits)
        self._parser.feed(header(DOMAIN, "simulated"))
        self.session: Session = network.router.bind(name, resource, self)

    # -- the client's side ---------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Write to the server; nobody is told when the stream is broken."""
        if not self._is_whole:
            self._lose(text)
            return
        self._up.put(text, LATENCY, self._network.loop.outside)
        chance = self._network.cuts
        if chance and self._network.rng.random() < chance:
            self.cut()

    def abandon(self) -> None:
        """The process is dead: some of what it wrote last still arrives, and nothing more reaches it."""
        if self._is_whole:
            self._break(keep=self._network.rng.randint(0, len(self._up.waiting)))

    # -- the server's side ---------------------------------------------------------------------

    def deliver(self, data: bytes) -> None:
        """Write to the client."""
        if self._is_whole:
            self._down.put(data.decode(), LATENCY, self._client.context)
        else:
            self._lose(data.decode())

    def cut(self) -> None:
        """Break in the middle, losing what is under way; both sides notice by and by."""
        if self._is_whole:
            self._network.record(Cut(agent=self.account))
            self._break(keep=0)
            self._tell("the connection was lost", NOTICED_AFTER)

    def close(self, error: StreamError | None = None) -> None:
        """End it from the server's side, after what was written so far."""
        if self._has_ended:
            return
        self._leave()
        if self._is_whole:
            is_fatal = error is not None and error.condition == "conflict"
            self._tell(str(error or "closed"), (LATENCY[1], LATENCY[1]), is_fatal=is_fatal)

    def _tell(self, reason: str, span: tuple[float, float], *, is_fatal: bool = False) -> None:
        seconds = self._network.rng.uniform(*span)
        broke = partial(self._client.broke, reason, is_fatal=is_fatal)
        self._network.loop.call_later(seconds, broke, context=self._client.context)

    def _break(self, keep: int) -> None:
        self._is_whole = False
        while len(self._up.waiting) > keep:
            self._lose(self._up.waiting.pop())
        while self._down.waiting:
            self._lose(self._down.waiting.popleft())
        network = self._network
        noticed = network.rng.uniform(*NOTICED_AFTER)
        network.loop.call_later(noticed, self._leave, context=network.loop.outside)

    def _leave(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._network.router.leave(self.session)
            self._parser.close()

    def _heard(self, text: str) -> None:
        for event in () if self._has_ended else self._parser.feed(text.encode()):
            match event:
                case Stanza():
                    self._network.receive(self, event, text)
                case Closed():
                    self.close()
                case StreamError():
                    self.close(event)

    def _lose(self, stanza: str) -> None:
        self._network.record(Dropped(agent=self.account, why="its connection broke", stanza=stanza))
