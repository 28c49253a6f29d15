"""What can go wrong in the embedded XMPP server.

XmppServerError
├── StreamError     the stream is lost: the peer gets <stream:error/> and is closed (RFC 6120 §4.9)
├── StanzaError     one stanza is refused: the sender gets an error stanza (RFC 6120 §8.3)
├── JidError        a text is no JID (RFC 7622); also a ValueError
├── PasswordError   a password that SASLprep forbids (RFC 4013); also a ValueError
├── StoreError      a store of ours cannot answer just now; the client may try again
├── AuthorityError  the certificate authority's folder cannot be used; also an OSError
│   └── DamagedAuthorityError   a file in it is not what it should be
└── ListenError     the address is taken or not ours; also an OSError
"""

from __future__ import annotations

from pathlib import Path


class XmppServerError(Exception):
    """Root of this package's exceptions."""


class StreamError(XmppServerError):
    """A fault that ends the stream.

    Attributes:
        condition: one of RFC 6120 §4.9.3.
        text: a sentence, or "".
        detail: an element with a condition of the application's own (§4.9.4), or "".
    """

    def __init__(self, condition: str, text: str = "", detail: str = "") -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.text = text
        self.detail = detail


class StanzaError(XmppServerError):
    """A stanza that is answered by an error.

    Attributes:
        condition: one of RFC 6120 §8.3.3.
        text: a sentence, or "".
        detail: an element with a condition of the application's own (§8.3.4), or "".
    """

    def __init__(self, condition: str, text: str = "", detail: str = "") -> None:
        super().__init__(f"{condition}: {text}" if text else condition)
        self.condition = condition
        self.text = text
        self.detail = detail


class JidError(XmppServerError, ValueError):
    """A text that is no JID."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{text[:80]!r} is no JID: {reason}")
        self.text = text
        self.reason = reason


class PasswordError(XmppServerError, ValueError):
    """A password that SASLprep forbids. The password itself is never in the message."""


class StoreError(XmppServerError):
    """Raised by a store (accounts, offline messages, rosters) that cannot answer now.

    The client hears temporary-auth-failure while it logs in, and resource-constraint later.
    """


class AuthorityError(XmppServerError, OSError):
    """The certificate authority's folder can be neither read nor written as needed."""

    def __init__(self, folder: object, reason: object) -> None:
        super().__init__(f"cannot keep a certificate authority in {folder}: {reason}; name another folder")
        self.folder = folder


class DamagedAuthorityError(AuthorityError):
    """A file of the certificate authority is not what it should be.

    Args:
        file: which.
        fault: what is wrong; the sentence goes on from the file's name.
    """

    def __init__(self, file: Path, fault: str) -> None:
        mend = f"restore it, or remove {file.parent / 'ca.pem'}: then a new authority is made"
        OSError.__init__(
            self,
            f"the certificate authority is damaged: {file} {fault}; {mend}, "
            "and whoever keeps a copy of the old ca.pem needs the new one",
        )
        self.folder = file.parent


class ListenError(XmppServerError, OSError):
    """The address cannot be listened on. `errno` is the system's."""

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        super().__init__(
            f"the XMPP server cannot listen on {host} port {port} ({cause.strerror or cause}): "
            "stop the program that has it, or choose another port (0 takes any free one)"
        )
        self.errno = cause.errno
        self.host = host
        self.port = port
