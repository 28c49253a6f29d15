"""An adder in a process of its own: `python -m tests.integration.adder_process PORT CA_FILE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agents.base import Server
from tests.behaviours.samples import Adder


async def main(port: int, ca_file: Path) -> None:
    """Add until somebody ends the process."""
    adder = Adder("adder@localhost", "secret", Server(host="127.0.0.1", port=port, ca_file=ca_file))
    await adder.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
