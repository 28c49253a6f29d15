"""A small certificate authority, and the server certificates it signs.

One folder serves any number of processes and servers. Every file is written beside its place and moved there,
and whoever makes one holds the folder's lock, so two processes that start at once end up with one authority.

- `ca.pem`: the certificate that clients verify with; share it freely.
- `ca-key.pem`: the authority's key; mode 0600. Whoever has it can pose as any server to those clients.
- `server-<digest>.pem`: key and certificate for one set of names; mode 0600. Made again when it expires.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .errors import AuthorityError, DamagedAuthorityError

AUTHORITY_LIFE = timedelta(days=3650)
SERVER_LIFE = timedelta(days=365)
RENEWAL = timedelta(days=30)
"""A server certificate is made again when less than this is left."""
_SKEW = timedelta(days=1)  # clients' clocks may be behind

Clock = Callable[[], datetime]
_Loaded = TypeVar("_Loaded")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """An authority kept in a folder. Get one with `open`."""

    folder: Path
    clock: Clock = _utc_now

    @property
    def file(self) -> Path:
        """The PEM file that clients verify the server with."""
        return self.folder / "ca.pem"

    @classmethod
    def open(cls, folder: Path, *, clock: Clock = _utc_now) -> CertificateAuthority:
        """Load the authority in this folder, or make it.

        Raises:
            AuthorityError: the folder cannot be read or written, or a file in it is damaged.
        """
        authority = cls(Path(folder).absolute(), clock)
        with authority._locked():
            if not authority._is_valid():
                authority._make()
        return authority

    def server_file(self, names: Iterable[str]) -> Path:
        """Return key and certificate for these DNS names and IP addresses, made or renewed when needed.

        Raises:
            AuthorityError: as by `open`.
        """
        wanted = sorted({name.strip("[]").lower() for name in names})
        digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:16]
        path = self.folder / f"server-{digest}.pem"
        with self._locked():
            if not self._is_current(path, wanted):
                self._sign(path, wanted)
        return path

    def context(self, names: Iterable[str]) -> ssl.SSLContext:
        """Make the server's side of TLS for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.num_tickets = 0  # connections live long; resumption would only cost
        context.load_cert_chain(self.server_file(names))
        return context

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock. It is the kernel's, so a process that dies lets go of it.

        Raises:
            AuthorityError: something that is done within failed.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except AuthorityError:
            raise
        except (OSError, ValueError) as error:
            raise AuthorityError(self.folder, error) from error

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        certificate = self._read("ca.pem", "certificate", x509.load_pem_x509_certificate)
        key = self._read(
            "ca-key.pem", "private key", lambda data: serialization.load_pem_private_key(data, None)
        )
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise DamagedAuthorityError(self.file, "and ca-key.pem do not belong together")
        return certificate, key

    def _read(self, name: str, what: str, load: Callable[[bytes], _Loaded]) -> _Loaded:
        data = (self.folder / name).read_bytes()
        try:
            return load(data)
        except (ValueError, TypeError) as error:  # the latter for a key under a password
            fault = f"holds no {what}" if data.strip() else "is empty"
            raise DamagedAuthorityError(self.folder / name, fault) from error

    def _is_valid(self) -> bool:
        try:
            certificate, _key = self._load()
        except FileNotFoundError:
            return False
        return self.clock() + SERVER_LIFE < certificate.not_valid_after_utc

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Locution local authority")])
        usage = _usage(key_cert_sign=True, crl_sign=True)
        certificate = (
            self._builder(name, name, key.public_key(), AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(_authority_id(key), critical=False)
            .sign(key, hashes.SHA256())
        )
        # The key first: when the move of the certificate never comes, the next start makes both again.
        _write(self.folder / "ca-key.pem", _pem(key), 0o600)
        _write(self.file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _is_current(self, path: Path, names: list[str]) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        authority, _key = self._load()
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        try:
            certificate.verify_directly_issued_by(authority)
        except Exception:  # noqa: BLE001 - an InvalidSignature or ValueError alike: another authority's
            return False
        return (
            alternatives == _alternatives(names) and self.clock() + RENEWAL < certificate.not_valid_after_utc
        )

    def _sign(self, path: Path, names: list[str]) -> None:
        authority, authority_key = self._load()
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        certificate = (
            self._builder(subject, authority.subject, key.public_key(), SERVER_LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_alternatives(names), critical=False)
            .add_extension(_authority_id(authority_key), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        _write(path, _pem(key) + certificate.public_bytes(serialization.Encoding.PEM), 0o600)

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta
    ) -> x509.CertificateBuilder:
        now = self.clock()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + life)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def _alternatives(names: Iterable[str]) -> x509.SubjectAlternativeName:
    entries: list[x509.GeneralName] = []
    for name in names:
        try:
            entries.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            entries.append(x509.DNSName(name.encode("idna").decode()))
    return x509.SubjectAlternativeName(entries)


def _authority_id(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Put a file in place as a whole; a secret is never readable by others, not even for a moment."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
