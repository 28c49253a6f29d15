"""The XML stream, without sockets: bytes in, `Opened`, `Stanza` and `Closed` out (RFC 6120 §4 and §11).

expat parses; this module counts, cuts and forbids. A DTD is refused at its first token, so no entity is ever
declared, let alone expanded. Bytes are kept for the stanza in progress only, and for none that is too large.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.parsers import expat

from .errors import StreamError
from .limits import Limits
from .stanzas import CLIENT, STREAMS, XML, Stanza, quote

_SLICE = 64 * 1024
_KNOWN_CHILDREN = 64
_INHERITED = 1024  # of the stream header, which each stanza carries on: a lever for small stanzas
_START_TAG = re.compile(rb"<[^\"'>]*(?:\"[^\"]*\"[^\"'>]*|'[^']*'[^\"'>]*)*>")
_HANDLERS = (
    *("StartElement", "EndElement", "CharacterData", "StartNamespaceDecl", "XmlDecl"),
    *("StartDoctypeDecl", "EntityDecl", "Comment", "ProcessingInstruction"),
)
_LANG = f"{XML}\nlang"


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer's stream header. `attributes` are those without a namespace, and "xml:lang"."""

    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer's </stream:stream>."""


Event = Opened | Stanza | Closed | StreamError


class StreamParser:
    """Parses one direction of one stream. Make a new one after TLS and after SASL (RFC 6120 §4.3.3)."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._events: list[Event] = []
        self._depth = 0
        self._fed = 0
        self._buffer = bytearray()
        self._base = 0  # index in the stream of the buffer's first byte
        self._start = 0  # index of the stanza in progress
        self._skipping = False
        self._failed = False
        self._declared: list[tuple[str | None, str]] = []
        self._header_scope: dict[str, str] = {}
        self._header_default = ""
        self._lang = ""
        self._head: tuple[str, str, dict[str, str], str] = ("", "", {}, "")
        self._children: list[str] = []
        self._parser = parser = expat.ParserCreate("UTF-8", "\n")
        if hasattr(parser, "SetReparseDeferralEnabled"):
            # expat 2.6 would hold the last stanza back until more bytes come; `tag_bytes` bounds the work.
            parser.SetReparseDeferralEnabled(False)
        handlers = (self._on_start, self._on_end, self._on_text, self._on_namespace, self._on_declaration)
        for name, handler in zip(_HANDLERS, (*handlers, *[self._on_forbidden] * 4), strict=True):
            setattr(parser, f"{name}Handler", handler)

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes, return what they complete. A StreamError is the last event of this parser.

        Whole stanzas before the fault come first, so that what a peer said properly is not lost.
        """
        for offset in range(0, len(data), _SLICE):
            if self._failed:
                break
            try:
                self._feed(data[offset : offset + _SLICE])
            except StreamError as error:
                self._fail(error)
            except expat.ExpatError as error:
                # RFC 6120 §4.9.3.13; what expat calls an unbound prefix is also not (namespace-)well-formed.
                self._fail(StreamError("not-well-formed", expat.ErrorString(error.code)))
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Break the reference cycle with expat, so that a closed connection is freed at once."""
        self._failed = True
        for name in _HANDLERS:
            setattr(self._parser, f"{name}Handler", None)

    def _fail(self, error: StreamError) -> None:
        self._failed = True
        self._buffer.clear()
        self._events.append(error)

    def _feed(self, data: bytes) -> None:
        parser, limits = self._parser, self._limits
        if self._depth == 0 and b"\0" in data:
            # expat guesses UTF-16 from the first bytes, whatever encoding it was told (RFC 6120 §11.6).
            raise StreamError("unsupported-encoding", "streams are UTF-8")
        self._buffer += data
        self._fed += len(data)
        parser.Parse(data, False)
        pending = parser.CurrentByteIndex
        if self._fed - pending > limits.tag_bytes:
            raise StreamError("policy-violation", f"a tag is limited to {limits.tag_bytes} bytes")
        if self._depth > 1:
            size = self._fed - self._start
            if size > limits.hard_bytes:
                raise StreamError("policy-violation", f"a stanza is limited to {limits.stanza_bytes} bytes")
            self._skipping = size > limits.stanza_bytes
            self._forget(self._fed if self._skipping else self._start)
        else:
            self._forget(pending)

    def _forget(self, index: int) -> None:
        """Drop buffered bytes before this index of the stream."""
        if index > self._base:
            del self._buffer[: index - self._base]
            self._base = index

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        depth = self._depth
        self._depth = depth + 1
        if len(attributes) > self._limits.attributes:
            raise StreamError(
                "policy-violation", f"an element is limited to {self._limits.attributes} attributes"
            )
        if depth > 1:
            if depth == 2:
                if len(self._children) < _KNOWN_CHILDREN:
                    self._children.append(name)
            elif depth > self._limits.depth:
                raise StreamError(
                    "policy-violation", f"elements are limited to a depth of {self._limits.depth}"
                )
        elif depth == 1:
            self._start_stanza(name, attributes)
        else:
            self._start_stream(name, attributes)

    def _start_stream(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition("\n")
        if local != "stream":
            raise StreamError("bad-format", "a stream begins with <stream:stream>")
        scope = {prefix or "": uri for prefix, uri in self._declared}
        self._declared.clear()
        self._header_default = scope.pop("", "")
        # RFC 6120 §4.8.1 and §4.8.2: the namespaces are those two or the stream is refused.
        if namespace != STREAMS or self._header_default != CLIENT:
            raise StreamError("invalid-namespace", f"streams need {STREAMS} and {CLIENT}")
        if scope.get("stream") == STREAMS:
            del scope["stream"]
        plain = _plain(attributes)
        self._header_scope, self._lang = scope, plain.get("xml:lang", "")
        if len(self._lang) + sum(len(prefix) + len(uri) for prefix, uri in scope.items()) > _INHERITED:
            raise StreamError("policy-violation", f"every stanza would grow by more than {_INHERITED} bytes")
        self._events.append(Opened(plain))

    def _start_stanza(self, name: str, attributes: dict[str, str]) -> None:
        self._parser.CharacterDataHandler = None
        self._start = self._parser.CurrentByteIndex
        self._children = []
        namespace, _, local = name.rpartition("\n")
        default = self._header_default
        scope = self._header_scope
        if self._declared:
            scope = dict(scope)
            for prefix, uri in self._declared:
                if prefix is None:
                    default = uri or ""
                else:
                    scope[prefix] = uri
            self._declared.clear()
        if namespace == CLIENT and default != CLIENT:
            # RFC 6120 §4.8.5: content namespaces are not prefixed; relaying relies on it.
            raise StreamError("bad-namespace-prefix", f"{CLIENT} must be the default namespace")
        plain = _plain(attributes)
        if self._lang and namespace == CLIENT and "xml:lang" not in plain:
            plain["xml:lang"] = self._lang  # RFC 6120 §8.1.5: the stream's language is the stanza's default
        declarations = "".join(f' xmlns:{prefix}="{quote(uri)}"' for prefix, uri in scope.items())
        self._head = (local, namespace, plain, declarations)

    def _on_end(self, _name: str) -> None:
        depth = self._depth = self._depth - 1
        if depth == 1:
            self._end_stanza()
        elif depth == 0:
            self._events.append(Closed())

    def _end_stanza(self) -> None:
        self._parser.CharacterDataHandler = self._on_text
        kind, namespace, attributes, scope = self._head
        end = self._parser.CurrentByteIndex
        oversized = self._skipping or end - self._start > self._limits.stanza_bytes
        inner = b""
        if not oversized:
            tag = _START_TAG.match(self._buffer, self._start - self._base)
            if tag is None:  # cannot be: expat has accepted this tag
                raise StreamError("internal-server-error")
            if end - self._base > tag.end():
                inner = bytes(self._buffer[tag.end() : end - self._base])
        self._skipping = False
        self._events.append(
            Stanza(
                kind,
                attributes,
                inner,
                namespace=namespace,
                children=self._children,
                scope=scope,
                oversized=oversized,
            )
        )

    def _on_namespace(self, prefix: str | None, uri: str) -> None:
        if self._depth < 2:
            self._declared.append((prefix, uri))

    def _on_text(self, text: str) -> None:
        # RFC 6120 §4.6.1: between stanzas there is whitespace, which keeps the connection alive, or nothing.
        if self._depth == 1 and not text.isspace():
            raise StreamError("bad-format", "text between stanzas")

    def _on_declaration(self, version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() != "utf-8":  # RFC 6120 §11.6
            raise StreamError("unsupported-encoding", "streams are UTF-8")
        if version != "1.0":
            raise StreamError("unsupported-version", "streams are XML 1.0")

    def _on_forbidden(self, *_details: object) -> None:
        # RFC 6120 §11.1: no DTD, comment, processing instruction or entity.
        raise StreamError("restricted-xml", "no DTD, comment, processing instruction or entity declaration")


def _plain(attributes: dict[str, str]) -> dict[str, str]:
    """Keep attributes without a namespace, and xml:lang; a stanza defines no others (RFC 6120 §8.1)."""
    for name in attributes:
        if "\n" in name:
            return {
                "xml:lang" if name == _LANG else name: value
                for name, value in attributes.items()
                if "\n" not in name or name == _LANG
            }
    return attributes
