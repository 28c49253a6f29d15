"""SASLprep (RFC 4013): how user names and passwords are made comparable before they are hashed."""

from __future__ import annotations

import stringprep
import unicodedata

from .errors import PasswordError

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,  # unassigned: RFC 4013 §2.5 forbids them in what is stored
)


def saslprep(text: str) -> str:
    """Prepare a text.

    Raises:
        PasswordError: it has a prohibited character or mixes writing directions.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(  # §2.1
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = unicodedata.normalize("NFKC", mapped)  # §2.2
    if any(prohibits(character) for character in prepared for prohibits in _PROHIBITED):  # §2.3
        raise PasswordError("it has a character that SASLprep prohibits")
    if any(stringprep.in_table_d1(character) for character in prepared) and (  # §2.4, RFC 3454 §6
        any(stringprep.in_table_d2(character) for character in prepared)
        or not stringprep.in_table_d1(prepared[0])
        or not stringprep.in_table_d1(prepared[-1])
    ):
        raise PasswordError("it mixes writing directions")
    return prepared
