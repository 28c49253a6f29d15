"""Stream management without sockets (XEP-0198): two counters, and the stanzas that are not acknowledged."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final

from .errors import StreamError
from .stanzas import STANZAS, Stanza, quote

SM: Final = "urn:xmpp:sm:3"
FEATURE: Final = f'<sm xmlns="{SM}"/>'
REQUEST: Final = f'<r xmlns="{SM}"/>'.encode()

_MODULUS: Final = 2**32  # §4: both counters start again at 0
_HEAD: Final = re.compile(rb'<(message|iq) from="[^"]*" to="([^"]*)"([^>]*)>')
_NOT_FOR_ANYBODY: Final = (b' type="headline"', b' type="groupchat"', b' type="error"')


class Ledger:
    """What one session and its server owe each other.

    Attributes:
        handled: stanzas of the client that the server has taken responsibility for, modulo 2^32.
        size: bytes of the stanzas that the client has not acknowledged.
    """

    __slots__ = ("_acknowledged", "_waiting", "handled", "size")

    def __init__(self) -> None:
        self.handled = 0
        self.size = 0
        self._acknowledged = 0
        self._waiting: deque[bytes] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def sent(self) -> int:
        """Stanzas that were sent to the client, modulo 2^32."""
        return (self._acknowledged + len(self._waiting)) % _MODULUS

    def handle(self) -> None:
        """Count a stanza of the client."""
        self.handled = (self.handled + 1) % _MODULUS

    def push(self, data: bytes) -> None:
        """Keep a stanza until it is acknowledged."""
        self._waiting.append(data)
        self.size += len(data)

    def acknowledge(self, handled: int) -> None:
        """Let go of what the client has handled.

        Raises:
            StreamError: that is more than it was sent, or less than it has said before, which modulo 2^32
                is the same (§4, example 10).
        """
        count = (handled - self._acknowledged) % _MODULUS
        if count > len(self._waiting):
            told = f"{handled} stanzas are acknowledged and {self.sent} were sent"
            numbers = f'h="{handled}" send-count="{self.sent}"'
            raise StreamError(
                "undefined-condition", told, f'<handled-count-too-high xmlns="{SM}" {numbers}/>'
            )
        for _ in range(count):
            self.size -= len(self._waiting.popleft())
        self._acknowledged = handled

    def take_questions(self) -> list[bytes]:
        """Take out, in order, the requests of type get."""
        return self._take(lambda kind, _to, rest: kind == b"iq" and b' type="get"' in rest)

    def take_messages_to(self, account: bytes) -> list[bytes]:
        """Take out, in order, the messages to a bare JID that any of its sessions may have."""
        return self._take(
            lambda kind, to, rest: (
                kind == b"message" and to == account and not any(each in rest for each in _NOT_FOR_ANYBODY)
            )
        )

    def _take(self, is_wanted: Callable[[bytes, bytes, bytes], bool]) -> list[bytes]:
        """Their places stay: what was not lost on the way the client counts."""
        taken = []
        for index, data in enumerate(self._waiting):
            head = _HEAD.match(data)
            if head is not None and is_wanted(head[1], head[2], head[3]):
                taken.append(data)
                self._waiting[index] = b""
                self.size -= len(data)
        return taken

    def to_repeat(self) -> list[bytes]:
        """Return what has to be sent again now that the client has said what it got; places are closed up."""
        self._waiting = deque(data for data in self._waiting if data)
        return list(self._waiting)


def count_of(element: Stanza) -> int:
    """Read the attribute h.

    Raises:
        StreamError: there is none, or it is no count modulo 2^32.
    """
    text = element.attributes.get("h", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < _MODULUS):
        raise StreamError("bad-format", f"h of <{element.kind}/> is a number from 0 to {_MODULUS - 1}")
    return int(text)


def enabled(token: str, seconds: int) -> bytes:
    """Agree to count (§3); with a token, also to resume within so many seconds (§5)."""
    resumable = f' id="{quote(token)}" resume="true" max="{seconds}"' if token else ""
    return f'<enabled xmlns="{SM}"{resumable}/>'.encode()


def acknowledgement(handled: int) -> bytes:
    """Answer a request (§4)."""
    return f'<a xmlns="{SM}" h="{handled}"/>'.encode()


def resumed(token: str, handled: int) -> bytes:
    """Say that the session goes on (§5)."""
    return f'<resumed xmlns="{SM}" previd="{quote(token)}" h="{handled}"/>'.encode()


def failed(condition: str, handled: int | None = None) -> bytes:
    """Refuse; with what was handled of the session that has ended, where that is known (§5)."""
    count = f' h="{handled}"' if handled is not None else ""
    return f'<failed xmlns="{SM}"{count}><{condition} xmlns="{STANZAS}"/></failed>'.encode()
