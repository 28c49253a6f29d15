"""`locution ontology`: what is there, and a user's own, for other programs."""

from __future__ import annotations

import builtins
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ontology.tasks import LEARNING
from society.cli import main
from tests.requirements import require

BUS = '''
from ontology.content import Concept, Ontology

class Stop(Concept):
    """Where a bus stops."""

    name: str
    """How people call it."""

BUS = Ontology(name="bus", version=(1, 2), terms=(Stop,))
'''
OPAQUE = """
from ontology.content import Concept, Ontology

class Thing:
    pass

class Opaque(Concept):
    model_config = {"arbitrary_types_allowed": True}
    thing: Thing

ODD = Ontology(name="odd", version=(1, 0), terms=(Opaque,))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, which is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in {"buses", "broken", "opaque"} & (set(sys.modules) - before):
        del sys.modules[name]


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["ontology", *arguments])
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, captured.out, captured.err

    return call


def test_the_built_in_ones_are_listed(run: Any) -> None:
    code, out, err = run("list")
    assert (code, err) == (0, "")
    assert "locution-learning/1.2: award-lost, awarded, bid" in out
    assert [line.partition("/")[0] for line in out.splitlines()] == [
        "locution-learning",
        "fipa-agent-management",
        "locution-interaction",
    ]
    listed = [json.loads(line) for line in run("list", "--json")[1].splitlines()]
    assert listed[0] == {"event": "ontology", "label": LEARNING.label, "terms": sorted(LEARNING.by_tag)}


def test_one_is_written_as_json_schema(run: Any) -> None:
    code, out, err = run("export", "locution-learning")
    assert (code, err) == (0, "")
    assert json.loads(out)["$defs"]["train"]["properties"]["epochs"]["minimum"] == 1
    assert run("export", "locution-learning", "--format", "json-schema") == (code, out, err)


def test_one_is_written_as_owl(run: Any) -> None:
    require(importlib.util.find_spec("rdflib") is not None, "rdflib (the extra `owl`)")
    code, out, err = run("export", "fipa-agent-management", "--format", "owl")
    assert (code, err) == (0, "")
    assert "<urn:locution:ontology:fipa-agent-management> a owl:Ontology" in out


def test_ones_own_is_found_in_the_working_directory(run: Any, folder: Path) -> None:
    (folder / "buses.py").write_text(BUS)
    code, out, _err = run("export", "buses:BUS")
    assert code == 0
    stop = json.loads(out)["$defs"]["stop"]
    assert stop["properties"]["name"]["description"] == "How people call it."


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bus", "no ontology is called 'bus'; write locution-learning, fipa-agent-management, "),
        (":BUS", "no ontology is called ':BUS'"),
        ("buses:", "no ontology is called 'buses:'"),
        ("buses:TRAM", "module 'buses' has no 'TRAM'"),
        ("buses:Stop", "'buses:Stop' is ModelMetaclass, not an ontology.content.Ontology"),
        ("nowhere:BUS", "there is no module 'nowhere' on the path or in "),
        ("buses.inner:BUS", "there is no module 'buses.inner' on the path"),
        ("broken:BUS", "cannot be imported: ZeroDivisionError: division by zero (broken.py, line 1)"),
        ("leaves:BUS", "'leaves:BUS' cannot be imported: SystemExit: one two (leaves.py, line 1)"),
        ("wants:BUS", "'wants:BUS' cannot be imported: No module named 'absent'"),
    ],
)
def test_what_is_none_is_told(run: Any, folder: Path, name: str, told: str) -> None:
    (folder / "buses.py").write_text(BUS)
    (folder / "broken.py").write_text("1 / 0")
    (folder / "wants.py").write_text("import absent")
    (folder / "leaves.py").write_text("raise SystemExit('one\\ntwo')")
    code, out, err = run("export", name)
    assert (code, out) == (2, "")
    assert err.startswith("locution: ")
    assert err.count("\n") == 1
    assert told in err


def test_what_json_schema_has_no_word_for_is_told(run: Any, folder: Path) -> None:
    (folder / "opaque.py").write_text(OPAQUE)
    code, out, err = run("export", "opaque:ODD")
    assert (code, out) == (1, "")
    assert err.startswith("locution: ontology odd/1.0 has no JSON Schema: Cannot generate a JsonSchema")
    assert err.count("\n") == 1


def test_without_rdflib_the_command_that_installs_it_is_told(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "ontology.owl", raising=False)
    monkeypatch.delattr("ontology.owl", raising=False)
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "rdflib":
            raise ModuleNotFoundError("No module named 'rdflib'", name="rdflib")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    code, out, err = run("export", "locution-learning", "--format", "owl")
    assert (code, out) == (1, "")
    assert err == (
        "locution: OWL needs the package rdflib, which is not installed; in the folder of Locution: "
        "pip install -e '.[owl]'\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "missing command; see locution ontology --help"),
        (["export"], "missing argument 'NAME'"),
        (["export", "x", "--format", "kif"], "'kif' is not one of 'json-schema', 'owl'"),
    ],
)
def test_misuse(run: Any, arguments: list[str], told: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert told in err
