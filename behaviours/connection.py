"""An agent's session with its XMPP server, and the truth about it.

`XmppConnection` is SPADE's client with five corrections: it verifies certificates against a given
authority, it knows whether it is connected, it comes back by itself, to the same session if the server
still has it (`behaviours.resuming`), and it hands over every message stanza, also those that slixmpp would
drop for want of a body.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from slixmpp import JID
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.plugins.xep_0198.stanza import StreamManagement
from slixmpp.stanza import StreamFeatures
from slixmpp.xmlstream import register_stanza_plugin
from slixmpp.xmlstream.xmlstream import NotConnectedError
from spade.xmpp_client import XMPPClient

from behaviours.refusing import end_for_good, no_resource, no_session
from behaviours.resuming import Resuming
from behaviours.transport import PRESENCE, ConnectionFailed, Life, RequestRefused, Transport, trusting
from behaviours.wire import MESSAGE, Element
from resilience.backoff import delay

_log = logging.getLogger(__name__)

START_TIMEOUT = 20.0
"""Seconds in which the first session must stand. Generous, for servers that throttle logins."""

KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT = 5, 3
"""How often an idle connection is tried, and for how long: a frozen server is noticed within both."""

RECONNECT_MOST = 5.0
"""The longest pause between attempts, in seconds."""

RETURN_WITHIN = 2 * RECONNECT_MOST
"""Seconds after our own return in which a peer that is not there may still be on its way back."""

BEFORE_BINDING = 9000
"""Where the resumption of a session has its place among slixmpp's steps of a login; binding has 10,000."""

REMEMBERED = 10_000
"""Full JIDs that are known to answer probes; they are learnt anew when there are more."""

__all__ = ["ConnectionFailed", "Life", "RequestRefused", "Transport", "XmppConnection"]


class XmppConnection(XMPPClient):
    """SPADE's XMPP client, made truthful.

    Args:
        jid: bare or full JID; the server honours the resource where one is given.
        password: of the account.
        host: the address to connect to, which need not be the JID's domain.
        port: of the server.
        ca_file: authority that signed the server's certificate; None takes the system's.
        on_message: gets every message stanza, in order.
        on_online: told when a session stands, with the full JID.
        on_offline: told when it is gone, with the reason.
        on_fatal: told when it cannot come back (same full JID elsewhere, password changed).
        rng: source of jitter.
    """

    def __init__(
        self,
        jid: str,
        password: str,
        *,
        host: str,
        port: int,
        ca_file: Path | None,
        verify: bool = True,
        auto_register: bool = False,
        on_message: Callable[[Element], None],
        on_online: Callable[[str], None],
        on_offline: Callable[[str], None],
        on_fatal: Callable[[str], None],
        rng: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(jid, password, verify, auto_register)
        self._address = (host, port)
        if verify and ca_file is not None:
            self.ssl_context = trusting(ca_file)
        self._on_message, self._on_online = on_message, on_online
        self._on_offline, self._on_fatal = on_offline, on_fatal
        self._rng = rng
        self._online = asyncio.Event()
        self._is_stopping = False
        self._fatal: str | None = None
        self._coming_back: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._last_error = ""
        self._answering: set[str] = set()
        self._pings: set[asyncio.Future[Any]] = set()
        self._requests: set[asyncio.Future[Any]] = set()
        self._watchers: list[tuple[Callable[[Element], bool], Callable[[], None]]] = []
        self._login: set[asyncio.Task[Any]] = set()
        self._has_stood, self._online_since = False, -RETURN_WITHIN
        self._resuming = Resuming(super().send_raw, self._resumed, self._drop_requests)
        register_stanza_plugin(StreamFeatures, StreamManagement)
        self.register_feature("sm", self._resume, restart=True, order=BEFORE_BINDING)
        self._stream_feature_handlers["bind"] = (self._bind, True)
        # SPADE 4.1.4: its keepalive notices a frozen server after 84 s; `_keep_alive` takes its place.
        self["xep_0199"].disable_keepalive()
        self._keeping_alive: asyncio.Task[None] | None = None
        self.add_event_handler("session_start", self._started)
        self.add_event_handler("disconnected", self._ended)
        self.add_event_handler("failed_all_auth", self._rejected)
        self.add_event_handler("stream_error", self._stream_failed)
        self.add_event_handler("connection_failed", self._unreached)
        self.add_event_handler("ssl_invalid_chain", self._untrusted)

    @property
    def is_online(self) -> bool:
        """Whether a session stands."""
        return self._online.is_set()

    async def wait_online(self) -> None:
        """Return once a session stands."""
        await self._online.wait()

    async def open(self, timeout: float = START_TIMEOUT) -> None:
        """Connect and log in.

        Raises:
            ConnectionFailed: no session came to stand; one sentence says why.
        """
        self._first = asyncio.get_running_loop().create_future()
        self.connect(*self._address)
        try:
            await asyncio.wait_for(asyncio.shield(self._first), timeout)
        except TimeoutError:
            self._fatal = no_session(self.boundjid.bare, self._address, timeout, self._last_error)
            await self.close()
            raise ConnectionFailed(self._fatal) from None
        except (ConnectionFailed, asyncio.CancelledError):
            await self.close()
            raise

    async def close(self) -> None:
        """Log out and disconnect; safe to call again."""
        self._is_stopping = True
        self._online.clear()
        if self._first is not None and self._first.done():
            self._first.cancelled() or self._first.exception()
        self.cancel_connection_attempt()
        if self.transport is not None:
            self._resuming.farewell()
            await asyncio.wait({self.disconnect(wait=0.5)}, timeout=2)
        # slixmpp leaves the task that empties its queue running for ever.
        filters: asyncio.Task[None] | None = self.__dict__.get("_run_out_filters")
        running = (*self._login, self._coming_back, self._keeping_alive, filters)
        for task in (tasks := [task for task in running if task is not None]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hand_over(self, stanza: str) -> None:
        """Write one stanza; see `Transport.hand_over`."""
        if not self.is_online:
            raise ConnectionFailed("there is no session with the server")
        if self._resuming.is_settled(stanza):
            return
        try:
            self.send_raw(stanza)
        except NotConnectedError:
            raise ConnectionFailed("the connection to the server is lost") from None

    def send_raw(self, data: str | bytes) -> None:
        """Write, as slixmpp does; a stanza is kept until the server has handled it."""
        if isinstance(data, str) and self.transport is not None:
            data = self._resuming.counted(data)
        super().send_raw(data)

    async def confirm(self, timeout: float) -> bool:
        """Ask how much the server has handled; see `Transport.confirm`.

        Where it does not count a ping does it: it handles one client's stanzas in order (RFC 6120, 10.1).
        """
        if self._resuming.is_counting or self._resuming.can_resume:
            return await self._resuming.confirmed(timeout)
        return await self._ping(self.boundjid.host, timeout) is Life.ALIVE

    async def probe(self, jid: str, timeout: float) -> Life:
        """Ping a full JID; see `Transport.probe`.

        A client that does not know XEP-0199 answers like a server without that client. So only
        a peer that has answered once before is believed to be gone.
        """
        life = await self._ping(jid, timeout)
        if life is Life.ALIVE:
            if len(self._answering) >= REMEMBERED:
                self._answering.clear()
            self._answering.add(jid)
            return life
        # After a break of ours the peer may be on its way back as well: the server was restarted.
        is_excused = asyncio.get_running_loop().time() < self._online_since + RETURN_WITHIN
        return Life.ALIVE if is_excused or jid not in self._answering else life

    async def _ping(self, jid: str, timeout: float) -> Life:
        if not self.is_online:
            return Life.SILENT
        ping = asyncio.ensure_future(self["xep_0199"].send_ping(JID(jid), timeout=timeout))
        self._pings.add(ping)
        try:
            await asyncio.wait({ping})
            if not ping.cancelled():
                ping.result()
                return Life.ALIVE
        except (IqTimeout, NotConnectedError):
            return Life.SILENT
        except IqError:
            return Life.GONE
        finally:
            self._pings.discard(ping)
            ping.cancel()
        return Life.SILENT

    @property
    def full_jid(self) -> str:
        """The session's full JID, as the server has bound it."""
        return str(self.boundjid.full)

    async def ask(self, kind: Literal["get", "set"], to: str, payload: str, timeout: float) -> Element:
        """Send a request and return the answer, an `iq` element (RFC 6120, 8.2.3).

        Raises:
            RequestRefused: the answer is an error.
            ConnectionFailed: there is no session, it broke, or no answer came in time. Whether what was asked
                for has been done is unknown then.
        """
        if not self.is_online:
            raise ConnectionFailed("there is no session with the server")
        iq = self.make_iq(ito=JID(to), itype=kind)
        iq.appendxml(ElementTree.fromstring(payload))  # noqa: S314 - it is ours
        request = asyncio.ensure_future(iq.send(timeout=timeout))
        self._requests.add(request)
        try:
            await asyncio.wait({request})
            if request.cancelled():
                raise ConnectionFailed("the connection to the server is lost")
            answer: Element = request.result().xml
        except IqTimeout:
            raise ConnectionFailed(f"{to} has not answered within {timeout:g} s") from None
        except NotConnectedError:
            raise ConnectionFailed("the connection to the server is lost") from None
        except IqError as error:
            raise RequestRefused(str(error.condition), str(error.text or "")) from None
        finally:
            self._requests.discard(request)
            request.cancel()
        return answer

    def watch(self, on_message: Callable[[Element], bool], on_online: Callable[[], None]) -> None:
        """Have messages and presences offered before others get them, and be told of each session.

        Args:
            on_message: returns True for a stanza that is its own, which nobody else gets then.
            on_online: called when a session begins, the first one included.
        """
        self._watchers.append((on_message, on_online))

    def _spawn_event(self, xml: Any) -> None:
        if self._resuming.takes(xml):
            return
        if xml.tag in {MESSAGE, PRESENCE} and any(takes(xml) for takes, _on_online in self._watchers):
            return
        if xml.tag == MESSAGE:  # slixmpp fires it only where there is a body; ours may have none
            self._on_message(xml)
        elif self.is_online:
            super()._spawn_event(xml)
        else:
            # slixmpp leaves a login that is broken off waiting for its answer for two minutes.
            before = asyncio.all_tasks()
            super()._spawn_event(xml)
            self._login = {task for task in self._login if not task.done()} | asyncio.all_tasks() - before

    def reschedule_connection_attempt(self) -> None:
        """Leave it to `_come_back`: slixmpp waits 3, 9, 21 ... 300 s."""
        self._current_connection_attempt = None

    async def _resume(self, _features: object) -> bool:
        """The server offers XEP-0198: go on with the former session, if there is one. True ends the login."""
        self._resuming.is_offered = True
        return self._resuming.can_resume and await self._resuming.resume()

    async def _bind(self, features: object) -> bool:
        """Ask for a resource (RFC 6120, 7); slixmpp takes a refusal for an answer. True ends the login."""
        iq, resource, bind = self.make_iq_set(), self.requested_jid.resource, self["feature_bind"]
        iq["bind"]["resource"] = resource
        try:
            answer = await iq.send()
        except IqError as error:
            self._last_error = no_resource(resource, error.condition, error.text)
            self.abort()
            return True
        bind.features = features
        bind._on_bind_response(answer)  # noqa: SLF001 - what follows from it is not ours to repeat
        return False

    def _resumed(self) -> None:
        self.bound = self.sessionstarted = True
        self.event("session_resumed")
        self._stand()

    def _started(self, _event: object) -> None:
        self._resuming.begin()
        self._stand()
        for _takes, on_online in self._watchers:
            on_online()

    def _stand(self) -> None:
        # A first session is no return: nobody was there with us when it broke.
        self._online_since = asyncio.get_running_loop().time() if self._has_stood else -RETURN_WITHIN
        self._online.set()
        self._has_stood = True
        self._last_error = ""
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        if self._keeping_alive is None or self._keeping_alive.done():
            self._keeping_alive = asyncio.get_running_loop().create_task(self._keep_alive())
        self._on_online(self.full_jid)
        self._resuming.settle()

    def _ended(self, reason: object) -> None:
        was_online, told = self.is_online, str(reason or "the connection was lost")
        self._online.clear()
        for ping in self._pings:
            ping.cancel()  # it is no sign of life any more, whenever the answer comes
        self._resuming.broke()
        if not self._resuming.can_resume:
            self._drop_requests()
        if was_online and not self._is_stopping:
            self._on_offline(told)
        if self._fatal is not None and self._has_stood and not self._is_stopping:
            # Also on the way back: the password may have been changed meanwhile.
            self._has_stood = False
            self._on_fatal(self._fatal)
        self._plan_return()

    def _drop_requests(self) -> None:
        for request in self._requests:
            request.cancel()  # no answer can come any more

    async def _keep_alive(self) -> None:
        while self.is_online:
            await asyncio.sleep(KEEPALIVE_SECONDS)
            if self.is_online and await self._ping(self.boundjid.host, KEEPALIVE_TIMEOUT) is Life.SILENT:
                self.disconnect_reason = f"the server has not answered for {KEEPALIVE_TIMEOUT} s"
                self.abort()

    def _plan_return(self) -> None:
        idle = self._coming_back is None or self._coming_back.done()
        if idle and not self._is_stopping and self._fatal is None:
            self._coming_back = asyncio.get_running_loop().create_task(self._come_back())

    async def _come_back(self) -> None:
        attempt, loop = 1, asyncio.get_running_loop()
        began = loop.time()
        while not (self.is_online or self._is_stopping or self._fatal):
            await asyncio.sleep(delay(attempt, self._rng, first=0.5, most=RECONNECT_MOST))
            attempt += 1
            if loop.time() > began + START_TIMEOUT:
                self.cancel_connection_attempt()
                self.abort()  # whoever answers there does not let us in
            if self._fatal is None and not (self.is_connecting() or self.is_connected()):
                began = loop.time()
                self.connect(*self._address)

    def _unreached(self, error: object) -> None:
        self._last_error = str(error) or "the server cannot be reached"
        self._plan_return()

    def _untrusted(self, error: object) -> None:
        self._fail(f"{self.boundjid.bare}: the server's certificate is not trusted: {error}")
        self.abort()

    def _rejected(self, _event: object) -> None:
        self._fail(f"{self.boundjid.bare}: the server refused the password or knows no such account")

    def _stream_failed(self, error: Any) -> None:
        self._resuming.forget()
        condition = error["condition"]
        self._last_error = f"the server ended the stream: {condition} {error['text'] or ''}".strip()
        if (why := end_for_good(condition, self.full_jid)) is not None:
            self._fail(why)

    def _fail(self, text: str) -> None:
        self._fatal = text
        if self._first is not None and not self._first.done():
            self._first.set_exception(ConnectionFailed(text))
