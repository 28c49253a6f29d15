"""docs/operations.md: its limits are those of the code, and each alert has its paragraph."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import yaml

from society.xmpp_server.limits import Limits

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"


def section(title: str) -> str:
    """What stands below a heading, up to the next one of its rank or above."""
    rank = title.partition(" ")[0]
    found = re.split(rf"^{re.escape(title)}$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(found) == 2, f"{PAGE.name} has {len(found) - 1} headings '{title}'"
    return re.split(rf"^#{{1,{len(rank)}}} ", found[1], flags=re.MULTILINE)[0]


def limits() -> list[tuple[str, float]]:
    """The constant that each row of the table names, and the number that it says."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section("## Limits").splitlines()
        if line.startswith("| ") and "`" in line
    ]
    return [
        (constant.strip("`"), float(number.replace(",", ""))) for number, _what, _beyond, constant in rows
    ]


def value(path: str) -> float:
    """What a constant of a module, or of a class in it, is."""
    names = path.split(".")
    for split in range(len(names) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(names[:split]))
        except ModuleNotFoundError:
            continue
        for name in names[split:]:
            found = getattr(found, name)
        return float(found)  # type: ignore[arg-type]
    raise AssertionError(f"there is no module of {path}")


@pytest.mark.parametrize(("constant", "number"), limits())
def test_a_limit_is_that_of_the_code(constant: str, number: float) -> None:
    assert value(constant) == number


def test_each_limit_is_told_once() -> None:
    told = [constant for constant, _number in limits()]
    assert len(told) == len(set(told)) > 30


def test_every_limit_of_the_embedded_server_on_what_is_kept_is_told() -> None:
    """A new one is to stand there as well."""
    kept = {name for name in vars(Limits()) if not name.endswith("_seconds")} - {
        "tag_bytes", "served_bytes", "depth", "attributes", "unauthenticated_bytes", "private_entries",
    }  # fmt: skip
    told = {constant.rpartition(".")[2] for constant, _number in limits() if ".Limits." in constant}
    assert told == kept


def alerts() -> list[str]:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
    return [rule["alert"] for group in rules["groups"] for rule in group["rules"]]


def test_the_runbook_has_a_paragraph_for_each_alert_in_their_order() -> None:
    paragraphs = re.findall(r"^\*\*`(\w+)`\.\*\* (.+(?:\n.+)*)", section("## Runbook"), re.MULTILINE)
    assert [name for name, _text in paragraphs] == alerts()
    for name, text in paragraphs:
        assert len(text.split()) >= 15, f"{name}: what is to be done?"
