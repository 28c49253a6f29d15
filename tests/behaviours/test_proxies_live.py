"""fipa-brokering and fipa-recruiting between agents on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Iterable
from typing import Any

import pytest

from behaviours import initiating, mediating, participating
from behaviours.authority import Policy, Rule
from behaviours.brokering import TARGET, Brokered, proxy
from behaviours.events import (
    ConversationOpened,
    MessageReceived,
    MessageSent,
    MessageUndelivered,
    OutOfSequence,
)
from behaviours.handlers import hears
from behaviours.outcomes import Expired, Fail, Failed, NotUnderstood, Refuse, Refused, Succeeded
from behaviours.participating import Participation
from behaviours.seating import HEARERS
from behaviours.wire import STANZA_LIMIT, render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Done, Reason, Term, explain
from ontology.errors import Cause
from ontology.interaction import INTERACTION, Nested, Proxy, ProxyDone, Truth
from protocols.brokering import BROKERING
from protocols.recruiting import RECRUITING
from tests.behaviours.houses import (
    ANYBODY,
    HOUSE,
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
    why,
)
from tests.behaviours.puppets import Puppet
from tests.conftest import World, becomes

BROKER, ASKER = "broker@localhost", "asker@localhost"
HOW_WARM = Nested(ontology=HOUSE.label, content={"temperatures": {"room": "kitchen"}})

both_ways = pytest.mark.parametrize("way", ["broker", "recruit"])


def at(*names: str) -> list[AgentIdentifier]:
    """These agents."""
    return [AgentIdentifier.of(f"{name}@localhost") for name in names]


async def trio(world: World, found: Any, **targets: Any) -> tuple[House, House, list[House]]:
    """Start an asker, a broker that finds these, and targets that answer a question so."""
    broker = await world.start(functools.partial(House, find=found), "broker")
    started = [
        await world.start(functools.partial(House, answer=answer), name) for name, answer in targets.items()
    ]
    return await world.start(House, "asker"), broker, started


async def ask(asker: House, way: str, **how: Any) -> Any:
    """Have somebody asked how warm it is."""
    how = {"performative": "query-ref", **how}
    return await getattr(asker, way)(BROKER, ANYBODY, Temperatures(), **how)


def told(brokered: Any) -> dict[str, Any]:
    """Target's short name to what it replied: a temperature or a type of outcome and its cause."""
    assert isinstance(brokered, Brokered), brokered
    return {
        name.partition("@")[0]: each.result.celsius  # type: ignore[attr-defined]
        if isinstance(each, Succeeded)
        else (type(each), each.reason.cause)  # type: ignore[union-attr]
        for name, each in brokered.replies.items()
    }


@both_ways
async def test_every_target_replies(world: World, way: str) -> None:
    asker, broker, targets = await trio(
        world, at("a", "b", "a"), a=Temperature(celsius=1), b=Temperature(celsius=2)
    )
    brokered = await ask(asker, way)
    assert brokered.targets == ("a@localhost", "b@localhost")
    assert told(brokered) == {"a": 1, "b": 2}
    senders = {each.message.sender.name for each in brokered.replies.values()}
    assert senders == ({BROKER} if way == "broker" else {"a@localhost", "b@localhost"})
    assert broker.terms == [
        Proxy(template=ANYBODY, performative="query-ref", message=HOW_WARM),
    ]
    await all_over(world, asker, broker, *targets)
    assert not world.of(OutOfSequence)


@both_ways
async def test_as_many_as_are_wanted_at_most(world: World, way: str) -> None:
    asker, _broker, _targets = await trio(world, at("a", "b"), a=Temperature(), b=Temperature())
    assert (await ask(asker, way, most=1)).targets == ("a@localhost",)


ASKER_MAY_PROXY = Rule(who=(ASKER,), receivers=frozenset({BROKER}))


async def under(world: World, found: Any, *rules: Rule) -> tuple[House, list[House]]:
    """Start an asker, a broker of one's own that looks at nothing but finds these, and targets a, b and c."""
    policy = Policy(rules=(ASKER_MAY_PROXY, Rule(who=(BROKER,)), *rules))
    await world.start(functools.partial(House, find=found), "broker", policy=policy)
    targets = [
        await world.start(functools.partial(House, answer=Temperature()), name, policy=policy)
        for name in ("a", "b", "c")
    ]
    return await world.start(House, "asker"), targets


@both_ways
async def test_whom_the_initiator_may_not_ask_is_left_out_whatever_the_broker_finds(
    world: World, way: str
) -> None:
    may_ask_b_and_c = Rule(who=(ASKER,), receivers=frozenset(each.name for each in at("b", "c")))
    asker, (a, b, c) = await under(world, at("a", "b", "c"), may_ask_b_and_c)
    brokered = await ask(asker, way, most=1)
    assert brokered.targets == ("b@localhost",)  # who is left out takes nobody's place
    assert [each.terms for each in (a, b, c)] == [[], [Temperatures()], []]


@both_ways
async def test_where_all_are_left_out_the_proxy_is_refused_with_the_rule_that_is_missing(
    world: World, way: str
) -> None:
    asker, targets = await under(world, at("a", "b"))
    cause, text = why(await ask(asker, way), Refused)
    assert (cause, text) == why(await asker.query_ref(targets[0].me.name, Temperatures()), Refused)
    assert cause == Cause.UNAUTHORISED
    assert [each.terms for each in targets] == [[], [], []]


@both_ways
async def test_where_nobody_is_found_nobody_is_judged(world: World, way: str) -> None:
    asker, _targets = await under(world, [] if way == "broker" else at("asker", "broker"))
    assert why(await ask(asker, way))[0] == "no-match"


@both_ways
async def test_whatever_targets_reply_is_told_of_each(world: World, way: str) -> None:
    answers = {
        "good": Temperature(celsius=1),
        "busy": Refuse("busy", "no time"),
        "broken": Fail("broken", "no sensor"),
        "raising": KeyError("x"),
    }
    asker, broker, targets = await trio(world, at(*answers), **answers)
    assert told(await ask(asker, way)) == {
        "good": 1,
        "busy": (Refused, "busy"),
        "broken": (Failed, "broken"),
        "raising": (Failed, Cause.INTERNAL_ERROR),
    }
    await all_over(world, asker, broker, *targets)


async def test_a_broker_tells_of_those_that_do_not_understand_or_are_not_there(world: World) -> None:
    class Stranger(House):
        ontologies = ()

    class Deaf(House):
        answer = None  # type: ignore[assignment]

    asker, broker, _targets = await trio(world, at("stranger", "deaf", "nobody"))
    await world.start(Stranger, "stranger")
    await world.start(Deaf, "deaf")
    assert told(await ask(asker, "broker")) == {
        "stranger": (NotUnderstood, Cause.UNSUPPORTED_VALUE),
        "deaf": (Refused, Cause.UNSUPPORTED_FUNCTION),
        "nobody": (Failed, Cause.UNREACHABLE),
    }
    await all_over(world, asker, broker)


async def test_those_that_were_recruited_and_do_not_understand_say_so_to_the_initiator(world: World) -> None:
    class Stranger(House):
        ontologies = ()

    class Deaf(House):
        answer = None  # type: ignore[assignment]

    asker, _broker, _targets = await trio(world, at("stranger", "deaf"))
    await world.start(Stranger, "stranger")
    await world.start(Deaf, "deaf")
    assert told(await ask(asker, "recruit", reply_within=0.5, result_within=0.5)) == {
        "stranger": (NotUnderstood, Cause.UNSUPPORTED_VALUE),
        "deaf": (Refused, Cause.UNSUPPORTED_FUNCTION),
    }


async def test_a_silent_target_is_told_of_by_the_broker_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mediating, "REPLY_WITHIN", 0.2)
    monkeypatch.setattr(mediating, "RESULT_WITHIN", 0.1)
    asker, broker, targets = await trio(world, at("slow", "mute", "quick"), slow=forever, quick=Temperature())
    puppet = await Puppet.start(world, "mute")
    found = told(await ask(asker, "broker"))
    assert found == {"quick": 20.5, "slow": (Failed, "expired"), "mute": (Failed, "expired")}
    await puppet.hear(Performative.QUERY_REF)
    await ended(world, "slow", "CANCELLED")  # it need not go on
    await all_over(world, asker, broker, *targets)


@both_ways
async def test_who_is_silent_for_too_long_is_missing_in_the_replies(
    world: World, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participating, "AGREE_AFTER", 60)  # else an agree may cross the cancel
    asker, broker, (quick, slow) = await trio(world, at("quick", "slow"), quick=Temperature(), slow=forever)
    brokered = await ask(asker, way, reply_within=0.2, result_within=0.2)
    assert told(brokered) == {"quick": 20.5}
    assert brokered.targets == ("quick@localhost", "slow@localhost")
    await ended(world, "slow", "CANCELLED")
    await ended(world, "asker", "CANCELLED" if way == "broker" else "DONE")
    await all_over(world, asker, broker, quick, slow)
    assert told(brokered) == {"quick": 20.5}
    assert not world.of(OutOfSequence)


@both_ways
@pytest.mark.parametrize(
    ("found", "kind", "cause"),
    [
        ([], Failed, "no-match"),
        (Refuse("closed", "closed today"), Refused, "closed"),
        (Fail("lost", "the book is lost"), Failed, "lost"),
        (KeyError("x"), Failed, Cause.INTERNAL_ERROR),
        (None, Failed, Cause.INTERNAL_ERROR),
        (["a@localhost"], Failed, Cause.INTERNAL_ERROR),
        (Refuse("odd", "a" * 2_000_000), Refused, Cause.INTERNAL_ERROR),
    ],
)
async def test_a_proxy_that_is_not_carried_out_says_why(
    world: World, way: str, found: Any, kind: Any, cause: str
) -> None:
    asker, broker, _none = await trio(world, found)
    assert why(await ask(asker, way), kind)[0] == cause
    await all_over(world, asker, broker)
    assert not world.of(OutOfSequence)


@both_ways
async def test_who_is_no_broker_says_so(world: World, way: str) -> None:
    class Idle(House):
        find = None  # type: ignore[assignment]

    await world.start(Idle, "broker")
    asker = await world.start(House, "asker")
    assert why(await ask(asker, way), Refused) == (
        Cause.UNSUPPORTED_FUNCTION,
        "broker does not serve a proxy about proxy; it brokers nothing",
    )
    await all_over(world, asker)


@both_ways
async def test_after_an_agree_unwillingness_is_a_failure(
    world: World, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participating, "AGREE_AFTER", 0.01)
    go_on = asyncio.Event()

    async def find(_wanted: Proxy, _task: Participation) -> Refuse:
        await go_on.wait()
        return Refuse("closed", "closed meanwhile")

    asker, broker, _none = await trio(world, find)
    asking = asyncio.create_task(ask(asker, way))
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    go_on.set()
    assert why(await asking)[0] == "closed"
    await all_over(world, asker, broker)


@both_ways
async def test_a_broker_that_does_not_answer_in_time(world: World, way: str) -> None:
    puppet, asker = await Puppet.start(world, "broker"), await world.start(House, "asker")
    assert why(await ask(asker, way, reply_within=0.05), Expired)[0] == Cause.EXPIRED
    await puppet.hear(Performative.PROXY)
    assert asker.mailroom.conversations() == []


@both_ways
async def test_a_broker_that_agrees_and_does_nothing_is_told_to_stop(world: World, way: str) -> None:
    asker, broker, _none = await trio(world, forever)
    asking = await ask(asker, way, reply_within=0.1, result_within=0.1)
    assert why(asking, Expired)[1] == "broker@localhost did not carry the proxy out in time"
    await ended(world, "broker", "CANCELLED")
    assert broker.was_cancelled.is_set()
    await all_over(world, asker, broker)


@pytest.mark.parametrize(
    ("message", "performative"), [(Temperatures(), "query-ref"), (IsFree(), "query-if"), (Move(), "request")]
)
@both_ways
async def test_every_act_that_can_be_embedded(
    world: World, way: str, message: Any, performative: str
) -> None:
    target = functools.partial(House, answer=Temperature(), confirm=True, move=Done())
    asker, _broker, _targets = await trio(world, at("a"))
    await world.start(target, "a")
    brokered = await getattr(asker, way)(BROKER, ANYBODY, message, performative=performative)
    answers = {"query-ref": Temperature(), "query-if": Truth(value=True), "request": Done()}
    assert brokered.replies["a@localhost"].result == answers[performative]


@both_ways
async def test_an_inform_is_passed_on_and_has_no_reply(world: World, way: str) -> None:
    asker, broker, _none = await trio(world, at("puppet"))
    puppet = await Puppet.start(world, "puppet")
    brokered = await getattr(asker, way)(BROKER, ANYBODY, Temperature(), performative="inform")
    assert brokered == Brokered(targets=("puppet@localhost",), replies={})
    assert HOUSE.parse((await puppet.hear(Performative.INFORM)).content) == Temperature()
    await all_over(world, asker, broker)


async def test_a_broker_need_not_understand_what_it_passes_on(world: World) -> None:
    class Office(House):
        ontologies = ()

    await world.start(functools.partial(Office, find=at("a")), "broker")
    asker = await world.start(House, "asker")
    await world.start(functools.partial(House, answer=Temperature(celsius=3)), "a")
    assert told(await ask(asker, "broker")) == {"a": 3}


async def test_who_is_designated_gets_the_replies_instead_of_the_initiator(world: World) -> None:
    asker, _broker, _targets = await trio(world, at("a"), a=Temperature(celsius=3))
    puppet = await Puppet.start(world, "puppet")
    wanted = Proxy(template=ANYBODY, performative="query-ref", message=HOW_WARM, designated=(puppet.jid,))
    brokered = await proxy(asker.mailroom, AgentIdentifier.of(BROKER), wanted, RECRUITING)
    assert brokered == Brokered(targets=("a@localhost",), replies={})
    assert HOUSE.parse((await puppet.hear(Performative.INFORM)).content) == Temperature(celsius=3)
    await all_over(world, asker)


class Listener(House):
    """Takes note of what it is told by agents that it has not asked."""

    def __init__(self, *who: Any, **parts: Any) -> None:
        super().__init__(*who, **parts)
        self.heard: list[tuple[str, Term]] = []

    @hears(Temperature)
    @hears(Truth)
    @hears(Done)
    @hears(Reason)
    def take_note(self, term: Term, sender: AgentIdentifier) -> None:
        """Of results, and of reasons why there is none."""
        self.heard.append((sender.local_name, term))


async def test_all_that_are_designated_get_every_reply(world: World) -> None:
    puppet, ear = await Puppet.start(world, "puppet"), await world.start(Listener, "ear")
    asker, broker, targets = await trio(world, at("a", "b"), a=Temperature(celsius=1), b=Refuse("busy", "no"))
    found = await ask(asker, "recruit", designated=["puppet@localhost", ear.me, asker.me])
    assert told(found) == {"a": 1, "b": (Refused, "busy")}  # it is one of them itself
    heard = {each.sender.name: each for each in [(await puppet.next()).message for _ in "ab"]}  # type: ignore[union-attr]
    assert heard["b@localhost"].performative is Performative.REFUSE
    answer = heard["a@localhost"]
    (opened,) = broker.terms
    assert opened.designated == (puppet.jid, ear.me, asker.me)  # type: ignore[attr-defined]
    # In the words of the embedded conversation, under the proxy's id (FIPA00034).
    (ours,) = {each.conversation_id for each in world.of(ConversationOpened, agent=ASKER)}
    assert (answer.protocol, answer.conversation_id, answer.ontology) == ("fipa-query", ours, HOUSE.label)
    await world.until(lambda: len(ear.heard) == 2, "both replies")
    assert dict(ear.heard) == {"a": Temperature(celsius=1), "b": Reason(cause="busy", text="no")}
    await all_over(world, asker, broker, ear, *targets)
    assert not world.of(OutOfSequence)


@pytest.mark.parametrize(
    ("message", "performative", "result"),
    [(IsFree(), "query-if", Truth(value=True)), (Move(), "request", Done())],
)
async def test_who_is_designated_hears_any_kind_of_result(
    world: World, message: Any, performative: str, result: Term
) -> None:
    ear = await world.start(Listener, "ear")
    await world.start(functools.partial(House, confirm=True, move=Done()), "a")
    asker, _broker, _none = await trio(world, at("a"))
    await asker.recruit(BROKER, ANYBODY, message, performative=performative, designated=[ear.me])
    await world.until(lambda: ear.heard == [("a", result)], "the result")


async def test_who_is_designated_hears_of_those_that_do_nothing_of_the_kind(world: World) -> None:
    class Deaf(House):
        answer = None  # type: ignore[assignment]

    ears = [await world.start(Listener, name) for name in ("left", "right")]
    asker, _broker, _none = await trio(world, at("deaf", "stranger"))
    await world.start(Deaf, "deaf")
    await world.start(functools.partial(House, answer=Foreign()), "stranger")
    await ask(asker, "recruit", designated=["left@localhost", "right@localhost"])
    await world.until(lambda: all(len(ear.heard) == 2 for ear in ears), "both of both")
    for ear in ears:
        causes = {name: term.cause for name, term in ear.heard}  # type: ignore[attr-defined]
        assert causes == {"deaf": Cause.UNSUPPORTED_FUNCTION, "stranger": Cause.INTERNAL_ERROR}


async def test_one_that_is_designated_and_not_there_keeps_nothing_from_the_others(world: World) -> None:
    go_on = asyncio.Event()

    async def slowly(_query: Temperatures, task: Participation) -> Temperature:
        task.agree()
        await go_on.wait()
        return Temperature(celsius=3)

    ear = await world.start(Listener, "ear")
    asker, broker, (a,) = await trio(world, at("a"), a=slowly)
    await ask(asker, "recruit", designated=["nobody@localhost", "ear@localhost"])
    await world.fact(MessageUndelivered, agent="a@localhost", peer="nobody@localhost")
    go_on.set()
    await world.until(lambda: ear.heard == [("a", Temperature(celsius=3))], "the result")
    # Where none of them is there, nobody works on for nobody.
    a.parts["answer"] = forever
    await ask(asker, "recruit", designated=["nobody@localhost", "nowhere@localhost"])
    await becomes(lambda: len(a.tasks) == 2)
    a.tasks[1].agree()
    await ended(world, "a", "UNREACHABLE")
    await becomes(a.was_cancelled.is_set)
    await all_over(world, asker, broker, a)


async def test_who_was_recruited_does_not_look_whether_the_recruiter_is_there(world: World) -> None:
    async def promise(_query: Temperatures, task: Participation) -> None:
        task.agree()
        await asyncio.Event().wait()

    asker, broker, (a,) = await trio(world, at("a"), a=promise)
    asking = asyncio.create_task(ask(asker, "recruit"))
    await world.fact(MessageReceived, agent=ASKER, performative="agree", peer="a@localhost")
    assert [seat._watch for seat in a.mailroom._seats] == [None]
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await all_over(world, asker, broker, a)


async def test_who_listens_for_nothing_counts_and_drops_what_it_has_not_asked_for(world: World) -> None:
    await world.start(House, "ear")
    asker, _broker, _targets = await trio(world, at("a"), a=Temperature())
    await ask(asker, "recruit", designated=["ear@localhost"])
    await world.fact(OutOfSequence, agent="ear@localhost", performative="inform", peer="a@localhost")


async def test_a_broker_has_no_designated_receivers(world: World) -> None:
    asker, _broker, _targets = await trio(world, at("a"))
    with pytest.raises(TypeError, match="designated"):
        await ask(asker, "broker", designated=["ear@localhost"])


async def test_a_reply_to_may_name_several_in_any_protocol(world: World) -> None:
    puppets = [await Puppet.start(world, name) for name in ("one", "two", "three")]
    mover = await world.start(functools.partial(House, move=Done()), "mover")
    several = tuple(each.jid for each in puppets[1:])
    puppets[0].say(opens(Performative.REQUEST, "fipa-request", Move(), reply_to=several), mover.me)
    odd = opens(Performative.REQUEST, "fipa-request", Move(), reply_to=several, ontology="latin")
    puppets[0].say(odd.model_copy(update={"conversation_id": "c2"}), mover.me)
    for puppet in puppets[1:]:
        heard = {(await puppet.next()).message.performative for _ in range(2)}  # type: ignore[union-attr]
        assert heard == {Performative.INFORM, Performative.NOT_UNDERSTOOD}
    await puppets[0].hears_nothing(mover.me)


async def test_a_reply_to_is_no_loudspeaker(world: World) -> None:
    puppet, mover = await Puppet.start(world, "puppet"), await world.start(House, "mover")
    many = tuple(at(*[f"agent{number}" for number in range(HEARERS + 1)]))
    puppet.say(opens(Performative.REQUEST, "fipa-request", Move(), reply_to=many), mover.me)
    reason = await puppet.hear_reason(Performative.REFUSE)
    assert (reason.cause, reason.text) == (
        Cause.UNSUPPORTED_VALUE, "reply-to names 17 agents; 16 are answered at most",
    )  # fmt: skip
    asker, _broker, _none = await trio(world, at("a"))
    found = why(await ask(asker, "recruit", designated=many), Refused)
    assert found == (Cause.UNSUPPORTED_VALUE, "17 agents are designated; 16 can be, at most")
    assert len(world.of(MessageSent, agent="mover@localhost")) == 1


@pytest.mark.parametrize("protocol", [BROKERING, RECRUITING], ids=lambda each: each.name)
@pytest.mark.parametrize(
    ("label", "address", "told"),
    [
        ("", "", "ontology: String should have at least 1 character"),
        ("x" * 2000, "", "ontology: String should have at most 1024 characters"),
        ("a\uffff", "", "U+FFFF"),
        (HOUSE.label, "b@localhost c@localhost", "'b@localhost c@localhost' is no address"),
        (HOUSE.label, "b<@localhost", "'b<@localhost' is no agent's name"),
        (HOUSE.label, "b@localhost/\uffff", "U+FFFF"),
    ],
)
async def test_what_cannot_be_passed_on_is_refused_before_anybody_is_looked_for(
    world: World, protocol: Any, label: str, address: str, told: str
) -> None:
    _asker, broker, _none = await trio(world, at("a"))
    puppet = await Puppet.start(world, "puppet")
    nested = Nested(ontology=label, content=HOW_WARM.content)
    who = [AgentIdentifier(name="b@localhost", addresses=(f"xmpp:{address}",))] if address else []
    wanted = Proxy(template=ANYBODY, performative="query-ref", message=nested, designated=tuple(who))
    content = json.dumps({"proxy": wanted.model_dump(exclude_none=True)})
    puppet.say(opens(Performative.PROXY, protocol.name, Foreign(), content=content), broker.me)
    reason = await puppet.hear_reason(Performative.REFUSE)
    assert told in reason.text
    assert broker.terms == []
    await all_over(world, broker)


async def test_a_reply_that_is_too_large_to_be_passed_on_is_told_of(world: World) -> None:
    puppet = await Puppet.start(world, "puppet")
    asker, broker, _targets = await trio(world, at("puppet", "a"), a=Temperature(celsius=1))
    asking = asyncio.create_task(ask(asker, "broker"))
    asked = await puppet.hear(Performative.QUERY_REF)
    empty = asked.reply(Performative.REFUSE, content=explain("busy", ""))
    room = STANZA_LIMIT - len(render(empty, BROKER, "puppet99"))
    puppet.say(asked.reply(Performative.REFUSE, content=explain("busy", "a" * (room - 40))), broker.me)
    found = await asking
    assert told(found) == {"a": 1, "puppet": (Failed, Cause.INTERNAL_ERROR)}
    text = found.replies["puppet@localhost"].reason.text
    assert text.startswith("the reply of puppet@localhost is lost: the message has 1,000,")
    await all_over(world, asker, broker)


async def test_neither_the_initiator_nor_the_recruiter_is_recruited(world: World) -> None:
    asker, broker, _targets = await trio(world, at("asker", "broker", "a"), a=Temperature(celsius=3))
    assert (await ask(asker, "recruit")).targets == ("a@localhost",)
    broker.parts["find"] = at("asker", "broker")
    assert why(await ask(asker, "recruit"))[0] == "no-match"
    broker.parts["find"], broker.parts["answer"] = at("broker", "asker"), Temperature(celsius=7)
    asker.parts["answer"] = Temperature(celsius=8)
    assert told(await ask(asker, "broker")) == {"broker": 7, "asker": 8}
    await all_over(world, asker, broker)


# -- giving up and vanishing ---------------------------------------------------------------------


@both_ways
async def test_cancelling_while_the_broker_looks_stops_it(world: World, way: str) -> None:
    asker, broker, _none = await trio(world, forever)
    asking = asyncio.create_task(ask(asker, way))
    await broker.started.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await ended(world, "broker", "CANCELLED")
    await ended(world, "asker", "CANCELLED")
    await all_over(world, asker, broker)


async def test_a_cancel_goes_through_the_broker_to_every_target(world: World) -> None:
    asker, broker, targets = await trio(world, at("a", "b"), a=forever, b=forever)
    asking = asyncio.create_task(ask(asker, "broker"))
    for each in targets:
        await each.started.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    for name in ("a", "b", "broker", "asker"):
        await ended(world, name, "CANCELLED")
    assert all(each.was_cancelled.is_set() for each in targets)
    await all_over(world, asker, broker, *targets)
    await becomes(lambda: not broker.mailroom._tasks and not asker.mailroom._tasks)


async def test_once_the_recruiter_is_done_the_targets_themselves_are_cancelled(world: World) -> None:
    asker, broker, (quick, a) = await trio(world, at("quick", "a"), quick=Temperature(), a=forever)
    asking = asyncio.create_task(ask(asker, "recruit"))
    await a.started.wait()
    await world.fact(MessageReceived, agent=ASKER, performative="inform", count=2)
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await ended(world, "a", "CANCELLED")
    assert a.was_cancelled.is_set()
    await all_over(world, asker, broker, quick, a)
    await becomes(lambda: not asker.mailroom._tasks)
    assert [each.peer for each in world.of(MessageSent, performative="cancel")] == ["a@localhost"]
    await world.fact(MessageReceived, agent=ASKER, peer="a@localhost", performative="inform")
    assert not world.of(OutOfSequence)


async def test_a_cancel_that_crosses_the_recruiters_last_word_goes_on_to_the_targets(world: World) -> None:
    puppet, target = await Puppet.start(world, "broker"), await Puppet.start(world, "a")
    asker = await world.start(House, "asker")
    asking = asyncio.create_task(ask(asker, "recruit"))
    asked = await puppet.hear(Performative.PROXY)
    puppet.say(asked.reply(Performative.AGREE), asker.me)
    asking.cancel()
    cancel = await puppet.hear(Performative.CANCEL)
    puppet.say(asked.reply(Performative.INFORM, content=done("a")), asker.me)
    puppet.say(cancel.reply(Performative.FAILURE, content=explain("late", "it is done")), asker.me)
    stop = await target.hear(Performative.CANCEL)
    assert (stop.conversation_id, stop.protocol) == (asked.conversation_id, "fipa-query")
    assert HOUSE.parse(stop.content) == Temperatures()
    target.say(stop.reply(Performative.FAILURE, content="too late"), asker.me)
    target.say(warm(asked, 3), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, performative="inform")
    assert len(world.of(OutOfSequence, agent=ASKER)) == 1
    await all_over(world, asker)


async def test_whoever_is_answered_may_cancel_and_nobody_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participating, "AGREE_AFTER", 60)
    asker, one, two, stranger = [await Puppet.start(world, name) for name in ("p", "one", "two", "stranger")]
    mover = await world.start(functools.partial(House, move=forever), "mover")
    asked = opens(Performative.REQUEST, "fipa-request", Move(), reply_to=(one.jid, two.jid))
    asker.say(asked, mover.me)
    await mover.started.wait()
    cancel = asked.model_copy(update={"performative": Performative.CANCEL, "reply_to": (), "reply_with": "x"})
    stranger.say(cancel, mover.me)
    assert (await stranger.hear(Performative.NOT_UNDERSTOOD)).in_reply_to == "x"
    assert not mover.was_cancelled.is_set()
    mover.tasks[0].agree()
    for each in (one, two):
        await each.hear(Performative.AGREE)
    one.say(cancel.model_copy(update={"performative": Performative.NOT_UNDERSTOOD}), mover.me)
    await world.fact(MessageReceived, agent="mover@localhost", performative="not-understood")
    two.say(cancel, mover.me)
    assert (await two.hear(Performative.INFORM)).in_reply_to == "x"
    await ended(world, "mover", "CANCELLED")
    assert mover.was_cancelled.is_set()
    for each in (asker, one, two):  # it answers who has cancelled
        await each.hears_nothing(mover.me)
    await all_over(world, mover)


async def test_a_recruiter_that_takes_back_what_it_has_passed_on_is_answered_itself(world: World) -> None:
    asker, one = await Puppet.start(world, "p"), await Puppet.start(world, "one")
    mover = await world.start(functools.partial(House, move=forever), "mover")
    asked = opens(Performative.REQUEST, "fipa-request", Move(), reply_to=(one.jid,))
    asker.say(asked, mover.me)
    await mover.started.wait()
    cancel = asked.model_copy(update={"performative": Performative.CANCEL, "reply_to": (), "reply_with": "x"})
    asker.say(cancel, mover.me)
    await ended(world, "mover", "CANCELLED")
    assert (await asker.hear(Performative.INFORM)).in_reply_to == "x"
    await all_over(world, mover)


async def test_a_broker_that_does_not_let_its_search_be_stopped_confirms_all_the_same(world: World) -> None:
    async def stubborn(_wanted: Proxy, _task: Participation) -> Iterable[AgentIdentifier]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return at("a")

    asker, broker, _none = await trio(world, stubborn)
    asking = asyncio.create_task(ask(asker, "broker"))
    await broker.started.wait()
    asking.cancel()
    await ended(world, "asker", "CANCELLED")
    assert not world.of(MessageSent, agent=BROKER, performative="query-ref")
    await all_over(world, asker, broker)


async def test_a_cancel_that_crosses_the_end_leaves_nothing_open(world: World) -> None:
    puppet, asker = await Puppet.start(world, "broker"), await world.start(House, "asker")
    asking = asyncio.create_task(ask(asker, "broker"))
    asked = await puppet.hear(Performative.PROXY)
    puppet.say(asked.reply(Performative.AGREE), asker.me)
    asking.cancel()
    cancel = await puppet.hear(Performative.CANCEL)
    puppet.say(asked.reply(Performative.INFORM, content=done("a")), asker.me)
    puppet.say(cancel.reply(Performative.FAILURE, content=explain("late", "it is done")), asker.me)
    await all_over(world, asker)
    await becomes(lambda: not asker.mailroom._tasks)


async def test_a_cancel_that_is_never_answered_is_let_go_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initiating, "CANCEL_WITHIN", 0.05)
    puppet, asker = await Puppet.start(world, "broker"), await world.start(House, "asker")
    asking = asyncio.create_task(ask(asker, "broker", reply_within=0.2, result_within=0))
    asked = await puppet.hear(Performative.PROXY)
    puppet.say(asked.reply(Performative.AGREE), asker.me)
    puppet.say(asked.reply(Performative.INFORM, content=done("a")), asker.me)
    assert told(await asking) == {}
    await puppet.hear(Performative.CANCEL)
    await all_over(world, asker)
    await becomes(lambda: not asker.mailroom._tasks)


async def test_a_broker_that_vanishes_is_reported_and_a_recruiter_may_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = look_often(monkeypatch, "broker")
    monkeypatch.setattr(participating, "INITIATOR_GONE_AFTER", 3)
    go_on = asyncio.Event()

    async def slowly(_query: Temperatures, _task: Participation) -> Temperature:
        await go_on.wait()
        return Temperature()

    asker, broker, (a,) = await trio(world, at("a"), a=slowly)
    brokered, recruited = (asyncio.create_task(ask(asker, way)) for way in ("broker", "recruit"))
    await world.fact(MessageReceived, agent=ASKER, performative="inform", count=2)
    await looked.wait()
    await broker.stop()
    assert why(await brokered)[0] in {Cause.VANISHED, Cause.UNREACHABLE}
    assert not recruited.done()
    go_on.set()
    assert told(await recruited) == {"a": 20.5}
    await all_over(world, asker, a)


async def test_an_initiator_that_vanishes_is_brokered_for_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participating, "INITIATOR_GONE_AFTER", 3)
    looked = look_often(monkeypatch, "asker")
    asker, broker, (a,) = await trio(world, at("a"), a=forever)
    asking = asyncio.create_task(ask(asker, "broker"))
    await a.started.wait()
    await looked.wait()
    await asker.stop()
    await asking
    await ended(world, "broker", "UNREACHABLE")
    await ended(world, "a", "CANCELLED")
    await all_over(world, broker, a)


# -- peers that do not keep to the rules ---------------------------------------------------------


def done(*names: str) -> str:
    """A broker's inform that these have been spoken to."""
    return INTERACTION.render(ProxyDone(targets=tuple(f"{name}@localhost" for name in names)))


def warm(message: AclMessage, celsius: float, **parameters: Any) -> AclMessage:
    """A reply."""
    content = HOUSE.render(Temperature(celsius=celsius))
    fields = {"content": content, "ontology": HOUSE.label, **parameters}
    return message.reply(Performative.INFORM, **fields)


async def test_a_stranger_has_no_voice_in_recruiting_and_nobody_speaks_twice(world: World) -> None:
    recruiter, stranger, target = [await Puppet.start(world, name) for name in ("broker", "stranger", "a")]
    asker = await world.start(House, "asker")
    asking = asyncio.create_task(ask(asker, "recruit", reply_within=60))
    asked = await recruiter.hear(Performative.PROXY)
    recruiter.say(asked.reply(Performative.AGREE), asker.me)
    await world.fact(MessageReceived, agent=ASKER, performative="agree")
    # Before it is known who is asked: neither is the stranger's inform the recruiter's, nor is it a reply.
    stranger.say(asked.reply(Performative.INFORM, content=done("stranger")), asker.me)
    stranger.say(warm(asked, 66), asker.me)
    target.say(asked.reply(Performative.AGREE), asker.me)
    target.say(warm(asked, 1), asker.me)  # overtakes the recruiter
    await world.fact(MessageReceived, agent=ASKER, performative="inform", count=3)
    recruiter.say(asked.reply(Performative.INFORM, content=done("a", "b")), asker.me)
    await world.fact(MessageReceived, agent=ASKER, performative="inform", count=4)
    stranger.say(warm(asked, 67), asker.me)
    stranger.say(warm(asked, 68, user_parameters={TARGET: "b@localhost"}), asker.me)
    target.say(warm(asked, 2), asker.me)
    recruiter.say(warm(asked, 3), asker.me)  # is out of it
    second = await Puppet.start(world, "b")
    second.say(asked.reply(Performative.NOT_UNDERSTOOD, content="what?"), asker.me)
    assert told(await asking) == {"a": 1, "b": (NotUnderstood, "not-understood")}
    assert len(world.of(OutOfSequence, agent=ASKER, peer="stranger@localhost")) == 4
    assert len(world.of(OutOfSequence, agent=ASKER, peer="a@localhost")) == 1
    assert len(world.of(OutOfSequence, agent=ASKER, peer=BROKER)) == 1
    for each in (recruiter, stranger, target, second):
        await each.hears_nothing(asker.me)
    await all_over(world, asker)
    second.say(warm(asked, 5), asker.me)
    await world.fact(OutOfSequence, agent=ASKER, peer="b@localhost")


async def test_a_stranger_has_no_voice_in_brokering(world: World) -> None:
    broker, stranger = await Puppet.start(world, "broker"), await Puppet.start(world, "stranger")
    asker = await world.start(House, "asker")
    asking = asyncio.create_task(ask(asker, "broker", reply_within=60))
    asked = await broker.hear(Performative.PROXY)
    broker.say(warm(asked, 1), asker.me)  # it has not even agreed
    broker.say(asked.reply(Performative.AGREE), asker.me)
    broker.say(asked.reply(Performative.INFORM, content=done("a", "b", "c")), asker.me)
    stranger.say(warm(asked, 66, user_parameters={TARGET: "a@localhost"}), asker.me)
    broker.say(warm(asked, 67, user_parameters={TARGET: "x@localhost"}), asker.me)
    broker.say(warm(asked, 1, user_parameters={TARGET: "a@localhost"}), asker.me)
    broker.say(warm(asked, 2, user_parameters={TARGET: "a@localhost"}), asker.me)
    broker.say(asked.reply(Performative.NOT_UNDERSTOOD, user_parameters={TARGET: "b@localhost"}), asker.me)
    broker.say(warm(asked, 9), asker.me)  # names nobody
    found = told(await asking)
    assert found == {"a": 1, "b": (NotUnderstood, "not-understood"), "broker": 9}
    await world.fact(OutOfSequence, count=4, agent=ASKER)
    await stranger.hears_nothing(asker.me)


async def test_a_broker_may_still_fail_when_replies_have_come(world: World) -> None:
    broker, asker = await Puppet.start(world, "broker"), await world.start(House, "asker")
    asking = asyncio.create_task(ask(asker, "broker"))
    asked = await broker.hear(Performative.PROXY)
    broker.say(asked.reply(Performative.AGREE), asker.me)
    broker.say(asked.reply(Performative.INFORM, content=done("a", "b")), asker.me)
    broker.say(warm(asked, 1, user_parameters={TARGET: "a@localhost"}), asker.me)
    broker.say(asked.reply(Performative.FAILURE, content=explain("brokering", "I go home")), asker.me)
    assert why(await asking) == ("brokering", "I go home")
    await all_over(world, asker)


async def test_an_unreadable_list_of_targets_has_none(world: World) -> None:
    broker, asker = await Puppet.start(world, "broker"), await world.start(House, "asker")
    asking = asyncio.create_task(ask(asker, "broker"))
    asked = await broker.hear(Performative.PROXY)
    broker.say(asked.reply(Performative.AGREE), asker.me)
    broker.say(asked.reply(Performative.INFORM, content="done"), asker.me)
    assert await asking == Brokered(targets=(), replies={})
    await all_over(world, asker)


@pytest.mark.parametrize("protocol", [BROKERING, RECRUITING], ids=lambda each: each.name)
async def test_a_broker_answers_what_is_out_of_sequence_once(world: World, protocol: Any) -> None:
    _asker, broker, _none = await trio(world, forever)
    puppet = await Puppet.start(world, "puppet")
    wanted = Proxy(template=ANYBODY, performative="query-ref", message=HOW_WARM)
    proxied = opens(Performative.PROXY, protocol.name, Foreign(), content=INTERACTION.render(wanted))
    puppet.say(proxied, broker.me)
    await broker.started.wait()
    for act in (Performative.PROXY, Performative.INFORM, Performative.ACCEPT_PROPOSAL):
        puppet.say(proxied.model_copy(update={"performative": act}), broker.me)
    assert (await puppet.hear_reason(Performative.NOT_UNDERSTOOD)).cause == Cause.UNEXPECTED_ACT
    await world.fact(OutOfSequence, agent=BROKER, count=3)
    puppet.say(
        proxied.model_copy(update={"performative": Performative.CANCEL, "reply_with": "r2"}), broker.me
    )
    assert (await puppet.hear(Performative.INFORM)).in_reply_to == "r2"
    await puppet.hears_nothing(broker.me)
    await all_over(world, broker)


async def test_a_plain_peer_gets_replies_in_its_own_conversation(world: World) -> None:
    _asker, broker, _targets = await trio(world, at("a"), a=Temperature(celsius=4))
    puppet = await Puppet.start(world, "puppet")
    wanted = Proxy(template=ANYBODY, performative="query-ref", message=HOW_WARM)
    content = INTERACTION.render(wanted)
    puppet.say(opens(Performative.PROXY, "fipa-brokering", Foreign(), content=content), broker.me)
    await puppet.hear(Performative.AGREE)
    assert (await puppet.hear(Performative.INFORM)).content == done("a")
    reply = await puppet.hear(Performative.INFORM)
    assert (reply.conversation_id, reply.in_reply_to, reply.protocol) == ("c1", "r1", "fipa-brokering")
    assert reply.user_parameters == {TARGET: "a@localhost"}
    assert HOUSE.parse(reply.content) == Temperature(celsius=4)
