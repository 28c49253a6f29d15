"""Stanzas as the router sees them: the start tag understood, the content kept as the bytes that came.

Relaying rewrites the start tag only. That is right because the parser guarantees three things: the default
namespace inside the stanza is jabber:client, `scope` declares every prefix the content may use, and the
content is well-formed XML without DTD, entities, comments or processing instructions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

CLIENT: Final = "jabber:client"
STREAMS: Final = "http://etherx.jabber.org/streams"
STANZAS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
XML: Final = "http://www.w3.org/XML/1998/namespace"

# RFC 6120 §8.3.3: the error type that goes with each condition; unexpected-request as in XEP-0060.
ERROR_TYPES: Final = {
    "bad-request": "modify",
    "conflict": "cancel",
    "feature-not-implemented": "cancel",
    "forbidden": "auth",
    "internal-server-error": "cancel",
    "item-not-found": "cancel",
    "jid-malformed": "modify",
    "not-acceptable": "modify",
    "not-allowed": "cancel",
    "not-authorized": "auth",
    "policy-violation": "modify",
    "recipient-unavailable": "wait",
    "remote-server-not-found": "cancel",
    "resource-constraint": "wait",
    "service-unavailable": "cancel",
    "unexpected-request": "cancel",
}

_SPECIAL = re.compile(r"[&<>\"\t\n\r]")
_QUOTED = {'"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


def quote(value: str) -> str:
    """Escape a text for an attribute in double quotes, keeping tabs and line ends (XML 1.0 §3.3.3)."""
    return escape(value, _QUOTED) if _SPECIAL.search(value) else value


class Stanza:
    """One element at stream level: a stanza, or an element of the negotiation.

    Attributes:
        kind: local name ("message", "iq", "auth").
        namespace: "jabber:client" for stanzas.
        attributes: without a namespace, as sent; xml:lang has the key "xml:lang".
        inner: the content's bytes.
        children: "namespace local" of the first children, in order.
        scope: namespace declarations that the content needs, ready for the start tag.
        oversized: the content was skipped because of `Limits.stanza_bytes`.
    """

    __slots__ = ("attributes", "children", "inner", "kind", "namespace", "oversized", "rest", "scope")

    def __init__(
        self,
        kind: str,
        attributes: dict[str, str],
        inner: bytes = b"",
        *,
        namespace: str = CLIENT,
        children: Sequence[str] = (),
        scope: str = "",
        oversized: bool = False,
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.attributes = attributes
        self.inner = inner
        self.children = children
        self.scope = scope
        self.oversized = oversized
        rest = scope
        for name, value in attributes.items():
            if name not in {"to", "from"}:
                rest += f' {name}="{quote(value)}"'
        self.rest = rest

    @property
    def type(self) -> str:
        """The type attribute, "" when absent."""
        return self.attributes.get("type", "")

    @property
    def id(self) -> str | None:
        """The id attribute."""
        return self.attributes.get("id")

    def render(self, sender: str, recipient: str, extra: bytes = b"") -> bytes:
        """Write the stanza with these addresses, which must be escaped (`Jid.xml`), and `extra` content."""
        start = f'<{self.kind} from="{sender}" to="{recipient}"{self.rest}'.encode()
        if self.inner or extra:
            return b"%b>%b%b</%b>" % (start, self.inner, extra, self.kind.encode())
        return start + b"/>"

    def tree(self) -> ET.Element:
        """Parse the content. Costs as much as the stanza is long, so the router does it only when it must."""
        name = self.kind.encode()
        # The stream's header declares this prefix for every stanza, so the content may use it.
        streams = "" if ' xmlns:stream="' in self.scope else f' xmlns:stream="{STREAMS}"'
        start = f'<{self.kind} xmlns="{quote(self.namespace)}"{streams}{self.rest}>'.encode()
        return ET.fromstring(b"%b%b</%b>" % (start, self.inner, name))  # noqa: S314 - see the import

    def text(self) -> str:
        """The character data directly inside."""
        root = self.tree()
        return (root.text or "") + "".join(child.tail or "" for child in root)


def error_content(condition: str, text: str = "", detail: str = "") -> str:
    """Write the <error/> of an error stanza (RFC 6120 §8.3.2); `detail` is an element, or ""."""
    said = f'<text xmlns="{STANZAS}" xml:lang="en">{escape(text)}</text>' if text else ""
    return f'<error type="{ERROR_TYPES[condition]}"><{condition} xmlns="{STANZAS}"/>{said}{detail}</error>'


def reply(stanza: Stanza, sender: str, recipient: str, kind: str, content: str = "") -> bytes:
    """Answer a stanza from `sender`, the escaped address that was tried.

    The original content is never echoed: an error that carries a body looks like an ordinary message.
    """
    identity = f' id="{quote(stanza.id)}"' if stanza.id is not None else ""
    origin = f' from="{sender}"' if sender else ""
    target = f' to="{recipient}"' if recipient else ""
    return f'<{stanza.kind}{origin}{target}{identity} type="{kind}">{content}</{stanza.kind}>'.encode()


def refusal(
    stanza: Stanza, sender: str, recipient: str, condition: str, text: str = "", detail: str = ""
) -> bytes | None:
    """Answer a stanza with an error; None where RFC 6120 §8.3.1 forbids one.

    An error is never answered by an error, nor is the answer of an IQ.
    """
    if stanza.type == "error" or (stanza.kind == "iq" and stanza.type == "result"):
        return None
    return reply(stanza, sender, recipient, "error", error_content(condition, text, detail))
