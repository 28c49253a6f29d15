"""Nobody hears of what is not written down, whatever the store does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from behaviours.drafting import Put
from behaviours.events import Fact, StoreDown, StoreUp
from behaviours.journaling import Journaling, Lane
from resilience.inbox import Hold, InboxKey, Standing
from resilience.journal import Effects, Outcome, Policy, Terms
from resilience.memory import MemoryJournal
from resilience.records import RecordsError
from resilience.snapshots import Snapshot

ME = "alice@localhost"


class Store(MemoryJournal):
    """A journal of which a test holds the door, and can shut it."""

    def __init__(self) -> None:
        super().__init__(Policy(terms=Terms(lease=0.03)))
        self.door = asyncio.Event()
        self.door.set()
        self.is_down = False
        self.commits: list[tuple[str, ...]] = []
        self.came = asyncio.Event()

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        self.came.set()
        await self.door.wait()
        if self.is_down:
            raise RecordsError("the disk is full; make room")
        self.commits.append(tuple(each.key for each in effects.put))
        return await super().commit(effects, hold)


def snapshot(key: str, of: str = ME) -> dict[str, Put]:
    """What is to be kept under a key."""
    return {key: lambda: Snapshot(agent=of, key=key, form=1, text="x")}


class Bench:
    """A journaling, its store, and what has happened."""

    def __init__(self) -> None:
        self.store = Store()
        self.facts: list[Fact] = []
        self.happened: asyncio.Queue[str] = asyncio.Queue()
        self.journaling = Journaling(ME, self.store, self.take, rng=lambda: 0.0)
        self.told = asyncio.Event()

    def take(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.told.set()

    def note(self, lane: Lane, key: str) -> None:
        lane.note(put=snapshot(key), then=lambda: self.happened.put_nowait(key))

    async def claimed(self, message_id: str, owner: str = "one") -> Hold:
        hold = Hold(key=InboxKey(receiver=ME, sender="bob@localhost", message_id=message_id), owner=owner)
        claim = await self.store.claim(hold, "digest")
        assert claim.is_ours
        return hold

    async def next(self, count: int = 1) -> list[str]:
        async with asyncio.timeout(5):
            return [await self.happened.get() for _ in range(count)]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.journaling.close()


async def test_what_follows_happens_once_it_is_written_and_in_order(bench):
    bench.store.door.clear()
    for key in ("a", "b"):
        bench.note(bench.journaling.open, key)
    await bench.store.came.wait()
    bench.note(bench.journaling.open, "c")
    assert bench.happened.empty()
    bench.store.door.set()
    assert await bench.next(3) == ["a", "b", "c"]
    assert bench.store.commits == [("a", "b"), ("c",)], "what comes up in one go is written at once"
    await bench.journaling.settled()
    assert [each.key for each in await bench.store.snapshots(ME)] == ["a", "b", "c"]


async def test_what_need_not_be_written_happens_at_once_but_never_before_what_must_be(bench):
    lane = bench.journaling.open
    lane.note(then=lambda: bench.happened.put_nowait("now"))
    assert bench.happened.get_nowait() == "now"
    bench.store.door.clear()
    bench.note(lane, "a")
    lane.note(then=lambda: bench.happened.put_nowait("after a"))
    await bench.store.came.wait()
    lane.note(then=lambda: bench.happened.put_nowait("after that"))
    assert bench.happened.empty()
    bench.store.door.set()
    assert await bench.next(3) == ["a", "after a", "after that"]


async def test_lanes_do_not_wait_for_each_other(bench):
    lanes = [bench.journaling.lane(await bench.claimed(name), lambda: None) for name in "ab"]
    for lane, key in zip(lanes, "ab", strict=True):
        bench.note(lane, key)
    assert sorted(await bench.next(2)) == ["a", "b"]


async def test_while_the_store_is_down_nothing_is_let_out_and_nothing_is_lost(bench):
    bench.store.is_down = True
    lane = bench.journaling.lane(await bench.claimed("m1"), lambda: None)
    bench.note(lane, "a")
    async with asyncio.timeout(5):
        await bench.told.wait()
    assert bench.facts == [StoreDown(agent=ME, text="the disk is full; make room")]
    assert not bench.journaling.is_up
    bench.note(lane, "b")
    lane.note(then=lambda: bench.happened.put_nowait("after b"))
    assert bench.happened.empty()
    bench.store.is_down = False
    assert await bench.next(3) == ["a", "b", "after b"]
    assert bench.store.commits == [("a", "b")]
    await bench.journaling.settled()
    assert bench.facts[1:] == [StoreUp(agent=ME)]
    assert bench.journaling.is_up


async def test_what_has_been_taken_over_is_not_written_any_more(bench):
    taken = asyncio.Event()
    hold = await bench.claimed("m1")
    lane = bench.journaling.lane(hold, taken.set)
    await bench.store.release(hold)
    await bench.claimed("m1", owner="another")
    bench.note(lane, "a")
    async with asyncio.timeout(5):
        await taken.wait()
    bench.note(lane, "b")
    await bench.journaling.settled()
    assert bench.happened.empty()
    assert bench.store.commits == [("a",)]
    assert await bench.store.snapshots(ME) == ()
    assert not bench.journaling._held, "what is another's is not renewed any more"


async def test_the_end_of_a_piece_of_work_is_written_with_it(bench):
    hold = await bench.claimed("m1")
    lane = bench.journaling.lane(hold, lambda: None)
    bench.note(lane, "a")
    lane.finish("the reply")
    await bench.next()
    claim = await bench.store.claim(Hold(key=hold.key, owner="another"), "digest")
    assert (claim.standing, claim.reply) == (Standing.DONE, "the reply")


async def test_an_end_that_could_not_be_written_is_written_later(bench):
    hold = await bench.claimed("m1")
    lane = bench.journaling.lane(hold, lambda: None)
    bench.store.is_down = True
    lane.finish("too often", Outcome.DEAD)
    async with asyncio.timeout(5):
        await bench.told.wait()
    bench.note(lane, "a")
    bench.store.is_down = False
    await bench.next()
    claim = await bench.store.claim(Hold(key=hold.key, owner="another"), "digest")
    assert (claim.standing, claim.reply) == (Standing.DEAD, "too often")


async def test_what_is_over_before_it_was_written_is_not_written(bench):
    lane = Lane(bench.journaling)
    bench.note(lane, "a")
    lane.note(remove=("a",))
    bench.note(lane, "b")
    assert await bench.next(2) == ["a", "b"]
    assert bench.store.commits == [("b",)]
    lane.note(remove=("b",))
    await bench.journaling.settled()
    assert await bench.store.snapshots(ME) == ()


async def test_what_may_have_been_written_before_the_store_failed_is_removed(bench):
    """An answer that got lost: the store has it, and we do not know."""
    lane, commit = Lane(bench.journaling), bench.store.commit

    async def lose(effects: Effects, hold: Hold | None = None) -> bool:
        await commit(effects, hold)
        bench.store.commit = commit
        lane.note(remove=("a",))
        raise RecordsError("the store did not answer in time")

    bench.store.commit = lose
    bench.note(lane, "a")
    await bench.next()
    await bench.journaling.settled()
    assert await bench.store.snapshots(ME) == ()


async def test_what_is_put_again_after_it_was_removed_is_there(bench):
    lane = Lane(bench.journaling)
    bench.note(lane, "a")
    await bench.next()
    lane.note(remove=("a",))
    bench.note(lane, "a")
    await bench.next()
    assert [each.key for each in await bench.store.snapshots(ME)] == ["a"]


async def test_a_mistake_in_what_follows_does_not_stop_the_rest(bench):
    def stumble() -> None:
        raise KeyError("bead")

    bench.journaling.open.note(put=snapshot("a"), then=stumble)
    bench.note(bench.journaling.open, "b")
    assert await bench.next() == ["b"]
    assert [each.text for each in bench.facts] == ["KeyError: 'bead'"]


async def test_what_can_never_be_written_does_not_hold_up_the_rest(bench):
    bench.journaling.open.note(put=snapshot("a", of="carol@localhost"))
    other = Lane(bench.journaling)
    bench.note(other, "b")
    assert await bench.next() == ["b"]
    await bench.journaling.settled()
    (fact,) = bench.facts
    assert fact.text == "ValueError: a commit of alice@localhost holds records of carol@localhost"
    bench.note(bench.journaling.open, "c")
    assert await bench.next() == ["c"]


async def test_leases_are_renewed_until_the_work_is_dropped(bench):
    taken = asyncio.Event()
    hold = await bench.claimed("m1")
    lane = bench.journaling.lane(hold, taken.set)
    renewing = asyncio.create_task(bench.journaling.renewing())
    loop = asyncio.get_running_loop()
    until = loop.time() + 0.1  # more than three leases
    while loop.time() < until:
        assert (await bench.store.claim(Hold(key=hold.key, owner="another"), "digest")).standing is (
            Standing.BUSY
        )
        await asyncio.sleep(0)
    bench.journaling.drop(lane)
    while not taken.is_set():
        claim = await bench.store.claim(Hold(key=hold.key, owner="another"), "digest")
        if claim.standing is Standing.TAKEOVER:
            break
        await asyncio.sleep(0)
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)


async def test_a_lease_that_is_lost_is_noticed_at_its_renewal(bench):
    taken = asyncio.Event()
    hold = await bench.claimed("m1")
    bench.journaling.lane(hold, taken.set)
    await bench.store.release(hold)
    await bench.claimed("m1", owner="another")
    renewing = asyncio.create_task(bench.journaling.renewing())
    async with asyncio.timeout(5):
        await taken.wait()
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)


async def test_whoever_waits_for_what_another_has_taken_is_told(bench):
    """Be it on its way, noted meanwhile, or noted when it was gone already."""
    hold = await bench.claimed("m1")
    lane = bench.journaling.lane(hold, lambda: None)
    lost: list[str] = []
    bench.store.door.clear()
    bench.note(lane, "a")
    lane.note(lost=lambda: lost.append("a"))
    await bench.store.came.wait()
    lane.note(put=snapshot("b"), lost=lambda: lost.append("b"))
    await bench.store.release(hold)
    assert (await bench.store.claim(Hold(key=hold.key, owner="another"), "digest")).is_ours
    bench.store.door.set()
    await bench.journaling.settled()
    assert lost == ["a", "b"]
    lane.note(put=snapshot("c"), lost=lambda: lost.append("c"))
    assert lost == ["a", "b", "c"]
    assert bench.happened.empty()
