"""`resilience.election`: the whole grid of a candidate's life, and terms that only grow."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.election import TABLE, Candidacy, Event, Standing, advance

F, C, L = Standing.FOLLOWER, Standing.CANDIDATE, Standing.LEADER

GRID = {
    # event:            follower  candidate  leader
    Event.LOCK_FREE: (C, None, None),
    Event.ACQUIRED: (None, L, None),
    Event.BEATEN: (F, F, None),
    Event.LOST: (F, F, F),
    Event.RESIGNED: (F, F, F),
}


@pytest.mark.parametrize(("standing", "event"), list(itertools.product(Standing, Event)))
def test_every_cell_of_the_grid(standing: Standing, event: Event) -> None:
    expected = GRID[event][list(Standing).index(standing)]
    before = Candidacy(group="g", standing=standing, term=3)
    if expected is None:
        with pytest.raises(ValueError, match=f"{event.value} cannot happen to a {standing.value}"):
            advance(before, event, 4)
    else:
        term = 4 if event is Event.ACQUIRED else 3
        assert advance(before, event, 4) == Candidacy(group="g", standing=expected, term=term)
    assert ((standing, event) in TABLE) == (expected is not None)
    assert before == Candidacy(group="g", standing=standing, term=3)


@pytest.mark.parametrize("term", [None, 0, 2, 3])
def test_a_term_that_does_not_grow_is_no_leadership(term: int | None) -> None:
    with pytest.raises(ValueError, match="the lock has gone back in time"):
        advance(Candidacy(group="g", standing=C, term=3), Event.ACQUIRED, term)


@given(st.lists(st.sampled_from(Event)))
def test_whatever_happens_terms_only_grow_and_one_leads_by_acquiring(events: list[Event]) -> None:
    candidacy = Candidacy(group="g")
    terms = itertools.count(1)
    for event in events:
        try:
            moved = advance(candidacy, event, next(terms))
        except ValueError:
            continue
        assert moved.term >= candidacy.term
        assert moved.is_leader == (moved.standing is L)
        if moved.is_leader:
            assert event is Event.ACQUIRED
            assert moved.term > candidacy.term
        candidacy = moved


def test_every_standing_can_be_reached_and_left() -> None:
    assert set(TABLE.values()) == set(Standing)
    for standing in Standing:
        assert any(
            source is standing and following is not standing for (source, _), following in TABLE.items()
        )
