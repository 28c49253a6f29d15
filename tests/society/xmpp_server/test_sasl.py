from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from society.xmpp_server import Credentials, MemoryAccounts, derive
from society.xmpp_server.accounts import AccountStore
from society.xmpp_server.errors import PasswordError, StoreError
from society.xmpp_server.sasl import Authenticator, Challenge, Failure, Outcome, Success
from society.xmpp_server.saslprep import saslprep


class OneAccount:
    """An AccountStore with one account, whose salt is the RFC's."""

    def __init__(self, user: str, credentials: Credentials) -> None:
        self._user, self._credentials = user, credentials

    def __contains__(self, user: str) -> bool:
        return user == self._user

    def credentials(self, user: str) -> Credentials | None:
        return self._credentials if user == self._user else None

    def set_password(self, user: str, password: str) -> None:
        raise NotImplementedError

    def remove(self, user: str) -> None:
        raise NotImplementedError


def talk(accounts: AccountStore, mechanism: str, messages: Sequence[bytes], nonce: str = "server") -> Outcome:
    exchange = Authenticator("localhost", accounts, nonce=lambda: nonce, secret=b"s").begin(mechanism)
    outcome: Outcome
    if isinstance(exchange, Failure):
        return exchange
    for message in messages:
        outcome = exchange.step(message)
    return outcome


@pytest.mark.parametrize(
    ("mechanism", "salt", "client", "server", "final", "answer"),
    [
        (  # RFC 5802 §5
            "SCRAM-SHA-1",
            "QSXCR+Q6sek8bf92",
            "fyko+d2lbbFgONRv9qkxdawL",
            "3rfcNHYJY1ZVvWVs7j",
            "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        ),
        (  # RFC 7677 §3
            "SCRAM-SHA-256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "rOprNGfwEbeRWgbNEkqO",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        ),
    ],
)
def test_the_examples_of_the_rfcs(
    mechanism: str, salt: str, client: str, server: str, final: str, answer: str
) -> None:
    accounts = OneAccount("user", derive("pencil", salt=base64.b64decode(salt)))
    exchange = Authenticator("localhost", accounts, nonce=lambda: server).begin(mechanism)
    assert not isinstance(exchange, Failure)
    assert exchange.step(f"n,,n=user,r={client}".encode()) == Challenge(
        f"r={client}{server},s={salt},i=4096".encode()
    )
    assert exchange.step(f"c=biws,r={client}{server},p={final}".encode()) == Success(
        "user", f"v={answer}".encode()
    )


class ScramClient:
    """An independent client's side of SCRAM-SHA-256."""

    def __init__(self, user: str, password: str, header: str = "n,,") -> None:
        self.password, self.header = password, header
        self.bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r=client"

    def run(self, accounts: AccountStore, *, bound: str | None = None, nonce: str | None = None) -> Outcome:
        exchange = Authenticator("localhost", accounts).begin("SCRAM-SHA-256")
        assert not isinstance(exchange, Failure)
        first = exchange.step((self.header + self.bare).encode())
        if not isinstance(first, Challenge):
            return first
        fields = dict(part.split("=", 1) for part in first.data.decode().split(","))
        binding = base64.b64encode((bound or self.header).encode()).decode()
        unproven = f"c={binding},r={nonce or fields['r']}"
        transcript = f"{self.bare},{first.data.decode()},{unproven}".encode()
        salted = hashlib.pbkdf2_hmac(
            "sha256", self.password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
        )
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), transcript, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature, strict=True))).decode()
        return exchange.step(f"{unproven},p={proof}".encode())


@pytest.fixture
def accounts() -> MemoryAccounts:
    accounts = MemoryAccounts()
    accounts.set_password("alice", "secret")
    accounts.set_password("a=b,c", "secret")
    return accounts


def test_scram_accepts(accounts: MemoryAccounts) -> None:
    assert isinstance(ScramClient("alice", "secret").run(accounts), Success)
    assert isinstance(ScramClient("Alice", "secret").run(accounts), Success)
    assert isinstance(ScramClient("a=b,c", "secret").run(accounts), Success)
    # "y": the client could bind to the channel and believes that the server cannot, which is so.
    assert isinstance(ScramClient("alice", "secret", "y,,").run(accounts), Success)
    assert isinstance(ScramClient("alice", "secret", "n,a=alice@localhost,").run(accounts), Success)


def test_scram_refuses(accounts: MemoryAccounts) -> None:
    refused = Failure("not-authorized")
    assert ScramClient("alice", "wrong").run(accounts) == refused
    assert ScramClient("nobody", "secret").run(accounts) == refused
    assert ScramClient("alice", "secret").run(accounts, nonce="clientguessed") == refused
    # The client says "y" and later "n": somebody has changed one of them on the way.
    assert ScramClient("alice", "secret", "y,,").run(accounts, bound="n,,") == refused
    assert ScramClient("alice", "secret", "n,a=bob@localhost,").run(accounts) == Failure("invalid-authzid")
    assert ScramClient("alice", "secret", "n,a=@,").run(accounts) == Failure("invalid-authzid")


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\xff",
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=alice",
        b"n,,r=x,n=alice",
        b"n,,n=,r=x",
        b"n,,n=alice,r=",
        b"n,,n=al=ice,r=x",
        b"n,,n=al=2cice,r=x",
        b"n,,m=ext,n=alice,r=x",
        b"x,,n=alice,r=x",
        b"p=tls-unique,,n=alice,r=x",
        b"n,z,n=alice,r=x",
    ],
)
def test_malformed_first_messages(accounts: MemoryAccounts, first: bytes) -> None:
    outcome = talk(accounts, "SCRAM-SHA-256", [first])
    assert isinstance(outcome, Failure)
    assert outcome.condition == "malformed-request"


@pytest.mark.parametrize(
    ("final", "condition"),
    [
        (b"", "malformed-request"),
        (b"\xff\xfe", "malformed-request"),
        (b"c=biws,r=xserver", "malformed-request"),
        (b"c=biws,r=xserver,p=", "malformed-request"),
        (b"c=biws,r=xserver,p=!!!!", "malformed-request"),
        (b"c=biws,p=AAAA", "malformed-request"),
        (b"c=biws,r=xserver,p=AAAA", "not-authorized"),
        (b"c=AAAA,r=xserver,p=AAAA", "not-authorized"),
        (b"c=biws,r=x,p=AAAA", "not-authorized"),
    ],
)
def test_malformed_final_messages(accounts: MemoryAccounts, final: bytes, condition: str) -> None:
    outcome = talk(accounts, "SCRAM-SHA-256", [b"n,,n=alice,r=x", final])
    assert isinstance(outcome, Failure)
    assert outcome.condition == condition


def test_an_empty_key_proves_nothing(accounts: MemoryAccounts) -> None:
    """An unknown account has no stored key; the proof that fits no key must not let anybody in."""
    first = b"n,,n=nobody,r=x"
    challenge = talk(accounts, "SCRAM-SHA-256", [first])
    assert isinstance(challenge, Challenge)
    unproven = "c=biws,r=xserver"
    transcript = f"n=nobody,r=x,{challenge.data.decode()},{unproven}".encode()
    proof = base64.b64encode(hmac.digest(b"", transcript, "sha256")).decode()
    assert talk(accounts, "SCRAM-SHA-256", [first, f"{unproven},p={proof}".encode()]) == Failure(
        "not-authorized"
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"\0alice\0secret", Success("alice")),
        (b"alice@localhost\0alice\0secret", Success("alice")),
        (b"bob@localhost\0alice\0secret", Failure("invalid-authzid")),
        (b"\0alice\0wrong", Failure("not-authorized")),
        (b"\0nobody\0secret", Failure("not-authorized")),
        (b"\0nobody\0\x07", Failure("not-authorized")),
        (b"\0a b\0secret", Failure("not-authorized")),
        (b"\0alice\0", Failure("malformed-request")),
        (b"\0\0secret", Failure("malformed-request")),
        (b"alice\0secret", Failure("malformed-request")),
        (b"\0alice\0secret\0more", Failure("malformed-request")),
        (b"\0alice\0\xff", Failure("malformed-request")),
        (b"", Failure("malformed-request")),
    ],
)
def test_plain(accounts: MemoryAccounts, message: bytes, expected: Outcome) -> None:
    assert talk(accounts, "PLAIN", [message]) == expected


def test_unknown_mechanisms(accounts: MemoryAccounts) -> None:
    for mechanism in ("", "DIGEST-MD5", "SCRAM-SHA-1-PLUS", "ANONYMOUS"):
        assert talk(accounts, mechanism, [b""]) == Failure("invalid-mechanism")


def test_unknown_accounts_look_like_known_ones(accounts: MemoryAccounts) -> None:
    first = [talk(accounts, "SCRAM-SHA-256", [b"n,,n=nobody,r=x"]) for _ in range(2)]
    other = talk(accounts, "SCRAM-SHA-256", [b"n,,n=somebody,r=x"])
    known = talk(accounts, "SCRAM-SHA-256", [b"n,,n=alice,r=x"])
    assert first[0] == first[1] != other
    assert isinstance(first[0], Challenge)
    assert isinstance(known, Challenge)
    assert len(first[0].data) == len(known.data)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
def test_a_store_that_cannot_answer(mechanism: str) -> None:
    class Broken(MemoryAccounts):
        def credentials(self, user: str) -> Credentials | None:
            raise StoreError("locked")

    outcome = talk(Broken(), mechanism, [b"\0alice\0secret" if mechanism == "PLAIN" else b"n,,n=alice,r=x"])
    assert outcome == Failure("temporary-auth-failure")


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3), st.sampled_from(["PLAIN", "SCRAM-SHA-1"]))
def test_junk_is_a_failure_and_never_an_exception(messages: list[bytes], mechanism: str) -> None:
    exchange = Authenticator("localhost", MemoryAccounts()).begin(mechanism)
    assert not isinstance(exchange, Failure)
    for message in messages:
        outcome = exchange.step(message)
        assert not isinstance(outcome, Success)
        if isinstance(outcome, Failure):
            return


def test_passwords_are_forgotten_at_the_first_login(accounts: MemoryAccounts) -> None:
    assert "secret" in str(vars(accounts))
    accounts.credentials("alice")
    accounts.credentials("a=b,c")
    assert "secret" not in str(vars(accounts))
    assert "secret" not in repr(accounts)


def test_a_changed_password_replaces_the_old(accounts: MemoryAccounts) -> None:
    assert isinstance(ScramClient("alice", "secret").run(accounts), Success)
    accounts.set_password("alice", "other")
    assert isinstance(ScramClient("alice", "secret").run(accounts), Failure)
    assert isinstance(ScramClient("alice", "other").run(accounts), Success)
    accounts.remove("alice")
    accounts.remove("alice")
    assert "alice" not in accounts
    assert isinstance(ScramClient("alice", "other").run(accounts), Failure)


@pytest.mark.parametrize(
    ("text", "prepared"),
    [  # RFC 4013 §3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
    ],
)
def test_saslprep(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u06271", "\ue000", "\u0221"])
def test_saslprep_prohibits(text: str) -> None:
    with pytest.raises(PasswordError):
        saslprep(text)


@pytest.mark.parametrize("password", ["", "\u00ad", "\x00"])
def test_unusable_passwords_change_nothing(accounts: MemoryAccounts, password: str) -> None:
    with pytest.raises(PasswordError):
        accounts.set_password("alice", password)
    assert isinstance(ScramClient("alice", "secret").run(accounts), Success)
