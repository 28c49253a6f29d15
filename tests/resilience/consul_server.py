"""A real Consul server of a test's own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.resilience.mortal import Mortal

PATH = shutil.which("consul")
"""Where it is; None where it is not installed."""

PATIENCE = 30.0


def _free_ports(how_many: int) -> list[int]:
    probes = [socket.socket() for _each in range(how_many)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class ConsulServer(Mortal):
    """A server on free ports of this machine, with its files in one folder.

    Args:
        folder: where its data and its log lie.
        of: how many servers make the cluster.
        join: the port of one that is there.
        **settings: as in its configuration.
    """

    def __init__(self, folder: Path, *, of: int = 1, join: int | None = None, **settings: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.serf, self.rpc, serf_wan, self.dns = _free_ports(5)
        told = {
            "server": True,
            "bootstrap_expect": of,
            "node_name": folder.name.replace("_", "-"),
            "data_dir": str(folder / "data"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": self.port,
                "serf_lan": self.serf,
                "serf_wan": serf_wan,
                "server": self.rpc,
                "dns": self.dns,
            },
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
            **({"retry_join": [f"127.0.0.1:{join}"], "retry_interval": "1s"} if join else {}),
            **settings,
        }
        (folder / "consul.json").write_text(json.dumps(told))
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, or start it anew on the same files."""
        assert PATH is not None
        with (self.folder / "log").open("ab") as log:
            command = [PATH, "agent", "-config-file", str(self.folder / "consul.json")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, text=True)

    def ready(self, token: str = "") -> None:
        """Wait until there is a leader among the servers, and this one knows its own node."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                told = f"?token={token}" if token else ""
                if self.get("/v1/status/leader") and self.get(f"/v1/catalog/nodes{told}"):
                    return
            except OSError:
                pass
            time.sleep(0.05)  # it tells nobody but its log
        raise AssertionError((self.folder / "log").read_text()[-2000:])

    def get(self, path: str) -> Any:
        """What it answers."""
        with urllib.request.urlopen(self.url + path, timeout=2) as answer:
            return json.loads(answer.read())

    @property
    def is_leader(self) -> bool:
        """Whether it leads the servers."""
        return bool(self.get("/v1/status/leader") == f"127.0.0.1:{self.rpc}")

    def index(self, path: str) -> str:
        """How far what it answers has come: another one where something has changed."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return str(answer.headers["X-Consul-Index"])

    def put(self, path: str, body: object = None) -> Any:
        """Tell it something."""
        data = b"" if body is None else json.dumps(body).encode()
        return self._send(path, "PUT", data)

    def delete(self, path: str) -> None:
        """Have something deleted."""
        self._send(path, "DELETE")

    def _send(self, path: str, method: str, data: bytes = b"") -> Any:
        request = urllib.request.Request(self.url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=2) as answer:
            return json.loads(answer.read() or b"null")
