"""Whose what is that replicas leave behind: `behaviours.living`, `behaviours.inheriting`, without agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from behaviours.chronicling import Chronicle, Guard, key_of
from behaviours.enduring import Claimed, Enduring
from behaviours.events import ReplicaFollowed
from behaviours.handlers import Handlers
from behaviours.inheriting import Inheriting
from behaviours.living import Living, checked
from behaviours.receipts import MARK
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.content import LANGUAGE
from protocols.history import Opened
from protocols.table import Role
from resilience.inbox import Claim, Hold, Standing, Terms
from resilience.journal import Policy
from resilience.memory import MemoryJournal
from resilience.snapshots import Snapshot
from tests.behaviours.fakes import ME, PEER, Scene, turns
from tests.behaviours.samples import SUMS, Add, Sum
from tests.conftest import becomes
from tests.protocols.samples import NOW
from tests.resilience.conftest import Clock

LIVES = f"{ME.name}/lives"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(clock: Clock) -> MemoryJournal:
    return MemoryJournal(Policy(terms=Terms(most_attempts=2)), clock=clock)


async def living(journal: MemoryJournal, name: str) -> Living:
    """A replica that lives."""
    made = Living(ME.name, name, journal)
    await made.begin()
    return made


async def refused(journal: MemoryJournal, replica: Living, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until a replica has asked for its name a few times."""
    claim, asked = journal.claim, asyncio.Semaphore(0)

    async def note(hold: Hold, digest: str, dead: Sequence[str] = ()) -> Claim:
        found = await claim(hold, digest, dead)
        if hold == replica.hold and not found.is_ours:
            asked.release()
        return found

    monkeypatch.setattr(journal, "claim", note)
    async with asyncio.timeout(5):
        for _time in range(3):
            await asked.acquire()


async def names(journal: MemoryJournal) -> list[str]:
    return [each.key for each in await journal.snapshots(LIVES)]


# -- who lives -------------------------------------------------------------------------------------


async def test_who_lives_is_not_inherited(journal: MemoryJournal, clock: Clock) -> None:
    first, second = await living(journal, "a"), await living(journal, "b")
    assert await second.others() == ["a"]
    assert await second.inherit("a") is None
    clock.now += journal.policy.terms.lease
    hold = await second.inherit("a")
    assert hold is not None
    assert not await journal.renew(first.hold)
    await second.bury("a", hold, is_empty=True)
    assert await second.others() == []


async def test_who_was_taken_for_dead_waits_until_its_name_is_free_and_is_known_again(
    journal: MemoryJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("behaviours.living.WAIT_MOST", 0.001)
    first, second = await living(journal, "a"), await living(journal, "b")
    clock.now += journal.policy.terms.lease
    hold = await second.inherit("a")
    assert hold is not None
    first.end()
    beginning = asyncio.create_task(first.begin())
    await refused(journal, first, monkeypatch)
    assert not beginning.done()
    await second.bury("a", hold, is_empty=True)
    await asyncio.wait_for(beginning, 5)
    assert await names(journal) == ["a", "b"]


async def test_a_replica_that_is_buried_too_late_makes_itself_known(
    journal: MemoryJournal, clock: Clock
) -> None:
    """Whoever buries it was frozen, and it has begun to live meanwhile."""
    first, second = await living(journal, "a"), await living(journal, "b")
    clock.now += journal.policy.terms.lease
    hold = await second.inherit("a")
    assert hold is not None
    clock.now += journal.policy.terms.lease
    first.end()
    await first.begin()
    await second.bury("a", hold, is_empty=True)
    assert await names(journal) == ["b"]
    await first.others()
    assert await names(journal) == ["a", "b"]
    assert await journal.renew(first.hold), "it lives on"


async def test_a_process_that_is_started_again_waits_for_none_of_its_former_lives(
    journal: MemoryJournal,
) -> None:
    first = await living(journal, "a")
    await living(journal, "a")
    third = await asyncio.wait_for(living(journal, "a"), 1)
    assert third.former is not None
    assert first.token in third.former
    assert not await journal.renew(first.hold)


async def test_of_two_processes_with_one_name_the_older_does_not_come_back(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("behaviours.living.WAIT_MOST", 0.001)
    first = await living(journal, "a")
    second = await living(journal, "a")
    first.end()
    beginning = asyncio.create_task(first.begin())
    await refused(journal, first, monkeypatch)
    assert not beginning.done()
    assert await journal.renew(second.hold)
    beginning.cancel()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "x" * 65])
def test_what_is_no_name_of_a_replica_is_told(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a replica"):
        checked(name)


# -- what they leave -------------------------------------------------------------------------------


class Heir:
    """A replica that can inherit, and no agent."""

    def __init__(self, journal: MemoryJournal, name: str) -> None:
        scene = Scene(journal=journal)
        self.facts = scene.facts
        self.enduring = Enduring(
            me=ME,
            journal=journal,
            delivery=scene.delivery,
            send=scene.transport.receipts.append,
            hook=scene.facts.append,
            clock=lambda: NOW,
            monotonic=asyncio.get_running_loop().time,
            replica=name,
        )
        self.inheriting = Inheriting(ME.name, self.enduring, scene.facts.append)
        self.found: list[str] = []
        self.chronicles: list[Chronicle] = []

    async def look(self) -> None:
        """Go on with what others have left."""
        async for left in self.inheriting.followed():
            self.works = [work for _each, work in left.found]
            self.found += [each.key for each, _work in left.found]

    def close(self) -> None:
        self.enduring.outbox.leave()
        self.enduring.acknowledging.close()
        self.enduring.journaling._is_closed = True
        if self.enduring.journaling._task is not None:
            self.enduring.journaling._task.cancel()


@pytest.fixture
async def heirs(journal: MemoryJournal) -> AsyncIterator[list[Heir]]:
    made = [Heir(journal, name) for name in "abc"]
    for each in made:
        await each.inheriting.restored()
    yield made
    for each in made:
        each.close()


KEY, OWN = key_of(Role.PARTICIPANT, PEER.name, "c1"), key_of(Role.INITIATOR, PEER.name, "c2")


async def begin(journal: MemoryJournal, heir: Heir) -> Guard:
    """Have a replica serve a conversation, of which the beginning is written down."""
    message = AclMessage(
        performative=Performative.REQUEST,
        sender=PEER,
        content=SUMS.render(Add()),
        language=LANGUAGE,
        ontology=SUMS.label,
        protocol="fipa-request",
        conversation_id="c1",
    )
    opened = Opened(
        protocol="fipa-request", role=Role.PARTICIPANT, peer=PEER.name, message=message, at=NOW, id="m1"
    )
    guard = Guard(sender=PEER.name, message_id="m1", digest="d", owner="", replica=heir.enduring.replica)
    guard = heir.enduring.owned(guard, heir.enduring.living.token)
    hold = guard.hold(ME.name)
    assert (await journal.claim(hold, "d")).is_ours
    lane = heir.enduring.journaling.lane(hold, lambda: None)
    heir.chronicles.append(heir.enduring.served(opened, guard, lane))
    await heir.enduring.journaling.settled()
    return guard


async def begin_itself(heir: Heir) -> None:
    """Have a replica begin a conversation of its own accord, and say something beside."""
    message = AclMessage(performative=Performative.REQUEST, receiver=(PEER,), conversation_id="c2")
    opened = Opened(
        protocol="fipa-request",
        role=Role.INITIATOR,
        peer=PEER.name,
        message=message,
        at=NOW,
        replica=heir.enduring.replica,
    )
    chronicle = heir.enduring.begun(opened, None)
    chronicle.write(opened)
    heir.chronicles.append(chronicle)
    heir.enduring.outbox.post(message, PEER, lambda _record, _reason: None)
    await heir.enduring.journaling.settled()


async def renew(*heirs: Heir) -> None:
    for each in heirs:
        await each.enduring.journaling._renew()


async def test_what_somebody_has_claimed_and_not_taken_is_found_by_the_next(
    journal: MemoryJournal, clock: Clock, heirs: list[Heir]
) -> None:
    """It dies between the claim to a dead one's conversation, and writing that down."""
    first, second, third = heirs
    await begin(journal, first)
    clock.now += journal.policy.terms.lease
    await renew(second, third)
    other = Hold(key=Guard(sender=PEER.name, message_id="m1", digest="d", owner="x", replica="c").hold(
        ME.name
    ).key, owner="somebody")  # fmt: skip
    assert (await journal.claim(other, "d")).standing is Standing.TAKEOVER
    await second.look()
    assert second.found == []
    assert await names(journal) == ["a", "b", "c"], "something of it is missing"
    clock.now += journal.policy.terms.lease
    await renew(second, third)
    await second.look()
    assert second.found == [KEY]
    assert await names(journal) == ["b", "c"]


async def test_what_was_taken_from_us_and_given_up_again_comes_back(
    journal: MemoryJournal, clock: Clock, heirs: list[Heir]
) -> None:
    first, second, _third = heirs
    guard = await begin(journal, first)
    clock.now += journal.policy.terms.lease
    await first.enduring.journaling.journal.renew(first.enduring.living.hold)
    other = Hold(key=guard.hold(ME.name).key, owner="somebody")
    assert (await journal.claim(other, "d")).standing is Standing.TAKEOVER
    await renew(first)
    (work,) = [each for each in first.enduring._works if each.key == KEY]
    assert work.lane.is_taken
    first.inheriting.miss(guard)
    await first.look()
    assert first.found == []
    clock.now += journal.policy.terms.lease
    await journal.renew(first.enduring.living.hold)
    await journal.renew(second.enduring.living.hold)
    await first.look()
    assert first.found == [KEY]


async def test_who_ends_takes_nothing_over_any_more(
    journal: MemoryJournal, clock: Clock, heirs: list[Heir]
) -> None:
    first, second, third = heirs
    await begin(journal, first)
    clock.now += journal.policy.terms.lease
    await renew(second, third)
    second.enduring.is_closed = True
    await second.look()
    assert second.found == []
    clock.now += journal.policy.terms.lease
    await renew(third)
    await third.look()
    assert third.found == [KEY]


async def test_what_is_lost_in_the_middle_is_not_taken(
    journal: MemoryJournal, clock: Clock, heirs: list[Heir], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that inherits is frozen for a lease, and another one inherits instead."""
    first, second, third = heirs
    await begin(journal, first)
    await begin_itself(first)
    clock.now += journal.policy.terms.lease
    await renew(second, third)
    snapshots = journal.snapshots

    async def slowly(agent: str) -> tuple[Snapshot, ...]:
        found = tuple(await snapshots(agent))
        if agent == ME.name:
            monkeypatch.undo()
            clock.now += journal.policy.terms.lease
            await renew(third)
            await third.look()
        return found

    monkeypatch.setattr(journal, "snapshots", slowly)
    await second.look()
    assert (second.found, third.found) == ([], [OWN, KEY])
    assert [each.replica for each in await journal.outgoing(ME.name)] == ["c"]


async def test_all_that_a_dead_one_has_left_is_ours_at_once(
    journal: MemoryJournal, clock: Clock, heirs: list[Heir]
) -> None:
    first, second, third = heirs
    await begin(journal, first)
    await begin_itself(first)
    clock.now += journal.policy.terms.lease
    await renew(second, third)
    await second.look()
    assert second.found == [OWN, KEY]
    assert [each.replica for each in await journal.outgoing(ME.name)] == ["b"]
    guards = [each.text for each in await journal.snapshots(ME.name) if each.key.endswith("#guard")]
    assert ['"replica": "b"' in each for each in guards] == [True, True]
    (fact,) = [each for each in second.facts if isinstance(each, ReplicaFollowed)]
    assert (fact.replica, fact.conversations, fact.messages) == ("a", 2, 1)
    await first.enduring.journaling._renew()
    assert [each.lane.is_taken for each in first.enduring._works] == [True, True]


async def test_what_goes_on_here_is_not_taken_up_a_second_time(
    journal: MemoryJournal, heirs: list[Heir]
) -> None:
    first = heirs[0]
    await begin(journal, first)
    await begin_itself(first)
    left = await first.inheriting.restored()
    assert (left.found, left.outgoing) == ([], ())


def asked() -> str:
    """A marked request, the same each time."""
    message = AclMessage(
        performative=Performative.REQUEST,
        content=SUMS.render(Add()),
        language=LANGUAGE,
        ontology=SUMS.label,
        protocol="fipa-request",
        conversation_id="c1",
        reply_with="r1",
    )
    return render(message, "me@here/1", "same", mark=MARK)


@pytest.mark.parametrize("is_copy", [True, False])
@pytest.mark.parametrize("is_written", [True, False])
async def test_what_ends_here_while_it_is_read_is_not_taken_up_a_second_time(
    journal: MemoryJournal,
    heirs: list[Heir],
    monkeypatch: pytest.MonkeyPatch,
    is_written: bool,
    is_copy: bool,
) -> None:
    first = heirs[0]
    guard = await begin(journal, first)
    snapshots = journal.snapshots

    async def slowly(agent: str) -> tuple[Snapshot, ...]:
        found = tuple(await snapshots(agent))
        if agent == ME.name and first.chronicles:
            chronicle = first.chronicles.pop()
            chronicle.ended()
            chronicle.work.served()
            if is_written:
                await first.enduring.journaling.settled()
        return found

    monkeypatch.setattr(journal, "snapshots", slowly)
    if is_copy:
        claim = Claim(standing=Standing.TAKEOVER, attempts=2, is_ours=True)
        left = await first.inheriting.resumed(Claimed(claim=claim, guard=guard))
    else:
        left = await first.inheriting.restored()
    assert left.found == []
    await first.enduring.journaling.settled()
    assert await snapshots(ME.name) == ()


async def test_what_we_have_taken_up_and_ended_meanwhile_is_not_handled_once_more(
    journal: MemoryJournal, clock: Clock
) -> None:
    """A copy is claimed; before that is acted upon its conversation comes to us otherwise, and ends."""
    handled: list[Add] = []

    async def handle(action: Add, _task: object) -> Sum:
        handled.append(action)
        if len(handled) == 1:
            await asyncio.Event().wait()
        return Sum(value=0)

    stanza = asked()
    dying, scene = (Scene(Handlers(on={Add: handle}), journal=journal) for _each in range(2))
    await dying.hear_stanza(stanza)
    await dying.close()
    clock.now += journal.policy.terms.lease
    mailroom, inheriting = scene.mailroom, scene.mailroom._inheriting
    async with mailroom._restoring:
        await scene.hear_stanza(stanza)
        (dead,) = [each for each in await journal.snapshots(ME.name) if each.key.endswith("#guard")]
        former = Guard(**json.loads(dead.text))
        enduring = mailroom._enduring
        guard = enduring.owned(former, enduring.living.token)
        claim = await enduring.ask(guard)
        assert claim.standing is Standing.TAKEOVER
        mailroom._go_on(await inheriting.resumed(Claimed(claim=claim, guard=guard)))
        await becomes(lambda: len(handled) == 2)
        await enduring.journaling.settled()
    await enduring.journaling.settled()
    await turns()
    said = [each.performative for each in scene.transport.said()]
    assert (len(handled), said.count(Performative.INFORM)) == (2, 1)
    await scene.close()


# -- poison ----------------------------------------------------------------------------------------


async def test_what_has_killed_every_time_before_anything_was_written_is_buried(
    journal: MemoryJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled: list[Add] = []

    async def handle(action: Add, _task: object) -> Sum:
        handled.append(action)
        return Sum(value=0)

    handlers = Handlers(on={Add: handle})
    stanza = asked()
    claim = journal.claim

    async def kill(hold: Hold, digest: str, dead: object = ()) -> None:
        await claim(hold, digest)
        clock.now += journal.policy.terms.lease
        await asyncio.Event().wait()

    for _time in range(2):
        dying = Scene(handlers, journal=journal)
        monkeypatch.setattr(journal, "claim", kill)
        await dying.hear_stanza(stanza)
        await dying.close()
    monkeypatch.undo()
    scene = Scene(handlers, journal=journal)
    (answer,) = await scene.hear_stanza(stanza)
    assert answer.performative is Performative.REFUSE
    assert handled == []
    text = "me began request 2 times and never ended it; it is not tried again"
    assert SUMS.parse(answer.content).text == text  # type: ignore[attr-defined]
    (letter,) = scene.letters.list()
    assert (letter.text, letter.attempts) == (text, 2)
    await scene.close()
