"""Ids stand in the order of their making."""

from __future__ import annotations

import uuid

from behaviours.naming import new_id


def test_ids_are_uuids_of_version_7_in_the_order_of_their_making(monkeypatch):
    now = 1_700_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    ids = [new_id() for _ in range(1000)]
    now += 0.001
    later = new_id()
    assert len(set(ids)) == 1000
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(7, uuid.RFC_4122)}
    assert max(ids) < later
    assert int(later[:12], 16) == 1_700_000_000_001
