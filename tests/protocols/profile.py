"""How many examples the tests of this folder look at; the same ones every time."""

from __future__ import annotations

from hypothesis import settings

EXAMPLES = settings(max_examples=200, derandomize=True, deadline=None, database=None)
STATEFUL = settings(max_examples=500, stateful_step_count=40, derandomize=True, deadline=None, database=None)
