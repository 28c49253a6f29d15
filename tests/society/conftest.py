"""What tests of a society's parts share: a society file on ports that are free now, and one that runs."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from society.config import SocietyFile, load
from society.launcher import RunningSociety

WriteFile = Callable[..., Path]


def free_ports(count: int) -> int:
    """Return a port behind which so many are free.

    They lie below those that the system gives to outgoing connections, which would take them at any moment.
    """
    for _each in range(1000):
        start = random.randrange(15_000, 32_000 - count)
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
    for name in (
        "XMPP_HOST",
        "XMPP_PORT",
        "DASHBOARD_HOST",
        "DASHBOARD_PORT",
        "METRICS_HOST",
        "METRICS_PORT",
        "REDIS",
    ):
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


PATIENCE = 15.0


class Told:
    """Events, and a way to wait for one."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._came = asyncio.Event()

    def __call__(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))
        self._came.set()

    @property
    def names(self) -> list[str]:
        return [name for name, _fields in self.events]

    async def wait_for(self, event: str) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            while event not in self.names:
                self._came.clear()
                await self._came.wait()
        return next(fields for name, fields in self.events if name == event)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def start(fresh_container: None, told: Told) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that starts a part of a society; it is stopped when the test ends."""
    started: list[RunningSociety] = []

    async def begin(file: SocietyFile, *only: str, **options: Any) -> RunningSociety:
        society = RunningSociety(file, only, told, **options)
        started.append(society)
        await society.start()
        return society

    yield begin
    for society in reversed(started):
        await society.stop()
