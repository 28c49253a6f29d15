"""`behaviours.supervising`: what fails is made anew; what fails too often is given up, loudly."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from spade.agent import Agent
from spade.behaviour import CyclicBehaviour
from spade.template import Template

from behaviours import supervising
from behaviours.events import BehaviourGivenUp, BehaviourRestarted, Disconnected, Fact
from behaviours.mailroom import Mailroom
from behaviours.outcomes import Expired, Succeeded
from behaviours.supervising import RESTARTS, Supervisor
from behaviours.wire import Element
from tests.behaviours.samples import Add, Adder, Asker
from tests.conftest import World, becomes


class Failing(CyclicBehaviour):
    """Fails at its first step."""

    async def run(self) -> None:
        """Fail."""
        raise RuntimeError("broken")


class Ending(CyclicBehaviour):
    """Ends by itself."""

    async def run(self) -> None:
        """End."""
        self.kill(exit_code="done")


class Company:
    """An agent without a connection that is supervised."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.stopped: list[str] = []
        self.agent = Agent("me@here", "secret")
        self.agent._alive.set()
        self.supervisor = Supervisor(
            "me@here", self.agent.add_behaviour, self.stopped.append, self.facts.append, rng=lambda: 0.0
        )
        forget = self.agent.remove_behaviour
        self.ended = asyncio.Event()

        def remove(behaviour: CyclicBehaviour) -> None:
            forget(behaviour)
            self.supervisor.ended(behaviour)
            self.ended.set()

        self.agent.remove_behaviour = remove


@pytest.fixture
async def company(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Company]:
    monkeypatch.setattr(supervising, "delay", lambda attempt, rng, first, most: first * 0.01)
    company = Company()
    yield company
    company.supervisor.close()
    for behaviour in list(company.agent.behaviours):
        behaviour.kill()
    await becomes(lambda: not company.agent.behaviours)


async def test_what_fails_now_and_then_is_made_anew(company: Company) -> None:
    made: list[CyclicBehaviour] = []
    gate = asyncio.Event()

    class Once(CyclicBehaviour):
        async def run(self) -> None:
            if len(made) == 1:
                raise RuntimeError("broken")
            await gate.wait()

    def make() -> CyclicBehaviour:
        made.append(Once())
        return made[-1]

    template = Template()
    assert company.supervisor.start(make, template) is made[0]
    await becomes(lambda: len(made) == 2 and made[1].is_running)
    assert made[1].template is template
    (fact,) = company.facts
    assert isinstance(fact, BehaviourRestarted)
    assert (fact.attempt, fact.text) == (1, "RuntimeError: broken")
    assert "Once" in fact.behaviour
    assert company.agent.behaviours == [made[1]]
    gate.set()


@pytest.mark.parametrize("is_vital", [True, False])
async def test_what_fails_again_and_again_is_given_up(company: Company, is_vital: bool) -> None:
    company.supervisor.start(Failing, is_vital=is_vital)
    await becomes(lambda: len(company.facts) > RESTARTS)
    attempts = [fact.attempt for fact in company.facts if isinstance(fact, BehaviourRestarted)]
    assert attempts == list(range(1, RESTARTS + 1))
    assert isinstance(company.facts[-1], BehaviourGivenUp)
    assert bool(company.stopped) == is_vital
    if is_vital:
        assert f"failed {RESTARTS + 1} times in a minute: RuntimeError: broken" in company.stopped[0]
    assert company.agent.behaviours == []


async def test_failures_of_long_ago_do_not_count(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "WINDOW", 0.0)
    company.supervisor.start(Failing)
    await becomes(lambda: len(company.facts) > RESTARTS + 2)
    assert {type(fact) for fact in company.facts} == {BehaviourRestarted}


async def test_what_ends_by_itself_is_left_alone(company: Company) -> None:
    company.supervisor.start(Ending)
    await company.ended.wait()
    await asyncio.sleep(0.01)
    assert company.facts == []
    assert company.agent.behaviours == []


async def test_behaviours_of_others_are_none_of_its_business(company: Company) -> None:
    company.agent.add_behaviour(Failing())
    await company.ended.wait()
    assert company.facts == []


async def test_nothing_is_restarted_once_closed(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervising, "delay", lambda attempt, rng, first, most: 0.02)
    company.supervisor.start(Failing)
    await becomes(lambda: len(company.facts) == 1)
    company.supervisor.close()
    await asyncio.sleep(0.04)
    assert len(company.facts) == 1
    assert company.agent.behaviours == []


async def test_spade_4_1_4_lets_a_behaviour_die_while_its_agent_lives_on_deaf(
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent = Agent("me@here", "secret")
    agent._alive.set()
    behaviour = Failing()
    agent.add_behaviour(behaviour)
    await becomes(lambda: not agent.behaviours)
    assert agent.is_alive()
    assert isinstance(behaviour.exit_code, RuntimeError)
    assert [record.levelno for record in caplog.records if record.name == "spade.behaviour"][:1] == [
        logging.ERROR
    ]


async def test_spade_4_1_4_a_waiting_behaviour_does_not_notice_that_it_was_killed() -> None:
    class Waiting(CyclicBehaviour):
        async def run(self) -> None:
            waiting.set()
            await asyncio.Event().wait()

    waiting = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []
    agent = Agent("me@here", "secret")
    agent._alive.set()
    agent.submit = lambda coro: tasks.append(asyncio.ensure_future(coro))
    behaviour = Waiting()
    agent.add_behaviour(behaviour)
    await waiting.wait()
    behaviour.kill()
    await asyncio.sleep(0.05)
    assert agent.behaviours == [behaviour]
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert agent.behaviours == []


# -- a whole agent -------------------------------------------------------------------------------


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The agent is deaf as often as there are entries."""
    failures: list[str] = []
    take = Mailroom.take

    def break_down(self: Mailroom, stanza: Element) -> None:
        if self.me.local_name == "adder" and failures:
            raise RuntimeError(failures.pop())
        take(self, stanza)

    monkeypatch.setattr(Mailroom, "take", break_down)
    return failures


async def test_an_agent_whose_mailroom_breaks_hears_again(world: World, failures: list[str]) -> None:
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    failures.append("deaf for once")
    failing = asyncio.ensure_future(asker.request(adder.me, Add(), reply_within=0.3))
    await world.fact(BehaviourRestarted, agent="adder@localhost")
    assert isinstance(await failing, Expired)
    assert isinstance(await asker.request(adder.me, Add()), Succeeded)
    world.excuse("deaf for once")


async def test_an_agent_that_cannot_hear_stops_and_says_why(
    world: World, failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "RESTARTS", 0)
    adder, asker = await world.start(Adder, "adder"), await world.start(Asker, "asker")
    failures.append("deaf for good")
    asking = asyncio.ensure_future(asker.request(adder.me, Add(), reply_within=0.3))
    await world.fact(BehaviourGivenUp, agent="adder@localhost")
    fact = await world.fact(Disconnected, agent="adder@localhost")
    await adder.stop()
    assert not adder.is_alive()
    assert adder.stopped_because == fact.reason
    assert fact.reason.endswith("failed 1 times in a minute: RuntimeError: deaf for good")
    assert not isinstance(await asking, Succeeded)
    world.excuse("deaf for good")
