"""Accounts: what a server must know to check a password without knowing it (RFC 5802 §5.1)."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from .errors import PasswordError
from .saslprep import saslprep

ITERATIONS: Final = 4096
"""RFC 7677 §4's minimum. slixmpp computes the client's side in Python, so each doubling costs an agent some
10 ms at its login; whoever can read a local server's credentials can usually read its passwords too."""

HASHES: Final = ("sha256", "sha1")


@dataclass(frozen=True, slots=True)
class Keys:
    """One hash's verifier."""

    stored: bytes
    server: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is kept of a password. `keys` has one entry for each of `HASHES`."""

    salt: bytes
    iterations: int
    keys: Mapping[str, Keys]


class AccountStore(Protocol):
    """Port: where accounts are kept. User names come prepared (`jid.prepare_local`).

    Every method may raise StoreError. They are called on the event loop and must not wait long.
    """

    def __contains__(self, user: str) -> bool:
        """Whether there is such an account."""
        ...

    def credentials(self, user: str) -> Credentials | None:
        """Return what checks this account's password, or None when there is no such account."""
        ...

    def set_password(self, user: str, password: str) -> None:
        """Make the account, or change its password. Raises PasswordError and changes nothing."""
        ...

    def remove(self, user: str) -> None:
        """Forget the account; nothing happens when there is none."""
        ...


def keys_of(name: str, password: str, salt: bytes, iterations: int) -> Keys:
    """Derive one hash's verifier from a prepared password (RFC 5802 §3)."""
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", name)
    return Keys(hashlib.new(name, client).digest(), hmac.digest(salted, b"Server Key", name))


def derive(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> Credentials:
    """Derive credentials; takes some milliseconds. The salt is random unless given."""
    prepared = prepared_password(password)
    salt = os.urandom(16) if salt is None else salt
    return Credentials(salt, iterations, {name: keys_of(name, prepared, salt, iterations) for name in HASHES})


def prepared_password(password: str) -> str:
    """Prepare a password, which must not be empty then."""
    prepared = saslprep(password)
    if not prepared:
        raise PasswordError("it is empty")
    return prepared


class MemoryAccounts:
    """Accounts of one process.

    Deriving fifty accounts' keys would take a fifth of a second, so it happens at an account's first login;
    until then, and no longer, its password is held in memory.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, str] = {}
        self._known: dict[str, Credentials] = {}

    def __contains__(self, user: str) -> bool:
        return user in self._known or user in self._waiting

    def __repr__(self) -> str:
        return f"<MemoryAccounts: {len(self._known) + len(self._waiting)}>"

    def credentials(self, user: str) -> Credentials | None:
        """See `AccountStore`. Derives what was put off."""
        password = self._waiting.pop(user, None)
        if password is not None:
            self._known[user] = derive(password)
        return self._known.get(user)

    def set_password(self, user: str, password: str) -> None:
        """See `AccountStore`."""
        self._waiting[user] = prepared_password(password)
        self._known.pop(user, None)

    def remove(self, user: str) -> None:
        """See `AccountStore`."""
        self._waiting.pop(user, None)
        self._known.pop(user, None)
