"""Receipts as stanzas: what is written is read, and a plain agent never sees it."""

from __future__ import annotations

import asyncio
from xml.etree import ElementTree

import pytest

from behaviours import acknowledging as module
from behaviours.acknowledging import Acknowledging
from behaviours.receipts import IDS, MARK, NAMESPACE, Receipts, read, render
from behaviours.wire import Received, parse

PEER = "bob@localhost/1"


def element(stanza: str) -> ElementTree.Element:
    """Read a stanza as a server would hand it on."""
    return ElementTree.fromstring(stanza.replace("<message ", '<message xmlns="jabber:client" ', 1))


ALL = Receipts(acknowledged=("a", "b & <c>"), asked=("d",), missing=("e", "f"))


def test_what_is_written_is_read():
    (stanza,) = render(PEER, ALL)
    assert read(element(stanza)) == ALL
    assert element(stanza).get("to") == PEER


def test_it_says_nothing_to_whoever_knows_no_receipts():
    (stanza,) = render(PEER, ALL)
    assert parse(element(stanza)) is None
    assert element(stanza).find("{jabber:client}body") is None


def test_nothing_is_no_stanza():
    assert render(PEER, Receipts()) == []
    assert read(element(f"<message to='x'>{MARK}</message>")) is None


def test_many_ids_go_in_several_stanzas():
    many = tuple(f"id-{number}" for number in range(2 * IDS + 1))
    found = [read(element(each)) for each in render(PEER, Receipts(acknowledged=many))]
    assert [len(each.acknowledged) for each in found if each] == [IDS, IDS, 1]
    assert tuple(name for each in found if each for name in each.acknowledged) == many


def test_a_hostile_number_of_ids_is_cut():
    ids = "".join(f"<id>{number}</id>" for number in range(10 * IDS))
    receipts = read(element(f'<message to="x"><missing xmlns="{NAMESPACE}">{ids}</missing></message>'))
    assert receipts is not None
    assert len(receipts.missing) == IDS


def test_a_stanza_that_came_back_says_nothing():
    (stanza,) = render(PEER, ALL)
    assert read(element(stanza.replace('type="chat"', 'type="error"'))) is None


def test_the_mark_is_told():
    body = '<body>{"performative": "inform"}</body>'
    for mark, is_marked in ((MARK, True), ("", False)):
        received = parse(element(f"<message to='x@y' from='z@y' id='1'>{body}{mark}</message>"))
        assert isinstance(received, Received)
        assert received.is_marked is is_marked


@pytest.fixture
def sent() -> asyncio.Queue[Receipts]:
    return asyncio.Queue()


@pytest.fixture
def owing(sent: asyncio.Queue[Receipts], monkeypatch: pytest.MonkeyPatch) -> Acknowledging:
    monkeypatch.setattr(module, "ACKNOWLEDGE_AFTER", 0.01)

    def send(stanza: str) -> None:
        receipts = read(element(stanza))
        assert receipts is not None
        sent.put_nowait(receipts)

    return Acknowledging(send)


async def next_of(sent: asyncio.Queue[Receipts]) -> Receipts:
    async with asyncio.timeout(5):
        return await sent.get()


async def test_what_is_owed_to_one_peer_is_paid_in_one_stanza(owing, sent):
    for number in range(3):
        owing.owe(PEER, f"m{number}", None)
    assert await next_of(sent) == Receipts(acknowledged=("m0", "m1", "m2"))
    owing.owe("carol@localhost/1", "m0", None)
    assert await next_of(sent) == Receipts(acknowledged=("m0",))


async def test_a_reply_is_acknowledgement_enough(owing, sent):
    owing.owe(PEER, "m1", "r1")
    owing.owe(PEER, "m2", "r2")
    owing.replied("bob@localhost", "r1")
    owing.replied("carol@localhost", "r2")
    assert await next_of(sent) == Receipts(acknowledged=("m2",))


async def test_what_is_asked_after_is_done_missing_or_under_way(owing, sent):
    owing.take(PEER, "working")
    owing.owe(PEER, "done", None)
    owing.take(PEER, "dropped")
    owing.drop(PEER, "dropped")
    owing.answer("bob@localhost/2", ("done", "working", "never", "dropped"))
    expected = Receipts(acknowledged=("done",), taken=("working",), missing=("never", "dropped"))
    assert sent.get_nowait() == expected
    owing.answer("carol@localhost/1", ("done",))
    assert sent.get_nowait() == Receipts(missing=("done",)), "ids are the sender's own"
    owing.close()


async def test_a_second_copy_of_what_is_done_is_acknowledged_again(owing, sent):
    assert owing.take(PEER, "m1")
    assert not owing.take(PEER, "m1")
    owing.close()
    assert sent.empty()
    owing.owe(PEER, "m1", None)
    assert await next_of(sent) == Receipts(acknowledged=("m1",))
    assert not owing.take("bob@localhost/2", "m1")
    assert await next_of(sent) == Receipts(acknowledged=("m1",))


async def test_at_the_end_all_is_paid(owing, sent):
    owing.owe(PEER, "m1", None)
    owing.close()
    assert sent.get_nowait() == Receipts(acknowledged=("m1",))


async def test_what_is_remembered_is_bounded(owing, sent, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 2)
    for number in range(3):
        owing.owe(PEER, f"m{number}", None)
    owing.answer(PEER, ("m0", "m1"))
    assert sent.get_nowait() == Receipts(acknowledged=("m1",), missing=("m0",))
    owing.close()
