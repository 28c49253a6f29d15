"""Drawings of tables, and the page that shows them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from protocols.diagram import NOTE, draw
from protocols.registry import PROTOCOLS, TABLES
from protocols.table import ANY, Role
from tests.protocols.samples import EACH_TABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
POLICIES = PAGE.partition("## Policies")[2]
SHOWN_BY = re.findall(r"`(tests/[a-z_/]+\.py)::([A-Za-z_0-9:]+)`", PAGE)

ARROW = re.compile(r"    (\S+) --> (\S+) : (.+)")


def arrows(drawing: str) -> set[tuple[str, str, str]]:
    """Every arrow as (from, what, to), where several have been drawn as one."""
    found = [ARROW.fullmatch(line) for line in drawing.splitlines()]
    return {(each[1], told, each[2]) for each in found if each is not None for told in each[3].split(", ")}


@EACH_TABLE
def test_every_step_is_drawn_and_nothing_else(protocol):
    letters = {Role.INITIATOR: "I", Role.PARTICIPANT: "P", Role.TARGET: "T"}
    steps = {
        (state, f"{letters[role]}: {'any reply' if act == ANY else act}", following)
        for (state, role, act), following in protocol.transitions.items()
        if act == ANY or protocol.transitions.get((state, role, ANY)) != following
    }
    steps |= {(state, "[deadline]", following) for state, following in protocol.deadlines.items()}
    losses = {state: end for state, end in protocol.losses.items() if state != end}
    steps |= {(state, "[lost]", following) for state, following in losses.items()}
    steps |= {(state, f"[{event}]", following) for (state, event), following in protocol.events.items()}
    assert arrows(draw(protocol)) == steps


@EACH_TABLE
def test_start_and_ends_are_drawn_once(protocol):
    lines = draw(protocol).splitlines()
    assert lines[:3] == ["stateDiagram-v2", "    direction LR", f"    [*] --> {protocol.start}"]
    ends = [line.split()[0] for line in lines if line.endswith("--> [*]")]
    assert sorted(ends) == sorted(protocol.terminal)


@EACH_TABLE
def test_what_holds_everywhere_stands_in_one_note(protocol):
    drawing = draw(protocol)
    note = drawing.partition(f"    note right of {protocol.start}\n")[2]
    assert [line.strip() for line in note.splitlines()] == [*NOTE, "end note"]


@EACH_TABLE
def test_nothing_in_a_drawing_means_something_else_to_mermaid(protocol):
    for line in draw(protocol).splitlines()[1:]:
        assert not set(line) & set(";#%{}<\"'")
    assert all(re.fullmatch(r"[A-Za-z0-9_]+", state) for state in protocol.states)


class TestPage:
    def test_every_drawing_is_up_to_date(self):
        drawings = re.findall(r"```mermaid\n(.*?)\n```", PAGE, flags=re.DOTALL)
        assert drawings == [draw(each) for each in TABLES], "locution protocols NAME --mermaid"

    def test_every_token_is_explained(self):
        assert [name for name in PROTOCOLS if f"`{name}`" not in PAGE] == []

    @EACH_TABLE
    def test_every_protocol_has_a_section_and_a_place_for_an_example(self, protocol):
        (section,) = [
            each for each in PAGE.split("\n## ") if f"\n\n`{protocol.name}`, {protocol.spec}.\n" in each
        ]
        assert f"<!-- example: {protocol.name} -->" in section

    def test_every_policy_names_a_test(self):
        policies = re.findall(r"^\*\*.*?(?=^\*\*|^###|\Z)", POLICIES, flags=re.MULTILINE | re.DOTALL)
        assert len(policies) > 15
        assert [each for each in policies if "`tests/" not in each] == []

    def test_every_topic_has_policies(self):
        topics = re.split(r"^### ", POLICIES, flags=re.MULTILINE)[1:]
        assert len(topics) > 4
        assert [topic.partition("\n")[0] for topic in topics if "`tests/" not in topic] == []

    def test_every_test_that_it_names_is_there(self):
        assert len(SHOWN_BY) > 20
        assert [f"{path}::{name}" for path, name in SHOWN_BY if not is_there(path, name)] == []

    def test_one_that_is_not_there_would_be_missed(self):
        path, name = "tests/protocols/test_diagram.py", "TestPage::test_every_token_is_explained"
        assert is_there(path, name)
        assert is_there(path, "PAGE")
        assert not is_there(path, name + "_again")
        assert not is_there(path, "test_every_token_is_explained"), "it stands in a class"


def is_there(path: str, name: str) -> bool:
    """Whether a file has such a test, in such a class."""
    tree: ast.AST | None = _tree(path)
    for part in name.split("::"):
        tree = next((each for each in ast.iter_child_nodes(tree) if _name(each) == part), None)
        if tree is None:
            return False
    return True


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def _name(node: ast.AST) -> str | None:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name
    return None
