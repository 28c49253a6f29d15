"""A Prosody server of the test's own: a child process on loopback, in a folder that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from society.xmpp_server import CertificateAuthority

BINARY = shutil.which("prosody")

CONFIGURATION = """
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
run_as_root = true
daemonize = false
admins = {{}}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
modules_enabled = {{
    "roster"; "saslauth"; "tls"; "disco"; "ping"; "offline"; "presence"; "message"; "iq"; {modules}
}}
modules_disabled = {{ "s2s" }}
authentication = "internal_hashed"
storage = "internal"
c2s_require_encryption = true
-- Otherwise a pair of replies waits 40 ms, and 200 KB take 20 s.
network_settings = {{ nagle = false }}
limits = {{ c2s = {{ rate = "10mb/s" }} }}
-- Otherwise the server asks after each stanza whether it was handled, and each costs two.
smacks_max_unacked_stanzas = 20
ssl = {{ key = "{certificate}"; certificate = "{certificate}" }}
log = {{ info = "{folder}/prosody.log" }}

VirtualHost "localhost"
"""

PUBSUB = """
Component "pubsub.localhost" "pubsub"
expose_publisher = true
-- Who makes nodes: up to Prosody 0.12 its administrators only, from 13 on everybody who is let.
admins = {{ {publishers} }}
add_permissions = {{ ["prosody:registered"] = {{ "pubsub:create-node" }} }}
"""


@dataclass(frozen=True)
class Prosody:
    """Where a running Prosody is."""

    port: int
    folder: Path


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.asynccontextmanager
async def prosody(
    folder: Path,
    authority: CertificateAuthority,
    passwords: Mapping[str, str],
    *,
    publishers: Collection[str] = (),
    modules: Collection[str] = (),
    pubsub: bool = True,
) -> AsyncIterator[Prosody]:
    """Run Prosody with these accounts; it is ended by its process id, whatever happens.

    Args:
        folder: where it keeps everything.
        authority: signs its certificate.
        passwords: by user.
        publishers: users that may make PubSub nodes.
        modules: to be enabled as well.
        pubsub: whether it has publish-subscribe.
    """
    assert BINARY is not None
    port = free_port()
    certificate = folder / "localhost.pem"
    certificate.write_bytes(authority.server_file(["localhost", "127.0.0.1"]).read_bytes())
    certificate.chmod(0o600)
    (folder / "data").mkdir()
    configuration = folder / "prosody.cfg.lua"
    configuration.write_text(
        (CONFIGURATION + PUBSUB if pubsub else CONFIGURATION).format(
            folder=folder,
            port=port,
            certificate=certificate,
            modules="; ".join(f'"{module}"' for module in modules),
            publishers="; ".join(f'"{user}@localhost"' for user in publishers),
        )
    )
    for user, password in passwords.items():
        accounts = folder / "data" / "localhost" / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        # Prosody hashes a plain password at the first login.
        (accounts / f"{user}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')
    process = await asyncio.create_subprocess_exec(
        BINARY,
        "--config",
        str(configuration),
        "-F",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        await _answers(process, port, folder)
        yield Prosody(port=port, folder=folder)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _answers(process: asyncio.subprocess.Process, port: int, folder: Path) -> None:
    async with asyncio.timeout(15):
        while True:
            if process.returncode is not None:
                log = folder / "prosody.log"
                raise RuntimeError(f"prosody ended: {log.read_text() if log.exists() else 'it left no log'}")
            try:
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            await writer.wait_closed()
            return
