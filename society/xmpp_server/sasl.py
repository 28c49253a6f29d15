"""SASL, without sockets or XML: SCRAM-SHA-256, SCRAM-SHA-1 (RFC 5802, RFC 7677) and PLAIN (RFC 4616).

An exchange is one object: `step` takes the client's message and returns `Challenge`, `Success` or `Failure`.
No answer tells whether an account exists: an unknown one gets a salt of its own, the same at
every try, and fails where a wrong password fails. (The time an answer takes may tell: the first login of an
account derives its keys.)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from .accounts import ITERATIONS, AccountStore, Credentials, Keys, keys_of
from .errors import JidError, PasswordError, StoreError
from .jid import Jid, prepare_local
from .saslprep import saslprep

MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")
"""Best first."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """The exchange goes on with this message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Success:
    """The client is this account; `data` is the server's last message."""

    user: str
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Failure:
    """The exchange is over. `condition` is one of RFC 6120 §6.5."""

    condition: str
    text: str = ""


Outcome = Challenge | Success | Failure


class Exchange(Protocol):
    """One try at authentication."""

    def step(self, data: bytes) -> Outcome:
        """Take the client's next message; not to be called again after Success or Failure."""
        ...


class Authenticator:
    """Makes exchanges for one server. `nonce` is replaced by tests that replay the RFCs' examples."""

    def __init__(
        self,
        domain: str,
        accounts: AccountStore,
        *,
        nonce: Callable[[], str] = lambda: secrets.token_urlsafe(24),
        secret: bytes | None = None,
    ) -> None:
        self.domain = domain
        self.nonce = nonce
        self._accounts = accounts
        self._secret = secrets.token_bytes(32) if secret is None else secret

    def begin(self, mechanism: str) -> Exchange | Failure:
        """Start an exchange; a mechanism that is not offered is refused."""
        if mechanism == "PLAIN":
            return _Plain(self)
        if mechanism in MECHANISMS:
            return _Scram(self, mechanism.removeprefix("SCRAM-").replace("-", "").lower())
        return Failure("invalid-mechanism")

    def lookup(self, user: str) -> Credentials:
        """Return an account's credentials; invented ones, which nobody can meet, when there is no account."""
        known = self._accounts.credentials(user)
        if known is not None:
            return known
        salt = hmac.digest(self._secret, user.encode("utf-8", "surrogatepass"), "sha256")[:16]
        return Credentials(salt, ITERATIONS, {})

    def account(self, authcid: str, authzid: str) -> str | Failure:
        """Prepare the account's name; the authorisation identity must be empty or the account's JID."""
        try:
            user = prepare_local(saslprep(authcid))
        except (JidError, PasswordError):
            return Failure("not-authorized")
        if authzid:
            try:
                wanted = Jid.parse(authzid)
            except JidError:
                return Failure("invalid-authzid")
            if wanted.full != f"{user}@{self.domain}":  # RFC 6120 §6.3.8
                return Failure("invalid-authzid")
        return user


_NOBODY = Keys(b"", b"")


class _Plain:
    """PLAIN: authzid NUL authcid NUL password. Only offered inside TLS."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def step(self, data: bytes) -> Outcome:
        """See `Exchange`."""
        try:
            authzid, authcid, password = data.decode().split("\0")
        except ValueError:
            return Failure("malformed-request")
        if not authcid or not password:
            return Failure("malformed-request")
        user = self._authenticator.account(authcid, authzid)
        if isinstance(user, Failure):
            return user
        try:
            prepared = saslprep(password)
            credentials = self._authenticator.lookup(user)
        except PasswordError:
            return Failure("not-authorized")
        except StoreError:
            return Failure("temporary-auth-failure")
        # Derived for unknown accounts too, so that both take the same time.
        keys = keys_of("sha256", prepared, credentials.salt, credentials.iterations)
        if hmac.compare_digest(keys.stored, credentials.keys.get("sha256", _NOBODY).stored):
            return Success(user)
        return Failure("not-authorized")


class _Scram:
    """SCRAM without channel binding (RFC 5802 §5)."""

    def __init__(self, authenticator: Authenticator, algorithm: str) -> None:
        self._authenticator = authenticator
        self._hash = algorithm
        self._user = ""
        self._header = b""
        self._nonce = ""
        self._transcript = b""
        self._credentials: Credentials | None = None

    def step(self, data: bytes) -> Outcome:
        """See `Exchange`."""
        try:
            if self._credentials is None:
                return self._first(data.decode())
            return self._final(data.decode(), self._credentials)
        except ValueError:  # not UTF-8, not base64, too few fields
            return Failure("malformed-request")
        except StoreError:
            return Failure("temporary-auth-failure")

    def _first(self, message: str) -> Outcome:
        binding, authzid, bare = message.split(",", 2)
        if binding.startswith("p="):
            # §6: a client may only ask for what was advertised, and no -PLUS mechanism was.
            return Failure("malformed-request", "channel binding is not offered")
        if binding not in {"n", "y"} or (authzid and not authzid.startswith("a=")):
            return Failure("malformed-request")
        fields = bare.split(",")
        if fields[0].startswith("m="):  # §5.1: a mandatory extension that we do not know
            return Failure("malformed-request", "extensions are not supported")
        name, client_nonce = _value(fields[0], "n"), _value(fields[1], "r") if len(fields) > 1 else ""
        if not name or not client_nonce:
            return Failure("malformed-request")
        user = self._authenticator.account(_unescape(name), _unescape(authzid[2:]))
        if isinstance(user, Failure):
            return user
        self._user = user
        credentials = self._credentials = self._authenticator.lookup(user)
        self._header = f"{binding},{authzid},".encode()
        self._nonce = client_nonce + self._authenticator.nonce()
        salt = base64.b64encode(credentials.salt).decode()
        challenge = f"r={self._nonce},s={salt},i={credentials.iterations}"
        self._transcript = f"{bare},{challenge}".encode()
        return Challenge(challenge.encode())

    def _final(self, message: str, credentials: Credentials) -> Outcome:
        unproven, _, proof_text = message.rpartition(",p=")
        fields = unproven.split(",")
        proof = decode(proof_text)
        if len(fields) < 2 or not proof:
            return Failure("malformed-request")
        if decode(_value(fields[0], "c")) != self._header:  # §5.1: the header once more, against downgrades
            return Failure("not-authorized")
        if not hmac.compare_digest(_value(fields[1], "r").encode(), self._nonce.encode()):
            return Failure("not-authorized")
        transcript = self._transcript + b"," + unproven.encode()
        keys = credentials.keys.get(self._hash, _NOBODY)
        signature = hmac.digest(keys.stored, transcript, self._hash)
        if len(proof) != len(signature):
            return Failure("not-authorized")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.new(self._hash, client_key).digest(), keys.stored):
            return Failure("not-authorized")
        verifier = base64.b64encode(hmac.digest(keys.server, transcript, self._hash))
        return Success(self._user, b"v=" + verifier)


def decode(text: str) -> bytes:
    """Decode base64 strictly; raises ValueError (RFC 6120 §6.4.2 and §13.9.1)."""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64") from error


def _value(field: str, name: str) -> str:
    if not field.startswith(f"{name}="):
        raise ValueError(f"{name}= is missing")
    return field[2:]


def _unescape(name: str) -> str:
    """Undo RFC 5802 §5.1's escaping: '=2C' is ',', '=3D' is '=', any other '=' is an error."""
    plain = name.replace("=2C", ",").replace("=3D", "\0")
    if "=" in plain:
        raise ValueError("a stray '='")
    return plain.replace("\0", "=")
