"""Processes that are killed and started anew; each is ended by its own process id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from society.xmpp_server import CertificateAuthority
from tests.integration.prosody import BINARY as PROSODY
from tests.integration.prosody import CONFIGURATION, free_port

ROOT = Path(__file__).parents[2]
REDIS = shutil.which("redis-server")
START_WITHIN = 60.0
"""Seconds. Generous: machines stall."""

Ready = Callable[["Process"], Awaitable[None]]


class Process:
    """One process after the other, of the same command.

    Args:
        name: what its errors are filed under.
        command: run in the root of the repository; of each life anew.
        folder: where its errors are written.
        ready: waits until a new one can be used.
    """

    def __init__(
        self, name: str, command: Callable[[int], Sequence[str]], folder: Path, ready: Ready
    ) -> None:
        self.name, self.life = name, 0
        self._command, self._ready = command, ready
        self._errors = folder / f"{name}.errors"
        self.child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start one, and wait until it is ready."""
        self.life += 1
        with self._errors.open("ab") as errors:
            self.child = await asyncio.create_subprocess_exec(
                *self._command(self.life),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"},
            )
        await asyncio.wait_for(self._ready(self), START_WITHIN)

    async def line(self) -> str:
        """The next line that it says; empty at its end."""
        assert self.child is not None
        assert self.child.stdout is not None
        return (await self.child.stdout.readline()).decode().strip()

    def write(self, text: str) -> None:
        """Say something to it."""
        assert self.child is not None
        assert self.child.stdin is not None
        self.child.stdin.write(text.encode())

    async def kill(self) -> None:
        """Kill it with signal 9."""
        if self.child is not None and self.child.returncode is None:
            self.child.kill()
        await self._gone()

    async def stop(self) -> None:
        """Ask it to end, and kill it where it does not."""
        if self.child is not None and self.child.returncode is None:
            with contextlib.suppress(ProcessLookupError, TimeoutError):
                self.child.terminate()
                await asyncio.wait_for(self._gone(), 15)
        await self.kill()

    async def _gone(self) -> None:
        if self.child is not None:
            await self.child.communicate() if not self.child.stdin else await self.child.wait()

    def errors(self) -> str:
        """What it has written on its standard error."""
        return self._errors.read_text(errors="replace") if self._errors.exists() else ""


async def says_ready(process: Process) -> None:
    """Wait until it says so.

    Raises:
        RuntimeError: it has ended instead.
    """
    while (line := await process.line()) != "ready":
        if not line:
            raise RuntimeError(f"{process.name} ended before it was ready: {process.errors()[-2000:]}")


def listens_on(port: int) -> Ready:
    """Wait until something listens on a port."""

    async def wait(process: Process) -> None:
        while True:
            assert process.child is not None
            if process.child.returncode is not None:
                raise RuntimeError(f"{process.name} ended before it was ready: {process.errors()[-2000:]}")
            with contextlib.suppress(OSError):
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)

    return wait


def module(name: str, *arguments: str) -> list[str]:
    """The command of one of our own processes."""
    return [sys.executable, "-m", f"tests.chaos.{name}", *arguments]


def embedded(folder: Path, names: Sequence[str]) -> tuple[Process, int]:
    """Our own XMPP server, and its port."""
    port = free_port()
    command = module("server", str(port), str(folder), ",".join(names))
    return Process("server", lambda _life: command, folder, says_ready), port


def prosody(folder: Path, passwords: Mapping[str, str]) -> tuple[Process, int]:
    """A Prosody, and its port."""
    assert PROSODY is not None
    port, home = free_port(), folder / "prosody"
    accounts = home / "data" / "localhost" / "accounts"
    accounts.mkdir(parents=True)
    authority = CertificateAuthority.open(folder / "authority")
    certificate = home / "localhost.pem"
    certificate.write_bytes(authority.server_file(["localhost", "127.0.0.1"]).read_bytes())
    certificate.chmod(0o600)
    configuration = home / "prosody.cfg.lua"
    configuration.write_text(
        CONFIGURATION.format(
            folder=home, port=port, certificate=certificate, modules='"smacks"', publishers=""
        )
    )
    for user, password in passwords.items():
        (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')
    command = [PROSODY, "--config", str(configuration), "-F"]
    return Process("prosody", lambda _life: command, folder, listens_on(port)), port


def redis(folder: Path) -> tuple[Process, str]:
    """A Redis server that keeps what it has said it keeps, and its address."""
    assert REDIS is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = folder / "redis"
    home.mkdir()
    command = [REDIS, "--port", str(port), "--dir", str(home), "--bind", "127.0.0.1"]
    command += ["--appendonly", "yes", "--save", "", "--logfile", str(home / "log")]
    return Process("redis", lambda _life: command, folder, listens_on(port)), f"redis://127.0.0.1:{port}/0"
