"""The catalogue of Consul: agents as services that are found by DNS, each with a check that tells the truth.

One heartbeat for each process: it looks at its agents and says of each how it is, at once where that has
changed. When the process dies or hangs the checks fail by themselves, and Consul forgets the agents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from resilience.consul_client import ConsulClient, ConsulError, UnknownError

TTL = 6.0
"""Seconds after which an agent of which nothing is heard fails. Not those of an election: to be found a
little too long does no harm."""

LOOK = 1.0
"""Seconds between two looks at the agents."""

BEATS = 3
"""Signs of life of each agent in the TTL, where nothing changes."""

LEAVE_WITHIN = 1.0
"""Seconds for each agent to be taken out at the end."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One agent as the catalogue has it."""

    service: str
    """Its id, of the agent and the replica: of two with one id the catalogue has the newer."""
    name: str
    """What it is found by in DNS."""
    tags: tuple[str, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    """Where it is reached; None: on the machine of the agent of Consul."""
    port: int | None = None


Look = Callable[[], Awaitable[Mapping[str, str]]]
"""Looks at the agents: by `Listing.service`, why an agent is not ready; "" where it is. Those that it leaves
out have stopped, and are taken out of the catalogue. It does not raise."""


class ConsulCatalogue:
    """Keeps the agents of a process in the catalogue from `begin` until `close`.

    Args:
        client: whom to ask; it is closed with us.
        listings: the agents.
        look: looks at them.
        on_down: told once why the catalogue cannot be written; nobody else is disturbed by that.
        on_up: told once when it can be again, and the agents stand in it.
        ttl: seconds after which an agent of which nothing is heard fails.
    """

    def __init__(
        self,
        client: ConsulClient,
        listings: Sequence[Listing],
        look: Look,
        *,
        on_down: Callable[[str], None],
        on_up: Callable[[], None],
        ttl: float = TTL,
    ) -> None:
        self._client, self._listings, self._look = client, listings, look
        self._on_down, self._on_up, self._ttl = on_down, on_up, ttl
        self._is_up = True
        self._entered: set[str] = set()
        self._told: dict[str, tuple[str, float]] = {}
        """By service: what was said last, and when."""
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begin to keep them there."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Take them out; what cannot be taken out now fails by itself. Safe to call again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(self._withdraw(each) for each in tuple(self._entered)))
        await self._client.close()

    async def _run(self) -> None:
        while True:
            faults = await self._look()
            done = await asyncio.gather(
                *(self._tell(each, faults.get(each.service)) for each in self._listings),
                return_exceptions=True,
            )
            self._judge([each for each in done if each is not None])
            await asyncio.sleep(LOOK)

    def _judge(self, errors: Sequence[BaseException]) -> None:
        for error in errors:
            if not isinstance(error, ConsulError):  # a mistake of ours, for which nobody waits
                self._on_down(f"it has failed for good: {type(error).__name__}: {error}")
                raise error
        if errors and self._is_up:
            self._is_up = False
            self._on_down(str(errors[0]))
        elif not errors and not self._is_up:
            self._is_up = True
            self._on_up()

    async def _tell(self, listing: Listing, fault: str | None) -> None:
        """Say how an agent is, if that is news or the time for it has come.

        Raises:
            ConsulError: it could not be said.
        """
        now = asyncio.get_running_loop().time()
        last, at = self._told.pop(listing.service, ("", -self._ttl))
        if fault is None:
            await self._withdraw(listing.service)
        elif fault == last and now < at + self._ttl / BEATS:
            self._told[listing.service] = last, at
        else:
            try:
                await self._say(listing, fault)
            except UnknownError:  # somebody has taken it out, or Consul has begun anew
                self._entered.discard(listing.service)
                await self._say(listing, fault)
            self._told[listing.service] = fault, now

    async def _say(self, listing: Listing, fault: str) -> None:
        if listing.service not in self._entered:
            self._entered.add(listing.service)  # whether it was done is not always heard
            await self._client.enter(
                listing.service,
                listing.name,
                ttl=self._ttl,
                status="critical",
                tags=listing.tags,
                meta=listing.meta,
                address=listing.address,
                port=listing.port,
            )
        if fault:
            await self._client.fail(listing.service, fault)
        else:
            await self._client.confirm(listing.service, "ready")

    async def _withdraw(self, service: str) -> None:
        if service in self._entered:
            self._entered.discard(service)
            with suppress(ConsulError):
                await self._client.withdraw(service, LEAVE_WITHIN)
