from __future__ import annotations

from pathlib import Path

import pytest

from society.config import load
from society.errors import SocietyFileError

SOCIETY = """
[society]
name = "one"
[delivery]
store = "redis"
[[agent]]
name = "one"
kind = "learner"
"""


@pytest.fixture
def society(tmp_path: Path) -> Path:
    path = tmp_path / "society.toml"
    path.write_text(SOCIETY)
    return path


def secret(folder: Path, data: bytes) -> dict[str, str]:
    path = folder / "redis"
    path.write_bytes(data)
    return {"LOCUTION_REDIS_FILE": str(path)}


def test_the_address_of_redis_comes_from_a_file(society, tmp_path):
    file = load(society, secret(tmp_path, b"redis://:secret@store:6379/0\n"))
    assert file.delivery.url == "redis://:secret@store:6379/0"


def test_an_empty_name_is_none(society):
    assert load(society, {"LOCUTION_REDIS_FILE": "", "LOCUTION_REDIS": "redis://store"}).delivery.redis


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", "one line"), (b"a\nb\n", "one line"), (b"x" * 10_001, "one line"), (b"\xff\xfe", "is no text")],
)
def test_what_is_no_secret_is_refused(society, tmp_path, data, told):
    with pytest.raises(SocietyFileError, match=rf"^LOCUTION_REDIS_FILE: .*redis.* {told}"):
        load(society, secret(tmp_path, data))


def test_a_secret_that_is_missing_is_named(society, tmp_path):
    told = r"^LOCUTION_REDIS_FILE: .*/nothing cannot be read \(No such file or directory\); have it made"
    with pytest.raises(SocietyFileError, match=told):
        load(society, {"LOCUTION_REDIS_FILE": str(tmp_path / "nothing")})


def test_a_secret_is_given_once(society, tmp_path):
    given = {**secret(tmp_path, b"redis://store"), "LOCUTION_REDIS": "redis://other"}
    with pytest.raises(SocietyFileError, match=r"^LOCUTION_REDIS_FILE: LOCUTION_REDIS is set as well"):
        load(society, given)


def test_the_secret_is_not_told(society, tmp_path):
    with pytest.raises(SocietyFileError, match="LOCUTION_REDIS is no address") as caught:
        load(society, secret(tmp_path, b"hush-hush"))
    assert "hush" not in str(caught.value)
