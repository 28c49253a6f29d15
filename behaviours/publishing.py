"""Both sides of fipa-subscribe: notifications until somebody has had enough (FIPA00035)."""

from __future__ import annotations

import asyncio

from behaviours.conversing import Seat
from behaviours.delivery import CONFIRM_WITHIN
from behaviours.events import HandlerFailed
from behaviours.initiating import (
    REPLY_WITHIN,
    Hub,
    cancel,
    opening,
    outcome_of,
)
from behaviours.outcomes import Ending, Fail, Refuse
from behaviours.participating import Job, Participation, broken, decline, patience, until_cancelled
from behaviours.stepping import Heard, Lost, Overdue, Room, Told
from ontology.acl import Performative
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, Term
from ontology.errors import ContentError
from protocols.subscribe import SUBSCRIBE

UNCONFIRMED = 100
"""Notifications in a row, after which the server is to have taken them before there are more."""


async def serve_subscription(job: Job) -> None:
    """Notify a subscriber of everything that the publisher yields, in order."""
    seat, task = job.seat, job.participation()
    agreeing = asyncio.get_running_loop().call_later(patience(job.room, seat), task.agree)
    try:
        await until_cancelled(seat, _publish(job, task))
    finally:
        agreeing.cancel()


async def _publish(job: Job, task: Participation) -> None:
    """Send what the publisher yields; when it has no more, the subscription fails, as FIPA has no end."""
    try:
        ending = await _notify(job, task)
    except Exception as error:  # noqa: BLE001 - a handler is the user's code; the agent outlives it
        ending = broken(job.room, job.seat, job.term, error)
    if job.seat.is_over or job.seat.cancel is not None:
        return
    is_unwilling = isinstance(ending, Refuse) and job.seat.may_say(Performative.REFUSE)
    act = Performative.REFUSE if is_unwilling else Performative.FAILURE
    decline(job.room, job.seat, job.opening, act, ending)


async def _notify(job: Job, task: Participation) -> Refuse | Fail:
    """Send the notifications; return why there are no more."""
    seat = job.seat
    publisher, count = job.handlers.publishes[type(job.term)](job.term, task), 0
    try:
        async for term in publisher:
            if seat.is_over or seat.cancel is not None:
                break  # the publisher has not let itself be stopped
            if isinstance(term, Refuse | Fail):
                return term
            if not isinstance(term, Term):
                raise TypeError(f"the publisher yielded {type(term).__name__}, not a term, Refuse or Fail")
            content = job.ontology.render(term)
            task.agree()
            seat.say(job.opening.reply(Performative.INFORM, content=content))
            count += 1
            await _keep_pace(job.room, count)
    finally:
        close = getattr(publisher, "aclose", None)
        if close is not None:
            await close()
    return Fail("ended", f"{job.room.me.local_name} has no more notifications")


async def _keep_pace(room: Room, count: int) -> None:
    """Let a publisher that never waits go no faster than the server takes it, and a cancel be heard."""
    if count % UNCONFIRMED:
        await asyncio.sleep(0)
    else:
        await room.transport.wait_online()
        await room.transport.confirm(CONFIRM_WITHIN)


class Subscription:
    """A subscription as its initiator sees it: an async iterator of notifications.

    ::

        async with agent.subscribe(to, query) as updates:
            async for update in updates:
                match update:
                    case Temperature(): ...
                    case ending: print(sentence(ending))

    The last item is the `Ending`, unless we leave first: leaving the block cancels the subscription. If more
    than `conversing.WAITING` notifications wait to be read it is cancelled as well, and the ending behind
    them is `Failed` with the cause `overloaded`.
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
            step = await seat.step()
            if self._has_ended:  # it was closed while we waited
                break
            match step:
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
                case Heard() | Lost() | Overdue():
                    self._has_ended = True
                    return outcome_of(self._hub, seat, step)
        raise StopAsyncIteration

    def close(self) -> None:
        """Cancel the subscription; the answer comes in the background. Safe to call again.

        Whoever waits for the next notification meanwhile gets no more: its iteration ends.
        """
        self._has_ended = True
        if self._seat is not None:
            cancel(self._hub, self._seat, self._message)

    def _start(self) -> Seat:
        if self._seat is None:
            self._seat = self._hub.open(
                SUBSCRIBE, self._message.model_copy(update={"receiver": (self._to,)}), self._to
            )
        return self._seat
