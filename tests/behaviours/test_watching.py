"""`behaviours.watching`: how long a peer may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from behaviours import watching
from behaviours.transport import Life
from behaviours.watching import absence
from resilience.journal import Policy
from tests.behaviours.fakes import FakeTransport
from tests.conftest import becomes

A, G, S = Life.ALIVE, Life.GONE, Life.SILENT


class Looking(FakeTransport):
    """Finds the peer as it is told to, and then as the last time."""

    def __init__(self, lives: Sequence[Life]) -> None:
        super().__init__()
        self.found = iter(lives)
        self.looks = 0
        self.last = A

    async def probe(self, jid: str, timeout: float) -> Life:
        await asyncio.sleep(0)
        self.looks += 1
        self.last = next(self.found, self.last)
        return self.last


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PROBE_EVERY", 0)


@pytest.mark.parametrize(
    ("away", "lives", "looks"),
    [
        (3.0, [G], 3),
        (2.5, [G], 3),
        (0.1, [G], 1),
        (10.0, [G], 10),
        (3.0, [G, G, A, G], 6),  # it was back
        (3.0, [G, G, S, G], 6),  # Prosody: a request to a session that was replaced comes back
        (3.0, [S], 2),
        (12.0, [S], 2),
        (13.0, [S], 3),
        (60.0, [S], 10),
        (60.0, [S, A, S], 12),
    ],
)
async def test_so_many_looks_in_a_row_find_it_away(away: float, lives: list[Life], looks: int) -> None:
    transport = Looking(lives)
    how = await asyncio.wait_for(absence(transport, lambda: "peer@here/1", away), 5)
    assert transport.looks == looks
    assert how == ("has left" if lives[-1] is G else "has stopped answering")


async def test_our_own_silence_is_not_the_peers() -> None:
    transport = Looking([S])
    transport.confirms = False
    looking = asyncio.create_task(absence(transport, lambda: "peer@here/1", 3.0))
    await becomes(lambda: transport.looks >= 10)
    assert not looking.done()
    looking.cancel()


async def test_a_bare_jid_is_nobodys_session() -> None:
    transport = Looking([G])
    looking = asyncio.create_task(absence(transport, lambda: "peer@here", 3.0))
    for _turn in range(10):
        await asyncio.sleep(0)
    assert transport.looks == 0
    looking.cancel()


@pytest.mark.parametrize("away", [0, -1, float("inf"), float("nan")])
def test_a_peer_may_be_away_for_a_positive_time(away: float) -> None:
    with pytest.raises(ValueError, match=f"for a positive number of seconds, not {away:g}"):
        Policy(away=away)
