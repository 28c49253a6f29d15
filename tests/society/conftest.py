"""What tests of a society's parts share: a society file on ports that are free now."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from society.config import SocietyFile, load

WriteFile = Callable[..., Path]


def free_ports(count: int) -> int:
    """Return a port behind which so many are free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        base = int(probe.getsockname()[1])
    for start in [*range(base, 65000 - count), *range(20000, base)]:
        if all(is_free(start + number) for number in range(count + 1)):
            return start
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


AGENTS = """
[[agent]]
name = "directory"
kind = "directory-facilitator"

[[agent]]
name = "coordinator"
kind = "coordinator"
"""


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of the machine that runs the tests are none of their business."""
    for name in ("XMPP_HOST", "XMPP_PORT", "DASHBOARD_HOST", "DASHBOARD_PORT"):
        monkeypatch.delenv(f"LOCUTION_{name}", raising=False)


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """Give a function that writes a society file with free ports."""

    def write(agents: str = AGENTS, society: str = "", xmpp: str = "", dashboard: str = "") -> Path:
        base = free_ports(10)
        path = tmp_path / "society.toml"
        path.write_text(
            f'[society]\nname = "test"\n{society}\n[xmpp]\nport = {base}\n{xmpp}\n'
            f"[dashboard]\nport = {base + 1}\n{dashboard}\n{agents}"
        )
        return path

    return write


@pytest.fixture
def file(write_file: WriteFile) -> SocietyFile:
    """Give a society of a directory and a coordinator."""
    return load(write_file())
