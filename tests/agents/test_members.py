"""Who is in a task group, and what is announced to it: over a real server, with a real directory."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import pytest

from agents.base import LocutionAgent
from agents.directory_facilitator import DirectoryFacilitator
from agents.registered import RegisteredAgent
from behaviours.authority import own_domain
from behaviours.delivery import Delivered, DeliveryResult, Undelivered
from behaviours.events import (
    HandlerFailed,
    LeaderElected,
    MemberJoined,
    MemberLeft,
    MessageDisbelieved,
    MessageNotUnderstood,
    MessageReceived,
    MessageSent,
)
from behaviours.fencing import GROUP, TERM, Office, acting
from behaviours.grouping import Group, NoMemberError
from behaviours.handlers import Handlers, announced
from behaviours.pubsub import PUBSUB
from behaviours.signing import SigningKey
from behaviours.understanding import nest
from ontology.acl import AclMessage
from ontology.aid import AgentIdentifier
from ontology.content import Ontology, Predicate, Term
from ontology.interaction import Announcement
from ontology.management import DfAgentDescription, Search, ServiceDescription
from resilience.memory import MemoryLock
from society.xmpp_server import Passage
from tests.agents.conftest import disconnect_for_good
from tests.conftest import World, becomes

DIRECTORY = "directory@localhost"


class Plan(Predicate):
    """What is announced."""

    step: int


class Word(Predicate):
    """Something that only some hear."""

    text: str


PLANS = Ontology(name="plans", version=(1, 0), terms=(Plan, Word))


class Mute(RegisteredAgent):
    """In a group, and hears nothing of it."""

    ontologies: ClassVar[tuple[Ontology, ...]] = (PLANS,)

    def __init__(self, *args: Any, lease: float = 60.0) -> None:
        super().__init__(*args, directory=DIRECTORY, lease=lease)
        self.changes: list[str] = []

    async def on_ready(self) -> None:
        await self.group("cooks").join()

    async def on_members(self, group: Group) -> None:
        self.changes.append(" ".join(each.local_name for each in group.members))

    @property
    def others(self) -> str:
        """The members, by local name."""
        return " ".join(each.local_name for each in self.group("cooks").members)


class Cook(Mute):
    """In a group, and keeps what it hears."""

    def __init__(self, *args: Any, lease: float = 60.0) -> None:
        super().__init__(*args, lease=lease)
        self.heard: list[tuple[str, int]] = []

    @announced("cooks", Plan)
    async def hear(self, plan: Plan, announcer: AgentIdentifier) -> None:
        if plan.step < 0:
            raise ValueError("there is no such step")
        self.heard.append((announcer.local_name, plan.step))


def new_key() -> SigningKey:
    return SigningKey(SigningKey.new())


class Stanzas:
    """Counts what the server hands on."""

    def __init__(self) -> None:
        self.seen: list[Passage] = []

    def pass_on(self, passage: Passage, line: Any) -> None:
        self.seen.append(passage)
        line.deliver(passage.xml)


@pytest.fixture
async def directory(world: World) -> DirectoryFacilitator:
    return await world.start(DirectoryFacilitator, "directory")


async def cooks(world: World, *names: str, kind: type[Mute] = Cook, **ports: Any) -> list[Any]:
    """Start members of one group, who all know each other, the first of which leads."""
    lock = MemoryLock()
    made = [await world.start(kind, name, lock=lock, **ports) for name in names]
    for each in made:
        await world.until(lambda each=each: each.others == " ".join(sorted(names)))  # type: ignore[misc]
    return made


# -- members -------------------------------------------------------------------------------------


async def test_members_know_each_other(world: World, directory: DirectoryFacilitator) -> None:
    ann, bob, cid = await cooks(world, "ann", "bob", "cid")
    assert [each.name for each in ann.group("cooks").members] == [each.me.name for each in (ann, bob, cid)]
    await becomes(lambda: (ann.changes[0], ann.changes[-1]) == ("ann bob", "ann bob cid"))
    assert {each.member for each in world.of(MemberJoined, agent=ann.me.name)} == {bob.me.name, cid.me.name}
    asker = await world.start(LocutionAgent, "asker")
    search = Search(template=DfAgentDescription(services=(ServiceDescription(name="cooks", type="group"),)))
    found: Any = await asker.request(DIRECTORY, search)
    assert [each.name.local_name for each in found.result.descriptions] == ["ann", "bob", "cid"]


@pytest.mark.parametrize("way", ["stopped", "left", "killed"])
async def test_one_that_is_not_there_is_left_out_at_once_and_comes_back(
    world: World, directory: DirectoryFacilitator, way: str
) -> None:
    ann, bob, cid = await cooks(world, "ann", "bob", "cid")
    match way:
        case "stopped":
            await cid.stop()
        case "left":
            await cid.group("cooks").leave()
        case "killed":
            await disconnect_for_good(cid)
            (session,) = world.xmpp._switchboard.sessions("cid")
            world.xmpp._router.leave(session)  # it does not resume its session in time
    for each in (ann, bob):
        await world.fact(MemberLeft, agent=each.me.name, group="cooks", member=cid.me.name)
        assert each.others == "ann bob"
    if way == "killed":  # its lease still runs: only its presence tells
        assert cid.me.name in directory._entries
    again = await world.start(Cook, "cid", lock=MemoryLock()) if way == "killed" else cid
    if way == "stopped":
        await cid.start()
    elif way == "left":
        assert cid.others == ""
        await cid.group("cooks").join()
    for each in (ann, bob, again):
        await world.until(lambda each=each: each.others == "ann bob cid")  # type: ignore[misc]
    await becomes(lambda: ann.changes[-2:] == ["ann bob", "ann bob cid"])


async def test_one_whose_lease_runs_out_is_left_out(world: World, directory: DirectoryFacilitator) -> None:
    """It is frozen: its session stands, and it renews nothing."""
    ann, bob = await cooks(world, "ann", "bob")
    await ann.stop()
    frozen = await world.start(partial(Cook, lease=0.5), "cid", lock=MemoryLock())
    await world.until(lambda: bob.others == "bob cid")
    for behaviour in frozen.behaviours:
        behaviour.kill()
    await world.fact(MemberLeft, agent=bob.me.name, member=frozen.me.name)
    assert bob.others == "bob"
    assert frozen.is_connected, "what a lease of 60 s would do after 40 s to 60 s"


async def test_members_find_each_other_again_after_the_server_was_restarted(
    world: World, directory: DirectoryFacilitator
) -> None:
    ann, bob = await cooks(world, "ann", "bob")
    port = world.xmpp.port
    await world.xmpp.stop()
    await becomes(lambda: not ann.is_connected and not bob.is_connected)
    await world.serve(port=port)
    for each in (ann, bob):
        await world.until(lambda each=each: each.is_connected)  # type: ignore[misc]
        await world.until(lambda each=each: each.others == "ann bob")  # type: ignore[misc]
    assert await ann.group("cooks").announce(Plan(step=1)) == Delivered()
    await becomes(lambda: bob.heard == [("ann", 1)])
    await bob.stop()
    await becomes(lambda: ann.others == "ann")


async def test_an_agent_in_two_groups_is_in_each_as_long_as_it_says(
    world: World, directory: DirectoryFacilitator
) -> None:
    ann, bob = await cooks(world, "ann", "bob")
    for each in (ann, bob):
        await each.group("bakers").join()
    for each in (ann, bob):
        await becomes(lambda each=each: len(each.group("bakers").members) == 2)  # type: ignore[misc]
    await bob.group("cooks").leave()
    await world.fact(MemberLeft, agent=ann.me.name, group="cooks", member=bob.me.name)
    assert len(ann.group("bakers").members) == 2
    assert ann.others == "ann"


async def test_a_stranger_that_says_it_is_in_the_group_is_not(
    world: World, directory: DirectoryFacilitator
) -> None:
    (ann,) = await cooks(world, "ann")
    stranger = await world.start(LocutionAgent, "stranger")
    told = '<groups xmlns="urn:locution:groups"><group>cooks</group></groups>'
    assert stranger.connection is not None
    asked = len(world.of(MessageReceived, agent=directory.me.name, peer=ann.me.name))
    stranger.connection.hand_over(f'<presence to="ann@localhost">{told}</presence>')
    await world.fact(MessageReceived, count=asked + 1, agent=directory.me.name, peer=ann.me.name)
    await becomes(ann.company.muster._looking.done)
    assert ann.others == "ann"
    assert ann.company.muster._here == {}


async def test_what_on_members_raises_is_a_fact(world: World, directory: DirectoryFacilitator) -> None:
    class Grumpy(Mute):
        async def on_members(self, group: Group) -> None:
            await super().on_members(group)
            raise ValueError("too many cooks")

    ann, bob = await cooks(world, "ann", "bob", kind=Grumpy)
    assert (await world.fact(HandlerFailed, agent=ann.me.name)).text == "ValueError: too many cooks"
    await bob.stop()
    await becomes(lambda: ann.changes == ["ann bob", "ann"])


async def test_nobody_asks_in_turns(world: World, directory: DirectoryFacilitator) -> None:
    """A member that comes costs each of the others one question, and those that are there none."""
    await cooks(world, "ann", "bob", "cid")
    before = len(world.of(MessageReceived, agent=directory.me.name))
    dan = await world.start(Cook, "dan", lock=MemoryLock())
    for name in ("ann", "bob", "cid"):
        await world.fact(MemberJoined, agent=f"{name}@localhost", member=dan.me.name)
    await world.until(lambda: dan.others == "ann bob cid dan")
    assert len(world.of(MessageReceived, agent=directory.me.name)) - before == 2 + 3, "2 of its own"


async def test_an_agent_without_a_directory_is_told_so(world: World) -> None:
    alone = await world.start(LocutionAgent, "alone")
    group = alone.group("cooks")
    await group.join()
    told = (
        "^alone has no directory to find the members of cooks in: derive its class from "
        "agents.registered.RegisteredAgent$"
    )
    with pytest.raises(NoMemberError, match=told):
        _members = group.members
    with pytest.raises(NoMemberError, match=told):
        await group.announce(Plan(step=1))


# -- announcements ---------------------------------------------------------------------------------


async def announce(cook: Mute, *steps: int) -> None:
    """Announce, which is to succeed."""
    for step in steps:
        assert isinstance(await cook.group("cooks").announce(Plan(step=step)), Delivered)


async def test_all_others_hear_what_a_member_announces(world: World, directory: DirectoryFacilitator) -> None:
    ann, bob, cid = await cooks(world, "ann", "bob", "cid")
    await announce(ann, *range(20))
    await announce(bob, 100)
    await becomes(lambda: cid.heard == [*(("ann", step) for step in range(20)), ("bob", 100)])
    await becomes(lambda: bob.heard == [("ann", step) for step in range(20)])
    assert ann.heard == [("bob", 100)]


async def test_an_announcement_is_one_stanza_however_many_hear_it(
    world: World, directory: DirectoryFacilitator
) -> None:
    await world.xmpp.stop()
    wire = Stanzas()
    await world.serve(faults=wire)
    directory.server = world.server
    await directory.stop()
    await world.start(DirectoryFacilitator, "directory")
    names = [f"cook{number}" for number in range(8)]
    first, *others = await cooks(world, *names)
    wire.seen.clear()
    said = len(world.of(MessageSent, agent=first.me.name))
    await announce(first, 7)
    for each in others:
        await becomes(lambda each=each: each.heard == [("cook0", 7)])  # type: ignore[misc]
    sent = world.of(MessageSent, agent=first.me.name)[said:]
    assert [each.peer for each in sent] == ["pubsub.localhost"]
    answers = [each for each in wire.seen if each.kind == "iq" and each.recipient.startswith("cook0@")]
    assert len(answers) == 1, "one request"
    copies = [each for each in wire.seen if b"announcement" in each.xml]
    assert len(copies) == len(names), "the server makes the copies, one of them for the announcer"


async def test_a_leaders_announcement_names_its_term_and_no_former_one_is_heard(
    world: World, directory: DirectoryFacilitator
) -> None:
    record: list[AclMessage] = []
    ann, bob = await cooks(world, "ann", "bob", record=record.append)
    cid = await world.start(Cook, "cid", lock=MemoryLock())
    await world.until(lambda: cid.others == "ann bob cid")
    await announce(ann, 1)
    await announce(bob, 2)
    first, second = [each for each in record if each.user_parameters.get("X-topic") == "group/cooks"][:2]
    assert (first.user_parameters[GROUP], first.user_parameters[TERM]) == ("cooks", "1")
    assert TERM not in second.user_parameters, "it is a member, and leads nobody"
    await ann.group("cooks").leave()
    await world.fact(LeaderElected, agent=bob.me.name, term=2)
    await ann.group("cooks").join()
    await world.until(lambda: cid.others == "ann bob cid")
    await announce(bob, 3)
    await becomes(lambda: ("bob", 3) in cid.heard)
    token = acting.set(Office(group="cooks", term=1))  # it was frozen and knows of nothing
    await announce(ann, 4)
    acting.reset(token)
    told = await world.fact(MessageDisbelieved, agent=cid.me.name, peer=ann.me.name)
    assert told.text.startswith(
        "announced to cooks: the leader of cooks in term 1 was followed by that of term 2"
    )
    token = acting.set(Office(group="bakers", term=9))  # something else is its business here
    await announce(ann, 5)
    acting.reset(token)
    await becomes(lambda: cid.heard == [("ann", 1), ("bob", 2), ("bob", 3), ("ann", 5)])


async def test_only_members_are_heard(world: World, directory: DirectoryFacilitator) -> None:
    (ann,) = await cooks(world, "ann")

    class Stranger(Cook):
        async def on_ready(self) -> None:
            """Join nothing."""

    stranger = await world.start(Stranger, "stranger")
    sentence = "^stranger is not in cooks and announces nothing to it; join it first$"
    with pytest.raises(NoMemberError, match=sentence):
        await stranger.group("cooks").announce(Plan(step=1))
    # It does not care, by either way.
    assert await stranger.company.announcing.announce("cooks", Plan(step=2), None) == Delivered()
    told = await world.fact(MessageDisbelieved, agent=ann.me.name, peer=stranger.me.name)
    assert told.text == "announced to cooks: stranger@localhost is not in cooks, as the directory has it"
    assert isinstance(await _said_to(ann, stranger), Delivered)
    await world.fact(MessageDisbelieved, agent=ann.me.name, peer=stranger.me.name, count=2)
    asked = world.of(MessageReceived, agent=directory.me.name, peer=ann.me.name)
    assert len(asked) == 3, "to be entered, for all members, and once for the stranger"
    await stranger.publish("group/cooks", Word(text="hello"), shared=True)
    told = await world.fact(MessageDisbelieved, agent=ann.me.name, count=3)
    assert told.text == "announced to cooks: what stands there is no announcement to cooks"
    assert ann.heard == []


async def _said_to(to: Mute, announcer: Mute) -> DeliveryResult:
    """Tell one agent alone, as if there were no topics."""
    nested = nest(Plan(step=3), announcer.understood)
    return await announcer.inform(to.me, Announcement(group="cooks", id="x", content=nested))


async def test_a_member_that_has_just_come_is_heard(world: World, directory: DirectoryFacilitator) -> None:
    class Eager(Cook):
        async def on_ready(self) -> None:
            await super().on_ready()
            await announce(self, 1)

    (ann,) = await cooks(world, "ann")
    eager = await world.start(Eager, "eager", lock=MemoryLock())
    await becomes(lambda: ann.heard == [("eager", 1)])
    assert eager.is_alive()


async def test_what_a_member_says_before_it_leaves_is_heard(
    world: World, directory: DirectoryFacilitator
) -> None:
    ann, bob = await cooks(world, "ann", "bob")
    await announce(bob, 1)
    await bob.stop()
    await becomes(lambda: ann.heard == [("bob", 1)])


async def test_what_does_not_fit_is_a_fact_and_the_next_one_is_heard(
    world: World, directory: DirectoryFacilitator
) -> None:
    ann, bob = await cooks(world, "ann", "bob")
    await announce(ann, -1)
    assert await ann.group("cooks").announce(Word(text="hello")) == Delivered()
    await announce(ann, 2)
    await becomes(lambda: bob.heard == [("ann", 2)])
    assert world.of(HandlerFailed, agent=bob.me.name)[0].text == "ValueError: there is no such step"
    (told,) = world.of(MessageNotUnderstood, agent=bob.me.name)
    assert told.text == "announced to cooks: word is not heard here; plan is"
    with pytest.raises(ValueError, match="Truth is a term of none of this agent's ontologies"):
        await ann.group("cooks").announce(type("Truth", (Predicate,), {"__doc__": "No."})())


async def test_whoever_has_left_hears_nothing(world: World, directory: DirectoryFacilitator) -> None:
    ann, bob, cid = await cooks(world, "ann", "bob", "cid")
    await bob.group("cooks").leave()
    await announce(ann, 1)
    await becomes(lambda: cid.heard == [("ann", 1)])
    assert bob.heard == []
    await bob.group("cooks").join()
    await announce(ann, 2)
    await becomes(lambda: bob.heard == [("ann", 2)])


# -- without publish-subscribe ---------------------------------------------------------------------


@pytest.fixture
async def squatted(world: World, directory: DirectoryFacilitator) -> DirectoryFacilitator:
    """A server on which somebody else has made the group's topic, and lets nobody publish to it."""
    squatter = await world.start(Cook, "squatter", lock=MemoryLock())
    await squatter.group("cooks").leave()
    payload = f'<pubsub xmlns="{PUBSUB}#owner"><delete node="group/cooks"/></pubsub>'
    assert squatter.connection is not None
    await squatter.connection.ask("set", "pubsub.localhost", payload, 5)
    assert await squatter.publish("group/cooks", Word(text="mine")) == Delivered()
    await squatter.stop()
    return directory


async def test_without_a_topic_each_member_is_told(world: World, squatted: DirectoryFacilitator) -> None:
    ann, bob, cid, dan = await cooks(world, "ann", "bob", "cid", "dan")
    assert await ann.group("cooks").announce(Plan(step=1)) == Delivered(is_acknowledged=True)
    for each in (bob, cid, dan):
        await becomes(lambda each=each: each.heard == [("ann", 1)])  # type: ignore[misc]
    told = [
        each.peer for each in world.of(MessageSent, agent=ann.me.name, performative="inform", protocol="")
    ]
    assert sorted(told) == [each.me.name for each in (bob, cid, dan)]
    for term, step in ((7, 2), (6, 3)):
        token = acting.set(Office(group="cooks", term=term))
        await announce(ann, step)
        acting.reset(token)
    await announce(cid, 4)
    await becomes(lambda: bob.heard == [("ann", 1), ("ann", 2), ("cid", 4)])


async def test_where_everything_is_signed_each_member_is_told(world: World) -> None:
    names = ("directory", "ann", "bob", "cid")
    keys = {f"{name}@localhost": new_key() for name in names}
    known = {name: key.public for name, key in keys.items()}.get
    policy = own_domain("localhost", require_signature=True)

    async def start(kind: Any, name: str, lock: MemoryLock) -> Any:
        ports = {"policy": policy, "keys": known, "key": keys[f"{name}@localhost"], "lock": lock}
        return await world.start(kind, name, **ports)

    lock = MemoryLock()
    await start(DirectoryFacilitator, "directory", lock)
    ann, bob, cid = [await start(Cook, name, lock) for name in names[1:]]
    await world.until(lambda: ann.others == bob.others == cid.others == "ann bob cid")
    await announce(ann, 1)
    await becomes(lambda: bob.heard == cid.heard == [("ann", 1)])
    told = [
        each.peer for each in world.of(MessageSent, agent=ann.me.name, performative="inform", protocol="")
    ]
    assert sorted(told) == [bob.me.name, cid.me.name]


async def test_one_that_is_not_told_is_named(world: World, squatted: DirectoryFacilitator) -> None:
    ann, bob = await cooks(world, "ann", "bob")
    ann.company.muster._until["cooks"]["nobody@localhost"] = float("inf")
    outcome = await ann.group("cooks").announce(Plan(step=1))
    assert isinstance(outcome, Undelivered)
    assert outcome.reason.text.startswith("1 of the 2 other members of cooks were not told: ")
    await becomes(lambda: bob.heard == [("ann", 1)])


def test_announced_is_for_coroutines_and_once_for_each_term() -> None:
    with pytest.raises(TypeError, match=r"hear is marked @announced and is not async def"):

        @announced("cooks", Plan)
        def hear(_self: object, _plan: Plan, _announcer: object) -> None:
            """Hear."""

    class Twice(Cook):
        @announced("cooks", Plan)
        async def again(self, plan: Plan, announcer: AgentIdentifier) -> None:
            """Hear."""

    with pytest.raises(TypeError, match=r"Twice: two methods are marked @announced\('cooks', Plan\)"):
        Handlers.of(object.__new__(Twice))
    assert set(Handlers.of(object.__new__(Cook)).announced) == {("cooks", Plan)}
    assert Term not in Handlers.of(object.__new__(Cook)).hears
