"""The demo does what the README promises, also where its usual ports are taken."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]


def test_the_demo_ends_well_within_a_minute_though_its_ports_are_taken(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with contextlib.ExitStack() as taken:
        for port in (5222, 10001):
            with contextlib.suppress(OSError):  # somebody else has it already
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(ROOT / "examples" / "demo.py")],
            cwd=tmp_path, env={**inherited, "TMPDIR": str(tmp_path)},
            capture_output=True, text=True, timeout=90, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 60
    assert done.stderr == ""
    for wanted in (
        r"^  learner-2 +http://127\.0\.0\.1:\d+/spade$",
        r"^called    learner-1@localhost, learner-2@localhost$",
        r"^proposed  learner-1@localhost: [\d.]+ s \(",
        r"^proposed  learner-2@localhost: [\d.]+ s \(",
        r"^awarded   learner-[12]@localhost$",
        r"^training  epoch \d+ of 40, ",
        r"^held-out accuracy 0\.9[5-9]\d\d$",
        r"^row   10 ",
    ):
        assert re.search(wanted, done.stdout, re.MULTILINE), wanted
    assert list(tmp_path.iterdir()) == []
