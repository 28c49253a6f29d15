"""The journal on a Redis server, which several machines share. The only `import redis`.

Everything of one agent carries its bare JID as hash tag, so that a cluster keeps it together and a script
may touch all of it. ``<agent>``, ``<sender>`` are JIDs percent-encoded. Times are milliseconds of the
server's clock: that of an agent's machine does not matter to leases.

| key | type | holds | lives |
|---|---|---|---|
| ``<prefix>:form`` | string | the form of all this, a number | for ever |
| ``<prefix>:{<agent>}:in:<sender>:<message-id>`` | hash | a claim: phase, owner, leased_at, lease, \
attempts, digest, reply | the retention, from its last change |
| ``<prefix>:{<agent>}:snapshots`` | hash | key to ``<form> <text>`` | until removed |
| ``<prefix>:{<agent>}:outgoing`` | hash | id to ``<place in the order> <JSON>`` | until settled |
| ``<prefix>:{<agent>}:letters`` | hash | id to JSON of a dead letter | until dropped or crowded out |
| ``<prefix>:{<agent>}:order`` | sorted set | ids of dead letters by number | likewise |
| ``<prefix>:{<agent>}:number`` | string | the number given last | for ever |
| ``<prefix>:ready`` | string | nothing: written to see whether it can be | a minute |

The server must keep what it has said it keeps: append-only file on, no eviction. With ``appendfsync
everysec`` all that was acknowledged survives the server's death, and a failing power supply takes the last
second with it; ``always`` keeps that too.

Nothing is tried again here: a command that timed out may have been carried out, and only whoever holds the
owner's token can tell (`resilience.journal` says what may be repeated).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote, urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from resilience import redis_scripts as scripts
from resilience.batching import Batches
from resilience.dead_letters import LETTERS, DeadLetter
from resilience.inbox import Claim, Hold, InboxKey, Standing
from resilience.journal import Depth, Effects, Policy, guard
from resilience.outbox import Outgoing
from resilience.records import RecordsError
from resilience.snapshots import Snapshot

FORM = 1
"""The form of the keys and of what is under them."""

TIMEOUT = 0.25
"""Seconds for a connection and for an answer. A script takes a tenth of a millisecond; what fails for an
event loop that stalls for longer may be repeated, as all of this."""

CONNECTIONS = 8
"""Open at once: one carries all claims and commits, the others what is asked besides."""

PATIENCE = 2.0
"""Seconds that a question waits for a free connection."""

CLOCK_LIMIT = 60.0
"""Seconds by which our clock may differ from the server's: every reply-by that we write is off by as much."""


class RedisStoreError(RecordsError):
    """The server cannot be used; the text is one sentence: which server, why, how to mend it.

    Attributes:
        address: of the server, without user and password.
    """

    def __init__(self, address: str, fault: str) -> None:
        super().__init__(f"the Redis server {address} {fault}")
        self.address = address


class RedisJournal:
    """`Journal` on a Redis server, for any number of agents, replicas and machines; made by `open`."""

    survives = True

    def __init__(self, client: Redis, address: str, policy: Policy, prefix: str, letters: int) -> None:
        self.policy = policy
        self._client, self._address, self._prefix, self._letters = client, address, prefix, letters
        self._batches = Batches(self._carry_out)

    @classmethod
    async def open(
        cls,
        url: str,
        policy: Policy | None = None,
        *,
        prefix: str = "locution",
        letters: int = LETTERS,
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Connect to a server and see whether it can be relied on.

        Args:
            url: ``redis://[[user]:password@]host:port/database``, or ``rediss://`` for TLS.
            policy: the numbers of delivery.
            prefix: what all keys begin with: the society's name, where several share a server.
            letters: how many dead letters are kept of each agent.
            timeout: seconds for a connection and for an answer.
            clock: seconds since the epoch.

        Raises:
            RedisStoreError: it cannot be reached, or would forget, evict or misread what it is given.
        """
        parts = urlsplit(url)
        address = f"at {parts.netloc.rpartition('@')[2]}{parts.path}"
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=PATIENCE,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                protocol=2,  # what every version of server and client speaks
            )
        except ValueError as error:
            raise RedisStoreError(address, f"has no usable address: {error}") from error
        journal = cls(Redis.from_pool(pool), address, policy or Policy(), prefix, letters)
        try:
            await journal._inspect(clock)
        except BaseException:
            await journal.close()
            raise
        return journal

    async def claim(self, hold: Hold, digest: str, dead: Sequence[str] = ()) -> Claim:
        """Ask for a message."""
        terms = self.policy.terms
        values: list[str | int] = [hold.owner, digest, _ms(terms.lease), _ms(terms.retention)]
        values += [terms.most_attempts, *dead]
        found = await self._batches.ask(_Call(scripts.CLAIM, (self._entry(hold.key),), values))
        standing, attempts, reply, is_ours = found
        return Claim(standing=Standing(standing), attempts=attempts, reply=reply, is_ours=bool(is_ours))

    async def renew(self, hold: Hold) -> bool:
        """Prolong the lease; False: it is not ours any more."""
        values = (hold.owner, _ms(self.policy.terms.lease), _ms(self.policy.terms.retention))
        return bool(await self._batches.ask(_Call(scripts.RENEW, (self._entry(hold.key),), values)))

    async def release(self, hold: Hold) -> None:
        """Give a claim back unhandled; one that is not ours is left alone."""
        await self._batches.ask(_Call(scripts.RELEASE, (self._entry(hold.key),), (hold.owner,)))

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """Write everything at once; False: the claim is not ours any more."""
        guard(effects, hold)
        own = tuple(self._key(effects.agent, each) for each in _OWN)
        entry = self._entry(hold.key) if hold is not None else own[0]
        values: list[str | int] = [hold.owner if hold is not None else "", effects.outcome.value]
        values += [effects.reply, _ms(self.policy.terms.retention), self._letters]
        items: tuple[list[tuple[str, ...]], ...] = (
            [(each.key, f"{each.form} {each.text}") for each in effects.put],
            [(key,) for key in effects.remove],
            [(each.id, each.to_json()) for each in effects.send],
            [(each.id, each.to_json()) for each in effects.tried],
            [(each,) for each in effects.settled],
            [(each.id, each.to_json()) for each in effects.bury],
            [(each,) for each in effects.drop],
        )
        for each in items:
            values.append(len(each))
            values.extend(part for item in each for part in item)
        return bool(await self._batches.ask(_Call(scripts.COMMIT, (entry, *own), values)))

    async def outgoing(self, agent: str) -> Sequence[Outgoing]:
        """Return all that stands in the outbox, in the order of being put there."""
        found = await self._ask(self._client.hgetall(self._key(agent, "outgoing")))
        placed = (value.partition(" ") for value in found.values())
        ordered = sorted((int(place), text) for place, _space, text in placed)
        return tuple(Outgoing.from_json(text) for _place, text in ordered)

    async def snapshots(self, agent: str) -> Sequence[Snapshot]:
        """Return all snapshots, ordered by key."""
        found = await self._ask(self._client.hgetall(self._key(agent, "snapshots")))
        return tuple(_snapshot(agent, key, value) for key, value in sorted(found.items()))

    async def snapshot(self, agent: str, key: str) -> Snapshot | None:
        """Return one snapshot, if it is there."""
        value = await self._ask(self._client.hget(self._key(agent, "snapshots"), key))
        return None if value is None else _snapshot(agent, key, value)

    async def letters(self, agent: str, limit: int = 100) -> Sequence[DeadLetter]:
        """Return the newest dead letters, newest first."""
        ids = (
            await self._ask(self._client.zrevrange(self._key(agent, "order"), 0, limit - 1)) if limit else ()
        )
        if not ids:
            return ()
        texts = await self._ask(self._client.hmget(self._key(agent, "letters"), ids))
        pairs = zip(texts, ids, strict=True)  # one that was dropped between the two questions is None
        return tuple(DeadLetter.from_json(text, id=id) for text, id in pairs if text is not None)  # noqa: A001

    async def letter(self, agent: str, id: str) -> DeadLetter | None:  # noqa: A002 - the port's word
        """Return one dead letter, if it is there."""
        text = await self._ask(self._client.hget(self._key(agent, "letters"), id))
        return None if text is None else DeadLetter.from_json(text, id=id)

    async def drop(self, agent: str, id: str) -> bool:  # noqa: A002 - the port's word
        """Remove a dead letter; whether it was there."""
        with self._told():
            async with self._client.pipeline(transaction=True) as both:
                both.zrem(self._key(agent, "order"), id)
                both.hdel(self._key(agent, "letters"), id)
                return bool((await both.execute())[1])

    async def depth(self, agent: str) -> Depth:
        """Say how much there is."""
        with self._told():
            async with self._client.pipeline(transaction=False) as asked:
                asked.hlen(self._key(agent, "outgoing"))
                asked.hlen(self._key(agent, "snapshots"))
                asked.zcard(self._key(agent, "order"))
                asked.zrange(self._key(agent, "order"), 0, 0)
                outgoing, snapshots, letters, oldest = await asked.execute()
        letter = await self.letter(agent, oldest[0]) if oldest else None
        when = letter.when if letter is not None else None
        return Depth(outgoing=outgoing, snapshots=snapshots, letters=letters, oldest_letter=when)

    async def check(self) -> None:
        """Return if the server can be written just now."""
        await self._ask(self._client.set(f"{self._prefix}:ready", "", ex=60))

    async def close(self) -> None:
        """Let go of all connections after what is under way; safe to call again."""
        await self._batches.drained()
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    # -- the server ------------------------------------------------------------------------------

    async def _inspect(self, clock: Callable[[], float]) -> None:
        """See whether the server is one to rely on.

        Raises:
            RedisStoreError: it is not.
        """
        info = await self._ask(self._client.info())
        seconds, micros = await self._ask(self._client.time())
        ahead = seconds + micros / 1e6 - clock()
        policy = info.get("maxmemory_policy")
        fault = ""
        if info.get("loading"):
            fault = "is still loading its data; wait for it"
        elif info.get("role") == "slave":
            fault = "is a read-only replica; name its primary"
        elif not info.get("aof_enabled"):
            fault = "forgets everything when it dies, as its append-only file is off; set appendonly yes"
        elif policy != "noeviction":
            fault = (
                f"drops what it holds when its memory is full (maxmemory-policy {policy}): messages would be "
                "handled twice; set maxmemory-policy noeviction"
            )
        elif abs(ahead) > CLOCK_LIMIT:
            direction = "ahead of" if ahead > 0 else "behind"
            fault = f"has a clock {abs(ahead):.0f} s {direction} that of this machine; set both by NTP"
        if fault:
            raise RedisStoreError(self._address, fault)
        await self._ask(self._client.set(f"{self._prefix}:form", FORM, nx=True))
        form = await self._ask(self._client.get(f"{self._prefix}:form"))
        if form != str(FORM):
            raise RedisStoreError(
                self._address,
                f"holds records in form {form} of a newer version of Locution under {self._prefix!r}, and "
                f"this one reads form {FORM}; update Locution, or name another prefix",
            )

    async def _carry_out(self, calls: list[_Call]) -> list[Any]:
        """Run scripts in one round trip: the result or the error of each."""
        results = await self._send(calls)
        if any(isinstance(each, exceptions.NoScriptError) for each in results):
            # The server is new, or has been started anew. What it did not know it has not done.
            with self._told():
                for script in scripts.ALL:
                    await self._client.script_load(script)
            unknown = [n for n, each in enumerate(results) if isinstance(each, exceptions.NoScriptError)]
            for n, again in zip(unknown, await self._send([calls[n] for n in unknown]), strict=True):
                results[n] = again
        return [self._fault(each) if isinstance(each, Exception) else each for each in results]

    async def _send(self, calls: list[_Call]) -> list[Any]:
        with self._told():
            async with self._client.pipeline(transaction=False) as pipeline:
                for call in calls:
                    pipeline.evalsha(_SHA[call.script], len(call.keys), *call.keys, *call.values)
                return await pipeline.execute(raise_on_error=False)

    def _fault(self, error: Exception) -> RedisStoreError:
        return RedisStoreError(self._address, _sentence(error))

    def _key(self, agent: str, what: str) -> str:
        return f"{self._prefix}:{{{quote(agent, safe='@')}}}:{what}"

    def _entry(self, key: InboxKey) -> str:
        # Encoded, a JID holds no colon: no sender can write itself into another's ids.
        return self._key(key.receiver, f"in:{quote(key.sender, safe='@')}:{key.message_id}")

    async def _ask(self, answer: Awaitable[Any] | Any) -> Any:
        with self._told():
            return await answer

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the errors of the client and the server into sentences."""
        try:
            yield
        except (exceptions.RedisError, OSError) as error:
            raise self._fault(error) from error


@dataclass(frozen=True)
class _Call:
    """One run of a script."""

    script: str
    keys: tuple[str, ...]
    values: Sequence[str | int]


_SHA = {script: hashlib.sha1(script.encode()).hexdigest() for script in scripts.ALL}  # noqa: S324 - Redis's way

_OWN = ("snapshots", "outgoing", "letters", "order", "number")


def _snapshot(agent: str, key: str, value: str) -> Snapshot:
    form, _space, text = value.partition(" ")
    return Snapshot(agent=agent, key=key, form=int(form), text=text)


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _sentence(error: Exception) -> str:
    told = " ".join(str(error).split()).rstrip(".")
    match error:
        case exceptions.AuthenticationError() | exceptions.NoPermissionError():
            return f"refuses us: {told}; correct user and password, and let them use our prefix"
        case exceptions.BusyLoadingError():
            return "is still loading its data; wait for it"
        case exceptions.ReadOnlyError():
            return "is a read-only replica; name its primary"
        case exceptions.OutOfMemoryError():
            return "has no memory left (maxmemory) and cannot write; give it more"
        case exceptions.TimeoutError():
            return "did not answer in time; see whether it, its machine or this one is overloaded"
        case exceptions.ConnectionError():
            return f"cannot be reached ({told}); start it, or correct its address"
    for code, fault in _CODES.items():
        if code in told:
            return fault
    return f"cannot be used: {told}"


_CODES = {
    "MISCONF": "cannot write its file; make room on its disk",
    "OOM": "has no memory left (maxmemory) and cannot write; give it more",
    "READONLY": "is a read-only replica; name its primary",
    "WRONGTYPE": "holds something else under our keys; name another prefix",
}
"""What the server says in the first word of an error."""
