"""Within a peer: nobody overtakes while it is found out whose a message is to handle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from behaviours import claiming as module
from behaviours.claiming import Claiming
from behaviours.wire import Received, render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.errors import Cause
from tests.behaviours.fakes import Scene, element, turns
from tests.behaviours.samples import SUMS, Add

A, B = AgentIdentifier.of("a@here/1"), AgentIdentifier.of("b@here/1")


def said(number: int) -> Received:
    message = AclMessage(performative=Performative.INFORM, conversation_id=f"c{number}")
    return Received(message=message, stanza_id=f"id{number}", is_stored=False)


class Desk:
    """Where each message is taken or claimed: those with an even number have to be claimed."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.store = asyncio.Event()
        self.claiming = Claiming(self.take, self.claim, self.ask, lambda _task: None)

    def take(self, received: Received, peer: AgentIdentifier, _stanza: Any) -> bool:
        is_first = int(received.stanza_id.removeprefix("id")) % 2 == 0
        if not is_first:
            self.heard.append((peer.local_name, received.stanza_id))
        return is_first

    async def ask(self, _received: Received, _peer: AgentIdentifier) -> Any:
        raise AssertionError("an inform may go on with something")

    async def claim(self, received: Received, peer: AgentIdentifier, _stanza: Any, _ahead: Any) -> None:
        self.heard.append((peer.local_name, f"claiming {received.stanza_id}"))
        await self.store.wait()
        self.heard.append((peer.local_name, received.stanza_id))


NOWHERE: Any = None


async def test_a_peer_is_heard_in_order_and_another_meanwhile() -> None:
    desk = Desk()
    claiming = desk.claiming
    assert claiming.waiting(A) is None
    first = asyncio.create_task(claiming.begin(said(2), A, NOWHERE))
    assert claiming.waiting(A) == 0
    for number in (1, 3, 4, 5):
        assert claiming.wait(said(number), A, NOWHERE)
    assert claiming.waiting(A) == 4
    assert claiming.waiting(B) is None
    second = asyncio.create_task(claiming.begin(said(2), B, NOWHERE))
    assert claiming.wait(said(7), B, NOWHERE)
    await turns()
    assert desk.heard == [("a", "claiming id2"), ("b", "claiming id2")]
    desk.store.set()
    await asyncio.gather(first, second)
    assert desk.heard[2:] == [
        ("a", "id2"),
        ("b", "id2"),
        ("a", "id1"),
        ("b", "id7"),
        ("a", "id3"),
        ("a", "claiming id4"),
        ("a", "id4"),
        ("a", "id5"),
    ]
    assert claiming.waiting(A) is None


async def test_what_comes_while_those_that_wait_are_handled_stands_behind_them() -> None:
    desk = Desk()
    desk.store.set()
    task = asyncio.create_task(desk.claiming.begin(said(2), A, NOWHERE))
    for number in (1, 3):
        desk.claiming.wait(said(number), A, NOWHERE)
    while ("a", "id1") not in desk.heard:  # noqa: ASYNC110 - a few turns
        await asyncio.sleep(0)
    assert desk.claiming.waiting(A) == 1
    desk.claiming.wait(said(5), A, NOWHERE)
    await task
    assert [each for _peer, each in desk.heard] == ["claiming id2", "id2", "id1", "id3", "id5"]


async def test_what_certainly_begins_something_is_claimed_while_it_waits() -> None:
    answers: dict[str, asyncio.Future[Any]] = {}
    handled = []

    async def ask(received: Received, _peer: AgentIdentifier) -> Any:
        answers[received.stanza_id] = asyncio.get_running_loop().create_future()
        return await answers[received.stanza_id]

    async def claim(received: Received, peer: AgentIdentifier, _stanza: Any, asked: Any) -> None:
        handled.append(await (asked or ask(received, peer)))

    claiming = Claiming(lambda received, *_: received.stanza_id != "copy", claim, ask, lambda _task: None)
    request = AclMessage(performative=Performative.REQUEST, conversation_id="c")
    first, second, copy = (
        Received(message=request, stanza_id=each, is_stored=False) for each in ("first", "second", "copy")
    )
    task = asyncio.create_task(claiming.begin(first, A, NOWHERE))
    claiming.wait(second, A, NOWHERE)
    claiming.wait(copy, A, NOWHERE)
    claiming.wait(said(1), A, NOWHERE)
    await turns()
    assert set(answers) == {"first", "second", "copy"}, "an inform may go on with something"
    answers["second"].set_result("second")
    await turns()
    assert handled == [], "the first is to be handled first"
    answers["first"].set_result("first")
    await turns()
    assert handled == ["first", "second"]
    assert answers["copy"].cancelled(), "nobody waits for it"
    answers["id1"].set_result("id1")
    await task
    assert handled == ["first", "second", "id1"]


async def test_a_peer_whose_claim_is_given_up_is_heard_again() -> None:
    desk = Desk()
    task = asyncio.create_task(desk.claiming.begin(said(2), A, NOWHERE))
    await turns()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert desk.claiming.waiting(A) is None


async def test_while_the_store_does_not_answer_no_more_waits_than_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAITING", 3)
    scene = Scene()
    store_answers = asyncio.Event()

    async def never(*_args: Any) -> Any:
        await store_answers.wait()

    monkeypatch.setattr(scene.enduring, "claim", never)
    first = AclMessage(performative=Performative.REQUEST, content=SUMS.render(Add()))
    await scene.hear(first)
    inform = AclMessage(performative=Performative.INFORM, content=SUMS.render(Add()))
    for _each in range(3):
        await scene.hear(inform)
    assert not scene.letters.list()
    await scene.hear(inform)
    (letter,) = scene.letters.list()
    assert (letter.cause, letter.text) == (Cause.OVERLOADED, "3 messages of peer@here wait already")
    # One that is acknowledged when it is processed is asked after, and then it has never come.
    marked = render(inform, "me@here/1", "marked", mark="<acknowledgeable xmlns='urn:locution:delivery:1'/>")
    scene.mailroom.take(element(marked, "peer@here/1"))
    assert len(scene.letters.list()) == 1
    asked = (
        "<message><unacknowledged xmlns='urn:locution:delivery:1'><id>marked</id></unacknowledged></message>"
    )
    scene.mailroom.take(element(asked, "peer@here/1"))
    assert "missing" in scene.transport.receipts[-1]
    assert scene.mailroom._claiming.waiting(AgentIdentifier.of("peer@here")) == 3
    await scene.close()
