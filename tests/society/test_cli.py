"""The command line as far as it goes without a running society; the rest is in tests/e2e."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from society.cli import main

ROOT = Path(__file__).parents[2]


class Ended:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        captured = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return Ended(caught.value.code, captured.out, captured.err)

    return call


def assert_one_sentence(ended: Ended, code: int, *told: str, out: str = "") -> None:
    assert (ended.code, ended.out) == (code, out)
    assert ended.err.startswith("locution: ")
    assert ended.err.count("\n") == 1
    for each in told:
        assert each in ended.err


def test_help_is_quick_because_it_imports_neither_spade_nor_torch_nor_rich():
    code = (
        "import sys\nfrom society.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        "print(sorted({'spade', 'torch', 'rich', 'pydantic', 'aiohttp', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for command in (
        "up",
        "train",
        "predict",
        "send",
        "show",
        "agents",
        "check",
        "xmpp-server",
        "protocols",
        "audit",
    ):
        assert f"\n  {command} " in done.stdout


def test_a_client_needs_no_torch():
    code = "import sys\nimport society.commands\nprint(sorted({'torch', 'numpy'} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_a_replica_has_a_name_that_can_be_in_an_address(run):
    ended = run("up", "--replica", "a/b c")
    told = "--replica: 'a/b c' is no name for a replica, which is part of its address: write 1 to 64 letters"
    assert_one_sentence(ended, 2, told)


def test_without_a_command_the_help_is_shown(run):
    ended = run()
    assert (ended.code, ended.out) == (2, "")
    assert "Usage: locution" in ended.err


def test_the_version_is_told(run):
    assert run("--version").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bogus"], "no such command 'bogus'; see locution --help"),
        (["train"], "missing argument 'DATA'; see locution train --help"),
        (["train", "x.csv"], "missing option '--target'; see locution train --help"),
        (
            ["up", "learner-1"],
            "unexpected argument 'learner-1'; to run some agents only, write --only learner-1",
        ),
        (["predict", "m", "x.csv", "--first", "0"], "--first"),
        (["send", "a", "request"], "missing argument 'CONTENT'"),
        (["train", "x.csv", "--target", "y", "--epochs", "many"], "'many' is not a valid integer"),
    ],
)
def test_misuse_has_exit_code_2(run, arguments, told):
    assert_one_sentence(run(*arguments), 2, told)


@pytest.mark.parametrize(
    "command", [["up"], ["agents"], ["check"], ["xmpp-server"], ["send", "a", "inform", ""]]
)
def test_without_a_file_every_command_says_so(run, command):
    assert_one_sentence(
        run(*command), 1, "society.toml: there is no such file; name a society file with --file"
    )


def test_a_wrong_file_is_told_with_its_line(run, write_file):
    path = write_file(xmpp="prot = 1")
    assert_one_sentence(
        run("up", "-f", str(path)), 1, f"{path}:6: [xmpp] has no setting 'prot'; did you mean"
    )


def test_an_act_that_does_not_exist_is_misuse_and_all_22_are_listed(run, write_file):
    ended = run("send", "a", "requst", "{}", "-f", str(write_file()))
    assert_one_sentence(ended, 2, "'requst' is none of the 22 acts", "accept-proposal, agree", "subscribe")


def test_negative_epochs_are_misuse(run, write_file):
    path = write_file()
    (path.parent / "x.csv").write_text("x,y\n1,2\n")
    ended = run("train", "x.csv", "--target", "y", "--epochs", "-1", "-f", str(path))
    assert_one_sentence(ended, 2, "--epochs: input should be greater than or equal to 1, not -1")


def test_a_model_that_cannot_be_called_so_is_misuse(run, write_file):
    path = write_file()
    (path.parent / "x.csv").write_text("x,y\n1,2\n")
    told = "write letters, digits, dots, hyphens and underscores, a letter or digit first, at most 100"
    ended = run("train", "x.csv", "--target", "y", "--model", "my model", "-f", str(path))
    assert_one_sentence(ended, 2, f"--model: {told}, not 'my model'")
    ended = run("predict", "my model", str(path.parent / "x.csv"), "-f", str(path))
    assert_one_sentence(ended, 2, f"MODEL: {told}, and :VERSION behind it if need be, not 'my model'")


@pytest.mark.parametrize("command", [["train", "no.csv", "--target", "y"], ["predict", "m", "no.csv"]])
def test_a_csv_that_is_not_there_is_named(run, write_file, command):
    assert_one_sentence(run(*command, "-f", str(write_file())), 1, "no.csv: there is no such file")


def test_before_the_first_start_a_client_says_how_to_start(run, write_file):
    ended = run("agents", "-f", str(write_file()))
    assert_one_sentence(ended, 1, "the society has not been started here yet (locution up)")


def test_without_a_society_running_a_client_says_how_to_start(run, write_file, monkeypatch):
    path = write_file()
    monkeypatch.setenv("LOCUTION_PASSWORD_OPERATOR", "x")
    for command in (["agents"], ["send", "a", "inform", "x"], ["send", "a", "inform", "x", "--json"]):
        ended = run(*command, "-f", str(path))
        assert_one_sentence(ended, 1, "no society 'test' at 127.0.0.1 port ", f"locution up --file {path}")


def test_a_port_that_is_taken_is_told_with_the_way_out(run, write_file):
    path = write_file()
    port = int(path.read_text().split("port = ")[1].split()[0])
    with socket.create_server(("127.0.0.1", port)):
        ended = run("up", "-f", str(path))
    told = f"cannot listen on 127.0.0.1 port {port}"
    assert_one_sentence(ended, 1, told, "choose another port\n", out=f"starting test ({path})\n")


def test_a_dashboards_port_that_is_taken_is_told_and_all_is_stopped_again(run, write_file):
    path = write_file()
    base = int(path.read_text().split("port = ")[2].split()[0])
    with socket.create_server(("127.0.0.1", base + 2)):
        ended = run("up", "-f", str(path))
    assert_one_sentence(
        ended, 1, f"port {base + 2}", "coordinator@localhost", out=f"starting test ({path})\n"
    )
    assert "0 takes any" not in ended.err
    assert run("check", "-f", str(path)).code == 0


def test_an_agent_that_is_not_in_the_file_cannot_be_run(run, write_file):
    path = write_file()
    ended = run("up", "-f", str(path), "--only", "directry")
    told = "has no agent 'directry'; did you mean 'directory'?"
    assert_one_sentence(ended, 1, told, out=f"starting test ({path})\n")


def test_an_external_server_is_not_ours_to_run(run, write_file):
    path = write_file(xmpp='server = "external"')
    ended = run("xmpp-server", "-f", str(path))
    assert_one_sentence(ended, 1, "the XMPP server is external", out=f"starting test ({path})\n")


def test_a_device_that_is_not_there_is_one_sentence(run, write_file):
    agents = (
        '[[agent]]\nname = "a"\nkind = "learner"\noptions = { directory = "d@x", networks = ["absent"] }\n'
    )
    path = write_file(agents=agents)
    ended = run("up", "-f", str(path))
    told = "agent 'a' could not be made: No module named 'absent'"
    assert_one_sentence(ended, 1, told, out=f"starting test ({path})\n")


def test_check_is_one_line_a_point_and_fails_if_one_does(run, write_file):
    path = write_file()
    good = run("check", "-f", str(path))
    assert (good.code, good.err) == (0, "")
    assert all(line.startswith("ok ") for line in good.out.splitlines())
    path.write_text(path.read_text() + '[[agent]]\nname = "a"\nkind = "absent:Kind"\n')
    bad = run("check", "--json", "-f", str(path))
    events = [json.loads(line) for line in bad.out.splitlines()]
    assert bad.code == 1
    assert [event["name"] for event in events if not event["ok"]] == ["agent a"]


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback(write_file):
    command = (
        f"{sys.executable} -m society check --json -f {write_file()} | head -n 0; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path, write_file):
    def left_by(code: str) -> list[str]:
        subprocess.run(
            [sys.executable, "-c", code, "check", "-f", str(write_file())],
            cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
            capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        return [each.name for each in (tmp_path / "tmp").iterdir()]

    (tmp_path / "tmp").mkdir()
    assert left_by("import sys; from society.cli import main; main(sys.argv[1:])") == []
    # SPADE 4.1.4: when its import leaves nothing behind any more, `_tidy_up` can go.
    assert left_by("import spade") != []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("train", "x.csv", "--target", "y", "--at-least", "nan"),
            "--at-least: write a finite number, not nan",
        ),
        (("send", "a", "inform", "x", "--wait", "nan"), "--wait: write a finite number, not nan"),
        (("send", "a", "inform", "x", "--wait", "inf"), "--wait: write a finite number, not inf"),
    ],
)
def test_what_is_no_number_is_misuse(run, arguments, told):
    assert_one_sentence(run(*arguments), 2, told)


@pytest.mark.parametrize("model", ["../../x", "digits:0", "digits:-1", "", "x" * 500, "digits:" + "9" * 5000])
def test_a_label_that_no_model_has_is_misuse(run, tmp_path, model):
    (tmp_path / "society.toml").write_text('[society]\nname = "s"\n[[agent]]\nname = "a"\nkind = "learner"\n')
    (tmp_path / "digits.csv").write_text("a\n1\n")
    assert_one_sentence(run("predict", model, "digits.csv"), 2, "MODEL: write letters, digits, dots")


def test_any_and_only_do_not_go_together(run):
    assert_one_sentence(run("up", "--any", "learner", "--only", "one"), 2, "leave one of them out")


def test_prepare_makes_secrets_and_says_where_they_are(run, tmp_path):
    (tmp_path / "society.toml").write_text(
        '[society]\nname = "one"\n[[agent]]\nname = "directory"\nkind = "directory-facilitator"\n'
    )
    ended = run("prepare", "--server", "prosody", "--json")
    assert (ended.code, ended.err) == (0, "")
    told = [json.loads(line) for line in ended.out.splitlines()]
    assert [each["what"] for each in told] == ["passwords", "authority", "certificate"]
    assert all(Path(each["path"]).is_file() for each in told)
    again = run("prepare")
    assert again.out == f"passwords   {tmp_path / '.locution' / 'passwords.json'}\n"
