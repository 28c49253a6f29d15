"""Agents of plain SPADE, unmodified and as its documentation writes them, converse with ours over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from spade.agent import Agent
from spade.behaviour import OneShotBehaviour
from spade.message import Message
from spade.template import Template

from behaviours.events import ConversationEnded, MessageReceived, OutOfSequence
from behaviours.outcomes import Failed, Refused, Succeeded, sentence
from tests.behaviours.samples import Add, Adder, Asker, Sum
from tests.conftest import World

SECONDS = 5


class Script(OneShotBehaviour):  # type: ignore[misc]
    """A behaviour that does one thing after the other."""

    def __init__(self, play: Callable[[Script], Awaitable[None]]) -> None:
        super().__init__()
        self._play = play
        self.error: BaseException | None = None

    async def run(self) -> None:
        """Play it, and keep what went wrong for the test."""
        try:
            await self._play(self)
        except BaseException as error:
            self.error = error
            raise

    async def hear(self, performative: str) -> Message:
        """Wait for the next message."""
        message = await self.receive(timeout=SECONDS)
        assert message is not None
        assert message.get_metadata("performative") == performative, message
        return message

    async def answer(self, message: Message, performative: str, body: str) -> None:
        """Answer as SPADE's documentation does."""
        reply = message.make_reply()
        reply.set_metadata("performative", performative)
        reply.body = body
        await self.send(reply)


class Plain:
    """A plain SPADE agent that plays a script."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.script: Script | None = None

    def play(self, script: Callable[[Script], Awaitable[None]], template: Template | None = None) -> None:
        """Begin."""
        self.script = Script(script)
        self.agent.add_behaviour(self.script, template)

    async def ended(self) -> None:
        """Wait until the script is played; raise what went wrong in it."""
        assert self.script is not None
        await self.script.join(timeout=SECONDS)
        if self.script.error is not None:
            raise self.script.error


@pytest.fixture
async def plain(world: World) -> AsyncIterator[Plain]:
    """Give a plain agent on the world's server."""
    agent = Agent(world.account("plain"), "secret", port=world.xmpp.port, verify_security=False)
    await agent.start(auto_register=False)
    filters = agent.client._run_out_filters
    yield Plain(agent)
    await agent.stop()
    # What SPADE leaves behind.
    filters.cancel()
    agent.client["xep_0199"].disable_keepalive()


async def test_a_plain_agent_wins_a_contract_net(world: World, plain: Plain) -> None:
    await world.start(lambda *args: Adder(*args, price=9), "dear")
    asker = await world.start(Asker, "asker")

    async def participate(script: Script) -> None:
        cfp = await script.hear("cfp")
        assert cfp.body == '{"add":{"a":40.0,"b":2.0,"manner":"well"}}'
        assert cfp.get_metadata("protocol") == "fipa-contract-net"
        await script.answer(cfp, "propose", '{"price": {"amount": 1}}')
        accept = await script.hear("accept-proposal")
        assert accept.thread == cfp.thread
        await script.answer(accept, "inform", '{"sum": {"value": 42}}')

    template = Template()
    template.set_metadata("protocol", "fipa-contract-net")
    plain.play(participate, template)
    contract = await asker.call_for_proposals(
        ["plain@localhost", "dear@localhost"],
        Add(a=40),
        lambda proposals: [min(proposals, key=lambda each: getattr(each.term, "amount"))],  # noqa: B009
    )
    await plain.ended()
    outcome = contract.awards["plain@localhost"]
    assert isinstance(outcome, Succeeded)
    assert outcome.result == Sum(value=42)
    assert not world.of(OutOfSequence)
    await world.fact(ConversationEnded, agent="dear@localhost", state="REJECTED")


async def test_a_plain_agent_loses_a_contract_net_and_is_told(world: World, plain: Plain) -> None:
    asker = await world.start(Asker, "asker")

    async def participate(script: Script) -> None:
        await script.answer(await script.hear("cfp"), "propose", '{"price": {"amount": 1}}')
        reject = await script.hear("reject-proposal")
        assert "another proposal was better" in reject.body

    plain.play(participate)
    contract = await asker.call_for_proposals(["plain@localhost"], Add(), lambda proposals: [])
    await plain.ended()
    assert contract.awards == {}


async def test_a_plain_agent_does_what_it_is_asked(world: World, plain: Plain) -> None:
    asker = await world.start(Asker, "asker")

    async def participate(script: Script) -> None:
        request = await script.hear("request")
        await script.answer(request, "agree", request.body)
        await script.answer(request, "inform", '{"sum": {"value": 3}}')
        await script.answer(await script.hear("request"), "refuse", "I have done enough")
        await script.answer(await script.hear("request"), "failure", "it broke")

    plain.play(participate)
    outcome = await asker.request("plain@localhost", Add())
    assert isinstance(outcome, Succeeded)
    assert outcome.result == Sum(value=3)
    assert len(world.of(MessageReceived, agent="asker@localhost", performative="agree")) == 1
    refused = await asker.request("plain@localhost", Add())
    assert isinstance(refused, Refused)
    assert sentence(refused) == "I have done enough"
    failed = await asker.request("plain@localhost", Add())
    assert isinstance(failed, Failed)
    await plain.ended()


@pytest.mark.parametrize("protocol", ["fipa-request", None])
async def test_a_plain_agent_asks_and_is_answered(world: World, plain: Plain, protocol: str | None) -> None:
    await world.start(Adder, "adder")
    answers: list[Any] = []

    async def initiate(script: Script) -> None:
        request = Message(to="adder@localhost", body='{"add": {"a": 2, "b": 3}}', thread="t1")
        request.set_metadata("performative", "request")
        if protocol is not None:
            request.set_metadata("protocol", protocol)
        await script.send(request)
        answers.append(await script.hear("inform"))

    template = Template(thread="t1")
    template.set_metadata("performative", "inform")
    plain.play(initiate, template)
    await plain.ended()
    assert answers[0].body == '{"sum":{"value":5.0}}'
    assert str(answers[0].sender).startswith("adder@localhost/")
    await world.fact(ConversationEnded, agent="adder@localhost", state="DONE")


async def test_a_plain_agent_that_makes_mistakes_is_told(world: World, plain: Plain) -> None:
    await world.start(Adder, "adder")

    async def initiate(script: Script) -> None:
        for performative, body, told in (
            ("request", "please add", "not JSON"),
            ("request", "", "the content is empty"),
            ("shout", "hello", "none of the 22 acts"),
            ("request", '{"unknown": {}}', "does not do"),
        ):
            message = Message(to="adder@localhost", body=body, thread=f"t{told}")
            message.set_metadata("performative", performative)
            await script.send(message)
            answer = await script.receive(timeout=SECONDS)
            assert answer is not None
            expected = "refuse" if told == "does not do" else "not-understood"
            assert answer.get_metadata("performative") == expected
            assert answer.thread == message.thread
            assert told in answer.body

    plain.play(initiate)
    await plain.ended()


async def test_spade_4_1_4_copies_every_parameter_into_a_reply() -> None:
    await asyncio.sleep(0)
    message = Message(to="a@here", sender="b@here", body="x", thread="t")
    message.set_metadata("reply-with", "r1")
    message.set_metadata("in-reply-to", "r0")
    reply = message.make_reply()
    assert (reply.get_metadata("reply-with"), reply.get_metadata("in-reply-to")) == ("r1", "r0")
