"""Agents decide on a value by quorum: over real sockets, with kills of the initiator at every commit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agents.base import LocutionAgent
from behaviours import polling
from behaviours.events import (
    ConversationEnded,
    HandlerFailed,
    MessageReceived,
    MessageUndelivered,
    OutOfSequence,
)
from behaviours.fencing import Office, acting
from behaviours.handlers import decided, on, votes
from behaviours.outcomes import Answer, Expired, Fail, NotUnderstood, Refuse, Refused, Succeeded
from behaviours.participating import Participation
from behaviours.polling import Decision
from ontology.acl import AclMessage, Performative
from ontology.content import LANGUAGE, Done
from ontology.interaction import INTERACTION, Aborted, Committed
from resilience.inbox import Hold
from resilience.journal import Effects, Journal, Policy
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying
from resilience.redis_store import RedisJournal
from resilience.sqlite_journal import SqliteJournal
from tests.behaviours.puppets import Puppet
from tests.behaviours.samples import SUMS, Add, Asker, Forward, Sum
from tests.behaviours.test_enduring_live import die, nothing_is_left, value
from tests.conftest import World, becomes
from tests.requirements import require
from tests.resilience.redis_server import PATH, RedisServer

POLICY = Policy(retrying=Retrying(first=0.05, most=0.2, attempts=100))

YES, NO, SILENT = "yes", "no", "silent"


class Voter(Asker):
    """Votes as its mood is, and keeps what it applies where a restart leaves it."""

    def __init__(self, *args: Any, mood: str = YES, applied: list[tuple[str, bool]] | None = None) -> None:
        super().__init__(*args)
        self.mood, self.applied = mood, [] if applied is None else applied
        self.asked, self.was_cancelled, self.release = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.applying, self.go_on = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    @votes(Add)
    async def vote(self, action: Add, task: Participation) -> Any:
        """Accept, reject, or think about it."""
        self.asked.set()
        match self.mood:
            case "no":
                return Refuse("too-much", f"{action.a:g} is too much")
            case "raising":
                raise KeyError("mind")
            case "wrong":
                return "yes"
            case "silent":
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    self.was_cancelled.set()
                    raise
        return Done()

    @decided(Add)
    async def apply(self, action: Add, task: Participation) -> Any:
        """Take note of the decision."""
        self.applying.set()
        await self.go_on.wait()
        self.applied.append((task.id, task.is_committed))
        return Fail("broken", "the abacus is broken") if self.mood == "failing" else None


class Chair(Asker):
    """Has agents vote for somebody else."""

    quorum = 2

    @on(Forward)
    async def forward(self, action: Forward, task: Participation) -> Answer:
        """Tell by 1 that it was committed, by 0 that it was not."""
        names = [f"{name}@localhost" for name in action.to.split()]
        decision = await self.call_for_votes(names, Add(a=7), quorum=self.quorum, within=60)
        assert isinstance(decision, Decision)
        return Sum(value=decision.is_committed)


async def electorate(world: World, *moods: str, journal: Journal | None = None) -> list[Voter]:
    """Start voters of these moods; the first one is ann, the second bob, ..."""
    names = ("ann", "bob", "cleo", "dan")
    journal = journal or MemoryJournal(POLICY)
    return [
        await world.start(partial(Voter, mood=mood), name, journal=journal)
        for name, mood in zip(names, moods, strict=False)
    ]


async def applied(voters: list[Voter], *, committed: bool) -> None:
    """All have applied the same, once."""
    await becomes(lambda: all(each.applied for each in voters))
    assert [[each[1] for each in voter.applied] for voter in voters] == [[committed]] * len(voters)


def names(voters: list[Voter]) -> list[str]:
    return [each.me.name for each in voters]


@pytest.mark.parametrize(
    ("moods", "quorum", "committed"),
    [
        ((YES, YES, YES), "all", True),
        ((YES, YES, YES), "majority", True),
        ((YES, YES, NO), "majority", True),
        ((YES, YES, SILENT), 2, True),
        ((YES, YES, NO), "all", False),
        ((YES, NO, NO), "majority", False),
        ((NO, NO, NO), 1, False),
        ((NO, NO, YES), 1, True),
        ((YES, YES, NO, NO), "majority", False),
        (("raising", YES, YES), "all", False),
        (("wrong", YES, YES), 2, True),
    ],
)
async def test_a_value_commits_with_its_quorum_and_all_learn_it(
    world: World, moods: tuple[str, ...], quorum: Any, committed: bool
) -> None:
    asker = await world.start(Asker, "asker", journal=MemoryJournal(POLICY))
    voters = await electorate(world, *moods)
    decision = await asker.call_for_votes(names(voters), Add(a=7), quorum=quorum)
    assert isinstance(decision, Decision)
    assert decision.is_committed is committed
    assert (len(decision.accepted) >= decision.quorum) is committed
    assert sorted((*decision.accepted, *decision.rejected, *decision.silent)) == names(voters)
    await applied(voters, committed=committed)
    await world.fact(ConversationEnded, agent=asker.me.name, state="DONE", count=len(moods))
    assert not world.of(OutOfSequence)
    assert [each[0] for voter in voters for each in voter.applied] == [decision.conversation_id] * len(moods)


async def test_the_votes_say_who_was_for_it_and_why_not(world: World) -> None:
    asker = await world.start(Asker, "asker")
    voters = await electorate(world, YES, NO, SILENT)
    plain = await world.start(Asker, "plain")
    decision = await asker.call_for_votes([*names(voters), plain.me], Add(a=7), quorum=2, within=0.3)
    assert isinstance(decision, Decision)
    assert (decision.is_committed, decision.quorum) == (False, 2)
    assert decision.accepted == ("ann@localhost",)
    assert decision.rejected == ("bob@localhost", "plain@localhost")
    assert decision.silent == ("cleo@localhost",)
    bob, cleo, told = (decision.votes[f"{name}@localhost"] for name in ("bob", "cleo", "plain"))
    assert isinstance(bob, Refused)
    assert bob.reason.text == "7 is too much"
    assert isinstance(cleo, Expired)
    assert cleo.reason.text.startswith("cleo@localhost")
    assert cleo.reason.text.endswith("did not answer in time")
    assert isinstance(told, Refused)
    assert told.reason.text == "plain does not serve a propose about add; it votes on nothing"
    assert isinstance(decision.votes["ann@localhost"], Succeeded)
    await applied(voters, committed=False)
    assert voters[2].was_cancelled.is_set(), "nobody thinks about what is decided"


async def test_whoever_never_answers_holds_nothing_up(world: World) -> None:
    """Neither one that is frozen nor one that is not there, and those that are there learn the decision."""
    asker = await world.start(Asker, "asker", journal=MemoryJournal(POLICY))
    voters = await electorate(world, YES, YES)
    mute, nobody = await Puppet.start(world, "mute"), "nobody@localhost"
    decision = await asker.call_for_votes([*names(voters), mute.jid, nobody], Add(a=7), quorum=3, within=0.3)
    assert isinstance(decision, Decision)
    assert not decision.is_committed
    assert set(decision.votes) == {*names(voters), mute.jid.name, nobody}
    await applied(voters, committed=False)
    await mute.hear(Performative.PROPOSE)
    assert INTERACTION.parse((await mute.hear(Performative.INFORM)).content) == Aborted()


async def test_it_is_decided_as_soon_as_nothing_can_change_it_and_a_vote_that_crosses_that_changes_nothing(
    world: World,
) -> None:
    asker = await world.start(Asker, "asker")
    voters = await electorate(world, YES, YES)
    late = await Puppet.start(world, "late")
    decision = await asker.call_for_votes([*names(voters), late.jid], Add(a=7), within=60)
    assert isinstance(decision, Decision)
    assert decision.is_committed
    assert decision.silent == ("late@localhost",)
    asked = await late.hear(Performative.PROPOSE)
    assert INTERACTION.parse((await late.hear(Performative.INFORM)).content) == Committed()
    late.say(asked.reply(Performative.REJECT_PROPOSAL, reply_with="x"), asker.me)
    await world.fact(MessageReceived, agent=asker.me.name, performative="reject-proposal")
    done = AclMessage(
        performative=Performative.INFORM,
        content=INTERACTION.render(Done()),
        language=LANGUAGE,
        ontology=INTERACTION.label,
        protocol="locution-vote",
        conversation_id=asked.conversation_id,
    )
    late.say(done, asker.me)
    await world.fact(ConversationEnded, agent=asker.me.name, peer="late@localhost", state="DONE")
    assert not world.of(OutOfSequence)


@pytest.mark.parametrize("second", [Committed(), Aborted()])
async def test_a_voter_takes_no_second_decision(world: World, second: Any) -> None:
    """The table has only one; the other one is out of sequence, whoever says it."""
    (ann,) = await electorate(world, YES)
    ann.go_on.clear()
    chair = await Puppet.start(world, "chair")
    ask = AclMessage(
        performative=Performative.PROPOSE,
        content=SUMS.render(Add(a=7)),
        language=LANGUAGE,
        ontology=SUMS.label,
        protocol="locution-vote",
        conversation_id="v1",
        reply_with="r1",
    )
    chair.say(ask, ann.me)
    await chair.hear(Performative.ACCEPT_PROPOSAL)

    def tell(term: Any) -> None:
        told = {"content": INTERACTION.render(term), "ontology": INTERACTION.label, "reply_with": None}
        chair.say(ask.model_copy(update={"performative": Performative.INFORM, **told}), ann.me)

    tell(Committed())
    await asyncio.wait_for(ann.applying.wait(), 5)
    tell(second)
    if isinstance(second, Aborted):
        await chair.hear(Performative.NOT_UNDERSTOOD)
    ann.go_on.set()
    await chair.hear(Performative.INFORM)
    await applied([ann], committed=True)
    assert len(ann.applied) == 1


async def test_a_cancel_before_the_decision_is_a_decision_and_after_it_comes_too_late(world: World) -> None:
    """Our initiator says none; FIPA has one in every protocol."""
    (ann,) = await electorate(world, YES)
    chair = await Puppet.start(world, "chair")
    ask = AclMessage(
        performative=Performative.PROPOSE,
        content=SUMS.render(Add(a=7)),
        language=LANGUAGE,
        ontology=SUMS.label,
        protocol="locution-vote",
        conversation_id="v1",
        reply_with="r1",
    )
    chair.say(ask, ann.me)
    await chair.hear(Performative.ACCEPT_PROPOSAL)
    chair.say(ask.model_copy(update={"performative": Performative.CANCEL, "reply_with": "c1"}), ann.me)
    assert (await chair.hear(Performative.INFORM)).in_reply_to == "c1"
    assert ann.applied == [("v1", False)]
    ann.go_on.clear()
    ann.applying.clear()
    ask = ask.model_copy(update={"conversation_id": "v2"})
    chair.say(ask, ann.me)
    await chair.hear(Performative.ACCEPT_PROPOSAL)
    told = {"content": INTERACTION.render(Committed()), "ontology": INTERACTION.label, "reply_with": None}
    chair.say(ask.model_copy(update={"performative": Performative.INFORM, **told}), ann.me)
    await asyncio.wait_for(ann.applying.wait(), 5)
    chair.say(ask.model_copy(update={"performative": Performative.CANCEL, "reply_with": "c2"}), ann.me)
    await world.fact(MessageReceived, agent=ann.me.name, performative="cancel", count=2)
    ann.go_on.set()
    assert (await chair.hear_reason(Performative.FAILURE)).text.startswith("it is decided")
    assert INTERACTION.parse((await chair.hear(Performative.INFORM)).content) == Done()
    assert ann.applied[1] == ("v2", True)


async def test_whoever_cannot_apply_it_says_so_and_whoever_does_not_understand_has_not_voted(
    world: World,
) -> None:
    asker = await world.start(Asker, "asker")
    (ann,) = await electorate(world, "failing")
    strange = await Puppet.start(world, "strange")
    deciding = asyncio.create_task(asker.call_for_votes([ann.me, strange.jid], Add(a=7), quorum=1, within=60))
    decision = await asyncio.wait_for(deciding, 5)
    assert isinstance(decision, Decision)
    assert decision.is_committed
    await world.fact(ConversationEnded, agent=asker.me.name, peer=ann.me.name, state="FAILED")
    await strange.hear(Performative.PROPOSE)
    strange.say((await strange.hear(Performative.INFORM)).reply(Performative.NOT_UNDERSTOOD), asker.me)
    await world.fact(ConversationEnded, agent=asker.me.name, peer="strange@localhost", state="FAILED")
    deciding = asyncio.create_task(asker.call_for_votes([strange.jid], Add(a=7), within=60))
    strange.say((await strange.hear(Performative.PROPOSE)).reply(Performative.NOT_UNDERSTOOD), asker.me)
    decision = await asyncio.wait_for(deciding, 5)
    assert isinstance(decision, Decision)
    assert not decision.is_committed
    assert isinstance(decision.votes["strange@localhost"], NotUnderstood)


async def test_whoever_gives_the_vote_up_aborts_it(world: World) -> None:
    asker = await world.start(Asker, "asker")
    voters = await electorate(world, YES, SILENT)
    calling = asyncio.create_task(asker.call_for_votes(names(voters), Add(a=7), quorum="all", within=60))
    await world.fact(MessageReceived, agent=asker.me.name, performative="accept-proposal")
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    assert calling.cancelled()
    await applied(voters, committed=False)


async def test_a_decision_is_heard_whoever_leads_meanwhile(world: World) -> None:
    """Of a leader of the past nothing new is obeyed; but who has accepted is bound."""
    asker = await world.start(Asker, "asker", journal=MemoryJournal(POLICY))
    (ann,) = await electorate(world, YES)
    bob = await Puppet.start(world, "bob")

    async def call(term: int, *voters: Any) -> Any:
        acting.set(Office(group="deciders", term=term))
        return await asker.call_for_votes(voters, Add(a=7), quorum="all", within=60)

    first = asyncio.create_task(call(1, ann.me, bob.jid))
    asked = await bob.hear(Performative.PROPOSE)
    await world.fact(MessageReceived, agent=asker.me.name, performative="accept-proposal")
    later = await asyncio.create_task(call(2, ann.me))
    await becomes(lambda: len(ann.applied) == 1)
    stale = await asyncio.create_task(call(1, ann.me))
    assert (later.is_committed, stale.is_committed) == (True, False)
    bob.say(asked.reply(Performative.ACCEPT_PROPOSAL), asker.me)
    decision = await asyncio.wait_for(first, 5)
    await becomes(lambda: len(ann.applied) == 2)
    assert ann.applied[1] == (decision.conversation_id, True)


async def test_an_agent_may_have_a_vote_itself(world: World) -> None:
    voters = await electorate(world, YES, YES, YES)
    decision = await voters[0].call_for_votes(names(voters), Add(a=7), quorum="all")
    assert isinstance(decision, Decision)
    assert decision.is_committed
    await applied(voters, committed=True)


@pytest.mark.parametrize(
    ("voters", "more", "kind", "told"),
    [
        ([], {}, ValueError, "a vote needs voters: name at least one agent"),
        (["a@x", "b@x", "a@x"], {}, ValueError, "a@x is named as a voter twice: name each voter once"),
        (
            ["a@x"],
            {"quorum": 2},
            ValueError,
            "a quorum of 2 of 1 voters cannot be: write a number from 1 to 1",
        ),
        (
            ["a@x"],
            {"quorum": 0},
            ValueError,
            "a quorum of 0 of 1 voters cannot be: write a number from 1 to 1",
        ),
        (["a@x"], {"quorum": "half"}, TypeError, "the quorum is a number, 'majority' or 'all', not 'half'"),
        (["a@x"], {"quorum": True}, TypeError, "the quorum is a number, 'majority' or 'all', not True"),
        (
            ["a@x"],
            {"within": 0},
            ValueError,
            "voters need time: within is a positive number of seconds, not 0",
        ),
        (
            ["a@x"],
            {"value": Sum(value=1)},
            TypeError,
            "what is put to the vote is an action of an ontology (AgentAction), not a Sum",
        ),
    ],
)
async def test_a_vote_that_cannot_be_is_told_in_one_sentence(
    world: World, voters: list[str], more: dict[str, Any], kind: type[Exception], told: str
) -> None:
    asker = await world.start(Asker, "asker")
    with pytest.raises(kind) as caught:
        await asker.call_for_votes(voters, **{"value": Add(a=7), **more})
    assert str(caught.value) == told
    assert asker.mailroom.conversations() == []


# -- deaths ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Give a server that the tests of this file share."""
    require(PATH is not None, "redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


class Mortal:
    """Has the process that writes a journal die at one of its commits: just before, or just after it."""

    def __init__(self, journal: Any) -> None:
        self.journal, self._commit = journal, journal.commit
        journal.commit = self.commit
        self.left: int | None = None
        self.is_before = False
        self.died = asyncio.Event()

    async def commit(self, effects: Effects, hold: Hold | None = None) -> bool:
        """As the journal's own."""
        if self.left is None:
            return bool(await self._commit(effects, hold))
        self.left -= 1
        if self.left < 0 or (self.left == 0 and self.is_before):
            await self._die()
        is_ours = await self._commit(effects, hold)
        if self.left == 0:
            await self._die()
        return bool(is_ours)

    async def _die(self) -> None:
        self.died.set()
        await asyncio.Event().wait()

    async def ends(self, agent: LocutionAgent, call: asyncio.Task[Any]) -> None:
        """Wait until it has died, or there is nothing left to die in, and let another one live."""
        await becomes(lambda: self.died.is_set() or (call.done() and not agent.mailroom.conversations()))
        await kill(agent)
        self.left = None


async def kill(agent: LocutionAgent) -> None:
    """End an agent as a kill would; what comes in while it goes down is not acknowledged either."""
    agent.enduring.is_closed = True
    await die(agent)


def decisions(voters: list[Voter]) -> set[bool]:
    return {each[1] for voter in voters for each in voter.applied}


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 7))
async def test_an_initiator_that_dies_at_a_commit_decides_once_and_the_same_for_all(
    world: World, tmp_path: Path, request: pytest.FixtureRequest, number: int, is_before: bool, store: str
) -> None:
    """At whichever; the last numbers are of acknowledgements, after all is told."""
    journal: Journal = MemoryJournal(POLICY)
    if store == "sqlite":
        journal = SqliteJournal(tmp_path / "a.sqlite", POLICY)
    elif store == "redis":
        url = request.getfixturevalue("redis_server").url
        journal = await RedisJournal.open(url, POLICY, prefix=tmp_path.name, timeout=10)
    mortal = Mortal(journal)
    voters = await electorate(world, YES, YES, NO)
    asker = await world.start(Asker, "asker", journal=journal)
    await asker.enduring.journaling.settled()
    mortal.left, mortal.is_before = number, is_before
    calling = asyncio.create_task(asker.call_for_votes(names(voters), Add(a=7), quorum=2, within=1))
    await mortal.ends(asker, calling)
    decision = calling.result() if calling.done() and not calling.cancelled() else None
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    asker = await world.start(Asker, "asker", journal=journal)
    await nothing_is_left(journal, "asker")
    asked = [voter for voter in voters if voter.asked.is_set()]
    assert len(asked) in {0, 3}, "all are asked, or nobody"
    await becomes(lambda: all(voter.applied for voter in asked))
    assert [len(voter.applied) for voter in asked] == [1] * len(asked)
    assert len(decisions(voters)) == bool(asked)
    if isinstance(decision, Decision):
        assert decisions(voters) == {decision.is_committed}, "what was returned stands"
    if decisions(voters) == {True}:
        accepted = world.of(MessageReceived, agent=asker.me.name, performative="accept-proposal")
        assert len(accepted) >= 2, "with its quorum"
    await becomes(lambda: not asker.mailroom.conversations())
    await asker.stop()
    await journal.close()


@pytest.mark.parametrize("heard", [0, 1, 2, 3])
async def test_an_initiator_that_dies_while_it_tells_goes_on_telling_the_same(
    world: World, heard: int
) -> None:
    """It is written; some have heard it, and the others hear it from the next process, late as it is."""
    journal = MemoryJournal(POLICY)
    voters = await electorate(world, YES, YES, NO)
    asker = await world.start(Asker, "asker", journal=journal)
    hand_over, told = asker.enduring.outbox._hand_over, 0

    def some(message_id: str) -> None:
        nonlocal told
        is_decision = asker.enduring.outbox._waiting[message_id].message.performative is Performative.INFORM
        told += is_decision
        if not is_decision or told <= heard:
            hand_over(message_id)

    asker.enduring.outbox._hand_over = some  # type: ignore[method-assign]
    decision = await asker.call_for_votes(names(voters), Add(a=7), quorum=2, within=60)
    assert isinstance(decision, Decision)
    assert decision.is_committed
    await becomes(lambda: sum(bool(each.applied) for each in voters) == heard)
    await kill(asker)
    for each in voters:
        each.mood = NO
    await world.start(Asker, "asker", journal=journal)
    await applied(voters, committed=True)
    await nothing_is_left(journal, "asker")
    assert not world.of(OutOfSequence)


async def test_an_initiator_that_comes_back_counts_the_votes_that_were_heard(world: World) -> None:
    journal = MemoryJournal(POLICY)
    voters = await electorate(world, YES, SILENT)
    asker = await world.start(Asker, "asker", journal=journal)
    calling = asyncio.create_task(asker.call_for_votes(names(voters), Add(a=7), quorum=2, within=60))
    await world.fact(MessageReceived, agent=asker.me.name, performative="accept-proposal")
    await asker.enduring.journaling.settled()
    await kill(asker)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await world.start(Asker, "asker", journal=journal)
    voters[1].release.set()
    await applied(voters, committed=True)
    await nothing_is_left(journal, "asker")


async def test_an_initiator_that_comes_back_too_late_aborts(world: World) -> None:
    journal = MemoryJournal(POLICY)
    voters = await electorate(world, YES, SILENT)
    asker = await world.start(Asker, "asker", journal=journal)
    calling = asyncio.create_task(asker.call_for_votes(names(voters), Add(a=7), quorum=2, within=0.3))
    await world.fact(MessageReceived, agent=asker.me.name, performative="accept-proposal")
    await asker.enduring.journaling.settled()
    await kill(asker)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await asyncio.wait_for(voters[1].was_cancelled.wait(), 5)  # its time is up as well
    await world.start(Asker, "asker", journal=journal)
    await applied(voters, committed=False)
    await nothing_is_left(journal, "asker")


@pytest.mark.parametrize("number", range(1, 9))
async def test_a_handler_that_runs_again_decides_what_it_has_decided(world: World, number: int) -> None:
    """The client is answered what the voters have heard, whenever the one in between has died."""
    journal = MemoryJournal(POLICY)
    mortal = Mortal(journal)
    voters = await electorate(world, YES, YES, NO)
    client = await world.start(Asker, "client", journal=MemoryJournal(POLICY))
    chair = await world.start(Chair, "chair", journal=journal)
    await chair.enduring.journaling.settled()
    mortal.left = number
    asking = asyncio.create_task(client.request(chair.me, Forward(to="ann bob cleo"), reply_within=30))
    await mortal.ends(chair, asking)
    await world.start(Chair, "chair", journal=journal)
    assert value(await asyncio.wait_for(asking, 20)) == 1
    await applied(voters, committed=True)
    await nothing_is_left(journal, "chair")


class Stricter(Chair):
    """As it might be after an update."""

    quorum = 3


async def test_what_is_written_stands_whatever_the_votes_would_mean_now(world: World) -> None:
    journal = MemoryJournal(POLICY)
    voters = await electorate(world, YES, YES, NO)
    voters[2].go_on.clear()
    client = await world.start(Asker, "client", journal=MemoryJournal(POLICY))
    chair = await world.start(Chair, "chair", journal=journal)
    deciding = asyncio.Event()

    async def stuck(*_who: Any, **_how: Any) -> Any:
        deciding.set()
        await asyncio.Event().wait()

    call = chair.call_for_votes

    async def call_and_stop(*who: Any, **how: Any) -> Any:
        await call(*who, **how)
        return await stuck()

    chair.call_for_votes = call_and_stop  # type: ignore[method-assign]
    asking = asyncio.create_task(client.request(chair.me, Forward(to="ann bob cleo"), reply_within=30))
    await asyncio.wait_for(deciding.wait(), 5)
    await kill(chair)
    await world.start(Stricter, "chair", journal=journal)
    assert value(await asyncio.wait_for(asking, 20)) == 1
    voters[2].go_on.set()
    await applied(voters, committed=True)
    await nothing_is_left(journal, "chair")


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_voter_that_dies_prepared_comes_back_prepared_and_learns_the_decision(
    world: World, tmp_path: Path, store: str, committed: bool
) -> None:
    opened: list[Any] = []

    def journal() -> Journal:
        if store == "sqlite":
            opened.append(SqliteJournal(tmp_path / "journal.sqlite", POLICY))
        elif not opened:
            opened.append(MemoryJournal(POLICY))
        return opened[-1]

    kept: list[tuple[str, bool]] = []
    ann = await world.start(partial(Voter, applied=kept), "ann", journal=journal())
    asker = await world.start(Asker, "asker", journal=MemoryJournal(POLICY))
    bob = await Puppet.start(world, "bob")
    calling = asyncio.create_task(asker.call_for_votes([ann.me, bob.jid], Add(a=7), quorum=2, within=60))
    asked = await bob.hear(Performative.PROPOSE)
    await world.fact(MessageReceived, agent=asker.me.name, performative="accept-proposal")
    await ann.enduring.journaling.settled()
    await kill(ann)
    act = Performative.ACCEPT_PROPOSAL if committed else Performative.REJECT_PROPOSAL
    bob.say(asked.reply(act), asker.me)
    decision = await asyncio.wait_for(calling, 5)
    assert isinstance(decision, Decision)
    assert decision.is_committed is committed
    # What it would say now does not matter: its vote is written.
    ann = await world.start(partial(Voter, mood=NO, applied=kept), "ann", journal=journal())
    await becomes(lambda: bool(kept))
    await world.fact(ConversationEnded, agent=asker.me.name, peer=ann.me.name, state="DONE")
    assert kept == [(decision.conversation_id, committed)]
    assert not world.of(OutOfSequence)
    assert not world.of(HandlerFailed)
    await ann.stop()
    for each in opened:
        await each.close()


async def test_a_voter_that_dies_while_it_applies_applies_it_again_under_the_same_id(world: World) -> None:
    journal = MemoryJournal(POLICY)
    (ann,) = await electorate(world, YES, journal=journal)
    ann.go_on.clear()
    asker = await world.start(Asker, "asker", journal=MemoryJournal(POLICY))
    decision = await asker.call_for_votes([ann.me], Add(a=7))
    await asyncio.wait_for(ann.applying.wait(), 5)
    await ann.enduring.journaling.settled()
    await kill(ann)
    assert ann.applied == []
    (ann,) = await electorate(world, YES, journal=journal)
    await applied([ann], committed=True)
    assert isinstance(decision, Decision)
    assert ann.applied[0][0] == decision.conversation_id
    await world.fact(ConversationEnded, agent=asker.me.name, peer=ann.me.name, state="DONE")
    await nothing_is_left(journal, "ann", "asker")


async def test_a_voter_that_only_waits_is_no_poison_however_often_it_is_started(world: World) -> None:
    journal = MemoryJournal(POLICY)
    asker = await world.start(Asker, "asker", journal=MemoryJournal(POLICY))
    (ann,) = await electorate(world, YES, journal=journal)
    bob = await Puppet.start(world, "bob")
    calling = asyncio.create_task(asker.call_for_votes([ann.me, bob.jid], Add(a=7), quorum=2, within=60))
    asked = await bob.hear(Performative.PROPOSE)
    await world.fact(MessageReceived, agent=asker.me.name, performative="accept-proposal")
    for _each in range(POLICY.terms.most_attempts + 1):
        await ann.enduring.journaling.settled()
        await kill(ann)
        (ann,) = await electorate(world, YES, journal=journal)
        await becomes(ann.asked.is_set)
    bob.say(asked.reply(Performative.ACCEPT_PROPOSAL), asker.me)
    decision = await asyncio.wait_for(calling, 5)
    assert isinstance(decision, Decision)
    assert decision.is_committed
    await applied([ann], committed=True)
    assert not ann.ports.dead_letters.list()


async def test_a_vote_that_comes_when_its_voter_is_given_up_is_not_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not be told for as long as we tell; a cancel now would tell it something else."""
    monkeypatch.setattr(polling, "BOUND_WITHIN", 0.1)
    asker, late = await world.start(Asker, "asker"), await Puppet.start(world, "late")
    decision = await asker.call_for_votes([late.jid], Add(a=7), within=0.1)
    assert isinstance(decision, Decision)
    asked = await late.hear(Performative.PROPOSE)
    await late.hear(Performative.INFORM)
    await world.fact(ConversationEnded, agent=asker.me.name, state="EXPIRED")
    late.say(asked.reply(Performative.ACCEPT_PROPOSAL, reply_with="x"), asker.me)
    await world.fact(OutOfSequence, agent=asker.me.name, performative="accept-proposal")
    await late.hears_nothing(asker.me)


@pytest.mark.parametrize("dies", [False, True])
async def test_a_voter_that_was_away_for_longer_than_any_message_lives_is_told_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """The message of the decision is a dead letter by then. Whoever is bound waits as long as it takes."""
    monkeypatch.setattr(polling, "TELL_FIRST", 0.05)
    monkeypatch.setattr(polling, "TELL_MOST", 0.1)
    journal, few = MemoryJournal(POLICY), Policy(retrying=Retrying(first=0.01, most=0.02, attempts=2))
    (ann,) = await electorate(world, YES, journal=journal)
    ours = MemoryJournal(few)
    asker = await world.start(Asker, "asker", journal=ours)
    bob = await Puppet.start(world, "bob")
    calling = asyncio.create_task(asker.call_for_votes([ann.me, bob.jid], Add(a=7), quorum=2, within=60))
    asked = await bob.hear(Performative.PROPOSE)
    await world.fact(MessageReceived, agent=asker.me.name, performative="accept-proposal")
    await ann.enduring.journaling.settled()
    await kill(ann)
    bob.say(asked.reply(Performative.ACCEPT_PROPOSAL), asker.me)
    await asyncio.wait_for(calling, 5)
    await world.fact(MessageUndelivered, agent=asker.me.name, peer=ann.me.name)
    assert world.xmpp._router._messages._offline.take("ann"), "nor has the server kept it"
    if dies:
        await asker.enduring.journaling.settled()
        await kill(asker)
        asker = await world.start(Asker, "asker", journal=ours)
    (ann,) = await electorate(world, YES, journal=journal)
    await applied([ann], committed=True)
    await world.fact(ConversationEnded, agent=asker.me.name, peer=ann.me.name, state="DONE")
    await nothing_is_left(journal, "ann")


async def test_a_voter_whose_vote_is_lost_is_bound_all_the_same(world: World) -> None:
    """The initiator is away for so long that the vote becomes a dead letter; then it is told all the same."""
    journal = MemoryJournal(POLICY)
    few = MemoryJournal(Policy(retrying=Retrying(first=0.01, most=0.02, attempts=2)))
    (ann,) = await electorate(world, SILENT, journal=few)
    asker = await world.start(Asker, "asker", journal=journal)
    calling = asyncio.create_task(asker.call_for_votes([ann.me], Add(a=7), within=60))
    await asyncio.wait_for(ann.asked.wait(), 5)
    await asker.enduring.journaling.settled()
    await kill(asker)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    ann.enduring.outbox._hand_over = lambda message_id: ann.enduring.outbox._give_up(  # type: ignore[method-assign]
        message_id, "unreachable", "nobody is there"
    )
    ann.release.set()
    await world.fact(MessageUndelivered, agent=ann.me.name, performative="accept-proposal")
    (stands,) = ann.mailroom.conversations()
    assert stands.state == "V2", "it has promised"
