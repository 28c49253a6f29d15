"""What the rest of this package needs of a connection; tests and simulations bring their own."""

from __future__ import annotations

import ssl
from enum import StrEnum
from pathlib import Path
from typing import Protocol

PRESENCE = "{jabber:client}presence"


class ConnectionFailed(Exception):  # noqa: N818 - it reads as what happened
    """No session could be had, or it is lost for good; the text says why in one sentence."""


class RequestRefused(Exception):  # noqa: N818 - it reads as what happened
    """A request was answered by an error (RFC 6120, 8.3).

    Attributes:
        condition: one of RFC 6120, 8.3.3.
        text: what the other side says to it; mostly "".
    """

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.text = text


def trusting(ca_file: Path) -> ssl.SSLContext:
    """Believe servers whose certificate that authority has signed, and no others.

    Raises:
        ConnectionFailed: the file cannot be read; the text names it.
    """
    try:
        # Loading it into the default context would trust the system's authorities too.
        return ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError:
        fault = "holds no certificate" if ca_file.read_bytes().strip() else "is empty"
    except OSError as error:
        fault = f"cannot be read: {error.strerror}"
    mend = "put the certificate of the authority there that has signed the server's, in PEM form"
    raise ConnectionFailed(f"{ca_file} {fault}; {mend}")


class Life(StrEnum):
    """What a probe says of a peer's session."""

    ALIVE = "alive"
    GONE = "gone"
    SILENT = "silent"
    """No answer in time: gone, frozen, or the way to it is cut."""


class Transport(Protocol):
    """What delivery and conversations need of a connection."""

    @property
    def is_online(self) -> bool:
        """Whether stanzas can be handed over now."""

    async def wait_online(self) -> None:
        """Return once stanzas can be handed over."""

    def hand_over(self, stanza: str) -> None:
        """Write one stanza.

        Raises:
            ConnectionFailed: there is no session; nothing was written.
        """

    async def confirm(self, timeout: float) -> bool:
        """Whether the server has handled every stanza handed over so far; False if it did not say so."""

    async def probe(self, jid: str, timeout: float) -> Life:
        """Ask whether the session behind a full JID still answers (XEP-0199)."""
