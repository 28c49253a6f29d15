"""`behaviours.resuming` without a connection: what is counted, kept, asked for and sent again."""

from __future__ import annotations

import asyncio
from typing import Self
from xml.etree import ElementTree

import pytest

from behaviours import resuming as module
from behaviours.resuming import ENABLE, REQUEST, SM, Resuming

MODULUS = 2**32


class Line:
    """A stream of which a test is the server."""

    def __init__(self, *, is_offered: bool = True) -> None:
        self.written: list[str] = []
        self.told: list[str] = []
        self.stream = Resuming(
            self.written.append, lambda: self.told.append("resumed"), lambda: self.told.append("lost")
        )
        self.stream.is_offered = is_offered
        self.stream.begin()

    def says(self, name: str, **attributes: object) -> bool:
        """The server says something."""
        values = {key: str(value) for key, value in attributes.items()}
        return self.stream.takes(ElementTree.Element(f"{{{SM}}}{name}", values))

    def enabled(self) -> Self:
        """The server agrees."""
        assert self.says("enabled", id="a<b", resume="true")
        return self

    def gives(self, count: int) -> None:
        """The server delivers stanzas."""
        for _ in range(count):
            assert not self.stream.takes(ElementTree.Element("{jabber:client}message"))

    def sends(self, *numbers: int) -> None:
        """We send messages."""
        for number in numbers:
            self.written.append(self.stream.counted(stanza(number)))

    def new(self) -> list[str]:
        """What was written since this was asked for."""
        new, self.written[:] = list(self.written), []
        return new

    async def returns(self) -> asyncio.Task[bool]:
        """The connection breaks, and on the next one we ask to go on; the result is whether that is all."""
        self.stream.broke()
        self.new()
        task = asyncio.create_task(self.stream.resume())
        await asyncio.sleep(0)
        return task


def stanza(number: int) -> str:
    return f'<message to="b@c" id="m{number}"/>'


def count(handled: int) -> str:
    return f'<a xmlns="{SM}" h="{handled}"/>'


@pytest.fixture
def line() -> Line:
    line = Line().enabled()
    assert line.new() == [ENABLE]
    return line


def test_without_an_offer_nothing_is_counted() -> None:
    line = Line(is_offered=False)
    line.sends(*range(100))
    assert line.written == [stanza(number) for number in range(100)]
    assert not line.stream.is_counting
    assert not line.stream.can_resume


@pytest.mark.parametrize(
    "answer", [{}, {"id": "x"}, {"id": "x", "resume": "false"}, {"resume": "true"}], ids=str
)
def test_a_server_may_count_and_not_resume(answer: dict[str, str]) -> None:
    line = Line()
    line.says("enabled", **answer)
    assert line.stream.is_counting
    assert not line.stream.can_resume
    line.stream.broke()
    assert not line.stream.is_counting


def test_a_server_may_refuse_to_count() -> None:
    line = Line()
    line.says("failed")
    assert not line.stream.is_counting
    assert line.told == []


def test_only_stanzas_count(line: Line) -> None:
    for text in (" ", "</stream:stream>", REQUEST, "<auth/>"):
        assert line.stream.counted(text) == text
    line.says("a", h=0)
    line.gives(2)
    assert not line.stream.takes(ElementTree.Element("{http://etherx.jabber.org/streams}features"))
    line.says("r")
    assert line.new() == [count(2)]


def test_what_came_before_it_was_enabled_does_not_count() -> None:
    line = Line()
    line.gives(3)
    line.enabled().gives(1)
    line.says("r")
    assert line.new() == [ENABLE, count(1)]


def test_what_is_handled_is_said_at_the_end(line: Line) -> None:
    line.gives(3)
    line.stream.farewell()
    assert line.new() == [count(3)]
    uncounted = Line(is_offered=False)
    uncounted.stream.farewell()
    assert uncounted.new() == []


def test_the_server_is_asked_now_and_then(line: Line) -> None:
    line.sends(*range(2 * module.WINDOW + 1))
    assert [text.endswith(REQUEST) for text in line.new()].count(True) == 2
    line.says("a", h=2 * module.WINDOW)
    line.sends(*range(module.WINDOW - 2))
    assert not "".join(line.new()).count(REQUEST)


def test_what_we_have_handled_goes_with_what_we_say(line: Line) -> None:
    line.gives(2)
    line.sends(1, 2)
    assert line.new() == [count(2) + stanza(1), stanza(2)]
    line.gives(1)
    line.says("r")
    line.sends(3)
    assert line.new() == [count(3), stanza(3)]
    assert line.stream.counted(" ") == " "


async def test_both_counters_begin_again_at_2_to_the_32nd(line: Line) -> None:
    line.stream._handled = MODULUS - 1
    line.stream._acknowledged = line.stream._first = line.stream._asked = MODULUS - 2
    line.gives(1)
    line.sends(*range(5))
    line.says("r")
    line.says("a", h=1)
    assert line.new()[-1] == count(0)
    going_on = await line.returns()
    assert line.new() == [f'<resume xmlns="{SM}" h="0" previd="a&lt;b"/>']
    line.says("resumed", h=2)
    assert line.new() == [stanza(4), REQUEST]
    assert await going_on


async def test_what_was_not_handled_is_sent_again(line: Line) -> None:
    line.sends(*range(6))
    line.stream.counted('<iq id="q" type="get"/>')
    line.says("a", h=2)
    going_on = await line.returns()
    assert not line.stream.is_counting
    assert line.stream.can_resume
    line.new()
    line.says("resumed", h=4, previd="a<b")
    assert line.new() == [stanza(4), stanza(5), '<iq id="q" type="get"/>', REQUEST]
    assert line.told == ["resumed"]
    assert await going_on
    assert line.stream.is_counting


async def test_while_all_are_told_nothing_is_handed_over_twice() -> None:
    line = Line()
    settled: list[bool] = []
    line.stream._on_resumed = lambda: settled.extend(
        line.stream.is_settled(text) for text in (stanza(1), stanza(2), stanza(3), "<message/>")
    )
    line.enabled().sends(1, 2)
    line.stream.counted('<presence type="unavailable"/>')
    line.says("a", h=1)
    await line.returns()
    line.says("resumed", h=1)
    assert settled == [True, True, False, False]
    line.stream.settle()
    assert not line.stream.is_settled(stanza(1))


async def test_a_session_that_is_lost(line: Line) -> None:
    line.sends(1, 2)
    confirming = asyncio.create_task(line.stream.confirmed(30))
    await asyncio.sleep(0)
    going_on = await line.returns()
    line.says("failed")
    assert line.told == ["lost"]
    assert not await going_on
    assert not await confirming
    assert not line.stream.can_resume
    assert not line.stream.is_settled(stanza(1))


async def test_a_session_that_is_lost_with_what_was_handled_of_it(line: Line) -> None:
    line.sends(1, 2)
    confirming = asyncio.create_task(line.stream.confirmed(30))
    await asyncio.sleep(0)
    line.sends(3)
    await line.returns()
    line.says("failed", h=2)
    assert await confirming
    assert [line.stream.is_settled(stanza(number)) for number in (1, 2, 3)] == [True, True, False]


def test_a_server_that_does_not_offer_it_any_more(line: Line) -> None:
    line.stream.broke()
    line.stream.begin()
    assert line.told == ["lost"]
    assert not line.stream.can_resume
    assert line.new() == []


async def test_a_connection_that_breaks_again(line: Line) -> None:
    line.sends(1)
    assert await asyncio.wait_for(_broken_again(line), 5)
    assert line.stream.can_resume
    going_on = await line.returns()
    line.says("resumed", h=0)
    assert await going_on
    assert stanza(1) in line.new()


async def _broken_again(line: Line) -> bool:
    going_on = await line.returns()
    line.stream.broke()
    return await going_on


async def test_confirming(line: Line) -> None:
    assert await line.stream.confirmed(30)
    assert line.new() == []  # nothing to ask for
    line.sends(1, 2)
    confirming = asyncio.create_task(line.stream.confirmed(30))
    await asyncio.sleep(0)
    assert line.new()[2:] == [REQUEST]
    line.sends(3)
    line.says("a", h=1)
    await asyncio.sleep(0)
    assert not confirming.done()
    line.says("a", h=2)
    assert await confirming
    assert not await line.stream.confirmed(0.01)
    assert line.stream._waiters == []
    assert [*line.stream._kept] == [stanza(3)]


async def test_confirming_outlasts_a_break(line: Line) -> None:
    line.sends(1)
    confirming = asyncio.create_task(line.stream.confirmed(30))
    await asyncio.sleep(0)
    await line.returns()
    line.says("resumed", h=0)
    assert not confirming.done()
    line.says("a", h=1)
    assert await confirming


@pytest.mark.parametrize("wrong", ["", "x", -1, 3, 0, MODULUS - 1])
async def test_a_count_that_cannot_be_true_changes_nothing(line: Line, wrong: object) -> None:
    line.sends(1, 2)
    line.says("a", h=1)
    line.says("a", h=wrong)
    await line.returns()
    line.new()
    line.says("resumed", h=1)
    assert line.new() == [stanza(2), REQUEST]


def test_not_without_end(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 50)
    line.sends(*range(50))
    line.says("a", h=50)
    line.sends(*range(50))
    assert line.stream.can_resume
    assert len(line.stream._kept) == 100
    line.says("a", h=60)
    assert len(line.stream._kept) == 90
    line.sends(*range(10))
    assert line.stream.can_resume
    line.sends(0)
    assert not line.stream.can_resume
    assert not line.stream.is_counting
    assert len(line.stream._kept) == 0
    line.gives(1)  # it counts on us nevertheless
    line.new()
    line.says("r")
    assert line.new() == [count(1)]
    line.says("a", h=100)  # of what we have let go of
