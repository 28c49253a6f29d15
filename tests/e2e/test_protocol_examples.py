"""The examples of the protocols do what they say, and the page on the protocols shows them as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from protocols.registry import PROTOCOLS
from tests.e2e.conftest import ROOT

FOLDER = ROOT / "examples" / "protocols"

PRINTS = {
    "fipa-request": "1 l: it has 100 degrees\n5 l: I hold two litres\n",
    "fipa-query": "value=False\ncelsius=20.5\n",
    "fipa-request-when": "kettle: now I am empty\ncook: done: done\n",
    "fipa-propose": "0.5 l: that is not enough for two\n1 l: done: boil\n",
    "fipa-contract-net": "kettle@localhost: done: done\n",
    "fipa-iterated-contract-net": (
        "offered: 6 minutes\noffered: 4 minutes\noffered: 2 minutes\nawarded: 1\n"
    ),
    "fipa-subscribe": "".join(f"{celsius} degrees\n" for celsius in range(20, 101, 20))
    + "kettle has no more notifications\n",
    # Who is quicker at the first price decides who bids at the even ones.
    "fipa-english-auction": r"sold for (30|35) after (4|5) rounds\nrich: I pay \1\n",
    "fipa-dutch-auction": "collector@localhost: 2 at 30 each\n",
    "fipa-brokering": "kettle@localhost: done: temperature\nurn@localhost: done: temperature\n",
    "fipa-recruiting": "kettle@localhost itself: celsius=20.5\n",
    # No protocol of FIPA's; it stands beside them because agents speak in it all the same.
    "topic": "".join(f"guest: kettle@localhost says {celsius} degrees\n" for celsius in (20, 60, 100))
    + "cook: the pot is empty\n",
}


def file_of(protocol: str) -> str:
    """The name of a protocol's example."""
    return f"{protocol.removeprefix('fipa-').replace('-', '_')}.py"


def test_there_is_an_example_of_each_protocol() -> None:
    assert sorted(PRINTS) == sorted({"topic"} | {each.name for each in PROTOCOLS.values()})
    files = {each.name for each in FOLDER.glob("*.py")}
    assert files == {file_of(protocol) for protocol in PRINTS} | {"stage.py"}


@pytest.mark.parametrize("protocol", PRINTS)
def test_an_example_does_what_it_says(protocol: str) -> None:
    found = subprocess.run(
        [sys.executable, str(FOLDER / file_of(protocol))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (found.returncode, found.stderr) == (0, "")
    expected = PRINTS[protocol]
    assert re.fullmatch(expected, found.stdout) or found.stdout == expected


def test_the_page_shows_the_examples_as_they_are() -> None:
    page = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"<!-- example: (\S+) -->\n+```python\n(.*?)\n```", page, re.DOTALL))
    assert page.count("<!-- example: ") == len(shown)
    for protocol in PRINTS:
        text = (FOLDER / file_of(protocol)).read_text(encoding="utf-8")
        _before, example, _after = re.split(r"^# \[(?:example|end)\]$", text, flags=re.MULTILINE)
        assert shown.get(protocol) == example.strip(), f"docs/protocols.md does not show {file_of(protocol)}"
