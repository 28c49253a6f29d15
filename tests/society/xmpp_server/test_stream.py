from __future__ import annotations

import random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from society.xmpp_server import Limits, StreamError
from society.xmpp_server.headers import header
from society.xmpp_server.stanzas import Stanza
from society.xmpp_server.stream import Closed, Event, Opened, StreamParser

SMALL = Limits(stanza_bytes=300, hard_bytes=2000, tag_bytes=1000, depth=10, attributes=8)
OPENING = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xml:lang='de' "
    "xmlns:stream='http://etherx.jabber.org/streams' to='x' version='1.0'>"
)
SESSION = (
    OPENING
    + """<message to='a@b' id="1&quot;&#10;"><body>hällo &amp; <![CDATA[<x>]]></body></message>"""
    + " \n <presence/>"
    + "<iq type='get' id='2'><q:x xmlns:q='urn:q' a='>'/></iq><auth xmlns='urn:sasl'>abc</auth>"
    + "<message xmlns:n='urn:n' xmlns='jabber:client' to=\"a\" ><n:y/></message>"
    + "<message to='big' id='7'><body>"
    + "z" * 500
    + "</body></message><presence><show>x</show></presence><message></message ></stream:stream>"
).encode()


def parse(*chunks: bytes, limits: Limits = SMALL) -> list[Event]:
    parser = StreamParser(limits)
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    parser.close()
    return events


def shown(events: list[Event]) -> list[object]:
    return [
        (event.kind, event.namespace, event.rest, event.inner, list(event.children), event.oversized)
        if isinstance(event, Stanza)
        else repr(event)
        for event in events
    ]


def stanzas(text: str) -> list[Stanza]:
    return [event for event in parse((OPENING + text).encode()) if isinstance(event, Stanza)]


def test_a_session() -> None:
    events = parse(SESSION)
    assert isinstance(events[0], Opened)
    assert events[0].attributes == {"to": "x", "version": "1.0", "xml:lang": "de"}
    assert isinstance(events[-1], Closed)
    kinds = [event.kind for event in events if isinstance(event, Stanza)]
    assert kinds == ["message", "presence", "iq", "auth", "message", "message", "presence", "message"]
    oversized = [event for event in events if isinstance(event, Stanza) and event.oversized]
    assert [(event.id, event.inner) for event in oversized] == [("7", b"")]


def test_how_the_bytes_are_cut_makes_no_difference() -> None:
    whole = shown(parse(SESSION))
    assert shown(parse(*(bytes([byte]) for byte in SESSION))) == whole
    rng = random.Random(7)
    for _ in range(200):
        cuts = sorted(rng.sample(range(len(SESSION)), rng.randint(1, 20)))
        pieces = [SESSION[a:b] for a, b in zip([0, *cuts], [*cuts, len(SESSION)], strict=True)]
        assert shown(parse(*pieces)) == whole


def relay(stanza: Stanza) -> ET.Element:
    """Read a stanza as its recipient does."""
    document = header("x", "1") + stanza.render("from@x", "to@x") + b"</stream:stream>"
    return ET.fromstring(document)[0]


@pytest.mark.parametrize(
    "text",
    [
        "<message><body>&lt;&amp;&#65;<![CDATA[<&]]>\U0001f600</body></message>",
        "<message id='&lt;&quot;&apos;&#9;&#10;&#13;&gt;'/>",
        "<message><a xmlns='urn:a'><b/><c xmlns='jabber:client'/></a></message>",
        "<message xmlns:p='urn:p'><p:a p:b='c'/></message>",
        "<message xmlns:stream='urn:other'><stream:a/></message>",
        "<message><stream:a/></message>",
        "<message><body a=\"'>'\" b='\">\"'/></message>",
        "<c:message xmlns:c='jabber:client' type='chat'><body/><c:body/></c:message>",
        "<message xmlns:p='urn:p' p:x='1' id='2' xml:lang='fr'><p:a/></message>",
        "<message\n\ttype='chat'\n><body\n/></message\n>",
    ],
)
def test_what_is_relayed_means_what_was_sent(text: str) -> None:
    sent = ET.fromstring(OPENING + text + "</stream:stream>")[0]
    (stanza,) = stanzas(text)
    received = relay(stanza)
    assert received.tag == sent.tag
    assert [ET.canonicalize(ET.tostring(child)) for child in received] == [
        ET.canonicalize(ET.tostring(child)) for child in sent
    ]
    assert received.get("id") == sent.get("id")
    assert received.get("from") == "from@x"
    assert received.get("{http://www.w3.org/XML/1998/namespace}lang") in {"de", "fr"}
    assert [ET.canonicalize(ET.tostring(child)) for child in stanza.tree()] == [
        ET.canonicalize(ET.tostring(child)) for child in sent
    ]


def test_prefixes_of_the_stream_header_travel_along() -> None:
    opening = OPENING.replace("to='x'", "to='x' xmlns:q='urn:q'")
    events = parse((opening + "<message><q:a/></message><message xmlns:q='urn:r'><q:a/></message>").encode())
    assert [relay(event)[0].tag for event in events if isinstance(event, Stanza)] == ["{urn:q}a", "{urn:r}a"]


BROKEN = [
    ("<message><body></message>", "not-well-formed"),
    ("<message>&undefined;</message>", "not-well-formed"),
    ("<message><p:a/></message>", "not-well-formed"),
    ("<message a='1' a='2'/>", "not-well-formed"),
    ("<message>\x07</message>", "not-well-formed"),
    ("<message>&#0;</message>", "not-well-formed"),
    ("<message>&#xD800;</message>", "not-well-formed"),
    ("<!DOCTYPE x>", "not-well-formed"),
    ("text", "bad-format"),
    ("<message><!-- comment --></message>", "restricted-xml"),
    ("<?target instruction?>", "restricted-xml"),
    ("<a>" * 30, "policy-violation"),
    ("<message " + "".join(f"a{i}='1' " for i in range(9)) + "/>", "policy-violation"),
    ("<message><x " + "".join(f"a{i}='1' " for i in range(9)) + "/></message>", "policy-violation"),
    ("<message a='" + "x" * 2000 + "'/>", "policy-violation"),
    ("<message a='" + "x" * 2000, "policy-violation"),
    ("<" + "x" * 2000, "policy-violation"),
    ("<message>" + "x" * 3000, "policy-violation"),
    ("<message><![CDATA[" + "x" * 3000, "policy-violation"),
    ("<c:message xmlns:c='jabber:client' xmlns='urn:x'/>", "bad-namespace-prefix"),
]


@pytest.mark.parametrize(("text", "condition"), BROKEN)
def test_broken_streams(text: str, condition: str) -> None:
    data = (OPENING + "<presence/>" + text).encode()
    pieces = [data[index : index + 100] for index in range(0, len(data), 100)]  # as a network would
    *before, error = parse(*pieces)
    assert isinstance(error, StreamError)
    assert error.condition == condition
    assert [event.kind for event in before if isinstance(event, Stanza)][:1] == ["presence"]


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        (b"\x16\x03\x01\x02\x01\x01", "not-well-formed"),
        (OPENING.encode("utf-16"), "unsupported-encoding"),
        (OPENING.encode("utf-16-le"), "unsupported-encoding"),
        (OPENING.encode("utf-16-be"), "unsupported-encoding"),
        (b"<?xml version='1.0' encoding='iso-8859-1'?><a/>", "unsupported-encoding"),
        (b"<!DOCTYPE stream [<!ENTITY a 'b'>]>", "restricted-xml"),
        (b"<!DOCTYPE stream SYSTEM 'file:///etc/passwd'>", "restricted-xml"),
        (b"<stream/>", "invalid-namespace"),
        (b"<a/>", "bad-format"),
        (b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>", "invalid-namespace"),
        (b"<stream:stream xmlns:stream='urn:x' xmlns='jabber:client'>", "invalid-namespace"),
        (
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:server'>",
            "invalid-namespace",
        ),
    ],
)
def test_streams_that_never_begin(data: bytes, condition: str) -> None:
    (error,) = parse(data)
    assert isinstance(error, StreamError)
    assert error.condition == condition


def test_entities_are_refused_before_they_are_declared() -> None:
    laughs = "<!DOCTYPE l [<!ENTITY a 'ha'>" + "".join(
        f"<!ENTITY a{i} '&a{i - 1 if i > 1 else ''};&a{i - 1 if i > 1 else ''};'>" for i in range(1, 30)
    )
    (error,) = parse((laughs + "]>" + OPENING + "<message>&a29;</message>").encode())
    assert isinstance(error, StreamError)
    assert error.condition == "restricted-xml"


def test_a_stanza_that_is_too_large_is_not_kept() -> None:
    limits = Limits(stanza_bytes=1000, hard_bytes=10_000_000)
    parser = StreamParser(limits)
    parser.feed(OPENING.encode())
    parser.feed(b"<message id='1'><body>")
    for _ in range(100):
        assert parser.feed(b"x" * 50_000) == []
        assert len(parser._buffer) <= 64 * 1024
    first, second = parser.feed(b"</body></message><message id='2'><body>y</body></message>")
    assert isinstance(first, Stanza)
    assert isinstance(second, Stanza)
    assert (first.id, first.oversized, first.inner) == ("1", True, b"")
    assert (second.id, second.oversized, second.inner) == ("2", False, b"<body>y</body>")


def test_nothing_comes_after_a_fault() -> None:
    parser = StreamParser(SMALL)
    assert isinstance(parser.feed(b"<<")[-1], StreamError)
    assert parser.feed(SESSION) == []


@given(st.binary(max_size=300))
def test_random_bytes_never_raise(data: bytes) -> None:
    parse(data)
    parse(OPENING.encode(), data)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(SESSION)), st.integers(0, 30), st.binary(max_size=8)), max_size=6),
    st.integers(1, 200),
)
def test_mutated_sessions_never_raise(edits: list[tuple[int, int, bytes]], size: int) -> None:
    data = SESSION
    for at, length, new in edits:
        data = data[:at] + new + data[at + length :]
    events = parse(*(data[index : index + size] for index in range(0, len(data), size)))
    for event in events:
        if isinstance(event, Stanza):
            relay(event)
            event.tree()
    assert not any(isinstance(event, StreamError) for event in events[:-1])
