"""``[election]`` of the society file: who decides which agent of a group leads.

::

    [election]
    lock = "sqlite"                     # "sqlite": for one machine; "consul"; "memory": within one process
    consul = "http://127.0.0.1:8500"    # consul: where an agent of it is; LOCUTION_CONSUL stands above it
    ttl = 1.5                           # seconds after which a leader that gives no sign of life is dead

The token for Consul is a secret: it comes from the environment variable CONSUL_HTTP_TOKEN. Where Consul
decides, its catalogue has every running agent as well (`society.cataloguing`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from resilience.election import TTL
from society.toml_lines import Place

CONSUL = "http://127.0.0.1:8500"
"""Where an agent of Consul is unless the file or the environment says otherwise."""


class ElectionTable(BaseModel):
    """``[election]``: who decides which agent leads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lock: Literal["sqlite", "consul", "memory"] = "sqlite"
    """The society's one SQLite file, Consul, or nothing beyond the process."""
    consul: str | None = None
    ttl: Annotated[float, Field(ge=0.5, le=60.0, allow_inf_nan=False)] = TTL
    """Less is in the reach of an ordinary pause of the event loop."""

    @property
    def url(self) -> str:
        """The address of Consul."""
        return self.consul or CONSUL


def faults(table: ElectionTable, *, is_from_outside: bool) -> Iterator[tuple[Place, str]]:
    """What stands in the table that can mean nothing, with its place in the table.

    Args:
        table: as it was read.
        is_from_outside: whether the environment has set the address of Consul, for whom it may concern.
    """
    given = table.model_fields_set
    if "consul" in given and table.lock != "consul" and not is_from_outside:
        text = f'the lock is {table.lock!r}; write lock = "consul" too, or leave this out'
        yield ("consul",), f"[election] consul: {text}"
    if "ttl" in given and table.lock == "memory":
        yield ("ttl",), "[election] ttl: a lock in memory ends with its process; leave this out"
