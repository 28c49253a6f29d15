"""What the leader of a group has awarded is done once, and answered to whoever leads by then."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

import agents.commitments
import agents.learner
from agents.learner import Learner
from behaviours import participating, watching
from behaviours.events import ConversationEnded, MessageDisbelieved
from behaviours.fencing import Office
from learning.errors import DeviceError
from ontology.acl import AclMessage, Performative
from ontology.content import LANGUAGE, Reason, Term
from ontology.errors import Cause
from ontology.tasks import LEARNING, Bid, Progress, Resume, TaskName, Train, Trained
from tests.agents.test_learner import Gate, Lab, gate, lab  # noqa: F401 - fixtures
from tests.behaviours.puppets import Puppet
from tests.conftest import PATIENCE, becomes

NAME = TaskName(id="c1", client="client@localhost")
FIRST, SECOND, THIRD = (Office(group="coordinators", term=term) for term in (1, 2, 3))


@pytest.fixture
async def leaders(lab: Lab) -> list[Puppet]:  # noqa: F811
    """Give three that lead one after the other."""
    return [await Puppet.start(lab.world, name) for name in ("first", "second", "third")]


def opens(act: Performative, term: Term, office: Office | None) -> AclMessage:
    """What a leader begins a conversation with."""
    message = AclMessage(
        performative=act,
        content=LEARNING.render(term),
        language=LANGUAGE,
        ontology=LEARNING.label,
        protocol="fipa-contract-net" if act is Performative.CFP else "fipa-request",
        conversation_id=uuid.uuid4().hex,
        reply_with=uuid.uuid4().hex,
    )
    return message if office is None else office.stamped(message)


def cancels(opening: AclMessage, office: Office) -> AclMessage:
    """What a leader takes a conversation back with."""
    return office.stamped(
        opening.model_copy(update={"performative": Performative.CANCEL, "reply_with": uuid.uuid4().hex})
    )


def said(message: AclMessage) -> Any:
    """What a message is about."""
    return LEARNING.parse(message.content)


async def called(leader: Puppet, learner: Learner, task: Train, office: Office) -> tuple[AclMessage, Bid]:
    """Call for a bid: the proposal, and the bid in it."""
    leader.say(opens(Performative.CFP, task, office), learner.me)
    proposal = await leader.hear(Performative.PROPOSE)
    bid = said(proposal)
    assert isinstance(bid, Bid)
    return proposal, bid


async def awarded(leader: Puppet, learner: Learner, task: Train, office: Office) -> AclMessage:
    """Call for a bid, and award the task."""
    proposal, _bid = await called(leader, learner, task, office)
    award = proposal.reply(Performative.ACCEPT_PROPOSAL, content=LEARNING.render(task))
    award = office.stamped(award)
    leader.say(award, learner.me)
    return award


async def resumed(leader: Puppet, learner: Learner, office: Office) -> AclMessage:
    """Ask it, as the next leader, to go on: it is at work, or has done it."""
    asking = opens(Performative.REQUEST, Resume(task=NAME), office)
    leader.say(asking, learner.me)
    await leader.hear(Performative.AGREE)
    return asking


async def answer(leader: Puppet, act: Performative = Performative.INFORM) -> Any:
    """Wait for its last word; notices of progress come before."""
    while True:
        message = await leader.hear(act)
        if not isinstance(said(message), Progress):
            return said(message)


async def test_the_next_leader_is_told_and_answered_in_place_of_the_one_before(
    lab: Lab,  # noqa: F811
    gate: Gate,  # noqa: F811
    leaders: list[Puppet],
) -> None:
    first, second, _third = leaders
    learner = await lab.learner()
    await awarded(first, learner, lab.task(task=NAME, notify=True), FIRST)
    await gate.reached()
    await resumed(second, learner, SECOND)
    gate.open.set()
    progress = said(await second.hear(Performative.INFORM))
    assert isinstance(progress, Progress)
    assert progress.task == NAME.id
    trained = await answer(second)
    assert isinstance(trained, Trained)
    assert trained.learner == learner.me.name
    await first.hears_nothing(learner.me)
    assert len(gate.threads) == 1
    assert lab.store.versions("blobs") == (1,)


async def test_a_cancel_of_the_leader_before_stops_nothing_and_that_of_the_present_one_does(
    lab: Lab,  # noqa: F811
    gate: Gate,  # noqa: F811
    leaders: list[Puppet],
) -> None:
    first, second, _third = leaders
    learner = await lab.learner()
    award = await awarded(first, learner, lab.task(task=NAME), FIRST)
    await gate.reached()
    asking = await resumed(second, learner, SECOND)
    first.say(cancels(award, FIRST), learner.me)
    await lab.world.fact(MessageDisbelieved, agent=learner.me.name, performative="cancel")
    (mine,) = learner._commitments._known.values()
    assert not mine.doing.done()
    assert not next(iter(learner._working.values())).is_set()
    second.say(cancels(asking, SECOND), learner.me)
    gate.open.set()
    await second.hear(Performative.INFORM)  # what was cancelled is done with
    assert mine.doing.cancelled()
    assert gate.is_left
    assert lab.store.names() == ()
    second.say(opens(Performative.REQUEST, Resume(task=NAME), SECOND), learner.me)
    await second.hear(Performative.REFUSE)


async def test_a_stale_cancel_is_fenced_off_even_while_nobody_has_resumed(
    lab: Lab,  # noqa: F811
    gate: Gate,  # noqa: F811
    leaders: list[Puppet],
) -> None:
    """The learner has heard of the next leader by a call of another task only."""
    first, second, _third = leaders
    learner = await lab.learner()
    award = await awarded(first, learner, lab.task(task=NAME), FIRST)
    await gate.reached()
    await called(second, learner, lab.task(model="other"), SECOND)
    first.say(cancels(award, FIRST), learner.me)
    fact = await lab.world.fact(MessageDisbelieved, agent=learner.me.name, performative="cancel")
    assert "was followed by that of term 2" in fact.text
    gate.open.set()
    assert isinstance(await answer(first), Trained)


async def test_what_is_done_is_answered_to_a_leader_that_comes_later(
    lab: Lab,  # noqa: F811
    leaders: list[Puppet],
) -> None:
    first, second, third = leaders
    learner = await lab.learner()
    await awarded(first, learner, lab.task(task=NAME), FIRST)
    trained = await answer(first)
    await resumed(second, learner, SECOND)
    assert await answer(second) == trained
    # Another award of the same task finds it done as well, whoever has called for it.
    _proposal, bid = await called(third, learner, lab.task(task=NAME), THIRD)
    assert (bid.begun, bid.seconds) == (True, 0.0)
    await awarded(third, learner, lab.task(task=NAME), THIRD)
    assert await answer(third) == trained
    assert lab.store.versions("blobs") == (1,)


async def test_what_was_done_in_vain_is_told_and_done_anew_when_it_is_awarded_anew(
    lab: Lab,  # noqa: F811
    leaders: list[Puppet],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, _third = leaders
    learner = await lab.learner()
    task = lab.task(task=NAME)
    train = agents.learner.train
    monkeypatch.setattr(agents.learner, "train", _broken)
    await awarded(first, learner, task, FIRST)
    reason = await answer(first, Performative.FAILURE)
    await resumed(second, learner, SECOND)
    assert await answer(second, Performative.FAILURE) == reason
    monkeypatch.setattr(agents.learner, "train", train)
    _proposal, bid = await called(second, learner, task, SECOND)
    assert bid.begun is None
    await awarded(second, learner, task, SECOND)
    assert isinstance(await answer(second), Trained)


def _broken(*_arguments: Any, **_settings: Any) -> Any:
    raise DeviceError("the device is on fire")


@pytest.mark.parametrize(
    ("name", "office"),
    [
        (TaskName(id="c2", client=NAME.client), SECOND),
        (TaskName(id=NAME.id, client="carol@localhost"), SECOND),
        (NAME, Office(group="others", term=9)),
        (NAME, None),
    ],
    ids=["another task", "another client's", "another group's", "no leader"],
)
async def test_nothing_is_known_of_what_nobody_has_ordered(
    lab: Lab,  # noqa: F811
    gate: Gate,  # noqa: F811
    leaders: list[Puppet],
    name: TaskName,
    office: Office | None,
) -> None:
    first, second, _third = leaders
    learner = await lab.learner()
    await awarded(first, learner, lab.task(task=NAME), FIRST)
    await gate.reached()
    second.say(opens(Performative.REQUEST, Resume(task=name), office), learner.me)
    reason = said(await second.hear(Performative.REFUSE))
    assert isinstance(reason, Reason)
    assert reason.cause == Cause.UNSUPPORTED_VALUE
    assert reason.text == f"learner knows nothing of a task {name.id!r} of {name.client}"
    # Another task of the same name is not taken for it: neither is another action.
    _proposal, bid = await called(second, learner, lab.task(task=NAME, epochs=3), SECOND)
    assert bid.begun is None
    gate.open.set()
    await answer(first)


@pytest.mark.parametrize("comes", [True, False])
async def test_it_goes_on_while_the_next_leader_may_come_and_no_longer(
    lab: Lab,  # noqa: F811
    gate: Gate,  # noqa: F811
    leaders: list[Puppet],
    monkeypatch: pytest.MonkeyPatch,
    comes: bool,
) -> None:
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.01)
    monkeypatch.setattr(participating, "INITIATOR_GONE_AFTER", 1.0)  # looks in a row, here of 10 ms
    monkeypatch.setattr(agents.commitments, "FOLLOWED_WITHIN", PATIENCE if comes else 0.05)
    first, second, _third = leaders
    learner = await lab.learner()
    await awarded(first, learner, lab.task(task=NAME), FIRST)
    await gate.reached()
    (mine,), (stop,) = learner._commitments._known.values(), learner._working.values()
    await first.stop()
    facts = {"agent": learner.me.name, "role": "participant", "state": "UNREACHABLE"}
    await lab.world.fact(ConversationEnded, **facts)
    if comes:
        await resumed(second, learner, SECOND)
        gate.open.set()
        assert isinstance(await answer(second), Trained)
        return
    await becomes(stop.is_set)
    gate.open.set()
    await asyncio.wait({mine.doing})
    assert mine.doing.cancelled()
    assert lab.store.names() == ()
    assert learner._commitments._known == {}


async def test_what_no_leader_has_ordered_ends_with_its_conversation(
    lab: Lab,  # noqa: F811
    gate: Gate,  # noqa: F811
    leaders: list[Puppet],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.01)
    monkeypatch.setattr(participating, "INITIATOR_GONE_AFTER", 1.0)
    learner = await lab.learner()
    leaders[0].say(opens(Performative.REQUEST, lab.task(task=NAME), None), learner.me)
    await gate.reached()
    (stop,) = learner._working.values()
    await leaders[0].stop()
    await becomes(stop.is_set)
    gate.open.set()
    assert await asyncio.to_thread(gate.ended.wait, PATIENCE)
    assert learner._commitments._known == {}


async def test_only_so_many_answers_are_kept(
    lab: Lab,  # noqa: F811
    leaders: list[Puppet],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agents.commitments, "KEPT", 2)
    learner = await lab.learner()
    names = [TaskName(id=f"c{number}", client=NAME.client) for number in range(4)]
    for name in names:
        await awarded(leaders[0], learner, lab.task(task=name, epochs=1), FIRST)
        await answer(leaders[0])
    assert [key[2] for key in learner._commitments._known] == ["c2", "c3"]
    monkeypatch.setattr(agents.commitments, "KEPT_FOR", 0.0)
    await awarded(leaders[0], learner, lab.task(task=NAME, epochs=1), FIRST)
    await answer(leaders[0])
    await becomes(lambda: [key[2] for key in learner._commitments._known] == ["c3"])
