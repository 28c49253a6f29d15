"""Within a peer: nobody overtakes while it is found out whose a message is to handle."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from behaviours import claiming as module
from behaviours.claiming import Claiming
from behaviours.handlers import Handlers
from behaviours.receipts import MARK
from behaviours.wire import Received, render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE
from ontology.errors import Cause
from resilience.inbox import Standing, Terms
from resilience.journal import Policy
from resilience.memory import MemoryJournal
from tests.behaviours.fakes import ME, Scene, element, turns
from tests.behaviours.samples import SUMS, Add, Sum
from tests.conftest import becomes

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


NOWHERE: Any = element("<message><body>b</body></message>")


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


def asked_after(message_id: str) -> Any:
    """The question what has become of a message."""
    question = f"<unacknowledged xmlns='urn:locution:delivery:1'><id>{message_id}</id></unacknowledged>"
    return element(f"<message>{question}</message>", "peer@here/1")


class Waits:
    """An agent whose store does not answer, and peers that have asked it for something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, handlers: Handlers | None = None) -> None:
        self.scene, self.answers = Scene(handlers), asyncio.Event()
        claim = self.scene.enduring._journal.claim

        async def later(*asked: Any) -> Any:
            await self.answers.wait()
            return await claim(*asked)

        monkeypatch.setattr(self.scene.enduring._journal, "claim", later)

    async def ask(self, *names: str) -> None:
        """Ask for something under these ids."""
        for name in names:
            parameters = {
                "protocol": "fipa-request",
                "conversation_id": f"c-{name}",
                "reply_with": f"r-{name}",
            }
            request = AclMessage(
                performative=Performative.REQUEST,
                content=SUMS.render(Add()),
                language=LANGUAGE,
                ontology=SUMS.label,
                **parameters,
            )
            await self.scene.hear_stanza(render(request, "me@here/1", name, mark=MARK))


async def test_what_waits_has_come_and_its_copies_are_none_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else its sender says it again, is refused for having said so much, and what it had said is done."""
    monkeypatch.setattr("behaviours.admitting.AT_WORK", 4)
    handled: list[Add] = []

    async def handle(action: Add, _task: Any) -> Sum:
        handled.append(action)
        return Sum(value=0)

    waits = Waits(monkeypatch, Handlers(on={Add: handle}))
    scene = waits.scene
    await waits.ask("m1", "m2", "m3")
    for _each in range(5):
        await waits.ask("m2", "m3")
    scene.mailroom.take(asked_after("m3"))
    assert "<taken" in scene.transport.receipts[-1]
    waits.answers.set()
    await becomes(lambda: len(scene.transport.said()) == 3)
    await scene.enduring.journaling.settled()
    assert [each.performative for each in scene.transport.said()] == [Performative.INFORM] * 3
    assert len(handled) == 3
    await scene.close()


async def test_a_claim_that_has_waited_for_long_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meanwhile another replica may have taken the message over: it is not to be handled here, too."""
    scene = Scene(journal=MemoryJournal(Policy(terms=Terms(lease=0.3))))
    message = AclMessage(performative=Performative.INFORM, content="x")
    received = Received(message=message, stanza_id="m1", is_stored=False)
    claimed = await scene.enduring.claim(received, A)
    assert claimed.is_ours
    assert await scene.enduring.fresh(claimed) is claimed
    other = replace(claimed.guard.hold(ME.name), owner="another replica")
    await scene.journal.claim(other, claimed.guard.digest, [claimed.guard.owner])
    old = replace(claimed, at=claimed.at - 0.2)
    assert (await scene.enduring.fresh(old)).claim.standing is Standing.BUSY
    assert await scene.mailroom.resumes(old) is not None
    await scene.close()


async def test_what_waits_is_too_much_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 20_000)
    waits = Waits(monkeypatch)
    large = AclMessage(performative=Performative.INFORM, content="x" * 9_000)
    await waits.ask("first")
    for number in range(5):
        await waits.scene.hear_stanza(render(large, "me@here/1", f"large{number}", mark=MARK))
    waiting = waits.scene.mailroom._claiming.waiting(AgentIdentifier.of("peer@here"))
    assert waiting == 2
    waits.scene.mailroom.take(asked_after("large4"))
    assert "missing" in waits.scene.transport.receipts[-1]
    waits.answers.set()
    await becomes(lambda: waits.scene.mailroom._claiming._size == 0)
    await waits.scene.close()


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
    scene.mailroom.take(asked_after("marked"))
    assert "missing" in scene.transport.receipts[-1]
    assert scene.mailroom._claiming.waiting(AgentIdentifier.of("peer@here")) == 3
    await scene.close()
