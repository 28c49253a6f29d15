"""The task ledger over the three bindings of the journal: one leader writes, and none of the past."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resilience.ledger import DeposedError, Ledger, Stage, Task
from resilience.memory import MemoryJournal
from resilience.records import FormError
from tests.resilience.conftest import Bench

TASK = Task(id="c1", client="carol@here", opening='{"performative": "request"}')


def said(number: int) -> Task:
    """The task as it was written down at some time."""
    return replace(TASK, opening=f"{number}")


async def ledger(bench: Bench, group: str = "g") -> Ledger:
    """The ledger as another process has it."""
    return Ledger(await bench.open(), group)


async def test_the_next_leader_finds_what_the_one_before_has_written(bench: Bench) -> None:
    first, second = await ledger(bench), await ledger(bench)
    assert await first.take(3) == ()
    changed, other = said(1), replace(TASK, client="dave@here")
    await first.write(TASK, other)
    await first.write(changed)
    assert await second.take(5) == (changed, other)


async def test_a_leader_of_the_past_writes_nothing(bench: Bench) -> None:
    first, second = await ledger(bench), await ledger(bench)
    await first.take(3)
    await first.write(TASK)
    await second.take(4)
    for doing in (first.write(said(1)), first.forget(TASK)):
        with pytest.raises(DeposedError, match=r"^term 4 has the ledger of g: nothing is written in term 3$"):
            await doing
    assert not await first.renew()
    assert await second.renew()
    with pytest.raises(DeposedError, match="nothing is written in term 3"):
        await first.take(3)
    assert await second.take(4) == (TASK,), "it may be taken once more in the same term"


async def test_nor_does_it_after_any_time(bench: Bench) -> None:
    """Its successor has died as well, and all leases have run out."""
    first, second = await ledger(bench), await ledger(bench)
    await first.take(3)
    await second.take(4)
    bench.elapse(2 * bench.terms.lease)
    with pytest.raises(DeposedError):
        await first.write(TASK)
    with pytest.raises(DeposedError):
        await first.take(3)
    assert await (await ledger(bench)).take(5) == ()


async def test_what_nobody_has_taken_nobody_writes(bench: Bench) -> None:
    with pytest.raises(DeposedError, match=r"^term 0 has the ledger of g: take it first$"):
        await (await ledger(bench)).write(TASK)
    assert not await (await ledger(bench)).renew()


async def test_leaders_follow_each_other_as_often_as_they_like(bench: Bench) -> None:
    for term in range(1, 12):
        each = await ledger(bench)
        found = await each.take(term)
        assert found == ((said(term - 1),) if term > 1 else ())
        await each.write(said(term))


async def test_of_two_that_take_it_at_once_the_later_term_has_it(bench: Bench) -> None:
    first, second = await ledger(bench), await ledger(bench)
    await asyncio.gather(first.take(7), second.take(8), return_exceptions=True)
    await second.write(TASK)
    with pytest.raises(DeposedError):
        await first.write(said(9))
    assert await (await ledger(bench)).take(9) == (TASK,)


async def test_what_is_forgotten_is_gone_and_groups_are_apart(bench: Bench) -> None:
    one, other = await ledger(bench, "one"), await ledger(bench, "other")
    await one.take(1)
    await other.take(9)
    await one.write(TASK)
    await other.write(TASK, replace(TASK, id="c2"))
    await one.forget(TASK, replace(TASK, id="never"))
    assert await one.take(2) == ()
    assert len(await other.take(10)) == 2


def test_what_is_written_is_read_and_what_is_not_ours_is_told() -> None:
    task = replace(TASK, client="ä@here", opening='{"a": "\\u0000"}')
    assert Task.from_json(task.to_json()) == task
    odd = (task.to_json().replace(old, "odd") for old in ("client", "accepted"))
    for text in ("no json", "[]", '{"v": 1}', *odd):
        with pytest.raises(FormError, match="the store has been tampered with"):
            Task.from_json(text)
    with pytest.raises(FormError, match="written in form 3 by a newer version"):
        Task.from_json(task.to_json().replace('"v":2', '"v":3'))


def test_a_task_of_the_first_form_is_read_as_accepted() -> None:
    """Version 1 knew no more of it."""
    first = '{"v":1,"id":"c1","client":"carol@here","opening":"{\\"performative\\": \\"request\\"}"}'
    assert Task.from_json(first) == TASK
    assert TASK.stage is Stage.ACCEPTED


async def test_how_far_a_task_is_the_next_leader_finds(bench: Bench) -> None:
    first, second = await ledger(bench), await ledger(bench)
    await first.take(1)
    awarded = replace(
        TASK,
        stage=Stage.AWARDED,
        attempt=2,
        conversation="c7",
        winner="anna@here",
        promised=12.5,
        since="2026-11-20T12:00:00+00:00",
        progress='{"epoch": 3}',
        lost={"bert@here": "bert has left"},
    )
    await first.write(awarded)
    (found,) = await second.take(2)
    assert found == awarded
    assert found.stage is Stage.AWARDED


@pytest.mark.parametrize("field", ["id", "client"])
def test_what_cannot_be_kept_is_told(field: str) -> None:
    with pytest.raises(ValueError, match=r"task|client"):
        replace(TASK, **{field: ""})


Step = tuple[str, int]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["take", "write"]), st.integers(1, 6)), max_size=25))
def test_no_earlier_term_ever_writes_after_a_later_one(steps: list[Step]) -> None:
    """Six leaders, of terms 1 to 6, in any order: what stands there is of the latest that has taken it."""

    async def run() -> None:
        journal = MemoryJournal()
        leaders = {term: Ledger(journal, "g") for term in range(1, 7)}
        latest, written, has = 0, None, set[int]()
        for what, term in steps:
            is_allowed = term >= latest if what == "take" else term == latest and term in has
            try:
                if what == "take":
                    found = await leaders[term].take(term)
                    assert found == (() if written is None else (said(written),))
                    latest = term
                    has.add(term)
                else:
                    await leaders[term].write(said(term))
                    written = term
            except DeposedError:
                assert not is_allowed
            else:
                assert is_allowed

    asyncio.run(run())
