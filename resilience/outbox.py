"""What has been said and not been acknowledged yet: at least once, then a dead letter.

Every message stands here, under an id made once, before it is sent for the first time. It is sent again,
under the same id, until the peer's agent says that it has been processed, until it has been sent as often
as is allowed, or until nobody waits for it any more. The rules are pure: each tells what the record says.

An attempt counts when the message has been handed over. While there is no connection, or the peer's
breaker is open, nothing is attempted, and the message keeps its place until it expires.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from resilience.backoff import delay
from resilience.forms import Form, storable
from resilience.inbox import ID_LIMIT, JID_LIMIT
from resilience.snapshots import KEY_LIMIT

FORM = Form(
    what="an outgoing message",
    newest=2,
    steps={1: lambda fields: {**fields, "replica": ""}},
)


class Due(StrEnum):
    """What is to be done with an outgoing message."""

    LATER = "later"
    NOW = "now"
    EXPIRED = "expired"
    """Nobody waits for it any more: to the dead letters."""
    EXHAUSTED = "exhausted"
    """It has been sent as often as is allowed, and nobody has acknowledged it: likewise."""


@dataclass(frozen=True, kw_only=True)
class Retrying:
    """How often and how long a message is sent. In seconds.

    Raises:
        ValueError: a number is out of its range.
    """

    first: float = 1.0
    """The longest delay after the first attempt; it doubles with each."""
    most: float = 8.0
    """The longest delay ever."""
    attempts: int = 5
    life: float = 3_600.0
    """How long a message may wait to be sent at all. A receiver must remember ids for longer."""

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.most <= self.life or self.attempts < 1:
            raise ValueError(f"delays and attempts must be positive, first <= most <= life: {self}")


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message on its way.

    Raises:
        ValueError: a part is empty, too long, or cannot be kept, or a moment has no zone.
    """

    agent: str
    """The bare JID of the sender."""
    id: str
    """Made once; the same in each copy."""
    to: str
    """The bare JID of the receiver."""
    message: str
    """The message as JSON."""
    conversation: str = ""
    """The key of the snapshot that it belongs to; empty for none."""
    made: datetime
    expires: datetime
    attempts: int = 0
    """How often it has been handed over."""
    next_try: datetime
    replica: str = ""
    """Which replica of the sender looks after it; empty where that was not written down yet."""

    def __post_init__(self) -> None:
        storable(self.agent, "the sender's JID", JID_LIMIT)
        storable(self.id, "the message's id", ID_LIMIT)
        storable(self.to, "the receiver's JID", JID_LIMIT)
        storable(self.conversation or "-", "the conversation's key", KEY_LIMIT)
        storable(self.replica or "-", "the replica's name", ID_LIMIT)
        for moment in (self.made, self.expires, self.next_try):
            if moment.tzinfo is None:
                raise ValueError(f"{moment.isoformat()} has no zone: nobody knows when that is")

    def to_json(self) -> str:
        """Write it down; `from_json` reads it."""
        return FORM.write(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Outgoing:
        """Read what `to_json` wrote, now or in an older version.

        Raises:
            FormError: it is of a newer form, or no outgoing message.
        """
        fields = FORM.read(text)
        try:
            moments = {name: datetime.fromisoformat(fields[name]) for name in ("made", "expires", "next_try")}
            return cls(**{**fields, **moments})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FORM.foreign(text) from error


def posted(
    *,
    agent: str,
    id: str,  # noqa: A002 - as the field is called
    to: str,
    message: str,
    conversation: str = "",
    now: datetime,
    reply_by: datetime | None = None,
    retrying: Retrying,
    replica: str = "",
) -> Outgoing:
    """Make the record of a message that is to be sent at once.

    Args:
        agent: who sends it.
        id: made afresh.
        to: who is to get it.
        message: as JSON.
        conversation: the snapshot that it belongs to.
        now: the present, aware.
        reply_by: the latest moment at which somebody waits for its answer.
        retrying: how long it may wait.
        replica: which one of the sender says it.
    """
    end = now + timedelta(seconds=retrying.life)
    return Outgoing(
        agent=agent,
        id=id,
        to=to,
        message=message,
        conversation=conversation,
        made=now,
        expires=end if reply_by is None else min(end, reply_by),
        next_try=now,
        replica=replica,
    )


def due(outgoing: Outgoing, now: datetime, retrying: Retrying) -> Due:
    """What is to be done with a message now."""
    if now >= outgoing.expires:
        return Due.EXPIRED
    if wait(outgoing, now, retrying) > 0:
        return Due.LATER
    return Due.EXHAUSTED if outgoing.attempts >= retrying.attempts else Due.NOW


def wait(outgoing: Outgoing, now: datetime, retrying: Retrying) -> float:
    """Seconds until `due` should be asked again, from 0.

    Never longer than the longest delay: a clock that was set back by ten minutes delays nothing by that.
    """
    until = min(outgoing.next_try, outgoing.expires)
    return max(0.0, min((until - now).total_seconds(), retrying.most))


def tried(outgoing: Outgoing, now: datetime, rng: Callable[[], float], retrying: Retrying) -> Outgoing:
    """Take note that a message has been handed over once more."""
    attempts = outgoing.attempts + 1
    seconds = delay(attempts, rng, first=retrying.first, most=retrying.most)
    return replace(outgoing, attempts=attempts, next_try=now + timedelta(seconds=seconds))


def settles(outgoing: Outgoing, acknowledged_by: str) -> bool:
    """Whether an acknowledgement of its id counts: only from the agent that it was sent to.

    Args:
        outgoing: the message.
        acknowledged_by: the bare JID that the server has stamped on the acknowledgement.
    """
    return outgoing.to == acknowledged_by
