"""Asking an agent of Consul: the only `import consul`.

Whatever stands in the catalogue has a check with a time to live: it must be confirmed again and again, or it
fails by itself, and a minute later it is gone.
"""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
from consul import ACLDisabled, ACLPermissionDenied, ConsulException
from consul.aio import Consul
from consul.callback import CB

from resilience.election import ElectionError

T = TypeVar("T")

URL = "http://127.0.0.1:8500"
"""Where an agent of Consul is unless somebody says otherwise."""

PREFIX = "locution"
"""What our keys and our sessions begin with."""

ANSWER = 2.0
"""Seconds in which anything is answered."""

FORGOTTEN_AFTER = "1m"
"""How long what has died stands in the catalogue as failing. Consul allows no less."""

_NO_NAME = re.compile(r"[^a-z0-9]+")

_LONGEST = 63
"""Characters of one part of a name in DNS (RFC 1035, 2.3.4)."""


class ConsulError(ElectionError):
    """Consul cannot be asked, or does not do it; the text is one sentence: what, why, how to mend it."""


class UnknownError(ConsulError):
    """Consul does not know our check any more."""


class ConsulClient:
    """Asks one agent of Consul.

    Args:
        url: where it is, ``http`` or ``https``.
        token: an ACL token that may write keys below `PREFIX`, sessions and services, and read nodes, as
            checks are theirs; CONSUL_HTTP_TOKEN stands above it.

    Raises:
        ConsulError: the address cannot be one.
    """

    def __init__(self, url: str = URL, token: str | None = None) -> None:
        self.url, self._token = url, token
        self._address = _address(url)
        self._client: Consul | None = None

    async def ask(self, call: Callable[[Consul], Awaitable[T]], within: float = ANSWER) -> T:
        """Ask for something.

        Raises:
            ConsulError: it was not done, or that cannot be known.
        """
        try:
            async with asyncio.timeout(within):
                return await call(self._connected())
        except (ACLDisabled, ACLPermissionDenied) as error:
            raise ConsulError(
                f"Consul at {self.url} does not allow it ({_first_line(error)}); give a token that may "
                f"write keys below {PREFIX}/, sessions and services, and read nodes"
            ) from error
        except ConsulException as error:
            text = _first_line(error)
            kind = UnknownError if "CheckID" in text or "unknown check" in text.lower() else ConsulError
            raise kind(f"Consul at {self.url} cannot do it: {text}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # OSError: TimeoutError among them
            why = _first_line(error) or f"no answer within {within:g} s"
            raise ConsulError(
                f"Consul does not answer at {self.url} ({why}); start it, or correct its address"
            ) from error

    async def enter(
        self,
        service: str,
        name: str,
        *,
        ttl: float,
        status: str = "passing",
        tags: Sequence[str] = (),
        meta: Mapping[str, str] | None = None,
        address: str | None = None,
        port: int | None = None,
    ) -> None:
        """Enter a service into the catalogue, or replace it.

        Args:
            service: its id, of which there is one at each agent of Consul.
            name: what it is found by in DNS.
            ttl: seconds in which its check must be confirmed.
            status: of the check, to begin with: ``passing`` or ``critical``.
            tags: narrow down what is found: ``TAG.NAME.service.consul``.
            meta: whatever else is to be known.
            address: where it is reached; by default the address of the agent of Consul.
            port: likewise.

        Raises:
            ConsulError: it was not done.
        """
        check = {"TTL": f"{ttl:g}s", "Status": status, "DeregisterCriticalServiceAfter": FORGOTTEN_AFTER}
        await self.ask(
            lambda consul: consul.agent.service.register(
                name, service_id=service, address=address, port=port, tags=list(tags), check=check, meta=meta
            )
        )

    async def confirm(self, service: str, note: str, within: float = ANSWER) -> None:
        """Say that a service is well.

        Args:
            service: its id.
            note: what is to be read beside that.
            within: seconds.

        Raises:
            UnknownError: it is not in the catalogue.
            ConsulError: it was not done.
        """
        await self.ask(lambda consul: consul.agent.check.ttl_pass(f"service:{service}", note), within)

    async def fail(self, service: str, note: str) -> None:
        """Say that a service is not well; as `confirm`."""
        await self.ask(lambda consul: consul.agent.check.ttl_fail(f"service:{service}", note))

    async def withdraw(self, service: str, within: float = ANSWER) -> None:
        """Take a service out of the catalogue; one that is not there is no error.

        Raises:
            ConsulError: it was not done.
        """
        await self.ask(lambda consul: consul.agent.service.deregister(service), within)

    async def open_session(self, name: str, service: str) -> str:
        """Open a session that ends with the check of a service; its id.

        Raises:
            ConsulError: it was not done. A check is known to the servers a moment after it was entered.
        """
        # The client's own call knows neither checks of services nor delays below 1 s.
        told = json.dumps(
            {
                "Name": name,
                "LockDelay": "1ms",
                "Behavior": "release",
                "NodeChecks": ["serfHealth"],
                "ServiceChecks": [{"ID": f"service:{service}"}],
            }
        )

        def create(consul: Consul) -> Awaitable[str]:
            headers = consul.prepare_headers()
            made: Awaitable[str] = consul.http.put(
                CB.json(is_id=True), "/v1/session/create", headers=headers, data=told
            )
            return made

        return await self.ask(create)

    async def close(self) -> None:
        """Close the connections; safe to call again."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _connected(self) -> Consul:
        if self._client is None:
            host, port, scheme = self._address
            with warnings.catch_warnings():
                # py-consul 1.8.0 makes its connections as older versions of aiohttp wanted them made.
                warnings.simplefilter("ignore", DeprecationWarning)
                self._client = Consul(host, port, self._token, scheme)
        return self._client


def dns_name(text: str) -> str:
    """A text as one part of a name in DNS; "" where nothing is left of it."""
    return _NO_NAME.sub("-", text.lower())[:_LONGEST].strip("-")


def _address(url: str) -> tuple[str, int, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in {"http", "https"} or parts.path.strip("/"):
        raise ConsulError(f"{url[:80]!r} is no address of a Consul agent; write e.g. {URL}")
    return host, port or (8501 if parts.scheme == "https" else 8500), parts.scheme


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
