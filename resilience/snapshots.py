"""What an agent must still know of its conversations and timers after a restart.

A snapshot is text under a key, with the form of that text. Whoever writes snapshots knows what is in them
and keeps one `Upgrades` for each kind; this module only says which form may be read by whom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from resilience.forms import newer, storable
from resilience.inbox import JID_LIMIT
from resilience.records import FormError

KEY_LIMIT = 10_000
"""Bytes of a key, which may be made of several ids and JIDs."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One thing to be remembered.

    Raises:
        ValueError: a part is empty, too long, or cannot be kept; the text says which.
    """

    agent: str
    """The bare JID of the agent that remembers it."""
    key: str
    """Unique in the agent, as in ``conversation/<role>/<peer>/<conversation-id>``."""
    form: int
    """The form of the text, from 1."""
    text: str

    def __post_init__(self) -> None:
        storable(self.agent, "the agent's JID", JID_LIMIT)
        storable(self.key, "the snapshot's key", KEY_LIMIT)
        storable(self.text, "the snapshot's text")
        if self.form < 1:
            raise ValueError(f"the first form is 1, not {self.form}")


@dataclass(frozen=True, kw_only=True)
class Upgrades:
    """How snapshots of one kind are brought to the newest form.

    Raises:
        ValueError: a step is missing.
    """

    what: str
    """The kind with its article, for sentences: "a conversation"."""
    newest: int = 1
    steps: Mapping[int, Callable[[str], str]] = field(default_factory=dict)
    """Each turns the text of its form into that of the next one; ValueError says that it is none."""

    def __post_init__(self) -> None:
        if set(self.steps) != set(range(1, self.newest)):
            raise ValueError(f"{self.what} needs a step from each form below {self.newest} and no other")

    def bring(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot in the newest form.

        Raises:
            FormError: a newer version wrote it, or its text is not what its form says. It is left as it
                is; the text names it and says how to go on.
        """
        what = f"{self.what} of {snapshot.agent} under {snapshot.key!r}"
        if snapshot.form > self.newest:
            raise FormError(what, newer(snapshot.form, self.newest))
        text = snapshot.text
        for form in range(snapshot.form, self.newest):
            try:
                text = self.steps[form](text)
            except ValueError as error:
                raise FormError(what, f"cannot be read in its form {form}: {error}") from error
        return replace(snapshot, form=self.newest, text=text)
