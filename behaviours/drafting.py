"""What has come up in one piece of work and is not written yet."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field

from resilience.dead_letters import DeadLetter
from resilience.journal import Outcome
from resilience.outbox import Outgoing
from resilience.snapshots import Snapshot

Then = Callable[[], None]

Put = Callable[[], Snapshot]
"""Makes a snapshot when it is written: much is over before it need be."""


@dataclass
class Draft:
    """What the next commit is to bring about (`resilience.journal.Effects`), and what may follow it."""

    put: dict[str, Put] = field(default_factory=dict)
    remove: dict[str, None] = field(default_factory=dict)
    send: list[Outgoing] = field(default_factory=list)
    tried: list[Outgoing] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    bury: list[DeadLetter] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    then: list[Then] = field(default_factory=list)
    lost: list[Then] = field(default_factory=list)
    """What is to be done if it is never written, because another replica has taken the work over."""
    outcome: Outcome = Outcome.WORKING
    reply: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        lists = (self.put, self.remove, self.send, self.tried, self.settled, self.bury, self.drop)
        return not any(lists) and self.outcome is Outcome.WORKING

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for it: whoever is to hear it, or what may be done without writing."""
        return bool(self.send) or self.is_empty

    def keep(self, key: str, snapshot: Put) -> None:
        """Have a snapshot written."""
        self.put[key] = snapshot
        self.remove.pop(key, None)

    def forget(self, key: str, written: Container[str]) -> None:
        """Have a snapshot removed, if it may have been written."""
        if self.put.pop(key, None) is None or key in written:
            self.remove[key] = None

    def go_on(self, later: Draft) -> None:
        """Add what has come up since; this draft could not be written, or nobody knows whether it was."""
        for key in later.remove:
            self.put.pop(key, None)
        for key in later.put:
            self.remove.pop(key, None)
        self.put.update(later.put)
        self.remove.update(later.remove)
        for name in ("send", "tried", "settled", "bury", "drop", "then", "lost"):
            getattr(self, name).extend(getattr(later, name))
        if later.outcome is not Outcome.WORKING:
            self.outcome, self.reply = later.outcome, later.reply
