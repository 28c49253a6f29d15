"""The elements of FIPA00071: what `ontology.acl_xml` reads a message from.

A document type is refused, and with it every entity that could grow or be fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from xml.parsers import expat

from ontology.acl_parameters import TEXT_PARAMETERS, Place, is_user_defined, placed
from ontology.errors import Cause, MessageError, shown

DEPTH = 60
"""How deeply elements are read; each resolver of a resolver takes two."""

_LEAVES = frozenset({*TEXT_PARAMETERS, "content", "reply-by", "user-defined"})
_INSIDE: Mapping[str, frozenset[str]] = {
    "": frozenset({"fipa-message"}),
    "fipa-message": _LEAVES | {"sender", "receiver", "reply-to"},
    "sender": frozenset({"agent-identifier"}),
    "receiver": frozenset({"agent-identifier"}),
    "reply-to": frozenset({"agent-identifier"}),
    "agent-identifier": frozenset({"name", "addresses", "resolvers", "user-defined"}),
    "addresses": frozenset({"url"}),
    "resolvers": frozenset({"agent-identifier"}),
}
"""Which elements hold others, and which; all the rest hold text."""


class Element:
    """An element as it was read.

    Attributes:
        tag: its name, whatever namespace it is in: the names are FIPA's.
        attributes: by name.
        children: the elements in it, where it may hold any.
        texts: the pieces of the text in it, where it may hold any.
        place: tells where it begins.
    """

    def __init__(self, tag: str, attributes: Mapping[str, str], place: Place) -> None:
        self.tag = tag
        self.attributes = attributes
        self.place = place
        self.children: list[Element] = []
        self.texts: list[str] = []

    @property
    def text(self) -> str:
        """All the text in it, white space and all."""
        return "".join(self.texts)


def build(text: str) -> Element:
    """Read the tree of one message.

    Raises:
        MessageError: it is not XML, or holds what does not belong; that is told where it is met.
    """
    return _Builder().build(text)


class _Builder:
    """Builds the tree of one message; what does not belong is refused where it is met."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate("utf-8", " ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._open = [Element("", {}, str)]

    def build(self, text: str) -> Element:
        try:
            self._parser.Parse(text.encode(), True)
        except UnicodeEncodeError as error:
            raise MessageError(
                Cause.UNRECOGNISED_VALUE, "the message is not Unicode: it holds half of a surrogate pair"
            ) from error
        except expat.ExpatError as error:
            told = f"the message is not XML: {expat.ErrorString(error.code)}"
            place = partial(_line_and_column, error.lineno, error.offset)
            raise placed(Cause.UNRECOGNISED_VALUE, told, place) from error
        return self._open[0].children[0]

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        inside = self._open[-1]
        element = Element(tag.rpartition(" ")[2], attributes, self._here())
        if len(self._open) > DEPTH:
            raise placed(Cause.UNRECOGNISED_VALUE, "elements are nested too deeply", element.place)
        # JADE writes a user-defined parameter as an element of that name.
        is_own = inside.tag in {"fipa-message", "agent-identifier"} and is_user_defined(element.tag)
        if not is_own and element.tag not in _INSIDE.get(inside.tag, ()):
            told = f"<{shown(element.tag)}> has no place in <{inside.tag}> (FIPA00071)"
            if not inside.tag:
                told = f"an ACL message is a <fipa-message> (FIPA00071), not <{shown(element.tag)}>"
            raise placed(Cause.UNEXPECTED_PARAMETER, told, element.place, shown(element.tag))
        inside.children.append(element)
        self._open.append(element)

    def _end(self, _tag: str) -> None:
        self._open.pop()

    def _data(self, text: str) -> None:
        element = self._open[-1]
        if element.tag not in _INSIDE:
            element.texts.append(text)
        elif text.strip():
            told = f"text has no place in <{element.tag}>: {shown(text.strip())!r}"
            raise placed(Cause.UNRECOGNISED_VALUE, told, element.place)

    def _doctype(self, *_declared: object) -> None:
        told = "a document type is not read, because its entities could be anything; leave out <!DOCTYPE"
        raise placed(Cause.UNRECOGNISED_VALUE, told, self._here())

    def _here(self) -> Place:
        return partial(_line_and_column, self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber)


def _line_and_column(line: int, column: int) -> str:
    return f"line {line}, column {column + 1}"
