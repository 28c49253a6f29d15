"""Broken rules; whoever broke them decides what follows.

::

    ProtocolError
    ├── LocalProtocolError     we tried to say something that is not our turn or not in the table
    ├── RemoteProtocolError    the peer did; `answer` says whether it is told so
    └── TraceError             a line of a recorded trace cannot be read
"""

from __future__ import annotations


class ProtocolError(Exception):
    """The root of this package's errors.

    Attributes:
        text: one sentence: which rule, in which state of which conversation.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class LocalProtocolError(ProtocolError):
    """We broke a rule: a fault in the calling code. Nothing has changed and nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule. Nothing has changed.

    Attributes:
        answer: whether to answer not-understood(unexpected-act). A participant does, an initiator
            counts and drops, and a not-understood is never answered (our policy; FIPA is silent).
    """

    def __init__(self, text: str, *, answer: bool) -> None:
        super().__init__(text)
        self.answer = answer


class TraceError(ProtocolError):
    """A line of a recorded trace cannot be read.

    Attributes:
        line: its number, from 1.
    """

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
