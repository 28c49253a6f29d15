"""Task groups on real servers: who is there, and what is announced, with publish-subscribe and without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agents.base import Ports, Server
from agents.directory_facilitator import DirectoryFacilitator
from behaviours.delivery import Delivered
from behaviours.events import MemberLeft, MessageSent
from resilience.memory import MemoryLock
from society.xmpp_server import CertificateAuthority
from tests.agents.conftest import disconnect_for_good
from tests.agents.test_members import Cook, Plan
from tests.conftest import World, becomes
from tests.integration.prosody import BINARY, prosody
from tests.requirements import require

NAMES = ("ann", "bob", "cid")


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("prosody", marks=pytest.mark.prosody),
        pytest.param("prosody without pubsub", marks=pytest.mark.prosody),
    ]
)
async def cooks(
    request: pytest.FixtureRequest, world: World, authority: CertificateAuthority, tmp_path: Path
) -> AsyncIterator[tuple[list[Cook], str]]:
    """Give the members of a group on a server, and which one that is."""
    lock = MemoryLock()

    async def start(server: Server) -> list[Any]:
        made: list[Any] = []
        for name in ("directory", *NAMES):
            kind: Any = DirectoryFacilitator if name == "directory" else Cook
            world.account(name)
            made.append(kind(f"{name}@localhost", "secret", server, Ports(hook=world.record, lock=lock)))
            await made[-1].start()
        for each in made[1:]:
            await world.until(lambda each=each: each.others == " ".join(NAMES))  # type: ignore[misc]
        return made

    if request.param == "embedded":
        made = await start(world.server)
        yield made[1:], request.param
    else:
        require(BINARY is not None, "prosody on the path")
        passwords = dict.fromkeys(("directory", *NAMES), "secret")
        has_pubsub = request.param == "prosody"
        async with prosody(
            tmp_path, authority, passwords, publishers=NAMES, modules=("smacks",), pubsub=has_pubsub
        ) as running:
            made = await start(Server(host="127.0.0.1", port=running.port, ca_file=authority.file))
            yield made[1:], request.param
            for each in reversed(made):
                await each.stop()
        return
    for each in reversed(made):
        await each.stop()


async def test_what_one_announces_all_others_hear(world: World, cooks: tuple[list[Cook], str]) -> None:
    (ann, bob, cid), server = cooks
    for step in range(10):
        assert isinstance(await ann.group("cooks").announce(Plan(step=step)), Delivered)
    await becomes(lambda: bob.heard == cid.heard == [("ann", step) for step in range(10)])
    told = [
        each.peer for each in world.of(MessageSent, agent=ann.me.name, performative="inform", protocol="")
    ]
    if server == "prosody without pubsub":
        assert sorted(told) == sorted([bob.me.name, cid.me.name] * 10)
    else:
        assert told == ["pubsub.localhost"] * 10


async def test_one_that_has_gone_is_left_out(world: World, cooks: tuple[list[Cook], str]) -> None:
    (ann, bob, cid), server = cooks
    if server == "embedded":
        await disconnect_for_good(cid)
        (session,) = world.xmpp._switchboard.sessions("cid")
        world.xmpp._router.leave(session)  # it does not resume its session in time
    else:
        await cid.connection.close()
    for each in (ann, bob):
        await world.fact(MemberLeft, agent=each.me.name, member=cid.me.name)
        assert each.others == "ann bob"
