"""Both sides of fipa-subscribe: notifications until somebody has had enough (FIPA00035)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from behaviours.conversing import Heard, Lost, Overdue, Seat, Told
from behaviours.events import HandlerFailed
from behaviours.initiating import REPLY_WITHIN, Hub, cancel, opening, outcome_of
from behaviours.outcomes import Ending, Fail, Refuse
from behaviours.participating import Job, broken, confirm_cancel
from ontology.acl import Performative
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, Term, explain
from ontology.errors import ContentError
from protocols.subscribe import SUBSCRIBE


async def serve_subscription(job: Job) -> None:
    """Notify a subscriber of everything that the publisher yields, in order."""
    seat, task = job.seat, job.participation()
    task.agree()
    publisher = job.handlers.publishes[type(job.term)](job.term, task)
    publishing = asyncio.ensure_future(_publish(job, publisher))
    listening = asyncio.ensure_future(_cancelled(seat))
    try:
        await asyncio.wait({publishing, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in (publishing, listening):
            each.cancel()
        await asyncio.gather(publishing, listening, return_exceptions=True)
        await publisher.aclose()  # type: ignore[attr-defined]
    if seat.cancel is not None:
        confirm_cancel(seat, seat.cancel)


async def _publish(job: Job, publisher: AsyncIterator[Any]) -> None:
    """Send what the publisher yields; when it has no more, the subscription fails, as FIPA has no end."""
    seat, told = job.seat, Fail("ended", f"{job.room.me.local_name} has no more notifications")
    try:
        async for term in publisher:
            if seat.is_over:
                return
            if isinstance(term, Refuse | Fail):
                told = Fail(term.cause, term.text, term.about)
                break
            if seat.may_say(Performative.INFORM):
                seat.say(job.opening.reply(Performative.INFORM, content=job.ontology.render(term)))
    except Exception as error:  # noqa: BLE001 - a handler is the user's code; the agent outlives it
        told = broken(job.room, seat, job.term, error)
    if seat.may_say(Performative.FAILURE):
        content = explain(told.cause, told.text, told.about)
        seat.say(job.opening.reply(Performative.FAILURE, content=content))


async def _cancelled(seat: Seat) -> None:
    while not seat.is_over and seat.cancel is None:
        await seat.step()


class Subscription:
    """A subscription as its initiator sees it: an async iterator of notifications.

    ::

        async with agent.subscribe(to, query) as updates:
            async for update in updates:
                match update:
                    case Temperature(): ...
                    case ending: print(sentence(ending))

    The last item is the `Ending`, unless we leave first: leaving the block cancels the subscription.
    """

    def __init__(
        self,
        hub: Hub,
        to: AgentIdentifier,
        ontology: Ontology,
        query: Term,
        reply_within: float = REPLY_WITHIN,
    ) -> None:
        self._hub, self._to, self._ontology, self._query = hub, to, ontology, query
        self._reply_within = reply_within
        self._seat: Seat | None = None
        self._message = opening(hub, Performative.SUBSCRIBE, SUBSCRIBE, ontology, query, reply_within)
        self._has_ended = False

    async def __aenter__(self) -> Subscription:
        self._start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.close()

    def __aiter__(self) -> Subscription:
        self._start()
        return self

    async def __anext__(self) -> Term | Ending:
        seat = self._start()
        while not self._has_ended:
            match await seat.step():
                case Heard(message) if message.performative is Performative.INFORM:
                    seat.await_result(None)  # it is alive; look that it stays so
                    try:
                        return self._hub.ontology_of(message).parse(message.content)
                    except ContentError as error:
                        text = f"a notification that cannot be read: {error.text}"
                        self._hub.emit(HandlerFailed(agent=self._hub.me.name, peer=seat.peer.name, text=text))
                case Heard(message) if message.performative is Performative.AGREE:
                    seat.await_result(None)
                case Told():
                    continue
                case Heard() | Lost() | Overdue() as step:
                    self._has_ended = True
                    return outcome_of(self._hub, seat, step)
        raise StopAsyncIteration

    def close(self) -> None:
        """Cancel the subscription; the answer comes in the background. Safe to call again."""
        self._has_ended = True
        if self._seat is not None:
            cancel(self._hub, self._seat, self._message)

    def _start(self) -> Seat:
        if self._seat is None:
            self._seat = self._hub.open(
                SUBSCRIBE, self._message.model_copy(update={"receiver": (self._to,)}), self._to
            )
        return self._seat
