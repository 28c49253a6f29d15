"""FIPA00070: what is written is read back, what others write is understood, and faults have a place."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ontology.acl import AclMessage, Performative
from ontology.acl_string import from_string, to_string
from ontology.acl_tokens import DEPTH
from ontology.aid import AgentIdentifier
from ontology.errors import Cause, MessageError
from tests.ontology.strategies import EXAMPLES, FEW, identifiers, messages
from tests.ontology.test_content import clear

SYNTAX, VALUE = Cause.UNRECOGNISED_VALUE, Cause.UNRECOGNISED_PARAMETER_VALUE
UNEXPECTED = Cause.UNEXPECTED_PARAMETER

NOW = datetime(2026, 11, 20, 7, 6, 34, tzinfo=UTC)


def fault(text: str) -> MessageError:
    with pytest.raises(MessageError) as caught:
        from_string(text, NOW)
    clear(caught.value)
    assert "(line " in caught.value.text
    return caught.value


@EXAMPLES
@given(messages(agents=identifiers))
def test_every_message_comes_back_with_all_that_its_agents_have(message):
    text = to_string(message)
    assert from_string(text) == message
    assert to_string(from_string(text)) == text


def test_the_form():
    message = AclMessage(
        performative="request",
        sender=AgentIdentifier.of("ann@example.org/desk"),
        receiver=(AgentIdentifier(name="bob@example.org", resolvers=({"name": "ams@example.org"},)),),
        reply_to=(AgentIdentifier(name="eve@example.org"), AgentIdentifier(name="é@example.org")),
        content='{"say": "a\\nb (c"}',
        protocol="fipa-request",
        conversation_id="1f",
        reply_with="r1",
        reply_by=datetime(2026, 11, 20, 7, 6, 34, 120_000, tzinfo=UTC),
        user_parameters={"X-Trace": "a b", "X-Path": "C:\\é\\"},
    )
    assert to_string(message) == (
        "(request :sender (agent-identifier :name ann@example.org"
        " :addresses (sequence xmpp:ann@example.org/desk))"
        " :receiver (set (agent-identifier :name bob@example.org"
        " :resolvers (sequence (agent-identifier :name ams@example.org))))"
        " :reply-to (set (agent-identifier :name eve@example.org)"
        ' (agent-identifier :name "é@example.org"))'
        ' :content "{\\"say\\": \\"a\\nb (c\\"}"'
        ' :protocol fipa-request :conversation-id "1f" :reply-with r1 :reply-by 20261120T070634120Z'
        ' :X-Trace "a b" :X-Path #6"C:\\é\\)'
    )


JADE = r"""(REQUEST
 :sender  ( agent-identifier :name ping@192.168.1.2:1099/JADE  :addresses (sequence http://host:7778/acc xmpp://jade@example.org ) :X-Kind (a "b)") )
 :receiver  (set ( agent-identifier :name coordinator@example.org )  ( agent-identifier :name other@example.org  :resolvers (sequence (agent-identifier :name r1@x ) (agent-identifier :name r2@x ) )) )
 :content  "((action (agent-identifier :name \"a@b\") (say \"C:\\temp\")))"
 :reply-with  R1234_5  :in-reply-to  7  :encoding  "US ASCII"  :language  fipa-sl  :ontology  Ping-Ontology
 :reply-by  20261120T070634120Z
 :protocol  fipa-request
 :conversation-id  C-12_3  :X-JADE-Encoding Base64 )"""  # noqa: E501 - as JADE writes it


def test_what_jade_writes():
    assert from_string(JADE) == AclMessage(
        performative=Performative.REQUEST,
        sender=AgentIdentifier(
            name="ping@192.168.1.2:1099/jade", addresses=("http://host:7778/acc", "xmpp://jade@example.org")
        ),
        receiver=(
            AgentIdentifier(name="coordinator@example.org"),
            AgentIdentifier(name="other@example.org", resolvers=({"name": "r1@x"}, {"name": "r2@x"})),
        ),
        content=r'((action (agent-identifier :name "a@b") (say "C:\\temp")))',
        reply_with="R1234_5",
        in_reply_to="7",
        encoding="US ASCII",
        language="fipa-sl",
        ontology="Ping-Ontology",
        reply_by=datetime(2026, 11, 20, 7, 6, 34, 120_000, tzinfo=UTC),
        protocol="fipa-request",
        conversation_id="C-12_3",
        user_parameters={"X-JADE-Encoding": "Base64"},
    )
    assert from_string(JADE).sender.jid == "jade@example.org"


@pytest.mark.parametrize(
    ("text", "parameter", "value"),
    [
        ("(inform)", "content", None),
        (" \n\t( InForm\r\n)\n ", "content", None),
        ("(inform :CONTENT word)", "content", "word"),
        ('(inform :content "")', "content", ""),
        ('(inform :content "a\nb\tc\rd")', "content", "a\nb\tc\rd"),
        (r'(inform :content "\"")', "content", '"'),
        (r'(inform :content "\\"x")', "content", r"\"x"),
        (r'(inform :content "\n\t\x")', "content", r"\n\t\x"),
        ('(inform :content #0")', "content", ""),
        ('(inform :content #3"a"))', "content", 'a")'),
        ('(inform :content #4"a")\\)', "content", 'a")\\'),
        ('(inform :content #004"äß)', "content", "äß"),
        ('(inform :content #4"💡:language #1"))', "language", ")"),
        ("(inform :content (a (b \"c)\") #2\"))d))", "content", '(a (b "c)") #2"))d)'),
        ("(inform :reply-with (a b))", "reply_with", "(a b)"),
        ("(inform :language a\"b'c:d#e)", "language", "a\"b'c:d#e"),
        ("(inform :language :other)", "language", ":other"),
        ("(inform :language -5.0e3)", "language", "-5.0e3"),
        ("(inform :language größe)", "language", "größe"),
        ("(inform :receiver (set))", "receiver", ()),
        ("(inform :receiver (SET))", "receiver", ()),
        ("(inform :x-a b)", "user_parameters", {"X-a": "b"}),
        ("(inform :reply-by 20261120T070634120)", "reply_by", NOW + timedelta(milliseconds=120)),
        ("(inform :reply-by 20261120t070634120z)", "reply_by", NOW + timedelta(milliseconds=120)),
        ('(inform :reply-by "20261120T070634120Z")', "reply_by", NOW + timedelta(milliseconds=120)),
        ("(inform :reply-by 2026-11-20T07:06:34Z)", "reply_by", NOW),
        ("(inform :reply-by +00000000T000010500)", "reply_by", NOW + timedelta(seconds=10.5)),
        ("(inform :reply-by +00010203T010203000Z)", "reply_by",
         NOW + timedelta(days=365 + 60 + 3, hours=1, minutes=2, seconds=3)),
        ("(inform :reply-by -00000000T000001000)", "reply_by", NOW - timedelta(seconds=1)),
    ],
)  # fmt: skip
def test_what_the_grammar_allows(text, parameter, value):
    assert getattr(from_string(text, NOW), parameter) == value


DEEP = "(inform :sender " + "(agent-identifier :name a :resolvers (sequence " * 300

BAD = {
    "empty": ("", SYNTAX, "ends before it is complete (line 1, column 1)"),
    "words": ("hello", SYNTAX, "begins with a parenthesis (line 1, column 1)"),
    "no act": ("()", Cause.MISSING_PARAMETER, "has no performative"),
    "unknown act": ("(inform-done)", Cause.UNSUPPORTED_ACT, "'inform-done' is none of the 22 acts"),
    "string for an act": ('("a b")', Cause.UNSUPPORTED_ACT, "'a b' is none"),
    "open": ("(inform\n :content x\n", SYNTAX, "is complete (line 3, column 1)"),
    "rest": ("(inform)\n(inform)", SYNTAX, "follows after the message (line 2, column 1)"),
    "no colon": ("(inform content x)", SYNTAX, "which 'content' does not (line 1, column 9)"),
    "string for a name": ('(inform "a" x)', SYNTAX, "begins with a colon"),
    "unknown": ("(inform :subject x)", UNEXPECTED, "'subject' is no ACL parameter (FIPA00061)"),
    "no name": ("(inform : x)", UNEXPECTED, "'' is no ACL parameter"),
    "long": (f"(inform :{'y' * 9999} 1)", UNEXPECTED, "y...' is no ACL parameter"),
    "python": ("(inform :reply_with x)", UNEXPECTED, "'reply_with' is no ACL parameter"),
    "twice": ("(inform :content a :Content b)", UNEXPECTED, "content is given twice (line 1, column 20"),
    "X twice": ("(inform :X-a a :x-a b)", UNEXPECTED, "X-a is given twice"),
    "sender twice": (
        "(inform :sender (agent-identifier :name a) :sender (agent-identifier :name a))",
        UNEXPECTED, "sender is given twice",
    ),
    "receiver twice": ("(inform :receiver (set) :receiver (set))", UNEXPECTED, "given twice"),
    "no value": ("(inform :content)", SYNTAX, "content has no value (line 1, column 17)"),
    "string": ('(inform :content "abc)', SYNTAX, "no closing quote"),
    "backslash": (r'(inform :content "C:\")', SYNTAX, "ends in a backslash is written #<bytes>"),
    "hash": ("(inform :content #x)", SYNTAX, "does not begin with #"),
    "short": ('(inform :content #9"abc)', SYNTAX, "9 bytes goes beyond the end"),
    "very short": ('(inform :content #999999999"abc)', SYNTAX, "999999999 bytes goes beyond"),
    "too long a number": (f'(inform :content #{"9" * 5000}"abc)', SYNTAX, "begin with #"),
    "half": ('(inform :content #1"é)', SYNTAX, "ends within a character (line 1, column 18)"),
    "surrogate": ('(inform :content "\ud800")', SYNTAX, "half of a surrogate pair (line 1, column 19"),
    "deep": ("(inform :content " + "(" * 10**6, SYNTAX, "nested too deeply"),
    "deep agent": (DEEP, SYNTAX, "resolvers are nested too deeply"),
    "word for an agent": ("(inform :sender ann)", SYNTAX, "written (agent-identifier :name ...)"),
    "other": ("(inform :sender (agent :name x))", SYNTAX, "agent-identifier is wanted here, not 'agent'"),
    "nobody": ("(inform :sender (agent-identifier))", SYNTAX, "an agent has no :name"),
    "no JID": (
        '(inform :sender (agent-identifier :name "a b"))', VALUE,
        "'a b' is no agent's name (line 1, column 17)",
    ),
    "slot": ("(inform :sender (agent-identifier :nick a))", SYNTAX, "'nick' is no parameter of an agent"),
    "name twice": ("(inform :sender (agent-identifier :name a :NAME b))", SYNTAX, "name is given twice"),
    "one receiver": (
        "(inform :receiver (agent-identifier :name a))", SYNTAX, "set is wanted here, not 'agent-",
    ),
    "sequence": ("(inform :receiver (sequence))", SYNTAX, "set is wanted here"),
    "address": (
        "(inform :sender (agent-identifier :name a :addresses (sequence (x))))", SYNTAX,
        "an address is a word or a string",
    ),
    "no time": (
        "(inform :reply-by soon)", VALUE, "'soon' is no time; write e.g. 2026-11-20T07:06",
    ),
    "far": ("(inform :reply-by +99990000T000000000)", VALUE, "is no time"),
    "empty token": ('(inform\n :language "")', VALUE, "1 character (line 2, column 2)"),
    "bad X": ("(inform :X- a)", VALUE, "is named X-..., not 'X-'"),
    "no conversation": ("(inform :protocol p)", VALUE, "needs a conversation-id"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "cause", "told"), BAD.values(), ids=BAD)
def test_one_sentence_says_what_is_wrong_and_where(text, cause, told):
    error = fault(text)
    assert told in error.text
    assert error.cause is cause


def test_a_relative_time_needs_a_clock():
    with pytest.raises(MessageError, match=r"is relative, and here is no clock; write e\.g\. 2026-"):
        from_string("(inform :reply-by +00000000T000010000)")


def test_resolvers_are_read_to_the_depth_that_is_promised():
    agent = AgentIdentifier(name="a")
    for _each in range(DEPTH):
        agent = AgentIdentifier(name="a", resolvers=(agent,))
    message = AclMessage(performative="inform", sender=agent)
    assert from_string(to_string(message)) == message
    fault(to_string(AclMessage(performative="inform", sender=AgentIdentifier(name="a", resolvers=(agent,)))))


pieces = st.sampled_from(
    [
        "(", ")", '"', "\\", "#", '#3"', " ", "\n", "inform", "set", "sequence", "agent-identifier", ":name",
        ":sender", ":receiver", ":content", ":reply-by", ":X-a", ":addresses", ":resolvers", "ann@b", "é",
        "+00000000T000010000",
    ]
)  # fmt: skip


@EXAMPLES
@given(st.text(st.characters()) | st.lists(pieces).map("".join) | st.lists(pieces).map("(inform {}".format))
def test_any_text_is_a_message_or_refused_in_a_sentence(text):
    try:
        message = from_string(text, NOW)
    except MessageError as error:
        clear(error)
    else:
        assert from_string(to_string(message)) == message


@FEW  # messages, which are dear to make; each is cut off in many places
@given(messages(agents=identifiers), st.integers(0, 6))
def test_a_message_that_is_cut_off_is_refused_in_a_sentence(message, first):
    text = to_string(message)
    for end in range(first, len(text), 7):
        fault(text[:end])


MEGABYTE = 1_000_000


@pytest.mark.parametrize("piece", ["x", '"', "\\", "\n", "é"])
def test_a_megabyte_of_content_is_read_within_half_a_second(piece):
    message = AclMessage(performative="inform", content=piece * (MEGABYTE // len(piece.encode())))
    text = to_string(message)
    began = time.process_time()
    assert from_string(text) == message
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "text",
    [
        '(inform :content "' + "\\" * MEGABYTE,
        '(inform :content "' + 'x\\"' * (MEGABYTE // 3),
        "(inform " + " " * MEGABYTE,
        "(inform :content (" + "a " * (MEGABYTE // 2),
        "(inform :content (" + '#1"a' * (MEGABYTE // 4),
        "(inform :content (" + '#100000"a' * (MEGABYTE // 9),
        "(inform " + " ".join(f":X-{number} a" for number in range(MEGABYTE // 12)) + ")",
        "(inform :receiver (set " + "(agent-identifier :name a@b) " * (MEGABYTE // 30) + "))",
        "(inform :sender (agent-identifier :name a :addresses (sequence " + "a " * (MEGABYTE // 2),
        "\n" * MEGABYTE,
    ],
    ids=lambda text: text[:18],
)
def test_a_megabyte_that_means_harm_takes_no_more_than_its_length(text):
    began = time.process_time()
    try:
        from_string(text)
    except MessageError as error:
        clear(error)
    assert time.process_time() - began < 3
