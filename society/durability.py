"""``[delivery]`` of the society file: where messages and conversations are written down, and how long for.

::

    [delivery]
    store = "sqlite"              # "sqlite", "redis", or "memory": nothing survives a restart
    durable = "process"           # sqlite: what is kept survives the process; "power": a power cut as well
    redis = "redis://127.0.0.1:6379/0"    # redis: where it is; LOCUTION_REDIS stands above it

    lease = 8.0                   # after a death, somebody else takes a message over so much later
    retries = 5                   # how often a message is sent that nobody acknowledges
    retry_first = 1.0             # the longest delay after the first attempt; it doubles
    retry_most = 8.0              # the longest delay ever
    life = 3600.0                 # how long a message may wait to be sent
    retention = 7200.0            # how long ids are remembered, so that no message has its effect twice: at
                                  # least life and the 600 s by which clocks may differ
    away = 3.0                    # how long a peer may be away, as while it is started anew, before what it
                                  # does for us is given up; not longer than all retries take together

All times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from resilience.inbox import Terms
from resilience.journal import Policy
from resilience.outbox import Retrying
from society.toml_lines import Place

REDIS = "redis://127.0.0.1:6379/0"
"""Where the Redis server is unless the file or the environment says otherwise."""

Seconds = Annotated[float, Field(gt=0, le=365 * 86_400.0, allow_inf_nan=False)]


class DeliveryTable(BaseModel):
    """``[delivery]``: what an agent must not lose."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    store: Literal["sqlite", "redis", "memory"] = "sqlite"
    """The society's one SQLite file, a Redis server, or nothing that lasts."""
    redis: str | None = None
    durable: Literal["process", "power"] = "process"
    """SQLite only: what a commit survives. A Redis server has its own setting, appendfsync."""
    lease: Seconds = Terms.lease
    retries: Annotated[int, Field(ge=1, le=100)] = Retrying.attempts
    retry_first: Seconds = Retrying.first
    retry_most: Seconds = Retrying.most
    life: Seconds = Retrying.life
    retention: Seconds = Terms.retention
    away: Seconds = Policy.away

    @property
    def url(self) -> str:
        """The address of the Redis server."""
        return self.redis or REDIS

    @property
    def policy(self) -> Policy:
        """The numbers of delivery.

        Raises:
            ValueError: they do not go together.
        """
        return Policy(
            terms=Terms(lease=self.lease, retention=self.retention),
            retrying=Retrying(
                first=self.retry_first, most=self.retry_most, attempts=self.retries, life=self.life
            ),
            away=self.away,
        )


def faults(table: DeliveryTable, *, is_from_outside: bool) -> Iterator[tuple[Place, str]]:
    """What stands in the table that can mean nothing, with its place in the table.

    Args:
        table: as it was read.
        is_from_outside: whether the environment has set the address of Redis, for whom it may concern.
    """
    for key, text in _faults(table, is_from_outside=is_from_outside):
        yield (key,), f"[delivery] {key}: {text}"


def _faults(table: DeliveryTable, *, is_from_outside: bool) -> Iterator[tuple[str, str]]:
    given = table.model_fields_set
    if "redis" in given and table.store != "redis" and not is_from_outside:
        yield "redis", f'the store is {table.store!r}; write store = "redis" too, or leave this out'
    if "redis" in given and table.store == "redis":
        try:
            parts = urlsplit(table.url)
            is_address = parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address:  # it may hold a password, and is not told
            told = "LOCUTION_REDIS" if is_from_outside else "that"
            yield "redis", f"{told} is no address of a Redis server; write e.g. {REDIS}"
    if "durable" in given and table.store != "sqlite":
        where = (
            "a Redis server has its own setting, appendfsync" if table.store == "redis" else "it is memory"
        )
        yield "durable", f"that is for the SQLite file: {where}; leave it out"
    if table.retry_first > table.retry_most:
        yield "retry_first", f"{table.retry_first:g} s are longer than retry_most, {table.retry_most:g} s"
    elif table.retry_most > table.life:
        yield "retry_most", f"{table.retry_most:g} s are longer than life, {table.life:g} s"
    elif table.away > _asked(table):
        yield (
            "away",
            (
                f"what is not acknowledged is given up after about {_asked(table):g} s already, and a peer "
                f"may be away for {table.away:g} s; raise retries or retry_most"
            ),
        )
    elif table.lease >= table.retention:
        yield "lease", f"{table.lease:g} s are not shorter than retention, {table.retention:g} s"
    elif "lease" in given and table.lease > _asked(table) / 2:
        yield (
            "lease",
            (
                f"what is not acknowledged may be given up after {_asked(table) / 2:g} s already, and "
                f"what a dead process had is taken over after {table.lease:g} s only; raise retries or "
                "retry_most"
            ),
        )
    else:
        try:
            _policy = table.policy
        except ValueError as error:
            yield "retention" if "retention" in given else "life", str(error)


def _asked(table: DeliveryTable) -> float:
    """Seconds in which a message is asked after, as far as chance has it."""
    waits = (min(table.retry_first * 2.0**attempt, table.retry_most) for attempt in range(table.retries))
    return float(sum(waits))
