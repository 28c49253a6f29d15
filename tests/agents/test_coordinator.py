"""The contract net for training: who wins, who is told what, and what follows when the winner is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

import behaviours.watching
from agents.base import LocutionAgent
from agents.coordinator import COORDINATION, Coordinator, _nobody, first_done
from agents.directory_facilitator import DirectoryFacilitator
from behaviours.contracting import Contract, Proposal
from behaviours.events import ConversationEnded, LeaderDeposed, LeaderElected, MessageReceived
from behaviours.outcomes import Expired, Failed, Outcome, Refuse, Refused, Succeeded
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason, Term
from ontology.errors import Cause
from ontology.models import DatasetRef
from ontology.tasks import (
    Awarded,
    AwardLost,
    Bid,
    Called,
    Evaluate,
    Evaluation,
    Predict,
    Predictions,
    Progress,
    Proposed,
    TaskName,
    Trained,
)
from resilience.memory import MemoryLock
from society.xmpp_server import ScriptedFaults
from tests.agents.conftest import (
    COORDINATOR,
    CPU,
    DIRECTORY,
    TASK,
    Scripted,
    Society,
    disconnect_for_good,
    trained_by,
)
from tests.conftest import PATIENCE, ManualClock, World

ROWS = ((1.0, 2.0),)


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look every 50 ms whether a winner is still there, in place of every second."""
    monkeypatch.setattr(behaviours.watching, "PROBE_EVERY", 0.05)
    # The first look is on its way while the test cuts the connection.
    monkeypatch.setattr(behaviours.watching, "PROBE_WITHIN", 0.5)


def failed(outcome: Outcome) -> tuple[str, str]:
    assert isinstance(outcome, Failed), outcome
    return outcome.reason.cause, outcome.reason.text


def trainer(outcome: Outcome) -> str:
    assert isinstance(outcome, Succeeded), outcome
    assert isinstance(outcome.result, Trained)
    return outcome.result.learner.partition("@")[0]


async def wait(event: asyncio.Event) -> None:
    async with asyncio.timeout(PATIENCE):
        await event.wait()


def of(told: list[Term], kind: type[Term]) -> list[Any]:
    return [notice for notice in told if isinstance(notice, kind)]


# -- the award ------------------------------------------------------------------------------


async def test_the_shortest_bid_wins_and_all_is_told_in_order(society: Society) -> None:
    await society.coordinator()
    for name, seconds in (("anna", 3.0), ("bert", 1.0), ("cleo", 2.0)):
        await society.learner(name, seconds=seconds)
    outcome = await society.ask(TASK)
    assert isinstance(outcome, Succeeded)
    assert outcome.result == trained_by("bert@localhost")
    task = outcome.message.conversation_id
    names = ("anna@localhost", "bert@localhost", "cleo@localhost")
    called, *proposed, awarded, progress = society.told
    assert called == Called(task=task, learners=names, attempt=1)
    assert sorted(proposed, key=lambda each: each.learner) == [
        Proposed(task=task, learner=name, bid=Bid(seconds=seconds, rows_per_second=1.0, device=CPU))
        for name, seconds in zip(names, (3.0, 1.0, 2.0), strict=True)
    ]
    assert awarded == Awarded(task=task, learner="bert@localhost", attempt=1)
    assert progress == Progress(task=task, epoch=1, epochs=1, loss=0.5, score=0.9)


async def test_those_that_did_not_win_are_released(society: Society) -> None:
    await society.coordinator()
    loser, _winner = await society.learner("anna", seconds=2), await society.learner("bert", seconds=1)
    await society.ask(TASK)
    await society.world.fact(ConversationEnded, agent=loser.me.name, role="participant", state="REJECTED")
    assert loser.tasks == []


async def test_nobody_is_told_who_did_not_ask_to_be(society: Society) -> None:
    await society.coordinator()
    learner = await society.learner("anna")
    outcome = await society.ask(TASK.model_copy(update={"notify": False}))
    assert trainer(outcome) == "anna"
    assert society.told == []
    assert not learner.tasks[0].notify


async def test_a_learner_gets_the_task_as_the_client_wrote_it_and_named(society: Society) -> None:
    await society.coordinator()
    learner = await society.learner("anna")
    task = TASK.model_copy(update={"model": "digits", "epochs": 3, "seed": 7, "device": "cpu"})
    outcome = await society.ask(task)
    assert isinstance(outcome, Succeeded)
    name = TaskName(id=outcome.message.conversation_id or "", client="client@localhost")
    assert learner.tasks == [task.model_copy(update={"task": name})]


@pytest.mark.parametrize(
    ("seconds", "winner"),
    [([], None), ([5.0], 0), ([3.0, 1.0, 2.0], 1), ([2.0, 1.0, 1.0], 1), ([0.0, 1.0], 0)],
)
def test_the_first_to_be_done_is_chosen(seconds: list[float], winner: int | None) -> None:
    """Of equal bids, the one that came first."""
    message = AclMessage(performative=Performative.PROPOSE)
    proposals = [
        Proposal(
            AgentIdentifier(name=f"learner-{place}@localhost"),
            Bid(seconds=each, rows_per_second=1.0, device=CPU),
            message,
        )
        for place, each in enumerate(seconds)
    ]
    aside = Proposal(AgentIdentifier(name="x@localhost"), Awarded(task="t", learner="x"), message)
    assert first_done([aside, *proposals]) == ([] if winner is None else [proposals[winner]])


async def test_several_clients_at_once_hear_of_their_own_task_only(society: Society) -> None:
    await society.coordinator()
    for name in ("anna", "bert"):
        await society.learner(name)
    clients = [await society.world.start(LocutionAgent, f"client-{number}") for number in range(4)]
    told: list[list[Any]] = [[] for _client in clients]
    asked = [
        client.request(COORDINATOR, TASK, on_notice=notices.append)
        for client, notices in zip(clients, told, strict=True)
    ]
    for outcome, notices in zip(await asyncio.gather(*asked), told, strict=True):
        assert isinstance(outcome, Succeeded)
        assert {notice.task for notice in notices} == {outcome.message.conversation_id}
        assert [type(notice) for notice in notices] == [Called, Proposed, Proposed, Awarded, Progress]


async def test_agents_of_one_process_speak_by_the_server(world: World) -> None:
    """As agents of two processes do: SPADE would hand over the object itself."""
    await world.xmpp.stop()
    faults = ScriptedFaults(())
    await world.serve(faults=faults)
    society = Society(world)
    society.directory = await world.start(DirectoryFacilitator, "directory")
    society.client = await world.start(LocutionAgent, "client")
    await society.coordinator()
    await society.learner("anna")
    assert trainer(await society.ask(TASK)) == "anna"
    seen = [
        (passage.sender.partition("@")[0], passage.recipient.partition("@")[0])
        for passage in faults.seen
        if b"<body" in passage.xml  # not what is said of messages
    ]
    carried = len(world.of(MessageReceived))
    assert len(seen) == carried
    for pair in (("client", "coordinator"), ("coordinator", "directory"), ("coordinator", "anna")):
        assert pair in seen
        assert pair[::-1] in seen


# -- nobody to award to ---------------------------------------------------------------------


async def test_nobody_is_in_the_directory(society: Society) -> None:
    await society.coordinator()
    told = "no learner is in the directory; start one and ask again"
    assert failed(await society.ask(TASK)) == (Cause.NO_PROPOSAL, told)
    assert society.told == []


async def test_there_is_no_directory(society: Society) -> None:
    await society.coordinator()
    await society.directory.stop()
    society.world.xmpp.remove_account("directory")
    for action in (TASK, Predict(model="digits", rows=ROWS)):
        cause, text = failed(await society.ask(action))
        assert cause == Cause.UNREACHABLE
        assert text.startswith("the directory directory@localhost could not be searched: ")


async def test_all_refuse(society: Society) -> None:
    await society.coordinator()
    for name in ("bert", "anna"):
        await society.learner(name, bidding="unwilling")
    outcome = await society.ask(TASK)
    told = "no learner offered to do it: anna@localhost: anna is busy; bert@localhost: bert is busy"
    assert failed(outcome) == (Cause.NO_PROPOSAL, told)
    _called, *proposed = society.told
    assert {(each.learner, each.bid, each.declined) for each in proposed} == {
        ("anna@localhost", None, "anna is busy"),
        ("bert@localhost", None, "bert is busy"),
    }


async def test_what_all_say_is_said_once(society: Society) -> None:
    await society.coordinator()
    for name in ("bert", "anna"):
        await society.learner(name, bidding="finding fault")
    told = "all 2 learners declined: the task is nonsense"
    assert failed(await society.ask(TASK)) == (Cause.NO_PROPOSAL, told)


def test_reasons_are_told_without_a_name_twice() -> None:
    def nobody(**outcomes: Outcome) -> str:
        declined = {f"{name}@localhost": outcome for name, outcome in outcomes.items()}
        return _nobody(Contract(conversation_id="c", proposals=(), declined=declined, awards={}), {})

    def late(name: str) -> Outcome:
        return Expired(Reason(cause=Cause.EXPIRED, text=f"{name}@localhost did not answer in time"))

    def absent(name: str) -> Outcome:
        return Failed(Reason(cause=Cause.UNREACHABLE, text=f"{name}@localhost: it is offline"))

    busy = Refused(Reason(cause=Cause.OVERLOADED, text="ask later"))
    assert nobody(a=late("a"), b=late("b")) == "none of the 2 learners answered in time"
    assert nobody(a=absent("a"), b=absent("b")) == "none of the 2 learners can be reached: it is offline"
    assert nobody(a=busy, b=busy) == "all 2 learners declined: ask later"
    assert nobody(a=late("a")) == "no learner offered to do it: a@localhost did not answer in time"
    assert nobody(a=busy, b=late("b"), c=absent("c")) == (
        "no learner offered to do it: a@localhost: ask later; b@localhost did not answer in time; "
        "c@localhost: it is offline"
    )


async def test_those_that_decline_are_told_of_with_the_reason(society: Society) -> None:
    await society.coordinator()
    await society.learner("anna", bidding="unwilling")
    await society.learner("bert")
    assert trainer(await society.ask(TASK)) == "bert"
    declined = [notice for notice in of(society.told, Proposed) if notice.declined]
    assert [(each.learner, each.declined) for each in declined] == [("anna@localhost", "anna is busy")]


async def test_a_proposal_that_is_no_bid_does_not_count(society: Society) -> None:
    await society.coordinator()
    odd = await society.learner("anna", bidding="beside the point")
    await society.learner("bert", seconds=1e6)
    assert trainer(await society.ask(TASK)) == "bert"
    assert odd.tasks == []
    await society.world.fact(ConversationEnded, agent=odd.me.name, role="participant", state="REJECTED")
    (declined,) = [notice for notice in of(society.told, Proposed) if notice.declined]
    assert declined.declined == "no bid but progress"


async def test_proposals_that_are_no_bids_are_none(society: Society) -> None:
    await society.coordinator()
    await society.learner("anna", bidding="beside the point")
    told = "no learner made a usable bid"
    assert failed(await society.ask(TASK)) == (Cause.NO_PROPOSAL, told)


async def test_whoever_is_silent_is_waited_for_only_so_long(society: Society) -> None:
    await society.coordinator(bid_within=0.3)
    silent = await society.learner("anna", seconds=0, bidding="slow")
    await society.learner("bert", seconds=1)
    assert trainer(await society.ask(TASK)) == "bert"
    (late,) = [notice for notice in of(society.told, Proposed) if notice.learner == silent.me.name]
    assert (late.declined, late.silent) == (None, "anna@localhost did not answer in time")
    await wait(silent.was_cancelled)


async def test_a_late_bid_is_rejected(society: Society) -> None:
    """Its clock is slow, so it does not know that it is late."""
    await society.coordinator(bid_within=0.3)
    clock = ManualClock(datetime.now(UTC))
    late = await society.world.start(partial(Scripted, seconds=0, bidding="slow"), "anna", clock=clock)
    await society.entered(late)
    await society.learner("bert", seconds=1)
    assert trainer(await society.ask(TASK)) == "bert"
    late.release.set()
    await society.world.fact(ConversationEnded, agent=late.me.name, role="participant", state="REJECTED")
    assert late.tasks == []


# -- the winner is lost ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("working", "why"),
    [
        ("failing", "the abacus is broken"),
        ("raising", "anna could not finish train: KeyError: 'bead'"),
    ],
)
async def test_a_winner_that_fails_is_replaced(society: Society, working: str, why: str) -> None:
    await society.coordinator()
    await society.learner("anna", seconds=1, working=working)
    await society.learner("bert", seconds=2)
    outcome = await society.ask(TASK)
    assert trainer(outcome) == "bert"
    task = outcome.message.conversation_id
    assert of(society.told, Called) == [
        Called(task=task, learners=("anna@localhost", "bert@localhost"), attempt=1),
        Called(task=task, learners=("bert@localhost",), attempt=2),
    ]
    assert of(society.told, AwardLost) == [AwardLost(task=task, learner="anna@localhost", text=why)]
    assert of(society.told, Awarded) == [
        Awarded(task=task, learner="anna@localhost", attempt=1),
        Awarded(task=task, learner="bert@localhost", attempt=2),
    ]


async def _stopped(agent: LocutionAgent) -> None:
    await agent.stop()


@pytest.mark.parametrize("vanishes", [disconnect_for_good, _stopped], ids=["cut", "stopped"])
async def test_a_winner_that_vanishes_is_replaced(
    society: Society, quick_probes: None, vanishes: Callable[[LocutionAgent], Awaitable[None]]
) -> None:
    await society.coordinator()
    winner = await society.learner("anna", seconds=1, working="slow")
    await society.learner("bert", seconds=2)
    asked = asyncio.ensure_future(society.ask(TASK))
    await wait(winner.began)
    began = asyncio.get_running_loop().time()
    await vanishes(winner)
    assert trainer(await asked) == "bert"
    assert asyncio.get_running_loop().time() - began < 5
    (lost,) = of(society.told, AwardLost)
    assert (lost.learner, lost.text) == ("anna@localhost", "anna@localhost has left")


async def test_a_winner_that_only_stumbles_keeps_its_award(society: Society) -> None:
    """Its connection breaks and comes back: that is no reason to do the work twice."""
    await society.coordinator()
    winner = await society.learner("anna", seconds=1, working="slow")
    other = await society.learner("bert", seconds=2)
    asked = asyncio.ensure_future(society.ask(TASK))
    await wait(winner.began)
    winner.client.abort()
    await society.world.fact(behaviours.events.Disconnected, agent=winner.me.name)
    await society.world.fact(behaviours.events.Connected, agent=winner.me.name, count=2)
    winner.release.set()
    assert trainer(await asked) == "anna"
    assert other.tasks == []


async def test_the_last_one_that_is_left_is_asked_again(society: Society) -> None:
    await society.coordinator()
    learner = await society.learner("anna", working="slow")

    async def recover() -> None:
        await wait(learner.began)
        learner.working = "well"

    learner.working = "failing"
    recovering = asyncio.ensure_future(recover())
    assert trainer(await society.ask(TASK)) == "anna"
    await recovering
    assert len(learner.tasks) == 2
    assert [notice.attempt for notice in of(society.told, Awarded)] == [1, 2]


async def test_a_task_is_awarded_only_so_often(society: Society) -> None:
    await society.coordinator(attempts=2)
    for name, seconds in (("anna", 1), ("bert", 2), ("cleo", 3)):
        await society.learner(name, seconds=seconds, working="failing")
    cause, text = failed(await society.ask(TASK))
    assert cause == Cause.INTERNAL_ERROR
    assert text == (
        "the task was awarded 2 times in vain: "
        "anna@localhost: the abacus is broken; bert@localhost: the abacus is broken"
    )
    assert [notice.learner for notice in of(society.told, AwardLost)] == ["anna@localhost", "bert@localhost"]


async def test_those_that_are_left_and_decline_are_told_with_those_that_were_lost(society: Society) -> None:
    await society.coordinator()
    await society.learner("anna", working="failing")
    await society.learner("bert", bidding="unwilling")
    cause, text = failed(await society.ask(TASK))
    assert cause == Cause.NO_PROPOSAL
    assert "anna@localhost: the abacus is broken" in text
    assert "bert@localhost: bert is busy" in text


async def test_a_fault_of_the_task_is_not_tried_again(society: Society) -> None:
    await society.coordinator()
    await society.learner("anna", seconds=1, working="finding fault")
    other = await society.learner("bert", seconds=2)
    assert failed(await society.ask(TASK)) == (
        Cause.UNSUPPORTED_VALUE,
        "anna@localhost: the task is nonsense",
    )
    assert other.tasks == []
    assert len(of(society.told, AwardLost)) == 1


# -- cancelling -----------------------------------------------------------------------------


async def test_a_cancel_reaches_the_learner(society: Society) -> None:
    await society.coordinator()
    learner = await society.learner("anna", working="slow")
    asked = asyncio.ensure_future(society.ask(TASK))
    await wait(learner.began)
    asked.cancel()
    await wait(learner.was_cancelled)
    for agent in (learner.me.name, COORDINATOR):
        await society.world.fact(ConversationEnded, agent=agent, role="participant", state="CANCELLED")
    await society.world.fact(ConversationEnded, agent=society.client.me.name, state="CANCELLED")
    assert len(learner.tasks) == 1


async def test_a_cancel_during_the_call_releases_everyone(society: Society) -> None:
    await society.coordinator()
    learners = [await society.learner(name, bidding="slow") for name in ("anna", "bert")]
    learners.append(await society.learner("cleo"))
    asked = asyncio.ensure_future(society.ask(TASK))
    for learner in learners[:2]:
        await wait(learner.called)
    await society.world.fact(MessageReceived, agent=COORDINATOR, performative="propose")
    asked.cancel()
    for learner in learners:
        await society.world.fact(
            ConversationEnded, agent=learner.me.name, role="participant", state="CANCELLED"
        )
    assert [learner.tasks for learner in learners] == [[], [], []]


# -- models ---------------------------------------------------------------------------------


async def test_questions_about_a_model_go_to_a_learner_that_has_it(society: Society) -> None:
    await society.coordinator()
    await society.learner("anna", models=("faces",))
    holder = await society.learner("bert", models=("digits", "faces"))
    outcome = await society.ask(Predict(model="digits:3", rows=ROWS))
    assert isinstance(outcome, Succeeded)
    assert outcome.result == Predictions(model="digits:3:1", values=("bert@localhost",))
    dataset = DatasetRef(uri="other.csv", sha256="1" * 64)
    outcome = await society.ask(Evaluate(model="digits", dataset=dataset))
    assert isinstance(outcome, Succeeded)
    assert outcome.result == Evaluation(model="digits:1", rows=1, metrics={"accuracy": 1.0})
    assert holder.questions == [
        Predict(model="digits:3", rows=ROWS),
        Evaluate(model="digits", dataset=dataset),
    ]


async def test_another_holder_is_asked_when_the_first_is_gone(society: Society) -> None:
    await society.coordinator()
    first = await society.learner("anna", models=("digits",))
    await society.learner("bert", models=("digits",))
    await disconnect_for_good(first)
    society.world.xmpp.remove_account("anna")
    outcome = await society.ask(Predict(model="digits", rows=ROWS))
    assert isinstance(outcome, Succeeded)
    assert outcome.result == Predictions(model="digits:1", values=("bert@localhost",))


async def test_what_a_holder_finds_wrong_with_a_question_is_passed_on(society: Society) -> None:
    await society.coordinator()
    told = Refuse(Cause.UNSUPPORTED_VALUE, "row 1: it holds 2 numbers, the model takes 64")
    await society.learner("anna", models=("digits",), answer=told)
    second = await society.learner("bert", models=("digits",))
    outcome = await society.ask(Predict(model="digits", rows=ROWS))
    assert failed(outcome) == (Cause.UNSUPPORTED_VALUE, told.text)
    assert second.questions == []


async def test_all_holders_are_gone(society: Society) -> None:
    await society.coordinator()
    holder = await society.learner("anna", models=("digits",))
    await disconnect_for_good(holder)
    society.world.xmpp.remove_account("anna")
    cause, text = failed(await society.ask(Predict(model="digits", rows=ROWS)))
    assert cause == Cause.NO_PROPOSAL
    assert text.startswith("anna@localhost: there is no such agent")


async def test_an_unknown_model_names_those_that_there_are(society: Society) -> None:
    await society.coordinator()
    told = "no learner is in the directory; start one and ask again"
    assert failed(await society.ask(Predict(model="digitz", rows=ROWS))) == (Cause.NO_PROPOSAL, told)
    await society.learner("cleo")
    told = "no learner has a model 'digitz'; there are: none"
    assert failed(await society.ask(Predict(model="digitz", rows=ROWS))) == (Cause.NO_PROPOSAL, told)
    await society.learner("anna", models=("digits", "faces"))
    await society.learner("bert", models=("digits", "birds"))
    told = "no learner has a model 'digitz'; there are: birds, digits, faces"
    assert failed(await society.ask(Predict(model="digitz:2", rows=ROWS))) == (Cause.NO_PROPOSAL, told)


# -- the lead -------------------------------------------------------------------------------


async def test_only_the_leader_is_in_the_directory_and_answers(society: Society) -> None:
    lock = MemoryLock()
    leader = await society.coordinator(lock=lock)
    second = await society.world.start(partial(Coordinator, directory=DIRECTORY), "second", lock=lock)
    assert leader.is_leader
    assert not second.is_leader
    assert await society.listed(COORDINATION) == ["coordinator"]
    for action in (TASK, Predict(model="digits", rows=ROWS)):
        outcome = await society.ask(action, to=second.me.name)
        assert isinstance(outcome, Refused)
        assert outcome.reason.cause == Cause.UNSUPPORTED_FUNCTION
        assert (
            outcome.reason.text
            == "second stands by; ask the leader of coordinators, whom the directory names"
        )


async def test_another_takes_over_when_the_leader_stops(society: Society) -> None:
    lock = MemoryLock()
    leader = await society.coordinator(lock=lock)
    second = await society.world.start(partial(Coordinator, directory=DIRECTORY), "second", lock=lock)
    await society.learner("anna")
    await leader.stop()
    elected = await society.world.fact(LeaderElected, agent=second.me.name)
    assert elected.term == 2
    assert not leader.is_leader
    await society.entered(second, count=3)  # as a member, and a look at the others, before that
    assert await society.listed(COORDINATION) == ["second"]
    assert trainer(await society.ask(TASK, to=second.me.name)) == "anna"


async def test_who_loses_the_lead_leaves_the_directory_and_stands_again(society: Society) -> None:
    lock = MemoryLock()
    coordinator = await society.coordinator(lock=lock)
    await society.entered(coordinator, count=3)  # then it has looked who else is in its group
    await lock.release("coordinators", 1)  # as a lock does whose session has ended
    await society.world.fact(LeaderDeposed, agent=coordinator.me.name, term=1)
    await society.world.fact(LeaderElected, agent=coordinator.me.name, term=2)
    await society.entered(coordinator, count=5)
    assert await society.listed(COORDINATION) == ["coordinator"]
    deposed = society.world.facts.index(society.world.of(LeaderDeposed)[0])
    elected = society.world.facts.index(society.world.of(LeaderElected)[1])
    left = [
        fact
        for fact in society.world.facts[deposed:elected]
        if isinstance(fact, ConversationEnded) and fact.agent == coordinator.me.name
    ]
    assert [fact.state for fact in left] == ["DONE"]


async def test_groups_elect_leaders_of_their_own(society: Society) -> None:
    lock = MemoryLock()
    await society.coordinator(lock=lock)
    await society.coordinator("second", lock=lock, group="others")
    assert await society.listed(COORDINATION) == ["coordinator", "second"]


async def test_a_coordinator_that_is_not_there(society: Society) -> None:
    society.world.account("coordinator")
    outcome = await society.ask(TASK, reply_within=0.2)
    assert isinstance(outcome, Expired)
