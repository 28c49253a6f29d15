from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agents.base import LocutionAgent, Ports, Server
from agents.coordinator import Coordinator
from society.config import load
from society.errors import SocietyFileError
from society.kinds import BUILT_IN, Kind, kind_of

ROOT = Path(__file__).parents[2]

OWN = """
from pathlib import Path
from typing import Literal
from agents.base import LocutionAgent

class Plain(LocutionAgent):
    pass

class Choosy(LocutionAgent):
    def __init__(self, *who, count: int = 3, place: Path = Path("."), names: tuple[str, ...] = (),
                 colour: Literal["red", "blue"] = "red", pause: float = 1.0, anything="x"):
        super().__init__(*who)

class Needy(LocutionAgent):
    def __init__(self, *who, directory: str, data: Path, models: Path, weight: float):
        super().__init__(*who)

class Stranger:
    pass

number = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    return tmp_path


def kind(folder: Path, what: str, options: str = "", more: str = "") -> Kind:
    module = f"own_{folder.name.replace('-', '_')}"
    path = folder / "society.toml"
    path.write_text(
        f'[society]\nname = "s"\n[[agent]]\nname = "a"\nkind = "{what.replace("own:", module + ":")}"\n'
        f"options = {{ {options} }}\n{more}"
    )
    file = load(path, {})
    return kind_of(file, file.agents[0])


def test_built_in_kinds_have_short_names(folder):
    directory = '[[agent]]\nname = "directory"\nkind = "directory-facilitator"'
    assert kind(folder, "coordinator", "attempts = 5", directory) == Kind(
        cls=Coordinator, options={"attempts": 5, "directory": "directory@localhost"}
    )
    assert set(BUILT_IN) == {"directory-facilitator", "broker", "coordinator", "learner"}


def test_a_users_own_kind_lies_beside_the_file(folder):
    found = kind(folder, "own:Plain")
    assert issubclass(found.cls, LocutionAgent)
    assert found.options == {}


def test_options_are_read_by_the_types_of_the_signature(folder):
    options = 'count = 1, place = "x/y", names = ["a"], colour = "blue", pause = 2, anything = [1]'
    assert kind(folder, "own:Choosy", options).options == {
        "count": 1,
        "place": folder / "x/y",
        "names": ("a",),
        "colour": "blue",
        "pause": 2.0,
        "anything": [1],
    }


@pytest.mark.parametrize(
    ("what", "option", "told"),
    [
        ("coordinator", "bid_within = nan", "option bid_within: should be a finite number, not NaN"),
        ("coordinator", "bid_within = -1", "option bid_within: should be greater than 0, not -1"),
        ("coordinator", "attempts = 0", "option attempts: should be greater than or equal to 1, not 0"),
        ("coordinator", "patience = inf", "option patience: should be a finite number, not Infinity"),
        ("broker", "most = 0", "option most: should be greater than or equal to 1, not 0"),
        ("learner", "queue = -1", "option queue: should be greater than or equal to 0, not -1"),
        (
            "directory-facilitator",
            "longest_lease = 0",
            "option longest_lease: should be greater than 0, not 0",
        ),
        ("directory-facilitator", "longest_lease = nan", "option longest_lease: should be a finite number"),
        (
            "agents.registered:RegisteredAgent",
            "lease = 1e300",
            "option lease: should be less than or equal to",
        ),
    ],
)
def test_the_options_of_built_in_kinds_have_ranges(folder, what, option, told):
    directory = '[[agent]]\nname = "directory"\nkind = "directory-facilitator"'
    with pytest.raises(SocietyFileError) as caught:
        kind(folder, what, option, directory)
    assert f"kind {what!r}: {told}" in str(caught.value)


def test_folders_and_the_directory_are_filled_in(folder):
    directory = '[[agent]]\nname = "yellow"\nkind = "directory-facilitator"'
    assert kind(folder, "own:Needy", "weight = 1", directory).options == {
        "directory": "yellow@localhost",
        "data": folder,
        "models": folder / ".locution/models",
        "weight": 1.0,
    }


@pytest.mark.parametrize(
    ("what", "options", "line", "told"),
    [
        ("lerner", "", 5, "Locution has no kind 'lerner'; did you mean 'learner'?; one of your own is"),
        (
            "absent.module:Kind",
            "",
            5,
            "cannot be imported: there is no module 'absent' on the path or beside",
        ),
        ("own:Absent", "", 5, "has no 'Absent'"),
        ("own:Stranger", "", 5, "is no LocutionAgent; derive the class from agents.base.LocutionAgent"),
        ("own:number", "", 5, "is no LocutionAgent"),
        ("pathlib:", "", 5, "has no kind 'pathlib:'"),
        ("coordinator", "", 5, "it needs a directory; add an [[agent]] of kind 'directory-facilitator'"),
        ("own:Choosy", "cuont = 1", 6, "has no option 'cuont'; did you mean 'count'?"),
        (
            "own:Choosy",
            "zzz = 1",
            6,
            "has no option 'zzz'; it has count, place, names, colour, pause, anything",
        ),
        ("own:Plain", "zzz = 1", 6, "has no option 'zzz'; it has none"),
        ("own:Choosy", 'count = "1"', 6, 'option count: should be a valid integer, not "1"'),
        ("own:Choosy", 'colour = "green"', 6, "option colour: should be 'red' or 'blue', not \"green\""),
        ("own:Choosy", "names = [1]", 6, "option names.0: should be a valid string, not 1"),
        ("own:Needy", 'directory = "d@localhost"', 6, "it needs the option weight"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_line(folder, what, options, line, told):
    with pytest.raises(SocietyFileError) as caught:
        kind(folder, what, options)
    assert caught.value.line == line
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{folder / 'society.toml'}:{line}: agent 'a': ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import nothing_of_that_name\n", "there is no module"),
        ("x = 1 / 0\n", "ZeroDivisionError: division by zero (broken.py, line 1)"),
        ("def (\n", "SyntaxError: invalid syntax (broken.py, line 1)"),
    ],
)
def test_a_module_that_breaks_off_is_told_with_its_place(folder, monkeypatch, text, told):
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    (folder / "broken.py").write_text(text)
    with pytest.raises(SocietyFileError) as caught:
        kind(folder, "broken:Kind")
    assert ("No module named 'nothing_of_that_name'" if "nothing" in text else told) in str(caught.value)


def test_without_torch_a_learner_says_what_to_install(folder):
    (folder / "society.toml").write_text('[society]\nname = "s"\n[[agent]]\nname = "a"\nkind = "learner"\n')
    code = "import sys; sys.modules['torch'] = None; from society.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "up", "--file", str(folder / "society.toml")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f"locution: {folder / 'society.toml'}:5: agent 'a': kind 'learner' cannot be imported: "
        "learning needs torch, which is not installed; in the folder of Locution: "
        "pip install -e '.[learning]'\n"
    )
    assert done.stdout == f"starting s ({folder / 'society.toml'})\n"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import sys; sys.exit('one\\ntwo')", "SystemExit: one two ("),
        ("raise RuntimeError('one\\ntwo')", "RuntimeError: one two ("),
    ],
)
def test_a_module_that_breaks_off_is_one_sentence(folder, source, told):
    name = f"broken_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(source + "\n")
    with pytest.raises(SocietyFileError) as caught:
        kind(folder, f"{name}:Kind")
    assert f"cannot be imported: {told}{name}.py, line 1)" in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("self, jid, password", "too many positional arguments"),
        ("self", "too many positional arguments"),
        ("self, *, jid, password, server, ports", "too many positional arguments"),
        ("self, jid, password, server, ports, colour", "missing a required argument: 'colour'"),
        ("self, jid, password, server, ports, colour, *, size=1", "missing a required argument: 'colour'"),
    ],
)
def test_a_kind_that_does_not_take_what_the_society_gives_it_is_one_sentence(folder, parameters, told):
    name = f"untaking_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(
        "from agents.base import LocutionAgent\n\nclass Kind(LocutionAgent):\n"
        f"    def __init__({parameters}): pass\n"
    )
    with pytest.raises(SocietyFileError) as caught:
        kind(folder, f"{name}:Kind")
    assert str(caught.value) == (
        f"{folder / 'society.toml'}:5: agent 'a': Kind.__init__ ({name}.py, line 4) does not take what the "
        f"society gives it: {told}; write __init__(self, jid, password, server, ports, *, ...) "
        "with its options behind the asterisk"
    )


@pytest.mark.parametrize(
    "parameters",
    [
        "self, jid, password, server, ports=None",
        "self, jid, password, server, ports, colour=1, *more, size=2, **others",
        "self, *who, **others",
        "self, jid, password, *rest, size: int = 3",
    ],
)
def test_whatever_takes_it_is_a_kind(folder, parameters):
    name = f"taking_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(
        "from agents.base import LocutionAgent\n\nclass Kind(LocutionAgent):\n"
        f"    def __init__({parameters}): pass\n"
    )
    assert kind(folder, f"{name}:Kind").cls.__name__ == "Kind"


def test_types_that_cannot_be_read_are_one_sentence(folder):
    name = f"typed_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(
        "from agents.base import LocutionAgent\n"
        "class Kind(LocutionAgent):\n    def __init__(self, *who, size: '1/0' = 1): super().__init__(*who)\n"
    )
    with pytest.raises(
        SocietyFileError, match="the types of Kind's options cannot be read: division by zero"
    ):
        kind(folder, f"{name}:Kind")


TWO = """
[society]
name = "s"
[[agent]]
name = "directory"
kind = "directory-facilitator"
{first}
[[agent]]
name = "a"
kind = "coordinator"
{second}
[[agent]]
name = "b"
kind = "coordinator"
{third}
"""


def led(folder: Path, first: str = "", second: str = "", third: str = "") -> list[Kind]:
    """The kinds of a directory and two coordinators with these further settings."""
    path = folder / "society.toml"
    path.write_text(TWO.format(first=first, second=second, third=third).lstrip())
    file = load(path, {})
    return [kind_of(file, agent) for agent in file.agents]


def test_leadership_stands_beside_the_kind(folder):
    per_task = 'leadership = "per-task"'
    _directory, *kinds = led(folder, "", per_task, per_task)
    assert [each.options["leadership"] for each in kinds] == ["per-task", "per-task"]
    assert all("leadership" not in each.options for each in led(folder))
    led(folder, "", 'leadership = "leader"', "")
    led(folder, "", per_task, 'options = { group = "others" }')
    coordinator = kinds[0].make("a@localhost", "x", Server(host="127.0.0.1"), Ports())
    assert sorted(coordinator.groups) == ["coordinators", "coordinators/a"]


@pytest.mark.parametrize(
    ("settings", "line", "told"),
    [
        (
            ("", 'leadership = "all"', ""),
            10,
            "agent 'a' leadership: should be 'leader' or 'per-task', not \"all\"",
        ),
        (
            ('leadership = "per-task"', "", ""),
            6,
            "agent 'directory': leadership: kind 'directory-facilitator' leads no group; it is for "
            "'coordinator', and kinds that take it",
        ),
        (
            ("", 'options = { leadership = "per-task" }', ""),
            10,
            "agent 'a': leadership stands beside kind, not in options",
        ),
        (
            ("", 'leadership = "per-task"', ""),
            10,
            "agent 'a': leadership: 'per-task' here and 'leader' at 'b', of the same group; "
            "write the same for both",
        ),
        (
            ("", 'options = { group = "us/a" }', ""),
            10,
            "agent 'a': option group: 'us/a' has a slash, behind which a member's part would stand; "
            "leave it out",
        ),
    ],
)
def test_what_is_wrong_with_leadership_is_one_sentence(folder, settings, line, told):
    with pytest.raises(SocietyFileError) as raised:
        led(folder, *settings)
    assert str(raised.value) == f"{folder / 'society.toml'}:{line}: {told}"
