"""What a test needs of the machine: absent on a laptop it skips, in the full build it fails."""

from __future__ import annotations

import os

import pytest


def require(present: bool, what: str) -> None:
    """Skip, naming what is missing; fail when LOCUTION_REQUIRE_ALL=1."""
    if present:
        return
    if os.environ.get("LOCUTION_REQUIRE_ALL") == "1":
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def require_hardware(present: bool, what: str) -> None:
    """Skip, naming what is missing; no build can install it."""
    if not present:
        pytest.skip(f"needs {what}")
