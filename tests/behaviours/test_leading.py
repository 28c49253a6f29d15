"""`behaviours.leading`: of those who stand for election one leads, and hands over when it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from spade.agent import Agent

from behaviours.events import ElectionDown, ElectionUp, Fact, LeaderDeposed, LeaderElected
from behaviours.leading import Leading
from resilience.election import ElectionError, Led, Lock, Standing
from resilience.memory import MemoryLock
from tests.conftest import becomes


class Candidate:
    """An agent without a connection that stands for election."""

    def __init__(self, name: str, lock: Lock, facts: list[Fact]) -> None:
        self.name = f"{name}@here"
        self.facts = facts
        self.agent = Agent(self.name, "secret")
        self.agent._alive.set()
        self.task: asyncio.Task[None] | None = None
        self.agent.submit = self._submit
        self.elected, self.deposed = asyncio.Event(), asyncio.Event()
        self.trouble: Exception | None = None
        self.leading = Leading(
            me=self.name,
            group="g",
            lock=lock,
            on_elected=self._on_elected,
            on_deposed=self._on_deposed,
            hook=facts.append,
        )

    def stand(self) -> None:
        """Begin."""
        self.agent.add_behaviour(self.leading)

    async def leave(self) -> None:
        """Give the lock back and stop, as an agent does."""
        await self.leading.resign()
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})

    def _submit(self, coro: object) -> None:
        self.task = asyncio.ensure_future(coro)  # type: ignore[call-overload]

    async def _on_elected(self) -> None:
        self.elected.set()
        if self.trouble is not None:
            raise self.trouble

    async def _on_deposed(self) -> None:
        self.deposed.set()
        if isinstance(self.trouble, ConnectionError | LookupError):
            raise self.trouble


@pytest.fixture
def facts() -> list[Fact]:
    return []


@pytest.fixture
def lock() -> MemoryLock:
    return MemoryLock()


@pytest.fixture
async def two(lock: MemoryLock, facts: list[Fact]) -> AsyncIterator[tuple[Candidate, Candidate]]:
    first, second = Candidate("first", lock, facts), Candidate("second", lock, facts)
    yield first, second
    for each in (first, second):
        each.trouble = None
        await each.leave()


async def soon(event: asyncio.Event) -> None:
    """Wait for something that is to happen at once."""
    await asyncio.wait_for(event.wait(), 5)


async def test_one_leads_and_the_next_takes_over(two: tuple[Candidate, Candidate], facts: list[Fact]) -> None:
    first, second = two
    first.stand()
    await soon(first.elected)
    second.stand()
    await asyncio.sleep(0.01)
    assert first.leading.is_leader
    assert not second.leading.is_leader
    await first.leave()
    await soon(second.elected)
    assert not first.leading.is_leader
    assert second.leading.is_leader
    assert first.deposed.is_set()
    assert facts == [
        LeaderElected(agent="first@here", group="g", term=1),
        LeaderDeposed(agent="first@here", group="g", term=1),
        LeaderElected(agent="second@here", group="g", term=2),
    ]


async def test_who_cannot_be_certain_to_hold_the_lock_does_not_lead(facts: list[Fact]) -> None:
    """It was frozen, and has not yet come to be told that it has lost it."""

    class Doubtful(MemoryLock):
        is_certain = True

        def holds(self, group: str, term: int) -> bool:
            return self.is_certain and super().holds(group, term)

    lock = Doubtful()
    candidate = Candidate("frozen", lock, facts)
    candidate.stand()
    await soon(candidate.elected)
    assert candidate.leading.is_leader
    lock.is_certain = False
    assert not candidate.leading.is_leader
    lock.is_certain = True
    await candidate.leave()


async def test_who_has_resigned_does_not_stand_again(
    two: tuple[Candidate, Candidate], facts: list[Fact]
) -> None:
    first, _second = two
    first.stand()
    await soon(first.elected)
    await first.leading.resign()
    await asyncio.sleep(0.01)
    assert not first.leading.is_leader
    assert len(facts) == 2
    assert first.agent.behaviours == []


async def test_who_loses_the_lock_is_deposed_and_stands_again(
    two: tuple[Candidate, Candidate], lock: MemoryLock, facts: list[Fact]
) -> None:
    first, _second = two
    first.stand()
    await soon(first.elected)
    first.elected.clear()
    await lock.release("g", 1)
    await soon(first.deposed)
    await soon(first.elected)
    assert first.leading.candidacy.term == 2
    assert [type(fact) for fact in facts] == [LeaderElected, LeaderDeposed, LeaderElected]


async def test_who_cannot_lead_gives_the_lock_back(
    two: tuple[Candidate, Candidate], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = two
    first.trouble = RuntimeError("no registry")
    first.stand()
    await soon(first.elected)
    second.stand()
    await soon(second.elected)
    assert isinstance(first.leading.exit_code, RuntimeError)  # for the supervisor


@pytest.mark.parametrize("trouble", [ConnectionError("gone"), LookupError("lost")])
async def test_a_resignation_releases_the_lock_whatever_goes_wrong(
    two: tuple[Candidate, Candidate], lock: MemoryLock, trouble: Exception
) -> None:
    first, second = two
    first.stand()
    await soon(first.elected)
    first.trouble = trouble
    if isinstance(trouble, ConnectionError):
        await first.leading.resign()
    else:
        with pytest.raises(LookupError):
            await first.leading.resign()
    second.stand()
    await soon(second.elected)


async def test_who_resigns_while_it_reaches_for_the_lock_does_not_keep_it(facts: list[Fact]) -> None:
    class Slow(MemoryLock):
        async def acquire(self, group: str, candidate: str) -> int | None:
            term = await super().acquire(group, candidate)
            reaching.set()
            await go_on.wait()
            return term

    reaching, go_on = asyncio.Event(), asyncio.Event()
    lock = Slow()
    candidate = Candidate("slow", lock, facts)
    candidate.stand()
    await soon(reaching)
    await candidate.leading.resign()
    go_on.set()
    assert candidate.task is not None
    await asyncio.wait_for(candidate.task, 5)
    assert facts == []
    assert await lock.acquire("g", "another@here") == 2


async def test_who_is_beaten_to_it_follows(facts: list[Fact]) -> None:
    class Contested(MemoryLock):
        async def acquire(self, group: str, candidate: str) -> int | None:
            tried.set()
            await super().acquire(group, "another@here")
            return None

    tried = asyncio.Event()
    candidate = Candidate("beaten", Contested(), facts)
    candidate.stand()
    await soon(tried)
    await asyncio.sleep(0.01)
    assert candidate.leading.candidacy.standing is Standing.FOLLOWER
    assert facts == []
    await candidate.leave()


class Mortal(MemoryLock):
    """A lock that may be down, and then answers nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.turned = asyncio.Event()

    async def acquire(self, group: str, candidate: str) -> int | None:
        self._answer()
        return await super().acquire(group, candidate)

    async def groups(self) -> Mapping[str, Led | None]:
        self._answer()
        return await super().groups()

    async def wait_free(self, group: str) -> None:
        self._answer()
        waiting = asyncio.ensure_future(super().wait_free(group))
        turning = asyncio.ensure_future(self.turned.wait())
        await asyncio.wait({waiting, turning}, return_when=asyncio.FIRST_COMPLETED)
        for each in (waiting, turning):
            each.cancel()
        self._answer()

    def _answer(self) -> None:
        if self.is_down:
            raise ElectionError("nobody answers")


async def test_who_leaves_a_lock_to_others_is_well_as_soon_as_it_answers_again(facts: list[Fact]) -> None:
    lock = Mortal()
    assert await lock.acquire("g", "leader@here") == 1
    candidate = Candidate("follower", lock, facts)
    candidate.leading._hesitation = lambda: 0.0
    candidate.stand()
    lock.is_down = True
    lock.turned.set()
    await becomes(lambda: candidate.leading.trouble == "nobody answers")
    lock.turned.clear()
    lock.is_down = False
    await becomes(lambda: candidate.leading.trouble == "")  # though another one leads
    assert not candidate.elected.is_set()
    await lock.release("g", 1)
    await soon(candidate.elected)
    assert [type(fact) for fact in facts] == [ElectionDown, ElectionUp, LeaderElected]
    await candidate.leave()


async def test_who_stands_by_is_well_as_soon_as_the_lock_answers_again(facts: list[Fact]) -> None:
    lock = Mortal()
    assert await lock.acquire("g", "leader@here") == 1
    candidate = Candidate("follower", lock, facts)
    candidate.stand()
    await soon(candidate.leading.tried)
    assert candidate.leading.trouble == ""
    lock.is_down = True
    lock.turned.set()
    await becomes(lambda: ElectionDown(agent="follower@here", group="g", text="nobody answers") in facts)
    assert candidate.leading.trouble == "nobody answers"
    lock.turned.clear()
    lock.is_down = False
    await becomes(lambda: ElectionUp(agent="follower@here", group="g") in facts)  # though another one leads
    assert candidate.leading.trouble == ""
    assert [type(fact) for fact in facts] == [ElectionDown, ElectionUp]
    await candidate.leave()


async def test_it_takes_no_messages(two: tuple[Candidate, Candidate]) -> None:
    assert two[0].leading.match(object()) is False
