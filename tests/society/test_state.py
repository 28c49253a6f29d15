from __future__ import annotations

import json
import multiprocessing
import os
import stat
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from society.errors import NotRunningError, RunsAlreadyError, StateError
from society.state import StateFolder, variable_of

ROOT = Path(__file__).parents[2]


def state(folder: Path, **environment: str) -> StateFolder:
    found = StateFolder(folder / "state", environment)
    found.prepare()
    return found


def test_passwords_are_made_once_and_kept(tmp_path):
    first = state(tmp_path).passwords(["a", "b"])
    again = state(tmp_path).passwords(["b", "c"])
    assert again["b"] == first["b"]
    assert len({first["a"], first["b"], again["c"]}) == 3
    assert state(tmp_path).password("a") == first["a"]
    assert min(map(len, first.values())) >= 32


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "passwords.json is no JSON object of names and passwords; mend it, or remove it"),
        ('{"operator": ""}', "passwords.json: the password of operator is empty; write one, or remove"),
    ],
)
def test_passwords_that_are_none(tmp_path, text, told):
    found = state(tmp_path)
    (found.folder / "passwords.json").write_text(text)
    for ask in (lambda: found.password("operator"), lambda: found.passwords(["operator"])):
        with pytest.raises(StateError, match=told):
            ask()


def test_a_folder_that_others_may_read_is_closed_to_them(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(0o755)
    state(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o1777)
    state(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777


def test_only_this_user_may_read_them(tmp_path):
    found = state(tmp_path)
    found.passwords(["a"])
    path = found.folder / "passwords.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(found.folder.stat().st_mode) == 0o700
    path.chmod(0o644)
    found.passwords(["a"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in found.folder.iterdir() if "passwords" in each.name] == ["passwords.json"]


def test_a_password_of_the_environment_comes_first_and_is_not_written_down(tmp_path):
    found = state(tmp_path, LOCUTION_PASSWORD_LEARNER_1="secret")
    assert found.passwords(["learner-1", "b"])["learner-1"] == "secret"
    assert found.password("learner-1") == "secret"
    assert set(json.loads((found.folder / "passwords.json").read_text())) == {"b"}
    assert variable_of("a.b-c_1") == "LOCUTION_PASSWORD_A_B_C_1"


def _make(folder: Path, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    found = StateFolder(folder, {})
    found.prepare()
    results.put(found.passwords(["a", "b", str(os.getpid())]))  # type: ignore[attr-defined]


def test_processes_that_start_at_once_agree(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_make, args=(tmp_path / "state", barrier, results)) for _ in range(4)]
    for process in processes:
        process.start()
    made = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        process.close()
    results.close()
    results.join_thread()
    assert len({(each["a"], each["b"]) for each in made}) == 1
    assert len(json.loads((tmp_path / "state/passwords.json").read_text())) == 6


def test_a_client_of_a_society_that_never_ran_is_told_so(tmp_path):
    with pytest.raises(NotRunningError, match=r"has not been started here yet .* LOCUTION_PASSWORD_OPERATOR"):
        StateFolder(tmp_path / "none", {}).password("operator")


@pytest.mark.parametrize("text", ["not json", "[]", '{"a": 1}'])
def test_a_damaged_file_is_not_overwritten(tmp_path, text):
    found = state(tmp_path)
    path = found.folder / "passwords.json"
    path.write_text(text)
    with pytest.raises(StateError, match=r"passwords.json is no JSON object of names and passwords; mend it"):
        found.passwords(["a"])
    assert path.read_text() == text


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(
        StateError, match=r"the state folder .*state cannot be used: File exists; mend it, or"
    ):
        state(tmp_path)


def test_an_agent_runs_in_one_process_only(tmp_path):
    found = state(tmp_path)
    found.claim("learner-1")
    code = (
        "import sys; from pathlib import Path; from society.state import StateFolder\n"
        "StateFolder(Path(sys.argv[1]), {}).claim('learner-1')"
    )
    command = [sys.executable, "-c", code, str(found.folder)]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert f"learner-1 runs already, in process {os.getpid()}" in refused.stderr
    assert found.holder("learner-1") == str(os.getpid())
    found.claim("learner-2")
    found.release("learner-1", "learner-3")
    assert [found.holder(f"learner-{number}") for number in (1, 2, 3)] == [None, str(os.getpid()), None]
    found.release()
    found.release()
    freed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (freed.returncode, freed.stderr) == (0, "")


def test_keys_are_made_once_and_are_for_nobody_else(tmp_path):
    state = StateFolder(tmp_path)
    made = state.keys(["one", "two"])
    again = StateFolder(tmp_path).keys(["two", "three"])
    assert again["two"].public == made["two"].public
    assert len({made["one"].public, made["two"].public, again["three"].public}) == 3
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert state.public_keys() == {
        "one": made["one"].public, "two": made["two"].public, "three": again["three"].public
    }  # fmt: skip
    assert not any(key.public in (tmp_path / "keys.json").read_text() for key in made.values())


def test_keys_that_were_never_made_are_none(tmp_path):
    state = StateFolder(tmp_path)
    assert state.public_keys() == {}
    seen = [state.keys_changed()]
    for name in ("one", "two", "three"):
        state.keys([name])
        seen.append(state.keys_changed())
    assert all(before != after for before, after in pairwise(seen))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "keys.json is no JSON object of names and keys; mend it, or remove it for new ones"),
        ('{"one": ""}', "keys.json: the key of one is empty; write one, or remove the entry for a new one"),
        ('{"one": "AAAA"}', "keys.json: what stands there for one is no key; remove the entry for a new one"),
    ],
)
def test_what_is_no_key_is_told_so(tmp_path, text, told):
    (tmp_path / "keys.json").write_text(text)
    for ask in (lambda: StateFolder(tmp_path).keys(["one"]), StateFolder(tmp_path).public_keys):
        with pytest.raises(StateError, match=f"{told}$"):
            ask()


def test_whoever_holds_an_agent_may_claim_it_again_and_nobody_else(tmp_path):
    ours, theirs = StateFolder(tmp_path), StateFolder(tmp_path)
    ours.claim("one")
    ours.claim("one")
    with pytest.raises(RunsAlreadyError, match="one runs already, in process"):
        theirs.claim("one")
    ours.release("one")
    theirs.claim("one")
