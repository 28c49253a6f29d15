"""Addresses (RFC 7622), as far as a server of one domain needs them.

Localparts are lower-cased and NFKC-normalised, which is stricter than PRECIS UsernameCaseMapped: characters
with a compatibility form, which PRECIS forbids, are mapped. Two texts that mean one account compare equal.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Self
from xml.sax.saxutils import escape

from .errors import JidError

MAX_PART_BYTES = 1023  # RFC 7622 §3.1
_PLAIN_LOCAL = re.compile(r"[a-z0-9._+=~!#$%*?^`{|}()\[\];,\\-]+\Z")
_PLAIN_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\Z|\[[0-9a-f:.]+\]\Z")
_PLAIN_RESOURCE = re.compile(r"[!-~]+\Z")
_FORBIDDEN_LOCAL = frozenset("\"&'/:<>@")  # RFC 7622 §3.3.1


@dataclass(frozen=True, slots=True)
class Jid:
    """A prepared address. Make one with `parse` or `of`; the constructor trusts its arguments."""

    local: str
    domain: str
    resource: str
    bare: str = field(init=False, compare=False)
    full: str = field(init=False, compare=False)
    xml: str = field(init=False, compare=False)
    """The whole address, escaped for an attribute in double quotes."""

    def __post_init__(self) -> None:
        bare = f"{self.local}@{self.domain}" if self.local else self.domain
        full = f"{bare}/{self.resource}" if self.resource else bare
        object.__setattr__(self, "bare", bare)
        object.__setattr__(self, "full", full)
        object.__setattr__(self, "xml", escape(full, {'"': "&quot;"}))

    def __str__(self) -> str:
        return self.full

    @classmethod
    def parse(cls, text: str) -> Self:
        """Prepare an address (RFC 7622 §3.2: split at the first '/', then at the first '@').

        Raises:
            JidError: a part is empty, too long, or has a forbidden character.
        """
        bare, slash, resource = text.partition("/")
        local, at, domain = bare.partition("@")
        if not at:
            local, domain = "", bare
        if at and not local:
            raise JidError(text, "the localpart is empty")
        if slash and not resource:
            raise JidError(text, "the resourcepart is empty")
        return cls(
            prepare_local(local) if at else "",
            prepare_domain(domain),
            prepare_resource(resource) if slash else "",
        )


def prepare_local(text: str) -> str:
    """Normalise a localpart, which is also an account's name."""
    if _PLAIN_LOCAL.match(text) and len(text) <= MAX_PART_BYTES:
        return text
    prepared = _stable(text)
    if any(
        character in _FORBIDDEN_LOCAL or unicodedata.category(character)[0] in "CZ" for character in prepared
    ):
        raise JidError(text, "the localpart has a character that RFC 7622 forbids")
    return _measured(text, prepared, "localpart")


def prepare_domain(text: str) -> str:
    """Normalise a domainpart: a host name, an internationalised one, or an IP address."""
    if _PLAIN_DOMAIN.match(text) and len(text) <= MAX_PART_BYTES:
        return text
    prepared = _stable(text).removesuffix(".")
    if prepared[:1] == "[" and _PLAIN_DOMAIN.match(prepared):
        return _measured(text, prepared, "domainpart")
    if not all(character in ".-_" or unicodedata.category(character)[0] in "LMN" for character in prepared):
        raise JidError(text, "the domainpart has a character that no host name has")
    return _measured(text, prepared, "domainpart")


def prepare_resource(text: str) -> str:
    """Normalise a resourcepart (RFC 8265 OpaqueString: NFC, any space is a space, no controls)."""
    if _PLAIN_RESOURCE.match(text) and len(text) <= MAX_PART_BYTES:
        return text
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in text)
    prepared = unicodedata.normalize("NFC", spaced)
    if any(unicodedata.category(character) in {"Cc", "Cs", "Cn"} for character in prepared):
        raise JidError(text, "the resourcepart has a control character")
    return _measured(text, prepared, "resourcepart")


def _stable(text: str) -> str:
    """Lower-case and NFKC, refused where doing it twice changes more (a few oddities of Unicode)."""
    once = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    if unicodedata.normalize("NFKC", once.lower()) != once:
        raise JidError(text, "it has no stable lower-case form")
    return once


def _measured(text: str, prepared: str, part: str) -> str:
    if not prepared:
        raise JidError(text, f"the {part} is empty")
    if len(prepared.encode("utf-8", "surrogatepass")) > MAX_PART_BYTES:
        raise JidError(text, f"the {part} is longer than {MAX_PART_BYTES} bytes")
    return prepared
