"""`resilience.breakers`: what opens and closes them, and any sequence of calls against a model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from resilience.breakers import Attempt, Breakers, Breaking, Circuit

PEER = "b@localhost"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[tuple[str, Circuit]]:
    return []


@pytest.fixture
def breakers(clock: Clock, changes: list[tuple[str, Circuit]]) -> Breakers:
    return Breakers(clock, on_change=lambda peer, circuit: changes.append((peer, circuit)))


def begin(breakers: Breakers, peer: str = PEER) -> Attempt:
    attempt = breakers.attempt(peer)
    assert attempt is not None
    return attempt


def fail(breakers: Breakers, times: int = 5, peer: str = PEER) -> None:
    for _time in range(times):
        begin(breakers, peer).failed()


def test_it_opens_after_five_failures_and_closes_after_a_good_probe(breakers, clock, changes):
    fail(breakers, 4)
    assert breakers.circuit(PEER) is Circuit.CLOSED
    fail(breakers, 1)
    assert breakers.circuit(PEER) is Circuit.OPEN
    assert breakers.attempt(PEER) is None
    assert breakers.rest(PEER) == 30
    clock.now += 29.9
    assert breakers.attempt(PEER) is None
    clock.now += 0.2
    assert breakers.rest(PEER) == 0
    probe = begin(breakers)
    assert breakers.attempt(PEER) is None
    assert breakers.broken() == {PEER: Circuit.HALF_OPEN}
    probe.succeeded()
    assert breakers.broken() == {}
    assert [circuit for _peer, circuit in changes] == [Circuit.OPEN, Circuit.HALF_OPEN, Circuit.CLOSED]
    assert {peer for peer, _circuit in changes} == {PEER}
    fail(breakers, 4)
    assert breakers.circuit(PEER) is Circuit.CLOSED


def test_failures_that_lie_far_apart_do_not_open_it(breakers, clock):
    for _time in range(20):
        fail(breakers, 1)
        clock.now += 15.1
    fail(breakers, 1)
    assert breakers.circuit(PEER) is Circuit.CLOSED


def test_successes_in_between_do_not_hide_failures(breakers):
    for _time in range(4):
        fail(breakers, 1)
        begin(breakers).succeeded()
    fail(breakers, 1)
    assert breakers.circuit(PEER) is Circuit.OPEN


def test_a_bad_probe_opens_it_for_another_rest(breakers, clock):
    fail(breakers)
    clock.now += 30
    begin(breakers).failed()
    assert breakers.circuit(PEER) is Circuit.OPEN
    clock.now += 29.9
    assert breakers.attempt(PEER) is None
    clock.now += 0.1
    begin(breakers).succeeded()
    assert breakers.circuit(PEER) is Circuit.CLOSED


async def test_cancellation_is_neutral(breakers, clock):
    async def endless() -> None:
        with begin(breakers):
            await asyncio.Event().wait()

    for _time in range(10):
        task = asyncio.ensure_future(endless())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert breakers.circuit(PEER) is Circuit.CLOSED
    fail(breakers)
    clock.now += 30
    probe = asyncio.ensure_future(endless())
    await asyncio.sleep(0)
    assert breakers.attempt(PEER) is None
    probe.cancel()
    await asyncio.wait([probe])
    assert breakers.circuit(PEER) is Circuit.HALF_OPEN
    begin(breakers).succeeded()
    assert breakers.circuit(PEER) is Circuit.CLOSED


def test_a_probe_that_tells_nothing_does_not_lock_the_peer_out(breakers, clock):
    fail(breakers)
    clock.now += 30
    begin(breakers)
    assert breakers.rest(PEER) == 30
    clock.now += 30
    begin(breakers).succeeded()
    assert breakers.circuit(PEER) is Circuit.CLOSED


def test_only_the_first_outcome_counts(breakers):
    for _time in range(5):
        attempt = begin(breakers)
        attempt.withdrawn()
        attempt.failed()
    attempt = begin(breakers)
    for _time in range(5):
        attempt.failed()
    assert breakers.circuit(PEER) is Circuit.CLOSED


def test_what_began_before_a_change_says_nothing(breakers, clock):
    early = [begin(breakers) for _time in range(3)]
    fail(breakers)
    clock.now += 20
    early[0].failed()
    early[1].succeeded()
    clock.now += 10
    probe = begin(breakers)
    early[2].succeeded()
    assert breakers.circuit(PEER) is Circuit.HALF_OPEN
    assert breakers.attempt(PEER) is None
    probe.succeeded()


def test_peers_are_apart(breakers):
    fail(breakers)
    assert breakers.attempt("c@localhost") is not None
    assert breakers.circuit("never@localhost") is Circuit.CLOSED
    assert breakers.rest("never@localhost") == 0


def test_there_is_room_for_so_many_and_those_that_fail_stay(clock):
    breakers = Breakers(clock, most=3)
    fail(breakers, peer="bad")
    for peer in ("one", "two", "three", "four"):
        fail(breakers, 4, peer)
    assert list(breakers._breakers) == ["bad", "three", "four"]
    assert breakers.attempt("bad") is None
    for peer in ("three", "four"):
        fail(breakers, 1, peer)
    fail(breakers, peer="five")
    assert list(breakers._breakers) == ["three", "four", "five"]  # "bad" was asked before any of them
    assert len(breakers.broken()) == 3


@pytest.mark.parametrize("fields", [{"failures": 0}, {"window": 0}, {"rest": -1}])
def test_numbers_out_of_range_are_refused(fields):
    with pytest.raises(ValueError, match="must be positive"):
        Breaking(**fields)


@dataclass
class Model:
    """What a breaker should be, in the plainest words."""

    state: str = "closed"
    era: int = 0
    failures: list[float] = field(default_factory=list)
    opened: float = 0.0
    probe: object = None
    probe_began: float = 0.0

    def change(self, state: str) -> None:
        self.state, self.era, self.probe = state, self.era + 1, None


class AnyCalls(RuleBasedStateMachine):
    attempts = Bundle("attempts")

    @initialize(failures=st.integers(1, 4))
    def start(self, failures: int) -> None:
        self.clock, self.model = Clock(), Model()
        self.changes: list[str] = []
        self.breaking = Breaking(failures=failures, window=60, rest=30)
        self.breakers = Breakers(self.clock, self.breaking, lambda _peer, state: self.changes.append(state))

    @rule(seconds=st.sampled_from((0.0, 1.0, 29.0, 30.0, 31.0, 60.0)))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(target=attempts)
    def begin(self) -> tuple[Attempt | None, int]:
        model, now = self.model, self.clock.now
        attempt = self.breakers.attempt(PEER)
        if model.state == "closed":
            is_let_in = True
        elif model.state == "open":
            is_let_in = now - model.opened >= self.breaking.rest
            if is_let_in:
                model.change("half-open")
        else:
            is_let_in = model.probe is None or now - model.probe_began >= self.breaking.rest
        assert (attempt is not None) == is_let_in
        if is_let_in and model.state == "half-open":
            model.probe, model.probe_began = attempt, now
        return attempt, model.era

    @rule(begun=consumes(attempts), outcome=st.sampled_from(("succeeded", "failed", "withdrawn")))
    def end(self, begun: tuple[Attempt | None, int], outcome: str) -> None:
        model, (attempt, era) = self.model, begun
        if attempt is None:
            return
        getattr(attempt, outcome)()
        if model.probe is attempt:
            model.probe = None
        if era != model.era:
            return
        if outcome == "succeeded" and model.state == "half-open":
            model.change("closed")
            model.failures = []
        elif outcome == "failed":
            model.failures.append(self.clock.now)
            recent = [each for each in model.failures if self.clock.now - each < self.breaking.window]
            if model.state == "half-open" or len(recent) >= self.breaking.failures:
                model.change("open")
                model.opened = self.clock.now

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "model"):
            assert self.breakers.circuit(PEER) == self.model.state
            assert len(self.changes) == self.model.era


TestAnyCalls = AnyCalls.TestCase
TestAnyCalls.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_peer_that_is_heard_from_is_probed_at_once(breakers, clock):
    assert not breakers.revive(PEER), "nobody has tried it"
    fail(breakers, 4)
    assert not breakers.revive(PEER)
    fail(breakers, 1)
    assert breakers.revive(PEER)
    assert breakers.rest(PEER) == 0
    probe = begin(breakers)
    assert breakers.attempt(PEER) is None, "one probe at a time"
    assert not breakers.revive(PEER)
    probe.succeeded()
    assert breakers.circuit(PEER) is Circuit.CLOSED
