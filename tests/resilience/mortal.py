"""A server process of a test's own that can be killed and frozen."""

from __future__ import annotations

import signal
import subprocess


class Mortal:
    """What the servers of tests have in common."""

    process: subprocess.Popen[str]

    def kill(self) -> None:
        """Kill it at once, as a failing machine would."""
        self.process.kill()
        self.process.communicate()

    def freeze(self) -> None:
        """Let it answer nobody until `thaw`."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it for good; safe to call again."""
        if self.process.poll() is None:
            self.thaw()
            self.kill()
