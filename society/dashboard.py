"""SPADE's web dashboard, made fit for use: it needs no network, and only its own pages may change anything.

SPADE 4.1.4 serves pages that load fifteen files from elsewhere (one address tells gravatar who the agent's
contacts are), kills behaviours and the agent on a plain GET, and answers to every Host. Here its application,
routes and template names stay; pages, style and rules are ours. `DashboardError` is the only exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import re
import secrets
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler
    from spade.agent import Agent

__all__ = ("Dashboard", "DashboardError")

logger = logging.getLogger(__name__)
Rows = Callable[[], Iterable[Mapping[str, str]]]
Counts = Callable[[], Mapping[str, int]]
Depth = Callable[[], Awaitable[Mapping[str, Any] | None]]

_HERE = Path(__file__).parent
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what to call it; the caller binds
_SHUTDOWN_SECONDS = 0.25  # aiohttp waits this long twice, and agent.stop() should take under a second
_LISTED = 200  # messages on one page
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: under it browsers send "Origin: null" with a form, and our own pages would be refused.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class DashboardError(Exception):
    """The dashboard cannot start; the message is one sentence for the person who runs the society."""


class Dashboard:
    """The web pages of one agent, under ``/spade``; one Dashboard for the agent's whole life.

    Add controllers, menu entries and template folders of your own to ``agent.web`` before `start`. Every POST
    needs what templates know as ``dashboard.token``: in field ``csrf_token`` or header ``X-CSRF-Token``.

    Args:
        agent: any SPADE agent, started or not.
        host: address to listen on. There is no login: whoever reaches it may read all and stop the agent.
        port: TCP port; 0 takes any free one.
        conversations: gives rows of peer, protocol, role, state, since.
        facts: gives rows of time, fact, detail.
        counts: gives how often each kind of fact has happened.
        depth: gives how much the agent has in store, or None while that cannot be told.
    """

    def __init__(
        self,
        agent: Agent,
        host: str = "127.0.0.1",
        port: int = 10001,
        conversations: Rows | None = None,
        facts: Rows | None = None,
        counts: Counts = dict,
        depth: Depth | None = None,
    ) -> None:
        if not host or not 0 <= port <= 65535:  # aiohttp would take an empty host for every address
            raise ValueError(f"a dashboard needs a host and a port from 0 to 65535, not {host!r} and {port}")
        self._agent, self._host, self._port = agent, host, port
        self._rows = {"conversations": conversations, "facts": facts}
        self._counts, self._depth = counts, depth
        self._token = secrets.token_urlsafe(32)
        self._installed = False
        self._stopping: asyncio.Task[None] | None = None  # asyncio itself holds tasks only weakly

    @property
    def url(self) -> str:
        """Address of the first page; with port 0, known after `start`."""
        host = _ANY_ADDRESS.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}/spade"

    async def start(self) -> None:
        """Listen; returns when the first request would be answered. May be called again after `stop`.

        Raises:
            DashboardError: the port is taken, the host not this machine's, or the agent already serves pages.
        """
        pages, jid = self._agent.web, self._agent.jid
        if pages.is_started() or (pages.app.frozen and not self._installed):
            raise DashboardError(f"The web pages of {jid} were started before: use one Dashboard for them.")
        if not self._installed:
            self._install()
        runner = web.AppRunner(pages.app, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            taken = error.errno == errno.EADDRINUSE
            why = "another program holds that port" if taken else error.strerror or str(error)
            raise DashboardError(
                f"The dashboard of {jid} cannot use {self._host} port {self._port}, because {why}: "
                "give it an address of this machine and a free port (0 takes any free one)."
            ) from error
        self._port = runner.addresses[0][1]
        pages.runner, pages.server, pages.hostname, pages.port = runner, site, self._host, self._port

    async def stop(self) -> None:
        """Close the port, within half a second; `agent.stop()` does it too. Does nothing if not started."""
        if self._installed and self._agent.web.is_started():
            await self._agent.web.runner.cleanup()

    def _install(self) -> None:
        """Put our routes before SPADE's: of two that match, aiohttp takes the first."""
        self._installed = True
        pages, app = self._agent.web, self._agent.web.app
        pages.add_template_path(str(_HERE / "templates"))
        app.middlewares.insert(0, self._guard)
        app.on_response_prepare.append(self._harden)
        app.on_cleanup.append(self._forget)
        behaviour = "/spade/behaviour/{behaviour:[^/]+/.+}/"  # SPADE's own misses classes with two bases
        peer = "{agentjid:[^/]+(?:/[^/]+)?}/"
        pages.add_post("/spade/stop/now/", self._stop, "internal_tpl_stop.html")
        app.router.add_post(f"{behaviour}kill/", self._kill)
        app.router.add_post(f"/spade/agent/unsubscribe/{peer}", pages.unsubscribe_agent)
        app.router.add_post(f"/spade/agent/{peer}send/", self._send)
        for resource in list(app.router.resources())[-4:]:
            resource.add_route("*", self._refuse)
        for path in ("/spade", "/spade/"):
            pages.add_get(path, self._index, "internal_tpl_index.html")
        pages.add_get("/spade/stop", self._stop, "internal_tpl_stop.html")
        pages.add_get("/spade/messages/", self._messages, "internal_tpl_messages.html")
        pages.add_get(behaviour, self._behaviour, "internal_tpl_behaviour.html")
        pages.add_get(f"/spade/agent/{peer}", self._peer, "internal_tpl_agent.html")
        pages.add_get("/spade/status.json", self._status, None)
        app.router.add_static("/spade/static/", _HERE / "static")
        pages.setup_routes()
        app.router.add_get("/", self._home)  # last: the user may have a page there

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host", "")
        if not self._is_own_name(host):
            raise web.HTTPForbidden(text=f"This dashboard answers only under its own address, {self.url}.")
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            origin = request.headers.get("Origin", f"://{host}")  # scripts send none; they too need the token
            if origin.partition("://")[2] != host:
                raise web.HTTPForbidden(text="A page of another site may not change anything here.")
            token = request.headers.get("X-CSRF-Token") or (await request.post()).get("csrf_token")
            sent = token.encode(errors="surrogateescape") if isinstance(token, str) else b""
            if not secrets.compare_digest(sent, self._token.encode()):
                raise web.HTTPForbidden(text="The form is out of date: load its page anew and send it again.")
        state = {"token": self._token, "alive": self._agent.is_alive(), "connected": self._is_connected()}
        with warnings.catch_warnings():  # aiohttp 3.14 wants typed keys, aiohttp_jinja2 1.6 defines this one
            warnings.simplefilter("ignore", UserWarning)
            request["aiohttp_jinja2_context"] = {"dashboard": state}
        return await handler(request)

    def _is_own_name(self, host: str) -> bool:
        """Whether a Host header may be answered: DNS rebinding comes under a name, never under an address."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in ("localhost", self._host.lower()):
                return True
            return ip_address(name).is_loopback or self._host in _ANY_ADDRESS
        except ValueError:
            return False

    async def _harden(self, request: web.Request, response: web.StreamResponse) -> None:
        if request.path.startswith("/spade/static/"):  # the last page finds its style only in the cache
            response.headers["Cache-Control"] = "max-age=600"
        response.headers.update({name: it for name, it in _HEADERS.items() if name not in response.headers})

    async def _forget(self, _: web.Application) -> None:
        # SPADE 4.1.4: agent.stop() leaves the runner in place, and is_started() would stay true.
        self._agent.web.runner = self._agent.web.server = None

    async def _refuse(self, request: web.Request) -> NoReturn:
        text = "Following a link changes nothing here: use the button on the page, which sends a POST."
        raise web.HTTPMethodNotAllowed(request.method, ["POST"], text=text)

    async def _home(self, _: web.Request) -> NoReturn:
        raise web.HTTPFound("/spade")

    async def _index(self, _: web.Request) -> dict[str, Any]:
        tables = {name: list(rows()) for name, rows in self._rows.items() if rows is not None}
        behaviours = [self._summary(it) for it in self._agent.behaviours]
        traffic = _newest_first(self._agent.traces.all(limit=5))
        tables["counts"] = [{"fact": kind, "count": f"{count:,}"} for kind, count in self._counts().items()]
        return {"contacts": self._contacts(), "behaviours": behaviours, "traffic": traffic, **tables}

    async def _messages(self, _: web.Request) -> dict[str, Any]:
        traces = self._agent.traces
        return {"traffic": _newest_first(traces.all(limit=_LISTED)), "total": traces.len()}

    async def _behaviour(self, request: web.Request) -> dict[str, Any]:
        it = self._find(request, request.query.get("id"))
        entries = self._agent.traces.filter(limit=_LISTED, category=str(it))
        return {"behaviour": it, "summary": self._summary(it), "traffic": _newest_first(entries)}

    async def _peer(self, request: web.Request) -> dict[str, Any]:
        jid = self._jid(request)
        traffic = _newest_first(self._agent.traces.filter(limit=_LISTED, to=jid.bare))
        return {"ajid": str(jid), "contact": self._contacts().get(jid.bare), "traffic": traffic}

    async def _status(self, _: web.Request) -> dict[str, Any]:
        rows = self._rows["conversations"] or tuple
        return {
            "jid": str(self._agent.jid),
            "alive": self._agent.is_alive(),
            "connected": self._is_connected(),
            "behaviours": [self._summary(it) for it in self._agent.behaviours],
            "conversations": [{key: str(value) for key, value in row.items()} for row in rows()],
            "counts": dict(self._counts()),
            "delivery": None if self._depth is None else await self._depth(),
        }

    async def _stop(self, request: web.Request) -> dict[str, Any]:
        if request.method == "POST" and self._stopping is None:
            logger.warning("Stopping %s, as asked on its dashboard.", self._agent.jid)
            # Not awaited: stopping waits for the requests under way, and this is one of them.
            self._stopping = asyncio.create_task(self._agent.stop())
            self._stopping.add_done_callback(self._stopped)
        return {"stopping": self._stopping is not None}

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._stopping = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s did not stop cleanly: %s", self._agent.jid, error, exc_info=error)

    async def _kill(self, request: web.Request) -> NoReturn:
        self._find(request, (await request.post()).get("id")).kill()
        raise web.HTTPSeeOther("/spade")

    async def _send(self, request: web.Request) -> NoReturn:
        jid, body = self._jid(request), (await request.post()).get("message")
        if not self._is_connected():
            raise web.HTTPConflict(text="The agent is not connected to its XMPP server: try again later.")
        if not isinstance(body, str) or not body.strip():
            raise web.HTTPBadRequest(text="A message without text would never arrive over XMPP.")
        if _NOT_XML.search(body):
            raise web.HTTPBadRequest(text="A control character in the message would end the XMPP stream.")
        with contextlib.suppress(web.HTTPFound):  # SPADE's redirect does not quote the JID
            await self._agent.web.send_agent(request)
        raise web.HTTPSeeOther(f"/spade/agent/{quote(str(jid))}/")

    def _is_connected(self) -> bool:
        return self._agent.client is not None and bool(self._agent.client.is_connected())

    def _contacts(self) -> dict[str, Any]:
        # SPADE 4.1.4: its own index raises for a contact that never sent a presence.
        return self._agent.presence.get_contacts() if self._agent.presence is not None else {}

    def _jid(self, request: web.Request) -> Any:
        with contextlib.suppress(ValueError):
            return type(self._agent.jid)(request.match_info["agentjid"])
        raise web.HTTPNotFound(text="This is not the JID of an agent.")

    def _find(self, request: web.Request, identity: object) -> Any:
        """The behaviour named in the path; of several, the one whose `_summary` has this identity."""
        for it in self._agent.behaviours:
            if str(it) == request.match_info["behaviour"] and identity in (None, self._summary(it)["id"]):
                return it
        raise web.HTTPNotFound(text="The agent has no such behaviour, or it has ended.")

    def _summary(self, it: Any) -> dict[str, Any]:
        state = "killed" if it.is_killed() else "running" if it.is_running else "not started"
        identity = f"{hash((self._token, id(it))):x}"  # hashed, as an address in memory is nobody's business
        waiting = it.mailbox_size() if it.queue is not None else 0
        return {"name": str(it), "id": identity, "state": state, "mailbox": waiting}


def _newest_first(entries: Iterable[tuple[Any, Any, str | None]]) -> list[tuple[Any, Any, str | None]]:
    """Time, message, behaviour; SPADE traces a message once for each behaviour that got it."""
    return list({id(entry[1]): entry for entry in entries}.values())[::-1]
