"""The examples do what they say, and the README shows what is in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Place


@pytest.fixture(scope="module")
def parcels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Give the society of `examples/parcels.toml`, running."""
    place = Place(tmp_path_factory.mktemp("parcels"), "parcels.toml", "parcels.py")
    place.start("up", "--json").event("ready")
    yield place
    place.put_away()


def deliver(parcels: Place, content: str) -> tuple[int, dict[str, object], str]:
    """Ask the shop; return the exit code, the answer's content and its act."""
    code, send = parcels.run("send", "shop", "request", content, "--json")
    answer = json.loads(send.lines[-1])
    return code, json.loads(answer["content"]), answer["performative"]


def test_the_cheapest_carrier_wins(parcels: Place) -> None:
    code, content, act = deliver(parcels, '{"deliver": {"parcel": "book", "kilograms": 2}}')
    assert (code, act) == (0, "inform")
    assert content == {"delivered": {"parcel": "book", "carrier": "bicycle"}}


def test_who_is_too_weak_does_not_bid(parcels: Place) -> None:
    _code, content, _act = deliver(parcels, '{"deliver": {"parcel": "piano", "kilograms": 300}}')
    assert content == {"delivered": {"parcel": "piano", "carrier": "van"}}


def test_nobody_takes_what_is_too_heavy_for_all(parcels: Place) -> None:
    code, content, act = deliver(parcels, '{"deliver": {"parcel": "ship", "kilograms": 9000}}')
    assert (code, act) == (1, "failure")
    assert "van@localhost: 9000.0 kg is more than 500.0 kg" in str(content)


def test_what_the_ontology_does_not_have_never_reaches_the_handler(parcels: Place) -> None:
    code, content, act = deliver(parcels, '{"deliver": {"parcel": "book"}}')
    assert (code, act) == (1, "not-understood")
    assert "deliver.kilograms is missing" in str(content)


def test_nobody_delivers_less_than_nothing(parcels: Place) -> None:
    code, content, act = deliver(parcels, '{"deliver": {"parcel": "book", "kilograms": -2}}')
    assert (code, act) == (1, "not-understood")
    assert "deliver.kilograms: input should be greater than 0, not -2" in str(content)


def test_the_readme_shows_the_example_as_it_is() -> None:
    shown = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example = Path(ROOT / "examples" / "parcels.py").read_text()
    assert shown
    assert all(block.strip() in example for block in shown)
