"""`behaviours.authority`: which rule allows what; and a mailroom that obeys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from behaviours.authorising import Authority
from behaviours.authority import OUTSIDE, Policy, Rule, Saying, is_pattern, own_domain, tags_of
from behaviours.events import ConversationRefused, MessageDisbelieved
from behaviours.handlers import Handlers
from behaviours.outcomes import Answer
from behaviours.participating import ABOUT, Participation
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason
from ontology.errors import Cause
from protocols.request import REQUEST
from tests.behaviours.fakes import ME, Scene
from tests.behaviours.samples import SUMS, Add, Half, Price, Sum

ANN = AgentIdentifier.of("ann@here/1")
BOB = AgentIdentifier.of("bob@elsewhere/1")
DESK, CELLAR = AgentIdentifier.of("desk@here"), AgentIdentifier.of("cellar@here")


def saying(peer: AgentIdentifier = ANN, **changes: Any) -> Saying:
    fields: dict[str, Any] = {
        "receiver": DESK,
        "act": Performative.REQUEST,
        "protocol": "fipa-request",
        "tags": ("add",),
    }
    return Saying(peer=peer, **{**fields, **changes})


def is_allowed(rule: Rule, asked: Saying, **groups: tuple[str, ...]) -> bool:
    return Policy(rules=(rule,), groups=groups).judge(asked).why_not is None


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        (("*",), {"ann", "bob"}),
        (("*@here",), {"ann"}),
        (("*@HERE",), {"ann"}),
        (("*@her",), set()),
        (("*@elsewhere",), {"bob"}),
        (("ann@here",), {"ann"}),
        (("Ann@here",), {"ann"}),
        (("ann@elsewhere",), set()),
        (("ann@here", "bob@elsewhere"), {"ann", "bob"}),
        (("@office",), {"ann"}),
        (("@abroad",), {"bob"}),
        (("@nobody",), set()),
        (("@office", "@abroad"), {"ann", "bob"}),
    ],
)
def test_who_is_meant_by_a_pattern(who: tuple[str, ...], allowed: set[str]) -> None:
    groups = {"office": ("ann@here",), "abroad": ("*@elsewhere", "carl@here")}
    found = {peer.local_name for peer in (ANN, BOB) if is_allowed(Rule(who=who), saying(peer), **groups)}
    assert found == allowed


def test_a_domain_means_its_server_too_and_no_other_that_ends_alike() -> None:
    rule = Rule(who=("*@here",))
    assert is_allowed(rule, saying(AgentIdentifier.of("here")))
    assert not is_allowed(rule, saying(AgentIdentifier.of("ann@not.here")))
    assert not is_allowed(rule, saying(AgentIdentifier.of("ann@here.org")))


@pytest.mark.parametrize(
    ("limits", "asked", "is_fine"),
    [
        ({"receivers": frozenset({"desk@here"})}, {}, True),
        ({"receivers": frozenset({"desk@here"})}, {"receiver": CELLAR}, False),
        ({"receivers": frozenset()}, {}, False),
        ({"acts": frozenset({Performative.REQUEST})}, {}, True),
        ({"acts": frozenset({Performative.REQUEST})}, {"act": Performative.CFP}, False),
        ({"acts": frozenset({Performative.REQUEST})}, {"act": None}, False),
        ({}, {"act": None, "protocol": None, "tags": ()}, True),
        ({"protocols": frozenset({"fipa-request"})}, {}, True),
        ({"protocols": frozenset({"fipa-query"})}, {}, False),
        ({"protocols": frozenset({"fipa-request"})}, {"protocol": None}, False),
        ({"protocols": frozenset({OUTSIDE})}, {"protocol": None}, True),
        ({"protocols": frozenset({OUTSIDE})}, {}, False),
        ({"actions": frozenset({"add", "half"})}, {}, True),
        ({"actions": frozenset({"half"})}, {}, False),
        ({"actions": frozenset({"add"})}, {"tags": ()}, False),
        ({"actions": frozenset({"add"})}, {"tags": ("when", "add")}, True),
        ({"actions": frozenset({"when"})}, {"tags": ("when", "add")}, True),
    ],
)
def test_what_is_meant_by_a_limit(limits: dict[str, Any], asked: dict[str, Any], is_fine: bool) -> None:
    assert is_allowed(Rule(who=("*",), **limits), saying(**asked)) is is_fine


def test_one_rule_has_to_allow_all_of_it() -> None:
    policy = Policy(
        rules=(
            Rule(who=("ann@here",), acts=frozenset({Performative.CFP})),
            Rule(who=("bob@elsewhere",), acts=frozenset({Performative.REQUEST})),
        )
    )
    assert policy.judge(saying(ANN)).why_not is not None
    assert policy.judge(saying(BOB)).why_not is None


def test_without_rules_written_the_own_domain_may_say_everything() -> None:
    policy = own_domain("here")
    assert policy.judge(saying(ANN, act=Performative.PROPAGATE, protocol=None)).why_not is None
    why = policy.judge(saying(BOB)).why_not
    assert why == "bob@elsewhere may not ask desk for anything: it is of another domain"


def test_the_sentence_names_the_rule_that_is_missing() -> None:
    policy = Policy(rules=(Rule(who=("ann@here",)),))
    assert policy.judge(saying(BOB, tags=("when", "add"))).why_not == (
        "bob@elsewhere may not send request to desk: no rule allows it; it takes one with "
        'who = ["bob@elsewhere"], receivers = ["desk"], acts = ["request"], protocols = ["fipa-request"], '
        'actions = ["add"]'
    )
    assert policy.judge(saying(BOB, act=None, protocol=None, tags=())).why_not == (
        "bob@elsewhere may not send this to desk: no rule allows it; it takes one with "
        'who = ["bob@elsewhere"], receivers = ["desk"]'
    )


def test_a_rule_that_the_sentence_names_would_allow_it() -> None:
    rule = Rule(
        who=("bob@elsewhere",),
        receivers=frozenset({"desk@here"}),
        acts=frozenset({Performative.REQUEST}),
        protocols=frozenset({"fipa-request"}),
        actions=frozenset({"add"}),
    )
    assert is_allowed(rule, saying(BOB, tags=("when", "add")))


def test_a_signature_is_asked_for_unless_a_rule_allows_it_without() -> None:
    signed = Rule(who=("ann@here",), require_signature=True)
    free = Rule(who=("*",), actions=frozenset({"half"}))
    policy = Policy(rules=(signed, free))
    assert policy.judge(saying()).is_to_be_signed
    assert not policy.judge(saying(tags=("half",))).is_to_be_signed
    assert policy.wants_signatures
    assert policy.is_to_be_signed(ANN, DESK, "fipa-request")
    assert not policy.is_to_be_signed(BOB, DESK, "fipa-request")
    assert Policy(rules=(free,), require_signature=True).judge(saying(tags=("half",))).is_to_be_signed
    assert not Policy(rules=(free,)).wants_signatures


def test_what_goes_on_is_signed_where_its_protocol_asks_for_it() -> None:
    rule = Rule(who=("*",), protocols=frozenset({"fipa-contract-net"}), require_signature=True)
    policy = Policy(rules=(Rule(who=("*",)), rule))
    assert policy.is_to_be_signed(ANN, DESK, "fipa-contract-net")
    assert not policy.is_to_be_signed(ANN, DESK, "fipa-request")
    assert policy.is_to_be_signed(ANN, DESK)


@pytest.mark.parametrize("text", ["*", "*@here", "ann@here", "ann@here.example", "a.b-c@localhost"])
def test_what_is_a_pattern(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "ann", "@", "@office", "ann@", "*@*", "ann@*", "a*@here", "ann@here/1", "a/b@here", "a b@here",
        "**", "*@", "a@b@c",
    ],
)  # fmt: skip
def test_what_is_no_pattern(text: str) -> None:
    assert not is_pattern(text)


@pytest.mark.parametrize(
    ("content", "tags"),
    [
        ('{"add": {"a": 1}}', ("add",)),
        ('{"when": {"action": {"content": {"add": {}}}, "condition": {}}}', ("when", "add")),
        ('{"auction-started": {"lot": {"content": {"painting": {}}}}}', ("auction-started", "painting")),
        ('{"sale": {"lot": {"content": {"painting": {}}}, "price": 1}}', ("sale", "painting")),
        ('{"proxy": {"template": {}, "message": {"content": {"add": {}}}}}', ("proxy", "add")),
        ('{"when": {"action": {"content": {"add": {}, "half": {}}}}}', ("when",)),
        ('{"when": {"action": 1}}', ("when",)),
        ('{"when": {}}', ("when",)),
        ('{"add": {"action": {"content": {"half": {}}}}}', ("add",)),
        ("no JSON", ()),
        (None, ()),
        ('{"a": {}, "b": {}}', ()),
    ],
)  # fmt: skip
def test_what_a_message_is_about(content: str | None, tags: tuple[str, ...]) -> None:
    assert tags_of(AclMessage(performative=Performative.REQUEST, content=content)) == tags


# -- a mailroom that obeys -------------------------------------------------------------------


async def add(action: Add, task: Participation) -> Answer:
    """Add at once."""
    return Sum(value=action.a + action.b)


async def offer(action: Add, task: Participation) -> Answer:
    """Offer to add."""
    return Price(amount=1)


class Room:
    """A mailroom under a policy, and what was heard in it."""

    def __init__(self, *rules: Rule, **policy: Any) -> None:
        self.heard: list[Half] = []
        self.offered: list[object] = []
        self.facts: list[Any] = []
        handlers = Handlers(
            on={Add: add}, bids={Add: offer}, hears={Half: lambda half, _peer: self.heard.append(half)}
        )
        authority = Authority(ME, Policy(rules=rules, **policy), hook=self.facts.append)
        self.scene = Scene(handlers, authority=authority, otherwise=self._offer)

    def _offer(self, stanza: object) -> bool:
        self.offered.append(stanza)
        return True


@pytest.fixture
async def room(request: pytest.FixtureRequest) -> AsyncIterator[Room]:
    """Give a mailroom whose rules the test has named."""
    room = Room(*request.param)
    yield room
    await room.scene.close()


def rules(*given: Rule) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("room", [given], indirect=True)


def asks(act: Performative = Performative.REQUEST, **parameters: Any) -> AclMessage:
    fields = {"content": '{"add": {"a": 1, "b": 2}}', "conversation_id": "c1", "protocol": "fipa-request"}
    return AclMessage(performative=act, **{**fields, **parameters})


def cause(answer: AclMessage) -> str:
    reason = SUMS.parse(answer.content)
    assert isinstance(reason, Reason)
    return reason.cause


@rules(Rule(who=("ann@here",), actions=frozenset({"add"})))
async def test_what_a_rule_allows_is_done_and_the_rest_is_refused_and_counted(room: Room) -> None:
    (answer,) = await room.scene.hear(asks(), ANN)
    assert answer.performative is Performative.INFORM
    (answer,) = await room.scene.hear(asks(conversation_id="c2"), BOB)
    assert (answer.performative, cause(answer)) == (Performative.REFUSE, Cause.UNAUTHORISED)
    (fact,) = [each for each in room.scene.facts if isinstance(each, ConversationRefused)]
    assert (fact.peer, fact.cause) == ("bob@elsewhere", "unauthorised")
    assert fact.text == SUMS.parse(answer.content).text  # type: ignore[attr-defined]


@rules(Rule(who=("ann@here",), actions=frozenset({"half"})))
async def test_whoever_may_not_ask_does_not_learn_what_can_be_read_here(room: Room) -> None:
    (answer,) = await room.scene.hear(asks(ontology="foreign/1.0"), ANN)
    assert (answer.performative, cause(answer)) == (Performative.REFUSE, Cause.UNAUTHORISED)
    assert room.offered == []


@rules(Rule(who=("*",), protocols=frozenset({"fipa-request"})))
async def test_a_request_without_protocol_is_a_fipa_request(room: Room) -> None:
    (answer,) = await room.scene.hear(asks(protocol=None), ANN)
    assert answer.performative is Performative.INFORM


@rules(Rule(who=("*",), protocols=frozenset({OUTSIDE})))
async def test_a_protocol_that_there_is_not_is_none_outside_any(room: Room) -> None:
    await room.scene.hear(asks(Performative.QUERY_IF, protocol="mine"), ANN)
    assert room.offered == []
    await room.scene.hear(asks(Performative.QUERY_IF, protocol=None), ANN)
    assert len(room.offered) == 1


@rules(Rule(who=("ann@here",), acts=frozenset({Performative.INFORM})))
async def test_news_outside_any_protocol_is_subject_to_it(room: Room) -> None:
    half = {"content": '{"half": {"done": 0.5}}', "protocol": None, "conversation_id": None}
    assert await room.scene.hear(asks(Performative.INFORM, **half), ANN) == []
    (answer,) = await room.scene.hear(asks(Performative.INFORM, **half), BOB)
    assert (answer.performative, cause(answer)) == (Performative.NOT_UNDERSTOOD, Cause.UNAUTHORISED)
    assert len(room.heard) == 1


@rules(Rule(who=("ann@here",)))
async def test_the_end_of_others_conversation_is_heard_of_those_that_may_speak(room: Room) -> None:
    ended = asks(Performative.INFORM, content='{"half": {"done": 0.5}}', in_reply_to="r1")
    assert await room.scene.hear(ended, BOB) == []
    assert (room.heard, room.offered) == ([], [])
    assert await room.scene.hear(ended, ANN) == []
    assert len(room.heard) == 1


@rules(Rule(who=("ann@here",)))
async def test_plain_behaviours_get_nothing_that_is_not_allowed(room: Room) -> None:
    outside = asks(Performative.QUERY_IF, protocol=None)
    await room.scene.hear(outside, BOB)
    await room.scene.hear_stanza("<message><body>hello</body></message>", BOB)
    assert room.offered == []
    await room.scene.hear(outside, ANN)
    await room.scene.hear_stanza("<message><body>hello</body></message>", ANN)
    assert len(room.offered) == 2


@rules(Rule(who=("ann@here",)))
async def test_two_that_may_not_speak_to_each_other_find_an_end(room: Room) -> None:
    for act in Performative:
        answers = await room.scene.hear(asks(act, protocol=None, conversation_id=None, content=None), BOB)
        for answer in answers:
            last = answer.model_copy(update={"sender": None})
            replies = await room.scene.hear(last, BOB)
            assert {each.performative for each in replies} <= {Performative.NOT_UNDERSTOOD}
            for reply in replies:
                assert await room.scene.hear(reply.model_copy(update={"sender": None}), BOB) == []


@rules(Rule(who=("bob@elsewhere",)))
async def test_answers_to_us_need_no_rule_and_notices_do(room: Room) -> None:
    mailroom = room.scene.mailroom
    seat = mailroom.open(REQUEST, asks(reply_with="r1"), ANN)
    notice = asks(
        Performative.INFORM,
        content='{"half": {"done": 0.5}}',
        protocol=None,
        conversation_id=None,
        user_parameters={ABOUT: "c1"},
    )
    assert await room.scene.hear(notice, ANN) == []
    assert not seat.has_steps
    (fact,) = [each for each in room.facts if isinstance(each, MessageDisbelieved)]
    assert (fact.peer, fact.cause) == ("ann@here", "unauthorised")
    await room.scene.hear(asks(Performative.AGREE, in_reply_to="r1", content=None), ANN)
    assert seat.has_steps


@rules(Rule(who=("ann@here",), actions=frozenset({"add"}), acts=frozenset({Performative.CFP})))
async def test_a_further_round_may_not_call_for_something_else(room: Room) -> None:
    net = {"protocol": "fipa-iterated-contract-net", "conversation_id": "c1"}
    (proposal,) = await room.scene.hear(asks(Performative.CFP, **net), ANN)
    assert proposal.performative is Performative.PROPOSE
    named = {**net, "in_reply_to": proposal.reply_with}
    assert await room.scene.hear(asks(Performative.CFP, content='{"half": {}}', **named), ANN) == []
    (fact,) = [each for each in room.facts if isinstance(each, MessageDisbelieved)]
    assert 'actions = ["half"]' in fact.text
    (again,) = await room.scene.hear(asks(Performative.CFP, **named), ANN)
    assert again.performative is Performative.PROPOSE
    accepted = asks(Performative.ACCEPT_PROPOSAL, content=None, **{**net, "in_reply_to": again.reply_with})
    (result,) = await room.scene.hear(accepted, ANN)
    assert result.performative is Performative.INFORM
