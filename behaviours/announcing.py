"""Announcements to a task group: said once to the server by one member, and heard by all others.

What is announced is an ACL inform of `ontology.interaction.Announcement`. It is published to the group's
topic (`topics`), where the XMPP server has publish-subscribe, and else sent to each member. Whichever way it
comes, an announcement is handed out once: it has an id. Only what a member says is believed, and what a
leader says names its term (`fencing`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from behaviours.authorising import Authority
from behaviours.bouncing import failure_of
from behaviours.delivery import Delivered, DeliveryResult, Undelivered
from behaviours.events import Fact, HandlerFailed, MessageDisbelieved, MessageNotUnderstood
from behaviours.fencing import GROUP, Office
from behaviours.handlers import Handlers, Reader
from behaviours.mailroom import Mailroom
from behaviours.mustering import Muster
from behaviours.outcomes import Failed, Refused
from behaviours.readings import Update
from behaviours.stumbling import handler_failed
from behaviours.topics import Topics
from behaviours.understanding import nest, unnest
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE, Ontology, Predicate, Reason, Term
from ontology.errors import Cause, ContentError
from ontology.interaction import INTERACTION, Announcement

WAITING = 10_000
"""Announcements to one group that may wait to be handed out; of more, the newest are dropped."""

REMEMBERED = 1_000
"""Announcements of a group of which a second copy is known."""

ASKED_AGAIN = 5.0
"""Seconds in which the directory is not asked again after somebody who is no member."""

AT_ONCE = 50
"""Members that are told at once where the server has no publish-subscribe."""


class Host(Protocol):
    """What announcing has of its agent."""

    me: AgentIdentifier
    authority: Authority
    mailroom: Mailroom
    topics: Topics

    @property
    def is_connected(self) -> bool:
        """Whether a session stands."""

    @property
    def understood(self) -> tuple[Ontology, ...]:
        """The ontologies."""

    def emit(self, fact: Fact) -> None:
        """Tell the hook."""

    def submit(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine until it ends or the agent stops."""


@dataclass(frozen=True, kw_only=True)
class _Heard:
    announcement: Announcement
    announcer: AgentIdentifier
    message: AclMessage | None
    """As it was published; None where it has come to us alone, and the mailroom has looked at it."""
    is_of_member: bool
    """Whether its announcer was a member as it came, as far as we knew."""


class _Inbox:
    """What has been announced to one group, and waits."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[_Heard] = asyncio.Queue(WAITING)
        self.seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.tasks: list[asyncio.Task[None]] = []
        self.has_asked = asyncio.Event()


class Announcing:
    """The announcements of one agent, and those that it hears.

    Args:
        host: the agent.
        muster: knows who is in its groups.
    """

    def __init__(self, host: Host, muster: Muster) -> None:
        self._host, self._muster = host, muster
        self._inboxes: dict[str, _Inbox] = {}
        self._returned = asyncio.Event()
        self._strangers: OrderedDict[str, float] = OrderedDict()
        """Who was no member when the directory was asked, and when that was; oldest first."""

    async def join(self, group: str) -> None:
        """Hear what is announced to a group from now on, if there is a handler for any of it."""
        if group in self._inboxes or not self._readers(group):
            return
        inbox = self._inboxes[group] = _Inbox()
        inbox.tasks.append(self._host.submit(self._hand_out(group, inbox)))
        if self._host.authority.policy.wants_signatures:
            return  # what is published is for nobody in particular, and nobody can sign it
        inbox.tasks.append(self._host.submit(self._read(group, inbox)))
        await inbox.has_asked.wait()

    def leave(self, group: str) -> None:
        """Hear nothing of a group any more."""
        inbox = self._inboxes.pop(group, None)
        for task in () if inbox is None else inbox.tasks:
            task.cancel()

    def returned(self) -> None:
        """A new session stands: a server that had no publish-subscribe may have it now."""
        before, self._returned = self._returned, asyncio.Event()
        before.set()

    async def announce(self, group: str, predicate: Predicate, office: Office | None) -> DeliveryResult:
        """Tell all members; see `behaviours.grouping.Group.announce`."""
        host = self._host
        term = Announcement(group=group, id=uuid.uuid4().hex, content=nest(predicate, host.understood))
        message = AclMessage(
            performative=Performative.INFORM,
            sender=host.me,
            content=INTERACTION.render(term),
            language=LANGUAGE,
            ontology=INTERACTION.label,
        )
        message = message if office is None else office.stamped(message)
        if not host.authority.policy.wants_signatures:
            obstacle = await host.topics.offer(topic_of(group), message, shared=True)
            if obstacle is None:
                return Delivered()
            if not host.is_connected:
                return Undelivered(obstacle, failure_of(message, host.me, obstacle))
        return await self._tell_each(group, message)

    def heard(self, announcement: Announcement, announcer: AgentIdentifier) -> None:
        """Take an announcement that was sent to us alone."""
        self._put(announcement, announcer, None)

    def _put(
        self, announcement: Announcement, announcer: AgentIdentifier, message: AclMessage | None
    ) -> None:
        group, name = announcement.group, announcer.name
        inbox = self._inboxes.get(group)
        if inbox is None or name == self._host.me.name or (name, announcement.id) in inbox.seen:
            return
        inbox.seen[name, announcement.id] = None
        if len(inbox.seen) > REMEMBERED:
            inbox.seen.popitem(last=False)
        is_of_member = self._muster.is_entered(group, name)
        try:
            inbox.waiting.put_nowait(
                _Heard(
                    announcement=announcement,
                    announcer=announcer,
                    message=message,
                    is_of_member=is_of_member,
                )
            )
        except asyncio.QueueFull:
            text = f"more than {WAITING:,} announcements to {group} wait; this one is dropped"
            self._host.emit(HandlerFailed(agent=self._host.me.name, peer=name, text=text))

    async def _read(self, group: str, inbox: _Inbox) -> None:
        """Read the group's topic, and anew whenever there may be another outcome."""
        topic = topic_of(group)
        while True:
            returned = self._returned
            await self._host.topics.make(topic)
            async with self._host.topics.read(topic) as reading:
                inbox.has_asked.set()
                while isinstance(ending := await reading.receive(), Update):
                    self._published(group, ending)
            if isinstance(ending, Refused):
                await returned.wait()
            elif not isinstance(ending, Failed):
                return

    def _published(self, group: str, update: Update) -> None:
        term, publisher = update.term, update.publisher
        if not isinstance(term, Announcement) or term.group != group:
            self._disbelieve(group, publisher, f"what stands there is no announcement to {group}")
        elif publisher is None:
            text = (
                "the PubSub service does not name the publisher; of Prosody's it is expose_publisher = true"
            )
            self._disbelieve(group, None, text)
        else:
            self._put(term, publisher, update.message)

    async def _hand_out(self, group: str, inbox: _Inbox) -> None:
        while True:
            heard = await inbox.waiting.get()
            objection = self._forbidden(group, heard)
            if objection is None and not await self._is_of_member(group, heard):
                objection = f"{heard.announcer} is not in {group}, as the directory has it"
            elif objection is None and heard.message is not None:
                objection = self._host.authority.fence.objection(heard.message)
            if objection is not None:
                self._disbelieve(group, heard.announcer, objection)
            else:
                await self._handle(group, heard)

    def _forbidden(self, group: str, heard: _Heard) -> str | None:
        """Why that may not be announced, whoever is a member; what has come to us alone was looked at."""
        if heard.message is None:
            return None
        if heard.message.user_parameters.get(GROUP, group) != group:
            return "it is said in the office of another group"
        return self._host.authority.forbids(heard.message, heard.announcer, None)

    async def _is_of_member(self, group: str, heard: _Heard) -> bool:
        name, now = heard.announcer.name, asyncio.get_running_loop().time()
        is_known = heard.is_of_member or self._muster.is_entered(group, name)
        if is_known or now < self._strangers.get(name, -ASKED_AGAIN) + ASKED_AGAIN:
            return is_known
        await self._muster.look_for(name)  # it may have come just now
        is_known = self._muster.is_entered(group, name)
        if not is_known:
            self._strangers[name] = now
            self._strangers.move_to_end(name)
            if len(self._strangers) > REMEMBERED:
                self._strangers.popitem(last=False)
        return is_known

    async def _handle(self, group: str, heard: _Heard) -> None:
        host, name = self._host, heard.announcer.name
        try:
            term, _ontology = unnest(heard.announcement.content, host.understood)
        except ContentError as wrong:
            self._misunderstand(group, name, wrong.cause, wrong.text)
            return
        readers = self._readers(group)
        found = [reader for kind, reader in readers.items() if isinstance(term, kind)]
        for reader in found:
            # Gathered, what the handler waits for may be cancelled, and the next announcement is heard.
            (error,) = await asyncio.gather(reader(term, heard.announcer), return_exceptions=True)
            if error is not None:
                host.emit(handler_failed(host.me, name, error))
        if not found:
            known = ", ".join(sorted(kind.tag for kind in readers))
            text = f"{term.tag} is not heard here; {known} is"
            self._misunderstand(group, name, Cause.UNSUPPORTED_FUNCTION, text)

    async def _tell_each(self, group: str, message: AclMessage) -> DeliveryResult:
        """Send it to each member that is there."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def tell(member: AgentIdentifier) -> DeliveryResult:
            async with gate:
                return await self._host.mailroom.send(message.model_copy(update={"receiver": (member,)}))

        others = [each for each in self._muster.members(group) if each.name != self._host.me.name]
        results = await asyncio.gather(*map(tell, others))
        lost = [each for each in results if isinstance(each, Undelivered)]
        if not lost:
            is_acknowledged = all(isinstance(each, Delivered) and each.is_acknowledged for each in results)
            return Delivered(is_acknowledged=is_acknowledged)
        text = (
            f"{len(lost)} of the {len(others)} other members of {group} were not told: {lost[0].reason.text}"
        )
        reason = Reason(cause=lost[0].reason.cause, text=text, about=group)
        return Undelivered(reason, failure_of(message, self._host.me, reason))

    def _readers(self, group: str) -> Mapping[type[Term], Reader]:
        return {term: reader for (name, term), reader in self._handlers.announced.items() if name == group}

    @cached_property
    def _handlers(self) -> Handlers:
        return Handlers.of(self._host)

    def _misunderstand(self, group: str, peer: str, cause: Cause, text: str) -> None:
        told = f"announced to {group}: {text}"
        self._host.emit(MessageNotUnderstood(agent=self._host.me.name, peer=peer, cause=cause, text=told))

    def _disbelieve(self, group: str, peer: AgentIdentifier | None, text: str) -> None:
        self._host.emit(
            MessageDisbelieved(
                agent=self._host.me.name,
                performative=Performative.INFORM.value,
                peer="" if peer is None else peer.name,
                cause=Cause.UNAUTHORISED,
                text=f"announced to {group}: {text}",
            )
        )


def topic_of(group: str) -> str:
    """The topic that a group's announcements are published to."""
    return f"group/{group}"
