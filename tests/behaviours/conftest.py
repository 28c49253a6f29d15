"""What the tests of this folder share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
async def _loop_of_this_test(fresh_container: None) -> None:
    """SPADE 4.1.4: its container must learn of each test's loop before an agent or a client is made."""
