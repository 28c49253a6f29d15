"""Several replicas of one agent: what one leaves behind, another one goes on with, by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from behaviours import straying, watching
from behaviours.conversing import Seat
from behaviours.events import (
    ConversationOpened,
    ConversationTaken,
    MessageAcknowledged,
    MessageReceived,
    OutOfSequence,
    ReplicaFollowed,
    ReplicaReplaced,
    StoreDown,
)
from behaviours.living import Living
from behaviours.outcomes import Failed, Outcome
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE
from resilience.inbox import Hold, Terms
from resilience.journal import Effects, Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from resilience.records import RecordsError
from resilience.snapshots import Snapshot
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Forward, Half
from tests.behaviours.test_enduring_live import die, nothing_is_left, value
from tests.conftest import World, becomes

LEASE = 0.3


class Store(MemoryJournal):
    """What all replicas of an agent share. Its time passes when it is told to: no machine is too slow for it.

    Args:
        lease: in seconds; replicas renew and look in real ones.
        **policy: other numbers of delivery.
    """

    def __init__(self, lease: float = LEASE, **policy: Any) -> None:
        given = {"terms": Terms(lease=lease), "retrying": Retrying(first=0.05, most=0.2, attempts=20)}
        super().__init__(Policy(**{**given, **policy}), clock=lambda: self.now)
        self.now = 1_795_168_800.0

    async def lapse(self, *living: Any) -> None:
        """Let a lease run out, and these replicas renew theirs."""
        keys = [each.enduring.living.hold.key for each in living]
        for _half in range(2):
            self.now += 0.6 * self.policy.terms.lease
            await becomes(lambda: all(self._entries[each].leased_at == self.now for each in keys))


@pytest.fixture
def journal() -> Store:
    return Store()


async def start(
    world: World, journal: Store, *names: str, kind: Callable[..., Any] = Adder, agent: str = "adder"
) -> list[Any]:
    """Start replicas of an agent."""
    return [await world.start(kind, f"{agent}/{name}", journal=journal, replica=name) for name in names]


async def working(*replicas: Adder) -> tuple[Adder, Adder]:
    """Wait until one of two works; it and the other one."""
    await becomes(lambda: any(each.started.is_set() for each in replicas))
    first, second = sorted(replicas, key=lambda each: not each.started.is_set())
    assert not second.started.is_set()
    return first, second


@pytest.mark.parametrize("manner", ["holding", "agreeing"])
async def test_a_living_replica_goes_on_with_what_a_dead_one_did(
    world: World, journal: Store, manner: str
) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    replicas = await start(world, journal, "a", "b")
    asking = asyncio.create_task(asker.request("adder@localhost", Add(a=1, b=2, manner=manner)))
    first, second = await working(*replicas)
    if manner == "agreeing":
        await world.fact(MessageReceived, agent=asker.me.name, performative="agree")
    await first.enduring.journaling.settled()
    await die(first)
    await journal.lapse(second)
    await asyncio.wait_for(second.started.wait(), 5)
    second.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 3
    followed = world.of(ReplicaFollowed, agent=second.me.name)
    assert [(each.replica, each.conversations) for each in followed] == [(first.ports.replica, 1)]
    agreed = world.of(MessageReceived, agent=asker.me.name, performative="agree")
    assert len(agreed) == (manner == "agreeing"), "what has been said is not said again"
    assert not world.of(OutOfSequence)
    await nothing_is_left(journal, "asker", "adder")


def asleep(*replicas: Adder) -> None:
    """Let replicas look after nobody."""
    for each in replicas:
        each.enduring.journaling.on_renewed = lambda: None


async def test_a_first_message_that_comes_again_begins_nothing_anew(world: World, journal: Store) -> None:
    """What the dead one had written is gone on with: what its handler had begun is found again."""
    asker = await world.start(Asker, "asker", journal=journal)
    adder = await world.start(Adder, "adder", journal=journal)
    adder.mood = "holding"
    replicas = await start(world, journal, "a", "b", agent="middle")
    asleep(*replicas)
    for each in replicas:
        each.enduring.acknowledging._send = lambda _stanza: None
    asking = asyncio.create_task(asker.request("middle@localhost", Forward(to=adder.me.name)))
    await asyncio.wait_for(adder.started.wait(), 5)
    first, second = sorted(replicas, key=lambda each: not each.mailroom.conversations())
    await first.enduring.journaling.settled()
    await die(first)
    await journal.lapse(second)
    second.enduring.acknowledging._send = second._send_or_drop
    await becomes(lambda: bool(second.mailroom.conversations()))
    assert not world.of(ReplicaFollowed), "the message alone has brought it here"
    adder.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 42
    assert len(world.of(ConversationOpened, agent=adder.me.name)) == 1, "it was asked once"
    assert len(world.of(ConversationOpened, agent=asker.me.name)) == 1
    assert not world.of(OutOfSequence)
    await nothing_is_left(journal, "asker", "adder", "middle")


async def test_what_a_dead_replica_had_begun_itself_is_seen_to_its_end(world: World, journal: Store) -> None:
    first, second = await start(world, journal, "a", "b", kind=Asker, agent="manager")
    bidder, other = await Puppet.start(world, "bidder"), await Puppet.start(world, "other")
    calling = asyncio.create_task(
        first.call_for_proposals([bidder.jid, other.jid], Add(a=2, b=3), lambda found: found[:1])
    )
    call, cfp = await bidder.hear(Performative.CFP), await other.hear(Performative.CFP)
    offer = call.reply(Performative.PROPOSE, content='{"price": {"amount": 1}}', reply_with="p1")
    bidder.say(offer, first.me)
    await world.fact(MessageReceived, agent=first.me.name, performative="propose")
    await first.enduring.journaling.settled()
    await die(first)
    calling.cancel()
    await journal.lapse(second)
    rejected = await bidder.hear(Performative.REJECT_PROPOSAL)
    assert "was restarted before it had chosen" in (rejected.content or "")
    other.say(cfp.reply(Performative.REFUSE), second.me)
    await becomes(lambda: not second.mailroom.conversations())
    await bidder.hears_nothing(second.me)
    await nothing_is_left(journal, "manager")


async def test_an_award_that_comes_to_the_wrong_replica_is_kept_until_it_has_the_proposal(
    world: World, journal: Store
) -> None:
    manager = await world.start(Asker, "manager", journal=journal)
    replicas = await start(world, journal, "a", "b")
    calling = asyncio.create_task(
        manager.call_for_proposals(
            [replicas[0].me, (await Puppet.start(world, "slow")).jid], Add(a=2, b=3), lambda found: found[:1],
            reply_within=0.5,
        )
    )  # fmt: skip
    await world.fact(MessageReceived, agent=manager.me.name, performative="propose")
    (proposed,) = [each for each in replicas if each.mailroom.conversations()]
    (second,) = [each for each in replicas if each is not proposed]
    await proposed.enduring.journaling.settled()
    asleep(second)
    await die(proposed)
    await world.fact(MessageReceived, agent=second.me.name, performative="accept-proposal")
    assert not second.started.is_set()
    await journal.lapse(second)
    await second.mailroom.look()
    contract = await asyncio.wait_for(calling, 10)
    assert value(contract.awards["adder@localhost"]) == 5
    assert not world.of(OutOfSequence)
    await nothing_is_left(journal, "adder")


async def test_what_is_said_but_once_is_kept_as_well(
    world: World, journal: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a plain agent, which is told nothing and says nothing again."""
    monkeypatch.setattr(straying, "LEASES", 1_000)
    manager = await Puppet.start(world, "manager")
    replicas = await start(world, journal, "a", "b")
    call = AclMessage(
        performative=Performative.CFP,
        content=SUMS.render(Add(a=2, b=3)),
        language=LANGUAGE,
        ontology=SUMS.label,
        protocol="fipa-contract-net",
        conversation_id="c1",
        reply_with="r1",
    )
    manager.say(call, AgentIdentifier(name="adder@localhost"))
    proposal = await manager.hear(Performative.PROPOSE)
    first, second = sorted(replicas, key=lambda each: not each.mailroom.conversations())
    await first.enduring.journaling.settled()
    asleep(second)
    await die(first)
    assert proposal.sender is not None
    manager.say(proposal.reply(Performative.ACCEPT_PROPOSAL, content=call.content), proposal.sender)
    await world.fact(MessageReceived, agent=second.me.name, performative="accept-proposal")
    await becomes(lambda: bool(second.mailroom._straying._kept))
    await becomes(lambda: not second.mailroom._claiming._lines)
    await journal.lapse(second)
    await second.mailroom.look()
    result = await manager.hear(Performative.INFORM)
    assert result.content == '{"sum":{"value":5.0}}'
    assert not world.of(OutOfSequence)


async def test_a_replica_that_loses_its_life_alone_begins_all_anew(world: World, journal: Store) -> None:
    """Another process begins to live under its name, and ends before it has taken anything."""
    asker = await world.start(Asker, "asker", journal=journal)
    (first,) = await start(world, journal, "a")
    asking = asyncio.create_task(asker.request("adder@localhost", Add(a=1, b=2, manner="holding")))
    await asyncio.wait_for(first.started.wait(), 5)
    await first.enduring.journaling.settled()
    first.started.clear()
    other = Living(first.me.name, "a", journal)
    await other.begin()
    await asyncio.wait_for(first.was_cancelled.wait(), 5)
    await world.fact(ConversationTaken, agent=first.me.name)
    assert not first.started.is_set()
    await journal.release(other.hold)
    await asyncio.wait_for(first.started.wait(), 5)
    first.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 3
    await nothing_is_left(journal, "asker", "adder")


async def test_messages_on_their_way_stay_with_a_living_replica(world: World, journal: Store) -> None:
    adder = await world.start(Adder, "adder", journal=journal)
    (first,) = await start(world, journal, "a", kind=Asker, agent="asker")
    first.enduring.outbox._hand_over = lambda _message_id: None
    telling = asyncio.create_task(first.inform(adder.me, Half(done=0.5)))
    await becomes(lambda: len(first.enduring.outbox) == 1)
    await first.enduring.journaling.settled()
    (second,) = await start(world, journal, "b", kind=Asker, agent="asker")
    await second.mailroom.look()
    assert len(second.enduring.outbox) == 0
    await die(first)
    telling.cancel()
    await journal.lapse(second)
    await world.fact(MessageAcknowledged, agent=first.me.name, peer=adder.me.name)
    assert adder.heard == [(Half(done=0.5), first.me.name)]
    await nothing_is_left(journal, "asker", "adder")
    followed = world.of(ReplicaFollowed)
    assert [(each.replica, each.conversations, each.messages) for each in followed] == [("a", 0, 1)]


async def test_a_replica_that_is_started_again_takes_its_own_and_no_others(
    world: World, journal: Store
) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    replicas = await start(world, journal, "a", "b")
    asking = [
        asyncio.create_task(asker.request("adder@localhost", Add(a=each, b=0, manner="holding")))
        for each in range(8)
    ]
    await becomes(lambda: sum(len(each.mailroom.conversations()) for each in replicas) == 8)
    first, second = replicas
    held = len(second.mailroom.conversations())
    await first.enduring.journaling.settled()
    await die(first)
    (again,) = await start(world, journal, "a")
    assert len(again.mailroom.conversations()) == 8 - held
    assert len(second.mailroom.conversations()) == held
    again.release.set()
    second.release.set()
    assert sorted(value(each) for each in await asyncio.gather(*asking)) == list(range(8))
    assert not world.of(ReplicaFollowed)
    await nothing_is_left(journal, "asker", "adder")


async def test_what_is_stopped_politely_goes_on_elsewhere_at_once(world: World, journal: Store) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    replicas = await start(world, journal, "a", "b")
    asking = asyncio.create_task(asker.request("adder@localhost", Add(a=1, b=2, manner="holding")))
    first, second = await working(*replicas)
    asleep(second)
    await first.stop()
    await second.mailroom.look()
    assert second.mailroom.conversations()
    second.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 3
    await nothing_is_left(journal, "asker", "adder")


async def award(asker: Asker) -> Outcome:
    """Have the adder win a contract."""
    action = Add(manner="holding")
    contract = await asker.call_for_proposals(["adder@localhost"], action, lambda found: found[:1])
    return contract.awards["adder@localhost"]


async def ask(asker: Asker) -> Outcome:
    """Ask the adder for the same."""
    return await asker.request("adder@localhost", Add(manner="holding"))


@pytest.mark.parametrize("begin", [ask, award])
async def test_a_message_that_kills_every_replica_ends_with_the_dead_letters(
    world: World, begin: Callable[[Asker], Coroutine[Any, Any, Outcome]]
) -> None:
    journal = Store(terms=Terms(lease=LEASE, most_attempts=3))
    asker = await world.start(Asker, "asker")
    names = iter("cdef")
    replicas = await start(world, journal, "a", "b")
    asking = asyncio.create_task(begin(asker))
    for _time in range(3):
        first, second = await working(*replicas)
        await first.enduring.journaling.settled()
        await die(first)
        await journal.lapse(second)
        replicas = [second, *await start(world, journal, next(names))]
    outcome = await asyncio.wait_for(asking, 5)
    assert isinstance(outcome, Failed)
    assert outcome.reason.text == "adder began add 3 times and never ended it; it is not tried again"
    assert value(await asker.request("adder@localhost", Add(a=1, b=1))) == 2, "the agent lives on"


class Cut:
    """A journal that one replica cannot reach for a while, as if its process were frozen."""

    def __init__(self, journal: Store) -> None:
        self._journal = journal
        self.policy, self.survives = journal.policy, journal.survives
        self.can_pass = asyncio.Event()
        self.can_pass.set()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._journal, name)

        async def passed(*args: Any) -> Any:
            await self.can_pass.wait()
            return await call(*args)

        return passed


async def test_a_replica_that_was_frozen_writes_and_says_nothing_of_what_another_has_taken(
    world: World, journal: Store
) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    cuts = {name: Cut(journal) for name in "ab"}
    replicas = [
        await world.start(Adder, f"adder/{name}", journal=cut, replica=name) for name, cut in cuts.items()
    ]
    asking = asyncio.create_task(asker.request("adder@localhost", Add(a=1, b=2, manner="holding")))
    first, second = await working(*replicas)
    silent = await Puppet.start(world, "silent")
    waiting = asyncio.create_task(first.request(silent.jid, Add()))
    request = await silent.hear(Performative.REQUEST)
    await first.enduring.journaling.settled()
    cuts[first.ports.replica].can_pass.clear()
    first.release.set()  # it comes to a result, and cannot write it down
    informing = asyncio.create_task(first.inform(silent.jid, Half(done=0.9)))
    await journal.lapse(second)
    await asyncio.wait_for(second.started.wait(), 5)
    silent.say(request.reply(Performative.INFORM, content='{"sum": {"value": 3}}'), second.me)
    cuts[first.ports.replica].can_pass.set()
    await world.fact(ReplicaReplaced, agent=first.me.name, replica=first.ports.replica)
    await world.fact(ConversationTaken, agent=first.me.name)
    outcome = await asyncio.wait_for(waiting, 5)
    assert isinstance(outcome, Failed)
    assert outcome.reason.text == "adder was away, and another replica of it goes on with this"
    second.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 3
    informed = world.of(MessageReceived, agent=asker.me.name, performative="inform")
    assert len(informed) == 1
    assert not world.of(OutOfSequence, agent=asker.me.name)
    await informing
    # It lives on, as a replica like any other.
    await nothing_is_left(journal, "asker", "adder")
    asking = asyncio.create_task(asker.request("adder@localhost", Add(a=2, b=2)))
    assert value(await asyncio.wait_for(asking, 5)) == 4
    first.started.clear()
    second.started.clear()
    asking = asyncio.create_task(asker.request("adder@localhost", Add(a=3, b=3, manner="agreeing")))
    first, second = await working(first, second)
    await die(first)
    await journal.lapse(second)
    second.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 6


async def test_whoever_waits_for_a_dead_replica_finds_the_one_that_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks far more often than a lease lasts, and would have given up long before."""
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.02)
    journal = Store(away=3.0)
    asker = await world.start(Asker, "asker", journal=journal)
    replicas = await start(world, journal, "a", "b")
    asking = asyncio.create_task(asker.request("adder@localhost", Add(a=1, b=2, manner="agreeing")))
    first, second = await working(*replicas)
    await world.fact(MessageReceived, agent=asker.me.name, performative="agree")
    (seat,) = asker.mailroom._seats
    await becomes(lambda: seat.peer.jid in asker.connection._answering)
    asks, asked = asker.mailroom.seeking.asks, list[Seat]()
    asker.mailroom.seeking.asks = lambda seat: asked.append(seat) or asks(seat)
    await first.enduring.journaling.settled()
    await die(first)
    before = len(asked)
    await becomes(lambda: len(asked) >= before + 10)
    await journal.lapse(second)
    await asyncio.wait_for(second.started.wait(), 5)
    await becomes(lambda: seat.peer.jid == second.connection.full_jid)
    second.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 3
    assert len(world.of(ConversationOpened, agent=asker.me.name)) == 1


async def test_whoever_waits_for_one_that_nobody_goes_on_for_is_told(
    world: World, journal: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica lives, and has never heard of the conversation."""
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.02)
    asker = await world.start(Asker, "asker", journal=journal)
    (first,) = await start(world, MemoryJournal(), "a")
    asking = asyncio.create_task(asker.request(first.me, Add(manner="agreeing")))
    await world.fact(MessageReceived, agent=asker.me.name, performative="agree")
    (seat,) = asker.mailroom._seats
    await becomes(lambda: seat.peer.jid in asker.connection._answering)
    await start(world, journal, "b")
    await die(first)
    outcome = await asyncio.wait_for(asking, 5)
    assert isinstance(outcome, Failed)
    assert outcome.reason.cause == "vanished"


async def test_a_replica_says_nothing_in_a_conversation_of_another_one(world: World, journal: Store) -> None:
    """What is said to the bare JID both of them hear."""
    peer = await Puppet.start(world, "peer")
    replicas = await start(world, journal, "a", "b")
    request = AclMessage(
        performative=Performative.REQUEST,
        content=SUMS.render(Add(manner="holding")),
        language=LANGUAGE,
        ontology=SUMS.label,
        protocol="fipa-request",
        conversation_id="c1",
        reply_with="r1",
    )
    peer.say(request, AgentIdentifier(name="adder@localhost"))
    first, second = await working(*replicas)
    await first.enduring.journaling.settled()
    cancel = request.model_copy(update={"performative": Performative.CANCEL, "reply_with": "r2"})
    peer.say(cancel, AgentIdentifier(name="adder@localhost"))
    await asyncio.wait_for(first.was_cancelled.wait(), 5)
    answer = await peer.hear(Performative.INFORM)
    assert answer.in_reply_to == "r2"
    assert not world.of(OutOfSequence)
    await peer.hears_nothing(second.me)
    await nothing_is_left(journal, "adder")


class Counting(Store):
    """Notes what is asked, and of whom."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.is_down = False

    async def snapshots(self, agent: str) -> Any:
        self.asked.append(agent)
        return await super().snapshots(agent)

    async def renew(self, hold: Hold) -> bool:
        if self.is_down:
            raise RecordsError("the server is gone")
        return await super().renew(hold)


async def test_while_all_live_nobody_reads_what_they_have(world: World) -> None:
    counting = Counting()
    await start(world, counting, "a", "b")
    counting.asked.clear()
    await becomes(lambda: len(counting.asked) >= 4)
    assert set(counting.asked) == {"adder@localhost/lives"}


async def test_when_the_store_comes_back_nobody_takes_what_another_one_could_not_renew(
    world: World,
) -> None:
    counting = Counting()
    await start(world, counting, "a", "b")
    await becomes(lambda: len(counting.asked) >= 6)
    counting.is_down = True
    await world.fact(StoreDown, agent="adder@localhost", count=2)
    counting.now += 2 * LEASE
    counting.is_down = False
    counting.asked.clear()
    await becomes(lambda: len(counting.asked) >= 4)
    assert not world.of(ReplicaFollowed)
    assert not world.of(ReplicaReplaced)
    keys = {each.sender for each in counting._entries}
    assert keys == {"adder@localhost/a", "adder@localhost/b"}


async def test_what_was_written_down_before_replicas_looked_after_each_other_is_found(
    world: World, journal: Store
) -> None:
    """The lives of all lay among the agent's snapshots, and messages were nobody's."""
    adder = await world.start(Adder, "adder", journal=journal)
    (first,) = await start(world, journal, "old", kind=Asker, agent="asker")
    first.enduring.outbox._hand_over = lambda _message_id: None
    telling = asyncio.create_task(first.inform(adder.me, Half(done=0.5)))
    await becomes(lambda: len(first.enduring.outbox) == 1)
    await first.enduring.journaling.settled()
    await die(first)
    telling.cancel()
    await journal.lapse()
    me = first.me.name
    (lives,) = await journal.snapshots(f"{me}/lives")
    (record,) = await journal.outgoing(me)
    older = Snapshot(agent=me, key="lives/old", form=1, text=lives.text)
    await journal.commit(Effects(agent=me, put=(older,), tried=(replace(record, replica=""),)))
    await journal.commit(Effects(agent=f"{me}/lives", remove=("old",)))
    await start(world, journal, "new", kind=Asker, agent="asker")
    await world.fact(MessageAcknowledged, agent=me, peer=adder.me.name)
    assert adder.heard == [(Half(done=0.5), me)]
    assert [each.key for each in await journal.snapshots(me) if each.key.startswith("lives/")] == []
    await becomes_known(journal, me, ["new"])


async def becomes_known(journal: Store, agent: str, names: list[str]) -> None:
    """These replicas are known in the end, and no others."""
    async with asyncio.timeout(5):
        while [each.key for each in await journal.snapshots(f"{agent}/lives")] != names:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
