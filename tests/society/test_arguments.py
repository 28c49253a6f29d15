from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ontology.acl import Performative
from ontology.aid import AgentIdentifier
from ontology.tasks import Train
from society.arguments import label, message, model_name, names, reference, task
from society.cli import train as train_command
from society.errors import MisuseError, TableError


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "my digits.csv").write_text("x,y\n1,2\n")
    return folder


def test_a_dataset_is_found_from_here_and_from_the_data_folder(data, monkeypatch):
    monkeypatch.chdir(data / "sub")
    digest = hashlib.sha256(b"x,y\n1,2\n").hexdigest()
    for path in ("my digits.csv", "sub/my digits.csv", data / "sub" / "my digits.csv"):
        found = reference(Path(path), data)
        assert (found.uri, found.sha256) == ("sub/my digits.csv", digest)


def test_a_dataset_that_is_absent_or_outside_is_told(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TableError, match=r"no.csv: there is no such file, neither here nor in the data folder"
    ):
        reference(Path("no.csv"), data)
    with pytest.raises(TableError, match="there is no such file"):
        reference(data / "sub", data)
    (tmp_path / "outside.csv").touch()
    (data / "link.csv").symlink_to(tmp_path / "outside.csv")
    for path in ("outside.csv", "data/link.csv", "/etc/hostname"):
        with pytest.raises(TableError, match="it lies outside the data folder"):
            reference(Path(path), data)


def test_a_task_has_what_was_wished_and_tells_of_its_progress(data):
    made = task(data / "sub/my digits.csv", data, {"target": "y", "epochs": 7, "seed": None})
    assert made == Train(dataset=made.dataset, target="y", model="my-digits", epochs=7, notify=True)


def test_a_task_may_leave_columns_out(data):
    assert task(data / "sub/my digits.csv", data, {"target": "y", "drop": ("a", "b")}).drop == ("a", "b")


@pytest.mark.parametrize("name", ["digits", "digits:3"])
def test_a_label_is_a_name_with_or_without_a_version(name):
    assert label(name) == name


@pytest.mark.parametrize(
    ("wishes", "told"),
    [
        ({"epochs": -1}, "--epochs: input should be greater than or equal to 1, not -1"),
        ({"held_out": 1.5}, "--held-out: input should be less than 1, not 1.5"),
        ({"model": "a/b"}, "--model: write letters, digits, dots, hyphens and underscores, a letter or"),
        ({"drop": ("",)}, "--drop: "),
        ({"kind": "guess"}, "--kind: input should be 'classification' or 'regression', not 'guess'"),
        ({"device": "gpu"}, "--device: input should be 'auto', 'cpu' or 'cuda', not 'gpu'"),
        ({"target": ""}, "--target: "),
        ({"learning_rate": float("nan")}, "--learning-rate: "),
    ],
)
def test_a_wish_that_cannot_be_names_its_option(data, wishes, told):
    with pytest.raises(MisuseError) as caught:
        task(data / "sub/my digits.csv", data, {"target": "y", **wishes})
    assert str(caught.value).startswith(told)


def test_the_help_tells_the_defaults_as_they_are():
    for option in train_command.params:
        field = Train.model_fields.get(option.name or "")
        help_text = getattr(option, "help", None) or ""
        if "[default: " in help_text and field is not None:
            assert help_text.endswith(f"[default: {field.default}]")


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/digits.csv", "digits"), ("my räts.csv", "my-r-ts"), (".csv", "csv"), ("-.x", "model")],
)
def test_a_model_is_named_after_its_file(path, name):
    assert model_name(Path(path)) == name


def test_names_may_be_separated_by_commas():
    assert names(["a,b", "c", ""]) == ["a", "b", "c"]


def test_a_message_has_what_was_given_and_new_ids(file):
    made = message(
        file,
        ["directory", "x@example.org/r"],
        "Request",
        "not checked",
        {
            "protocol": "fipa-request",
            "ontology": "o",
            "language": None,
            "reply_to": ("coordinator",),
            "reply_by": "2026-11-20T07:06:34.120Z",
            "user": ("colour=red=ish", "X-size=1"),
        },
    )
    assert made.performative is Performative.REQUEST
    assert [each.jid for each in made.receiver] == ["directory@localhost", "x@example.org/r"]
    assert made.sender == AgentIdentifier(name="operator@localhost")
    assert [each.name for each in made.reply_to] == ["coordinator@localhost"]
    assert (made.content, made.protocol, made.ontology, made.language) == (
        "not checked", "fipa-request", "o", None,
    )  # fmt: skip
    assert made.reply_by == datetime(2026, 11, 20, 7, 6, 34, 120000, tzinfo=UTC)
    assert made.user_parameters == {"X-colour": "red=ish", "X-size": "1"}
    assert made.conversation_id
    assert made.reply_with
    assert made.conversation_id != made.reply_with


def test_ids_can_be_given_or_left_out(file):
    made = message(file, ["a"], "inform", "", {"conversation_id": "c", "reply_with": ""})
    assert (made.conversation_id, made.reply_with) == ("c", None)


def test_reply_by_may_be_seconds_from_now(file):
    made = message(file, ["a"], "inform", "", {"reply_by": "5"})
    assert made.reply_by is not None
    assert timedelta(0) < made.reply_by - datetime.now(UTC) <= timedelta(seconds=5)


@pytest.mark.parametrize(
    ("act", "parameters", "told"),
    [
        ("requst", {}, "'requst' is none of the 22 acts of FIPA00037: accept-proposal, agree, cancel, cfp, "),
        ("request", {"reply_by": "soon"}, "reply-by 'soon' is no time; write e.g. "),
        ("request", {"reply_to": ("a b",)}, "reply-to: 'a b@localhost' is no agent's name"),
        ("request", {"user": ("x",)}, "-X 'x': write -X NAME=VALUE"),
        ("request", {"user": ("ä=1",)}, "user-parameters: a user-defined parameter is named X-..."),
        ("request", {"conversation_id": "", "protocol": "p"}, "a message under protocol 'p' needs a conv"),
        ("request", {"conversation_id": "x" * 2000}, "conversation-id: "),
    ],
)
def test_a_message_that_cannot_be_says_why(file, act, parameters, told):
    with pytest.raises(MisuseError) as caught:
        message(file, ["a"], act, "", parameters)
    assert str(caught.value).startswith(told)


def test_a_receiver_that_is_no_name_is_told(file):
    with pytest.raises(MisuseError, match="receiver: 'a b@localhost' is no agent's name"):
        message(file, ["a b"], "inform", "", {})
