"""Societies in processes of their own, as a user runs them: nothing is imported but the way to start one."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.society.conftest import free_ports

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds for anything that is waited for. Generous: machines stall, and torch takes seconds to import."""


class Running:
    """A command under way; its lines of output come in as they are written."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, variables: dict[str, str]) -> None:
        self.name = " ".join(arguments)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOCUTION_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "society", *arguments],
            cwd=folder,
            env={**inherited, "PYTHONPATH": str(ROOT), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._new: queue.Queue[str | None] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self._new.put)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append)),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What has been read so far of a command with ``--json``."""
        return [json.loads(line) for line in self.lines]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of that name so far."""
        return [each for each in self.events if each["event"] == event]

    def line(self, holds: Callable[[str], bool], what: str) -> str:
        """Wait for a line of standard output."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._new.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                pytest.fail(f"'{self.name}' did not tell {what}; it told\n{self.told()}")
            self.lines.append(line)
            if holds(line):
                return line

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of that name."""
        found: dict[str, Any] = json.loads(self.line(lambda line: json.loads(line)["event"] == name, name))
        return found

    def end(self, number: signal.Signals | None = None) -> int:
        """Wait for the end of the process, after a signal if one is given; return its exit code."""
        if number is not None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"'{self.name}' did not end; it told\n{self.told()}")
        for reader in self._readers:
            reader.join()
        while not self._new.empty():
            line = self._new.get()
            if line is not None:
                self.lines.append(line)
        return code

    def told(self) -> str:
        """All output so far, for a failed test."""
        return "\n".join([*self.lines, "-- stderr --", *self.errors])

    def put_away(self) -> None:
        """End the process, if it has not ended, and close what belongs to it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, stream: IO[str] | None, take: Callable[[Any], None]) -> None:
        assert stream is not None
        for line in stream:
            take(line.rstrip("\n"))
        if take == self._new.put:
            take(None)


class Place:
    """A folder with an example's society file and what belongs to it, on ports of its own."""

    def __init__(self, folder: Path, *files: str) -> None:
        self.folder, self._file = folder, files[0]
        base = free_ports(10)
        self.variables = {"LOCUTION_XMPP_PORT": str(base), "LOCUTION_DASHBOARD_PORT": str(base + 1)}
        for name in files:
            shutil.copy(ROOT / "examples" / name, folder)
        self._started: list[Running] = []

    def start(self, *arguments: str) -> Running:
        """Start a command; it is put away when the test ends."""
        running = Running((*arguments, "--file", self._file), self.folder, self.variables)
        self._started.append(running)
        return running

    def run(self, *arguments: str) -> tuple[int, Running]:
        """Run a command to its end."""
        running = self.start(*arguments)
        return running.end(), running

    def put_away(self) -> None:
        """End every process that was started here."""
        for running in reversed(self._started):
            running.put_away()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Give a folder in which a society can be started."""
    place = Place(tmp_path, "digits.toml", "digits.csv")
    yield place
    place.put_away()


@pytest.fixture(scope="module")
def society(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give a folder in which the example's society runs, for all tests of a file."""
    pytest.importorskip("torch")
    place = Place(tmp_path_factory.mktemp("society"), "digits.toml", "digits.csv")
    place.start("up", "--json").event("ready")
    yield place
    place.put_away()
