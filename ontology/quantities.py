"""Quantities with their ranges: what a number in a signature or a message may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Seconds = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
"""A duration, of thirty years at most: beyond it, calendars and timers overflow."""

Factor = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
"""How many times something."""

Count = Annotated[int, Field(ge=0, le=1_000_000)]
"""How many, none included."""

Times = Annotated[int, Field(ge=1, le=1_000_000)]
"""How often, once at least."""
