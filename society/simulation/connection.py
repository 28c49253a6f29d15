"""An agent's session in a simulated network: what `behaviours.connection.XmppConnection` is in a real one.

Stanzas are text on the way, and each end parses its own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import Any, Literal
from xml.etree import ElementTree

from behaviours.connection import RECONNECT_MOST, RETURN_WITHIN, START_TIMEOUT, XmppConnection
from behaviours.transport import ConnectionFailed, Life
from behaviours.wire import CLIENT, MESSAGE, Element
from resilience.backoff import delay
from society.simulation.happenings import Arrived, Written
from society.simulation.network import Network
from society.simulation.requests import Requests
from society.simulation.streams import DOMAIN, LATENCY, Stream
from society.simulation.virtual_time import Process, here
from society.xmpp_server.errors import StanzaError

FAREWELL_WITHIN = 2.0
"""Seconds for the server to close the stream as well; `XmppConnection` waits as long."""


class _Incoming:
    """Stanzas as they come in, read by one parser, as in a stream: it takes half the time of one for each."""

    def __init__(self) -> None:
        tree = ElementTree.TreeBuilder()
        above = tree.start("above", {})
        self._parser = ElementTree.XMLParser(target=tree)  # noqa: S314 - the server has parsed it before
        self._parser.feed('<stream xmlns="jabber:client">')
        self._stream = above[0]

    def read(self, stanza: str) -> ElementTree.Element:
        """Read a whole stanza."""
        self._parser.feed(stanza)
        element = self._stream[0]
        del self._stream[0]
        return element


class SimulatedConnection:
    """A session over simulated streams; its arguments are those of `XmppConnection`, behind the first two.

    It comes back by itself when its stream breaks, with a new session. Presence of others is not told.

    Args:
        network: what it goes over.
        process: the agent's.
        jid: full JID.
        password: of the account; not looked at.
        on_message: gets every message stanza, in order.
        on_online: told when a session stands, with the full JID.
        on_offline: told when it is gone, with the reason.
        on_fatal: told when it cannot come back.
        rng: source of jitter.
        **_address: where a real server would be.
    """

    def __init__(
        self,
        network: Network,
        process: Process,
        jid: str,
        password: str,
        *,
        on_message: Callable[[Element], None],
        on_online: Callable[[str], None],
        on_offline: Callable[[str], None],
        on_fatal: Callable[[str], None],
        rng: Callable[[], float] = random.random,
        **_address: object,
    ) -> None:
        self._network, self._process, self._jid, self._rng = network, process, jid, rng
        self._account = jid.partition("/")[0]
        self._on_message, self._on_online = on_message, on_online
        self._on_offline, self._on_fatal = on_offline, on_fatal
        self._watchers: list[tuple[Callable[[Element], bool], Callable[[], None]]] = []
        self._online, self._closed = asyncio.Event(), asyncio.Event()
        self._is_stopping = self._has_stood = False
        self._online_since = -RETURN_WITHIN
        self._stream: Stream | None = None
        self._coming_back: asyncio.Task[None] | None = None
        self._requests = Requests(self._write)
        self._answering: set[str] = set()
        self._factory: Any = None
        self._incoming = _Incoming()

    # -- the session ---------------------------------------------------------------------------

    @property
    def context(self) -> Context:
        """What the network calls us in."""
        return self._process.context

    @property
    def is_online(self) -> bool:
        """Whether a session stands, as far as we have noticed."""
        return self._online.is_set()

    @property
    def full_jid(self) -> str:
        """The session's full JID."""
        return self._jid

    async def wait_online(self) -> None:
        """Return once a session stands."""
        await self._online.wait()

    async def open(self, timeout: float = START_TIMEOUT) -> None:
        """Log in.

        Raises:
            ConnectionFailed: there is no such account, or the server could not be reached in time.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._come_back()
        except TimeoutError:
            raise ConnectionFailed(f"{self._account}: no session within {timeout:g} s") from None
        except StanzaError as error:
            raise ConnectionFailed(f"{self._account}: {error}") from None

    async def _come_back(self) -> None:
        attempt = 0
        while not (self.is_online or self._is_stopping):
            if attempt or self._has_stood:
                await asyncio.sleep(delay(attempt + 1, self._rng, first=0.5, most=RECONNECT_MOST))
            await asyncio.sleep(LATENCY[1])
            attempt += 1
            self._stream = self._network.connect(self, self._jid, self._process.name)
            if self._stream is not None:
                self._stand()

    def _stand(self) -> None:
        is_return, self._has_stood = self._has_stood, True
        # A first session is no return: nobody was there with us when it broke.
        self._online_since = asyncio.get_running_loop().time() if is_return else -RETURN_WITHIN
        self._online.set()
        self._write("<presence/>")
        self._on_online(self._jid)
        for _takes, on_online in self._watchers:
            on_online()

    async def close(self) -> None:
        """Log out; safe to call again."""
        self._is_stopping = True
        if self._coming_back is not None:
            self._coming_back.cancel()
        if self.is_online:
            self._write("</stream:stream>")
            self._online.clear()
            with suppress(TimeoutError):  # it was broken, and nobody had noticed
                await asyncio.wait_for(self._closed.wait(), FAREWELL_WITHIN)

    def broke(self, reason: str, *, is_fatal: bool) -> None:
        """The stream is gone."""
        self._closed.set()
        was_online = self.is_online
        self._online.clear()
        self._requests.drop()
        if self._is_stopping or not was_online:
            return
        self._on_offline(reason)
        if is_fatal:
            self._on_fatal(f"{self._jid}: {reason}")
        else:
            self._coming_back = asyncio.get_running_loop().create_task(self._come_back())

    def abandon(self) -> None:
        """The process was killed."""
        if self._stream is not None:
            self._stream.abandon()

    # -- what goes out -------------------------------------------------------------------------

    def hand_over(self, stanza: str) -> None:
        """Write one stanza; see `behaviours.transport.Transport`."""
        if not self.is_online:
            raise ConnectionFailed("there is no session with the server")
        self._write(stanza)

    def _write(self, text: str) -> None:
        if self._process.is_dead or self._stream is None:
            return
        if here() is not self._process:
            self._process.has_leaked = True
        self._network.record(Written(agent=self._account, stanza=text))
        self._stream.write(text)

    async def confirm(self, timeout: float) -> bool:
        """Whether the server has handled all so far: it answers a ping behind it (RFC 6120, 10.1)."""
        return await self._requests.ping(DOMAIN, timeout) is Life.ALIVE

    async def probe(self, jid: str, timeout: float) -> Life:
        """Ping a full JID; believed to be gone is only who has answered before, as in `XmppConnection`."""
        life = await self._requests.ping(jid, timeout)
        if life is Life.ALIVE:
            self._answering.add(jid)
            return life
        is_excused = asyncio.get_running_loop().time() < self._online_since + RETURN_WITHIN
        return Life.ALIVE if is_excused or jid not in self._answering else life

    async def ask(self, kind: Literal["get", "set"], to: str, payload: str, timeout: float) -> Element:
        """Send a request and return the answer; see `XmppConnection.ask`."""
        if not self.is_online:
            raise ConnectionFailed("there is no session with the server")
        return await self._requests.ask(kind, to, payload, timeout)

    def watch(self, on_message: Callable[[Element], bool], on_online: Callable[[], None]) -> None:
        """Have message stanzas offered before others get them, and be told of each session."""
        self._watchers.append((on_message, on_online))

    # -- what comes in -------------------------------------------------------------------------

    def take(self, stanza: str) -> None:
        """Read a stanza of the server."""
        self._network.record(Arrived(agent=self._account, stanza=stanza))
        element = self._incoming.read(stanza)
        if element.tag == MESSAGE:
            if not any(takes(element) for takes, _on_online in self._watchers):
                self._on_message(element)
        elif element.tag == f"{CLIENT}iq":
            self._requests.take(element)

    # -- what SPADE wants ----------------------------------------------------------------------

    def add_event_handler(self, _name: str, _handler: Callable[..., Any]) -> None:
        """SPADE's presence manager listens here; nothing is told."""

    def Message(self, *args: Any, **how: Any) -> Any:  # noqa: N802 - slixmpp's name
        """Make a stanza for a plain SPADE behaviour to send, or to read."""
        if self._factory is None:
            nothing = partial(lambda _each: None)
            self._factory = XmppConnection(
                self._jid,
                "",
                host="",
                port=0,
                ca_file=None,
                verify=False,
                on_message=nothing,
                on_online=nothing,
                on_offline=nothing,
                on_fatal=nothing,
            )
            # SPADE 4.1.4: a plain behaviour sends by slixmpp's stanza, which sends by its stream.
            self._factory.send = lambda stanza: self._write(str(stanza))
        return self._factory.Message(*args, **how)
