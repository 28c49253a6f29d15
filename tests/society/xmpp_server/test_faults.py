from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import pytest

from society.xmpp_server import Action, CertificateAuthority, Passage, ScriptedFaults, SeededFaults
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import Wire


class Ear:
    """A line that remembers."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.is_cut = False

    def deliver(self, data: bytes) -> None:
        self.heard.append(data)

    def cut(self) -> None:
        self.is_cut = True


class Clock:
    """A scheduler that a test moves."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.due.append((seconds, callback))

    def run(self) -> None:
        due, self.due = sorted(self.due, key=lambda entry: entry[0]), []
        for _seconds, callback in due:
            callback()


def message(number: int, recipient: str = "b@h/r", kind: str = "message") -> Passage:
    return Passage("a@h/r", recipient, kind, str(number).encode())


@pytest.mark.parametrize(
    ("script", "heard"),
    [
        ([], "012345"),
        (["pass", "drop", "drop"], "0345"),
        (["duplicate", "pass", "duplicate"], "00122345"),
        (["hold"], "102345"),
        (["hold", "hold", "pass"], "201345"),
        (["pass", "delay"], "023451"),
        (["hold", "drop"], "02345"),
    ],
)
def test_scripts(script: Sequence[Action], heard: str) -> None:
    ear, clock = Ear(), Clock()
    faults = ScriptedFaults(script, later=clock.later)
    for number in range(6):
        faults.pass_on(message(number), ear)
    clock.run()
    assert b"".join(ear.heard).decode() == heard
    assert [passage.xml for passage in faults.seen] == [str(number).encode() for number in range(6)]


def test_only_what_concerns_the_script() -> None:
    ear = Ear()
    faults = ScriptedFaults(["drop"] * 9, concerns=lambda passage: passage.recipient == "c@h/r")
    faults.pass_on(message(1), ear)
    faults.pass_on(message(2, "c@h/r"), ear)
    assert ear.heard == [b"1"]
    presence = ScriptedFaults(["drop"])
    presence.pass_on(message(3, kind="presence"), ear)
    assert ear.heard == [b"1", b"3"]


def test_held_messages_keep_to_their_line() -> None:
    ear, other = Ear(), Ear()
    faults = ScriptedFaults(["hold"])
    faults.pass_on(message(1), ear)
    faults.pass_on(message(2, "c@h/r"), other)
    assert (ear.heard, other.heard) == ([], [b"2"])
    faults.release("b@h/r")
    assert ear.heard == [b"1"]


def test_the_same_seed_makes_the_same_faults() -> None:
    def run(seed: int) -> list[bytes]:
        ear, clock = Ear(), Clock()
        faults = SeededFaults(
            random.Random(seed), drop=0.1, duplicate=0.1, delay=0.1, hold=0.1, later=clock.later
        )
        for number in range(500):
            faults.pass_on(message(number), ear)
        clock.run()
        return ear.heard

    assert run(1) == run(1) != run(2)
    assert 300 < len(set(run(1))) < 500


def test_delays_need_a_clock() -> None:
    with pytest.raises(ValueError, match="scheduler"):
        SeededFaults(random.Random(1), delay=0.5)
    with pytest.raises(ValueError, match="scheduler"):
        ScriptedFaults(["delay"]).pass_on(message(1), Ear())


async def test_faults_between_clients(start: Start, authority: CertificateAuthority) -> None:
    faults = ScriptedFaults(["drop", "duplicate", "hold", "pass", "cut", "pass"])
    server = await start(faults=faults)
    async with Wire(server) as alice, Wire(server) as bob:
        await alice.login(authority, "alice")
        await bob.login(authority, "bob")
        for number in range(4):
            alice.send(f"<message to='{bob.jid}'><body>{number}</body></message>")
        assert [(await bob.message()).split("body>")[1][:1] for _ in range(4)] == ["1", "1", "3", "2"]
        assert {(passage.sender, passage.recipient) for passage in faults.seen} == {(alice.jid, bob.jid)}
        alice.send(f"<message to='{bob.jid}'><body>5</body></message>")
        assert "</stream:stream>" not in await bob.closed()
        alice.send("<message to='bob@localhost'><body>6</body></message>")
        await alice.sync()
    async with Wire(server) as bob:
        await bob.login(authority, "bob")
        assert "<body>6</body>" in await bob.message()


async def test_delays_by_the_event_loop(start: Start, authority: CertificateAuthority) -> None:
    loop = asyncio.get_running_loop()
    server = await start(faults=ScriptedFaults(["delay"], later=loop.call_later, delay_seconds=0.01))
    async with Wire(server) as alice:
        await alice.login(authority, "alice")
        for number in range(2):
            alice.send(f"<message><body>{number}</body></message>")
        assert "<body>1</body>" in await alice.message()
        assert "<body>0</body>" in await alice.message()


async def test_an_own_interceptor(start: Start, authority: CertificateAuthority) -> None:
    """The protocol is one method; a test may write its own."""

    class Shout:
        def pass_on(self, passage: Passage, line: Ear) -> None:
            line.deliver(passage.xml.replace(b"psst", b"PSST"))

    server = await start(faults=Shout())
    async with Wire(server) as alice:
        await alice.login(authority, "alice")
        alice.send("<message><body>psst</body></message>")
        assert "PSST" in await alice.message()
