"""The commands about conversations: how they go, and who broke their rules."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from protocols.audit import audit
from protocols.diagram import draw
from protocols.registry import PROTOCOLS, TABLES
from protocols.traces import read, write
from society.cli import main
from society.config import load
from society.errors import StateError
from society.recording import Recording, recording_of

NOW = datetime(2026, 11, 20, 7, 6, 34, tzinfo=UTC)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return call


def said(act: str, sender: str, receiver: str, **parameters) -> AclMessage:
    return AclMessage(
        performative=act,
        sender=AgentIdentifier.of(f"{sender}@example.org"),
        receiver=(AgentIdentifier.of(f"{receiver}@example.org"),),
        **{"protocol": "fipa-request", "conversation_id": "c1", **parameters},
    )


GOOD = [said("request", "ann", "bob"), said("agree", "bob", "ann"), said("inform", "bob", "ann")]


class TestProtocols:
    def test_all_are_listed_with_their_specifications(self, run):
        code, out, err = run("protocols")
        assert (code, err) == (0, "")
        assert [line.split()[:2] for line in out.splitlines()] == [[each.name, each.spec] for each in TABLES]
        assert "fipa-english-auction        XC00031F  also fipa-auction-english" in out

    def test_one_for_people(self, run):
        code, out, _err = run("protocols", "fipa-request")
        assert code == 0
        assert out.splitlines()[0] == "fipa-request  SC00026H"
        assert [line.split() for line in out.splitlines()[1:3]] == [
            ["S0", "I:", "request", "S1"],
            ["S1", "P:", "refuse", "REFUSED"],
        ]

    @pytest.mark.parametrize("name", PROTOCOLS)
    def test_a_drawing(self, run, name):
        assert run("protocols", name, "--mermaid") == (0, draw(PROTOCOLS[name]) + "\n", "")

    def test_for_programs(self, run):
        _code, out, _err = run("protocols", "--json")
        records = [json.loads(line) for line in out.splitlines()]
        assert [each["name"] for each in records] == [each.name for each in TABLES]
        assert all(len(each["transitions"]) == len(PROTOCOLS[each["name"]].transitions) for each in records)
        (one,) = run("protocols", "fipa-auction-dutch", "--json")[1].splitlines()
        assert (json.loads(one)["name"], json.loads(one)["also"]) == (
            "fipa-dutch-auction",
            ["fipa-auction-dutch"],
        )
        assert json.loads(one)["deadlines"] == {"D2": "D4"}

    def test_a_name_that_is_none_is_misuse(self, run):
        code, out, err = run("protocols", "fipa-requst")
        assert (code, out) == (2, "")
        assert err == "locution: no protocol is called 'fipa-requst'; did you mean 'fipa-request'?\n"
        assert "there are fipa-request, fipa-query" in run("protocols", "x")[2]

    @pytest.mark.parametrize("more", [[], ["fipa-request", "--json"]])
    def test_a_drawing_is_of_one_and_for_people(self, run, more):
        code, out, err = run("protocols", "--mermaid", *more)
        assert (code, out) == (2, "")
        assert "--mermaid draws one protocol" in err


class TestAudit:
    def write(self, tmp_path, *messages):
        path = tmp_path / "trace.jsonl"
        path.write_text("".join(write(NOW, each) + "\n" for each in messages))
        return path.name

    def test_nothing_to_find(self, run, tmp_path):
        told = run("audit", self.write(tmp_path, *GOOD))
        assert told == (0, "3 messages in 1 conversation: nobody broke a rule\n", "")
        alone = said("inform", "ann", "bob", protocol=None, conversation_id=None)
        told = run("audit", self.write(tmp_path, alone))
        assert told == (0, "1 message in 0 conversations: nobody broke a rule\n", "")

    def test_a_finding_is_one_sentence_with_its_line(self, run, tmp_path):
        code, out, err = run("audit", self.write(tmp_path, *GOOD, said("inform", "bob", "ann")))
        assert (code, err) == (1, "")
        assert out == (
            "trace.jsonl:4: bob@example.org (participant) said inform in conversation 'c1' after its end "
            "(after-the-end in fipa-request)\n"
        )

    def test_a_note_is_no_finding(self, run, tmp_path):
        code, out, _err = run("audit", self.write(tmp_path, *GOOD[:2]))
        assert code == 0
        note, sums = out.splitlines()
        assert note.startswith("trace.jsonl:2: note: bob@example.org (participant) had the last word")
        assert sums == "2 messages in 1 conversation: nobody broke a rule"

    def test_for_programs(self, run, tmp_path):
        code, out, _err = run("audit", "--json", self.write(tmp_path, GOOD[0], GOOD[0], *GOOD[2:]))
        assert code == 1
        record, sums = [json.loads(line) for line in out.splitlines()]
        assert sums == {"event": "audited", "messages": 3, "conversations": 1, "findings": 1, "notes": 0}
        assert record.pop("text").startswith("ann@example.org opened another conversation")
        assert record == {
            "event": "finding",
            "rule": "reused-conversation-id",
            "line": 2,
            "agent": "ann@example.org",
            "role": None,
            "protocol": "fipa-request",
            "conversation_id": "c1",
        }

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("{", "the line is not JSON"),
            ("[]", "the line is not of the form"),
            ('{"time": "x", "message": {}}', "no performative"),
            ('{"time": "2026-11-20T07:06:34Z", "message": 5}', "the message is not a JSON object"),
            ('{"time": "2026-11-20T07:06:34Z", "message": {"performative": "dance"}}', "none of the 22 acts"),
            ('{"time": "2026-11-20T07:06:34Z", "message": {"performative": "inform"}}', "has no sender"),
            (
                '{"time": "2026-11-20T07:06:34Z", "message": {"performative": "inform", "sender": "a@x"}}',
                "has no receiver",
            ),
            (
                '{"time": "soon", "message": {"performative": "inform", "sender": "a@x", "receiver": "b@x"}}',
                "time 'soon' is none",
            ),
            (
                '{"time": "2026-11-20T07:06:34", "message": {"performative": "inform", "sender": "a@x", '
                '"receiver": ["b@x"]}}',
                "has no zone",
            ),
            (
                '{"time": "2026-11-20T07:06:34Z", "message": {"performative": "inform", "protocol": 5}}',
                "protocol 5",
            ),
        ],
    )
    def test_a_line_that_cannot_be_read_is_told(self, run, tmp_path, line, told):
        path = tmp_path / "trace.jsonl"
        path.write_text(write(NOW, GOOD[0]) + "\n\n" + line + "\n")
        code, out, err = run("audit", path.name)
        assert (code, out) == (2, "")
        assert err.startswith("locution: trace.jsonl:3: ")
        assert told in err
        assert err.count("\n") == 1

    def test_a_file_that_cannot_be_read_is_told(self, run, tmp_path):
        assert run("audit", "absent.jsonl") == (2, "", "locution: absent.jsonl: there is no such file\n")
        assert run("audit", ".")[:2] == (2, "")
        (tmp_path / "bytes").write_bytes(b"\xff\xfe\n")
        assert "this is not UTF-8 text" in run("audit", "bytes")[2]

    def test_a_trace_that_lies_in_the_state_folder_is_pointed_at(self, run, tmp_path, write_file):
        (tmp_path / ".locution").mkdir()
        (tmp_path / ".locution" / "trace.jsonl").write_text("")
        told = "locution: trace.jsonl: there is no such file; there is {0}: locution audit {0}\n"
        assert run("audit", "trace.jsonl") == (2, "", told.format(".locution/trace.jsonl"))
        write_file(society='state = "my state"')
        assert run("audit", "trace.jsonl")[2] == told.format(".locution/trace.jsonl")
        (tmp_path / "my state").mkdir()
        (tmp_path / "my state" / "trace.jsonl").write_text("")
        shown = "'my state/trace.jsonl'"
        assert run("audit", "trace.jsonl")[2] == told.format(shown)
        (tmp_path / "society.toml").write_text("[")
        assert run("audit", "trace.jsonl")[2] == told.format(".locution/trace.jsonl")
        assert run("audit", "absent.jsonl")[2] == "locution: absent.jsonl: there is no such file\n"

    def test_what_no_agent_can_say_is_a_finding_where_another_system_has_recorded_it(self, run, tmp_path):
        record = {
            "performative": "request",
            "sender": "ann@x",
            "receiver": ["bob@x"],
            "protocol": "fipa-request",
        }
        (tmp_path / "trace.jsonl").write_text(json.dumps({"time": NOW.isoformat(), "message": record}))
        code, out, _err = run("audit", "trace.jsonl")
        assert code == 1
        assert "named protocol fipa-request and no conversation-id" in out


class TestRecording:
    def test_each_message_is_a_line_that_is_there_at_once(self, tmp_path):
        path = tmp_path / "deep" / "trace.jsonl"
        record, other = Recording(path, clock=lambda: NOW), Recording(path, clock=lambda: NOW)
        for take, message in zip((record, other, record), GOOD, strict=True):
            take(message)
            assert path.read_text().endswith("\n")
        assert [each.message for each in read(path.read_text().splitlines())] == GOOD

    def test_where_nothing_can_be_written_the_start_says_so(self, tmp_path):
        with pytest.raises(StateError, match="nothing can be recorded there"):
            Recording(tmp_path)

    def test_a_disk_that_fails_later_stops_no_agent_and_is_told_once(self, tmp_path, caplog):
        path = tmp_path / "trace.jsonl"
        record = Recording(path)
        path.unlink()
        path.mkdir()
        record(GOOD[0])
        record(GOOD[1])
        assert [each.message.count("messages are not recorded") for each in caplog.records] == [1]
        path.rmdir()
        record(GOOD[2])
        assert len(list(read(path.read_text().splitlines()))) == 1

    def test_by_default_nothing_is_recorded(self, write_file, tmp_path):
        recording_of(load(write_file()))(GOOD[0])
        assert not list(tmp_path.rglob("*.jsonl"))

    def test_the_file_lies_in_the_state_folder(self, write_file, tmp_path):
        recording_of(load(write_file(society='state = "kept"\ntrace = "trace.jsonl"')))(GOOD[0])
        assert len((tmp_path / "kept" / "trace.jsonl").read_text().splitlines()) == 1

    def test_a_path_that_is_none_is_told(self, write_file):
        with pytest.raises(StateError, match="nothing can be recorded there: embedded null byte"):
            recording_of(load(write_file(society='trace = "a\\u0000b"')))

    async def test_a_society_records_what_its_agents_say_once(self, write_file, start, told):
        file = load(write_file(society='trace = "trace.jsonl"'))
        society = await start(file)
        await told.wait_for("ready")
        await society.stop()
        entries = list(read((file.society.state / "trace.jsonl").read_text().splitlines()))
        names = [(each.sender, each.message.performative.value, *each.receivers) for each in entries]
        assert ("coordinator@localhost", "request", "directory@localhost") in names
        assert ("directory@localhost", "inform", "coordinator@localhost") in names
        stamps = [
            (each.sender, each.message.reply_with, each.message.in_reply_to, each.message.content)
            for each in entries
        ]
        assert len(stamps) == len(set(stamps))
        assert [each.sentence for each in audit(entries)] == []
