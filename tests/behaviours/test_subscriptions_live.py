"""fipa-subscribe between agents on real sockets: what is told comes in order, and both sides can end it."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from behaviours import conversing, initiating, participating, publishing
from behaviours.events import ConversationEnded, HandlerFailed, MessageReceived, MessageSent, OutOfSequence
from behaviours.handlers import publishes
from behaviours.outcomes import Expired, Fail, Failed, NotUnderstood, Refuse, Refused
from behaviours.participating import Participation
from behaviours.publishing import Subscription
from ontology.acl import AclMessage, Performative
from ontology.content import Done, Term
from ontology.errors import Cause
from tests.behaviours.houses import (
    HOUSE,
    Foreign,
    House,
    Temperature,
    Temperatures,
    all_over,
    ended,
    look_often,
    opens,
    why,
)
from tests.behaviours.puppets import Puppet
from tests.conftest import World, becomes

READER, METER = "reader@localhost", "meter@localhost"

Publisher = Callable[[Temperatures, Participation], AsyncIterator[Any]]


def telling(*items: Any, waits: bool = True) -> Publisher:
    """A publisher that yields these (an exception is raised), and then waits or ends."""

    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        for each in items:
            if isinstance(each, BaseException):
                raise each
            yield each
        if waits:
            await asyncio.Event().wait()

    return publish


def degrees(count: int) -> list[Temperature]:
    """So many notifications, all different."""
    return [Temperature(celsius=number) for number in range(count)]


async def pair(world: World, publish: Publisher) -> tuple[House, House]:
    """Start a reader and a meter."""
    meter = await world.start(functools.partial(House, publish=publish), "meter")
    return await world.start(House, "reader"), meter


async def take(updates: Subscription, count: int) -> list[Any]:
    """Read so many."""
    return [await anext(updates) for _each in range(count)]


async def closed(world: World, meter: House, *agents: House) -> None:
    """Nothing goes on at either end."""
    await asyncio.wait_for(meter.closed.wait(), 5)
    await all_over(world, meter, *agents)
    await becomes(lambda: not meter.mailroom._tasks)


async def test_two_hundred_notifications_come_in_order(world: World) -> None:
    reader, meter = await pair(world, telling(*degrees(200)))
    async with reader.subscribe(METER, Temperatures()) as updates:
        assert await take(updates, 200) == degrees(200)
    await ended(world, "meter", "CANCELLED")
    await ended(world, "reader", "CANCELLED")
    assert len(world.of(MessageSent, agent=METER, performative="agree")) == 1
    await closed(world, meter, reader)


async def test_ten_subscribers_get_all_of_it_each(world: World) -> None:
    reader, meter = await pair(world, telling(*degrees(20)))

    async def read() -> list[Any]:
        async with reader.subscribe(METER, Temperatures()) as updates:
            return await take(updates, 20)

    assert await asyncio.gather(*(read() for _each in range(10))) == [degrees(20)] * 10
    await closed(world, meter, reader)


async def test_a_publisher_that_never_waits_can_be_cancelled(world: World) -> None:
    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        for number in itertools.count():
            yield Temperature(celsius=number)

    reader, meter = await pair(world, publish)
    async with reader.subscribe(METER, Temperatures()) as updates:
        assert await take(updates, 3) == degrees(3)
    await closed(world, meter, reader)


async def test_a_reader_that_is_too_slow_is_told_so_and_the_publisher_stops(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversing, "WAITING", 20)

    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        for number in itertools.count():
            yield Temperature(celsius=number)

    reader, meter = await pair(world, publish)
    async with reader.subscribe(METER, Temperatures()) as updates:
        await ended(world, "meter", "CANCELLED")
        await ended(world, "reader", "CANCELLED")
        *told, ending = [each async for each in updates]
    assert told == degrees(len(told))
    assert len(told) == 19  # and the agree
    assert why(ending)[0] == Cause.OVERLOADED
    assert "more than 20 messages of meter@localhost wait to be read" in why(ending)[1]
    assert len(world.of(MessageSent, agent=READER, performative="cancel")) == 1
    await closed(world, meter, reader)


async def test_a_publisher_that_never_waits_keeps_pace_with_the_server(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "UNCONFIRMED", 5)
    go_on = asyncio.Event()
    count = 0

    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        nonlocal count
        for count in itertools.count(1):
            yield Temperature(celsius=count)

    async def confirm(_timeout: float) -> bool:
        await go_on.wait()
        return True

    reader, meter = await pair(world, publish)
    monkeypatch.setattr(meter.client, "confirm", confirm)
    async with reader.subscribe(METER, Temperatures()) as updates:
        await take(updates, 5)
        assert count == 5
        go_on.set()
        await take(updates, 20)
    await closed(world, meter, reader)


async def test_nothing_is_said_before_the_block_is_entered_or_read(world: World) -> None:
    reader, meter = await pair(world, telling(*degrees(1)))
    updates = reader.subscribe(METER, Temperatures())
    updates.close()
    assert reader.mailroom.conversations() == []
    fresh = reader.subscribe(METER, Temperatures())
    async for each in fresh:
        assert each == Temperature(celsius=0)
        break
    fresh.close()
    fresh.close()  # again
    assert [each async for each in fresh] == []
    await closed(world, meter, reader)


async def test_leaving_the_block_before_anything_came_cancels(world: World) -> None:
    reader, meter = await pair(world, telling())
    async with reader.subscribe(METER, Temperatures()):
        await meter.started.wait()
    await ended(world, "meter", "CANCELLED")
    await closed(world, meter, reader)


async def test_an_exception_in_the_block_cancels_and_goes_on(world: World) -> None:
    reader, meter = await pair(world, telling(*degrees(2)))

    async def stumble() -> None:
        async with reader.subscribe(METER, Temperatures()) as updates:
            await take(updates, 1)
            raise LookupError

    with pytest.raises(LookupError):
        await stumble()
    await ended(world, "reader", "CANCELLED")
    await closed(world, meter, reader)


async def test_cancelling_the_task_that_reads_cancels_the_subscription(world: World) -> None:
    reader, meter = await pair(world, telling(*degrees(1)))
    read = asyncio.Event()

    async def follow() -> None:
        async with reader.subscribe(METER, Temperatures()) as updates:
            async for _each in updates:
                read.set()

    following = asyncio.create_task(follow())
    await read.wait()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await ended(world, "meter", "CANCELLED")
    await ended(world, "reader", "CANCELLED")
    await closed(world, meter, reader)


async def test_who_waits_for_the_next_one_is_released_when_somebody_else_closes(world: World) -> None:
    reader, meter = await pair(world, telling(*degrees(1)))
    updates = reader.subscribe(METER, Temperatures())
    assert await anext(aiter(updates)) == Temperature(celsius=0)

    async def rest() -> list[Any]:
        return [each async for each in updates]

    reading = asyncio.create_task(rest())
    await asyncio.sleep(0)
    updates.close()
    assert await asyncio.wait_for(reading, 5) == []
    await closed(world, meter, reader)


async def test_giving_up_on_one_notification_loses_none(world: World) -> None:
    more = asyncio.Event()

    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        yield Temperature(celsius=0)
        await more.wait()
        yield Temperature(celsius=1)
        await asyncio.Event().wait()

    reader, meter = await pair(world, publish)
    async with reader.subscribe(METER, Temperatures()) as updates:
        await take(updates, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(updates), 0.01)
        more.set()
        assert await take(updates, 1) == [Temperature(celsius=1)]
    await closed(world, meter, reader)


@pytest.mark.parametrize(
    ("items", "kind", "cause", "text"),
    [
        ([Refuse("busy", "I am busy")], Refused, "busy", "I am busy"),
        ([Fail("broken", "it broke")], Failed, "broken", "it broke"),
        ([Temperature(), Refuse("busy", "I am busy")], Failed, "busy", "I am busy"),
        ([Temperature(), Fail("broken", "it broke")], Failed, "broken", "it broke"),
        ([Temperature()], Failed, "ended", "meter has no more notifications"),
        ([], Failed, "ended", "meter has no more notifications"),
        ([KeyError("x")], Failed, Cause.INTERNAL_ERROR, "meter could not finish temperatures: KeyError: 'x'"),
        ([Temperature(), KeyError("x")], Failed, Cause.INTERNAL_ERROR, "meter could not finish temperatures"),
        ([Temperature(), 17], Failed, Cause.INTERNAL_ERROR, "the publisher yielded int, not a term"),
        ([Foreign()], Failed, Cause.INTERNAL_ERROR, "Foreign is no term of the ontology"),
        ([Refuse("odd", "a" * 2_000_000)], Refused, Cause.INTERNAL_ERROR, "bytes as a stanza"),
    ],
)
async def test_how_it_ends_is_the_last_item(
    world: World, items: list[Any], kind: Any, cause: str, text: str
) -> None:
    reader, meter = await pair(world, telling(*items, waits=False))
    async with reader.subscribe(METER, Temperatures()) as updates:
        *notifications, ending = [each async for each in updates]
    assert notifications == [each for each in items if isinstance(each, Temperature)]
    assert why(ending, kind)[0] == cause
    assert text in why(ending, kind)[1]
    assert bool(world.of(HandlerFailed, agent=METER)) == (cause == Cause.INTERNAL_ERROR)
    assert not world.of(OutOfSequence)
    await closed(world, meter, reader)


async def test_a_publisher_that_raises_when_it_is_stopped_is_told_of_and_stopped(world: World) -> None:
    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        try:
            yield Temperature()
            await asyncio.Event().wait()
        finally:
            raise LookupError("the cable is gone")

    reader, meter = await pair(world, publish)
    async with reader.subscribe(METER, Temperatures()) as updates:
        await take(updates, 1)
    await ended(world, "reader", "CANCELLED")
    assert "the cable is gone" in (await world.fact(HandlerFailed, agent=METER)).text
    await closed(world, meter, reader)


async def test_a_publisher_that_does_not_let_itself_be_stopped_tells_no_more(world: World) -> None:
    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        yield Temperature()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                yield Temperature(celsius=99)

    reader, meter = await pair(world, publish)
    async with reader.subscribe(METER, Temperatures()) as updates:
        await take(updates, 1)
    await ended(world, "reader", "CANCELLED")
    assert len(world.of(MessageReceived, agent=READER, performative="inform")) == 2  # and the cancel's
    await closed(world, meter, reader)


async def test_a_handler_that_is_no_generator_is_answered_with_failure(world: World) -> None:
    class Odd(House):
        def publish(self, query: Temperatures, task: Participation) -> Any:
            return 17

    publishes(Temperatures)(Odd.publish)
    await world.start(Odd, "meter")
    reader = await world.start(House, "reader")
    (ending,) = [each async for each in reader.subscribe(METER, Temperatures())]
    assert "TypeError" in why(ending)[1]
    await all_over(world, reader)


def test_a_publisher_without_a_yield_cannot_be_marked() -> None:
    async def publish(_self: Any, _query: Temperatures, _task: Participation) -> Term:
        return Temperature()

    with pytest.raises(TypeError, match=r"publish is marked @publishes and has no yield"):
        publishes(Temperatures)(publish)


async def test_who_publishes_nothing_of_the_kind_refuses(world: World) -> None:
    class Deaf(House):
        publish = None  # type: ignore[assignment]

    await world.start(Deaf, "meter")
    reader = await world.start(House, "reader")
    (ending,) = [each async for each in reader.subscribe(METER, Temperatures())]
    assert why(ending, Refused) == (
        Cause.UNSUPPORTED_FUNCTION,
        "meter does not serve a subscribe about temperatures; it publishes nothing",
    )
    await all_over(world, reader)


async def test_a_slow_publisher_has_agreed_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participating, "AGREE_AFTER", 0.01)
    begin = asyncio.Event()

    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        await begin.wait()
        yield Refuse("late", "too late to refuse")

    reader, meter = await pair(world, publish)
    async with reader.subscribe(METER, Temperatures()) as updates:
        await world.fact(MessageReceived, agent=READER, performative="agree")
        begin.set()
        assert why(await anext(updates)) == ("late", "too late to refuse")
    await closed(world, meter, reader)


async def test_a_subscriber_that_vanishes_is_published_for_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = look_often(monkeypatch, "reader")
    reader, meter = await pair(world, telling(*degrees(1)))
    updates = reader.subscribe(METER, Temperatures())
    await anext(aiter(updates))
    await looked.wait()
    await reader.stop()
    await ended(world, "meter", "UNREACHABLE")
    await closed(world, meter)


async def test_a_publisher_that_vanishes_ends_the_iteration(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = look_often(monkeypatch, "meter")
    reader, meter = await pair(world, telling(*degrees(1)))
    async with reader.subscribe(METER, Temperatures()) as updates:
        await anext(updates)
        await looked.wait()
        await meter.stop()
        (ending,) = [each async for each in updates]
    assert why(ending)[0] in {Cause.VANISHED, Cause.UNREACHABLE}
    assert reader.mailroom.conversations() == []


async def test_stopping_the_publisher_closes_its_generators(world: World) -> None:
    reader, meter = await pair(world, telling(*degrees(1)))
    async with reader.subscribe(METER, Temperatures()) as updates:
        await anext(updates)
        await meter.stop()
        assert meter.closed.is_set()


# -- peers of any kind ---------------------------------------------------------------------------


def subscription(**parameters: Any) -> AclMessage:
    """A puppet's."""
    return opens(Performative.SUBSCRIBE, "fipa-subscribe", Temperatures(), **parameters)


def warm(message: AclMessage, celsius: float, **parameters: Any) -> AclMessage:
    """A puppet's notification."""
    content = HOUSE.render(Temperature(celsius=celsius))
    return message.reply(Performative.INFORM, content=content, **parameters)


async def test_a_plain_peer_is_served(world: World) -> None:
    _reader, meter = await pair(world, telling(*degrees(2)))
    puppet = await Puppet.start(world, "puppet")
    puppet.say(subscription(reply_with=None), meter.me)
    await puppet.hear(Performative.AGREE)
    told = [await puppet.hear(Performative.INFORM) for _each in range(2)]
    assert [HOUSE.parse(each.content) for each in told] == degrees(2)
    cancel = subscription(reply_with="r2").model_copy(update={"performative": Performative.CANCEL})
    puppet.say(cancel, meter.me)
    assert (await puppet.hear(Performative.INFORM)).in_reply_to == "r2"
    await closed(world, meter)
    puppet.say(cancel.model_copy(update={"reply_with": "r3"}), meter.me)  # there is nothing left to cancel
    assert (await puppet.hear(Performative.FAILURE)).in_reply_to == "r3"
    await puppet.hears_nothing(meter.me)


async def test_the_publisher_answers_what_is_out_of_sequence_once_and_goes_on(world: World) -> None:
    more = asyncio.Event()

    async def publish(_query: Temperatures, _task: Participation) -> AsyncIterator[Any]:
        yield Temperature(celsius=0)
        await more.wait()
        yield Temperature(celsius=1)
        await asyncio.Event().wait()

    _reader, meter = await pair(world, publish)
    puppet = await Puppet.start(world, "puppet")
    puppet.say(subscription(), meter.me)
    await puppet.hear(Performative.AGREE)
    await puppet.hear(Performative.INFORM)
    for act in (Performative.SUBSCRIBE, Performative.ACCEPT_PROPOSAL, Performative.REQUEST):
        puppet.say(subscription().model_copy(update={"performative": act}), meter.me)
    assert (await puppet.hear_reason(Performative.NOT_UNDERSTOOD)).cause == Cause.UNEXPECTED_ACT
    await world.fact(OutOfSequence, agent=METER, count=3)
    more.set()
    assert HOUSE.parse((await puppet.hear(Performative.INFORM)).content) == Temperature(celsius=1)
    puppet.say(subscription().model_copy(update={"performative": Performative.NOT_UNDERSTOOD}), meter.me)
    await ended(world, "meter", "NOT_UNDERSTOOD")
    await puppet.hears_nothing(meter.me)
    await closed(world, meter)


async def test_no_agree_is_needed_and_what_cannot_be_read_is_passed_over(world: World) -> None:
    puppet, reader = await Puppet.start(world, "puppet"), await world.start(House, "reader")
    async with reader.subscribe(puppet.jid, Temperatures()) as updates:
        asked = await puppet.hear(Performative.SUBSCRIBE)
        puppet.say(warm(asked, 1), reader.me)
        puppet.say(asked.reply(Performative.INFORM, content="warm"), reader.me)
        puppet.say(asked.reply(Performative.AGREE), reader.me)  # out of sequence now
        puppet.say(asked.reply(Performative.PROPOSE), reader.me)
        puppet.say(warm(asked, 2, in_reply_to=None), reader.me)
        assert await take(updates, 2) == [Temperature(celsius=1), Temperature(celsius=2)]
    assert len(world.of(OutOfSequence, agent=READER)) == 2
    assert "cannot be read" in world.of(HandlerFailed, agent=READER)[0].text
    cancel = await puppet.hear(Performative.CANCEL)
    puppet.say(warm(asked, 3), reader.me)  # was under way
    puppet.say(cancel.reply(Performative.INFORM, content=HOUSE.render(Done())), reader.me)
    await ended(world, "reader", "CANCELLED")
    puppet.say(warm(asked, 4), reader.me)
    await world.fact(OutOfSequence, agent=READER, count=3)
    await puppet.hears_nothing(reader.me)


async def test_no_answer_in_time_is_how_it_ends(world: World) -> None:
    puppet, reader = await Puppet.start(world, "puppet"), await world.start(House, "reader")
    (ending,) = [each async for each in reader.subscribe(puppet.jid, Temperatures(), reply_within=0.05)]
    assert why(ending, Expired)[0] == Cause.EXPIRED
    assert reader.mailroom.conversations() == []


@pytest.mark.parametrize("first", [Performative.AGREE, Performative.INFORM])
async def test_a_publisher_that_answers_too_late_is_told_to_stop_once(
    world: World, first: Performative
) -> None:
    puppet, reader = await Puppet.start(world, "puppet"), await world.start(House, "reader")
    (ending,) = [each async for each in reader.subscribe(puppet.jid, Temperatures(), reply_within=0.05)]
    assert why(ending, Expired)[0] == Cause.EXPIRED
    asked = await puppet.hear(Performative.SUBSCRIBE)
    puppet.say(asked.reply(first, content=HOUSE.render(Temperature())), reader.me)
    cancel = await puppet.hear(Performative.CANCEL)
    assert (cancel.conversation_id, cancel.protocol) == (asked.conversation_id, "fipa-subscribe")
    puppet.say(warm(asked, 1), reader.me)  # was under way
    puppet.say(cancel.reply(Performative.INFORM, content=HOUSE.render(Done())), reader.me)
    puppet.say(warm(asked, 2), reader.me)
    await world.fact(OutOfSequence, agent=READER, count=3)
    assert len(world.of(MessageReceived, agent=READER)) == 4  # the answer to the cancel was expected
    await puppet.hears_nothing(reader.me)


async def test_a_publisher_whose_agree_is_late_stops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, with a publisher that is an agent: what it says is on the way until nobody waits."""
    reader, meter = await pair(world, telling(*degrees(3)))
    under_way: list[str] = []
    with monkeypatch.context() as slow:
        slow.setattr(meter.client, "hand_over", under_way.append)
        (ending,) = [each async for each in reader.subscribe(METER, Temperatures(), reply_within=0.2)]
        assert why(ending, Expired)[0] == Cause.EXPIRED
    assert len(under_way) == 4
    for stanza in under_way:
        meter.client.hand_over(stanza)
    await ended(world, "meter", "CANCELLED")
    assert len(world.of(MessageSent, agent=READER, performative="cancel")) == 1
    await closed(world, meter, reader)


async def test_a_not_understood_is_how_it_ends(world: World) -> None:
    puppet, reader = await Puppet.start(world, "puppet"), await world.start(House, "reader")
    async with reader.subscribe(puppet.jid, Temperatures()) as updates:
        asked = await puppet.hear(Performative.SUBSCRIBE)
        puppet.say(asked.reply(Performative.NOT_UNDERSTOOD, content="what?"), reader.me)
        (ending,) = [each async for each in updates]
    assert why(ending, NotUnderstood)[1] == "what?"
    await puppet.hears_nothing(reader.me)


async def test_a_cancel_that_is_never_answered_is_let_go_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initiating, "CANCEL_WITHIN", 0.05)
    puppet, reader = await Puppet.start(world, "puppet"), await world.start(House, "reader")
    async with reader.subscribe(puppet.jid, Temperatures()) as updates:
        asked = await puppet.hear(Performative.SUBSCRIBE)
        puppet.say(warm(asked, 1), reader.me)
        assert await take(updates, 1) == [Temperature(celsius=1)]
    await puppet.hear(Performative.CANCEL)
    await ended(world, "reader", "EXPIRED")
    await becomes(lambda: not reader.mailroom._tasks)


async def test_a_cancel_that_is_never_answered_is_let_go_of_by_the_one_that_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initiating, "CANCEL_WITHIN", 0.05)
    puppet, reader = await Puppet.start(world, "puppet"), await world.start(House, "reader")
    updates = reader.subscribe(puppet.jid, Temperatures())
    reading = asyncio.ensure_future(anext(aiter(updates), None))
    asked = await puppet.hear(Performative.SUBSCRIBE)
    puppet.say(warm(asked, 1), reader.me)
    assert await reading == Temperature(celsius=1)
    reading = asyncio.ensure_future(anext(updates, None))
    await asyncio.sleep(0)
    updates.close()
    assert await reading is None
    await ended(world, "reader", "EXPIRED")
    await becomes(lambda: not reader.mailroom._tasks)


async def test_a_cancel_that_fails_lets_the_publisher_go_on_to_its_end(world: World) -> None:
    puppet, reader = await Puppet.start(world, "puppet"), await world.start(House, "reader")
    async with reader.subscribe(puppet.jid, Temperatures()):
        asked = await puppet.hear(Performative.SUBSCRIBE)
        puppet.say(asked.reply(Performative.AGREE), reader.me)
        await world.fact(MessageReceived, agent=READER, performative="agree")
    cancel = await puppet.hear(Performative.CANCEL)
    puppet.say(cancel.reply(Performative.FAILURE, content="I cannot stop"), reader.me)
    puppet.say(warm(asked, 1), reader.me)
    puppet.say(asked.reply(Performative.FAILURE, content="the end"), reader.me)
    await ended(world, "reader", "FAILED")
    assert not world.of(OutOfSequence)
    assert len(world.of(ConversationEnded)) == 1


async def test_an_agent_may_subscribe_to_itself(world: World) -> None:
    _reader, meter = await pair(world, telling(*degrees(3)))
    async with meter.subscribe(METER, Temperatures()) as updates:
        assert await take(updates, 3) == degrees(3)
    await closed(world, meter)
