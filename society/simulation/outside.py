"""What is outside of a simulation, and how it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Outside(Exception):  # noqa: N818 - it reads as what happened
    """Something would have reached out of the simulation."""


METHODS = (
    *("add_reader", "add_writer", "remove_reader", "remove_writer", "add_signal_handler"),
    *("run_in_executor", "getaddrinfo", "getnameinfo", "sendfile", "start_tls"),
    *("create_connection", "create_datagram_endpoint", "create_server", "connect_accepted_socket"),
    *("create_unix_connection", "create_unix_server", "connect_read_pipe", "connect_write_pipe"),
    *("sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"),
    *("sock_sendall", "sock_sendfile", "sock_sendto", "subprocess_exec", "subprocess_shell"),
)
"""Methods of an event loop that have to do with what is outside."""


def outside(name: str, escapes: list[str]) -> Outside:
    """The error for something that reaches out; it is noted as well."""
    told = f"{name} reaches out of the simulation, where there are no threads, sockets, processes or pauses"
    escapes.append(told)
    return Outside(f"{told}; give the agent a collaborator that does without")


class _Noting(Protocol):
    escapes: list[str]


def refusing(name: str) -> Callable[..., Any]:
    """Make a method of an event loop that refuses."""

    def refuse(self: _Noting, *_args: Any, **_how: Any) -> Any:
        raise outside(f"loop.{name}()", self.escapes)

    return refuse
