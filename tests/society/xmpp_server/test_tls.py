from __future__ import annotations

import contextlib
import ipaddress
import ssl
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from society.xmpp_server import CertificateAuthority, XmppServer
from society.xmpp_server.errors import AuthorityError
from society.xmpp_server.secure import TlsLayer
from tests.society.xmpp_server.conftest import Start
from tests.society.xmpp_server.wire import Wire, client_context, is_served

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_certificate_is_public(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path / "new" / "folder")
    path = authority.server_file(["localhost"])
    assert authority.file == tmp_path / "new" / "folder" / "ca.pem"
    assert mode(authority.folder) == 0o700
    assert mode(authority.file) == 0o644
    assert mode(authority.folder / "ca-key.pem") == 0o600
    assert mode(path) == 0o600
    assert "PRIVATE" not in authority.file.read_text()


def test_everything_is_kept(tmp_path: Path) -> None:
    first = CertificateAuthority.open(tmp_path)
    path = first.server_file(["localhost", "127.0.0.1"])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    again = CertificateAuthority.open(tmp_path)
    assert again.server_file(["127.0.0.1", "LocalHost"]) == path
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_the_names_are_in_the_certificate(tmp_path: Path) -> None:
    path = CertificateAuthority.open(tmp_path).server_file(["xmpp.example.org", "10.0.0.7", "[::1]"])
    names = (
        x509.load_pem_x509_certificate(path.read_bytes())
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert names.get_values_for_type(x509.DNSName) == ["xmpp.example.org"]
    assert set(names.get_values_for_type(x509.IPAddress)) == {
        ipaddress.ip_address("10.0.0.7"),
        ipaddress.ip_address("::1"),
    }


def test_other_names_get_another_certificate(tmp_path: Path) -> None:
    authority = CertificateAuthority.open(tmp_path)
    assert authority.server_file(["a"]) != authority.server_file(["a", "b"])


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def test_certificates_are_renewed_in_time(tmp_path: Path) -> None:
    path = CertificateAuthority.open(tmp_path, clock=lambda: NOW).server_file(["a"])
    first, authority = serial(path), serial(tmp_path / "ca.pem")
    for days, renewed in ((300, False), (340, True)):
        later = NOW + timedelta(days=days)
        CertificateAuthority.open(tmp_path, clock=lambda later=later: later).server_file(["a"])
        assert (serial(path) != first) is renewed
        assert serial(tmp_path / "ca.pem") == authority
    much_later = NOW + timedelta(days=3600)
    CertificateAuthority.open(tmp_path, clock=lambda: much_later).server_file(["a"])
    assert serial(tmp_path / "ca.pem") != authority


def test_a_new_authority_signs_anew(tmp_path: Path) -> None:
    path = CertificateAuthority.open(tmp_path).server_file(["a"])
    first = serial(path)
    (tmp_path / "ca.pem").unlink()
    CertificateAuthority.open(tmp_path).server_file(["a"])
    assert serial(path) != first


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n", "cut"])
@pytest.mark.parametrize("name", ["ca.pem", "ca-key.pem"])
def test_a_damaged_file_is_named_and_may_be_mended(tmp_path: Path, name: str, content: str) -> None:
    CertificateAuthority.open(tmp_path)
    file = tmp_path / name
    file.write_text(file.read_text()[:200] if content == "cut" else content)
    with pytest.raises(AuthorityError) as caught:
        CertificateAuthority.open(tmp_path)
    fault = "is empty" if not content else f"holds no {'certificate' if name == 'ca.pem' else 'private key'}"
    assert str(caught.value) == (
        f"the certificate authority is damaged: {file} {fault}; restore it, or remove {tmp_path}/ca.pem: "
        "then a new authority is made, and whoever keeps a copy of the old ca.pem needs the new one"
    )
    (tmp_path / "ca.pem").unlink()
    assert CertificateAuthority.open(tmp_path).file.read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_an_authority_with_the_key_of_another_is_told(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        CertificateAuthority.open(tmp_path / folder)
    (tmp_path / "other" / "ca-key.pem").replace(tmp_path / "one" / "ca-key.pem")
    with pytest.raises(AuthorityError, match=r"ca\.pem and ca-key\.pem do not belong together; restore"):
        CertificateAuthority.open(tmp_path / "one")


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_a_damaged_server_certificate_is_made_again(tmp_path: Path, content: str) -> None:
    authority = CertificateAuthority.open(tmp_path)
    authority.server_file(["a"]).write_text(content)
    assert authority.context(["a"]).cert_store_stats() is not None


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="name another folder"):
        CertificateAuthority.open(tmp_path / "file")


def test_processes_that_start_at_once_share_one_authority(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from society.xmpp_server import CertificateAuthority\n"
        "authority = CertificateAuthority.open(pathlib.Path(sys.argv[1]))\n"
        "authority.context(['localhost'])\n"
        "print(hash(authority.file.read_bytes()))"
    )
    root = Path(__file__).parents[3]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            cwd=root,
            env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    outputs = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(outputs) == 1
    assert sorted(file.name.split("-")[0] for file in tmp_path.iterdir()) == [
        ".lock",
        "ca",
        "ca.pem",
        "server",
    ]


async def test_a_client_that_does_not_know_the_authority_refuses(
    server: XmppServer, tmp_path: Path, authority: CertificateAuthority
) -> None:
    stranger = CertificateAuthority.open(tmp_path)
    async with Wire(server) as wire:
        with pytest.raises(ssl.SSLCertVerificationError):
            await wire.secure(stranger)
    assert await is_served(server, authority)


async def test_the_domain_and_the_hosts_are_verified(start: Start, authority: CertificateAuthority) -> None:
    server = await start(domain="agents.example", hosts=["box.local", "192.0.2.1"])
    for name in ("agents.example", "127.0.0.1", "box.local", "192.0.2.1"):
        async with Wire(server) as wire:
            await wire.open()
            wire.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            await wire.until("<proceed[^>]*>")
            await wire.writer.start_tls(client_context(authority), server_hostname=name)


async def test_old_versions_of_tls_are_refused(server: XmppServer, authority: CertificateAuthority) -> None:
    context = client_context(authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Wire(server) as wire:
        await wire.open()
        wire.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        await wire.until("<proceed[^>]*>")
        await wire.writer.start_tls(context, server_hostname="localhost")
        await wire.open()
    assert authority.context(["localhost"]).minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_layer_against_pythons_own_client(authority: CertificateAuthority) -> None:
    layer = TlsLayer(authority.context(["localhost"]))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    while not layer.established:
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        incoming.write(layer.receive(outgoing.read()).wire)
    client.write(b"x" * 100_000)
    assert layer.receive(outgoing.read()).plain == b"x" * 100_000
    incoming.write(layer.encrypt(b"y" * 100_000))
    received = b""
    while len(received) < 100_000:
        received += client.read(100_000)
    assert received == b"y" * 100_000
    with pytest.raises(ssl.SSLError):
        layer.receive(b"nonsense" * 10)
    layer.finish()
