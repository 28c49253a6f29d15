"""`behaviours.conversing` over a connection in memory: deadlines, and what becomes of them in a cancel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from behaviours import conversing, initiating
from behaviours.clocking import LONGEST, after
from behaviours.conversing import Seat
from behaviours.events import OutOfSequence
from behaviours.initiating import cancel, opening
from behaviours.stepping import Heard, Lost, Overdue
from ontology.acl import AclMessage, Performative
from ontology.content import Done, Reason, explain
from ontology.errors import Cause
from protocols.request import REQUEST
from protocols.subscribe import SUBSCRIBE
from tests.behaviours.fakes import PEER, Scene, turns
from tests.behaviours.samples import SUMS, Add, Half, Sum
from tests.conftest import ManualClock, becomes

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.close()


async def agreed(scene: Scene, result_within: float) -> tuple[Seat, AclMessage]:
    """Ask the peer for something that it agrees to, and wait so long for the result."""
    asked = opening(scene.mailroom, Performative.REQUEST, REQUEST, SUMS, Add(), 60)
    seat = scene.mailroom.open(REQUEST, asked, PEER)
    await scene.hear(asked.reply(Performative.AGREE, receiver=(PEER,)))
    seat.await_result(after(scene.mailroom.now(), result_within))
    return seat, asked


async def steps(seat: Seat) -> list[Any]:
    """What has happened, as acts and types."""
    found = []
    while seat.has_steps:
        step = await seat.step()
        found.append(step.message.performative.value if isinstance(step, Heard) else type(step))
    return found


@pytest.mark.parametrize(
    ("seconds", "reckoned"), [(1.5, 1.5), (0, 0), (1e10, LONGEST), (1e300, LONGEST), (-1e300, -LONGEST)]
)
def test_a_deadline_never_overflows(seconds: float, reckoned: float) -> None:
    assert after(NOW, seconds) == NOW + timedelta(seconds=reckoned)


@pytest.mark.parametrize("seconds", [float("inf"), float("-inf"), float("nan")])
def test_a_deadline_needs_a_number(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"^a deadline needs a number of seconds, not {seconds}$"):
        after(NOW, seconds)


async def test_whoever_drives_is_told_that_no_result_has_come_and_the_conversation_goes_on(
    scene: Scene,
) -> None:
    seat, _asked = await agreed(scene, 0.01)
    await becomes(lambda: len(seat._steps) == 2)
    assert await steps(seat) == ["agree", Overdue]
    assert seat.conversation.state == "S2"


async def test_a_cancel_that_is_never_answered_ends_by_itself(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initiating, "CANCEL_WITHIN", 0.01)
    seat, asked = await agreed(scene, 60)
    cancel(scene.mailroom, seat, asked)
    await becomes(lambda: seat.is_over)
    assert seat.conversation.state == "EXPIRED"
    assert not scene.mailroom._tasks


async def test_a_conversation_whose_cancel_has_failed_ends_at_the_deadline_that_it_had(scene: Scene) -> None:
    seat, asked = await agreed(scene, 0.05)
    cancel(scene.mailroom, seat, asked)
    await turns()
    asked_to_stop = scene.transport.said()[-1]
    await scene.hear(asked_to_stop.reply(Performative.FAILURE, content=explain("no", "no"), receiver=(PEER,)))
    assert seat.conversation.state == "S2"
    await becomes(lambda: seat.is_over)
    assert seat.conversation.state == "EXPIRED"


async def test_a_clock_that_is_set_back_prolongs_no_deadline() -> None:
    clock = ManualClock(NOW)
    scene = Scene(clock=clock)
    seat = scene.mailroom.open(
        REQUEST, opening(scene.mailroom, Performative.REQUEST, REQUEST, SUMS, Add(), 0.05), PEER
    )
    clock.advance(-600)
    await becomes(lambda: seat.is_over)
    assert seat.conversation.state == "EXPIRED"
    assert isinstance(await seat.step(), Overdue)
    await scene.close()


@pytest.fixture
async def subscribed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> tuple[Seat, AclMessage]:
    """Somebody who reads nothing of what it has subscribed to, and has room for three things."""
    monkeypatch.setattr(conversing, "WAITING", 3)
    asked = opening(scene.mailroom, Performative.SUBSCRIBE, SUBSCRIBE, SUMS, Add(), 60)
    return scene.mailroom.open(SUBSCRIBE, asked, PEER), asked


async def notify(scene: Scene, asked: AclMessage, *values: float) -> list[AclMessage]:
    """Have the peer tell so many sums; return what is said to that."""
    told = [asked.reply(Performative.INFORM, content=SUMS.render(Sum(value=each))) for each in values]
    return [answer for each in told for answer in await scene.hear(each.model_copy(update={"receiver": ()}))]


async def test_a_peer_that_tells_more_than_is_read_is_told_to_stop_and_the_rest_is_dropped(
    scene: Scene, subscribed: tuple[Seat, AclMessage]
) -> None:
    seat, asked = subscribed
    assert await notify(scene, asked, 1, 2, 3) == []
    (stop,) = await notify(scene, asked, 4, 5, 6)
    assert (stop.performative, stop.conversation_id) == (Performative.CANCEL, asked.conversation_id)
    assert not seat.is_over
    await scene.hear(stop.reply(Performative.INFORM, content=SUMS.render(Done()), receiver=(PEER,)))
    assert seat.conversation.state == "CANCELLED"
    heard = [await seat.step() for _each in range(3)]
    assert [SUMS.parse(each.message.content) for each in heard if isinstance(each, Heard)] == [
        Sum(value=number) for number in (1, 2, 3)
    ]
    lost = await seat.step()
    assert lost == Lost(
        Reason(
            cause=Cause.OVERLOADED,
            text="more than 3 messages of peer@here wait to be read; read faster, and begin again",
            about="peer@here",
        )
    )
    assert not seat.has_steps
    assert not [fact for fact in scene.facts if isinstance(fact, OutOfSequence)]


async def test_notices_that_nobody_reads_are_too_much_as_well(
    scene: Scene, subscribed: tuple[Seat, AclMessage]
) -> None:
    seat, _asked = subscribed
    for number in range(10):
        seat.tell(Half(done=number), AclMessage(performative=Performative.INFORM))
    assert len(seat._steps) == 4
    await turns()
    assert [each.performative.value for each in scene.transport.said()] == ["subscribe", "cancel"]


async def test_last_words_are_heard_however_much_waits(
    scene: Scene, subscribed: tuple[Seat, AclMessage]
) -> None:
    seat, asked = subscribed
    await notify(scene, asked, 1, 2, 3)
    assert await scene.hear(asked.reply(Performative.FAILURE, content="the end", receiver=(PEER,))) == []
    assert seat.conversation.state == "FAILED"
    assert await steps(seat) == ["inform", "inform", "inform", "failure"]


async def test_a_peer_that_tells_too_much_and_does_not_stop_is_given_up(
    scene: Scene, subscribed: tuple[Seat, AclMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversing, "CANCEL_WITHIN", 0.01)
    seat, asked = subscribed
    await notify(scene, asked, 1, 2, 3, 4)
    seat.await_result(None)  # as a reader does that looks at what waits
    await becomes(lambda: seat.is_over)
    assert seat.conversation.state == "EXPIRED"
    assert len(seat._steps) == 4
