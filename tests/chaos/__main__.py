"""`python -m tests.chaos --messages 1000 --kills 20 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.chaos import processes
from tests.chaos.broken import BROKEN
from tests.chaos.running import Plan, Run


def main() -> int:
    """Run it and say what was found; 1 where anything was."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--xmpp", choices=("embedded", "prosody"), default="prosody" if processes.PROSODY else "embedded"
    )
    parser.add_argument(
        "--journal", choices=("sqlite", "redis"), default="redis" if processes.REDIS else "sqlite"
    )
    parser.add_argument("--break", choices=tuple(BROKEN), default="", dest="breaks")
    parser.add_argument("--keep", type=Path, help="an empty folder for histories and files, to look at them")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        options = {name: value for name, value in vars(told).items() if name != "keep"}
        if told.keep is not None:
            told.keep.mkdir(parents=True, exist_ok=True)
        run = Run(Plan(folder=told.keep or Path(temporary), **options))
        verdict = asyncio.run(run())
    for name in ("lost", "doubled", "hung"):
        for sentence in getattr(verdict, name)[:20]:
            print(f"{name}: {sentence}")  # noqa: T201 - it is what was asked for
    killed = ", ".join(f"{name} {count}" for name, count in sorted(Counter(run.killed).items()))
    ended = ", ".join(f"{name} {count}" for name, count in sorted(verdict.told.items()))
    print(f"killed {killed}; connections cut {run.cuts}; told {ended}")  # noqa: T201
    print(f"awards gone on with after a kill: {verdict.gone_on_with}")  # noqa: T201
    print(verdict.last_line(len(run.killed)))  # noqa: T201
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
