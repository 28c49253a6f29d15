"""fipa-query, fipa-request-when and fipa-propose between agents on real sockets."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from behaviours import participating
from behaviours.clocking import system_now
from behaviours.events import HandlerFailed, MessageReceived, OutOfSequence
from behaviours.outcomes import Expired, Fail, Failed, NotUnderstood, Outcome, Refuse, Refused
from behaviours.participating import Participation
from behaviours.wire import ABOUT
from ontology.acl import AclMessage, Performative
from ontology.content import Done, Term
from ontology.errors import Cause
from ontology.interaction import INTERACTION, Truth, When
from tests.behaviours.houses import (
    HOUSE,
    WORN,
    Foreign,
    House,
    IsFree,
    Move,
    Temperature,
    Temperatures,
    all_over,
    ended,
    forever,
    look_often,
    opens,
    result,
    why,
)
from tests.behaviours.puppets import Puppet
from tests.conftest import World

ASKER, HELPER = "asker@localhost", "helper@localhost"


@dataclass(frozen=True)
class Way:
    """One of the protocols in which one agent is asked one thing."""

    name: str
    act: Performative
    part: str
    """The handler that decides how it ends."""
    good: Any
    """What the handler returns when all is well."""
    told: Term
    """What the initiator then gets."""
    content: str
    yes: Performative = Performative.INFORM
    no: Performative = Performative.REFUSE
    """How the participant says that it will not."""
    unable: Performative = Performative.REFUSE
    """How it says that it never does such things."""
    others: tuple[str, ...] = ()
    """Handlers that run before."""
    agrees: bool = True

    async def ask(self, asker: House, to: Any, **how: Any) -> Outcome:
        """Ask."""
        match self.act:
            case Performative.QUERY_IF:
                return await asker.query_if(to, IsFree(), **how)
            case Performative.QUERY_REF:
                return await asker.query_ref(to, Temperatures(), **how)
            case Performative.REQUEST_WHEN:
                return await asker.request_when(to, Move(), IsFree(), **how)
            case _:
                return await asker.propose(to, Move(), **how)

    def opening(self, **parameters: Any) -> AclMessage:
        """A puppet's."""
        return opens(self.act, self.name, Foreign(), content=self.content, **parameters)


WHEN = INTERACTION.render(
    When.model_validate({"action": {"content": {"move": {}}}, "condition": {"content": {"is-free": {}}}})
)
WAYS = {
    "query-if": Way(
        "fipa-query", Performative.QUERY_IF, "confirm", True, Truth(value=True), HOUSE.render(IsFree())
    ),
    "query-ref": Way(
        "fipa-query", Performative.QUERY_REF, "answer", Temperature(celsius=1), Temperature(celsius=1),
        HOUSE.render(Temperatures()),
    ),
    "request-when": Way(
        "fipa-request-when", Performative.REQUEST_WHEN, "move", Done(), Done(), WHEN,
        no=Performative.FAILURE, others=("hold",),
    ),
    "propose": Way(
        "fipa-propose", Performative.PROPOSE, "consider", Done(), Move(), HOUSE.render(Move()),
        yes=Performative.ACCEPT_PROPOSAL, no=Performative.REJECT_PROPOSAL,
        unable=Performative.REJECT_PROPOSAL, agrees=False,
    ),
}  # fmt: skip

every_way_but_propose = pytest.mark.parametrize(
    "way",
    [pytest.param(way, id=name) for name, way in WAYS.items()],
)
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
AGREEING = {name: way for name, way in WAYS.items() if way.agrees}


async def pair(world: World, way: Way, plan: Any) -> tuple[House, House]:
    """Start an asker and a helper whose handler does this."""
    parts = {way.part: plan, **dict.fromkeys(way.others)}
    helper = await world.start(functools.partial(House, **parts), "helper")
    return await world.start(House, "asker"), helper


@every_way
async def test_it_is_done(world: World, way: Way) -> None:
    asker, helper = await pair(world, way, way.good)
    assert result(await way.ask(asker, HELPER)) == way.told
    await all_over(world, asker, helper)


@every_way
async def test_unwillingness_and_failure_are_told_with_the_reason(world: World, way: Way) -> None:
    asker, helper = await pair(world, way, None)
    for answer in (Refuse("busy", "I am busy"), Fail("broken", "it is broken")):
        helper.parts[way.part] = answer
        outcome = await way.ask(asker, HELPER)
        is_refused = way.no is Performative.REJECT_PROPOSAL or (
            isinstance(answer, Refuse) and way.no is Performative.REFUSE
        )
        assert why(outcome, Refused if is_refused else Failed) == (answer.cause, answer.text)
    assert not world.of(HandlerFailed)
    await all_over(world, asker, helper)


NONSENSE = {
    KeyError("key"): "helper could not finish ",
    17: "the handler returned int, not a term, Refuse or Fail",
    None: "the handler returned NoneType",
    Foreign(): "Foreign is no term of the ontology",
    Refuse("odd", "a" * 2_000_000): "bytes as a stanza",
    Temperature: "TypeError",
    LookupError(WORN): "LookupError: a",
}


@every_way
async def test_whatever_the_handler_does_the_initiator_is_answered(world: World, way: Way) -> None:
    asker, helper = await pair(world, way, None)
    kind = Refused if way.no is Performative.REJECT_PROPOSAL else Failed
    for answer, told in NONSENSE.items():
        helper.parts[way.part] = answer
        cause, text = why(await way.ask(asker, HELPER), kind)
        assert cause == Cause.INTERNAL_ERROR
        assert told in text
    assert len(world.of(HandlerFailed, agent=HELPER)) == len(NONSENSE)
    helper.parts[way.part] = way.good
    assert result(await way.ask(asker, HELPER)) == way.told
    await all_over(world, asker, helper)


@every_way_but_propose
async def test_who_cannot_do_it_says_so(world: World, way: Way) -> None:
    class Idle(House):
        """Understands, and does nothing."""

        move = confirm = answer = consider = wait_until = None  # type: ignore[assignment]

    await world.start(Idle, "helper")
    asker = await world.start(House, "asker")
    cause, text = why(await way.ask(asker, HELPER, reply_within=2), Refused)
    assert cause == Cause.UNSUPPORTED_FUNCTION
    assert text.startswith("helper ")
    assert "nothing" in text
    await all_over(world, asker)


@every_way
async def test_who_does_not_speak_of_such_things_does_not_understand(world: World, way: Way) -> None:
    class Stranger(House):
        ontologies = ()

    await world.start(Stranger, "helper")
    asker = await world.start(House, "asker")
    cause, text = why(await way.ask(asker, HELPER), NotUnderstood)
    assert cause == Cause.UNSUPPORTED_VALUE
    assert "'house/1.0' is not spoken here" in text
    await all_over(world, asker)


@every_way
async def test_no_answer_in_time_is_an_outcome(world: World, way: Way) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(House, "asker")
    assert why(await way.ask(asker, puppet.jid, reply_within=0.05), Expired)[0] == Cause.EXPIRED
    asked = await puppet.hear(way.act)
    puppet.say(asked.reply(way.yes, content="{}"), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, performative=way.yes.value)
    await puppet.hears_nothing(asker.me)
    assert asker.mailroom.conversations() == []


@every_way
async def test_a_question_to_nobody_fails_at_once(world: World, way: Way) -> None:
    asker = await world.start(House, "asker")
    assert why(await way.ask(asker, "nobody@localhost"))[0] == Cause.UNREACHABLE
    assert asker.mailroom.conversations() == []


@every_way
async def test_cancelling_the_task_that_waits_stops_the_work(world: World, way: Way) -> None:
    asker, helper = await pair(world, way, forever)
    asking = asyncio.create_task(way.ask(asker, HELPER))
    await helper.started.wait()
    await world.until(lambda: way.part != "move" or len(helper.terms) == 2)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await ended(world, "helper", "CANCELLED")
    await ended(world, "asker", "CANCELLED")
    assert helper.was_cancelled.is_set()
    await all_over(world, asker, helper)


@every_way
async def test_work_that_does_not_let_itself_be_stopped_ends_all_the_same(world: World, way: Way) -> None:
    async def stubborn(_term: Term, _task: Participation) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return way.good

    asker, helper = await pair(world, way, stubborn)
    asking = asyncio.create_task(way.ask(asker, HELPER))
    await helper.started.wait()
    await world.until(lambda: way.part != "move" or len(helper.terms) == 2)
    asking.cancel()
    # A proposal that is not made any more is not accepted; what is done is done.
    await ended(world, "helper", "DONE" if way.agrees else "CANCELLED")
    await ended(world, "asker", "DONE" if way.agrees else "CANCELLED")
    with pytest.raises(asyncio.CancelledError):
        await asking
    await all_over(world, asker, helper)


@pytest.mark.parametrize("way", AGREEING.values(), ids=AGREEING)
async def test_a_participant_that_vanishes_is_reported(
    world: World, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = look_often(monkeypatch, "helper")
    monkeypatch.setattr(participating, "AGREE_AFTER", 0.01)
    asker, helper = await pair(world, way, forever)
    asking = asyncio.create_task(way.ask(asker, HELPER))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    await looked.wait()
    await helper.stop()
    assert why(await asking)[0] in {Cause.VANISHED, Cause.UNREACHABLE}
    assert asker.mailroom.conversations() == []


@pytest.mark.parametrize("way", AGREEING.values(), ids=AGREEING)
async def test_nobody_works_for_an_initiator_that_has_vanished(
    world: World, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = look_often(monkeypatch, "asker")
    monkeypatch.setattr(participating, "AGREE_AFTER", 0.01)
    asker, helper = await pair(world, way, forever)
    asking = asyncio.create_task(way.ask(asker, HELPER))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    await looked.wait()
    await asker.stop()
    await asking
    await ended(world, "helper", "UNREACHABLE")
    await asyncio.wait_for(helper.was_cancelled.wait(), 5)
    assert helper.mailroom.conversations() == []


@every_way
async def test_the_initiator_counts_and_drops_what_is_out_of_sequence(world: World, way: Way) -> None:
    puppet, asker = await Puppet.start(world, "puppet"), await world.start(House, "asker")
    asking = asyncio.create_task(way.ask(asker, puppet.jid))
    asked = await puppet.hear(way.act)
    if way.act is Performative.REQUEST_WHEN:
        puppet.say(asked.reply(Performative.AGREE), asker.me)
    wrong = [Performative.CFP, Performative.PROPOSE, Performative.CANCEL]
    for act in wrong:
        puppet.say(asked.reply(act), asker.me)
    puppet.say(asked.reply(way.yes, in_reply_to="something else", content='{"done": {}}'), asker.me)
    puppet.say(asked.reply(way.yes, content=HOUSE.render(Temperature(celsius=7)), ontology="house"), asker.me)
    assert result(await asking) == Temperature(celsius=7)
    puppet.say(asked.reply(way.yes, content='{"done": {}}'), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, count=len(wrong) + 2)
    await puppet.hears_nothing(asker.me)


@every_way
async def test_the_participant_answers_what_is_out_of_sequence_once(world: World, way: Way) -> None:
    _asker, helper = await pair(world, way, forever)
    puppet = await Puppet.start(world, "puppet")
    puppet.say(way.opening(), helper.me)
    await helper.started.wait()
    if way.part == "move":
        await puppet.hear(Performative.AGREE)
    for act in (Performative.AGREE, Performative.INFORM, Performative.ACCEPT_PROPOSAL):
        puppet.say(way.opening(reply_with="r2").model_copy(update={"performative": act}), helper.me)
    assert (await puppet.hear_reason(Performative.NOT_UNDERSTOOD)).cause == Cause.UNEXPECTED_ACT
    await world.fact(OutOfSequence, agent=HELPER, count=3)
    cancel = way.opening(reply_with="r3").model_copy(update={"performative": Performative.CANCEL})
    puppet.say(cancel, helper.me)
    assert (await puppet.hear(Performative.INFORM)).in_reply_to == "r3"
    await puppet.hears_nothing(helper.me)
    assert helper.mailroom.conversations() == []


@every_way
async def test_a_not_understood_of_the_initiator_ends_it_without_an_answer(world: World, way: Way) -> None:
    _asker, helper = await pair(world, way, forever)
    puppet = await Puppet.start(world, "puppet")
    puppet.say(way.opening(), helper.me)
    await helper.started.wait()
    odd = way.opening().model_copy(update={"performative": Performative.NOT_UNDERSTOOD})
    if way.act is Performative.REQUEST_WHEN:  # the helper has spoken, so it may be told
        await puppet.hear(Performative.AGREE)
        puppet.say(odd, helper.me)
        await ended(world, "helper", "NOT_UNDERSTOOD")
        await asyncio.wait_for(helper.was_cancelled.wait(), 5)
    else:  # nothing has been said that could be misunderstood
        puppet.say(odd, helper.me)
        await world.fact(OutOfSequence, agent=HELPER, performative="not-understood")
        puppet.say(odd.model_copy(update={"performative": Performative.CANCEL}), helper.me)
        await puppet.hear(Performative.INFORM)
    await puppet.hears_nothing(helper.me)


@every_way
async def test_a_peer_of_other_habits_gets_an_answer(world: World, way: Way) -> None:
    """No ontology, no language, no reply-with: as a plain SPADE agent writes."""
    _asker, helper = await pair(world, way, way.good)
    puppet = await Puppet.start(world, "puppet")
    puppet.say(way.opening(reply_with=None), helper.me)
    if way.act is Performative.REQUEST_WHEN:
        await puppet.hear(Performative.AGREE)
    answer = await puppet.hear(way.yes)
    assert (answer.conversation_id, answer.in_reply_to) == ("c1", None)


@every_way_but_propose
async def test_what_comes_after_its_reply_by_is_refused(world: World, way: Way) -> None:
    _asker, helper = await pair(world, way, way.good)
    puppet = await Puppet.start(world, "puppet")
    puppet.say(way.opening(reply_by=system_now() - timedelta(seconds=2)), helper.me)
    assert (await puppet.hear_reason(way.unable)).cause == Cause.LATE
    assert not helper.started.is_set()


# -- what only one of them has -------------------------------------------------------------------


@pytest.mark.parametrize("is_so", [True, False])
async def test_a_query_if_tells_whether_it_is_so(world: World, is_so: bool) -> None:
    asker, _helper = await pair(world, WAYS["query-if"], is_so)
    outcome = await asker.query_if(HELPER, IsFree())
    assert result(outcome) == Truth(value=is_so)


async def test_a_request_when_waits_for_the_condition_and_then_acts(world: World) -> None:
    free = asyncio.Event()

    async def until_free(_condition: IsFree, _task: Participation) -> None:
        await free.wait()

    helper = await world.start(functools.partial(House, hold=until_free, move=Done()), "helper")
    asker = await world.start(House, "asker")
    asking = asyncio.create_task(asker.request_when(HELPER, Move(to="bath"), IsFree(), reply_within=0.2))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    assert helper.terms == [IsFree()]
    free.set()
    assert result(await asking) == Done()
    assert helper.terms == [IsFree(), Move(to="bath")]
    await all_over(world, asker, helper)


@pytest.mark.parametrize(
    ("plan", "cause"),
    [
        (Refuse("never", "it will never be free"), "never"),
        (Fail("broken", "the door is jammed"), "broken"),
        (RuntimeError("no sensor"), Cause.INTERNAL_ERROR),
    ],
)
async def test_a_condition_that_cannot_be_waited_for_is_a_failure(
    world: World, plan: Any, cause: str
) -> None:
    helper = await world.start(functools.partial(House, hold=plan, move=Done()), "helper")
    asker = await world.start(House, "asker")
    assert why(await asker.request_when(HELPER, Move(), IsFree()))[0] == cause
    assert helper.terms == [IsFree()]
    await all_over(world, asker, helper)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            (Move(), Temperatures()),
            "cannot do move when temperatures; it does move, and can wait for is-free",
        ),
        ((Move(), Move()), "cannot do move when move; it does move, and can wait for is-free"),
    ],
)
async def test_a_condition_that_nobody_can_tell_is_refused(
    world: World, asked: tuple[Any, Any], told: str
) -> None:
    await world.start(House, "helper")
    asker = await world.start(House, "asker")
    cause, text = why(await asker.request_when(HELPER, *asked), Refused)
    assert (cause, text) == (Cause.UNSUPPORTED_FUNCTION, f"helper {told}")


async def test_what_is_told_meanwhile_is_of_the_ontology_that_has_it(world: World) -> None:
    """A request-when is of the protocols' ontology, and what it is about of the agent's own."""

    async def move(_action: Term, task: Participation) -> Done:
        task.tell(Temperature(celsius=20))
        task.tell(Done())
        with pytest.raises(ValueError, match="Foreign is a term of none of this agent's ontologies"):
            task.tell(Foreign())
        return Done()

    said: list[AclMessage] = []
    await world.start(functools.partial(House, hold=Done(), move=move), "helper", record=said.append)
    asker = await world.start(House, "asker")
    assert result(await asker.request_when(HELPER, Move(), IsFree())) == Done()
    notices = [each for each in said if ABOUT in each.user_parameters]
    assert [(each.content, each.ontology) for each in notices] == [
        ('{"temperature":{"celsius":20.0}}', HOUSE.label),
        ('{"done":{}}', INTERACTION.label),
    ]


@pytest.mark.parametrize(
    ("protocol", "act", "content"),
    [
        ("fipa-request-when", Performative.REQUEST_WHEN, '{"move": {}}'),
        ("fipa-english-auction", Performative.INFORM, '{"painting": {}}'),
        ("fipa-dutch-auction", Performative.INFORM, '{"temperature": {"celsius": 1}}'),
        ("fipa-brokering", Performative.PROXY, '{"move": {}}'),
        ("fipa-recruiting", Performative.PROXY, '{"move": {}}'),
        ("fipa-request-when", Performative.REQUEST_WHEN, '{"when": {"action": {"content": {"no": {}}}}}'),
    ],
)
async def test_an_act_about_what_it_cannot_be_about_is_not_understood(
    world: World, protocol: str, act: Performative, content: str
) -> None:
    helper, puppet = await world.start(House, "helper"), await Puppet.start(world, "puppet")
    puppet.say(opens(act, protocol, Foreign(), content=content), helper.me)
    reason = await puppet.hear_reason(Performative.NOT_UNDERSTOOD)
    assert reason.cause in {Cause.UNSUPPORTED_VALUE, Cause.MISSING_ARGUMENT}
    assert helper.mailroom.conversations() == []


async def test_a_term_of_the_protocols_is_nothing_to_query(world: World) -> None:
    helper, puppet = await world.start(House, "helper"), await Puppet.start(world, "puppet")
    puppet.say(opens(Performative.QUERY_REF, "fipa-query", Foreign(), content=WHEN), helper.me)
    assert (await puppet.hear_reason(Performative.REFUSE)).cause == Cause.UNSUPPORTED_FUNCTION


@pytest.mark.parametrize("answer", [Done(), Temperature(celsius=3)])
async def test_an_acceptance_repeats_the_proposal_or_says_more(world: World, answer: Term) -> None:
    asker, _helper = await pair(world, WAYS["propose"], answer)
    outcome = await asker.propose(HELPER, Move(to="bath"))
    assert result(outcome) == (Move(to="bath") if answer == Done() else answer)


async def test_many_questions_at_once_are_not_mixed_up(world: World) -> None:
    async def echo(query: Temperatures, _task: Participation) -> Term:
        return Temperature(celsius=float(query.room))

    await world.start(functools.partial(House, answer=echo), "helper")
    asker = await world.start(House, "asker")
    asking: list[Awaitable[Outcome]] = [
        asker.query_ref(HELPER, Temperatures(room=str(number))) for number in range(50)
    ]
    results = [result(each) for each in await asyncio.gather(*asking)]
    assert results == [Temperature(celsius=number) for number in range(50)]
