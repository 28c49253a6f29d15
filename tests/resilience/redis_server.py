"""A real Redis server of a test's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

from tests.resilience.mortal import Mortal

PATH = shutil.which("redis-server")
"""Where it is; None where it is not installed."""


class RedisServer(Mortal):
    """A server on a free port of this machine, with its files in one folder.

    Args:
        folder: where its append-only file lies.
        **settings: as in ``redis.conf``, underscores for hyphens; they go before the usual ones.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder
        self._settings = {"appendonly": "yes", "save": "", "bind": "127.0.0.1", **settings}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, or start it anew on the same files; returns once it answers."""
        assert PATH is not None
        command = [PATH, "--port", str(self.port), "--dir", str(self._folder)]
        for name, value in self._settings.items():
            command += [f"--{name.replace('_', '-')}", value]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "eady to accept connections" in line:
                return
        raise AssertionError("".join(said))
