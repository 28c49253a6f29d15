"""The outbox over a connection in memory: what receipts may bring about, and what not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from behaviours.clocking import system_now
from behaviours.receipts import Receipts, render
from ontology.acl import AclMessage, Performative
from ontology.codecs import to_json
from resilience.journal import Effects, Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying, posted
from tests.behaviours.fakes import ME, PEER, Scene, element, turns
from tests.conftest import becomes


@pytest.fixture
async def scene():
    made = Scene(journal=MemoryJournal(Policy(retrying=Retrying(first=0.01, most=0.02), away=0.05)))
    yield made
    await made.close()


async def told(scene: Scene, receipts: Receipts) -> None:
    """Let receipts of the peer arrive."""
    for stanza in render(ME.jid, receipts):
        scene.mailroom.take(element(stanza, PEER.jid))
    await turns()


def inform() -> AclMessage:
    return AclMessage(performative=Performative.INFORM, sender=ME, receiver=(PEER,), content="x")


async def test_what_is_said_to_be_missing_is_sent_again_once_for_each_question(scene: Scene) -> None:
    scene.mailroom.post(inform(), PEER, lambda _reason: None)
    await turns()
    (message_id,) = [each.id for each in await scene.journal.outgoing(ME.name)]
    flood = Receipts(missing=(message_id,) * 400)
    await told(scene, flood)
    assert len(scene.transport.sent) == 1, "nobody has asked"
    await becomes(lambda: len(scene.transport.receipts) == 1)
    await told(scene, flood)
    await told(scene, flood)
    assert len(scene.transport.sent) == 2


async def test_a_flood_of_missing_ends_with_a_dead_letter(scene: Scene) -> None:
    lost: list[str] = []
    scene.mailroom.post(inform(), PEER, lambda reason: lost.append(reason.text))
    await turns()
    (message_id,) = [each.id for each in await scene.journal.outgoing(ME.name)]
    while not lost:
        await told(scene, Receipts(missing=(message_id,)))
    assert len(scene.transport.sent) <= 5
    assert lost == ["peer@here was written to 5 times and did not acknowledge it"]


async def test_what_its_receiver_has_taken_is_asked_after_until_it_is_done(scene: Scene) -> None:
    """Its store is down, or it has too much to do: nobody is told that it did not answer."""
    lost: list[str] = []
    scene.mailroom.post(inform(), PEER, lambda reason: lost.append(reason.text))
    await turns()
    (message_id,) = [each.id for each in await scene.journal.outgoing(ME.name)]
    for asked in range(1, 9):  # more than the attempts that a silent one is given
        await becomes(lambda asked=asked: len(scene.transport.receipts) == asked)  # type: ignore[misc]
        await told(scene, Receipts(taken=(message_id, "another")))
        await told(scene, Receipts(taken=(message_id,)))
    assert (len(scene.transport.sent), lost) == (1, [])
    await told(scene, Receipts(acknowledged=(message_id,)))
    await scene.enduring.journaling.settled()
    await becomes(lambda: not scene.enduring.outbox._waiting)


async def test_others_cannot_acknowledge(scene: Scene) -> None:
    scene.mailroom.post(inform(), PEER, lambda _reason: None)
    await turns()
    (message_id,) = [each.id for each in await scene.journal.outgoing(ME.name)]
    for stanza in render(ME.jid, Receipts(acknowledged=(message_id,))):
        scene.mailroom.take(element(stanza, "mallory@here/1"))
    await turns()
    assert message_id in scene.enduring.outbox
    await told(scene, Receipts(acknowledged=(message_id,)))
    assert message_id not in scene.enduring.outbox


async def test_an_agree_is_done_with_what_was_said_after_it(scene: Scene) -> None:
    """Nobody waits for it any more; whoever has asked may be gone by now, and it would be a dead letter."""
    agree = inform().model_copy(update={"performative": Performative.AGREE})
    settled: list[bool] = []
    outbox = scene.enduring.outbox
    first = outbox.post(agree, PEER, lambda *_: None, conversation="c1", on_settled=settled.append)
    other = outbox.post(agree, PEER, lambda *_: None, conversation="c2")
    result = outbox.post(inform(), PEER, lambda *_: None, conversation="c1")
    await turns()
    await told(scene, Receipts(acknowledged=(result,)))
    assert first not in outbox
    assert settled == [True]
    assert other in outbox


async def overdue(scene: Scene) -> str:
    """Have a former process leave a request whose time is over; the id of it."""
    now = system_now()
    record = posted(
        agent=ME.name,
        id="left-1",
        to=PEER.name,
        message=to_json(inform()),
        now=now - timedelta(seconds=9),
        reply_by=now - timedelta(seconds=1),
        retrying=scene.journal.policy.retrying,
    )
    await scene.journal.commit(Effects(agent=ME.name, send=(record,)))
    await scene.mailroom.restore()
    await becomes(lambda: len(scene.transport.receipts) == 1)
    assert scene.letters.count() == 0
    return record.id


async def test_what_a_former_process_has_left_may_have_arrived_in_time(scene: Scene) -> None:
    message_id = await overdue(scene)
    await told(scene, Receipts(acknowledged=(message_id,)))
    assert (len(scene.enduring.outbox), scene.letters.count(), scene.transport.sent) == (0, 0, [])


async def test_what_has_not_is_not_sent_any_more(scene: Scene) -> None:
    await told(scene, Receipts(missing=(await overdue(scene),)))
    await becomes(lambda: scene.letters.count() == 1)
    (letter,) = scene.letters.list()
    assert (letter.cause, scene.transport.sent) == ("expired", [])


async def test_who_does_not_say_whether_it_has_is_not_waited_for(scene: Scene) -> None:
    await overdue(scene)
    await becomes(lambda: scene.letters.count() == 1)
    assert (len(scene.transport.receipts), scene.transport.sent) == (1, [])
