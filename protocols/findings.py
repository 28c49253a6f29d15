"""What an audit finds: broken rules, each in one sentence that names who broke it and where."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from protocols.table import Role


class Rule(StrEnum):
    """What can be broken."""

    OUT_OF_SEQUENCE = "out-of-sequence"
    """An act that the protocol does not have there, or that is the other side's."""
    AFTER_THE_END = "after-the-end"
    """An act in a conversation that is over."""
    MISSING_CONVERSATION_ID = "missing-conversation-id"
    """FIPA00061, 2.5.1: whoever names a protocol names a conversation, and so does every answer."""
    REUSED_CONVERSATION_ID = "reused-conversation-id"
    """The same: it is globally unique."""
    REPLY_TO_NOBODY = "reply-to-nobody"
    """An act of a protocol in a conversation that nobody opened."""
    FOREIGN_IN_REPLY_TO = "foreign-in-reply-to"
    """In-reply-to names no message of this conversation that the speaker got (FIPA00061, 2.5.4)."""
    UNKNOWN_PROTOCOL = "unknown-protocol"
    """None of FIPA's eleven, nor our own."""
    UNANSWERED = "unanswered"
    """The reply-by passed without the answer that it was for (FIPA00061, 2.5.5)."""
    ANSWER_TO_NOT_UNDERSTOOD = "answer-to-not-understood"
    """Two machines that do not understand each other would say so for ever (our policy)."""
    NEVER_ENDED = "never-ended"
    """A note: the trace ends before the conversation does."""
    NOT_RECORDED = "not-recorded"
    """A note: only one side's words are in the trace, and nobody can say whether they are in order."""


NOTES = frozenset({Rule.NEVER_ENDED, Rule.NOT_RECORDED})
"""What nobody is to blame for."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One broken rule, or a note."""

    rule: Rule
    line: int
    """Of the trace, from 1."""
    agent: str
    """Who broke it; of a note, who is waited for."""
    role: Role | None
    """The part that the agent has in the conversation, where it has one."""
    protocol: str | None
    conversation_id: str | None
    text: str
    """What happened, as the rest of a sentence that begins with the agent."""

    @property
    def is_note(self) -> bool:
        """Whether nobody is to blame."""
        return self.rule in NOTES

    @property
    def sentence(self) -> str:
        """The finding as one sentence."""
        who = self.agent if self.role is None else f"{self.agent} ({self.role.value})"
        told = f"{who} {self.text}"
        return told if self.is_note else f"{told} ({self.rule.value} in {self.protocol or 'no protocol'})"
