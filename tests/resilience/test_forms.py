"""`resilience.forms` and `snapshots`: a new version reads an old one's records, or says why not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from resilience.dead_letters import DeadLetter
from resilience.forms import Form
from resilience.records import FormError
from resilience.snapshots import Snapshot, Upgrades
from tests.resilience.records import letter, snapshot

THIRD = Form(
    what="a thing",
    newest=3,
    steps={
        1: lambda fields: {"number": int(fields["text"])},
        2: lambda fields: {**fields, "unit": "s"},
    },
)


def test_every_older_form_is_brought_up_step_by_step():
    assert THIRD.read('{"v":1,"text":"5"}') == {"number": 5, "unit": "s"}
    assert THIRD.read('{"v":2,"number":6}') == {"number": 6, "unit": "s"}
    assert THIRD.read(THIRD.write({"number": 7, "unit": "ms"})) == {"number": 7, "unit": "ms"}


def test_a_newer_form_is_refused():
    with pytest.raises(
        FormError, match="a thing was written in form 4 by a newer version of Locution"
    ) as told:
        THIRD.read('{"v":4}')
    assert told.value.what == "a thing"


def test_no_step_may_be_missing():
    with pytest.raises(ValueError, match="needs a step from each form below 2"):
        Form(what="a thing", newest=2)
    with pytest.raises(ValueError, match="needs a step from each form below 1"):
        Upgrades(what="a thing", steps={1: str})


def test_only_what_is_text_or_a_moment_is_written():
    written = THIRD.write({"when": datetime(2026, 11, 20, tzinfo=UTC)})
    assert written == '{"v":3,"when":"2026-11-20T00:00:00+00:00"}'
    with pytest.raises(TypeError, match="cannot be written down"):
        THIRD.write({"thing": object()})


def _second(text: str) -> str:
    if not text.startswith("{"):
        raise ValueError("no JSON object")
    return f"second {text}"


CONVERSATIONS = Upgrades(what="a conversation", newest=3, steps={1: _second, 2: lambda text: f"third {text}"})


def test_snapshots_are_brought_to_the_newest_form():
    assert CONVERSATIONS.bring(snapshot()) == snapshot(text="third second {}", form=3)
    newest = snapshot(form=3)
    assert CONVERSATIONS.bring(newest) == newest


def test_a_snapshot_that_cannot_be_read_is_named():
    with pytest.raises(FormError) as caught:
        CONVERSATIONS.bring(snapshot(form=4))
    assert str(caught.value) == (
        "a conversation of adder@localhost under 'c1' was written in form 4 by a newer version of Locution, "
        "and this one reads form 3; update Locution"
    )
    with pytest.raises(FormError, match="under 'c1' cannot be read in its form 1: no JSON object"):
        CONVERSATIONS.bring(snapshot(text="?"))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"key": ""}, "the snapshot's key is empty"),
        ({"key": "x" * 10_001}, "the snapshot's key is 10,001 bytes long"),
        ({"text": "a\ud800"}, "the snapshot's text holds half of a surrogate pair at character 1"),
        ({"agent": ""}, "the agent's JID is empty"),
        ({"form": 0}, "the first form is 1, not 0"),
    ],
)
def test_what_cannot_be_kept_is_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        snapshot(**fields)


def test_an_empty_text_is_one():
    assert Snapshot(agent="a", key="k", form=1, text="").text == ""


def test_a_letter_comes_back_from_json_with_the_id_it_was_filed_under():
    original = letter(original="\ud800\x00", id="x")
    read = DeadLetter.from_json(original.to_json(), "y")
    assert (read, read.id) == (original, "y")


def test_a_letter_of_the_first_form_does_not_say_when_it_was_made():
    told = json.loads(letter().to_json())
    del told["made"]
    assert DeadLetter.from_json(json.dumps({**told, "v": 1}), "x") == letter(made=None)


def test_what_an_id_is_says_nothing_about_a_letter():
    assert letter(id="x") == letter(id="y") != replace(letter(id="x"), attempts=0)


@pytest.mark.parametrize(
    "text", ["{}", '{"v":1}', '{"v":1,"when":5}', letter().to_json().replace("peer", "p")]
)
def test_what_is_no_letter_is_told(text):
    with pytest.raises(FormError, match="a dead letter was expected where there is"):
        DeadLetter.from_json(text, "x")
