"""The built-in broker: whom it finds in the directory, and what it says when it finds nobody."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import agents.registered
from agents.base import LocutionAgent
from agents.broker import Broker
from agents.registered import RegisteredAgent
from behaviours.authority import Policy, Rule
from behaviours.brokering import Brokered
from behaviours.events import OutOfSequence
from behaviours.handlers import answers, hears
from behaviours.outcomes import Answer, Failed, Refuse, Refused, Succeeded
from behaviours.participating import Participation
from behaviours.signing import SigningKey
from ontology.acl import Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason, Term
from ontology.errors import Cause
from ontology.management import DfAgentDescription, ServiceDescription
from tests.agents.conftest import DIRECTORY, Society
from tests.behaviours.houses import HOUSE, Temperature, Temperatures

BROKER = "broker@localhost"

WATER, WINE = ServiceDescription(type="water"), ServiceDescription(type="wine")
WATERS, WINES = DfAgentDescription(services=(WATER,)), DfAgentDescription(services=(WINE,))

both_ways = pytest.mark.parametrize("way", ["broker", "recruit"])


class Vessel(RegisteredAgent):
    """Offers what it is told to, and knows how warm that is."""

    ontologies = (HOUSE,)

    def __init__(self, *who: Any, offers: ServiceDescription = WATER, answer: Answer | None = None) -> None:
        super().__init__(*who, directory=DIRECTORY)
        self.offers, self.reply = offers, answer
        self.asked_by: list[str] = []

    def services(self) -> tuple[ServiceDescription, ...]:
        return (self.offers,)

    @answers(Temperatures)
    async def answer(self, query: Temperatures, task: Participation) -> Answer:
        self.asked_by.append(task.initiator.local_name)
        return self.reply or Temperature(celsius=len(self.me.local_name))


class Scribe(LocutionAgent):
    """Writes down what it is told by agents that it has not asked."""

    ontologies = (HOUSE,)

    def __init__(self, *who: Any) -> None:
        super().__init__(*who)
        self.heard: dict[str, Term] = {}

    @hears(Reason)
    @hears(Temperature)
    def hear(self, term: Term, sender: AgentIdentifier) -> None:
        self.heard[sender.local_name] = term


async def start(society: Society, *names: str, **options: Any) -> Vessel:
    """Start a broker, vessels of these names, and one that asks; all of them stand in the directory."""
    kinds: dict[str, Callable[..., RegisteredAgent]] = {
        "broker": partial(Broker, directory=DIRECTORY, **options),
        **dict.fromkeys((*names, "asker"), Vessel),
    }
    started = [await society.world.start(kind, name) for name, kind in kinds.items()]
    for each in started:
        await society.entered(each)
    asker = started[-1]
    assert isinstance(asker, Vessel)
    return asker


async def ask(asker: Vessel, way: str, template: DfAgentDescription = WATERS, **how: Any) -> Any:
    """Have somebody asked how warm it is."""
    return await getattr(asker, way)(BROKER, template, Temperatures(), performative="query-ref", **how)


def targets(found: Any) -> list[str]:
    """Those that were spoken to, by local name."""
    assert isinstance(found, Brokered), found
    return [each.partition("@")[0] for each in found.targets]


async def test_it_is_found_in_the_directory_as_what_it_is(society: Society) -> None:
    asker = await start(society)
    found = await asker.find(ServiceDescription(type="brokering"))
    assert not isinstance(found, Failed)
    (entry,) = found
    assert entry.name == AgentIdentifier(name=BROKER)
    (service,) = entry.services
    assert entry.protocols == service.protocols == ("fipa-brokering", "fipa-recruiting")
    assert entry.ontologies == service.ontologies == ("locution-interaction/1.1",)
    assert await society.listed("brokering") == ["broker"]


@both_ways
async def test_it_asks_those_that_the_template_matches(society: Society, way: str) -> None:
    asker = await start(society, "jug", "pitcher")
    barrel = await society.world.start(partial(Vessel, offers=WINE), "barrel")
    await society.entered(barrel)
    found = await ask(asker, way, WINES)
    assert targets(found) == ["barrel"]
    found = await ask(asker, way)
    # In recruiting the initiator is no target; a broker may well find it.
    assert targets(found) == [*(["asker"] if way == "broker" else []), "jug", "pitcher"]
    warm = {name.partition("@")[0]: each.result.celsius for name, each in found.replies.items()}
    assert warm == {name: len(name) for name in targets(found)}
    assert all(isinstance(each, Succeeded) for each in found.replies.values())


@both_ways
async def test_as_many_as_it_may_and_as_are_wanted_and_the_barred_do_not_count(
    society: Society, way: str
) -> None:
    # By name the asker and the broker come first; where they are barred, they take nobody's place.
    asker = await start(society, "jug", "kettle", "pitcher", most=2)
    anybody = DfAgentDescription(languages=("json",))
    first = ["asker", "jug"] if way == "broker" else ["jug", "kettle"]
    assert targets(await ask(asker, way, anybody)) == first
    assert targets(await ask(asker, way)) == first
    assert targets(await ask(asker, way, anybody, most=100)) == first
    assert targets(await ask(asker, way, anybody, most=1)) == first[:1]


@both_ways
async def test_where_nobody_fits_there_is_no_match(society: Society, way: str) -> None:
    asker = await start(society)
    found = await ask(asker, way, WINES)
    assert isinstance(found, Failed)
    assert found.reason.cause == "no-match"


async def test_it_never_asks_itself(society: Society) -> None:
    asker = await start(society)
    found = await ask(asker, "broker", DfAgentDescription(services=(ServiceDescription(type="brokering"),)))
    assert isinstance(found, Failed)
    assert found.reason.cause == "no-match"


@both_ways
async def test_a_directory_that_does_not_answer_is_why_nobody_is_found(
    monkeypatch: pytest.MonkeyPatch, society: Society, way: str
) -> None:
    monkeypatch.setattr(agents.registered, "LEAVE_WITHIN", 0.1)
    monkeypatch.setattr(agents.registered, "TELL_WITHIN", 1.0)
    asker = await start(society)
    await society.directory.stop()
    found = await ask(asker, way)
    assert isinstance(found, Failed)
    assert found.reason.cause == Cause.UNREACHABLE
    assert found.reason.text.startswith(f"the directory {DIRECTORY} could not be searched: ")


async def test_who_is_designated_hears_what_it_has_not_asked_for(society: Society) -> None:
    asker = await start(society, "jug")
    busy = await society.world.start(partial(Vessel, answer=Refuse("busy", "no time")), "tub")
    await society.entered(busy)
    scribes = [await society.world.start(Scribe, name) for name in ("ann", "bob")]
    found = await ask(asker, "recruit", designated=["ann@localhost", scribes[1].me])
    assert found == Brokered(targets=("jug@localhost", "tub@localhost"), replies={})
    told = {"jug": Temperature(celsius=3), "tub": Reason(cause="busy", text="no time")}
    await society.world.until(lambda: all(scribe.heard == told for scribe in scribes), "the scribes' news")
    assert not society.world.of(OutOfSequence)


SOCIETY = Rule(who=("broker@localhost", "directory@localhost", "jug@localhost", "pitcher@localhost"))
"""What those of a society may say to each other: everything."""


async def rule(
    society: Society, *rules: Rule, is_proxy_signed: bool = False, **options: Any
) -> tuple[Vessel, Vessel, Vessel]:
    """Start mallory, who may speak to the broker and as these rules say, and a jug and a pitcher."""
    keys = {name: SigningKey(SigningKey.new()) for name in ("broker", "jug", "pitcher", "mallory")}
    public = {f"{name}@localhost": key.public for name, key in keys.items()}
    proxies = Rule(
        who=("mallory@localhost",), receivers=frozenset({BROKER}), require_signature=is_proxy_signed
    )
    policy = Policy(rules=(SOCIETY, proxies, *rules))
    kinds: dict[str, Callable[..., RegisteredAgent]] = {
        "broker": partial(Broker, directory=DIRECTORY, **options),
        "jug": Vessel,
        "pitcher": Vessel,
        "mallory": partial(Vessel, offers=WINE),
    }
    started: list[Any] = []
    for name, kind in kinds.items():
        ports = {"policy": policy} if name != "mallory" else {}
        started.append(
            await society.world.start(kind, name, key=keys[name], keys=public.get, **ports)
            if is_proxy_signed
            else await society.world.start(kind, name, **ports)
        )
        await society.entered(started[-1])
    _broker, jug, pitcher, mallory = started
    return mallory, jug, pitcher


def mallory_may(receiver: str, **what: Any) -> Rule:
    """A rule about one receiver, by local name."""
    return Rule(who=("mallory@localhost",), receivers=frozenset({f"{receiver}@localhost"}), **what)


async def test_nobody_reaches_through_it_whom_he_may_not_ask_himself(society: Society) -> None:
    mallory, jug, pitcher = await rule(society)
    direct = await mallory.query_ref(jug.me.name, Temperatures())
    assert isinstance(direct, Refused), direct
    assert direct.reason.cause == Cause.UNAUTHORISED
    for way in ("broker", "recruit"):
        # The very sentence that the target itself says; where nobody fits there is still no match.
        assert await ask(mallory, way) == direct
        found = await ask(mallory, way, DfAgentDescription(services=(ServiceDescription(type="oil"),)))
        assert isinstance(found, Failed)
        assert found.reason.cause == "no-match"
    assert jug.asked_by == pitcher.asked_by == []


@both_ways
async def test_those_that_the_initiator_may_not_ask_are_left_out_and_take_nobodys_place(
    society: Society, way: str
) -> None:
    mallory, jug, pitcher = await rule(society, mallory_may("pitcher"), most=1)
    for name in ("ewer", "flagon"):
        await society.entered(await society.world.start(Vessel, name))
    found = await ask(mallory, way, most=1)
    assert targets(found) == ["pitcher"]
    assert (jug.asked_by, pitcher.asked_by) == ([], ["broker"])


@both_ways
@pytest.mark.parametrize(
    ("what", "is_passed_on"),
    [
        ({"acts": frozenset({Performative.QUERY_REF})}, True),
        ({"acts": frozenset({Performative.REQUEST, Performative.PROXY})}, False),
        ({"protocols": frozenset({"fipa-query"})}, True),
        ({"protocols": frozenset({"fipa-brokering", "fipa-recruiting"})}, False),
        ({"actions": frozenset({Temperatures.tag})}, True),
        ({"actions": frozenset({"proxy"})}, False),
    ],
)
async def test_what_is_passed_on_is_judged_by_its_own_act_protocol_and_tag(
    society: Society, way: str, what: dict[str, Any], is_passed_on: bool
) -> None:
    mallory, jug, _ = await rule(society, mallory_may("jug", **what))
    found = await ask(mallory, way)
    if is_passed_on:
        assert targets(found) == ["jug"]
        assert jug.asked_by == ["broker"]
    else:
        assert isinstance(found, Refused), found
        assert found.reason.cause == Cause.UNAUTHORISED
        assert jug.asked_by == []


@both_ways
async def test_what_has_to_be_signed_is_passed_on_for_a_proxy_that_had_to_be(
    society: Society, way: str
) -> None:
    mallory, *_ = await rule(society, mallory_may("jug", require_signature=True), is_proxy_signed=True)
    assert targets(await ask(mallory, way)) == ["jug"]


@both_ways
async def test_what_has_to_be_signed_is_not_passed_on_for_a_proxy_that_need_not_be(
    society: Society, way: str
) -> None:
    mallory, jug, _ = await rule(society, mallory_may("jug", require_signature=True))
    found = await ask(mallory, way, DfAgentDescription(name=jug.me))
    assert isinstance(found, Refused | Failed), found  # it has agreed before, where that took long
    assert found.reason.cause == Cause.UNAUTHORISED
    assert found.reason.text == (
        "mallory@localhost may send query-ref to jug only signed, and a proxy to broker need not be: "
        "the rule for that takes require_signature = true"
    )
    assert jug.asked_by == []
