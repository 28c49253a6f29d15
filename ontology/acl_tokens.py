"""The words of FIPA00070: what `ontology.acl_string` reads a message from."""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple, NoReturn

from ontology.acl_parameters import Place, placed
from ontology.errors import Cause, shown

DEPTH = 20
"""How deeply expressions in parentheses are read, and resolvers of resolvers."""

_TOKEN = re.compile(
    r"""(?P<open>\() | (?P<close>\))
    | "(?P<quoted>(?:[^"\\]++|\\"?+)*+)"
    | \#(?P<length>[0-9]{1,9}+)"
    | (?P<word>[^\x00-\x20()"\#][^\x00-\x20()]*+)""",
    re.VERBOSE,
)
_WORDS = re.compile(r"""(?:[\x00-\x20]*+[^\x00-\x20()"\#][^\x00-\x20()]*+)*+""")
_BLANK = re.compile(r"[\x00-\x20]*+")
"""White space, which FIPA00070 counts all control characters to."""
_HALF = re.compile("[\ud800-\udfff]")


class Token(NamedTuple):
    """One word, string or parenthesis."""

    kind: str
    """open, close, word or text."""
    value: str
    at: int


class Tokens:
    """Takes a text apart from left to right, each character once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        half = _HALF.search(text)
        if half:
            self.fail("the message is not Unicode: it holds half of a surrogate pair", half.start())

    def next(self) -> Token:
        """Take the next word, string or parenthesis; there has to be one."""
        at = self._blank()
        found = _TOKEN.match(self._text, at)
        if found is None:
            fault = {
                "": "the message ends before it is complete",
                '"': 'a string has no closing quote; one that ends in a backslash is written #<bytes>"...',
            }.get(self._text[at : at + 1], 'a word does not begin with #; bytes are written #<number>"...')
            self.fail(fault, at)
        self._at = found.end()
        match found.lastgroup:
            case "quoted":
                return Token("text", found["quoted"].replace('\\"', '"'), at)
            case "length":
                return Token("text", self._bytes(int(found["length"]), at), at)
            case kind:
                return Token(str(kind), found.group(), at)

    def open(self, wanted: str) -> int:
        """Take an opening parenthesis and return its place; without one, this is what was wanted."""
        at = self._blank()
        if at < len(self._text) and self._text[at] != "(":
            self.fail(wanted, at)
        return self.next().at

    def closes(self) -> bool:
        """Whether a closing parenthesis comes next; if so, it is taken."""
        at = self._blank()
        does = self._text.startswith(")", at)
        self._at = at + does
        return does

    def keyword(self, wanted: str) -> None:
        """Take the word that has to stand here, in capitals or not."""
        token = self.next()
        if token.kind != "word" or token.value.lower() != wanted:
            self.fail(f"{wanted} is wanted here, not {shown(token.value)!r}", token.at)

    def value(self, name: str) -> str:
        """Take a word or a string; an expression in parentheses is taken as it is written."""
        token = self.next()
        if token.kind == "close":
            self.fail(f"{shown(name)} has no value", token.at)
        if token.kind != "open":
            return token.value
        depth = 1
        while depth:
            words = _WORDS.match(self._text, self._at)
            self._at = words.end() if words else self._at
            depth += {"open": 1, "close": -1}.get(self.next().kind, 0)
            if depth > DEPTH:
                self.fail(f"the value of {shown(name)} is nested too deeply", token.at)
        return self._text[token.at : self._at]

    def end(self) -> None:
        """See that nothing is left but white space."""
        at = self._blank()
        if at < len(self._text):
            self.fail("something follows after the message", at)

    def place(self, at: int) -> Place:
        """What tells where that is."""
        return partial(_line_and_column, self._text, at)

    def fail(self, text: str, at: int) -> NoReturn:
        """Say what is wrong where.

        Raises:
            MessageError: always.
        """
        raise placed(Cause.UNRECOGNISED_VALUE, text, self.place(at))

    def _blank(self) -> int:
        found = _BLANK.match(self._text, self._at)
        return found.end() if found else self._at

    def _bytes(self, length: int, at: int) -> str:
        # No character is shorter than a byte, so no more of them are looked at than may be wanted.
        data = self._text[self._at : self._at + length].encode()
        if len(data) < length:
            self.fail(f"a string of {length} bytes goes beyond the end of the message", at)
        try:
            value = data[:length].decode()
        except UnicodeDecodeError:
            self.fail(f"a string of {length} bytes in UTF-8 ends within a character", at)
        self._at += len(value)
        return value


def _line_and_column(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"
