"""Keeping what came to nothing, so that keeping it can never be the next thing to fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from behaviours.events import HandlerFailed, Hook
from behaviours.wire import legible
from resilience.dead_letters import ORIGINAL_LIMIT, DeadLetter, DeadLetters


class Burying:
    """The way of one agent to its dead letters.

    Args:
        me: the bare JID of the agent.
        dead_letters: where they lie.
        emit: sink of facts.
        now: the wall clock.
    """

    def __init__(self, me: str, dead_letters: DeadLetters, emit: Hook, now: Callable[[], datetime]) -> None:
        self._me, self._dead_letters, self._emit, self._now = me, dead_letters, emit, now

    def bury(self, peer: str, original: str, cause: str, text: str, *, is_inbound: bool) -> None:
        """Keep a message. Never raises: where it cannot be kept, that is a fact."""
        letter = DeadLetter(
            agent=self._me,
            peer=peer,
            is_inbound=is_inbound,
            cause=str(cause),
            text=legible(text),
            original=legible(original[:ORIGINAL_LIMIT]),
            when=self._now(),
        )
        try:
            self._dead_letters.add(letter)
        except Exception as error:  # noqa: BLE001 - a full disk must neither deafen us nor keep a loss secret
            told = f"a dead letter could not be kept: {type(error).__name__}: {error}"
            self._emit(HandlerFailed(agent=self._me, peer=peer, text=told))
