"""Back pressure: who asks for more than an agent can have under way is refused at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from behaviours import admitting as module
from behaviours import receipts
from behaviours.admitting import Admitting
from behaviours.events import ConversationRefused
from behaviours.handlers import Handlers
from behaviours.outcomes import Answer, Refused, Succeeded
from behaviours.participating import Participation
from behaviours.receipts import MARK, Receipts
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.content import Reason
from ontology.errors import Cause
from protocols.registry import PROTOCOLS
from protocols.request import REQUEST
from protocols.subscribe import SUBSCRIBE
from protocols.table import Protocol
from tests.behaviours.fakes import Scene, element, turns
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Sum
from tests.conftest import World

BUSY = "adder has 3 conversations under way; ask again in 5 s"


def message(act: str, protocol: str | None) -> AclMessage:
    return AclMessage(performative=Performative(act), protocol=protocol, conversation_id="c")


def opening(number: int, manner: str = "well") -> AclMessage:
    return AclMessage(
        performative=Performative.REQUEST,
        content=SUMS.render(Add(manner=manner)),
        protocol="fipa-request",
        conversation_id=f"c{number}",
        reply_with=f"r{number}",
    )


async def add(action: Add, task: Participation) -> Answer:
    return Sum(value=action.a + action.b)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_WORK", 3)
    monkeypatch.setattr(module, "SUBSCRIBED", 5)


async def served(
    admitting: Admitting, protocol: Protocol, count: int, peer: str = "a@here"
) -> list[asyncio.Task[None]]:
    async def serve() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(serve()) for _ in range(count)]
    for task in tasks:
        admitting.serve(task, protocol, peer)
    return tasks


async def end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_under_way_is_counted_until_it_is_over() -> None:
    admitting = Admitting("adder")
    first, second = await served(admitting, REQUEST, 2), await served(admitting, REQUEST, 1)
    assert admitting.objection(opening(1), "a@here", 0) == BUSY
    await end(second)
    assert admitting.objection(opening(1), "a@here", 0) is None
    assert admitting.objection(opening(1), "a@here", 1) == BUSY
    await end(first)
    assert admitting.objection(opening(1), "a@here", 2) is None


async def test_who_has_less_than_its_share_is_served_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_WORK", 4)
    admitting = Admitting("adder")
    tasks = await served(admitting, REQUEST, 4, "a@here")
    assert admitting.objection(opening(1), "a@here", 0)
    assert admitting.objection(opening(1), "b@here", 1) is None  # two have two each
    assert admitting.objection(opening(1), "b@here", 2)
    tasks += await served(admitting, REQUEST, 2, "b@here")
    assert admitting.objection(opening(1), "b@here", 0)
    assert admitting.objection(opening(1), "c@here", 0) is None  # three have one each
    tasks += await served(admitting, REQUEST, 1, "c@here")
    for peer in ("a", "b", "c"):
        assert admitting.objection(opening(1), f"{peer}@here", 0)
    await end(tasks[4:])
    assert admitting.objection(opening(1), "b@here", 1) is None  # who has gone has no share
    assert admitting.objection(message("subscribe", "fipa-subscribe"), "a@here", 0) is None
    await end(tasks)


async def test_subscriptions_are_counted_by_themselves() -> None:
    admitting = Admitting("adder")
    tasks = await served(admitting, SUBSCRIBE, 4)
    assert admitting.objection(message("request", "fipa-request"), "a@here", 0) is None
    assert admitting.objection(message("subscribe", "fipa-subscribe"), "a@here", 0) is None
    tasks += await served(admitting, SUBSCRIBE, 1) + await served(admitting, REQUEST, 2)
    told = admitting.objection(message("subscribe", "fipa-subscribe"), "a@here", 0)
    assert told == "adder has 5 subscriptions under way; ask again in 5 s"
    assert admitting.objection(message("request", "fipa-request"), "a@here", 0) is None
    tasks += await served(admitting, REQUEST, 1)
    assert admitting.objection(message("request", None), "a@here", 0)
    await end(tasks)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
async def test_only_what_begins_something_is_too_much(name: str) -> None:
    admitting = Admitting("adder")
    tasks = await served(admitting, REQUEST, 5) + await served(admitting, SUBSCRIBE, 5)
    for act in Performative:
        opens = PROTOCOLS[name].opens_with(act)
        assert (admitting.objection(message(act.value, name), "a@here", 0) is not None) == opens
    assert admitting.objection(message("inform", None), "a@here", 0) is None
    assert admitting.objection(message("request", "unheard-of"), "a@here", 0) is None
    await end(tasks)


async def test_what_waits_to_be_claimed_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each peer is heard in order, behind what we do not know yet whether it is ours to handle."""
    scene = Scene()
    store_answers = asyncio.Event()
    claim = scene.enduring.claim

    async def claimed_late(*args: Any) -> Any:
        await store_answers.wait()
        return await claim(*args)

    monkeypatch.setattr(scene.enduring, "claim", claimed_late)
    said = [await scene.hear(opening(number)) for number in range(6)]
    assert [len(each) for each in said] == [0, 0, 0, 0, 1, 1]
    reason = SUMS.parse(said[4][0].content)
    assert isinstance(reason, Reason)
    assert reason.cause == Cause.OVERLOADED
    assert not await scene.hear(message("cancel", "fipa-request"))  # it begins nothing, and waits
    with monkeypatch.context() as known:
        known.setattr(scene.mailroom._seats, "find", lambda _message, _peer: object())
        assert not await scene.hear(opening(6))  # nor does that
    before = len(scene.transport.sent)
    store_answers.set()
    await turns(100)
    answered = [each.conversation_id for each in scene.transport.said()[before:]]
    assert answered == ["c0", "c1", "c2", "c3", "c", "c6"]  # each in its turn
    await scene.close()


async def test_what_is_put_off_is_not_written_down_and_counts_as_never_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "AT_WORK", 0)
    scene = Scene(Handlers(on={Add: add}))
    said = render(opening(1), "me@here/1", "once", mark=MARK)
    (refusal,) = await scene.hear_stanza(said)
    assert refusal.performative is Performative.REFUSE
    assert (refusal.in_reply_to, refusal.conversation_id) == ("r1", "c1")
    assert MARK in scene.transport.sent[0]  # we acknowledge: an answer without it would deny that
    assert not await scene.journal.outgoing("me@here")
    assert not [each for each in await scene.journal.snapshots("me@here") if "/c1" in each.key]
    (asked,) = receipts.render("me@here/1", Receipts(asked=("once",)))
    await scene.hear_stanza(asked)
    told = [receipts.read(element(each)) for each in scene.transport.receipts]
    assert told == [Receipts(missing=("once",))]
    monkeypatch.setattr(module, "AT_WORK", 1)
    (answer,) = await scene.hear_stanza(said)  # as whoever missed the refusal says it again
    assert answer.performative is Performative.INFORM
    await scene.close()


async def test_an_agent_refuses_what_is_too_much_and_goes_on(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    holding = [asyncio.create_task(asker.request(adder.me, Add(manner="holding"))) for _ in range(3)]
    await world.until(lambda: adder.mailroom._admitting._served.total() == 3)
    refused = await asker.request(adder.me, Add())
    assert isinstance(refused, Refused)
    assert refused.reason.cause == Cause.OVERLOADED
    assert refused.reason.text == BUSY
    assert refused.reason.retry_after == module.RETRY_AFTER == 5.0
    await world.fact(ConversationRefused, agent="adder@localhost", cause=Cause.OVERLOADED)
    adder.release.set()
    assert all(isinstance(outcome, Succeeded) for outcome in await asyncio.gather(*holding))
    assert isinstance(await asker.request(adder.me, Add()), Succeeded)


async def test_who_has_taken_all_there_is_does_not_keep_another_out(world: World) -> None:
    adder = await world.start(Adder, "adder")
    greedy, asker = await world.start(Asker, "greedy"), await world.start(Asker, "asker")
    holding = [asyncio.create_task(greedy.request(adder.me, Add(manner="holding"))) for _ in range(3)]
    await world.until(lambda: adder.mailroom._admitting._served.total() == 3)
    assert isinstance(await greedy.request(adder.me, Add()), Refused)
    assert isinstance(await asker.request(adder.me, Add()), Succeeded)
    adder.release.set()
    assert all(isinstance(outcome, Succeeded) for outcome in await asyncio.gather(*holding))


async def test_a_flood_is_refused_message_by_message(world: World) -> None:
    adder, puppet = await world.start(Adder, "adder"), await Puppet.start(world, "puppet")
    for number in range(200):
        puppet.say(opening(number, "holding"), adder.me)
    answers = [await puppet.hear(Performative.REFUSE) for _ in range(197)]
    assert {answer.conversation_id for answer in answers} == {f"c{number}" for number in range(3, 200)}
    adder.release.set()
    done = [(await puppet.hear(Performative.INFORM)).conversation_id for _ in range(3)]
    assert sorted(done) == ["c0", "c1", "c2"]
