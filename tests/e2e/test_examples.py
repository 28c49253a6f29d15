"""The examples do what they say, and the README shows what is in them."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from society.kinds import BUILT_IN
from tests.e2e.conftest import PATIENCE, ROOT, Place

README = (ROOT / "README.md").read_text()


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
    shown = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    parcels, chat = (Path(ROOT / "examples" / name).read_text() for name in ("parcels.py", "chat.py"))
    assert [block.strip() in parcels for block in shown] == [True, False]
    assert chat.partition('"""\n\n')[2].endswith(shown[1])


def test_the_readme_shows_the_file_of_the_demo_whole() -> None:
    shown = next(each for each in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "digits" in each)
    example = (ROOT / "examples" / "digits.toml").read_text()
    assert shown == example[example.index("[society]") :]


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_readme_has_every_option_of_a_kind_with_its_default(kind: str) -> None:
    pytest.importorskip("torch")
    module, _, name = BUILT_IN[kind].partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    table = re.search(rf"^(\| `{kind}` \|.*?)^\| (?:`|all )", README, re.DOTALL | re.MULTILINE)
    assert table is not None
    expected = {
        f"{each.name} = {json.dumps(each.default)}"
        for each in parameters
        if each.kind is each.KEYWORD_ONLY
        and each.default is not each.empty
        # That stands beside the kind.
        and each.name != "leadership"
    }
    assert set(re.findall(r"`(\w+ = [^`]+)`", table.group())) == expected


def test_any_xmpp_client_can_ask(tmp_path: Path) -> None:
    place = Place(tmp_path, "digits.toml", "chat.py")
    try:
        place.start("up", "--json", "--only", "xmpp-server", "directory").event("ready")
        found = subprocess.run(
            [sys.executable, "chat.py"],
            cwd=tmp_path,
            env={**os.environ, **place.variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    finally:
        place.put_away()
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout) == {
        "performative": "inform",
        "content": {"found": {"descriptions": []}},
        "conversation-id": "c1",
    }
