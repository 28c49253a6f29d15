from __future__ import annotations

import json
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from society.config import SocietyFile
from society.errors import StateError
from society.preparing import prepare


def paths(file: SocietyFile, *servers: str) -> dict[str, Path]:
    return dict(prepare(file, servers))


def test_every_account_gets_a_password_which_stays(file):
    made = paths(file)
    assert list(made) == ["passwords"]
    kept = json.loads(made["passwords"].read_text())
    assert sorted(kept) == ["coordinator", "directory", "operator"]
    assert min(map(len, kept.values())) >= 24
    assert stat.S_IMODE(made["passwords"].stat().st_mode) == 0o600
    assert json.loads(paths(file)["passwords"].read_text()) == kept


def test_the_server_gets_a_certificate_of_an_authority_which_stays(file):
    made = paths(file, "prosody", "10.0.0.1")
    certificate = x509.load_pem_x509_certificate(made["certificate"].read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "prosody"]
    context = ssl.create_default_context(cafile=made["authority"])
    assert len(context.get_ca_certs()) == 1
    assert paths(file, "prosody", "10.0.0.1") == made
    assert x509.load_pem_x509_certificate(made["certificate"].read_bytes()) == certificate


def test_two_societies_share_no_secret(write_file, tmp_path):
    from society.config import load  # noqa: PLC0415 - beside what it is for

    both = [load(write_file(society=f'state = "{name}"')) for name in ("one", "two")]
    passwords = [set(json.loads(paths(each)["passwords"].read_text()).values()) for each in both]
    assert not passwords[0] & passwords[1]


def test_damaged_certificates_are_one_sentence(file):
    paths(file, "prosody")["authority"].write_text("nonsense")
    with pytest.raises(StateError, match=r"ca\.pem holds no certificate"):
        prepare(file, ["prosody"])
