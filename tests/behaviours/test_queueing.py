"""Between peers: whoever says much holds up itself, and nobody else."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree

import pytest

from behaviours import queueing
from behaviours.events import MessageSent
from behaviours.queueing import Turns
from behaviours.wire import Received, render
from ontology.acl import AclMessage, Performative
from tests.behaviours.fakes import element
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder
from tests.conftest import World

MANY = 2000


def opening(number: int) -> AclMessage:
    return AclMessage(
        performative=Performative.REQUEST,
        content=SUMS.render(Add(a=number)),
        protocol="fipa-request",
        conversation_id=f"c{number}",
        reply_with=f"r{number}",
    )


def stanza(number: int, sender: str) -> ElementTree.Element:
    return element(render(opening(number), "me@here", f"id{number}"), sender)


def put(turns: Turns, sender: str, *numbers: int) -> None:
    for number in numbers:
        turns.put_nowait(stanza(number, sender))


def taken(turns: Turns, count: int) -> list[tuple[str, str]]:
    found = [turns.get_nowait() for _ in range(count)]
    return [(each.get("from", ""), each.get("id", "").removeprefix("id")) for each in found]


def test_each_peer_has_its_turn_and_is_heard_in_order() -> None:
    turns = Turns()
    put(turns, "a@here/1", 1, 2, 3)
    put(turns, "b@here/1", 4)
    put(turns, "A@here/2", 5)  # another session of the same
    put(turns, "c@here/1", 6, 7)
    assert taken(turns, 3) == [("a@here/1", "1"), ("b@here/1", "4"), ("c@here/1", "6")]
    put(turns, "b@here/1", 8)
    assert taken(turns, 5) == [
        ("a@here/1", "2"),
        ("c@here/1", "7"),
        ("b@here/1", "8"),
        ("a@here/1", "3"),
        ("A@here/2", "5"),
    ]
    assert len(turns) == 0
    with pytest.raises(asyncio.QueueEmpty):
        turns.get_nowait()


async def test_who_waits_for_the_next_gets_it() -> None:
    turns = Turns()
    waiting = asyncio.create_task(turns.get())
    await asyncio.sleep(0)
    put(turns, "a@here/1", 1, 2)
    assert (await waiting).get("id") == "id1"
    assert (await turns.get()).get("id") == "id2"
    waiting = asyncio.create_task(turns.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    put(turns, "a@here/1", 3)
    assert (await turns.get()).get("id") == "id3"


def test_what_waits_is_too_much_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queueing, "MOST", 3 * queueing.LEAST)
    turns = Turns()
    put(turns, "a@here/1", 1, 2)
    assert not turns.is_full
    put(turns, "b@here/1", 3)
    assert turns.is_full
    taken(turns, 1)
    assert not turns.is_full
    large = AclMessage(performative=Performative.INFORM, content="x" * 2 * queueing.LEAST)
    turns.put_nowait(element(render(large, "me@here", "large"), "c@here/1"))
    assert turns.is_full
    taken(turns, 3)
    assert not turns.is_full


async def test_a_flood_of_one_peer_does_not_hold_up_another(world: World) -> None:
    adder = await world.start(Adder, "adder")
    many, one = await Puppet.start(world, "many"), await Puppet.start(world, "one")

    def answered() -> int:
        return len(world.of(MessageSent, agent="adder@localhost", peer="many@localhost"))

    for number in range(MANY):
        many.say(opening(number), adder.me)
    await world.until(lambda: answered() > 0)  # all the others wait behind it
    before = answered()
    one.say(opening(MANY), adder.me)
    incoming = await one.next()
    assert answered() - before < 100
    assert isinstance(incoming, Received)
    assert incoming.message.conversation_id == f"c{MANY}"
    assert incoming.message.performative in {Performative.INFORM, Performative.AGREE}
    heard: set[str | None] = set()
    while len(heard) < MANY:  # each is answered; what takes long is agreed to first
        incoming = await many.next()
        assert isinstance(incoming, Received)
        heard.add(incoming.message.conversation_id)
