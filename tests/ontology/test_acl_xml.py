"""FIPA00071: what is written is read back, what others write is understood, and nothing is fetched."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontology.acl import AclMessage, Performative
from ontology.acl_elements import DEPTH
from ontology.acl_string import to_string
from ontology.acl_xml import ILLEGAL, from_xml, to_xml
from ontology.aid import AgentIdentifier
from ontology.errors import Cause, MessageError
from tests.ontology.strategies import EXAMPLES, identifiers, messages
from tests.ontology.test_content import clear

NOW = datetime(2026, 11, 20, 7, 6, 34, tzinfo=UTC)
SYNTAX, VALUE = Cause.UNRECOGNISED_VALUE, Cause.UNRECOGNISED_PARAMETER_VALUE
UNEXPECTED, MISSING = Cause.UNEXPECTED_PARAMETER, Cause.MISSING_PARAMETER


def fault(text: str) -> MessageError:
    with pytest.raises(MessageError) as caught:
        from_xml(text, NOW)
    clear(caught.value)
    return caught.value


@EXAMPLES
@given(messages(agents=identifiers))
def test_every_message_that_xml_can_carry_comes_back_with_all_that_its_agents_have(message):
    if ILLEGAL.search(to_string(message)):
        with pytest.raises(ValueError, match="which XML cannot carry"):
            to_xml(message)
    else:
        text = to_xml(message)
        assert from_xml(text) == message
        assert to_xml(from_xml(text)) == text


def test_the_form():
    message = AclMessage(
        performative="request",
        sender=AgentIdentifier.of("ann@example.org/desk"),
        receiver=(
            AgentIdentifier(name="bob@example.org", resolvers=({"name": "r1@x"}, {"name": "r2@x"})),
            AgentIdentifier(name="cid@example.org"),
        ),
        content='{"a": "<&>"}\r\n',
        protocol="fipa-request",
        conversation_id="1f",
        reply_by=datetime(2026, 11, 20, 7, 6, 34, 120_000, tzinfo=UTC),
        user_parameters={"X-Trace": "a b"},
    )
    assert to_xml(message) == (
        '<fipa-message act="request"><sender><agent-identifier><name id="ann@example.org"/>'
        '<addresses><url href="xmpp:ann@example.org/desk"/></addresses></agent-identifier></sender>'
        '<receiver><agent-identifier><name id="bob@example.org"/><resolvers>'
        '<agent-identifier><name id="r1@x"/></agent-identifier>'
        '<agent-identifier><name id="r2@x"/></agent-identifier></resolvers></agent-identifier></receiver>'
        '<receiver><agent-identifier><name id="cid@example.org"/></agent-identifier></receiver>'
        '<content>{"a": "&lt;&amp;&gt;"}&#13;\n</content><protocol>fipa-request</protocol>'
        '<conversation-id>1f</conversation-id><reply-by time="20261120T070634120Z"/>'
        '<user-defined href="X-Trace">a b</user-defined></fipa-message>'
    )


@pytest.mark.parametrize("character", ["\x00", "\x0b", "\x1f", "\ufffe", "\uffff"])
def test_a_character_that_xml_cannot_carry_is_refused_in_a_sentence(character):
    message = AclMessage(performative="inform", content=f"a{character}")
    with pytest.raises(
        ValueError, match=f"holds the character U\\+{ord(character):04X}, which XML cannot carry"
    ):
        to_xml(message)


JADE = """<?xml version="1.0" encoding="UTF-16"?>
<fipa-message act="REQUEST" >
	<sender>
		<agent-identifier>
			<name id="ping@host:1099/JADE" />
			<addresses>
				<url href="http://host:7778/acc" />
				<url href="xmpp://jade@example.org" />
			</addresses>
		</agent-identifier>
	</sender>
	<receiver>
		<agent-identifier>
			<name id="bob@example.org" />
		</agent-identifier>
	</receiver>
	<receiver>
		<agent-identifier>
			<name id="cid@example.org" />
		</agent-identifier>
	</receiver>
	<X-JADE-Encoding>Base64</X-JADE-Encoding>
	<content>e30=</content>
	<language>fipa-sl</language>
	<conversation-id>C1</conversation-id>
	<reply-by time="20261120T070634120Z" />
</fipa-message>
"""


def test_what_jade_writes():
    assert from_xml(JADE) == AclMessage(
        performative=Performative.REQUEST,
        sender=AgentIdentifier(
            name="ping@host:1099/jade", addresses=("http://host:7778/acc", "xmpp://jade@example.org")
        ),
        receiver=(AgentIdentifier(name="bob@example.org"), AgentIdentifier(name="cid@example.org")),
        content="e30=",
        language="fipa-sl",
        conversation_id="C1",
        reply_by=datetime(2026, 11, 20, 7, 6, 34, 120_000, tzinfo=UTC),
        user_parameters={"X-JADE-Encoding": "Base64"},
    )


def message(inner: str = "", attributes: str = 'act="inform"') -> str:
    return f"<fipa-message {attributes}>{inner}</fipa-message>"


AGENT = '<agent-identifier><name id="a@b"/></agent-identifier>'


@pytest.mark.parametrize(
    ("text", "parameter", "value"),
    [
        ('<fipa-message act="INFORM"/>', "performative", Performative.INFORM),
        ('<a:fipa-message xmlns:a="urn:a" act="inform"><a:content>x</a:content></a:fipa-message>',
         "content", "x"),
        (f"<!-- a --><?b c?>{message('<!-- d --><content>e<!-- f -->g</content>')}", "content", "eg"),
        (message("<content><![CDATA[<a>]]>&amp;&#228;&#x20;</content>"), "content", "<a>&ä "),
        (message("<content/>"), "content", ""),
        (message('<content href="x"/>'), "content", "x"),
        (message("<content>a\r\nb</content>"), "content", "a\nb"),
        (message("", 'act="inform" conversation-id="c1"'), "conversation_id", "c1"),
        (message(f"<receiver>{AGENT}<agent-identifier><name id='c'/></agent-identifier></receiver>"),
         "receiver",
         (AgentIdentifier(name="a@b"), AgentIdentifier(name="c"))),
        (message(f"<receiver>{AGENT.replace('</a', '<user-defined/><X-a>b</X-a></a')}</receiver>"),
         "receiver",
         (AgentIdentifier(name="a@b"),)),
        (message("<receiver/>"), "receiver", ()),
        (message(f"<reply-to>{AGENT}</reply-to>"), "reply_to", (AgentIdentifier(name="a@b"),)),
        (message('<user-defined href="x-a">b</user-defined><X-c>d</X-c>'), "user_parameters", {"X-a": "b",
         "X-c": "d"}),
        (message('<reply-by time="20261120T070634000"/>'), "reply_by", NOW),
        (message("<reply-by> 20261120T070634000Z </reply-by>"), "reply_by", NOW),
        (message('<reply-by time="+00000000T000010000"/>'), "reply_by", NOW + timedelta(seconds=10)),
    ],
)  # fmt: skip
def test_what_the_document_type_allows(text, parameter, value):
    assert getattr(from_xml(text, NOW), parameter) == value


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DEEP = '<agent-identifier><name id="a"/><resolvers>'

BAD = {
    "empty": ("", SYNTAX, "not XML: no element found (line 1, column 1)"),
    "words": ("hello", SYNTAX, "not XML: syntax error (line 1, column 1)"),
    "open": ("<fipa-message\nact='inform'>", SYNTAX, "not XML: no element found (line 2"),
    "not well-formed": (message("<content>&</content>"), SYNTAX,
     "not well-formed (invalid token) (line 1, column"),
    "prefix": ("<a:fipa-message/>", SYNTAX, "unbound prefix"),
    "entity": (message("<content>&lol;</content>"), SYNTAX, "undefined entity"),
    "NUL": (message("<content>\x00</content>"), SYNTAX, "not well-formed"),
    "surrogate": (message("\ud800"), SYNTAX, "half of a surrogate pair"),
    "rest": (message() + message(), SYNTAX, "junk after document element"),
    "laughs": (f"<!DOCTYPE a [<!ENTITY l0 'ha'>{LAUGHS}]>{message('<content>&l9;</content>')}", SYNTAX,
               "a document type is not read, because its entities could be anything; leave out <!DOCTYPE"),
    "external": ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', SYNTAX, "a document type is not read"),
    "fetched": ('<!DOCTYPE a [<!ENTITY b SYSTEM "http://127.0.0.1/">]><a>&b;</a>', SYNTAX, "a document type"),
    "other": ("\n<message/>", UNEXPECTED,
     "is a <fipa-message> (FIPA00071), not <message> (line 2, column 1)"),
    "own": ("<X-message/>", UNEXPECTED, "is a <fipa-message> (FIPA00071), not <X-message>"),
    "no act": ("<fipa-message/>", MISSING,
     "has no performative, which FIPA00061 requires (line 1, column 1)"),
    "unknown act": (message("", 'act="shout"'), Cause.UNSUPPORTED_ACT, "'shout' is none of the 22 acts"),
    "unknown": (message("<subject/>"), UNEXPECTED,
     "<subject> has no place in <fipa-message> (FIPA00071) (line"),
    "case": (message("<Content/>"), UNEXPECTED, "<Content> has no place in <fipa-message>"),
    "long": (message(f"<{'y' * 999}/>"), UNEXPECTED, "y...> has no place"),
    "inside a text": (message("<content><b/></content>"), UNEXPECTED, "<b> has no place in <content>"),
    "own inside": (message("<content><X-b/></content>"), UNEXPECTED, "<X-b> has no place in <content>"),
    "text": (message("a"), SYNTAX, "text has no place in <fipa-message>: 'a' (line 1, column 1)"),
    "text for an agent": (message("<sender>ann</sender>"), SYNTAX, "text has no place in <sender>: 'ann'"),
    "twice": (message("<content/><content/>"), UNEXPECTED, "content is given twice"),
    "X twice": (message("<X-a/><user-defined href='x-a'/>"), UNEXPECTED, "X-a is given twice"),
    "sender twice": (message(f"<sender>{AGENT}</sender>" * 2), UNEXPECTED, "sender is given twice"),
    "two conversations": (
        message("<conversation-id>a</conversation-id>", 'act="inform" conversation-id="b"'), UNEXPECTED,
        "conversation-id is given twice",
    ),
    "no sender": (message("<sender/>"), VALUE, "<sender> holds one <agent-identifier>, not 0"),
    "two senders": (message(f"<sender>{AGENT * 2}</sender>"), VALUE,
     "<sender> holds one <agent-identifier>, not 2"),
    "no name": (message("<receiver><agent-identifier/></receiver>"), VALUE, "has one <name>, not 0"),
    "no id": (message(f"<sender>{AGENT.replace('id=', 'ref=')}</sender>"), MISSING,
     "<name> needs the attribute id"),
    "no url": (
        message(f"<sender>{AGENT.replace('</a', '<addresses><url/></addresses></a')}</sender>"), MISSING,
        "<url> needs the attribute href",
    ),
    "no JID": (message(f"<sender>{AGENT.replace('a@b', 'a b')}</sender>"), VALUE,
     "'a b' is no agent's name (line"),
    "user-defined": (message("<user-defined>a</user-defined>"), MISSING, "needs the attribute href"),
    "no X": (message("<user-defined href='a'/>"), UNEXPECTED,
     "'a' is no ACL parameter (FIPA00061); user-defined"),
    "bad X": (message("<user-defined href='X-'/>"), VALUE, "is named X-..., not 'X-'"),
    "no time": (message("<reply-by/>"), VALUE, "reply-by '' is no time"),
    "empty token": (message("\n <language/>"), VALUE, "1 character (line 2, column 2)"),
    "no conversation": (message("<protocol>p</protocol>"), VALUE, "needs a conversation-id"),
    "deep": (message("<sender>" + DEEP * 9999), SYNTAX, "elements are nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "cause", "told"), BAD.values(), ids=BAD)
def test_one_sentence_says_what_is_wrong_and_where(text, cause, told):
    error = fault(text)
    assert told in error.text
    assert error.cause is cause


def test_resolvers_are_read_to_the_depth_that_is_promised():
    agent = AgentIdentifier(name="a")
    while (
        to_xml(AclMessage(performative="inform", sender=agent)).count("<agent-identifier>") < DEPTH // 2 - 1
    ):
        agent = AgentIdentifier(name="a", resolvers=(agent,))
    deepest = AclMessage(performative="inform", sender=agent)
    assert from_xml(to_xml(deepest)) == deepest


pieces = st.sampled_from(
    [
        "<content>", "</content>", "<sender>", "</sender>", AGENT, "<agent-identifier>", "<name id='a'/>",
        "</agent-identifier>", "<addresses>", "<url href=''/>", "<X-a>", "</X-a>", "<reply-by time='", "'/>",
        "<![CDATA[", "]]>", "<!--", "-->", "<?a?>", "<!DOCTYPE a>", "&amp;", " ", "x", "é",
    ]
)  # fmt: skip


@EXAMPLES
@given(st.text(st.characters()) | st.lists(pieces).map("".join) | st.lists(pieces).map("".join).map(message))
def test_any_text_is_a_message_or_refused_in_a_sentence(text):
    try:
        read = from_xml(text, NOW)
    except MessageError as error:
        clear(error)
    else:
        assert from_xml(to_xml(read)) == read


MEGABYTE = 1_000_000


@pytest.mark.parametrize("piece", ["x", "<", "\r", "\n", "é", "]]>"])
def test_a_megabyte_of_content_is_read_within_half_a_second(piece):
    large = AclMessage(performative="inform", content=piece * (MEGABYTE // len(piece.encode())))
    text = to_xml(large)
    began = time.process_time()
    assert from_xml(text) == large
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "text",
    [
        message(f"<receiver>{AGENT}</receiver>" * (MEGABYTE // 80)),
        message("".join(f"<X-{number}/>" for number in range(MEGABYTE // 12))),
        message("<language/>" * (MEGABYTE // 11)),
        "<" + "a" * MEGABYTE,
        message("<!--" + "-" * MEGABYTE),
        message(" " * MEGABYTE),
        message("", " ".join(f'a{number}=""' for number in range(MEGABYTE // 12))),
    ],
    ids=lambda text: text[:30],
)
def test_a_megabyte_that_means_harm_takes_no_more_than_its_length(text):
    began = time.process_time()
    try:
        from_xml(text)
    except MessageError as error:
        clear(error)
    assert time.process_time() - began < 3
