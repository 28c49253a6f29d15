"""What the server writes at stream level: header, features, errors (RFC 6120 §4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape

from .errors import StreamError
from .stanzas import CLIENT, STREAMS, quote

END: Final = b"</stream:stream>"


def header(domain: str, identity: str, recipient: str = "") -> bytes:
    """Write the server's stream header (RFC 6120 §4.7)."""
    target = f' to="{quote(recipient)}"' if recipient else ""
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{CLIENT}' xmlns:stream='{STREAMS}' "
        f"from=\"{quote(domain)}\" id='{identity}'{target} version='1.0' xml:lang='en'>"
    ).encode()


def features(parts: Iterable[str]) -> bytes:
    """Write what the client may do next (RFC 6120 §4.3.2)."""
    return f"<stream:features>{''.join(parts)}</stream:features>".encode()


def failure(error: StreamError) -> bytes:
    """Write a stream error (RFC 6120 §4.9)."""
    namespace = "urn:ietf:params:xml:ns:xmpp-streams"
    text = f"<text xmlns='{namespace}' xml:lang='en'>{escape(error.text)}</text>" if error.text else ""
    condition = f"<{error.condition} xmlns='{namespace}'/>"
    return f"<stream:error>{condition}{text}{error.detail}</stream:error>".encode()
