from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from society.xmpp_server import Jid
from society.xmpp_server.errors import JidError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("localhost", ("", "localhost", "")),
        ("alice@localhost", ("alice", "localhost", "")),
        ("Alice@LocalHost/Home", ("alice", "localhost", "Home")),
        ("alice@localhost/a/b@c", ("alice", "localhost", "a/b@c")),
        ("localhost/with space", ("", "localhost", "with space")),
        ("a.b-c_d+e@example.org.", ("a.b-c_d+e", "example.org", "")),
        ("\uff21LICE@example.org", ("alice", "example.org", "")),
        ("straße@bücher.example/ñ", ("straße", "bücher.example", "ñ")),
        ("u@[::1]/r", ("u", "[::1]", "r")),
        ("u@127.0.0.1", ("u", "127.0.0.1", "")),
        ("x" * 1023 + "@h", ("x" * 1023, "h", "")),
    ],
)
def test_accepted(text: str, parts: tuple[str, str, str]) -> None:
    jid = Jid.parse(text)
    assert (jid.local, jid.domain, jid.resource) == parts
    assert Jid.parse(str(jid)) == jid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@localhost",
        "alice@",
        "alice@localhost/",
        "/resource",
        "a b@localhost",
        'a"b@localhost',
        "a&b@localhost",
        "a'b@localhost",
        "a:b@localhost",
        "a<b@localhost",
        "a\x00b@localhost",
        "a\u200bb@localhost",
        "a\uff20b@localhost",
        "a@b@c",
        "a@local host",
        "a@local<host",
        "a@h/\x07",
        "a@h/\ud800",
        "x" * 1024 + "@h",
        "a@" + "h" * 1024,
        "a@h/" + "r" * 1024,
        "ä" * 600 + "@h",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(JidError):
        Jid.parse(text)


def test_addresses_are_escaped_for_xml() -> None:
    assert Jid.parse("a@h/<'\"&>").xml == "a@h/&lt;'&quot;&amp;&gt;"


@given(st.text(max_size=40))
def test_parsing_is_total_and_stable(text: str) -> None:
    try:
        jid = Jid.parse(text)
    except JidError:
        return
    assert Jid.parse(jid.full) == jid
