"""Keeping what came to nothing, so that keeping it can never be the next thing to fail."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from behaviours.events import HandlerFailed, Hook
from behaviours.seating import Seating
from behaviours.wire import legible
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.codecs import to_json
from ontology.content import Reason
from ontology.errors import Cause
from resilience.dead_letters import ORIGINAL_LIMIT, DeadLetter, DeadLetters
from resilience.outbox import Outgoing


class Burying:
    """The way of one agent to its dead letters. Nothing here raises: what cannot be kept is a fact.

    Args:
        me: the bare JID of the agent.
        dead_letters: where they lie.
        seats: its conversations: where each stood is kept with its letter.
        emit: sink of facts.
        now: the wall clock.
    """

    def __init__(
        self, me: str, dead_letters: DeadLetters, seats: Seating, emit: Hook, now: Callable[[], datetime]
    ) -> None:
        self._me, self.dead_letters, self._seats = me, dead_letters, seats
        self._emit, self._now = emit, now

    def unreadable(self, peer: str, original: str, cause: str, text: str) -> None:
        """Keep what has come in and is no message.

        Args:
            peer: who it came from.
            original: as it came.
            cause: a token.
            text: one sentence: what is wrong with it.
        """
        self._keep(peer=peer, is_inbound=True, original=original, cause=cause, text=text)

    def unhandled(
        self, message: AclMessage, peer: AgentIdentifier, cause: str, text: str, *, attempts: int = 0
    ) -> None:
        """Keep a message that has come in and could not be handled.

        Args:
            message: what it says.
            peer: who it came from.
            cause: a token.
            text: one sentence: what happened.
            attempts: how often its handler was begun; 0 where nobody counted.
        """
        self._keep(**self._place(message, peer), is_inbound=True, cause=cause, text=text, attempts=attempts)

    def poison(self, message: AclMessage, peer: AgentIdentifier, what: str, times: int) -> str:
        """Keep a message whose handler was never done with it; what is said of that, in one sentence."""
        me = self._me.partition("@")[0]
        text = f"{me} began {what} {times} times and never ended it; it is not tried again"
        self.unhandled(message, peer, Cause.INTERNAL_ERROR, text, attempts=times)
        return text

    def lost(
        self,
        message: AclMessage,
        to: AgentIdentifier,
        record: Outgoing | None,
        reason: Reason,
        *,
        is_left: bool = False,
    ) -> None:
        """Keep a message of ours that did not get through.

        It is filed under the id that it has in the outbox: should we die before the outbox lets go of it, it
        is not kept a second time; and under that id it can be sent anew.

        Args:
            message: what it says.
            to: whom it was for.
            record: how it stood in the outbox; None for a notice, which stands nowhere.
            reason: why it was given up.
            is_left: whether a former process has left it, and may have sent it without counting that.
        """
        attempts = 1 if record is None else max(record.attempts, is_left)
        self._keep(
            **self._place(message, to),
            is_inbound=False,
            cause=reason.cause,
            text=reason.text,
            attempts=attempts,
            made=record.made if record is not None else self._now(),
            message_id=record.id if record is not None else "",
        )

    def _place(self, message: AclMessage, peer: AgentIdentifier) -> dict[str, str]:
        """What a message says, and where it belongs."""
        seat = self._seats.find(message, peer)
        protocol = message.protocol or (seat.protocol.name if seat is not None else "")
        return {
            "peer": peer.name,
            "original": to_json(message),
            "conversation_id": legible(message.conversation_id or ""),
            "protocol": legible(protocol),
            "state": seat.conversation.state if seat is not None else "",
        }

    def _keep(
        self,
        *,
        peer: str,
        original: str,
        cause: str,
        text: str,
        message_id: str = "",
        **more: Any,
    ) -> None:
        letter = DeadLetter(
            id=message_id or uuid.uuid4().hex,
            agent=self._me,
            peer=peer,
            cause=str(cause),
            text=legible(text),
            original=legible(original[:ORIGINAL_LIMIT]),
            when=self._now(),
            **more,
        )
        try:
            self.dead_letters.add(letter)
        except Exception as error:  # noqa: BLE001 - a full disk must neither deafen us nor keep a loss secret
            told = f"a dead letter could not be kept: {type(error).__name__}: {error}"
            self._emit(HandlerFailed(agent=self._me, peer=peer, text=told))
