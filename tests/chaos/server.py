"""The embedded server in a process of its own: `python -m tests.chaos.server PORT FOLDER NAMES`.

What waits for those that are away it keeps in a file, as a society does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from resilience.sqlite_store import SqliteStore
from society.xmpp_server import CertificateAuthority, XmppServer
from society.xmpp_stores import RecordedOffline
from tests.chaos.agent import say


async def main(port: int, folder: Path, names: list[str]) -> None:
    """Serve until somebody ends the process."""
    server = XmppServer(
        domain="localhost",
        port=port,
        authority=CertificateAuthority.open(folder / "authority"),
        passwords=dict.fromkeys(names, "secret"),
        offline=RecordedOffline(SqliteStore(folder / "server.sqlite")),
    )
    async with server:
        say("ready")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")))
