"""The examples of the protocols do what they say, and the page on the protocols shows them as they are."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import pytest

from protocols.registry import PROTOCOLS
from tests.e2e.conftest import ROOT

FOLDER = ROOT / "examples" / "kitchen"

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
    # Who is quicker at the first price decides who bids at the even ones; both sides tell of the sale.
    "fipa-english-auction": (
        r"sold for (30|35) after [45] rounds\nrich: I pay \1\n|"
        r"rich: I pay (30|35)\nsold for \2 after [45] rounds\n"
    ),
    "fipa-dutch-auction": "collector@localhost: 2 at 30 each\n",
    "fipa-brokering": "kettle@localhost: done: temperature\nurn@localhost: done: temperature\n",
    "fipa-recruiting": "kettle@localhost itself: celsius=20.5\n",
    "locution-vote": ("5 l: decided by ann@localhost, cleo@localhost\n9 l: not decided, 0 were for it\n"),
    # No protocol of FIPA's; it stands beside them because agents speak in it all the same.
    "topic": "".join(f"guest: kettle@localhost says {celsius} degrees\n" for celsius in (20, 60, 100))
    + "cook: the pot is empty\n",
}


def file_of(protocol: str) -> str:
    """The name of a protocol's example."""
    return f"{protocol.removeprefix('fipa-').removeprefix('locution-').replace('-', '_')}.py"


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


def shown() -> dict[str, str]:
    """The code that the page shows: of each protocol, and ``shared``."""
    page = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"<!-- example: (\S+) -->\n+```python\n(.*?)\n```", page, re.DOTALL))
    assert page.count("<!-- example: ") == len(found)
    return found


def marked(file: str) -> str:
    """What stands between the marks of an example's file."""
    text = (FOLDER / file).read_text(encoding="utf-8")
    _before, example, _after = re.split(r"^# \[(?:example|shared|end)\]$", text, flags=re.MULTILINE)
    return example.strip()


def imported(code: str) -> set[tuple[str, str]]:
    """What a piece of code imports, as pairs of a module and a name in it."""
    found = set()
    for node in ast.parse(code).body:
        if isinstance(node, ast.Import):
            found |= {(each.name, "") for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(str(node.module), each.name) for each in node.names}
    return {each for each in found if each[0] not in {"__future__", "stage"}}


def test_the_page_shows_the_examples_as_they_are() -> None:
    found = shown()
    assert found.keys() == {"shared", *PRINTS}
    for protocol in PRINTS:
        assert found[protocol] == marked(file_of(protocol)), (
            f"docs/protocols.md does not show {file_of(protocol)}"
        )


def test_the_page_shows_first_what_the_examples_share() -> None:
    shared = shown()["shared"]
    assert shared.endswith("\n\n\n" + marked("stage.py"))
    needed = {("agents.base", "LocutionAgent")}
    needed |= {("ontology.content", name) for name in ("AgentAction", "Concept", "Ontology", "Predicate")}
    for protocol in PRINTS:
        needed |= imported((FOLDER / file_of(protocol)).read_text(encoding="utf-8"))
    assert imported(shared) == needed


@pytest.mark.parametrize("protocol", PRINTS)
def test_an_example_can_be_copied_from_the_page(protocol: str) -> None:
    found = shown()
    scope: dict[str, object] = {"__name__": "copied"}
    exec(f"{found['shared']}\n\n{found[protocol]}", scope)
    assert callable(scope["play"])
