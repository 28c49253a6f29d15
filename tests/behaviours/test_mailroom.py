"""`behaviours.mailroom` over a connection in memory: what is said to whatever comes in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from time import thread_time
from typing import Any
from xml.etree import ElementTree

import pytest

from behaviours import complaints, mailroom, seating, wire
from behaviours.authorising import Authority
from behaviours.delivery import Undelivered
from behaviours.events import (
    ConversationEnded,
    DuplicateDropped,
    HandlerFailed,
    MessageNotUnderstood,
    MessageUndelivered,
    OutOfSequence,
)
from behaviours.handlers import Handlers
from behaviours.outcomes import Answer
from behaviours.participating import ABOUT, Participation
from behaviours.wire import Bounced, Received
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason
from ontology.errors import Cause
from protocols.request import REQUEST
from protocols.table import Role
from resilience.dead_letters import ORIGINAL_LIMIT, DeadLetter
from tests.behaviours.fakes import ME, PEER, Scene, element, turns
from tests.behaviours.samples import SUMS, Add, Half, Price, Sum
from tests.conftest import ManualClock

STRANGER = AgentIdentifier.of("stranger@elsewhere/1")


async def add(action: Add, task: Participation) -> Answer:
    """Add at once."""
    return Sum(value=action.a + action.b)


async def offer(action: Add, task: Participation) -> Answer:
    """Offer to add."""
    return Price(amount=1)


HANDLERS = Handlers(on={Add: add}, bids={Add: offer})


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Any:
    """Nothing that a peer writes makes asyncio or SPADE complain."""
    yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene(HANDLERS)
    yield scene
    await scene.close()


def message(performative: Performative = Performative.REQUEST, **parameters: Any) -> AclMessage:
    """Make a message of the peer."""
    return AclMessage(performative=performative, **parameters)


def request(number: int = 1, **parameters: Any) -> AclMessage:
    """Make a request of the peer."""
    fields = {
        "content": SUMS.render(Add(a=number, b=1)),
        "protocol": "fipa-request",
        "conversation_id": f"c{number}",
        "reply_with": f"r{number}",
        "ontology": "sums",
        **parameters,
    }
    return message(**fields)


def told(answer: AclMessage) -> Reason:
    """The reason in an answer."""
    reason = SUMS.parse(answer.content)
    assert isinstance(reason, Reason)
    assert "\n" not in reason.text
    assert reason.text
    return reason


async def answers_well(scene: Scene, number: int = 900) -> bool:
    """Whether a good request is still answered."""
    (answer,) = await scene.hear(request(number))
    return SUMS.parse(answer.content) == Sum(value=number + 1)


async def test_a_request_is_answered_as_fipa_asks(scene: Scene) -> None:
    (answer,) = await scene.hear(request())
    assert answer.performative is Performative.INFORM
    assert (answer.conversation_id, answer.in_reply_to, answer.protocol) == ("c1", "r1", "fipa-request")
    assert scene.transport.sent[0].startswith('<message type="chat" to="peer@here/1"')


async def test_a_request_without_protocol_or_conversation_is_served_all_the_same(scene: Scene) -> None:
    (answer,) = await scene.hear(message(content='{"add": {}}'))
    assert SUMS.parse(answer.content) == Sum(value=3)
    assert answer.conversation_id is None


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("not json", Cause.UNRECOGNISED_VALUE),
        ("{", Cause.UNRECOGNISED_VALUE),
        ("[]", Cause.UNRECOGNISED_VALUE),
        ('{"add": 1}', Cause.UNRECOGNISED_VALUE),
        ('{"add": {"a": "many"}}', Cause.UNSUPPORTED_VALUE),
        ('{"add": {"c": 1}}', Cause.UNEXPECTED_ARGUMENT),
        ('{"forward": {}}', Cause.MISSING_ARGUMENT),
        ('{"fly": {}}', Cause.UNSUPPORTED_ACT),
        (None, Cause.MISSING_ARGUMENT),
        ("[" * 100_000, Cause.UNRECOGNISED_VALUE),
        ("x" * 5_000_000, Cause.UNSUPPORTED_VALUE),
    ],
)
@pytest.mark.parametrize("ontology", ["sums/1.0", None])
async def test_content_that_does_not_fit_is_not_understood(
    scene: Scene,
    content: str | None,
    cause: Cause,
    ontology: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "STANZA_LIMIT", 10_000_000)
    (answer,) = await scene.hear(request(content=content, ontology=ontology))
    assert answer.performative is Performative.NOT_UNDERSTOOD
    assert told(answer).cause == cause
    assert (answer.conversation_id, answer.in_reply_to) == ("c1", "r1")
    assert [fact.cause for fact in scene.facts if isinstance(fact, MessageNotUnderstood)] == [cause]
    assert await answers_well(scene)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"ontology": "music"}, "ontology 'music' is not spoken here; sums/1.2 are"),
        ({"ontology": "sums/2.0"}, "ontology 'sums/2.0' is not spoken here"),
        ({"language": "fipa-sl"}, "only json is read here"),
        ({"protocol": "fipa-chat"}, "protocol 'fipa-chat' is not spoken here; fipa-request"),
    ],
)
async def test_what_is_not_spoken_here_is_named(scene: Scene, parameters: dict[str, Any], said: str) -> None:
    (answer,) = await scene.hear(request(**parameters))
    assert answer.performative is Performative.NOT_UNDERSTOOD
    assert said in told(answer).text
    assert await answers_well(scene)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("", Cause.MISSING_PARAMETER),
        ("good morning", Cause.MISSING_PARAMETER),
        ("y" * 5_000_000, Cause.MISSING_PARAMETER),
        ('{"performative": "shout"}', Cause.UNSUPPORTED_ACT),
        ('{"performative": ' + "[" * 100_000, Cause.UNRECOGNISED_VALUE),
        ('{"performative": "inform", "content": ' + "[" * 950 + "]" * 950 + "}", None),
    ],
)
async def test_what_is_no_acl_message_is_not_understood_and_kept(
    scene: Scene, body: str, cause: Cause | None
) -> None:
    answers = await scene.hear_stanza(f"<message type='chat'><body>{body}</body></message>")
    assert len(answers) <= 1
    if cause is not None:
        assert answers[0].performative is Performative.NOT_UNDERSTOOD
        assert told(answers[0]).cause == cause
        (letter,) = scene.letters.list("me@here")
        assert letter.original == body[:ORIGINAL_LIMIT]
        assert letter.is_inbound
    assert await answers_well(scene)


async def test_an_act_that_does_not_exist_is_answered_in_its_conversation(scene: Scene) -> None:
    stanza = (
        '<message><body>x</body><x xmlns="jabber:x:data"><title>spade:x:metadata</title>'
        '<field var="performative"><value>shout</value></field>'
        '<field var="conversation-id"><value>c7</value></field>'
        '<field var="reply-with"><value>r7</value></field></x></message>'
    )
    (answer,) = await scene.hear_stanza(stanza)
    assert told(answer).cause == Cause.UNSUPPORTED_ACT
    assert (answer.conversation_id, answer.in_reply_to) == ("c7", "r7")


async def test_a_stranger_is_refused(scene: Scene) -> None:
    (answer,) = await scene.hear(request(), STRANGER)
    assert answer.performative is Performative.REFUSE
    assert told(answer).cause == Cause.UNAUTHORISED
    assert told(answer).text == "stranger@elsewhere may not ask me for anything: it is of another domain"
    assert await answers_well(scene)


async def test_an_action_that_nobody_does_here_is_refused_with_what_is_done(scene: Scene) -> None:
    (answer,) = await scene.hear(request(content='{"unknown": {}}'))
    assert answer.performative is Performative.REFUSE
    assert told(answer).text == "unknown is an action that me does not do; it does add"
    (answer,) = await scene.hear(request(2, content='{"sum": {"value": 1}}'))
    assert "a statement, not an action" in told(answer).text


async def test_a_request_that_comes_after_its_reply_by_is_refused_and_not_done(
    manual_clock: ManualClock,
) -> None:
    scene = Scene(HANDLERS, clock=manual_clock)
    late = request(reply_by=manual_clock.now - timedelta(seconds=1))
    (answer,) = await scene.hear(late)
    assert answer.performative is Performative.REFUSE
    assert told(answer).cause == Cause.LATE
    assert "our clocks differ" in told(answer).text
    stanza = (
        '<message><delay xmlns="urn:xmpp:delay"/><body>{"performative": "request", "content": {"add": {}}, '
        '"reply-by": "2020-01-01T00:00:00Z"}</body></message>'
    )
    (answer,) = await scene.hear_stanza(stanza)
    assert "the server stored it" in told(answer).text
    await scene.close()


async def test_a_second_copy_is_dropped_and_a_new_message_under_an_old_number_is_not(scene: Scene) -> None:
    body = '<body>{"performative": "request", "content": {"add": {"a": %d}}}</body>'
    stanza = f'<message id="1">{body % 1}</message>'
    assert len(await scene.hear_stanza(stanza)) == 1
    assert await scene.hear_stanza(stanza) == []
    assert [type(fact) for fact in scene.facts[-1:]] == [DuplicateDropped]
    assert len(await scene.hear_stanza(stanza, AgentIdentifier.of("peer@here/2"))) == 1
    assert len(await scene.hear_stanza(f'<message id="1">{body % 2}</message>')) == 1
    without_id = f"<message>{body % 1}</message>"
    assert len(await scene.hear_stanza(without_id) + await scene.hear_stanza(without_id)) == 2


async def test_an_act_out_of_sequence_is_answered_once_and_then_only_counted(scene: Scene) -> None:
    await scene.hear(request())
    (answer,) = await scene.hear(request(reply_with="again"))
    assert answer.performative is Performative.NOT_UNDERSTOOD
    assert told(answer).cause == Cause.UNEXPECTED_ACT
    assert "out of sequence in state DONE of fipa-request" in told(answer).text
    assert await scene.hear(request(reply_with="and again")) == []
    assert len([fact for fact in scene.facts if isinstance(fact, OutOfSequence)]) == 2


async def test_a_cancel_that_crosses_the_result_is_answered_with_failure(scene: Scene) -> None:
    await scene.hear(request())
    (answer,) = await scene.hear(
        request(reply_with="x").model_copy(update={"performative": Performative.CANCEL})
    )
    assert answer.performative is Performative.FAILURE
    assert answer.in_reply_to == "x"
    assert told(answer).text == "it was finished before the cancel came"


@pytest.mark.parametrize("act", [act for act in Performative if act not in {"request", "cfp"}])
@pytest.mark.parametrize(
    "protocol", ["fipa-request", "fipa-contract-net", "fipa-iterated-contract-net", None]
)
async def test_an_act_that_belongs_to_no_conversation(
    scene: Scene, act: Performative, protocol: str | None
) -> None:
    answers = await scene.hear(
        message(
            act, protocol=protocol, conversation_id="c9", reply_with="r9", content='{"sum": {"value": 1}}'
        )
    )
    is_answer = act in {"agree", "refuse", "propose", "inform", "failure", "not-understood"}
    if act == "propose" and protocol is not None and protocol.endswith("contract-net"):
        assert [answer.performative for answer in answers] == [Performative.REJECT_PROPOSAL]
        assert told(answers[0]).cause == Cause.LATE
    elif act == "not-understood" or (is_answer and protocol is not None):
        assert answers == []
    else:
        assert [answer.performative for answer in answers] == [Performative.NOT_UNDERSTOOD]
        assert told(answers[0]).cause == Cause.UNEXPECTED_ACT
    assert [fact.performative for fact in scene.facts if isinstance(fact, OutOfSequence)] == [act.value]


@pytest.mark.parametrize("protocol", ["fipa-english-auction", "fipa-dutch-auction"])
async def test_a_bid_for_an_auction_that_is_forgotten_is_dropped(scene: Scene, protocol: str) -> None:
    # A bidder that has been told of the end expects no rejection any more.
    bid = message(Performative.PROPOSE, protocol=protocol, conversation_id="c9", reply_with="r9")
    assert await scene.hear(bid) == []
    assert len([fact for fact in scene.facts if isinstance(fact, OutOfSequence)]) == 1


async def test_notifications_for_a_subscription_that_is_forgotten_are_stopped_once(scene: Scene) -> None:
    def notification(**parameters: Any) -> AclMessage:
        fields = {"protocol": "fipa-subscribe", "conversation_id": "c9", "content": '{"sum": {"value": 1}}'}
        return message(Performative.INFORM, **{**fields, **parameters})

    (stop,) = await scene.hear(notification())
    assert (stop.performative, stop.conversation_id) == (Performative.CANCEL, "c9")
    assert stop.protocol == "fipa-subscribe"
    done = {"content": '{"done": {}}', "in_reply_to": stop.reply_with}
    for parameters in ({}, {"reply_with": "r9"}, done):
        assert await scene.hear(notification(**parameters)) == []
    assert len([fact for fact in scene.facts if isinstance(fact, OutOfSequence)]) == 3
    assert len(await scene.hear(notification(conversation_id="c10"))) == 1
    assert len(await scene.hear(notification(), AgentIdentifier.of("other@here/1"))) == 1
    assert await scene.hear(notification(conversation_id="c11", content='{"done": {}}')) == []


async def test_no_more_conversations_are_remembered_as_stopped_than_peers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complaints, "REMEMBERED_PEERS", 5)
    for number in range(20):
        late = message(Performative.INFORM, protocol="fipa-subscribe", conversation_id=f"c{number}")
        assert len(await scene.hear(late)) == 1
    assert len(scene.mailroom._complaints._stopped) == 5


async def test_a_stranger_s_agree_stops_nothing(scene: Scene) -> None:
    late = message(Performative.AGREE, protocol="fipa-request", conversation_id="c9")
    assert await scene.hear(late) == []


async def test_a_not_understood_is_never_answered(scene: Scene) -> None:
    for fields in (
        {},
        {"content": "nonsense"},
        {"protocol": "fipa-chat", "conversation_id": "c"},
        {"protocol": "fipa-request", "conversation_id": "c"},
        {"protocol": "fipa-brokering", "conversation_id": "c"},
        {"user_parameters": {ABOUT: "c"}},
    ):
        assert await scene.hear(message(Performative.NOT_UNDERSTOOD, **fields)) == []


async def test_two_machines_that_do_not_understand_each_other_fall_silent_for_a_minute(
    scene: Scene,
) -> None:
    answers = [await scene.hear_stanza("<message><body>what?</body></message>") for _each in range(15)]
    assert sum(map(len, answers)) == complaints.A_MINUTE
    other = AgentIdentifier.of("other@here/1")
    assert len(await scene.hear_stanza("<message><body>what?</body></message>", other)) == 1
    told = scene.mailroom._complaints._told
    told[PEER.name] = (told[PEER.name][0] - 61, told[PEER.name][1])  # a minute passes
    assert len(await scene.hear_stanza("<message><body>what?</body></message>")) == 1


async def test_peers_that_complain_are_not_remembered_without_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(complaints, "REMEMBERED_PEERS", 5)
    for number in range(20):
        peer = AgentIdentifier.of(f"peer{number}@here/1")
        assert len(await scene.hear_stanza("<message><body>what?</body></message>", peer)) == 1
    assert len(scene.mailroom._complaints._told) <= 5


async def test_a_bounce_ends_the_conversation_and_is_kept_as_a_dead_letter(scene: Scene) -> None:
    seat = scene.mailroom.open(REQUEST, request(), PEER)
    await turns()
    stanza = scene.transport.sent[0]
    error = (
        '<error type="cancel"><item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></message>'
    )
    returned = stanza.replace('type="chat"', 'type="error"').replace("</message>", error)
    assert await scene.hear_stanza(returned) == []
    assert seat.is_over
    (letter,) = scene.letters.list()
    assert (letter.peer, letter.is_inbound, letter.cause) == ("peer@here", False, "unreachable")
    assert '"performative": "request"' in letter.original
    assert [fact.state for fact in scene.facts if isinstance(fact, ConversationEnded)] == ["UNREACHABLE"]
    assert len([fact for fact in scene.facts if isinstance(fact, MessageUndelivered)]) == 1


async def test_a_message_that_cannot_be_sent_opens_no_conversation_and_leaves_no_trace() -> None:
    traced: list[AclMessage] = []
    scene = Scene(HANDLERS, trace=lambda each, _peer: traced.append(each))
    with pytest.raises(ValueError, match=r"U\+0001"):
        scene.mailroom.open(REQUEST, request(content="\x01"), PEER)
    assert scene.mailroom.conversations() == []
    assert traced == []
    await scene.close()


async def test_a_trace_is_in_causal_order_though_the_answer_comes_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traced: list[AclMessage] = []
    scene = Scene(HANDLERS, trace=lambda each, _peer: traced.append(each))
    agree = message(Performative.AGREE, protocol="fipa-request", conversation_id="c1", in_reply_to="r1")

    def answer(_stanza: str) -> None:
        scene.mailroom.take(element(wire.render(agree, "me@here/1", "a1"), PEER.jid))

    monkeypatch.setattr(scene.transport, "hand_over", answer)
    scene.mailroom.open(REQUEST, request(), PEER)
    await turns()
    assert [each.performative.value for each in traced] == ["request", "agree"]
    await scene.close()


async def test_someone_else_cannot_speak_in_a_conversation(scene: Scene) -> None:
    seat = scene.mailroom.open(REQUEST, request(), PEER)
    forged = message(
        Performative.INFORM, protocol="fipa-request", conversation_id="c1", content='{"sum": {"value": 666}}'
    )
    assert await scene.hear(forged, AgentIdentifier.of("liar@here/1")) == []
    assert not seat.is_over
    assert [fact.peer for fact in scene.facts if isinstance(fact, OutOfSequence)] == ["liar@here"]


async def test_an_initiator_counts_and_drops_what_is_out_of_sequence(scene: Scene) -> None:
    seat = scene.mailroom.open(REQUEST, request(), PEER)
    for act in (Performative.PROPOSE, Performative.ACCEPT_PROPOSAL):
        wrong = message(act, protocol="fipa-request", conversation_id="c1")
        assert await scene.hear(wrong) == []
    wrong_reply = message(
        Performative.AGREE, protocol="fipa-request", conversation_id="c1", in_reply_to="another"
    )
    assert await scene.hear(wrong_reply) == []
    assert len([fact for fact in scene.facts if isinstance(fact, OutOfSequence)]) == 3
    assert not seat.is_over


async def test_a_listener_that_raises_does_not_deafen_the_agent() -> None:
    def hear(notice: Half, sender: AgentIdentifier) -> None:
        raise RuntimeError("deaf")

    scene = Scene(Handlers(on={Add: add}, hears={Half: hear}))
    assert await scene.hear(message(Performative.INFORM, content='{"half": {"done": 1}}')) == []
    assert [fact.text for fact in scene.facts if isinstance(fact, HandlerFailed)] == ["RuntimeError: deaf"]
    (letter,) = scene.letters.list()
    assert "half" in letter.original
    assert await answers_well(scene)
    await scene.close()


async def test_our_own_mistake_at_a_request_is_answered_with_failure() -> None:
    class Odd(Authority):
        def objection(self, received: Received, peer: AgentIdentifier, protocol: object) -> str | None:
            if peer.name == "peer@here":
                return None
            raise KeyError(peer.name)

    scene = Scene(HANDLERS, authority=Odd(ME))
    (answer,) = await scene.hear(request(), AgentIdentifier.of("odd@here/1"))
    assert answer.performative is Performative.FAILURE
    assert told(answer).cause == Cause.INTERNAL_ERROR
    assert await answers_well(scene)
    await scene.close()


async def test_a_stanza_that_breaks_the_reader_is_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(stanza: object) -> None:
        raise LookupError("no idea")

    with monkeypatch.context() as patch:
        patch.setattr(mailroom, "parse", break_down)
        assert await scene.hear(request()) == []
    assert scene.letters.list()[0].text == "LookupError: no idea"
    assert await answers_well(scene)


async def test_a_dead_letter_that_cannot_be_kept_is_a_fact_and_stops_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(letter: DeadLetter) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(scene.letters, "add", add)
    (answer,) = await scene.hear_stanza("<message><body>hello</body></message>")
    assert answer.performative is Performative.NOT_UNDERSTOOD
    assert [fact.text for fact in scene.facts if isinstance(fact, HandlerFailed)] == [
        "a dead letter could not be kept: OSError: disk full"
    ]
    seat = scene.mailroom.open(REQUEST, request(), PEER)
    await turns()
    scene.delivery.bounced(
        Bounced(stanza_id=_id(scene.transport.sent[-1]), peer=PEER.name, condition="gone", text="")
    )
    assert seat.is_over
    assert await answers_well(scene)


def _id(stanza: str) -> str:
    return stanza.partition(' id="')[2].partition('"')[0]


async def test_what_nobody_wants_is_offered_to_others_first() -> None:
    offered: list[Any] = []

    def otherwise(stanza: Any) -> bool:
        offered.append(stanza)
        return True

    scene = Scene(HANDLERS, otherwise=otherwise)
    for fields in (
        {"content": "no json"},
        {"content": '{"unknown": {}}'},
        {"performative": Performative.QUERY_IF},
        {"protocol": "fipa-chat"},
    ):
        assert await scene.hear(request().model_copy(update=fields)) == []
    assert await scene.hear_stanza("<message><body>hello</body></message>") == []
    assert len(offered) == 5
    assert scene.letters.list() == ()
    assert len(await scene.hear(request())) == 1
    await scene.close()


async def test_a_notice_goes_to_its_conversation_or_nowhere(scene: Scene) -> None:
    seat = scene.mailroom.open(REQUEST, request(), PEER)
    notice = message(Performative.INFORM, content='{"half": {"done": 0.5}}', user_parameters={ABOUT: "c1"})
    assert await scene.hear(notice) == []
    assert [getattr(step, "term", None) for step in seat._steps] == [Half(done=0.5)]
    unknown = notice.model_copy(update={"user_parameters": {ABOUT: "c2"}})
    assert await scene.hear(unknown) == []
    (answer,) = await scene.hear(notice.model_copy(update={"content": "half"}))
    assert answer.performative is Performative.NOT_UNDERSTOOD


async def test_ended_conversations_are_forgotten_after_a_while(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seating, "LINGER", 0.01)
    await scene.hear(request())
    assert len(list(scene.mailroom._seats)) == 1
    await asyncio.sleep(0.03)
    assert not list(scene.mailroom._seats)
    assert not scene.mailroom._seats._timers


async def test_live_conversations_are_listed_oldest_first(manual_clock: ManualClock) -> None:
    scene = Scene(HANDLERS, clock=manual_clock)
    for number in (2, 1, 3):
        scene.mailroom.open(REQUEST, request(number), PEER)
        manual_clock.advance(1)
    assert [each.conversation_id for each in scene.mailroom.conversations()] == ["c2", "c1", "c3"]
    await scene.close()


async def test_among_ten_thousand_open_conversations_a_message_finds_its_own_as_quickly() -> None:
    def crowd(conversations: int) -> tuple[Scene, list[Any]]:
        """Two hundred stanzas, each for another one of so many conversations."""
        scene = Scene()
        for number in range(conversations):
            scene.mailroom.open(REQUEST, request(number), PEER)
        assert len(scene.mailroom.conversations()) == conversations
        chosen = range(0, conversations, conversations // 200)
        agrees = [message(Performative.AGREE, conversation_id=f"c{number}") for number in chosen]
        return scene, [element(wire.render(each, "me@here/1", ""), PEER.jid) for each in agrees]

    def seconds(scene: Scene, stanzas: list[Any]) -> float:
        """Processor time of this thread to route them: what else runs on the machine does not count."""
        started = thread_time()
        for stanza in stanzas:
            scene.mailroom.take(stanza)
        return thread_time() - started

    few, many = crowd(200), crowd(10_000)
    turns_of_each = [(seconds(*few), seconds(*many)) for _round in range(10)]
    best_of_few, best_of_many = map(min, zip(*turns_of_each, strict=True))
    # Even copying a dictionary of them for each message takes four times as long, and a search twenty times.
    assert best_of_many < 2 * best_of_few
    for scene, _stanzas in (few, many):
        await scene.close()


async def test_closing_tells_those_who_wait_and_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    started = asyncio.Event()
    ended: list[str] = []

    async def hold(action: Add, task: Participation) -> Answer:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")
        raise AssertionError

    scene = Scene(Handlers(on={Add: hold}))
    seat = scene.mailroom.open(REQUEST, request(), PEER)
    seat.watch()
    await scene.hear(request(2))
    await started.wait()
    await scene.close()
    assert "me was stopped" in str(await seat.step())
    assert ended == ["cleaned up"]
    assert asyncio.all_tasks() == before
    assert all(each.is_over for each in scene.mailroom._seats)
    result = await scene.delivery.send(message(receiver=(PEER,)))
    assert isinstance(result, Undelivered)


async def test_an_agent_may_speak_with_itself() -> None:
    scene = Scene(HANDLERS)
    myself = AgentIdentifier.of("me@here/1")
    seat = scene.mailroom.open(REQUEST, request(), myself)
    await turns()
    await scene.hear_stanza(scene.transport.sent[-1], myself)
    await scene.hear_stanza(scene.transport.sent[-1], myself)
    assert seat.conversation.state == "DONE"
    assert seat.conversation.role is Role.INITIATOR
    assert {each.is_over for each in scene.mailroom._seats} == {True}
    # Nothing of that is anybody's turn any more; it is counted.
    assert await scene.hear(request(), myself) == []
    await scene.close()


async def test_a_receipt_says_nothing(scene: Scene) -> None:
    scene.mailroom.take(ElementTree.fromstring('<message xmlns="jabber:client" from="peer@here/1"/>'))
    await turns()
    assert scene.facts == []
