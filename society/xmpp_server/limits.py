"""How much one peer may take from the server."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds on what a peer may cost. Sizes are in bytes on the wire, durations in seconds.

    A stanza over `stanza_bytes` is skipped without being kept and answered by policy-violation; the stream
    goes on. A stanza over `hard_bytes`, and everything else over a bound, ends the stream (RFC 6120 §13.12).
    """

    stanza_bytes: int = 1024 * 1024
    hard_bytes: int = 16 * 1024 * 1024
    tag_bytes: int = 64 * 1024
    """One start tag, attributes included: expat looks at an unfinished tag again at every read."""
    served_bytes: int = 256 * 1024
    """A request that the server itself answers; a presence, which it keeps and repeats."""
    depth: int = 64
    attributes: int = 64
    """Attributes of one element."""

    unauthenticated_bytes: int = 64 * 1024
    login_seconds: float = 10.0
    """For each step of the login (header, TLS, each SASL exchange, binding), of which there are few."""
    unauthenticated_connections: int = 256
    """When one more comes, the one that has been silent longest has to go."""
    auth_attempts: int = 4
    registrations: int = 3
    """New accounts made over one connection."""
    resources: int = 64
    """Sessions of one account at once."""

    outgoing_bytes: int = 4 * 1024 * 1024
    """Unsent bytes for one peer after which whoever sends to it is not read until it catches up."""
    slow_seconds: float = 4.0
    """How long a peer may take none of what waits for it. Whoever sends to it is not read meanwhile, so this
    is less than the 8 s after which our agents take a silent server for dead."""
    idle_seconds: float = 60.0
    """Silence after which a peer is pinged."""
    ping_seconds: float = 20.0
    """Silence after a ping that means the peer is gone."""
    closing_seconds: float = 1.0
    """How long a closed stream waits for the peer to close as well."""

    unacknowledged_stanzas: int = 10_000
    """Under XEP-0198, and not more than `outgoing_bytes` of them. Above that whoever sends to the peer is not
    read, and a peer that acknowledges nothing for `slow_seconds` is given up; a session that sleeps ends."""
    resume_seconds: float = 60.0
    """How long a session sleeps after its connection broke, so that it can be resumed (XEP-0198 §5)."""
    sleeping_sessions: int = 256
    """When one more falls asleep, the one that has slept longest ends."""

    offline_messages: int = 1000
    """Per account; the next sender gets an error, here and where one of the next two would be exceeded."""
    offline_bytes: int = 16 * 1024 * 1024
    """Per account."""
    offline_total_bytes: int = 256 * 1024 * 1024
    """For all accounts together: what waits is held in memory."""
    roster_items: int = 1000
    pubsub_nodes: int = 100
    """Per account."""
    pubsub_subscribers: int = 10_000
    """Per node. One publication is written for each of them in one turn of the event loop."""
    pubsub_items: int = 256
    """The most that a node keeps; together never more than `stanza_bytes`."""
    private_entries: int = 64
    """Private XML and vCards kept for one account."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"Limits.{field.name} must be positive, not {getattr(self, field.name)!r}")
        if self.hard_bytes < self.stanza_bytes:
            raise ValueError("Limits.hard_bytes must not be below Limits.stanza_bytes")
