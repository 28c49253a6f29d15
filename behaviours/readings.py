"""What an agent reads of topics: an iterator of terms for each reader, and the subscription behind them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from behaviours import pubsub
from behaviours.connection import ConnectionFailed, RequestRefused
from behaviours.outcomes import Failed, Refused
from behaviours.pubsub import Entry, Service
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import Reason, Term
from ontology.errors import Cause, MessageError
from resilience.backoff import delay

_log = logging.getLogger(__name__)

WAITING = 10_000
"""Publications that may wait for a reader; one more ends its reading."""

RETRY_FIRST, RETRY_MOST = 0.5, 5.0
"""Pauses in seconds while a topic that is read is not there."""

_FOR_GOOD = pubsub.UNAUTHORISED | {"bad-request", "feature-not-implemented"}
"""Refusals that waiting does not change."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """A publication that was understood."""

    term: Term
    publisher: AgentIdentifier | None
    """As the service names it; None where it names none."""
    message: AclMessage | None = field(default=None, compare=False)
    """As it was published."""


class Reading:
    """A topic as one reader sees it: an async iterator of terms.

    ::

        async with agent.read("temperatures") as updates:
            async for update in updates:
                match update:
                    case Temperature(): ...
                    case ending: print(sentence(ending))

    The last item is a `Refused` or `Failed` that says why there are no more, unless we leave first: leaving
    the block ends the reading. Entering it returns once the service has answered, so that whatever is
    published from there on is read; without a connection it returns at once, and the topic is read once there
    is one.
    """

    def __init__(self, topic: str, asked: asyncio.Event, leave: Callable[[Reading], None]) -> None:
        self.topic = topic
        self.is_over = False
        self._asked, self._leave = asked, leave
        self._waiting: deque[Update] = deque()
        self._ending: Refused | Failed | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Reading:
        await self.begun()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.close()

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> Term | Refused | Failed:
        match await self.receive():
            case None:
                raise StopAsyncIteration
            case Update(term=term):
                return term
            case ending:
                return ending

    async def begun(self) -> None:
        """Return once the service has been asked for the topic, whatever it said. Cancelling is safe."""
        await self._asked.wait()

    async def receive(self) -> Update | Refused | Failed | None:
        """Return the next publication with its publisher; then, once, why there are no more; then None.

        Cancelling is safe.
        """
        while not self._waiting:
            if self.is_over:
                ending, self._ending = self._ending, None
                return ending
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()

    def close(self) -> None:
        """Read no longer. Safe to call again; an iteration that waits ends without a last item."""
        self.end(None)
        self._ending = None
        self._waiting.clear()
        self._leave(self)

    def put(self, update: Update) -> None:
        """Have a publication read, behind those that wait."""
        if self.is_over:
            return
        if len(self._waiting) >= WAITING:
            text = f"topic {self.topic!r}: more than {WAITING:,} publications wait; read them faster"
            self.end(Failed(Reason(cause=Cause.OVERLOADED, text=text, about=self.topic)))
            return
        self._waiting.append(update)
        self._changed.set()

    def end(self, ending: Refused | Failed | None) -> None:
        """Let there be no more, once what waits has been read."""
        if not self.is_over:
            self.is_over, self._ending = True, ending
            self._changed.set()


class Followed:
    """A topic that is read: its subscription, which each session makes anew.

    Args:
        name: of the topic.
        service: where it is.
        understand: reads a publication; None where it is not to be handed out.
        farewells: what is on its way to the service, and must not overtake what we say.
        rng: source of jitter.

    Attributes:
        readings: who reads it.
        asked: set once the service has been asked for it, whatever it said.
        is_over: the service has refused it for good.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        understand: Callable[[AclMessage | MessageError], Update | None],
        farewells: Collection[asyncio.Task[None]],
        rng: Callable[[], float],
    ) -> None:
        self.name = name
        self.readings: list[Reading] = []
        self.asked = asyncio.Event()
        self.is_over = False
        self._service, self._understand, self._farewells, self._rng = service, understand, farewells, rng
        self._jid = ""
        """The full JID that is subscribed."""
        self._last: str | None = None
        """The id of the newest publication when we came, then of the last one that was read."""
        self._has_begun = False
        """Whether `_last` counts: None means then that the topic held nothing."""
        self._is_new = False
        """Whatever the topic holds has been published since we came."""
        self._held: list[Entry] | None = None
        """What has come while we subscribe and catch up; None when we do not."""
        self._joining: asyncio.Task[None] | None = None

    def join(self) -> None:
        """Subscribe the session that stands, as long as it takes; what comes meanwhile waits."""
        if self.is_over:
            return
        if self._joining is not None:
            self._joining.cancel()
        if self._held is None:
            self._held = []
        self._joining = asyncio.get_running_loop().create_task(self._join())

    def take(self, entry: Entry) -> None:
        """Have a publication read."""
        if self._held is not None:
            self._held.append(entry)
            return
        self._last = entry.id
        update = self._understand(entry.message)
        if update is not None:
            for reading in self.readings:
                reading.put(update)

    def end(self, ending: Refused | Failed) -> None:
        """End all readings."""
        self.is_over = True
        self.asked.set()
        for reading in self.readings:
            reading.end(ending)

    async def leave(self) -> None:
        """Take the subscription back, where there is a connection. Never raises for what the service says."""
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)
        try:
            if self._service.jid and self._service.line.is_online:
                await self._service.ask("set", pubsub.unsubscribe(self.name, self._service.line.full_jid))
        except (RequestRefused, ConnectionFailed) as error:  # it has ended, or will with the session
            _log.debug("topic %r: the subscription was not taken back: %s", self.name, error)

    async def _join(self) -> None:
        attempt = 1
        if self._farewells:
            await asyncio.wait(set(self._farewells))
        if not self._service.line.is_online:
            self.asked.set()  # nobody is to wait for a connection
            await self._service.line.wait_online()
        while not await self._is_joined():
            self.asked.set()
            await asyncio.sleep(delay(attempt, self._rng, first=RETRY_FIRST, most=RETRY_MOST))
            await self._service.line.wait_online()  # the session may go on; a new one begins this anew
            attempt += 1
        self.asked.set()

    async def _is_joined(self) -> bool:
        """Subscribe, and begin or catch up; True also if that is refused for good."""
        is_known = self._has_begun or self._is_new
        try:
            if not await self._is_subscribed():
                return False
            if is_known:
                self._catch_up(await self._kept())
            else:
                self._begin(await self._kept(most=1))
        except ConnectionFailed as error:
            _log.debug("topic %r: %s", self.name, error)
            return False
        except RequestRefused as error:
            if is_known and error.condition not in _FOR_GOOD:
                return False
            self.end(Refused(pubsub.why(self.name, error)))
        return True

    async def _is_subscribed(self) -> bool:
        """Subscribe the session that stands; False if there is no such topic."""
        jid = self._service.line.full_jid
        try:
            if self._jid and self._jid != jid:
                # Some services keep the subscription of a session that has ended.
                await self._service.ask("set", pubsub.unsubscribe(self.name, self._jid))
        except RequestRefused as error:
            _log.debug("topic %r: %s is not subscribed any longer: %s", self.name, self._jid, error)
        try:
            await self._service.ask("set", pubsub.subscribe(self.name, jid))
        except RequestRefused as error:
            if error.condition != "item-not-found":
                raise
            self._is_new = True
            return False
        self._jid = jid
        return True

    async def _kept(self, most: int | None = None) -> list[Entry]:
        """What the service still holds of the topic, oldest first."""
        try:
            return pubsub.retrieved(await self._service.ask("get", pubsub.retrieve(self.name, most)))
        except RequestRefused as error:
            _log.debug("topic %r: it cannot be read back: %s", self.name, error)
            return []

    def _begin(self, newest: Sequence[Entry]) -> None:
        """Read what comes from now on; `newest` is the last publication before, if there is one."""
        self._last = newest[-1].id if newest else None
        self._go_on(())

    def _catch_up(self, entries: Sequence[Entry]) -> None:
        """Have read what was missed of what the topic holds, oldest first, and then what came meanwhile."""
        places = [place for place, entry in enumerate(entries) if entry.id == self._last]
        self._go_on(entries if self._is_new or not places else entries[places[0] + 1 :])

    def _go_on(self, missed: Sequence[Entry]) -> None:
        seen = {entry.id for entry in missed}
        since = [entry for entry in self._held or () if entry.id not in seen]
        self._held, self._is_new, self._has_begun = None, False, True
        for entry in (*missed, *since):
            self.take(entry)
