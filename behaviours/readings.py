"""What an agent reads of topics: each subscription an iterator, and what is known of the topic behind it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from behaviours.pubsub import Entry
from ontology.acl import AclMessage
from ontology.errors import MessageError

_log = logging.getLogger(__name__)

WAITING = 10_000
"""Publications that may wait for a reader; one more ends its subscription, with an error."""


class TopicError(Exception):
    """A topic could not be published to or read; the text says why in one sentence.

    Attributes:
        topic: its name.
        text: the sentence.
    """

    def __init__(self, topic: str, why: str) -> None:
        self.topic = topic
        self.text = f"topic {topic[:80]!r}: {why}"
        super().__init__(self.text)


class Reading:
    """One subscription: an async iterator of contents, which ends with `Topics.unsubscribe`.

    Raises while it is iterated:
        TopicError: the service has ended the subscription, or too much waits to be read.
    """

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.is_over = False
        self._waiting: deque[AclMessage] = deque()
        self._error: TopicError | None = None
        self._changed = asyncio.Event()

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> str:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message.content or ""

    async def receive(self) -> AclMessage | None:
        """Return the next publication as a whole message; None when there will be no more.

        Its sender is the publisher that the service names, and None where it names none. Cancelling is safe.
        """
        while not self._waiting:
            if self.is_over:
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()

    def put(self, message: AclMessage) -> None:
        """Have a message read, behind those that wait."""
        if self.is_over:
            return
        if len(self._waiting) >= WAITING:
            why = f"more than {WAITING:,} publications wait to be read; read faster, and subscribe again"
            self.end(TopicError(self.topic, why))
            return
        self._waiting.append(message)
        self._changed.set()

    def end(self, error: TopicError | None = None) -> None:
        """Let there be no more, once what waits has been read."""
        if not self.is_over:
            self.is_over, self._error = True, error
            self._changed.set()


@dataclass(eq=False)
class Followed:
    """A topic that is read.

    Attributes:
        readings: who reads it.
        jid: the full JID that is subscribed.
        last: the id of the newest publication when we came, then of the last one that was read.
        is_new: whatever the topic holds has been published since we came.
        held: what has come while we catch up; None when we do not.
        joining: the task that subscribes again.
    """

    name: str
    readings: list[Reading] = field(default_factory=list)
    jid: str = ""
    last: str | None = None
    is_new: bool = False
    held: list[Entry] | None = None
    joining: asyncio.Task[None] | None = None

    def begin(self, newest: Sequence[Entry]) -> None:
        """Take note of the newest publication, from which on we read; none if the topic holds nothing."""
        if newest and self.last is None:  # else something newer has come by now
            self.last = newest[-1].id

    def take(self, entry: Entry) -> None:
        """Have a publication read."""
        if self.held is not None:
            self.held.append(entry)
            return
        self.last = entry.id
        if isinstance(entry.message, MessageError):
            _log.warning("topic %r: a publication was left out: %s", self.name, entry.message.text)
            return
        for reading in self.readings:
            reading.put(entry.message)

    def hold(self) -> None:
        """Let what comes wait until we have caught up."""
        if self.held is None:
            self.held = []

    def catch_up(self, entries: Sequence[Entry]) -> None:
        """Have read what was missed, and then what came meanwhile.

        Args:
            entries: what the topic holds, oldest first.
        """
        places = [place for place, entry in enumerate(entries) if entry.id == self.last]
        missed = entries if self.is_new or not places else entries[places[0] + 1 :]
        seen = {entry.id for entry in missed}
        since = [entry for entry in self.held or () if entry.id not in seen]
        self.held, self.is_new = None, False
        for entry in (*missed, *since):
            self.take(entry)

    def end(self, error: TopicError | None = None) -> None:
        """End all subscriptions."""
        for reading in self.readings:
            reading.end(error)
