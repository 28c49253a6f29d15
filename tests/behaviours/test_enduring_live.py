"""An agent's process dies and another one goes on: real sockets, and a journal that outlives the agent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from agents.base import LocutionAgent
from behaviours import chronicling, seating
from behaviours.events import (
    ConversationEnded,
    ConversationLeft,
    ConversationOpened,
    DuplicateDropped,
    MessageAcknowledged,
    MessageReceived,
    OutOfSequence,
    StoreDown,
    StoreUp,
)
from behaviours.outcomes import Expired, Failed, Outcome, Succeeded
from behaviours.receipts import MARK
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.content import LANGUAGE
from protocols.history import Opened, write
from protocols.table import Role
from resilience.inbox import Hold, InboxKey
from resilience.journal import Effects, Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from resilience.records import RecordsError
from resilience.snapshots import Snapshot
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Forward, Half, Sum
from tests.conftest import World, becomes
from tests.protocols.samples import NOW


async def die(agent: LocutionAgent) -> None:
    """End an agent as a kill would: nothing is written or given back any more, and nobody is told."""
    enduring = agent.enduring
    enduring.journaling._is_closed = True
    enduring.journaling._held.clear()
    if enduring.journaling._task is not None:
        enduring.journaling._task.cancel()
    enduring.journaling._idle.set()  # nobody waits for what a dead one was about to write
    for work in enduring._works:
        work.close()
    enduring.outbox.leave()
    agent.mailroom.close()
    await agent.stop()


def value(outcome: Outcome) -> float:
    """The sum that an outcome tells."""
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(outcome.result, Sum)
    return outcome.result.value


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal(Policy(retrying=Retrying(first=0.05, most=0.2)))


async def nothing_is_left(journal: MemoryJournal, *agents: str) -> None:
    """All conversations are over, and all messages acknowledged."""

    async def left() -> list[str]:
        return [
            *[each.id for agent in agents for each in await journal.outgoing(f"{agent}@localhost")],
            *[
                each.key
                for agent in agents
                for each in await journal.snapshots(f"{agent}@localhost")
                if each.key.startswith(chronicling.CONVERSATION)
            ],
        ]

    async with asyncio.timeout(10):
        while await left():  # noqa: ASYNC110 - a store has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("manner", ["holding", "agreeing"])
async def test_a_request_survives_the_death_of_whoever_works_on_it(
    world: World, journal: MemoryJournal, manner: str
) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    first = await world.start(Adder, "adder", journal=journal)
    asking = asyncio.create_task(asker.request(first.me, Add(a=1, b=2, manner=manner)))
    await asyncio.wait_for(first.started.wait(), 5)
    if manner == "agreeing":
        await world.fact(MessageReceived, agent=asker.me.name, performative="agree")
    await die(first)
    second = await world.start(Adder, "adder", journal=journal)
    await asyncio.wait_for(second.started.wait(), 5)
    second.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 3
    await world.fact(ConversationEnded, agent=second.me.name, state="DONE")
    agreed = world.of(MessageReceived, agent=asker.me.name, performative="agree")
    assert len(agreed) == (manner == "agreeing"), "what has been said is not said again"
    assert not world.of(OutOfSequence)
    await nothing_is_left(journal, "asker", "adder")


async def test_what_a_handler_has_begun_it_finds_again(world: World, journal: MemoryJournal) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    adder = await world.start(Adder, "adder", journal=journal)
    adder.mood = "holding"
    middle = await world.start(Adder, "middle", journal=journal)
    asking = asyncio.create_task(asker.request(middle.me, Forward(to=adder.me.name)))
    await asyncio.wait_for(adder.started.wait(), 5)
    await die(middle)
    middle = await world.start(Adder, "middle", journal=journal)
    await becomes(lambda: not middle.mailroom._left)
    adder.release.set()
    assert value(await asyncio.wait_for(asking, 5)) == 42
    assert len(world.of(ConversationOpened, agent=adder.me.name)) == 1, "it was asked once"
    assert not world.of(OutOfSequence)
    await nothing_is_left(journal, "asker", "adder", "middle")


async def test_a_result_that_came_before_the_death_is_not_asked_for_again(
    world: World, journal: MemoryJournal
) -> None:
    """The one that the handler waits for is heard, written down, and then the process dies."""
    asker = await world.start(Asker, "asker", journal=journal)
    adder = await world.start(Adder, "adder", journal=journal)

    class Slow(Adder):
        async def request(self, *args: Any, **options: Any) -> Outcome:
            outcome = await super().request(*args, **options)
            self.started.set()
            await self.release.wait()
            return outcome

    middle = await world.start(Slow, "middle", journal=journal)
    asking = asyncio.create_task(asker.request(middle.me, Forward(to=adder.me.name)))
    await asyncio.wait_for(middle.started.wait(), 5)
    await world.fact(ConversationEnded, agent=middle.me.name, role="initiator", state="DONE")
    await middle.enduring.journaling.settled()
    await die(middle)
    await world.start(Adder, "middle", journal=journal)
    assert value(await asyncio.wait_for(asking, 5)) == 42
    assert len(world.of(ConversationOpened, agent=adder.me.name)) == 1
    await nothing_is_left(journal, "asker", "adder", "middle")


async def test_a_proposal_binds_over_a_restart(world: World, journal: MemoryJournal) -> None:
    manager = await world.start(Asker, "manager", journal=journal)
    first = await world.start(Adder, "adder", journal=journal)
    chosen = asyncio.Event()

    async def restart() -> Adder:
        await world.fact(MessageReceived, agent=manager.me.name, performative="propose")
        await die(first)
        again = await world.start(Adder, "adder", journal=journal)
        chosen.set()
        return again

    restarting = asyncio.create_task(restart())
    slow = await Puppet.start(world, "slow")
    calling = asyncio.create_task(
        manager.call_for_proposals([first.me, slow.jid], Add(a=2, b=3), lambda found: found[:1])
    )
    called = await slow.hear(Performative.CFP)
    await chosen.wait()
    slow.say(called.reply(Performative.REFUSE), manager.me)
    contract = await asyncio.wait_for(calling, 10)
    assert value(contract.awards["adder@localhost"]) == 5
    await (await restarting).stop()
    assert not world.of(OutOfSequence)


@pytest.mark.parametrize(
    ("state", "word"), [("C1", Performative.REJECT_PROPOSAL), ("C3", Performative.ACCEPT_PROPOSAL)]
)
async def test_a_manager_that_comes_back_keeps_its_word_and_gives_no_other(
    world: World, journal: MemoryJournal, state: str, word: Performative
) -> None:
    manager = await world.start(Asker, "manager", journal=journal)
    bidder, other = await Puppet.start(world, "bidder"), await Puppet.start(world, "other")
    calling = asyncio.create_task(
        manager.call_for_proposals([bidder.jid, other.jid], Add(a=2, b=3), lambda found: found[:1])
    )
    call, second = await bidder.hear(Performative.CFP), await other.hear(Performative.CFP)
    offer = call.reply(Performative.PROPOSE, content='{"price": {"amount": 1}}', reply_with="p1")
    bidder.say(offer, manager.me)
    await world.fact(MessageReceived, agent=manager.me.name, performative="propose")
    if word is Performative.ACCEPT_PROPOSAL:
        other.say(second.reply(Performative.REFUSE), manager.me)
        accept = await bidder.hear(Performative.ACCEPT_PROPOSAL)
    await manager.enduring.journaling.settled()
    await die(manager)
    calling.cancel()
    manager = await world.start(Asker, "manager", journal=journal)
    if word is Performative.ACCEPT_PROPOSAL:
        bidder.say(accept.reply(Performative.INFORM, content='{"sum": {"value": 5}}'), manager.me)
    else:
        rejected = await bidder.hear(Performative.REJECT_PROPOSAL)
        assert "was restarted before it had chosen" in (rejected.content or "")
        other.say(second.reply(Performative.REFUSE), manager.me)
    await becomes(lambda: not manager.mailroom.conversations())
    await bidder.hears_nothing(manager.me)
    await nothing_is_left(journal, "manager")


async def test_a_deadline_that_passed_meanwhile_has_passed(world: World, journal: MemoryJournal) -> None:
    asker = await world.start(Asker, "asker", journal=journal)
    silent = await Puppet.start(world, "silent")
    asking = asyncio.create_task(asker.request(silent.jid, Add(), reply_within=0.05))
    await silent.hear(Performative.REQUEST)
    await asker.enduring.journaling.settled()
    await die(asker)
    assert isinstance(await asking, Failed | Expired)
    asker = await world.start(Asker, "asker", journal=journal)
    await world.fact(ConversationEnded, agent=asker.me.name, state="EXPIRED")
    await becomes(lambda: not asker.mailroom.conversations())


async def test_what_was_written_down_and_not_sent_is_sent_by_the_next(
    world: World, journal: MemoryJournal
) -> None:
    adder = await world.start(Adder, "adder", journal=journal)
    asker = await world.start(Asker, "asker", journal=journal)
    asker.enduring.outbox._hand_over = lambda _message_id: None  # type: ignore[method-assign]
    telling = asyncio.create_task(asker.inform(adder.me, Half(done=0.5)))
    await becomes(lambda: len(asker.enduring.outbox) == 1)
    await asker.enduring.journaling.settled()
    await die(asker)
    telling.cancel()
    asker = await world.start(Asker, "asker", journal=journal)
    await world.fact(MessageAcknowledged, agent=asker.me.name, peer=adder.me.name)
    assert adder.heard == [(Half(done=0.5), asker.me.name)]
    await nothing_is_left(journal, "asker", "adder")


async def test_what_was_processed_is_not_processed_again_by_the_next(
    world: World, journal: MemoryJournal
) -> None:
    """The receiver dies after it has written the effect down, and before it could say so."""
    policy = Policy(retrying=Retrying(first=0.05, most=0.1))
    mine = MemoryJournal(policy)
    asker = await world.start(Asker, "asker", journal=mine)
    adder = await world.start(Adder, "adder", journal=journal)
    adder.enduring.acknowledging._send = lambda _stanza: None
    telling = asyncio.create_task(asker.inform(adder.me, Half(done=0.5)))
    await becomes(lambda: bool(adder.heard))
    await adder.enduring.journaling.settled()
    await die(adder)
    again = await world.start(Adder, "adder", journal=journal)
    await asyncio.wait_for(telling, 5)
    assert again.heard == []
    assert world.of(DuplicateDropped, agent=again.me.name)
    await nothing_is_left(mine, "asker")


async def test_a_message_that_always_kills_ends_with_the_dead_letters(
    world: World, journal: MemoryJournal
) -> None:
    asker = await world.start(Asker, "asker")
    adder = await world.start(Adder, "adder", journal=journal)
    asking = asyncio.create_task(asker.request("adder@localhost", Add(manner="holding")))
    for _each in range(5):
        await asyncio.wait_for(adder.started.wait(), 5)
        await adder.enduring.journaling.settled()
        await die(adder)
        adder = await world.start(Adder, "adder", journal=journal)
    outcome = await asyncio.wait_for(asking, 5)
    assert isinstance(outcome, Failed)
    assert outcome.reason.text == "adder began add 5 times and never ended it; it is not tried again"
    (letter,) = [each for each in adder.ports.dead_letters.list() if each.is_inbound]
    assert (letter.peer, letter.text) == ("asker@localhost", outcome.reason.text)
    assert value(await asker.request(adder.me, Add(a=1, b=1))) == 2, "the agent lives on"


async def test_one_id_is_one_message(world: World) -> None:
    adder, mallory = await world.start(Adder, "adder"), await Puppet.start(world, "mallory")
    for number, told in enumerate(("1", "2")):
        content = SUMS.render(Add(a=float(told), b=0))
        message = AclMessage(
            performative=Performative.REQUEST,
            content=content,
            language=LANGUAGE,
            ontology=SUMS.label,
            protocol="fipa-request",
            conversation_id=f"c{number}",
        )
        mallory.write(render(message, adder.me.jid, "one", mark=MARK))
        if number == 0:
            await mallory.hear(Performative.INFORM)
    reason = await mallory.hear_reason(Performative.REFUSE)
    assert reason.text == "another message has come under the id 'one'; make a new one for each"
    assert len(world.of(ConversationOpened, agent=adder.me.name)) == 1


class Failing(MemoryJournal):
    """A journal whose store is gone for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False

    async def claim(self, hold: Hold, digest: str, dead: Sequence[str] = ()) -> Any:
        self._look()
        return await super().claim(hold, digest, dead)

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        self._look()
        return await super().commit(effects, hold)

    def _look(self) -> None:
        if self.is_down:
            raise RecordsError("the disk is full; make room")


async def test_while_the_store_is_down_nothing_is_handled_and_nothing_lost(world: World) -> None:
    journal = Failing()
    adder, asker = await world.start(Adder, "adder", journal=journal), await world.start(Asker, "asker")
    journal.is_down = True
    asking = [asyncio.create_task(asker.request(adder.me, Add(a=each, b=0))) for each in range(5)]
    await world.fact(StoreDown, agent=adder.me.name)
    assert not adder.started.is_set()
    assert not world.of(MessageAcknowledged, agent=asker.me.name)
    journal.is_down = False
    assert sorted([value(each) for each in await asyncio.gather(*asking)]) == [0, 1, 2, 3, 4]
    await world.fact(StoreUp, agent=adder.me.name)
    await nothing_is_left(journal, "adder")


async def test_of_two_replicas_one_works(world: World, journal: MemoryJournal) -> None:
    asker = await world.start(Asker, "asker")
    replicas = {
        name: await world.start(partial(Adder), "adder", journal=journal, replica=name) for name in ("a", "b")
    }
    assert value(await asker.request("adder@localhost", Add(a=1, b=2))) == 3
    assert len(world.of(ConversationOpened, agent="adder@localhost")) == 1
    assert sum(each.started.is_set() for each in replicas.values()) == 1


async def test_what_cannot_be_read_is_left_and_told_of(world: World, journal: MemoryJournal) -> None:
    me = "adder@localhost"
    newer = Snapshot(agent=me, key="conversation/participant/x@localhost/c1#000000", form=2, text='{"v": 2}')
    await journal.commit(Effects(agent=me, put=(newer,)))
    await world.start(Adder, "adder", journal=journal)
    (left,) = world.of(ConversationLeft, agent=me)
    assert left.text == (
        "the conversation participant/x@localhost/c1 is left as it is: this conversation was written "
        "in form 2, and form 1 is read here; update Locution"
    )
    assert newer in await journal.snapshots(me)


async def test_a_peer_that_does_not_acknowledge_gets_everything_once(world: World) -> None:
    journal = MemoryJournal(Policy(retrying=Retrying(first=0.01, most=0.02)))
    asker, plain = await world.start(Asker, "asker", journal=journal), await Puppet.start(world, "plain")
    result = await asyncio.wait_for(asker.inform(plain.jid, Half(done=0.5)), 5)
    assert result.is_acknowledged is False  # type: ignore[union-attr]
    await plain.hear(Performative.INFORM)
    await plain.hears_nothing(asker.me)
    await nothing_is_left(journal, "asker")


async def test_sessions_that_do_not_acknowledge_hold_up_nobody(world: World) -> None:
    """The command line uses one account, now by a session that acknowledges, now by one that does not."""
    journal = MemoryJournal(Policy(retrying=Retrying(first=0.01, most=0.02)))
    adder = await world.start(Adder, "adder", journal=journal)
    asker = await world.start(Asker, "operator")
    assert value(await asker.request(adder.me, Add(a=1, b=1))) == 2
    await asker.stop()
    for number in range(8):
        puppet = await Puppet.start(world, f"operator/{number}")
        request = AclMessage(
            performative=Performative.REQUEST,
            content=SUMS.render(Add(a=number, b=0)),
            language=LANGUAGE,
            ontology=SUMS.label,
            protocol="fipa-request",
            conversation_id=f"c{number}",
        )
        puppet.say(request, adder.me)
        await puppet.hear(Performative.INFORM)
        await puppet.stop()
        await nothing_is_left(journal, "adder")
    asker = await world.start(Asker, "operator")
    assert value(await asker.request(adder.me, Add(a=2, b=2))) == 4


async def test_what_is_over_is_not_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seating, "LINGER", 0.0)
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    for number in range(20):
        assert value(await asker.request(adder.me, Add(a=number, b=0))) == number

    def left() -> int:
        gc.collect()
        return len(adder.enduring._works) + len(asker.enduring._works)

    await becomes(lambda: left() == 0)


async def test_what_may_not_have_gone_to_one_that_does_not_acknowledge_is_told_of(world: World) -> None:
    """Nobody knows whether it was sent before the kill: it is neither sent twice nor lost without a word."""
    journal = MemoryJournal(Policy(retrying=Retrying(first=0.01, most=0.02)))
    plain = await Puppet.start(world, "plain")
    asker = await world.start(Asker, "asker", journal=journal)
    asker.enduring.outbox._hand_over = lambda _message_id: None  # type: ignore[method-assign]
    telling = asyncio.create_task(asker.inform(plain.jid, Half(done=0.5)))
    await becomes(lambda: len(asker.enduring.outbox) == 1)
    await asker.enduring.journaling.settled()
    await die(asker)
    telling.cancel()
    asker = await world.start(Asker, "asker", journal=journal)
    await nothing_is_left(journal, "asker")
    (letter,) = asker.ports.dead_letters.list()
    assert letter.text == "the process that said it has ended, and nobody knows whether it was sent"
    await plain.hears_nothing(asker.me)


@pytest.mark.parametrize(
    ("protocol", "act", "why"),
    [
        ("fipa-nonsense", "request", "the protocol 'fipa-nonsense' is not spoken here"),
        ("fipa-request", "inform", "the history breaks fipa-request"),
    ],
)
async def test_a_history_that_cannot_have_been_is_left_and_the_agent_starts(
    world: World, journal: MemoryJournal, protocol: str, act: str, why: str
) -> None:
    me, key = "adder@localhost", "conversation/participant/x@localhost/c1"
    message = AclMessage(
        performative=Performative(act), protocol=protocol, conversation_id="c1", reply_with="r1"
    )
    opened = Opened(protocol=protocol, role=Role.PARTICIPANT, peer="x@localhost", message=message, at=NOW)
    written = Snapshot(agent=me, key=f"{key}#000000", form=1, text=write(opened))
    await journal.commit(Effects(agent=me, put=(written,)))
    adder, asker = await world.start(Adder, "adder", journal=journal), await world.start(Asker, "asker")
    (left,) = world.of(ConversationLeft, agent=me)
    assert why in left.text
    assert value(await asker.request(adder.me, Add(a=1, b=1))) == 2


async def test_whoever_ends_as_soon_as_it_has_its_answer_acknowledges_it(world: World) -> None:
    """As a command line does: else the answer would end with the dead letters of whoever has given it."""
    journal = MemoryJournal(Policy(retrying=Retrying(first=0.05, most=0.1)))
    adder = await world.start(Adder, "adder", journal=journal)
    asker = await world.start(Asker, "asker")
    assert value(await asker.request(adder.me, Add(a=1, b=2))) == 3
    await asker.stop()
    await nothing_is_left(journal, "adder")
    assert not adder.ports.dead_letters.list()


async def test_what_another_took_and_threw_away_as_well_is_done_when_it_is_asked_after(world: World) -> None:
    """Two replicas that were frozen in turn: each has found that the other one has it."""
    journal = MemoryJournal(Policy(retrying=Retrying(first=0.05, most=0.1, attempts=50)))
    asker = await world.start(Asker, "asker", journal=MemoryJournal(journal.policy))
    adder = await world.start(Adder, "adder", journal=journal)
    commit, thief = journal.commit, Hold(key=InboxKey(receiver="-", sender="-", message_id="-"), owner="-")

    async def robbed(effects: Effects, hold: Hold | None = None) -> bool:
        nonlocal thief
        if hold is not None and hold.key.sender == "asker@localhost" and thief.owner == "-":
            thief = Hold(key=hold.key, owner="thief")
            digest = journal._entries[hold.key].digest
            await journal.release(hold)
            assert (await journal.claim(thief, digest)).is_ours
        return await commit(effects, hold)

    journal.commit = robbed  # type: ignore[method-assign]
    asking = asyncio.create_task(asker.request(adder.me, Add(a=1, b=2)))
    await becomes(lambda: thief.owner == "thief")
    await journal.release(thief)
    assert value(await asyncio.wait_for(asking, 5)) == 3
    await nothing_is_left(journal, "adder")
