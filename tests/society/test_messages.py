"""Whole messages from files and onto the screen: `society.messages`, ``locution show`` and ``send``."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ontology.acl import AclMessage
from ontology.codecs import FORMATS, read
from society.cli import main
from society.errors import SocietyError
from society.messages import load, readable, written
from society.offline import show

MESSAGE = AclMessage(
    performative="request",
    sender={"name": "ann@example.org", "addresses": ("http://a/acc", "xmpp:ann@example.org/x")},
    receiver=({"name": "bob@example.org", "resolvers": ({"name": "ams@example.org"},)}, {"name": "cid@b.c"}),
    content='{"say": "é\\r\\n"}\r\n\\',
    protocol="fipa-request",
    conversation_id="c 1",
    reply_by=datetime(2026, 11, 20, 7, 6, 34, 120_000, tzinfo=UTC),
    user_parameters={"X-Trace": "a\nb"},
)


@pytest.fixture
def ended(capsys, monkeypatch, tmp_path):
    """Give a function that runs a command and returns its code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, typed: bytes = b"") -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return run


def file(folder: Path, data: bytes) -> str:
    path = folder / "message"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("form", ["string", "xml"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\n "])
def test_a_file_is_read_to_the_byte(tmp_path, form, mark):
    assert load(file(tmp_path, (mark + written(MESSAGE, form)).encode())) == MESSAGE


def test_a_relative_time_counts_from_now(tmp_path):
    message = load(file(tmp_path, b"(inform :reply-by +00000000T000140000)"))
    assert timedelta(seconds=90) < message.reply_by - datetime.now(UTC) <= timedelta(seconds=100)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            b"",
            "begins with { in JSON, with ( in FIPA00070 and with < in FIPA00071; this is empty",
        ),
        (b"hello", "this begins with 'hello'"),
        (b"(inform :content \xff)", "it is not UTF-8 at byte 17"),
        (
            b"(inform\n :colour red)",
            "'colour' is no ACL parameter (FIPA00061); user-defined ones start with X-",
        ),
        (b"<inform/>", "an ACL message is a <fipa-message> (FIPA00071), not <inform> (line 1, column 1)"),
        (b"{}", "the message has no performative"),
    ],
)
def test_what_is_no_message_is_told_with_its_file(ended, tmp_path, data, told):
    path = file(tmp_path, data)
    with pytest.raises(SocietyError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    for command in (["show", path], ["show", path, "--json"]):
        code, out, err = ended(*command)
        assert (code, out, err) == (1, "", f"locution: {caught.value}\n")


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(SocietyError, match="absent: there is no such file"):
        load(str(tmp_path / "absent"))
    with pytest.raises(SocietyError, match="it cannot be read: Is a directory"):
        load(str(tmp_path))


def test_what_xml_cannot_carry_is_told(ended):
    typed = b'{"performative": "inform", "content": "\\u0000"}'
    code, out, err = ended("show", "--format", "xml", typed=typed)
    assert (code, out) == (1, "")
    assert err.startswith("locution: the message holds the character U+0000, which XML cannot carry")
    assert err.count("\n") == 1


def test_people_see_every_parameter_and_the_content_below():
    assert readable(MESSAGE).splitlines() == [
        "request",
        "  sender           ann@example.org at http://a/acc, xmpp:ann@example.org/x",
        "  receiver         bob@example.org, resolved by ams@example.org",
        "  receiver         cid@b.c",
        "  protocol         fipa-request",
        "  conversation-id  c 1",
        "  reply-by         2026-11-20T07:06:34.120Z",
        "  X-Trace          a\\nb",
        "",
        '{"say": "é\\r\\n"}',
        "\\",
    ]
    assert readable(AclMessage(performative="agree")) == "agree"


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("asked", FORMATS)
def test_a_message_is_shown_in_any_form_whatever_form_it_has(ended, tmp_path, given, asked):
    text = FORMATS[given].write(MESSAGE)
    code, out, err = ended("show", file(tmp_path, text.encode()), "--format", asked)
    assert (code, err) == (0, "")
    assert out == FORMATS[asked].write(read(text)) + "\n"


def test_by_default_standard_input_is_shown_for_people(ended):
    for arguments in (["show"], ["show", "-"]):
        assert ended(*arguments, typed=b"(agree)") == (0, "agree\n", "")
    code, out, _err = ended("show", "--json", typed=b"(agree :X-a b)")
    assert (code, json.loads(out)) == (0, {"performative": "agree", "X-a": "b"})


def test_the_forms_of_the_command_line_are_all_there_are():
    choices = {parameter.name: parameter.type for parameter in show.params}
    assert list(choices["form"].choices) == list(FORMATS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["send", "a"], "missing argument 'PERFORMATIVE'; see locution send --help"),
        (["send", "--protocol", "p"], "missing argument 'TO'"),
        (["send", "a", "--message", "m"], "--message brings a whole message; leave out TO"),
        (
            ["send", "--message", "m", "--protocol", ""],
            "--message brings a whole message; leave out --protocol",
        ),
        (["send", "--message", "m", "-X", "a=b"], "--message brings a whole message; leave out -X"),
        (
            ["send", "--message", "m", "--json", "--format", "xml"],
            "--json is --format json; leave it out, or",
        ),
        (["show", "--format", "yaml"], "'yaml' is not one of 'json', 'string', 'xml'"),
        (["show", "--json", "--format", "string"], "--json is --format json"),
    ],
)
def test_misuse_has_exit_code_2(ended, arguments, told):
    code, out, err = ended(*arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_a_message_is_read_before_anything_is_sent(ended, write_file):
    path = str(write_file())
    code, _out, err = ended("send", "-f", path, "--message", "-", typed=b"(inform")
    assert (code, err) == (
        1,
        "locution: standard input: the message ends before it is complete (line 1, column 8)\n",
    )
    code, _out, err = ended("send", "-f", path, "--message", "absent")
    assert (code, err) == (1, "locution: absent: there is no such file\n")
