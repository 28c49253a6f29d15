# ruff: noqa: PLC0415 - the launcher is imported where it is needed: SPADE takes a second
"""How a command of the command line runs: its log, its event loop, and what Ctrl-C does to it."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from society.errors import SocietyError
from society.events import Tell

if TYPE_CHECKING:
    from society.config import SocietyFile

Command = Callable[[Tell], Coroutine[Any, Any, int]]
"""What a client does, given where to tell of it; its result is the exit code."""


class InterruptedByUserError(SocietyError):
    """The user had enough, and what was asked has been taken back."""


def log_to_stderr(*, verbose: bool) -> None:
    """Log troubles; with `verbose` every fact."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    logging.getLogger("locution").setLevel(logging.DEBUG if verbose else logging.WARNING)
    # What slixmpp and SPADE have to say about connections, our own facts say in a sentence.
    for name in ("slixmpp", "spade", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING if verbose else logging.CRITICAL)


def up(
    file: SocietyFile,
    only: Sequence[str],
    tell: Tell,
    *,
    began: float,
    replica: str,
    any_of: str | None = None,
) -> int:
    """Run the society, or some of its agents, until a signal comes; `began` is a monotonic time."""
    from society import launcher

    last_resort = launcher.LastResort()
    running = launcher.run(
        file, only, tell, began=began, replica=replica, any_of=any_of, on_stopping=last_resort.start
    )
    try:
        return asyncio.run(running)
    finally:
        last_resort.cancel()


def ask(tell: Tell, command: Command) -> int:
    """Run a command of a client; Ctrl-C and SIGTERM take back what was asked."""

    async def run() -> int:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await command(tell)

    try:
        return asyncio.run(run())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise InterruptedByUserError("interrupted") from None
    finally:
        getattr(tell, "close", lambda: None)()


def tidy_up() -> None:
    """Leave nothing behind."""
    # SPADE 4.1.4: it imports pyjabber, which makes a temporary folder at import and leaves it there.
    module = sys.modules.get("pyjabber.plugins.xep_0363.upload_server")
    if module is not None:
        with suppress(OSError, AttributeError):
            Path(module.TEMP_DIR).rmdir()
