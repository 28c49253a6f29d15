"""The judge: each violation that it knows, in a history that has just that one."""

from __future__ import annotations

from pathlib import Path

import pytest

from behaviours.events import ConversationEnded
from tests.chaos.history import History, Line, read
from tests.chaos.verdict import Left, Verdict, judge

ANN, BOB, CAT, SENDER = (f"{name}@localhost" for name in ("ann", "bob", "cat", "sender"))


class Scene:
    """A history in the making; its lines happen one after the other."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def add(self, kind: str, who: str = ANN, **fields: object) -> None:
        self.lines.append({"at": len(self.lines), "kind": kind, "who": who, "life": 1, **fields})

    def asked(self, key: str = "k", what: str = "request", cid: str = "c") -> None:
        self.add("asked", SENDER, key=key, what=what, to=[ANN])
        if what != "note":
            opened = {"conversation_id": cid, "role": "initiator", "peer": ANN}
            self.add("ConversationOpened", SENDER, **opened)

    def done(self, token: str = "t", key: str = "k", cid: str = "c", life: int = 1) -> None:
        self.add("begun", key=key, id=cid)
        self.add("effect", key=key, id=cid, token=token)
        for line in self.lines[-2:]:
            line["life"] = life

    def heard(self, token: str = "t", cid: str = "c", act: str = "inform") -> None:
        self.add("heard", SENDER, act=act, peer=ANN, conversation_id=cid, token=token)

    def told(self, how: str = "Succeeded", token: str = "t", key: str = "k") -> None:
        self.add("told", SENDER, key=key, how=how, token=token, text="")

    def tendered(self, to: str = BOB, by: str = ANN, *, is_heard: bool = True) -> None:
        """Somebody has work done: somebody else bids, and is awarded it."""
        self.add("bid", to, key="k", id=f"net-{to}")
        self.add("awarded", by, key="k", to=to)
        if is_heard:
            accept = {"act": "accept-proposal", "peer": by, "token": ""}
            self.add("heard", to, conversation_id=f"net-{to}", **accept)

    def relayed(self, kind: str = "effect", life: int = 1) -> None:
        """Ann is done with the tender."""
        self.add(kind, ANN, key="k", id="c", token="t", is_relay=True)
        self.lines[-1]["life"] = life

    def begun(self, life: int = 1) -> None:
        """Ann's handler of the tender begins."""
        self.add("begun", ANN, key="k", id="c", is_relay=True)
        self.lines[-1]["life"] = life

    def judged(self, left: Left | None = None) -> tuple[int, int, int]:
        verdict = judge(self.lines, left or Left())
        return len(verdict.lost), len(verdict.doubled), len(verdict.hung)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_request_that_goes_well(scene):
    scene.asked()
    scene.done()
    scene.heard()
    scene.told()
    assert scene.judged() == (0, 0, 0)
    verdict = judge(scene.lines, Left())
    assert verdict.is_good
    assert verdict.last_line(3) == "kills 3, messages 1, conversations 1: lost 0, doubled 0, hung 0"


def test_a_handler_that_runs_again_after_a_death_is_no_mistake(scene):
    scene.asked()
    scene.add("begun", key="k", id="c")
    scene.done("second", life=2)
    scene.heard("second")
    scene.told(token="second")
    assert scene.judged() == (0, 0, 0)


def test_a_result_that_nobody_has_made_is_lost(scene):
    scene.asked()
    scene.done("other")
    scene.heard("t")
    scene.told()
    assert scene.judged() == (1, 0, 0)


def test_a_note_that_was_acknowledged_and_not_noted_is_lost(scene):
    scene.asked(what="note")
    scene.told("acknowledged")
    assert scene.judged() == (1, 0, 0)
    scene.add("noted", key="k")
    scene.lines[-1]["at"] = 0
    assert scene.judged() == (0, 0, 0)


@pytest.mark.parametrize("excuse", ["", "unheard", "buried", "ended", "failure", "effect"])
def test_what_was_taken_and_forgotten_is_lost(scene, excuse):
    scene.asked()
    if excuse != "unheard":
        scene.add("heard", act="request", peer=SENDER, conversation_id="c", token="")
    match excuse:
        case "buried":
            scene.add("buried", SENDER, conversation_id="c", peer=ANN, is_inbound=False)
        case "ended":
            scene.add("ConversationEnded", conversation_id="c", role="participant")
        case "failure":
            scene.heard("", act="failure")
        case "effect":
            scene.add("effect", key="k", id="c", token="t")
    scene.told("Expired", "")
    assert scene.judged() == (0 if excuse else 1, 0, 0)


def test_what_is_left_is_lost_or_hung(scene):
    assert scene.judged(Left(outgoing=[(ANN, "m")])) == (1, 0, 0)
    assert scene.judged(Left(conversations=[(ANN, "c")])) == (0, 0, 1)


def test_what_nobody_was_told_of_hangs(scene):
    scene.asked()
    scene.done()
    assert scene.judged() == (0, 0, 1)


def test_two_results_are_doubled(scene):
    scene.asked()
    scene.done("t")
    scene.done("u", life=2)
    scene.heard("t")
    scene.heard("u")
    scene.told()
    assert scene.judged() == (0, 1, 0)


def test_two_runs_in_one_life_are_doubled(scene):
    scene.asked()
    scene.done()
    scene.add("begun", key="k", id="c")
    scene.heard()
    scene.told()
    assert scene.judged() == (0, 1, 0)


def test_a_run_after_the_result_was_heard_is_doubled(scene):
    scene.asked()
    scene.done()
    scene.heard()
    scene.told()
    scene.add("begun", key="k", id="c")
    scene.lines[-1]["life"] = 2
    assert scene.judged() == (0, 1, 0)


def test_a_note_that_is_heard_after_its_acknowledgement_is_doubled(scene):
    scene.asked(what="note")
    scene.add("noted", key="k")
    scene.told("acknowledged")
    scene.add("noted", key="k")
    scene.lines[-1]["life"] = 2
    assert scene.judged() == (0, 1, 0)


def test_an_effect_under_two_ids_is_doubled(scene):
    scene.asked()
    scene.done("t")
    scene.done("u", cid="d", life=2)
    scene.heard()
    scene.told()
    assert scene.judged() == (0, 1, 0)


def test_work_without_an_award_is_doubled(scene):
    scene.asked(what="call")
    scene.done()
    scene.heard()
    scene.told()
    assert scene.judged() == (0, 1, 0)
    scene.tendered(ANN, SENDER)
    assert scene.judged() == (0, 0, 0)


def test_a_tender_that_goes_well_over_a_death(scene):
    scene.asked(what="tender")
    scene.begun()
    scene.tendered()
    scene.begun(life=2)
    scene.add("awarded", ANN, key="k", to=BOB)
    scene.lines[-1]["life"] = 2
    scene.add("effect", BOB, key="k", id="net", token="t")
    scene.relayed(life=2)
    scene.heard()
    scene.told()
    assert scene.judged() == (0, 0, 0)
    assert judge(scene.lines, Left()).gone_on_with == 1


def test_work_that_two_are_awarded_is_doubled(scene):
    scene.asked(what="tender")
    scene.begun()
    scene.tendered()
    scene.tendered(CAT)
    assert scene.judged()[1] == 1


@pytest.mark.parametrize("excuse", ["", "heard", "buried", "killed"])
def test_an_award_that_nobody_has_heard_of_is_lost(scene, excuse):
    scene.asked(what="tender")
    scene.begun()
    scene.tendered(is_heard=excuse == "heard")
    match excuse:
        case "buried":
            scene.add("buried", ANN, conversation_id=f"net-{BOB}", peer=BOB, is_inbound=False)
        case "killed":
            scene.begun(life=2)  # it may have been so before the award was written down
    scene.told("Failed", "")
    assert scene.judged()[0] == (0 if excuse else 1)


def test_an_award_of_the_senders_that_nobody_has_heard_of_is_lost(scene):
    scene.asked(what="call")
    scene.tendered(BOB, SENDER, is_heard=False)
    scene.told("Failed", "")
    assert scene.judged() == (1, 0, 0)


@pytest.mark.parametrize("end", ["effect", "failed", ""])
def test_an_award_that_its_giver_forgets_is_lost(scene, end):
    """It is killed, and goes another way when it runs again."""
    scene.asked(what="tender")
    scene.begun()
    scene.tendered()
    scene.begun(life=2)
    if end:  # else whoever wanted it has stopped it
        scene.relayed(end, life=2)
    scene.told("Failed", "")
    assert scene.judged()[0] == (1 if end else 0)


def test_a_history_is_read_as_it_was_written(tmp_path: Path):
    first, second = History(tmp_path, "ann", 1), History(tmp_path, "bob", 2)
    second.write("asked", key="k")
    ended = {"conversation_id": "c", "protocol": "p", "role": "participant", "peer": "b", "state": "DONE"}
    first.fact(ConversationEnded(agent=ANN, seconds=1.0, **ended))
    lines = read(tmp_path)
    assert [(line["kind"], line["who"], line["life"]) for line in lines] == [
        ("asked", "bob@localhost", 2),
        ("ConversationEnded", ANN, 1),
    ]
    assert lines[0]["at"] < lines[1]["at"]
    assert lines[1]["state"] == "DONE"


def test_the_last_line_counts():
    verdict = Verdict(lost=["a"], doubled=["b", "c"], messages=7, conversations=9)
    assert verdict.last_line(2) == "kills 2, messages 7, conversations 9: lost 1, doubled 2, hung 0"
    assert not verdict.is_good
