"""Who may import whom: the table of the architecture as data, and every source file held against it."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

OURS: Mapping[str, frozenset[str]] = {
    "ontology": frozenset(),
    "protocols": frozenset({"ontology"}),
    "resilience": frozenset({"ontology", "protocols"}),
    "learning": frozenset({"ontology"}),
    "behaviours": frozenset({"ontology", "protocols", "resilience"}),
    "agents": frozenset({"ontology", "protocols", "resilience", "learning", "behaviours"}),
    "society": frozenset({"ontology", "protocols", "resilience", "learning", "behaviours", "agents"}),
}
"""Which of our packages each may import, besides itself."""


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Where a module may be imported."""

    where: tuple[str, ...]
    """Patterns of paths; a star does cross folders."""
    files: int | None = None
    """In how many files at most; None for as many as like."""


ALLOWED: Mapping[str, Allowed] = {
    # Some tables of the society file, whose model is society/config.py, have files of their own.
    "pydantic": Allowed(
        where=(
            "ontology/*",
            "society/config.py",
            "society/authorities.py",
            "society/durability.py",
            "society/elections.py",
            "society/validating.py",
        )
    ),
    "rdflib": Allowed(where=("ontology/owl.py",), files=1),
    "redis": Allowed(where=("resilience/*",), files=1),
    "consul": Allowed(where=("resilience/*",), files=1),
    "pybreaker": Allowed(where=("resilience/*",), files=1),
    "sqlite3": Allowed(where=("resilience/*",), files=1),
    "torch": Allowed(where=("learning/*",)),
    "safetensors": Allowed(where=("learning/*",)),
    "numpy": Allowed(where=("learning/*",)),
    "pyarrow": Allowed(where=("learning/*",), files=1),
    "spade": Allowed(where=("behaviours/*", "agents/*", "society/dashboard.py")),
    "slixmpp": Allowed(where=("behaviours/wire.py", "behaviours/connection.py")),
    # py-consul lets its errors through.
    "aiohttp": Allowed(where=("society/dashboard.py", "society/endpoint.py", "resilience/consul_client.py")),
    "click": Allowed(where=("society/cli.py", "society/offline.py", "society/options.py")),
    "rich": Allowed(where=("society/cli.py", "society/terminal.py"), files=1),
    # behaviours/signing.py: signatures hold from agent to agent, so they are made beside the wire.
    "cryptography": Allowed(where=("society/xmpp_server/*", "behaviours/signing.py")),
    "prometheus_client": Allowed(where=("society/*",), files=1),
    "opentelemetry": Allowed(where=("society/*",), files=1),
    "pytest": Allowed(where=("society/pytest_plugin.py",)),
}
"""Modules from outside, and those of the standard library that stand for a service."""

NOWHERE = frozenset({"lxml", "pickle", "pyjabber"})
"""Not even where the standard library has it: what comes from the wire is never unpickled."""

PURE = ("ontology/*", "protocols/*")
IMPURE = frozenset({"asyncio", "time", "random", "logging", "socket", "threading"})
"""What a pure package does not import."""

BINDINGS = (
    "resilience/memory.py",
    "resilience/*_store.py",
    "resilience/*_journal.py",
    "resilience/*_lock.py",
)
"""Files of `resilience` that bind a port to something real; all others are policy and are told the time."""

CLOCKS = frozenset(
    {
        "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
        "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.sleep",
    }
)  # fmt: skip

LINE_LIMIT = 400
LONG_TABLES: frozenset[str] = frozenset()
"""Files that may be longer, because they are one long table."""


def faults(path: str, source: str) -> list[str]:
    """What one file does that the table does not allow.

    Args:
        path: relative to the root, with slashes.
        source: its text.
    """
    tree = ast.parse(source, path)
    package = path.partition("/")[0]
    found = []
    for module in imported(tree, path):
        top = module.partition(".")[0]
        if top in OURS:
            if top != package and top not in OURS[package]:
                found.append(f"{path} imports {module}: {package} is below {top}")
        elif top in NOWHERE:
            found.append(f"{path} imports {module}, which nothing here may")
        elif top in ALLOWED:
            if not is_in(path, ALLOWED[top].where):
                found.append(f"{path} imports {module}, which belongs in {' or '.join(ALLOWED[top].where)}")
        elif top not in sys.stdlib_module_names:
            found.append(f"{path} imports {module}, which is in no table")
        elif top in IMPURE and is_in(path, PURE):
            found.append(f"{path} imports {module}, and {package} is pure")
    if is_in(path, PURE) or (package == "resilience" and not is_in(path, BINDINGS)):
        found.extend(f"{path} looks at the clock: {name}" for name in sorted(names(tree) & CLOCKS))
    return found


def spread(sources: Mapping[str, str]) -> list[str]:
    """Which modules are imported in more files than they may be."""
    users: dict[str, set[str]] = defaultdict(set)
    for path, source in sources.items():
        for module in imported(ast.parse(source, path), path):
            users[module.partition(".")[0]].add(path)
    return [
        f"{module} is imported in {', '.join(sorted(users[module]))}"
        for module, allowed in ALLOWED.items()
        if allowed.files is not None and len(users[module]) > allowed.files
    ]


def is_in(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def imported(tree: ast.AST, path: str) -> Iterator[str]:
    """Every module that a file names in an import, wherever it stands; relative ones spelt out."""
    package = path.rpartition("/")[0].split("/")
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module
            case ast.ImportFrom(level=level, module=module):
                base = package[: len(package) - level + 1]
                yield ".".join([*base, module] if module else base) or "."
            case ast.Call(func=called, args=[ast.Constant(value=str(module)), *_]):
                if dotted(called) in {"__import__", "import_module", "importlib.import_module"}:
                    yield module


def names(tree: ast.AST) -> set[str]:
    """Every dotted name that a file uses, by what it was imported as."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                known |= {alias.asname: alias.name for alias in aliases if alias.asname}
            case ast.ImportFrom(module=str(module), names=aliases):
                known |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in aliases}
    found = set()
    for node in ast.walk(tree):
        name = dotted(node)
        if name is not None:
            first, dot, rest = name.partition(".")
            found.add(known.get(first, first) + dot + rest)
    return found


def dotted(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attribute):
            base = dotted(value)
            return None if base is None else f"{base}.{attribute}"
    return None


def sources() -> dict[str, str]:
    """Every source file of ours that there is."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for package in OURS
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def listed() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(project["tool"]["setuptools"]["packages"])


SOURCES = sources()


@pytest.mark.parametrize("package", OURS)
def test_imports_follow_the_table(package):
    found = [
        fault
        for path, text in SOURCES.items()
        if path.startswith(f"{package}/")
        for fault in faults(path, text)
    ]
    assert found == []


def test_what_belongs_in_one_file_is_in_one_file():
    assert spread(SOURCES) == []


def test_the_table_has_no_circle():
    for package, below in OURS.items():
        assert package not in below
        for other in below:
            assert package not in OURS[other], f"{package} and {other}"
            assert OURS[other] <= below, f"{package} sees {other}, and so what is below it"


def test_every_package_is_listed_and_every_listed_one_is_there():
    assert {name.partition(".")[0] for name in listed()} == set(OURS)
    assert {name for name in listed() if not (ROOT / name.replace(".", "/")).is_dir()} == set()
    with_code = {path.rpartition("/")[0].replace("/", ".") for path in SOURCES}
    assert with_code <= listed()


def test_every_package_with_code_is_a_package():
    folders = {path.rpartition("/")[0] for path in SOURCES}
    assert {folder for folder in folders if f"{folder}/__init__.py" not in SOURCES} == set()


def test_every_test_folder_is_a_package():
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert {str(folder) for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_no_file_is_too_long():
    lengths = {path: text.count("\n") for path, text in SOURCES.items()}
    assert {path: n for path, n in lengths.items() if n > LINE_LIMIT and path not in LONG_TABLES} == {}
    assert set(LONG_TABLES) <= set(SOURCES), "a file that is gone needs no exception"


@pytest.mark.parametrize(
    ("path", "source", "told"),
    [
        ("ontology/a.py", "import protocols", "ontology is below protocols"),
        ("ontology/a.py", "from society.config import Config", "ontology is below society"),
        ("protocols/a.py", "def f():\n    from behaviours import wire", "protocols is below behaviours"),
        ("learning/a.py", "from protocols.machine import start", "learning is below protocols"),
        ("resilience/a.py", "import learning.networks as n", "resilience is below learning"),
        ("behaviours/a.py", "from agents import base", "behaviours is below agents"),
        ("agents/a.py", "import society", "agents is below society"),
        ("protocols/a.py", "import pydantic", "which belongs in ontology/*"),
        ("society/wiring.py", "from pydantic import BaseModel", "which belongs in"),
        ("society/a.py", "import redis.asyncio", "which belongs in resilience/*"),
        ("behaviours/a.py", "import sqlite3", "which belongs in resilience/*"),
        ("agents/learner.py", "import torch.nn", "which belongs in learning/*"),
        ("society/wiring.py", "import spade", "which belongs in behaviours/*"),
        ("behaviours/mailroom.py", "from slixmpp import JID", "which belongs in behaviours/wire.py"),
        ("society/cli.py", "import aiohttp", "which belongs in society/dashboard.py"),
        ("society/wiring.py", "import click", "which belongs in society/cli.py"),
        ("society/dashboard.py", "from cryptography import x509", "which belongs in society/xmpp_server/*"),
        ("behaviours/wire.py", "from lxml import etree", "which nothing here may"),
        ("resilience/redis_store.py", "import pickle", "which nothing here may"),
        ("society/launcher.py", "import pyjabber.server", "which nothing here may"),
        ("learning/a.py", "import sklearn", "which is in no table"),
        ("society/a.py", "from tests import conftest", "which is in no table"),
        ("society/a.py", "from ... import secrets", "which is in no table"),
        ("society/a.py", "import importlib\nimportlib.import_module('boto3')", "which is in no table"),
        ("society/a.py", "__import__('pickle')", "which nothing here may"),
        ("protocols/a.py", "if TYPE_CHECKING:\n    from asyncio import Task", "protocols is pure"),
        ("ontology/a.py", "import random", "ontology is pure"),
        ("ontology/a.py", "from datetime import datetime\ndatetime.now()", "looks at the clock"),
        ("ontology/a.py", "import datetime as d\nd.datetime.utcnow()", "looks at the clock"),
        ("protocols/a.py", "from datetime import date as day\nf(default=day.today)", "looks at the clock"),
        ("resilience/election.py", "import time\ntime.monotonic()", "looks at the clock"),
        ("resilience/backoff.py", "from time import time as now\nnow()", "looks at the clock"),
    ],
)
def test_the_checker_finds(path, source, told):
    (found,) = faults(path, source)
    assert found.startswith(path)
    assert told in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ontology/a.py", "import json, re\nfrom pydantic import BaseModel\nfrom ontology.aid import x"),
        ("protocols/a.py", "from datetime import datetime\nfrom . import machine\nfrom .machine import Role"),
        ("protocols/a.py", "now = 5\nconversation.now()\ndatetime.fromisoformat('x')"),
        ("society/xmpp_server/a.py", "from .stanzas import quote\nfrom ..config import Config"),
        ("society/xmpp_server/tls.py", "from cryptography import x509"),
        ("society/wiring.py", "import agents.base, learning, resilience.memory, asyncio"),
        ("resilience/redis_store.py", "import redis.asyncio, time\ntime.time()"),
        ("behaviours/connection.py", "import slixmpp, spade, asyncio"),
    ],
)
def test_the_checker_lets_pass(path, source):
    assert faults(path, source) == []


def test_the_checker_counts_files():
    one = {"resilience/redis_store.py": "import redis", "resilience/memory.py": "import json"}
    assert spread(one) == []
    (found,) = spread({**one, "resilience/inbox.py": "from redis.asyncio import Redis"})
    assert found == "redis is imported in resilience/inbox.py, resilience/redis_store.py"
    (found,) = spread({"society/cli.py": "import rich", "society/terminal.py": "import rich.table"})
    assert found.startswith("rich is imported in")
