"""An adder in a process of its own: `python -m tests.integration.adder_process PORT CA_FILE [JOURNAL]`.

With a journal it is the ``main`` replica of an agent that comes back; it says ``loaded``, and logs in when it
is told to by a line.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agents.base import Ports, Server
from resilience.sqlite_journal import SqliteJournal
from tests.behaviours.samples import Adder


def say(word: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


async def main(port: int, ca_file: Path, journal: str = "") -> None:
    """Add until somebody ends the process; at a second line, let those go on who hold."""
    server = Server(host="127.0.0.1", port=port, ca_file=ca_file)
    if not journal:
        adder = Adder("adder@localhost", "secret", server)
        await adder.start()
        say("ready")
        await asyncio.Event().wait()
    say("loaded")
    await asyncio.to_thread(sys.stdin.readline)
    adder = Adder("adder@localhost", "secret", server, Ports(journal=SqliteJournal(Path(journal))))
    await adder.start()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    adder.release.set()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
