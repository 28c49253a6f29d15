"""How many examples the tests of this folder look at; the same ones every time.

``pytest --hypothesis-profile=thorough`` looks at ten times as many.
"""

from __future__ import annotations

from hypothesis import settings

EXAMPLES = settings(
    max_examples=2 * settings.default.max_examples, derandomize=True, deadline=None, database=None
)
STATEFUL = settings(stateful_step_count=50, derandomize=True, deadline=None, database=None)
"""As many examples as the profile has, each of up to fifty steps."""
