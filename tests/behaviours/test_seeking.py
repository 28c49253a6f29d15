"""`behaviours.seeking`: questions where a conversation goes on, and how much of them anybody may ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from behaviours import seeking
from behaviours.receipts import Receipts, render
from tests.behaviours.fakes import ME, Scene, element, turns


def ask(scene: Scene, peer: str, *names: str) -> None:
    """Somebody asks where conversations go on."""
    for stanza in render(ME.jid, Receipts(sought=names)):
        scene.mailroom.take(element(stanza, peer))


async def test_of_one_peer_and_in_all_few_questions_are_looked_into_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever asks without end must not keep the store from those who work."""
    monkeypatch.setattr(seeking, "ASKING", 3)
    scene, answers = Scene(), asyncio.Event()
    looked: list[str] = []

    async def look(agent: str, key: str) -> Any:
        looked.append(key)
        await answers.wait()

    monkeypatch.setattr(scene.journal, "snapshot", look)
    for _each in range(50):
        ask(scene, "mallory@here/1", "c1")
        ask(scene, "mallory@here/2", "c2")
    await turns()
    assert len(looked) == 2, "as initiator, and as participant"
    for number in range(10):
        ask(scene, f"other{number}@here/1", "c1")
    await turns()
    assert len(looked) == 6
    answers.set()
    await turns()
    ask(scene, "mallory@here/1", "c3")
    await turns()
    assert len(looked) == 8
    await scene.close()
