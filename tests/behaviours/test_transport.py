"""`behaviours.transport`: whom to believe, or one sentence about why nobody can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agents.base import LocutionAgent, Ports
from behaviours.transport import ConnectionFailed, trusting
from tests.conftest import World


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"nonsense", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n%%%\n", "holds no certificate"),
        (b"\xff\xfe\x00", "holds no certificate"),
        (None, "cannot be read: No such file or directory"),
    ],
)
async def test_an_authority_that_cannot_be_read_is_named(
    world: World, tmp_path: Path, content: bytes | None, fault: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    server = replace(world.server, ca_file=file)
    agent = LocutionAgent(world.account("one"), "secret", server, Ports())
    world.adopt(agent)
    with pytest.raises(ConnectionFailed) as caught:
        await agent.start()
    mend = "put the certificate of the authority there that has signed the server's, in PEM form"
    assert str(caught.value) == f"{file} {fault}; {mend}"


def test_only_that_authority_is_trusted(world: World) -> None:
    assert len(trusting(world.authority.file).get_ca_certs()) == 1
