"""Requests and answers (`iq` stanzas, RFC 6120, 8.2.3) of one simulated session, pings among them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Literal
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from behaviours.transport import ConnectionFailed, Life, RequestRefused
from behaviours.wire import CLIENT, STANZAS

PING = "urn:xmpp:ping"


class Requests:
    """What a client asks and is asked.

    Args:
        write: writes a stanza to the server.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._ids = itertools.count(1)
        self._open: dict[str, asyncio.Future[ElementTree.Element]] = {}

    async def ask(
        self, kind: Literal["get", "set"], to: str, payload: str, timeout: float
    ) -> ElementTree.Element:
        """Send a request and return the answer; see `behaviours.connection.XmppConnection.ask`."""
        name = f"iq{next(self._ids)}"
        self._open[name] = request = asyncio.get_running_loop().create_future()
        self._write(f'<iq type="{kind}" to={quoteattr(to)} id="{name}">{payload}</iq>')
        try:
            await asyncio.wait({request}, timeout=timeout)
        finally:
            del self._open[name]
        if request.cancelled():
            raise ConnectionFailed("the connection to the server is lost")
        if not request.done():
            raise ConnectionFailed(f"{to} has not answered within {timeout:g} s")
        answer: ElementTree.Element = request.result()
        if answer.get("type") == "error":
            raise _refusal(answer)
        return answer

    async def ping(self, jid: str, timeout: float) -> Life:
        """Ask whether somebody is there (XEP-0199); GONE where the server answers instead."""
        try:
            await self.ask("get", jid, f'<ping xmlns="{PING}"/>', timeout)
        except ConnectionFailed:
            return Life.SILENT
        except RequestRefused:
            return Life.GONE
        return Life.ALIVE

    def take(self, element: ElementTree.Element) -> None:
        """Take an answer to one of ours, or answer: pings, and that we know nothing else."""
        kind, name, peer = (element.get(each, "") for each in ("type", "id", "from"))
        if kind in {"result", "error"}:
            request = self._open.get(name)
            if request is not None and not request.done():
                request.set_result(element)
            return
        address = f"to={quoteattr(peer)} id={quoteattr(name)}"
        if element.find(f"{{{PING}}}ping") is not None:
            self._write(f'<iq type="result" {address}/>')
        else:
            unknown = f'<service-unavailable xmlns="{STANZAS[1:-1]}"/>'
            self._write(f'<iq type="error" {address}><error type="cancel">{unknown}</error></iq>')

    def drop(self) -> None:
        """No answer can come any more."""
        for request in self._open.values():
            request.cancel()


def _refusal(answer: ElementTree.Element) -> RequestRefused:
    error = answer.find(f"{CLIENT}error")
    children = () if error is None else tuple(error)
    named = [each.tag.removeprefix(STANZAS) for each in children if each.tag.startswith(STANZAS)]
    text = next((each.text or "" for each in children if each.tag == f"{STANZAS}text"), "")
    return RequestRefused(next((each for each in named if each != "text"), "undefined-condition"), text)
