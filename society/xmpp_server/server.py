"""The server: one object, one address, one domain; any number of them in one process and event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib.metadata
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from .accounts import AccountStore, MemoryAccounts
from .connection import Connection
from .errors import ListenError, StreamError, XmppServerError
from .faults import Interceptor
from .flow import Connections
from .jid import prepare_domain, prepare_local
from .limits import Limits
from .negotiation import Negotiation, Wire
from .offline import MemoryOffline, OfflineStore
from .pubsub_nodes import MemoryNodes, NodeStore
from .registration import Registration
from .resuming import Resumptions
from .rosters import MemoryRosters, RosterStore
from .router import Router
from .sasl import Authenticator
from .switchboard import Switchboard
from .tls import CertificateAuthority

_BACKLOG = 1024


class XmppServer:
    """An XMPP server for one machine: `async with XmppServer(...) as server`, or `start` and `stop`.

    It listens on the loopback interface unless `host` says otherwise, takes no signals and starts no
    processes. It belongs to the event loop that `start` runs in.

    Args:
        domain: the part of its users' JIDs behind the "@".
        host: the address to listen on; of a name, the first address.
        port: 0 takes a free one; `port` tells which, after `start`.
        passwords: accounts to make or, in a store that has them, to give this password.
        authority: signs the server's certificate; clients verify it with `authority.file`.
        registration: whether strangers may make accounts (XEP-0077).
        accounts, offline, rosters, nodes: where those are kept; in memory unless given.
        hosts: further names and addresses that clients reach the server by, for the certificate.
        limits: what one peer may cost.
        faults: stands between router and sockets, for tests.
        tls_required: for tests only: False lets SCRAM go without TLS. PLAIN never does.
        clock: the time, for stamps on waiting messages.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self,
        domain: str = "localhost",
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        passwords: Mapping[str, str] | None = None,
        authority: CertificateAuthority | None = None,
        registration: bool = False,
        accounts: AccountStore | None = None,
        offline: OfflineStore | None = None,
        rosters: RosterStore | None = None,
        nodes: NodeStore | None = None,
        limits: Limits | None = None,
        faults: Interceptor | None = None,
        hosts: Iterable[str] = (),
        tls_required: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if authority is None and tls_required:
            raise ValueError("an XMPP server needs an authority for TLS: CertificateAuthority.open(folder)")
        self.domain = prepare_domain(domain)
        self.host = host
        self.port = port
        self._wanted_port = port
        self._authority = authority
        self._hosts = tuple(hosts)
        self._tls_required = tls_required
        self._limits = limits if limits is not None else Limits()
        self._accounts: AccountStore = accounts if accounts is not None else MemoryAccounts()
        self._switchboard = Switchboard(self.domain, faults)
        self._registration = Registration(self._accounts, is_open=registration)
        self._authenticator = Authenticator(self.domain, self._accounts)
        self._router = Router(
            self._switchboard,
            accounts=self._accounts,
            offline=offline if offline is not None else MemoryOffline(),
            rosters=rosters if rosters is not None else MemoryRosters(),
            nodes=nodes if nodes is not None else MemoryNodes(),
            registration=self._registration,
            limits=self._limits,
            clock=clock,
            version=_version(),
        )
        self._server: asyncio.Server | None = None
        self._connections: Connections[Connection] | None = None
        self._resumptions: Resumptions | None = None
        for user, password in (passwords or {}).items():
            self.add_account(user, password)

    def __repr__(self) -> str:
        state = "listening on" if self._server is not None else "not listening; address"
        return f"<XmppServer {self.domain}: {state} {self.host}:{self.port}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen. Clients may connect when this returns.

        Raises:
            ListenError: an OSError; the address is taken, or is not one of this machine.
            AuthorityError: an OSError; the certificate could not be made or read.
        """
        if self._server is not None:
            raise RuntimeError(f"{self!r} is started already")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self.host, self._wanted_port, type=socket.SOCK_STREAM)
            address = str(found[0][4][0])
            context = self._context(address)
            connections: Connections[Connection] = Connections(self._limits)
            resumptions = Resumptions(self._router, self._limits)
            self._server = await loop.create_server(
                lambda: Connection(connections, self._router, context, self._negotiate, resumptions),
                address,
                self._wanted_port,
                backlog=_BACKLOG,
            )
        except XmppServerError:
            raise
        except OSError as error:
            raise ListenError(self.host, self._wanted_port, error) from error
        except UnicodeError as error:  # from the codec of host names
            fault = OSError(errno.EINVAL, "this can be no host")
            raise ListenError(self.host, self._wanted_port, fault) from error
        self._connections, self._resumptions = connections, resumptions
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port, say goodbye to every client, and return when all connections are closed.

        Nobody is waited for longer than `Limits.closing_seconds`. May be repeated; when it is cancelled,
        connections are broken rather than left.
        """
        server, self._server = self._server, None
        connections, self._connections = self._connections, None
        resumptions, self._resumptions = self._resumptions, None
        if server is None or connections is None or resumptions is None:
            return
        server.close()
        connections.is_closed = True
        try:
            for connection in list(connections.all):
                connection.close(StreamError("system-shutdown"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.closing_seconds + 1.0):
                    await connections.empty()
        finally:
            for connection in list(connections.all):
                connection.cut()
            resumptions.close()
        await server.wait_closed()

    def add_account(self, user: str, password: str) -> None:
        """Make an account, or change its password; at any time.

        Raises:
            JidError, PasswordError: both are ValueErrors.
        """
        self._accounts.set_password(prepare_local(user), password)

    def remove_account(self, user: str) -> None:
        """Remove an account, what waits for it, and its sessions."""
        name = prepare_local(user)
        self._router.remove_account(name)
        for session in self._switchboard.sessions(name):
            session.link.close(StreamError("not-authorized", "the account is removed"))

    def is_online(self, user: str) -> bool:
        """Whether a message to this account would reach a client now rather than wait."""
        listening = self._switchboard.listening(prepare_local(user))
        return any(session.asleep is None for session in listening)

    def sessions(self) -> list[str]:
        """Return the full JIDs that are logged in, available or not, in order."""
        return sorted(session.jid.full for session in self._switchboard if session.asleep is None)

    def _negotiate(self, wire: Wire) -> Negotiation:
        return Negotiation(
            wire,
            domain=self.domain,
            authenticator=self._authenticator,
            registration=self._registration,
            limits=self._limits,
            offers_tls=self._authority is not None,
            requires_tls=self._tls_required,
        )

    def _context(self, address: str) -> ssl.SSLContext | None:
        if self._authority is None:
            return None
        names = {self.domain, self.host, address.partition("%")[0], *self._hosts}
        return self._authority.context(name for name in names if name and not _is_wildcard(name))


def _is_wildcard(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


def _version() -> str:
    try:
        return importlib.metadata.version("locution")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
