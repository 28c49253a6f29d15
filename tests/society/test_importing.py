"""A user's folder that is called as a package of ours is not taken for it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from society.importing import OURS

ROOT = Path(__file__).parents[2]

EDITABLE = f"""
import sys
from importlib.machinery import PathFinder

class Editable:  # as setuptools does it: asked when nothing on the path is called so
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{str(ROOT)!r}]) if path is None else None

sys.meta_path.append(Editable)
from society.cli import main
main(sys.argv[1:])
"""

FILE = """
[society]
name = "s"
[[agent]]
name = "a"
kind = "KIND"
"""

BUSES = """
from agents.base import LocutionAgent
from ontology.content import Concept, Ontology
from protocols.registry import PROTOCOLS

class Stop(Concept):
    name: str

class Driver(LocutionAgent):
    pass

BUSES = Ontology(name="buses", version=(1, 0), terms=(Stop,))
"""


@pytest.fixture(params=[True, False], ids=["packages", "folders"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Give a folder with a module of the user's and folders with names of ours, packages or not."""
    (tmp_path / "buses.py").write_text(BUSES)
    for name in ("protocols", "agents", "behaviours"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "registry.py").write_text("import stage\n")
        if request.param:
            (tmp_path / name / "__init__.py").write_text("raise RuntimeError('this is not ours')\n")
    return tmp_path


def locution(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an editable installation does, in a folder."""
    return subprocess.run(
        [sys.executable, "-P", "-c", EDITABLE, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_for_an_ontology(folder: Path) -> None:
    found = locution(folder, "ontology", "export", "buses:BUSES")
    assert (found.returncode, found.stderr) == (0, "")
    assert '"stop"' in found.stdout


def test_for_a_kind_of_agents(folder: Path) -> None:
    (folder / "society.toml").write_text(FILE.replace("KIND", "buses:Driver"))
    found = locution(folder, "check", "--json")
    checked = [json.loads(line) for line in found.stdout.splitlines()]
    assert [each["ok"] for each in checked if each["name"] == "agent a"] == [True], found


def test_whose_modules_cannot_be_had_under_that_name(folder: Path) -> None:
    (folder / "agents" / "mine.py").write_text("x = 1\n")
    (folder / "society.toml").write_text(FILE.replace("KIND", "agents.mine:Driver"))
    found = locution(folder, "check")
    assert "'agents' is a package of Locution, so give a folder of your own another name" in (
        found.stdout + found.stderr
    )


def test_ours_are_all_that_is_installed() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(OURS) == sorted(name for name in packages if "." not in name)
