"""Topics with many readers: a publish-subscribe fan-out by the XMPP server's own PubSub (XEP-0060).

One publication costs the publisher one request, however many read it. Who publishes first to a topic makes
it, and decides whether others may publish to it as well; everybody may read. What is published is an ACL
`inform`; a reader gets its content as a term, in the order of publishing.

There is no receipt as for a message between two agents. A reader gets what is published while it is
connected. When it comes back, it catches up on what the topic still holds (`KEPT`), and never learns of more
that it has missed. A reader may come before the topic: then it waits, and gets it from its beginning. What it
does not understand is a fact, and left out.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from behaviours import pubsub
from behaviours.bouncing import failure_of
from behaviours.connection import ConnectionFailed, RequestRefused
from behaviours.delivery import PATIENCE, Delivered, DeliveryResult, Undelivered
from behaviours.events import (
    HandlerFailed,
    Hook,
    MessageNotUnderstood,
    MessageReceived,
    MessageSent,
    MessageUndelivered,
    ignore,
)
from behaviours.handlers import Reader
from behaviours.hosting import Trace
from behaviours.outcomes import Failed, Refused
from behaviours.pubsub import Line, Service
from behaviours.readings import Followed, Reading, Update
from behaviours.stumbling import handler_failed
from behaviours.understanding import ontology_for
from behaviours.wire import Element, legible
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, Ontology, Reason, Term
from ontology.errors import Cause, ContentError, MessageError

KEPT = 20
"""Publications that a topic of ours holds for readers that come back."""

FAREWELL_WITHIN = 2.0
"""Seconds for all subscriptions to be taken back when the agent stops; the session's end does it as well."""

_ANOTHERS = "only the agent that has made it may publish to it; to one that is made with shared=True all may"

_MAY_NOT_MAKE = (
    "the XMPP server does not let this account make topics; of Prosody's pubsub component it is "
    "add_permissions (from 13 on) or admins that allow it"
)


class Topics:
    """An agent's topics: those that it publishes to, and those that it reads.

    Args:
        me: the agent.
        connection: the agent's; topics are subscribed to with its full JID, and anew with each session.
        ontologies: what the agent understands.
        hook: sink of facts.
        trace: shown every publication that goes out, and each of others that was read.
        rng: source of jitter.
    """

    def __init__(
        self,
        me: AgentIdentifier,
        connection: Line,
        ontologies: Sequence[Ontology],
        *,
        hook: Hook = ignore,
        trace: Trace = lambda _message, _peer: None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._me, self._connection, self._ontologies = me, connection, ontologies
        self._hook, self._trace, self._rng = hook, trace, rng
        self._service = Service(connection, me.domain)
        self._followed: dict[str, Followed] = {}
        self._serving: list[asyncio.Task[None]] = []
        self._farewells: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        connection.watch(self._take, self._return)

    @property
    def _peer(self) -> AgentIdentifier:
        return AgentIdentifier(name=self._service.jid or self._service.usual)

    # -- publishing --------------------------------------------------------------------------

    async def publish(
        self, topic: str, content: str, ontology: str | None = None, *, shared: bool = False
    ) -> DeliveryResult:
        """Publish a content; who reads the topic gets it as an inform. The first one makes the topic.

        Without a connection it waits for one, for at most `PATIENCE` seconds. Publications arrive in the
        order in which this has returned.

        Args:
            topic: its name.
            content: a term, as its ontology renders it.
            ontology: the label of that.
            shared: whether all may publish to the topic, where this makes it.

        Raises:
            ValueError: XML cannot carry the name or the content, or it is too large. Nothing was published.
        """
        message = AclMessage(
            performative=Performative.INFORM, content=content, ontology=ontology, language=LANGUAGE
        )
        obstacle = await self.offer(topic, message, shared=shared)
        if obstacle is None:
            return Delivered()
        self._hook(
            MessageUndelivered(
                agent=self._me.name,
                performative=message.performative.value,
                peer=self._peer.name,
                cause=obstacle.cause,
                text=obstacle.text,
            )
        )
        said = message.model_copy(update={"sender": self._me, "receiver": (self._peer,)})
        return Undelivered(obstacle, failure_of(said, self._me, obstacle))

    async def offer(self, topic: str, message: AclMessage, *, shared: bool) -> Reason | None:
        """Publish an inform as `publish` does, and return what stands against it; whoever asks tells of that.

        Raises:
            ValueError: as there.
        """
        message = message.model_copy(
            update={"user_parameters": {**message.user_parameters, pubsub.TOPIC: topic}, "sender": None}
        )
        request = pubsub.publish(_named(topic), uuid.uuid4().hex, message)
        doubt = "it was not published"
        try:
            await self._reach()
            said = message.model_copy(update={"sender": self._me, "receiver": (self._peer,)})
            self._trace(said, self._peer)
            doubt = "nobody knows whether it was published"
            obstacle = await self._put(topic, request, shared)
        except ConnectionFailed as error:
            obstacle = pubsub.reason(topic, Cause.UNREACHABLE, f"{doubt}: {error}")
        if obstacle is None:
            act = message.performative.value
            self._hook(MessageSent(agent=self._me.name, performative=act, peer=self._peer.name, protocol=""))
        return obstacle

    async def make(self, topic: str) -> None:
        """Make a topic that all may publish to, where there is none and the service lets us.

        Whoever reads it then need not ask again and again whether somebody has published to it.
        """
        with suppress(ConnectionFailed, RequestRefused):
            await self._service.ask("set", pubsub.create(_named(topic), KEPT, is_shared=True))

    async def _reach(self) -> None:
        """Wait for a connection, unless the agent is stopped meanwhile, and find the service."""
        if not self._connection.is_online:
            waits = [self._connection.wait_online(), self._closed.wait()]
            tasks = [asyncio.ensure_future(each) for each in waits]
            try:
                await asyncio.wait(tasks, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in tasks:
                    each.cancel()
        if not self._connection.is_online:
            raise ConnectionFailed("there is no connection to the server")
        await self._service.find()

    async def _put(self, topic: str, request: str, shared: bool) -> Reason | None:
        """Publish, and make the topic for it where there is none; return what stands against it."""
        refusal = await self._say(request)
        if refusal is not None and refusal.condition == "item-not-found":
            obstacle = await self._say(pubsub.create(topic, KEPT, is_shared=shared))
            if obstacle is not None and obstacle.condition != "conflict":
                return pubsub.why(topic, obstacle, _MAY_NOT_MAKE)
            refusal = await self._say(request)  # somebody else may have been quicker to make it
            if refusal is not None and refusal.condition == "item-not-found":
                refusal = obstacle or refusal  # or we have too many
        return None if refusal is None else pubsub.why(topic, refusal, _ANOTHERS)

    async def _say(self, request: str) -> RequestRefused | None:
        try:
            await self._service.ask("set", request)
        except RequestRefused as error:
            return error
        return None

    # -- reading -----------------------------------------------------------------------------

    def read(self, topic: str) -> Reading:
        """Read a topic from now on, or from its beginning where it is not there yet; see `Reading`.

        Raises:
            ValueError: XML cannot carry the name.
        """
        followed = self._followed.get(_named(topic))
        if followed is None or followed.is_over:
            understand = partial(self._understand, topic)
            followed = Followed(topic, self._service, understand, self._farewells, self._rng)
            if not self._closed.is_set():
                self._followed[topic] = followed
                followed.join()
        reading = Reading(topic, followed.asked, self._leave)
        followed.readings.append(reading)
        if self._closed.is_set():
            followed.end(self._stopped(topic))
        return reading

    async def serve(self, readers: Mapping[tuple[str, type[Term]], Reader]) -> None:
        """Have handlers take what is published, until `close`; return once the service has been asked.

        Args:
            readers: the handlers by topic and term. Those of one topic take turns.
        """
        readings = [self.read(topic) for topic in dict.fromkeys(topic for topic, _term in readers)]
        for reading in readings:
            ours = {term: reader for (topic, term), reader in readers.items() if topic == reading.topic}
            self._serving.append(asyncio.get_running_loop().create_task(self._serve(reading, ours)))
        await asyncio.gather(*(reading.begun() for reading in readings))

    def close(self) -> None:
        """End all readings and handlers; who waits to publish is told. Safe to call again."""
        self._closed.set()
        for topic, followed in self._followed.items():
            followed.end(self._stopped(topic))
        for task in self._serving:
            task.cancel()

    async def closed(self) -> None:
        """Return once all work has ended that `close` has ended. To be called while there is a connection."""
        followed, self._followed = self._followed, {}
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_WITHIN):
                await asyncio.gather(*(each.leave() for each in followed.values()), *self._farewells)
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _stopped(self, topic: str) -> Failed:
        return Failed(pubsub.reason(topic, Cause.UNREACHABLE, f"{self._me.local_name} was stopped"))

    async def _serve(self, reading: Reading, readers: Mapping[type[Term], Reader]) -> None:
        while True:
            match await reading.receive():
                case None:
                    return
                case Update() as update:
                    await self._handle(reading.topic, update, readers)
                case ending:
                    text = f"its handler reads no more: {ending.reason.text}"
                    self._hook(HandlerFailed(agent=self._me.name, peer=self._peer.name, text=text))
                    if isinstance(ending, Refused):
                        return
                    reading.close()  # it was too slow; from now on it may manage
                    reading = self.read(reading.topic)

    async def _handle(self, topic: str, update: Update, readers: Mapping[type[Term], Reader]) -> None:
        peer = (update.publisher or self._peer).name
        found = [reader for term, reader in readers.items() if isinstance(update.term, term)]
        for reader in found:
            # Gathered, what the handler waits for may be cancelled, and the reading goes on.
            (error,) = await asyncio.gather(reader(update.term, update.publisher), return_exceptions=True)
            if error is not None:
                self._hook(handler_failed(self._me, peer, error))
        if not found:
            known = ", ".join(sorted(term.tag for term in readers))
            text = f"{update.term.tag} is not read here; {known} is"
            self._misunderstand(topic, peer, Cause.UNSUPPORTED_FUNCTION, text)

    def _leave(self, reading: Reading) -> None:
        followed = self._followed.get(reading.topic)
        if followed is None or reading not in followed.readings or self._closed.is_set():
            return
        followed.readings.remove(reading)
        if not followed.readings:
            del self._followed[reading.topic]
            farewell = asyncio.get_running_loop().create_task(followed.leave())
            self._farewells.add(farewell)
            farewell.add_done_callback(self._farewells.discard)

    def _return(self) -> None:
        for followed in self._followed.values():
            followed.join()

    def _take(self, stanza: Element) -> bool:
        """Take a notification of the service; everything else is for others."""
        if not self._service.jid or stanza.get("from") != self._service.jid:
            return False
        notice = pubsub.told(stanza)
        if notice is None:
            return False
        followed = self._followed.get(notice.topic)
        if followed is not None:
            if notice.is_deleted:
                followed.join()
            for entry in notice.entries:
                followed.take(entry)
        return True

    def _understand(self, topic: str, message: AclMessage | MessageError) -> Update | None:
        """Read a publication under the ontology that it names; None, and a fact, where it does not fit."""
        if isinstance(message, MessageError):
            self._misunderstand(topic, self._peer.name, message.cause, message.text)
            return None
        peer, act = message.sender or self._peer, message.performative
        told = {"performative": act.value, "protocol": message.protocol or "", "peer": peer.name}
        self._hook(MessageReceived(agent=self._me.name, **told))
        if not peer.is_same_agent(self._me):  # else it was shown when we said it
            self._trace(message, peer)
        try:
            if act is not Performative.INFORM:
                raise ContentError(Cause.UNEXPECTED_ACT, f"a publication is an inform, not {act.value}")  # noqa: TRY301
            term = ontology_for(message, self._ontologies).parse(message.content)
        except ContentError as error:
            self._misunderstand(topic, peer.name, error.cause, error.text)
        except Exception as error:  # noqa: BLE001 - a validator is the user's code; the session outlives it
            self._hook(handler_failed(self._me, peer.name, error))
        else:
            return Update(term=term, publisher=message.sender, message=message)
        return None

    def _misunderstand(self, topic: str, peer: str, cause: Cause, text: str) -> None:
        text = f"topic {topic[:80]!r}: {text}"
        self._hook(MessageNotUnderstood(agent=self._me.name, peer=peer, cause=cause, text=text))


def _named(topic: str) -> str:
    if not topic or legible(topic) != topic:
        raise ValueError(f"a topic has a name, of characters that XML can carry; not {topic!r}")
    return topic
