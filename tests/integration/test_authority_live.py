"""Who may say what, over a real server: one that keeps its word, and one that lies about who said what."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from agents.base import LocutionAgent
from agents.directory_facilitator import DirectoryFacilitator
from agents.registered import RegisteredAgent
from behaviours.authority import Policy, Rule
from behaviours.clocking import system_now
from behaviours.events import (
    ConversationEnded,
    ConversationOpened,
    ConversationRefused,
    DuplicateDropped,
    MessageDisbelieved,
)
from behaviours.handlers import on
from behaviours.outcomes import Answer, Outcome, Refused, Succeeded
from behaviours.participating import Participation
from behaviours.signing import SigningKey
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.management import DfAgentDescription, Found, Modify, Register, Search, ServiceDescription
from resilience.memory import MemoryJournal, MemoryRecords
from society.xmpp_server import Line, Passage
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Sum
from tests.conftest import World

DIRECTORY = "directory@localhost"
COORDINATION = ServiceDescription(type="coordination")
OPERATOR_ONLY = Policy(rules=(Rule(who=("operator@localhost",)),))
SIGNED = Policy(rules=(Rule(who=("operator@localhost",), require_signature=True),))


class Liar:
    """Stands in the server, and delivers what `lie` makes of each message."""

    def __init__(self) -> None:
        self.lie: Callable[[bytes], list[bytes]] = lambda xml: [xml]
        self.passed: list[bytes] = []

    def pass_on(self, passage: Passage, line: Line) -> None:
        """See `society.xmpp_server.Interceptor`."""
        is_said = passage.kind == "message" and b"performative" in passage.xml
        if is_said:
            self.passed.append(passage.xml)
        for xml in self.lie(passage.xml) if is_said else [passage.xml]:
            line.deliver(xml)


def new_key() -> SigningKey:
    return SigningKey(SigningKey.new())


def cause(outcome: Outcome) -> str:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason.cause


def text_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason.text


class Shop(RegisteredAgent):
    """Stands in the directory."""

    ontologies = (SUMS,)

    def __init__(self, *who: Any) -> None:
        super().__init__(*who, directory=DIRECTORY)

    def services(self) -> tuple[ServiceDescription, ...]:
        return (COORDINATION,)


class Desk(Shop):
    """Adds, stands not in the directory, and asks it for keys."""

    def services(self) -> tuple[ServiceDescription, ...]:
        return ()

    @on(Add)
    async def add(self, action: Add, _task: Participation) -> Answer:
        return Sum(value=action.a + action.b)


async def entered(world: World, name: str) -> None:
    """Wait until an agent stands in the directory."""
    facts = {"agent": f"{name}@localhost", "role": "initiator", "peer": DIRECTORY, "state": "DONE"}
    await world.fact(ConversationEnded, **facts)


async def lying(world: World) -> Liar:
    """Start the server anew, with a liar in it."""
    await world.xmpp.stop()
    liar = Liar()
    await world.serve(faults=liar)
    return liar


# -- the directory ---------------------------------------------------------------------------


async def test_only_whom_the_policy_names_may_enter_the_directory_and_anybody_may_search_it(
    world: World,
) -> None:
    policy = Policy(
        rules=(
            Rule(who=("@society",)),
            Rule(who=("*@localhost",), actions=frozenset({"search"})),
        ),
        groups={"society": ("coordinator@localhost",)},
    )
    await world.start(DirectoryFacilitator, "directory", policy=policy)
    await world.start(Shop, "coordinator")
    await entered(world, "coordinator")
    mallory = await world.start(LocutionAgent, "mallory")
    entry = DfAgentDescription(name=mallory.me, services=(COORDINATION,))
    outcome = await mallory.request(DIRECTORY, Register(description=entry))
    assert cause(outcome) == "unauthorised"
    assert 'who = ["mallory@localhost"]' in text_of(outcome)
    assert 'actions = ["register"]' in text_of(outcome)
    await world.fact(ConversationRefused, agent=DIRECTORY, peer="mallory@localhost", cause="unauthorised")
    found = await mallory.request(DIRECTORY, Search(template=DfAgentDescription(services=(COORDINATION,))))
    assert isinstance(found, Succeeded)
    assert isinstance(found.result, Found)
    assert [each.name.local_name for each in found.result.descriptions if each.name] == ["coordinator"]


async def test_a_key_that_has_changed_is_neither_entered_nor_believed(world: World) -> None:
    directory = await world.start(DirectoryFacilitator, "directory")
    key = new_key()
    shop = await world.start(Shop, "shop", key=key)
    await entered(world, "shop")
    policy = Policy(rules=(Rule(who=("shop@localhost",), require_signature=True),))
    records = MemoryRecords()
    desk = await world.start(Desk, "desk", policy=policy, records=records)
    assert isinstance(await shop.request(desk.me, Add()), Succeeded), "the directory has its key"
    await shop.stop()
    await desk.stop()
    assert records.all("keys") == {"shop@localhost": key.public}

    thief = await world.start(Shop, "shop", key=new_key())
    await world.fact(ConversationEnded, agent="shop@localhost", peer=DIRECTORY, state="REFUSED")
    assert directory.authority.ring.find("shop@localhost") == key.public
    desk = await world.start(Desk, "desk", policy=policy, records=records)
    outcome = await thief.request(desk.me, Add())
    assert cause(outcome) == "unauthorised"
    assert "the key that shop@localhost is known by" in text_of(outcome)


@pytest.mark.parametrize("wants_signatures", [False, True])
async def test_a_key_may_be_left_out_where_nobody_asks_for_signatures(
    world: World, wants_signatures: bool
) -> None:
    rule = Rule(who=("shop@localhost",))
    other = Rule(who=("operator@localhost",), require_signature=wants_signatures)
    directory = await world.start(DirectoryFacilitator, "directory", policy=Policy(rules=(rule, other)))
    shop = await world.start(Asker, "shop")
    entry = DfAgentDescription(name=shop.me, services=(COORDINATION,))
    bad = entry.model_copy(update={"key": "ed25519:x"})
    outcome = await shop.request(DIRECTORY, Register(description=bad))
    assert text_of(outcome) == "the key is none: write ed25519: and 32 bytes in base64"
    good = entry.model_copy(update={"key": new_key().public})
    assert isinstance(await shop.request(DIRECTORY, Register(description=good)), Succeeded)
    outcome = await shop.request(DIRECTORY, Modify(description=entry))
    assert isinstance(outcome, Refused if wants_signatures else Succeeded)
    assert directory.authority.ring.find(shop.me.name) == good.key


async def test_the_directory_is_not_asked_for_its_own_key(world: World) -> None:
    await world.start(DirectoryFacilitator, "directory")
    desk = await world.start(Desk, "desk")
    assert await desk.find_key(AgentIdentifier(name=DIRECTORY)) is None
    assert world.of(ConversationOpened) == []


async def test_who_has_no_key_anywhere_is_told_so(world: World) -> None:
    await world.start(DirectoryFacilitator, "directory")
    policy = Policy(rules=(Rule(who=("*@localhost",), require_signature=True),))
    desk = await world.start(Desk, "desk", policy=policy)
    asker = await world.start(Asker, "asker", key=new_key())
    outcome = await asker.request(desk.me, Add())
    assert cause(outcome) == "unauthorised"
    assert "is not known here: it stands neither in [authority.keys] nor in the directory" in text_of(outcome)


async def test_a_directory_that_believes_nobody_takes_the_first_key_of_a_newcomer(world: World) -> None:
    everything = Policy(rules=(Rule(who=("*@localhost",)),), require_signature=True)
    book, key = new_key(), new_key()
    await world.start(
        DirectoryFacilitator, "directory", policy=everything, key=book, keys={DIRECTORY: book.public}.get
    )
    await world.start(Shop, "shop", policy=everything, key=key, keys={DIRECTORY: book.public}.get)
    await entered(world, "shop")
    plain = await world.start(Shop, "plain")
    outcome = await plain.request(DIRECTORY, Search())
    assert cause(outcome) == "unauthorised"
    assert "plain@localhost has to sign what it says to directory" in text_of(outcome)


# -- a server that lies ----------------------------------------------------------------------


async def test_a_server_that_lies_about_the_sender_is_believed_without_signatures(world: World) -> None:
    liar = await lying(world)
    adder = await world.start(Adder, "adder", policy=OPERATOR_ONLY)
    mallory = await world.start(Asker, "mallory")
    liar.lie = lambda xml: [xml.replace(b"mallory@localhost", b"operator@localhost")]
    await mallory.request(adder.me, Add(), reply_within=0.2)
    assert adder.started.is_set()


async def test_a_server_that_lies_about_the_sender_is_found_out_by_signatures(world: World) -> None:
    liar = await lying(world)
    keys = {"operator@localhost": new_key(), "mallory@localhost": new_key()}
    publics = {name: key.public for name, key in keys.items()}
    adder = await world.start(Adder, "adder", policy=SIGNED, keys=publics.get)
    mallory = await world.start(Asker, "mallory", key=keys["mallory@localhost"])
    liar.lie = lambda xml: [xml.replace(b"mallory@localhost", b"operator@localhost")]
    await mallory.request(adder.me, Add(), reply_within=0.2)
    fact = await world.fact(ConversationRefused, agent=adder.me.name, cause="unauthorised")
    assert (fact.peer, "is not signed by the key" in fact.text) == ("operator@localhost", True)
    assert not adder.started.is_set()


async def test_what_a_server_changes_is_found_out(world: World) -> None:
    liar = await lying(world)
    key = new_key()
    adder = await world.start(Adder, "adder", policy=SIGNED, keys={"operator@localhost": key.public}.get)
    asker = await world.start(Asker, "operator", key=key)
    assert isinstance(await asker.request(adder.me, Add(a=1)), Succeeded)
    liar.lie = lambda xml: [xml.replace(b'"a":1.0', b'"a":9.0')]
    outcome = await asker.request(adder.me, Add(a=1))
    assert cause(outcome) == "unauthorised"
    assert "or was changed on its way" in text_of(outcome)


@pytest.mark.parametrize(
    ("pattern", "new", "told"),
    [
        # From another session of the account it is no second copy of the same.
        (
            rb"operator@localhost/one",
            b"operator@localhost/two",
            "has come before: somebody has sent it again",
        ),
        (rb"(\sid=['\"])", rb"\1another", "is not signed by the key"),
        (rb"(conversation-id.{,50}<value>)", rb"\1another", "is not signed by the key"),
    ],
)
async def test_what_a_server_sends_again_is_done_once(
    world: World, pattern: bytes, new: bytes, told: str
) -> None:
    liar = await lying(world)
    key = new_key()
    adder = await world.start(Adder, "adder", policy=SIGNED, keys={"operator@localhost": key.public}.get)
    asker = await world.start(Asker, "operator/one", key=key)

    def repeat(xml: bytes) -> list[bytes]:
        again = re.sub(pattern, new, xml, count=1)
        assert again != xml
        again = re.sub(rb"<acknowledgeable[^>]*/>", b"", again)  # else it is known by its id already
        return [xml, xml, again] if b">request</value>" in xml else [xml]

    liar.lie = repeat
    asking = asyncio.ensure_future(asker.request(adder.me, Add()))
    await world.until(lambda: any(told in text for text in doubts(world)), told)
    await world.fact(DuplicateDropped, agent=adder.me.name)
    assert len(world.of(ConversationOpened, agent=adder.me.name)) == 1
    await asking


async def test_what_was_done_before_a_restart_is_not_done_again_after_it(world: World) -> None:
    liar, key, journal = await lying(world), new_key(), MemoryJournal()
    kept: dict[str, Any] = {
        "policy": SIGNED,
        "keys": {"operator@localhost": key.public}.get,
        "journal": journal,
    }
    adder = await world.start(Adder, "adder", **kept)
    asker = await world.start(Asker, "operator/one", key=key)
    assert isinstance(await asker.request(adder.me, Add()), Succeeded)
    (asked,) = [xml for xml in liar.passed if b">request</value>" in xml]
    await adder.stop()
    adder = await world.start(Adder, "adder", **kept)

    # As from another session of the account, and without the mark by which its id is known.
    again = asked.replace(b"operator@localhost/one", b"operator@localhost/two")
    again = re.sub(rb"<acknowledgeable[^>]*/>", b"", again)
    liar.lie = lambda xml: [re.sub(rb"to=(['\"])[^'\"]*", rb"to=\1" + adder.me.name.encode(), again)]
    mallory = await Puppet.start(world, "mallory")
    mallory.say(AclMessage(performative=Performative.INFORM), adder.me)
    await world.fact(DuplicateDropped, agent=adder.me.name)
    assert not adder.started.is_set()


def doubts(world: World) -> list[str]:
    found = [*world.of(MessageDisbelieved), *world.of(ConversationRefused, cause="unauthorised")]
    return [each.text for each in found]


@pytest.mark.parametrize("minutes", [-11, 11])
async def test_a_clock_that_is_eleven_minutes_off_is_told_to_its_owner(world: World, minutes: int) -> None:
    key = new_key()
    adder = await world.start(Adder, "adder", policy=SIGNED, keys={"operator@localhost": key.public}.get)
    wrong = lambda: system_now() + timedelta(minutes=minutes)  # noqa: E731 - a clock
    asker = await world.start(Asker, "operator", key=key, clock=wrong)
    outcome = await asker.request(adder.me, Add(), reply_within=3600.0)
    assert cause(outcome) == "unauthorised"
    assert "our clocks differ" in text_of(outcome)


async def test_whoever_takes_over_a_conversation_is_not_believed(world: World) -> None:
    liar = await lying(world)
    policy = Policy(rules=(Rule(who=("*@localhost",)),), require_signature=True)
    names = ("operator", "adder", "mallory")
    keys = {f"{name}@localhost": new_key() for name in names}
    known = {"policy": policy, "keys": {name: key.public for name, key in keys.items()}.get}
    adder = await world.start(partial(Adder, mood="holding"), "adder", key=keys["adder@localhost"], **known)
    asker = await world.start(Asker, "operator", key=keys["operator@localhost"], **known)
    mallory = await Puppet.start(world, "mallory")
    liar.lie = lambda xml: [xml.replace(b"mallory@localhost", b"adder@localhost")]

    asking = asyncio.ensure_future(asker.request(adder.me, Add(a=20, b=22)))
    await adder.started.wait()
    (opened,) = world.of(ConversationOpened, agent=asker.me.name)
    said = AclMessage(
        performative=Performative.INFORM,
        content='{"sum": {"value": 0}}',
        protocol="fipa-request",
        conversation_id=opened.conversation_id,
    )
    forged = keys["mallory@localhost"].sign(
        said, stanza_id="forged", sender=adder.me, receiver=asker.me, now=system_now()
    )
    mallory.write(render(said, asker.me.name, "unsigned"))
    mallory.write(render(forged, asker.me.name, "forged"))
    await world.fact(MessageDisbelieved, agent=asker.me.name, peer=adder.me.name, count=2)
    adder.release.set()
    outcome = await asking
    assert isinstance(outcome, Succeeded)
    assert outcome.result == Sum(value=42)
