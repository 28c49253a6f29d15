"""fipa-request between agents on real sockets, with peers that keep to the protocol and peers that do not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from behaviours import clocking, initiating, participating, watching, wire
from behaviours.connection import Life, XmppConnection
from behaviours.events import (
    ConversationEnded,
    ConversationOpened,
    DuplicateDropped,
    HandlerFailed,
    MessageReceived,
    MessageUndelivered,
    OutOfSequence,
)
from behaviours.handlers import on
from behaviours.outcomes import (
    Answer,
    Cancelled,
    Expired,
    Fail,
    Failed,
    NotUnderstood,
    Outcome,
    Refuse,
    Refused,
    Succeeded,
    sentence,
)
from behaviours.participating import Participation
from ontology.acl import AclMessage, Performative
from ontology.content import Done, Term
from ontology.errors import Cause
from resilience.journal import Policy
from resilience.memory import MemoryJournal
from society.xmpp_server import Limits, ScriptedFaults
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Forward, Half, Sum, Unknown
from tests.conftest import World, becomes

ASKER, ADDER = "asker@localhost", "adder@localhost"


def value(outcome: Outcome) -> float:
    """The sum that an outcome tells."""
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(outcome.result, Sum)
    return outcome.result.value


def why(outcome: Outcome, kind: type[Outcome] = Failed) -> tuple[str, str]:
    """Cause and text of an outcome of this kind."""
    assert isinstance(outcome, kind), outcome
    assert not isinstance(outcome, Succeeded | Cancelled)
    assert sentence(outcome) == outcome.reason.text
    return outcome.reason.cause, outcome.reason.text


def request(action: Term | None = None, **parameters: Any) -> AclMessage:
    """A puppet's request."""
    fields: dict[str, Any] = {
        "performative": Performative.REQUEST,
        "content": SUMS.render(action or Add(a=2, b=3)),
        "protocol": "fipa-request",
        "conversation_id": "c1",
        "reply_with": "r1",
        **parameters,
    }
    return AclMessage(**fields)


async def test_a_request_is_done(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    assert value(await asker.request(adder.me, Add(a=40, b=2))) == 42
    assert value(await asker.request(ADDER, Add(a=1, b=1))) == 2
    for agent, role in ((ADDER, "participant"), (ASKER, "initiator")):
        opened = world.of(ConversationOpened, agent=agent, role=role)
        ended = world.of(ConversationEnded, agent=agent, role=role, state="DONE")
        assert len(opened) == len(ended) == 2
        assert {each.conversation_id for each in opened} == {each.conversation_id for each in ended}


async def test_a_hundred_requests_at_once_are_not_mixed_up(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    outcomes = await asyncio.gather(*(asker.request(adder.me, Add(a=n, b=0)) for n in range(100)))
    assert [value(outcome) for outcome in outcomes] == list(range(100))


async def test_two_agents_of_one_process_share_nothing(world: World) -> None:
    seen: list[Any] = []

    class Keeper(Asker):
        @on(Add)
        async def add(self, action: Add, task: Participation) -> Answer:
            seen.append((action, task.message))
            return Sum(value=0)

    keeper, asker = await world.start(Keeper, "keeper"), await world.start(Asker, "asker")
    action = Add()
    await asker.request(keeper.me, action)
    ((received, message),) = seen
    assert received == action
    assert received is not action
    # It came over the socket: the server has stamped who sent it.
    assert message.sender is not None
    assert message.sender.jid.startswith("asker@localhost/")
    assert not asker.container.has_agent("keeper@localhost")


@pytest.mark.parametrize(
    ("manner", "kind", "cause", "text"),
    [
        ("refusing", Refused, "busy", "I am busy"),
        ("failing", Failed, "broken", "the abacus is broken"),
        ("raising", Failed, "internal-error", "adder could not finish add: KeyError: 'bead'"),
    ],
)
async def test_what_goes_wrong_is_told_with_the_reason(
    world: World, manner: str, kind: type[Outcome], cause: str, text: str
) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    assert why(await asker.request(adder.me, Add(manner=manner)), kind) == (cause, text)
    assert bool(world.of(HandlerFailed, agent=ADDER)) == (manner == "raising")
    assert value(await asker.request(adder.me, Add())) == 3


class Odd(Asker):
    """Answers what cannot be said."""

    answer: Any = None

    @on(Add)
    async def add(self, action: Add, task: Participation) -> Answer:
        """Answer."""
        if isinstance(self.answer, BaseException):
            raise self.answer
        answer: Answer = self.answer
        return answer


class Foreign(Done):
    """A term of no ontology."""


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "TypeError: the handler returned NoneType, not a term, Refuse or Fail"),
        ("sum", "the handler returned str"),
        (Foreign(), "Foreign is no term of the ontology"),
        (Fail("odd", "x" * 1_000_000), "bytes as a stanza, 1,000,000 are sent"),
        (Refuse("odd", "x" * 1_000_000), "bytes as a stanza, 1,000,000 are sent"),
        (ValueError("a\uffffb \ud800"), "ValueError: a\ufffdb \ufffd"),
        (asyncio.CancelledError(), "what it waited for was cancelled"),
    ],
)
async def test_whatever_a_handler_does_the_initiator_is_answered(
    world: World, answer: Any, told: str
) -> None:
    odd, asker = await world.start(Odd, "odd"), await world.start(Asker, "asker")
    odd.answer = answer
    cause, text = why(await asker.request(odd.me, Add()))
    assert cause == Cause.INTERNAL_ERROR
    assert told in text
    odd.answer = Sum(value=1)
    assert value(await asker.request(odd.me, Add())) == 1


async def test_an_action_that_the_agent_does_not_do_is_refused(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    cause, text = why(await asker.request(adder.me, Unknown()), Refused)
    assert cause == Cause.UNSUPPORTED_FUNCTION
    assert text == "unknown is an action that adder does not do; it does add, forward"


async def test_a_slow_handler_has_agreed_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participating, "AGREE_AFTER", 0.01)
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    silent = await Puppet.start(world, "puppet")
    asking = asyncio.ensure_future(asker.request(adder.me, Add(manner="holding"), reply_within=0.2))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    # A later reply-by has passed, so this one has as well; the agree has done away with it.
    assert isinstance(await asker.request(silent.jid, Add(), reply_within=0.2), Expired)
    adder.release.set()
    assert value(await asking) == 3


async def test_an_agent_agrees_before_the_reply_by_however_soon_that_is(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    assert participating.AGREE_AFTER > 0.3
    asking = asyncio.ensure_future(asker.request(adder.me, Add(manner="holding"), reply_within=0.3))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    adder.release.set()
    assert value(await asking) == 3


async def test_after_an_agree_unwillingness_is_a_failure(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(adder.me, Add(manner="unwilling later"), reply_within=0.2))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    adder.release.set()
    assert why(await asking) == ("busy", "I am busy")


async def test_notices_come_while_the_work_goes_on(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    notices: list[Term] = []
    noticed = asyncio.Event()

    def on_notice(notice: Term) -> None:
        notices.append(notice)
        noticed.set()

    asking = asyncio.ensure_future(asker.request(adder.me, Add(manner="agreeing"), on_notice=on_notice))
    await noticed.wait()
    adder.release.set()
    assert value(await asking) == 3
    assert notices == [Half(done=0.5)]
    assert len(world.of(MessageReceived, agent=ASKER, performative="agree")) == 1
    assert value(await asker.request(adder.me, Add(manner="telling"))) == 3  # to deaf ears


async def test_an_inform_outside_any_protocol_is_heard(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    await asker.inform(adder.me, Half(done=1))
    await world.fact(MessageReceived, agent=ADDER, performative="inform")
    assert adder.heard == [(Half(done=1), ASKER)]


async def test_no_answer_in_time_is_an_outcome(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    outcome = await asker.request(puppet.jid, Add(), reply_within=0.1)
    assert why(outcome, Expired) == (Cause.EXPIRED, "puppet@localhost did not answer in time")
    call = await puppet.hear(Performative.REQUEST)
    puppet.say(call.reply(Performative.INFORM, content='{"sum": {"value": 1}}'), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, performative="inform")
    await puppet.hears_nothing(asker.me)


async def test_whoever_agrees_too_late_is_told_to_stop_once(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    assert isinstance(await asker.request(puppet.jid, Add(), reply_within=0.05), Expired)
    call = await puppet.hear(Performative.REQUEST)
    puppet.say(call.reply(Performative.AGREE), asker.me)
    cancel = await puppet.hear(Performative.CANCEL)
    assert cancel.conversation_id == call.conversation_id
    puppet.say(call.reply(Performative.AGREE), asker.me)
    puppet.say(cancel.reply(Performative.FAILURE, content="too late"), asker.me)
    puppet.say(call.reply(Performative.INFORM, content='{"sum": {"value": 1}}'), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, count=3)
    assert len(world.of(MessageReceived, agent=ASKER)) == 4  # the answer to the cancel was expected
    await puppet.hears_nothing(asker.me)


async def test_no_result_in_time_after_an_agree_is_an_outcome(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(puppet.jid, Add(), result_within=0.1))
    call = await puppet.hear(Performative.REQUEST)
    puppet.say(call.reply(Performative.AGREE), asker.me)
    assert why(await asking, Expired)[0] == Cause.EXPIRED


@pytest.mark.parametrize("to", ["nobody@localhost", "someone@elsewhere"])
async def test_an_agent_that_is_not_there_is_reported_at_once(world: World, to: str) -> None:
    asker = await world.start(Asker, "asker")
    async with asyncio.timeout(2):
        cause, text = why(await asker.request(to, Add()))
    assert cause == Cause.UNREACHABLE
    assert text.startswith(to + ": ")
    assert world.of(MessageUndelivered, agent=ASKER, peer=to)
    assert asker.ports.dead_letters.list(ASKER)[0].peer == to


async def test_while_disconnected_a_request_fails_within_its_deadline(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    await world.xmpp.stop()
    await world.until(lambda: not asker.is_connected)
    loop = asyncio.get_running_loop()
    started = loop.time()
    cause, text = why(await asker.request(adder.me, Add(), reply_within=0.3))
    assert loop.time() - started < 0.4
    assert cause == Cause.UNREACHABLE
    assert "no connection to the server" in text


async def test_a_participant_asks_another_before_it_answers(world: World) -> None:
    await world.start(Adder, "second")
    first, asker = await world.start(Adder, "first"), await world.start(Asker, "asker")
    assert value(await asker.request(first.me, Forward(to="second@localhost"))) == 42
    assert "no such agent" in why(await asker.request(first.me, Forward(to="third@localhost")))[1]


async def test_an_agent_may_ask_itself(world: World) -> None:
    adder = await world.start(Adder, "adder")
    assert value(await adder.request(adder.me, Add())) == 3


# -- cancelling ----------------------------------------------------------------------------------


async def cancel_midway(world: World, manner: str) -> tuple[Adder, Asker, asyncio.Task[Outcome]]:
    """Cancel a request that is being worked on."""
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    asking = asyncio.create_task(asker.request(adder.me, Add(manner=manner)))
    await asyncio.wait_for(adder.started.wait(), 5)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    return adder, asker, asking


async def test_the_operator_is_told_where_a_handler_raised_and_the_peer_is_not(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    outcome = await asker.request(adder.me, Add(manner="raising"))
    failed = world.of(HandlerFailed, agent=ADDER)[0]
    assert re.fullmatch(r"samples\.py, line \d+, in add", failed.where)
    assert failed.traceback.rstrip().endswith("KeyError: 'bead'")
    assert "samples.py" not in why(outcome)[1]


async def test_whoever_works_too_long_is_told_to_stop(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    outcome = await asker.request(adder.me, Add(manner="agreeing"), result_within=0.1)
    assert isinstance(outcome, Expired)
    await asyncio.wait_for(adder.was_cancelled.wait(), 5)
    await world.fact(ConversationEnded, agent="adder@localhost", state="CANCELLED")
    await world.fact(ConversationEnded, agent="asker@localhost", state="CANCELLED")


async def test_cancelling_the_task_that_waits_cancels_the_work_at_the_other_end(world: World) -> None:
    adder, asker, _asking = await cancel_midway(world, "holding")
    await world.fact(ConversationEnded, agent=ASKER, state="CANCELLED")
    await world.fact(ConversationEnded, agent=ADDER, state="CANCELLED")
    assert adder.was_cancelled.is_set()
    answer = await world.fact(MessageReceived, agent=ASKER)
    assert answer.performative == "inform"
    assert value(await asker.request(adder.me, Add())) == 3


async def test_work_that_cannot_be_stopped_answers_the_cancel_with_failure(world: World) -> None:
    adder, asker, _asking = await cancel_midway(world, "stubborn")
    await world.fact(ConversationEnded, agent=ADDER, state="DONE")
    await world.fact(ConversationEnded, agent=ASKER, state="DONE")
    assert [fact.performative for fact in world.of(MessageReceived, agent=ASKER)] == ["inform", "failure"]
    assert adder.was_cancelled.is_set()
    assert value(await asker.request(adder.me, Add())) == 3


async def test_a_cancel_that_comes_when_all_is_done_is_answered_with_failure(world: World) -> None:
    adder, puppet = await world.start(Adder, "adder"), await Puppet.start(world, "puppet")
    puppet.say(request(), adder.me)
    await puppet.hear(Performative.INFORM)
    puppet.say(request(reply_with="r2").model_copy(update={"performative": Performative.CANCEL}), adder.me)
    assert "finished before the cancel" in (await puppet.hear_reason(Performative.FAILURE)).text


async def test_a_cancel_right_behind_the_request_is_confirmed(world: World) -> None:
    adder, puppet = await world.start(Adder, "adder"), await Puppet.start(world, "puppet")
    puppet.say(request(Add(manner="holding")), adder.me)
    puppet.say(request(reply_with="r2").model_copy(update={"performative": Performative.CANCEL}), adder.me)
    done = await puppet.hear(Performative.INFORM)
    assert (done.content, done.in_reply_to) == ('{"done":{}}', "r2")
    await world.fact(ConversationEnded, agent=ADDER, state="CANCELLED")


async def test_a_cancel_that_is_never_answered_is_let_go_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initiating, "CANCEL_WITHIN", 0.1)
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    asking = asyncio.create_task(asker.request(puppet.jid, Add()))
    await puppet.hear(Performative.REQUEST)
    asking.cancel()
    cancel = await puppet.hear(Performative.CANCEL)
    assert SUMS.parse(cancel.content) == Add()
    assert cancel.conversation_id is not None
    await world.fact(ConversationEnded, agent=ASKER, state="EXPIRED")
    with pytest.raises(asyncio.CancelledError):
        await asking


# -- peers that do not keep to the protocol ------------------------------------------------------


async def test_a_participant_answers_what_is_out_of_sequence_once(world: World) -> None:
    adder, puppet = await world.start(Adder, "adder"), await Puppet.start(world, "puppet")
    puppet.say(request(Add(manner="holding")), adder.me)
    await world.fact(ConversationOpened, agent=ADDER)
    for _again in range(3):
        puppet.say(request(Add(manner="holding")), adder.me)
    reason = await puppet.hear_reason(Performative.NOT_UNDERSTOOD)
    assert reason.cause == Cause.UNEXPECTED_ACT
    await world.fact(OutOfSequence, agent=ADDER, count=3)
    adder.release.set()
    await puppet.hear(Performative.INFORM)
    await puppet.hears_nothing(adder.me)


async def test_an_initiator_counts_and_drops_what_is_out_of_sequence(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(puppet.jid, Add()))
    call = await puppet.hear(Performative.REQUEST)
    for act in (Performative.PROPOSE, Performative.AGREE, Performative.AGREE, Performative.REFUSE):
        puppet.say(call.reply(act), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, count=3)
    puppet.say(call.reply(Performative.INFORM, content='{"sum": {"value": 1}}'), asker.me)
    assert value(await asking) == 1
    puppet.say(call.reply(Performative.INFORM, content='{"sum": {"value": 2}}'), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, count=4)
    await puppet.hears_nothing(asker.me)


async def test_a_not_understood_ends_the_conversation_and_is_not_answered(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(puppet.jid, Add()))
    call = await puppet.hear(Performative.REQUEST)
    puppet.say(call.reply(Performative.NOT_UNDERSTOOD, content="speak up"), asker.me)
    assert why(await asking, NotUnderstood) == ("not-understood", "speak up")
    puppet.say(call.reply(Performative.NOT_UNDERSTOOD), asker.me)
    await world.fact(OutOfSequence, agent=ASKER)
    await puppet.hears_nothing(asker.me)


@pytest.mark.parametrize(
    ("act", "content", "expected"),
    [
        (Performative.INFORM, None, Succeeded),
        (Performative.INFORM, "fine", Failed),
        (Performative.INFORM, '{"sum": {"value": "much"}}', Failed),
        (Performative.REFUSE, None, Refused),
        (Performative.REFUSE, "not today", Refused),
        (Performative.REFUSE, '{"sum": {"value": 1}}', Refused),
        (Performative.FAILURE, "b" * 5000, Failed),
    ],
)
async def test_peers_of_other_habits_are_taken_as_they_are(
    world: World, act: Performative, content: str | None, expected: type[Outcome]
) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(puppet.jid, Add()))
    call = await puppet.hear(Performative.REQUEST)
    puppet.say(call.reply(act, content=content), asker.me)
    outcome = await asking
    assert isinstance(outcome, expected)
    assert 0 < len(sentence(outcome)) <= 1000
    if content is None and expected is Succeeded:
        assert isinstance(outcome, Succeeded)
        assert outcome.result == Done()


async def test_copies_that_the_network_makes_are_dropped(world: World) -> None:
    await world.xmpp.stop()
    await world.serve(faults=ScriptedFaults(["duplicate"] * 100))
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    assert value(await asker.request(adder.me, Add())) == 3
    await world.fact(DuplicateDropped, agent=ADDER)
    await world.fact(DuplicateDropped, agent=ASKER)
    assert not world.of(OutOfSequence)


async def test_what_the_peer_said_last_decides_where_it_is_answered(world: World) -> None:
    adder, puppet = await world.start(Adder, "adder"), await Puppet.start(world, "puppet/a")
    puppet.say(request(), adder.me)
    answer = await puppet.hear(Performative.INFORM)
    assert [str(each.jid) for each in answer.receiver] == ["puppet@localhost/a"]


# -- bad input on live sockets -------------------------------------------------------------------


def text(body: str) -> str:
    """A stanza as a chat client writes it."""
    return f'<message type="chat" to="adder@localhost" id="t1"><body>{body}</body></message>'


@pytest.mark.parametrize(
    ("stanza", "act", "cause"),
    [
        (text("hello"), "not-understood", Cause.MISSING_PARAMETER),
        (text(""), "not-understood", Cause.MISSING_PARAMETER),
        (text('{"performative": "shout"}'), "not-understood", Cause.UNSUPPORTED_ACT),
        (text('{"performative": "request", "content": "x"}'), "not-understood", Cause.UNRECOGNISED_VALUE),
        (text('{"performative": "request"}'), "not-understood", Cause.MISSING_ARGUMENT),
        (text("z" * 5_000_000), "not-understood", Cause.MISSING_PARAMETER),
        (
            text('{"performative": "request", "content": "' + "z" * 5_000_000 + '"}'),
            "not-understood",
            Cause.UNSUPPORTED_VALUE,
        ),
        (
            text('{"performative": "request", "content": {"unknown": {}}}'),
            "refuse",
            Cause.UNSUPPORTED_FUNCTION,
        ),
        (
            text('{"performative": "request", "content": {"add": {"manner": "raising"}}}'),
            "failure",
            Cause.INTERNAL_ERROR,
        ),
    ],
    ids=lambda each: each[:90] if isinstance(each, str) else None,
)
async def test_bad_input_gets_one_sentence_and_the_agent_goes_on(
    world: World, stanza: str, act: str, cause: Cause
) -> None:
    await world.xmpp.stop()
    await world.serve(limits=Limits(stanza_bytes=6_000_000, outgoing_bytes=20_000_000))
    adder, puppet = await world.start(Adder, "adder"), await Puppet.start(world, "puppet")
    puppet.write(stanza)
    reason = await puppet.hear_reason(Performative(act))
    assert reason.cause == cause
    assert reason.text.count("\n") == 0
    assert "Traceback" not in reason.text
    puppet.say(request(), adder.me)
    assert SUMS.parse((await puppet.hear(Performative.INFORM)).content) == Sum(value=5)
    await puppet.hears_nothing(adder.me)
    if act == "not-understood" and "performative" not in stanza:
        assert adder.ports.dead_letters.list(ADDER)


async def test_what_is_too_large_is_not_sent_and_the_sender_goes_on(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    with pytest.raises(
        ValueError, match=r"5,000,\d+ bytes as a stanza, 1,000,000 are sent; send a reference"
    ):
        await asker.request(adder.me, Add(manner="x" * 5_000_000))
    assert asker.mailroom.conversations() == []
    assert value(await asker.request(adder.me, Add())) == 3


async def test_what_is_beyond_the_servers_limit_comes_back_and_the_sender_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "STANZA_LIMIT", 10_000_000)
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    cause, told = why(await asker.request(adder.me, Add(manner="x" * 5_000_000)))
    assert cause == Cause.UNREACHABLE
    assert "the server refused the message" in told
    assert value(await asker.request(adder.me, Add())) == 3


async def test_what_xml_cannot_carry_travels_as_an_escape(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    assert value(await asker.request(adder.me, Add(manner="\ufffe\uffff"))) == 3
    odd = await world.start(Odd, "odd")
    odd.answer = Fail("odd", "a\uffffb")
    assert why(await asker.request(odd.me, Add())) == ("odd", "a\uffffb")


async def test_an_agree_does_not_repeat_a_long_action(world: World) -> None:
    puppet, adder = await Puppet.start(world, "puppet"), await world.start(Adder, "adder")
    for size, is_repeated in ((10, True), (100_000, False)):
        adder.started.clear()
        puppet.say(request(Add(manner="agreeing" + " " * size), conversation_id=str(size)), adder.me)
        agree = await puppet.hear(Performative.AGREE)
        assert (agree.content is not None) == is_repeated
        await puppet.hear(Performative.INFORM)  # what it tells meanwhile


@pytest.mark.usefixtures("_impatient")
async def test_nobody_works_on_for_an_initiator_that_has_gone(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(adder.me, Add(manner="agreeing"), result_within=None))
    await asyncio.wait_for(adder.started.wait(), 5)
    await becomes(lambda: bool(adder.client._answering))  # a first probe
    cut(asker.client)
    await asyncio.wait_for(adder.was_cancelled.wait(), 10)
    asking.cancel()


async def test_a_cancel_is_left_for_a_peer_that_is_taken_as_gone(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(puppet.jid, Add(), result_within=None))
    call = await puppet.hear(Performative.REQUEST)
    puppet.say(call.reply(Performative.AGREE), asker.me)
    seat = next(iter(asker.mailroom._seats))
    seat._take_back()
    cancel = await puppet.hear(Performative.CANCEL)
    assert (cancel.conversation_id, cancel.protocol) == (call.conversation_id, "fipa-request")
    asking.cancel()


# -- peers that vanish ---------------------------------------------------------------------------


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look ten times as often whether a peer is still there."""
    monkeypatch.setattr(watching, "PROBE_EVERY", watching.PROBE_EVERY / 10)


def cut(connection: Any) -> None:
    """Break the TCP connection; the client does not come back."""
    assert isinstance(connection, XmppConnection)
    connection._is_stopping = True
    connection.abort()


def test_the_time_until_a_peer_is_taken_as_gone() -> None:
    assert watching.PROBE_EVERY * Policy().away <= 5


@pytest.mark.usefixtures("_impatient")
async def test_a_peer_that_vanishes_in_the_middle_of_its_work_is_reported(world: World) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(adder.me, Add(manner="agreeing"), result_within=None))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    await becomes(lambda: bool(asker.client._answering))  # a first probe
    cut(adder.client)
    async with asyncio.timeout(5):
        assert why(await asking) == (Cause.VANISHED, "adder@localhost has left")
    await world.fact(ConversationEnded, agent=ASKER, state="UNREACHABLE")


@pytest.mark.usefixtures("_impatient")
async def test_a_peer_that_comes_back_soon_was_never_gone(world: World) -> None:
    patient = MemoryJournal(Policy(away=20))
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker", journal=patient)
    asking = asyncio.ensure_future(asker.request(adder.me, Add(manner="agreeing"), result_within=None))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    before = adder.client.boundjid.full
    adder.client.abort()
    await world.until(lambda: not adder.is_connected)
    await world.until(lambda: adder.is_connected)
    assert adder.client.boundjid.full == before
    adder.release.set()
    assert value(await asking) == 3


@pytest.mark.usefixtures("_impatient")
async def test_a_peer_that_answers_no_probes_is_believed_to_be_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    for handler in list(puppet.connection._XMLStream__handlers):
        if "Ping" in handler.name:
            puppet.connection.remove_handler(handler.name)
    looks: list[str] = []
    probe = asker.client.probe

    async def look(jid: str, timeout: float) -> Life:
        looks.append(jid)
        life: Life = await probe(jid, timeout)
        return life

    monkeypatch.setattr(asker.client, "probe", look)
    asking = asyncio.ensure_future(asker.request(puppet.jid, Add(), result_within=None))
    call = await puppet.hear(Performative.REQUEST)
    puppet.say(call.reply(Performative.AGREE), asker.me)
    await becomes(lambda: len(looks) > Policy().away + 1)
    assert not asking.done()
    puppet.say(call.reply(Performative.INFORM, content='{"sum": {"value": 1}}'), asker.me)
    assert value(await asking) == 1


async def test_stopping_an_agent_ends_what_it_waits_for(world: World) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(Asker, "asker")
    asking = asyncio.ensure_future(asker.request(puppet.jid, Add(), result_within=None))
    await puppet.hear(Performative.REQUEST)
    await asker.stop()
    assert why(await asking) == (Cause.UNREACHABLE, "asker was stopped")
    assert why(await asker.request(puppet.jid, Add()))[0] == Cause.UNREACHABLE


def test_deadlines_are_in_utc() -> None:
    now: Callable[[], datetime] = clocking.system_now
    assert now().tzinfo is UTC
    assert clocking.after(now(), 1) - now() <= timedelta(seconds=1)
