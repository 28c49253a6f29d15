"""A running society and its clients, each in a process of its own."""

from __future__ import annotations

import json
import signal

import pytest

from ontology.codecs import read
from tests.e2e.conftest import Place


@pytest.fixture(scope="module")
def trained(society: Place) -> str:
    """Have a model trained, and give its label."""
    code, train = society.run("train", "digits.csv", "--target", "digit", "--json")
    assert code == 0, train.told()
    label: str = train.of("trained")[0]["label"]
    return label


def test_a_training_is_told_from_the_call_to_the_result(society):
    code, train = society.run("train", "digits.csv", "--target", "digit", "--model", "told", "--json")
    assert code == 0, train.told()
    assert train.errors == []
    names = [event["event"] for event in train.events]
    order = [name for place, name in enumerate(names) if names[place - 1 : place] != [name]]
    assert order == ["asked", "called", "proposed", "awarded", "progress", "trained"]
    called = train.of("called")[0]["learners"]
    assert called == ["learner-1@localhost", "learner-2@localhost"]
    assert sorted(event["learner"] for event in train.of("proposed")) == called
    best = min(train.of("proposed"), key=lambda event: event["bid"]["seconds"])
    result = train.of("trained")[0]
    assert result["learner"] == train.of("awarded")[0]["learner"] == best["learner"]
    assert result["label"] == "told:1"
    assert result["model"]["metrics"]["accuracy"] >= 0.95
    epochs = [event["epoch"] for event in train.of("progress")]
    assert (epochs[0], epochs[-1], sorted(set(epochs))) == (1, result["epochs"], epochs)


def test_people_see_the_same_in_words(society):
    code, train = society.run("train", "digits.csv", "--target", "digit", "--model", "seen", "--epochs", "3")
    assert code == 0, train.told()
    starts = [line.split()[0] for line in train.lines]
    assert starts[:5] == ["asked", "called", "proposed", "proposed", "awarded"]
    assert "held-out accuracy 0." in "\n".join(train.lines)
    assert "\x1b" not in "\n".join(train.lines)


def test_a_score_that_is_not_reached_fails(society):
    code, train = society.run(
        "train", "digits.csv", "--target", "digit", "--model", "poor", "--epochs", "1", "--at-least", "0.999"
    )
    assert code == 1
    assert train.errors[-1].startswith("locution: poor:1: held-out accuracy is 0.")


def test_predictions_stand_beside_the_truth(society, trained):
    code, predict = society.run(
        "predict", trained, "digits.csv", "--compare", "digit", "--first", "10", "--json"
    )
    assert code == 0, predict.told()
    rows = predict.of("prediction")
    assert [event["actual"] for event in rows] == [str(number) for number in range(10)]
    lines = [line.split(",") for line in (society.folder / "digits.csv").read_text().split()]
    (society.folder / "turned.csv").write_text("\n".join(",".join([*line[::-1], "text"]) for line in lines))
    code, turned = society.run("predict", trained, "turned.csv", "--first", "10", "--json")
    assert code == 0, turned.told()
    assert [event["value"] for event in turned.of("prediction")] == [event["value"] for event in rows]
    assert sum(event["is_right"] for event in rows) >= 8
    assert predict.events[-1]["model"] == trained
    assert predict.events[-1]["rows"] == 10


def test_many_rows_go_in_several_messages(society, trained):
    code, predict = society.run("predict", trained, "digits.csv", "--compare", "digit", "--json")
    assert code == 0, predict.told()
    assert predict.events[-1]["rows"] == 1797
    assert predict.events[-1]["right"] > 1750


def test_the_directory_lists_everyone_who_offers_something(society, trained):
    code, agents = society.run("agents", "--json")
    assert code == 0
    listed = {event["name"]: event for event in agents.of("agent")}
    assert set(listed) == {"coordinator@localhost", "learner-1@localhost", "learner-2@localhost"}
    assert 0 < listed["learner-1@localhost"]["lease_left"] <= 60
    base = int(society.variables["LOCUTION_DASHBOARD_PORT"])
    assert listed["learner-2@localhost"]["dashboard"] == f"http://127.0.0.1:{base + 4}/spade"
    assert {"type": "training", "name": "training"}.items() <= listed["learner-1@localhost"]["services"][
        0
    ].items()


def test_any_message_can_be_sent_and_its_replies_are_read(society):
    search = '{"search": {}}'
    code, send = society.run("send", "directory", "request", search, "--protocol", "fipa-request", "--json")
    assert code == 0, send.told()
    reply = json.loads(send.lines[-1])
    assert reply["performative"] == "inform"
    assert reply["sender"].startswith("directory@localhost/")
    assert "found" in json.loads(reply["content"])


def test_a_whole_message_of_another_platform_is_sent_and_its_reply_shown_in_that_form(society):
    (society.folder / "search.acl").write_text(
        "(REQUEST :sender ( agent-identifier :name ping@jade )\n"
        " :receiver (set ( agent-identifier :name directory@localhost ) )\n"
        ' :content  "{\\"search\\": {}}" :protocol fipa-request :conversation-id C7 )'
    )
    code, send = society.run("send", "--message", "search.acl", "--format", "string")
    assert code == 0, send.told()
    assert send.lines[-1].startswith("(inform :sender (agent-identifier :name directory@localhost ")
    reply = read(send.lines[-1])
    assert (reply.conversation_id, reply.protocol) == ("C7", "fipa-request")
    assert "found" in json.loads(reply.content)


def test_a_reply_is_shown_as_a_block(society):
    code, send = society.run(
        "send", "directory@localhost", "REQUEST", '{"search": {}}', "--conversation-id", "c7"
    )
    assert code == 0
    assert send.lines[0].startswith("inform from directory@localhost")
    assert "  conversation-id: c7" in send.lines


@pytest.mark.parametrize(
    ("arguments", "reply"),
    [
        (["coordinator", "request", "not json"], "the content is not JSON"),
        (["coordinator", "request", '{"train": {"epochs": -1}}'], "train.dataset is missing"),
        (["coordinator", "request", '{"fly": {}}'], "has a term 'fly'"),
        (["coordinator", "agree", "{}", "--protocol", "fipa-request"], None),
        (["coordinator", "request", "{}", "--ontology", "other"], "ontology 'other' is not spoken here"),
        (["coordinator", "request", "{}", "--protocol", "fipa-dance"], "protocol 'fipa-dance' is not spoken"),
        (["learner-1", "subscribe", "{}"], "subscribe opens no conversation here"),
    ],
)
def test_what_breaks_the_rules_is_sent_all_the_same(society, arguments, reply):
    code, send = society.run("send", *arguments, "--json", "--wait", "1.5")
    assert code == 1
    if reply is None:
        assert send.errors == ["locution: no reply from coordinator@localhost within 1.5 s"]
    else:
        answer = json.loads(send.lines[-1])
        assert answer["performative"] == "not-understood"
        assert reply in answer["content"]


def test_an_unknown_receiver_is_told(society):
    code, send = society.run("send", "nobody", "inform", "hello", "--json")
    assert (code, send.lines) == (1, [])
    assert send.errors == [
        "locution: the message to nobody@localhost came back: there is no such agent, or it is offline "
        "(service-unavailable)"
    ]


def test_without_waiting_a_message_is_sent_once_the_server_has_it(society):
    code, send = society.run("send", "learner-1", "inform", '{"done": {}}', "--wait", "0")
    assert (code, send.lines, send.errors) == (0, [], [])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "digits.csv", "--target", "Digit"], "and 55 more; did you mean 'digit'?"),
        (["train", "digits.csv", "--target", "digit", "--network", "oracle"], "oracle"),
        (["predict", "absent", "digits.csv", "--drop", "digit"], "no learner has a model 'absent'"),
        (
            ["train", "digits.csv", "--target", "digit", "--to", "directory"],
            "ontology 'locution-learning/1.2' is",
        ),
        (["train", "digits.csv", "--target", "digit", "--to", "nobody"], "there is no such agent"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(society, arguments, told):
    code, running = society.run(*arguments, "--json")
    assert code == 1
    assert told in running.errors[-1]
    assert running.errors[-1].startswith("locution: ")
    assert len(running.errors) == 1
    assert "Traceback" not in running.told()


def test_rows_that_do_not_fit_the_model_are_told(society, trained):
    column = (society.folder / "digits.csv").read_text().partition(",")[0]
    code, predict = society.run("predict", trained, "digits.csv", "--drop", column, "--first", "1")
    assert code == 1
    assert f"the model needs the column '{column}'; the rows have " in predict.errors[-1]


def test_a_second_society_cannot_take_the_place_of_the_first(society):
    code, again = society.run("up")
    assert code == 1
    assert again.errors[-1].startswith("locution: xmpp-server runs already, in process ")


def test_an_interrupted_training_is_taken_back(society):
    train = society.start(
        "train", "digits.csv", "--target", "digit", "--epochs", "100000", "--patience", "100000", "--json"
    )
    train.event("progress")
    assert train.end(signal.SIGINT) == 130
    assert train.errors == ["locution: interrupted"]
    # The learner is free again: its next bid has nothing before it.
    code, again = society.run("train", "digits.csv", "--target", "digit", "--epochs", "1", "--json")
    assert code == 0
    assert {event["bid"]["waiting"] for event in again.of("proposed")} == {0}
