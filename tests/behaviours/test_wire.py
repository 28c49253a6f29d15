"""`behaviours.wire`: what is written is read back, in SPADE's own form, whatever it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slixmpp import ClientXMPP
from spade.message import Message

from behaviours.wire import (
    AGENTS,
    FORM_TITLE,
    Bounced,
    Received,
    Unreadable,
    as_spade_stanza,
    legible,
    parse,
    render,
)
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import FORMATS, TEXT_PARAMETERS, read, to_json
from ontology.errors import Cause
from tests.behaviours.fakes import arrived, element, incoming

XML_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")
    | st.sampled_from("\t\n\r\x7f<&>]'\"")
)
TOKEN = XML_TEXT.filter(str.strip).map(lambda text: text[:50])


def form(fields: Mapping[str, str], body: str | None = "x", more: str = "") -> str:
    """Write a stanza by hand."""
    inner = "".join(
        f'<field var="{name}"><value>{escape(value)}</value></field>' for name, value in fields.items()
    )
    said = "" if body is None else f"<body>{escape(body)}</body>"
    return (
        f'<message type="chat" to="me@here">{said}{more}'
        f'<x xmlns="jabber:x:data" type="form"><title>{FORM_TITLE}</title>{inner}</x></message>'
    )


def unreadable(stanza: str) -> Unreadable:
    """Parse what must not be readable."""
    found = incoming(stanza)
    assert isinstance(found, Unreadable)
    assert found.error.text
    assert "\n" not in found.error.text
    return found


@given(
    performative=st.sampled_from(Performative),
    content=st.none() | XML_TEXT.filter(str.strip),
    tokens=st.fixed_dictionaries(
        {"conversation_id": TOKEN},
        optional=dict.fromkeys(set(TEXT_PARAMETERS.values()) - {"conversation_id"}, TOKEN),
    ),
    reply_by=st.none()
    | st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
    user=st.dictionaries(st.from_regex(r"X-[A-Za-z0-9]{1,9}", fullmatch=True), XML_TEXT, max_size=3),
)
def test_every_message_survives_the_way_through_xml(
    performative: Performative,
    content: str | None,
    tokens: dict[str, str],
    reply_by: datetime | None,
    user: dict[str, str],
) -> None:
    message = AclMessage(
        performative=performative,
        sender=AgentIdentifier.of("peer@here/1"),
        receiver=(AgentIdentifier.of("me@here"),),
        content=content,
        reply_by=reply_by,
        reply_to=(AgentIdentifier.of("other@here"), AgentIdentifier.of("third@here/x")),
        user_parameters=user,
        **tokens,
    )
    assert arrived(render(message, "me@here", "id1")) == message


def test_the_sender_is_who_the_server_says_and_never_who_the_message_claims() -> None:
    claimed = AclMessage(performative=Performative.INFORM, sender=AgentIdentifier(name="boss@here"))
    assert "boss" not in render(claimed, "me@here", "id1")
    body = escape(to_json(claimed))
    message = arrived(f'<message to="me@here"><body>{body}</body></message>', "liar@here/1")
    assert str(message.sender) == "liar@here"


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
def test_a_character_that_xml_cannot_carry_is_refused_before_anything_is_sent(character: str) -> None:
    text = f"a{character}b"
    for name in ("content", "conversation_id", "reply_with"):
        # A surrogate passes no validation, but may come from a file name.
        message = AclMessage(performative=Performative.INFORM).model_copy(update={name: text})
        with pytest.raises(ValueError, match=f"U\\+{ord(character):04X}, which XML cannot carry"):
            render(message, "me@here", "id1")
    assert legible(f"a{character}b") == "a\ufffdb"


def test_markup_in_any_parameter_is_only_text() -> None:
    nasty = "\"'<&>]]><body/>"
    message = AclMessage(
        performative=Performative.INFORM,
        content=nasty,
        conversation_id=nasty,
        user_parameters={"X-nasty": nasty},
    )
    read = arrived(render(message, "me@here/\"'<&>", "<&\"'>"))
    assert (read.content, read.conversation_id, read.user_parameters["X-nasty"]) == (nasty,) * 3


def test_a_plain_spade_agent_reads_what_we_write_and_the_other_way_round() -> None:
    ours = AclMessage(
        performative=Performative.REQUEST,
        content="do it",
        protocol="fipa-request",
        conversation_id="c1",
        reply_with="r1",
    )
    client = ClientXMPP("me@here", "secret")
    theirs = Message.from_node(
        as_spade_stanza(element(render(ours, "me@here", "id1"), "peer@here/1"), client)
    )
    assert theirs.body == "do it"
    assert theirs.thread == "c1"
    assert theirs._metadata == {
        "performative": "request",
        "protocol": "fipa-request",
        "conversation-id": "c1",
        "reply-with": "r1",
    }
    reply = theirs.make_reply()
    reply.set_metadata("performative", "agree")
    reply.set_metadata("mood", "good")
    found = parse(reply.prepare(client).xml)
    assert isinstance(found, Received)
    read = found.message
    assert read.performative is Performative.AGREE
    assert (read.conversation_id, read.protocol) == ("c1", "fipa-request")
    assert read.user_parameters == {"X-mood": "good"}


def test_spade_4_1_4_writes_the_thread_as_a_field_of_the_form() -> None:
    message = Message(to="me@here", body="x", thread="t1")
    message.set_metadata("performative", "inform")
    stanza = message.prepare(ClientXMPP("peer@here", "secret"))
    assert "_thread_node" in str(stanza)
    assert stanza.xml.find("{jabber:client}thread") is None
    assert arrived(str(stanza)).conversation_id == "t1"


def test_spade_4_1_4_never_sees_a_message_without_body() -> None:
    # slixmpp offers a message to agents only where there is a body that is not empty.
    client = ClientXMPP("me@here", "secret")
    seen: list[Any] = []
    client.add_event_handler("message", seen.append)
    without = AclMessage(performative=Performative.INFORM)
    client._spawn_event(element(render(without, "me@here", "1").replace("<body> </body>", ""), "peer@here/1"))
    assert seen == []
    client._spawn_event(element(render(without, "me@here", "1"), "peer@here/1"))
    assert len(seen) == 1


@pytest.mark.parametrize("body", ["", " ", "\n \t", None])
def test_an_empty_body_is_no_content(body: str | None) -> None:
    message = arrived(form({"performative": "inform"}, body))
    assert message.content is None
    assert "<body> </body>" in render(message, "me@here", "1")


def test_a_thread_of_xmpp_is_a_conversation_id() -> None:
    fields = {"performative": "inform"}
    assert arrived(form(fields, more="<thread>t7</thread>")).conversation_id == "t7"
    fields["_thread_node"] = "t8"
    assert arrived(form(fields, more="<thread>t7</thread>")).conversation_id == "t8"
    fields["conversation-id"] = "c9"
    assert arrived(form(fields, more="<thread>t7</thread>")).conversation_id == "c9"


@pytest.mark.parametrize(
    ("fields", "cause", "told"),
    [
        ({}, Cause.MISSING_PARAMETER, "has no performative"),
        ({"performative": ""}, Cause.MISSING_PARAMETER, "has no performative"),
        ({"performative": "shout"}, Cause.UNSUPPORTED_ACT, "'shout' is none of the 22 acts"),
        ({"performative": "inform-done"}, Cause.UNSUPPORTED_ACT, "none of the 22 acts"),
        ({"performative": "inform", "reply-by": "soon"}, Cause.UNRECOGNISED_PARAMETER_VALUE, "no time"),
        (
            {"performative": "inform", "reply-to": 'a"b@c'},
            Cause.UNRECOGNISED_PARAMETER_VALUE,
            "no agent's name",
        ),
        (
            {"performative": "cfp", "protocol": "fipa-contract-net"},
            Cause.UNRECOGNISED_PARAMETER_VALUE,
            "needs a conversation-id",
        ),
        (
            {"performative": "inform", "conversation-id": "c" * 2000},
            Cause.UNRECOGNISED_PARAMETER_VALUE,
            "conversation-id",
        ),
    ],
)
def test_a_form_that_is_no_acl_message_says_what_is_wrong(
    fields: dict[str, str], cause: Cause, told: str
) -> None:
    error = unreadable(form(fields)).error
    assert error.cause is cause
    assert told in error.text


def test_what_can_be_read_of_an_unreadable_message_names_the_conversation() -> None:
    found = unreadable(form({"performative": "shout", "_thread_node": "c1", "reply-with": "r1"}))
    assert (found.conversation_id, found.reply_with, found.protocol) == ("c1", "r1", None)
    found = unreadable(form({"performative": "shout", "conversation-id": "c" * 2000, "protocol": "p"}))
    assert (found.conversation_id, found.protocol) == (None, None)
    body = '{"performative": "shout", "conversation-id": "c1", "reply-with": "a\\u0001", "protocol": "p"}'
    found = unreadable(f"<message><body>{body}</body></message>")
    assert (found.conversation_id, found.reply_with, found.protocol) == ("c1", None, "p")


@pytest.mark.parametrize(
    ("stanza", "expected"),
    [
        (form({"performative": "Not-Understood", "reply-by": "soon"}), True),
        (form({"performative": "shout"}, '{"performative": "not-understood"}'), False),
        ('<message><body>{"performative": "not-understood", "colour": 1}</body></message>', True),
        ('<message><body>{"performative": "not-understood", </body></message>', True),
        ('<message><body>{"performative": "shout", "content": "not-understood"}</body></message>', False),
        ("<message><body>(not-understood :colour red)</body></message>", True),
        ("<message><body>(not-understood-at-all)</body></message>", False),
        ("<message><body>&lt;fipa-message act='not-understood'/</body></message>", True),
        ("<message><body>it was not-understood</body></message>", False),
    ],
)
def test_a_broken_not_understood_is_told_from_other_broken_messages(stanza: str, expected: bool) -> None:
    assert unreadable(stanza).is_not_understood is expected


def test_no_more_agents_are_read_in_a_reply_to_than_an_agent_has_time_for() -> None:
    def replied(count: int) -> str:
        return form({"performative": "inform", "reply-to": "a@b " * count})

    assert isinstance(incoming(replied(AGENTS)), Received)
    assert unreadable(replied(AGENTS + 1)).error.text == "reply-to names 1,001 agents; 1,000 are read"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "this agent speaks FIPA ACL"),
        ("hello", "this agent speaks FIPA ACL"),
        ('{"act": "inform"}', "this agent speaks FIPA ACL"),
        ('{"performative": "inform"', "not JSON"),
        ('{"performative": "inform", "colour": "red"}', "'colour' is no ACL parameter"),
        ('{"performative": "shout"}', "none of the 22 acts"),
        ('{"performative": 7}', "none of the 22 acts"),
        ('{"performative": "inform", "conversation-id": "a\\u0001b"}', "U+0001"),
        ('{"performative": "inform", "content": "\\uffff"}', "U+FFFF"),
        ('{"performative": "inform", "X-a": "\\u0000"}', "U+0000"),
        ('{"performative": "inform", "content": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_body_that_is_no_acl_message_says_what_is_wrong(body: str, told: str) -> None:
    found = unreadable(f"<message><body>{escape(body)}</body></message>")
    assert told in found.error.text
    assert found.body == body


def test_a_chat_client_may_write_the_message_as_json() -> None:
    body = '{"performative": "REQUEST", "content": {"add": {"a": 1}}, "reply-with": "r1"}'
    message = arrived(f"<message><body>{body}</body></message>")
    assert message.performative is Performative.REQUEST
    assert message.content == '{"add": {"a": 1}}'
    assert message.reply_with == "r1"


ENVELOPE = (
    '<x xmlns="jabber:x:fipa" content-type="fipa.mts.env.rep.xml.std"><envelope><params index="1">'
    "<to><agent-identifier><name>other@there</name></agent-identifier></to>"
    "<from><agent-identifier><name>boss@here</name></agent-identifier></from>"
    "<acl-representation>fipa.acl.rep.string.std</acl-representation></params></envelope></x>"
)
"""As JADE's XMPP transport writes it; whom it names is nobody's business but the server's."""

JADE = r"""(REQUEST
 :sender  ( agent-identifier :name boss@here  :addresses (sequence xmpp://jade@there ))
 :receiver  (set ( agent-identifier :name me@here ) )
 :content  "{\"add\": {\"a\": \"<1>\"}}"
 :reply-with  r1  :language  json
 :protocol  fipa-request
 :conversation-id  c1 :X-Trace 7 )"""


def jade(body: str, envelope: str = ENVELOPE) -> str:
    return f'<message type="normal" to="me@here" id="j1"><body>{escape(body)}</body>{envelope}</message>'


@pytest.mark.parametrize("envelope", [ENVELOPE, '<x xmlns="jabber:x:fipa"/>', ""])
@pytest.mark.parametrize("form", ["as JADE writes it", *FORMATS])
def test_a_whole_message_in_the_body_is_understood_in_every_form_with_and_without_jades_envelope(
    form: str, envelope: str
) -> None:
    body = JADE if form == "as JADE writes it" else FORMATS[form].write(read(JADE))
    found = incoming(jade(body, envelope), "jade@there/acc")
    assert isinstance(found, Received)
    assert found.stanza_id == "j1"
    assert found.message == AclMessage(
        performative=Performative.REQUEST,
        sender=AgentIdentifier.of("jade@there/acc"),
        receiver=(AgentIdentifier(name="me@here"),),
        content='{"add": {"a": "<1>"}}',
        reply_with="r1",
        language="json",
        protocol="fipa-request",
        conversation_id="c1",
        user_parameters={"X-Trace": "7"},
    )


@pytest.mark.parametrize(
    ("stanza", "form"),
    [
        (form({"performative": "inform"}), "spade"),
        (form({"performative": "shout"}), "spade"),
        (jade(JADE), "spade"),
        (jade("(lol)"), "spade"),
        *((jade(FORMATS[each].write(read(JADE)), ""), each) for each in FORMATS),
        (jade(' {"performative": "shout"}', ""), "json"),
        (jade('{"performative": "inform"', ""), "json"),
        (jade('{"temperature": 3}', ""), "spade"),  # a plain SPADE agent's, which has set no metadata
        (jade("hello", ""), "spade"),
        (jade("(lol) you did?", ""), "spade"),
    ],
)
def test_whoever_writes_the_message_into_the_body_is_answered_so(stanza: str, form: str) -> None:
    found = incoming(stanza)
    assert isinstance(found, Received | Unreadable)
    assert found.form == form


def body_of(message: AclMessage, form: str) -> str:
    stanza = element(render(message, "ann@here/phone", "1", form), "me@here/1")
    assert (stanza.get("to"), stanza.get("type"), stanza.get("id")) == ("ann@here/phone", "chat", "1")
    assert [child.tag for child in stanza] == ["{jabber:client}body"]
    return stanza.findtext("{jabber:client}body") or ""


REFUSAL = AclMessage(
    performative=Performative.REFUSE,
    sender=AgentIdentifier(name="me@here"),
    receiver=(AgentIdentifier.of("ann@here/phone"),),
    content='{"reason":{"cause":"overloaded","text":"ask again later"}}',
    conversation_id="c1",
)


def test_an_answer_in_the_body_tells_the_act_and_the_reason_first() -> None:
    assert body_of(REFUSAL, "json") == (
        '{"performative": "refuse", "content": {"reason": {"cause": "overloaded", "text": "ask again '
        'later"}}, "conversation-id": "c1"}'
    )
    assert body_of(REFUSAL, "string").startswith('(refuse :content "{\\"reason\\"')
    assert body_of(REFUSAL, "xml").startswith('<fipa-message act="refuse"><content>{"reason"')
    agreed = REFUSAL.reply(Performative.AGREE, receiver=REFUSAL.receiver)
    assert body_of(agreed, "json") == '{"performative": "agree", "conversation-id": "c1"}'


@pytest.mark.parametrize(
    "content",
    [
        None, " ", "no JSON", '"5"', "5", "[1]", '{"a": 1e999}', '{"a": "\\uffff"}', '{"a": "\\u0000"}',
        '{"a":' * 5000 + "1" + "}" * 5000, '{"a": 1.0, "b": [true, null], "c": "ü \\"x\\""}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", FORMATS)
def test_an_answer_in_the_body_is_read_back(form: str, content: str | None) -> None:
    message = REFUSAL.model_copy(update={"content": content, "user_parameters": {"X-a": "b"}})
    found = read(body_of(message, form))
    assert found.content == content or json.loads(found.content or "") == json.loads(content or "")
    assert found.model_copy(update={"content": None}) == message.model_copy(
        update={"content": None, "sender": None, "receiver": ()}
    )


def test_what_cannot_be_carried_in_the_body_is_refused_as_well() -> None:
    for each in FORMATS:
        with pytest.raises(ValueError, match="which XML cannot carry"):
            render(REFUSAL.model_copy(update={"conversation_id": "\uffff"}), "ann@here", "1", each)
        with pytest.raises(ValueError, match="1,000,000 are sent"):
            render(REFUSAL.model_copy(update={"content": "x" * 1_000_000}), "ann@here", "1", each)


def test_a_notice_in_the_body_is_not_kept_either() -> None:
    notice = REFUSAL.model_copy(update={"user_parameters": {"X-about": "c1"}})
    assert '<no-store xmlns="urn:xmpp:hints"/></message>' in render(notice, "ann@here", "1", "json")


def test_whoever_speaks_in_jades_form_is_answered_in_spades() -> None:
    answer = arrived(jade(JADE), "jade@there/acc").reply(Performative.AGREE, content="soon")
    stanza = element(render(answer, answer.receiver[0].jid, "1"))
    assert stanza.get("to") == "jade@there/acc"
    assert stanza.findtext("{jabber:client}body") == "soon"
    assert stanza.findtext("{jabber:x:data}x/{jabber:x:data}title") == FORM_TITLE
    assert stanza.find("{jabber:x:fipa}x") is None


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "this is empty"),
        ("hello", "an ACL message begins with { in JSON, with ( in FIPA00070"),
        ("(shout)", "'shout' is none of the 22 acts of FIPA00037 (line 1, column 2)"),
        ("(inform", "the message ends before it is complete (line 1, column 8)"),
        ("<fipa-message/>", "has no performative"),
        ('{"act": "inform"}', "'act' is no ACL parameter"),
    ],
)
def test_what_is_wrong_with_a_body_beside_jades_envelope_is_told(body: str, told: str) -> None:
    found = unreadable(jade(body))
    assert told in found.error.text
    assert found.body == body


def test_a_bracket_in_a_chat_is_no_acl_message() -> None:
    assert "'lol' is none of the 22 acts" in unreadable(jade("(lol) you did?", "")).error.text
    assert "this agent speaks FIPA ACL" in unreadable(jade("<3", "")).error.text


@pytest.mark.parametrize("stanza", [jade("(inform :reply-by +00000000T000010000)"), None])
def test_a_relative_reply_by_counts_from_when_the_message_is_read(stanza: str | None) -> None:
    now = datetime(2026, 11, 20, 7, 6, 34, tzinfo=UTC)
    stanza = stanza or form({"performative": "inform", "reply-by": "+00000000T000010000"})
    found = parse(element(stanza, "peer@here/1"), now)
    assert isinstance(found, Received)
    assert found.message.reply_by == now + timedelta(seconds=10)
    assert (arrived(stanza).reply_by or now) > datetime.now(UTC)


def test_other_forms_and_stanzas_that_say_nothing_are_passed_over() -> None:
    assert incoming('<message><received xmlns="urn:xmpp:receipts" id="1"/></message>') is None
    assert (
        incoming('<message><x xmlns="jabber:x:data" type="form"><title>votes</title></x></message>') is None
    )
    body = '{"performative": "inform"}'
    other = f'<message><body>{body}</body><x xmlns="jabber:x:data" type="form"/></message>'
    assert arrived(other).performative is Performative.INFORM


def test_fields_without_name_or_value_and_odd_names_are_left_out() -> None:
    inner = (
        '<field var="performative"><value>inform</value></field><field><value>a</value></field>'
        '<field var="empty"/><field var="a b"><value>c</value></field><field var="X-d"><value/></field>'
    )
    stanza = (
        f'<message><body>x</body><x xmlns="jabber:x:data"><title>{FORM_TITLE}</title>{inner}</x></message>'
    )
    assert arrived(stanza).user_parameters == {"X-d": ""}


def test_a_bounce_is_told_from_a_message_even_if_it_carries_the_body_back() -> None:
    error = (
        '<error type="cancel"><service-unavailable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>'
        '<text xmlns="urn:ietf:params:xml:ns:xmpp-stanzas">not here</text></error>'
    )
    sent = render(AclMessage(performative=Performative.INFORM, content="x"), "me@here", "id1")
    returned = sent.replace('type="chat"', 'type="error"').replace("</message>", error + "</message>")
    assert incoming(returned, "gone@here") == Bounced(
        stanza_id="id1", peer="gone@here", condition="service-unavailable", text="not here"
    )
    bare = incoming('<message type="error" id="id2"/>', "gone@here")
    assert bare == Bounced(stanza_id="id2", peer="gone@here", condition="undefined-condition", text="")


def test_a_message_that_the_server_kept_says_so() -> None:
    stored = form({"performative": "inform"}, more='<delay xmlns="urn:xmpp:delay" stamp="x"/>')
    found = incoming(stored)
    assert isinstance(found, Received)
    assert found.is_stored


def test_a_stanza_without_sender_is_read_as_nobodys() -> None:
    stanza = ElementTree.fromstring(
        '<message xmlns="jabber:client"><body>{"performative": "inform"}</body></message>'
    )
    found = parse(stanza)
    assert isinstance(found, Received)
    assert str(found.message.sender) == "nobody"


def test_an_id_that_is_too_long_to_be_remembered_is_told() -> None:
    stanza = element(f"<message id='{'i' * 1001}' from='a@b/c'><body>(inform)</body></message>")
    incoming = parse(stanza)
    assert isinstance(incoming, Unreadable)
    told = "the stanza's id has 1,001 bytes, and 1,000 are remembered; make a shorter one"
    assert incoming.error.text == told
    kept = element(f"<message id='{'i' * 1000}' from='a@b/c'><body>(inform)</body></message>")
    assert isinstance(parse(kept), Received)
