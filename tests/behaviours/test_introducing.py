"""`behaviours.introducing`: what strangers have signed waits for their keys, and nothing else waits."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree import ElementTree

import pytest

from behaviours import introducing
from behaviours.authorising import Authority
from behaviours.authority import Policy, Rule
from behaviours.introducing import Introducing
from behaviours.signing import SigningKey
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from tests.behaviours.fakes import ME, element, turns
from tests.conftest import ManualClock

KEY = SigningKey(SigningKey.new())
SIGNED = Policy(rules=(Rule(who=("*",), require_signature=True),))


class Door:
    """What came in, and the keys that are asked for: each when the test says so."""

    def __init__(self, policy: Policy = SIGNED) -> None:
        self.authority = Authority(ME, policy)
        self.came: list[Any] = []
        self.asked: dict[str, asyncio.Future[str | None]] = {}
        self.introducing = Introducing(ME, self.authority, self._find, self.came.append)

    async def _find(self, peer: AgentIdentifier) -> str | None:
        self.asked[peer.name] = asyncio.get_running_loop().create_future()
        return await self.asked[peer.name]

    def say(self, name: str = "ann", *, is_signed: bool = True) -> ElementTree.Element:
        """Let a message come to the door."""
        sender = AgentIdentifier.of(f"{name}@here/1")
        message = AclMessage(performative=Performative.REQUEST, content="x")
        if is_signed:
            now = ManualClock().now
            message = KEY.sign(message, stanza_id="id", sender=sender, receiver=ME, now=now)
        stanza = element(render(message, ME.name, "id"), sender.jid)
        self.introducing.take(stanza)
        return stanza


async def test_what_a_stranger_says_waits_for_its_key_in_order() -> None:
    door = Door()
    said = [door.say(), door.say(is_signed=False), door.say()]
    await turns()
    assert door.came == []
    assert list(door.asked) == ["ann@here"]
    door.asked["ann@here"].set_result(KEY.public)
    await turns()
    assert door.came == said
    assert door.authority.ring.find("ann@here") == KEY.public
    said.append(door.say())
    assert door.came == said, "from now on it is known"


async def test_others_do_not_wait_for_a_stranger() -> None:
    door = Door()
    door.say()
    door.authority.ring.pin("bob@here", KEY.public)
    others = [
        door.say("bob"),
        door.say("eve", is_signed=False),
        element("<message/>"),
        element("<message/>", " x"),
    ]
    for stanza in others[2:]:
        door.introducing.take(stanza)
    assert door.came == others
    door.introducing.close()


async def test_where_no_signature_is_needed_nobody_is_asked() -> None:
    door = Door(Policy(rules=(Rule(who=("ann@here",)), Rule(who=("bob@here",), require_signature=True))))
    said = [door.say("ann")]
    await turns()
    assert door.came == said
    assert door.asked == {}


@pytest.mark.parametrize("answer", [None, "no key"])
async def test_who_has_no_key_is_not_asked_for_again_at_once(
    monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    door = Door()
    said = [door.say()]
    await turns()
    door.asked.pop("ann@here").set_result(answer)
    await turns()
    said.append(door.say())
    assert door.came == said
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1e9)
    door.say()
    await turns()
    assert door.came == said
    door.asked["ann@here"].set_result(KEY.public)
    await turns()
    assert len(door.came) == 3


async def test_neither_many_strangers_nor_a_talkative_one_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(introducing, "AT_ONCE", 2)
    monkeypatch.setattr(introducing, "WAITING", 3)
    monkeypatch.setattr(introducing, "REMEMBERED", 1)
    door = Door()
    for _each in range(5):
        door.say("ann")
    door.say("bob")
    door.say("eve")
    await turns()
    assert set(door.asked) == {"ann@here", "bob@here"}
    assert len(door.came) == 3, "two of Ann's and Eve's"
    for future in door.asked.values():
        future.set_result(None)
    await turns()
    assert len(door.came) == 7
    assert len(door.introducing._asked) == 1


async def test_a_stop_forgets_what_waits() -> None:
    door = Door()
    door.say()
    await turns()
    door.introducing.close()
    await turns()
    assert door.came == []
