"""Topics with many readers: a publish-subscribe fan-out by the XMPP server's own PubSub (XEP-0060).

One publication costs the publisher one request, however many read it. Who publishes first to a topic makes
it, and is then the only one who may; everybody may read. What is published is an ACL `inform`; a reader gets
its content, in the order of publishing.

There is no receipt as for a message between two agents. A reader gets what is published while it is
connected. When it comes back, it catches up on what the topic still holds (`KEPT`), and never learns of more
that it has missed. A reader may come before the topic: then it waits, and gets it from its beginning.
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Protocol

from behaviours import pubsub
from behaviours.connection import ConnectionFailed, RequestRefused
from behaviours.pubsub import Entry
from behaviours.readings import Followed, Reading, TopicError
from behaviours.wire import Element, legible
from ontology.acl import AclMessage, Performative
from ontology.codecs import to_json
from ontology.content import LANGUAGE
from resilience.backoff import delay

_log = logging.getLogger(__name__)

KEPT = 20
"""Publications that a topic of ours holds for readers that come back."""

ANSWER_WITHIN = 15.0
"""Seconds in which the service must answer."""

RETRY_FIRST, RETRY_MOST = 0.5, 5.0
"""Pauses in seconds while a topic that is read is not there."""

SERVICES = 20
"""Services of a server that are asked what they are."""

FAREWELL_WITHIN = 2.0
"""Seconds for all subscriptions to be taken back when the agent stops; the session's end does it as well."""

_MAY_NOT = (
    "the XMPP server does not let this account make topics; of Prosody's pubsub component it is "
    "add_permissions (from 13 on) or admins that allow it"
)

_FOR_GOOD = frozenset(
    {"bad-request", "feature-not-implemented", "forbidden", "not-allowed", "not-authorized"}
)
"""Refusals that waiting does not change."""


class Line(Protocol):
    """What topics need of a connection; see `behaviours.connection.XmppConnection`."""

    @property
    def is_online(self) -> bool:
        """Whether a session stands."""

    @property
    def full_jid(self) -> str:
        """The session's full JID."""

    async def ask(self, kind: Literal["get", "set"], to: str, payload: str, timeout: float) -> Element:
        """Send a request and return the answer."""

    def watch(self, on_message: Callable[[Element], bool], on_online: Callable[[], None]) -> None:
        """Offer message stanzas, and tell of sessions."""


class Topics:
    """An agent's topics: those that it publishes to, and those that it reads.

    Args:
        connection: the agent's; topics are subscribed to with its full JID, and anew with each session.
        rng: source of jitter.
    """

    def __init__(self, connection: Line, *, rng: Callable[[], float] = random.random) -> None:
        self._connection = connection
        self._rng = rng
        self._service: str | None = None
        self._followed: dict[str, Followed] = {}
        connection.watch(self._take, self._return)

    async def publish(self, topic: str, content: str, *, ontology: str | None = None) -> None:
        """Publish a content; who reads the topic gets it as an inform. The first one makes the topic.

        Publications arrive in the order in which this has returned.

        Raises:
            TopicError: it was refused; or, where the connection broke, nobody knows whether it was published.
        """
        message = AclMessage(
            performative=Performative.INFORM, content=content, ontology=ontology, language=LANGUAGE
        )
        acl = to_json(message)
        if legible(acl) != acl or legible(topic) != topic:
            raise TopicError(topic, "it holds a character that XML cannot carry; escape it in the content")
        request = pubsub.publish(topic, uuid.uuid4().hex, acl)
        try:
            try:
                await self._ask("set", request)
            except RequestRefused as error:
                if error.condition != "item-not-found":
                    raise
                obstacle = await self._create(topic)
                try:
                    await self._ask("set", request)
                except RequestRefused as again:
                    raise (obstacle or again) if again.condition == "item-not-found" else again from None
        except RequestRefused as error:
            raise TopicError(topic, _why(error)) from error
        except ConnectionFailed as error:
            raise TopicError(topic, f"nobody knows whether it was published: {error}") from error

    async def subscribe(self, topic: str) -> Reading:
        """Read a topic from now on, or from its beginning where it is not there yet.

        Raises:
            TopicError: the service refused, or there is no connection.
        """
        reading = Reading(topic)
        followed = self._followed.get(topic)
        if followed is not None:
            followed.readings.append(reading)
            return reading
        followed = self._followed[topic] = Followed(topic, [reading])
        is_kept = False
        try:
            if await self._subscribe(followed):
                followed.begin(await self._held(topic, most=1))
            else:
                self._join(followed)
            is_kept = True
        except (RequestRefused, ConnectionFailed) as error:
            raise TopicError(topic, _why(error)) from error
        finally:
            if not is_kept:
                self._drop(followed)
        return reading

    async def unsubscribe(self, topic: str) -> None:
        """Read a topic no longer: its iterators end once they have given what waits. Safe to call again.

        Raises:
            TopicError: the service refused; the iterators have ended nevertheless.
        """
        followed = self._followed.get(topic)
        if followed is None:
            return
        self._drop(followed)
        try:
            if followed.jid and self._connection.is_online:
                await self._ask("set", pubsub.unsubscribe(topic, followed.jid))
        except RequestRefused as error:
            if error.condition not in {"unexpected-request", "item-not-found"}:  # it has ended by itself
                raise TopicError(topic, _why(error)) from error
        except ConnectionFailed as error:
            _log.debug(
                "topic %r: the subscription of %s ends with its session: %s", topic, followed.jid, error
            )

    async def close(self) -> None:
        """End everything; safe to call again. To be called before the connection is closed."""
        tasks = [each.joining for each in self._followed.values() if each.joining is not None]
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_WITHIN):
                await asyncio.gather(*map(self.unsubscribe, list(self._followed)), return_exceptions=True)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _drop(self, followed: Followed) -> None:
        if self._followed.get(followed.name) is followed:
            del self._followed[followed.name]
        if followed.joining is not None:
            followed.joining.cancel()
        followed.end()

    async def _create(self, topic: str) -> RequestRefused | None:
        """Make a topic; return what stands against it where that may be the topic itself."""
        try:
            await self._ask("set", pubsub.create(topic, KEPT))
        except RequestRefused as error:
            if error.condition in {"forbidden", "not-allowed"}:
                raise TopicError(topic, _MAY_NOT) from error
            if error.condition != "conflict":  # somebody was quicker, or we have too many
                raise
            return error
        return None

    async def _subscribe(self, followed: Followed) -> bool:
        """Subscribe the session that stands; False if there is no such topic."""
        jid = self._connection.full_jid
        try:
            if followed.jid and followed.jid != jid:
                # Some services keep the subscription of a session that has ended.
                await self._ask("set", pubsub.unsubscribe(followed.name, followed.jid))
        except RequestRefused as error:
            _log.debug("topic %r: %s is not subscribed any longer: %s", followed.name, followed.jid, error)
        try:
            await self._ask("set", pubsub.subscribe(followed.name, jid))
        except RequestRefused as error:
            if error.condition != "item-not-found":
                raise
            followed.is_new = True
            return False
        followed.jid = jid
        return True

    async def _held(self, topic: str, most: int | None = None) -> list[Entry]:
        """What the service still holds of a topic, oldest first."""
        try:
            return pubsub.retrieved(await self._ask("get", pubsub.retrieve(topic, most)))
        except RequestRefused as error:
            _log.debug("topic %r: it cannot be read back: %s", topic, error)
            return []

    def _return(self) -> None:
        for followed in self._followed.values():
            self._join(followed)

    def _join(self, followed: Followed) -> None:
        if followed.joining is not None:
            followed.joining.cancel()
        followed.hold()
        followed.joining = asyncio.get_running_loop().create_task(self._rejoin(followed))

    async def _rejoin(self, followed: Followed) -> None:
        """Subscribe again, as long as it takes, and catch up."""
        attempt = 1
        while self._connection.is_online:  # else the next session begins anew
            try:
                if await self._subscribe(followed):
                    followed.catch_up(await self._held(followed.name))
                    return
            except ConnectionFailed as error:
                _log.debug("topic %r: %s", followed.name, error)
            except RequestRefused as error:
                if error.condition in _FOR_GOOD:
                    self._followed.pop(followed.name, None)
                    followed.end(TopicError(followed.name, _why(error)))
                    return
            await asyncio.sleep(delay(attempt, self._rng, first=RETRY_FIRST, most=RETRY_MOST))
            attempt += 1

    def _take(self, stanza: Element) -> bool:
        """Take a notification of the service; everything else is for others."""
        if self._service is None or stanza.get("from") != self._service:
            return False
        notice = pubsub.told(stanza)
        if notice is None:
            return False
        followed = self._followed.get(notice.topic)
        if followed is not None:
            if notice.is_deleted:
                followed.is_new = True
                self._join(followed)
            for entry in notice.entries:
                followed.take(entry)
        return True

    async def _ask(self, kind: Literal["get", "set"], payload: str) -> Element:
        service = self._service or await self._find()
        return await self._connection.ask(kind, service, payload, ANSWER_WITHIN)

    async def _find(self) -> str:
        """Find the service: what the server lists, or else the usual name."""
        domain = self._connection.full_jid.partition("/")[0].rpartition("@")[2]
        found = f"pubsub.{domain}"
        try:
            listed = pubsub.services(await self._connection.ask("get", domain, pubsub.FIND, ANSWER_WITHIN))
        except RequestRefused:
            listed = []
        for jid in listed[:SERVICES]:
            try:
                if pubsub.is_pubsub(await self._connection.ask("get", jid, pubsub.DESCRIBE, ANSWER_WITHIN)):
                    found = jid
                    break
            except RequestRefused:
                continue
        self._service = found
        return found


def _why(error: RequestRefused | ConnectionFailed) -> str:
    match error:
        case RequestRefused(condition="forbidden"):
            return "only the agent that has made it may publish to it"
        case RequestRefused(condition="service-unavailable" | "remote-server-not-found"):
            return "the XMPP server has no PubSub service; embedded and Prosody servers can have one"
        case RequestRefused():
            return f"the XMPP server refuses: {error}"
    return str(error)
