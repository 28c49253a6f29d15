"""The laws of sharing out by hashing."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from resilience.rendezvous import ranked

NAMES = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=6)
KEYS = st.text(max_size=8)


@given(KEYS, NAMES)
def test_all_are_ranked_once_in_whatever_order_they_are_named(key: str, names: set[str]) -> None:
    expected = ranked(key, names)
    assert sorted(expected) == sorted(names)
    assert ranked(key, [*names, *names]) == expected
    for order in list(permutations(names))[:24]:
        assert ranked(key, order) == expected


@given(KEYS, NAMES, st.text(min_size=1, max_size=8))
def test_one_that_comes_takes_from_others_and_moves_nothing_between_them(
    key: str, names: set[str], new: str
) -> None:
    before, after = ranked(key, names), ranked(key, names | {new})
    assert [each for each in after if each != new or new in names] == before


@given(KEYS, NAMES)
def test_what_one_had_that_goes_the_next_in_the_order_has(key: str, names: set[str]) -> None:
    before = ranked(key, names)
    assert ranked(key, names - {before[0]}) == before[1:]


@given(st.integers(min_value=1, max_value=7), st.text(max_size=8))
def test_each_gets_a_fair_part(count: int, salt: str) -> None:
    """Within five standard deviations of a coin with that many sides."""
    names, keys = [f"node-{number}" for number in range(count)], 700
    got = Counter(ranked(f"{salt}{key}", names)[0] for key in range(keys))
    expected = keys / count
    deviation = math.sqrt(keys * (1 / count) * (1 - 1 / count))
    assert all(abs(got[name] - expected) <= 5 * deviation for name in names), got


def test_a_key_and_a_name_are_told_apart() -> None:
    """Else two keys that continue each other would be shared out alike."""
    keys = [("ab" * number, "ab" * (9 - number)) for number in range(9)]
    orders = {tuple(each[-1] for each in ranked(key, [f"{rest}x", f"{rest}y"])) for key, rest in keys}
    assert orders == {("x", "y"), ("y", "x")}


def test_every_process_comes_to_the_same_order() -> None:
    told = "from resilience.rendezvous import ranked; print(*ranked('01a1', ['ann', 'bob', 'cid', 'dan']))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", told],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {" ".join(ranked("01a1", ["dan", "cid", "bob", "ann"])) + "\n"}
    assert ranked("01a1", ["ann", "bob", "cid", "dan"]) == ["bob", "ann", "cid", "dan"]
