"""What comes back where somebody says what it should not: bytes in and bytes out, over TLS, to a real agent.

The client here shares no code with the product. It reads each answer to the last parameter, and repeats each
mistake a thousand times while two conversations are under way: they go on, the mistakes are counted, and the
log has one line.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import pytest

from behaviours import complaints
from behaviours.events import (
    ConversationEnded,
    Fact,
    MessageReceived,
    OutOfSequence,
)
from behaviours.outcomes import Outcome, Succeeded
from ontology.interaction import INTERACTION
from ontology.management import MANAGEMENT
from society.telemetry import OF_A_KIND, Telemetry
from tests.behaviours.samples import SUMS, Add, Adder, Asker, Sum
from tests.conftest import ManualClock, World
from tests.society.xmpp_server.wire import Wire

ADDER, ASKER, PEER = "adder@localhost", "asker@localhost", "peer@localhost"
TIMES = 1000
FORM = "{jabber:x:data}"


@dataclass(frozen=True)
class Heard:
    """An answer: its parameters, and its content."""

    parameters: Mapping[str, str]
    content: Any

    @property
    def act(self) -> str:
        """Its performative."""
        return self.parameters["performative"]

    @property
    def is_notice(self) -> bool:
        """Whether it stands beside the protocol."""
        return "X-about" in self.parameters


class Client:
    """An account of nobody's: it writes stanzas by hand, and takes apart what comes back."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._ids = itertools.count(1)

    def write(self, inner: str, to: str = ADDER) -> None:
        """Send what a message stanza holds; its id is new."""
        self._wire.send(f'<message type="chat" to="{to}" id="m{next(self._ids)}">{inner}</message>')

    def say(self, act: str, content: str | None = None, to: str = ADDER, **parameters: str | None) -> None:
        """Send a message as SPADE writes it; parameters that are None are left out."""
        self.write(form(act, content, **parameters), to)

    async def hear(self) -> Heard:
        """Wait for the next message."""
        text = await self._wire.message()
        stanza = ElementTree.fromstring(text[text.rindex("<message ") :])
        assert stanza.get("type") == "chat", text
        fields = stanza.findall(f"{FORM}x/{FORM}field")
        body = json.loads(stanza.findtext("body", "").strip() or "null")
        if not fields:  # whoever writes the whole message into the body is answered so
            return Heard(body, body.pop("content"))
        parameters = {each.get("var", ""): each.findtext(f"{FORM}value", "") for each in fields}
        # SPADE looks for the conversation in its thread.
        assert parameters.pop("_thread_node", None) == parameters.get("conversation-id")
        return Heard(parameters, body)

    async def until(self, act: str, conversation: str) -> list[Heard]:
        """Wait for a message of a conversation; return it last, after all that came before it."""
        heard = [await self.hear()]
        while (heard[-1].act, heard[-1].parameters.get("conversation-id")) != (act, conversation):
            heard.append(await self.hear())
        return heard

    async def error(self) -> str:
        """Wait for a stanza that the server returns."""
        while 'type="error"' not in (text := await self._wire.message()):
            pass
        return text

    async def said_meanwhile(self, to: str = ADDER) -> list[Heard]:
        """What was said to us, notices left out, before the answer to a good request that is made now."""
        conversation = f"probe-{next(self._ids)}"
        self.say("request", ADD, to, **{**REQUEST, "conversation_id": conversation})
        *before, answer = await self.until("inform", conversation)
        assert answer.content == {"sum": {"value": 5.0}}
        return [each for each in before if not each.is_notice]


def form(act: str, content: str | None = None, **parameters: str | None) -> str:
    """Write body and form of a message."""
    named = {"performative": act} | {name.replace("_", "-"): value for name, value in parameters.items()}
    fields = "".join(
        f"<field var={quoteattr(name)}><value>{escape(value)}</value></field>"
        for name, value in named.items()
        if value is not None
    )
    return (
        f"<body>{escape(content or ' ')}</body>"
        f'<x xmlns="jabber:x:data" type="form"><title>spade:x:metadata</title>{fields}</x>'
    )


ADD = '{"add": {"a": 2, "b": 3}}'
SUM = '{"sum": {"value": 5}}'
AGREEING = '{"add": {"manner": "agreeing"}}'
REQUEST = {"protocol": "fipa-request", "conversation_id": "c1", "reply_with": "r1"}
TO_REQUEST = {"protocol": "fipa-request", "conversation-id": "c1", "in-reply-to": "r1"}
"""What the answer to that keeps."""


@contextlib.asynccontextmanager
async def entered(world: World, name: str) -> AsyncIterator[Client]:
    """Log in."""
    world.account(name)
    async with Wire(world.xmpp) as wire:
        yield Client(await wire.login(world.authority, name))


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    """Give a client that is logged in."""
    async with entered(world, "peer") as client:
        yield client


class Watched:
    """A world in which the log is written, and everything is counted, as in a society."""

    def __init__(self, world: World, log: pytest.LogCaptureFixture) -> None:
        self.world = world
        self.telemetry = Telemetry(ManualClock())
        self._log = log

    async def start(self, kind: type[Adder | Asker], name: str) -> Any:
        """Start an agent."""
        agent = self.world.make(kind, name)
        agent.ports = dataclasses.replace(agent.ports, hook=self._record)
        await agent.start()
        return agent

    def _record(self, fact: Fact) -> None:
        self.world.record(fact)
        self.telemetry(fact)

    @property
    def lines(self) -> list[str]:
        """The log of the agents."""
        return [each.getMessage() for each in self._log.records if each.name.startswith("locution")]

    def counted(self, agent: str) -> Counter[str]:
        """What an operator sees on the dashboard of an agent."""
        return Counter(self.telemetry.counts(agent))


@pytest.fixture
def watched(world: World, caplog: pytest.LogCaptureFixture) -> Watched:
    """Give a world with a log."""
    caplog.set_level(logging.WARNING)
    return Watched(world, caplog)


@dataclass
class UnderWay:
    """Two conversations in which an adder works: one with the client, one with an agent."""

    watched: Watched
    client: Client
    adder: Adder
    asking: asyncio.Task[Outcome]

    @classmethod
    async def begin(cls, watched: Watched, client: Client) -> UnderWay:
        """Ask for two sums and wait until both are agreed to."""
        adder = await watched.start(Adder, "adder")
        asker = await watched.start(Asker, "asker")
        asking = asyncio.create_task(asker.request(adder.me, Add(a=20, b=22, manner="agreeing")))
        await watched.world.fact(MessageReceived, agent=ASKER, performative="agree")
        client.say("request", AGREEING, **{**REQUEST, "conversation_id": "under way", "reply_with": "r0"})
        await client.until("agree", "under way")
        return cls(watched, client, adder, asking)

    async def end(self) -> None:
        """See both sums told."""
        assert len(self.adder.mailroom.conversations()) == 2
        self.adder.release.set()
        *_before, told = await self.client.until("inform", "under way")
        assert told.content == {"sum": {"value": 3.0}}
        assert told.parameters["in-reply-to"] == "r0"
        outcome = await self.asking
        assert isinstance(outcome, Succeeded)
        assert outcome.result == Sum(value=42)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What is said a thousand times, what comes back, and what is noted.

    Attributes:
        said: what the stanza holds.
        answer: the parameters of the first answer, all of them; None where nothing is answered.
        reason: cause, text and the part at fault, as the answer has them.
        answers: how many answers come in all.
        counted: what the operator sees counted.
        logged: the line in the log.
        times: how often it is said.
    """

    said: str
    answer: Mapping[str, str] | None = None
    reason: tuple[str, ...] = ()
    answers: int = 0
    counted: Mapping[str, int]
    logged: str
    times: int = TIMES


def answered(act: str = "not-understood", **kept: str) -> dict[str, str]:
    """The parameters of an answer."""
    named = {name.replace("_", "-"): value for name, value in kept.items()}
    return {"performative": act, "language": "json", **named}


def misunderstood(
    said: str, cause: str, text: str, about: str | None, answer: dict[str, str], times: int = TIMES
) -> Mistake:
    """A mistake that opens no conversation: a peer is told ten times a minute."""
    return Mistake(
        said=said,
        answer=answer,
        reason=(cause, text) if about is None else (cause, text, about),
        answers=complaints.A_MINUTE,
        counted={f"message not understood: {cause}": times},
        logged=f"{ADDER} did not understand a message of {PEER}: {text}",
        times=times,
    )


def dropped(act: str, text: str, **parameters: str | None) -> Mistake:
    """An answer that nobody waits for."""
    return Mistake(
        said=form(act, SUM, **parameters),
        counted={"out of sequence": TIMES},
        logged=f"{ADDER} did not expect the {act} of {PEER}: {text}",
    )


def unexpected(act: str, answer: dict[str, str], **parameters: str | None) -> Mistake:
    """An act that nobody waits for, and no answer either."""
    text = f"{act} opens no conversation here"
    return Mistake(
        said=form(act, SUM, **parameters),
        answer=answer,
        reason=("unexpected-act", text, act),
        answers=complaints.A_MINUTE,
        counted={"out of sequence": TIMES, "message not understood: unexpected-act": TIMES},
        logged=f"{ADDER} did not expect the {act} of {PEER}: {text}",
    )


def again(conversation: str, state: str) -> Mistake:
    """A conversation-id that was used before: told once in that conversation."""
    text = f"request from the initiator is out of sequence in state {state} of fipa-request"
    return Mistake(
        said=form("request", ADD, **{**REQUEST, "conversation_id": conversation}),
        answer=answered(**{**TO_REQUEST, "conversation-id": conversation}),
        reason=("unexpected-act", text),
        answers=1,
        counted={"out of sequence": TIMES, "message not understood: unexpected-act": 1},
        logged=f"{ADDER} did not expect the request of {PEER}: {text}",
    )


SPOKEN = ", ".join(each.label for each in (SUMS, MANAGEMENT, INTERACTION))
TOLD = answered(**TO_REQUEST)
MISTAKES = {
    "an unknown protocol": misunderstood(
        form("request", ADD, **{**REQUEST, "protocol": "fipa-chat"}),
        "unsupported-value",
        "protocol 'fipa-chat' is not spoken here; fipa-request, fipa-query, fipa-request-when, "
        "fipa-contract-net, fipa-iterated-contract-net, fipa-english-auction, fipa-dutch-auction, "
        "fipa-brokering, fipa-recruiting, fipa-subscribe, fipa-propose, locution-vote, "
        "fipa-auction-english, fipa-auction-dutch are",
        "protocol",
        answered(**{**TO_REQUEST, "protocol": "fipa-chat"}),
    ),
    "an act that is none of FIPA's": misunderstood(
        form("shout", ADD, **REQUEST),
        "unsupported-act",
        "'shout' is none of the 22 acts of FIPA00037",
        "shout",
        TOLD,
    ),
    "an act that is none of FIPA's, as JSON": misunderstood(
        '<body>{"performative": "shout", "protocol": "fipa-request", "conversation-id": "c1", '
        '"reply-with": "r1"}</body>',
        "unsupported-act",
        "'shout' is none of the 22 acts of FIPA00037",
        "shout",
        TOLD,
    ),
    "an action that the ontology lacks": misunderstood(
        form("request", '{"fly": {}}', ontology="sums", **REQUEST),
        "unsupported-act",
        "ontology sums/1.2 has no term 'fly'; it has add, done, forward, half, price, reason, sum, unknown",
        "fly",
        answered(ontology="sums", **TO_REQUEST),
    ),
    "an action that no ontology has": misunderstood(
        form("request", '{"fly": {}}', **REQUEST),
        "unsupported-act",
        f"no ontology here ({SPOKEN}) has a term 'fly'",
        "fly",
        TOLD,
    ),
    "an ontology of another major version": misunderstood(
        form("request", ADD, ontology="sums/2.0", **REQUEST),
        "unsupported-value",
        "ontology 'sums/2.0' is not spoken here in this version, but in sums/1.2",
        "ontology",
        answered(ontology="sums/2.0", **TO_REQUEST),
    ),
    "an unknown ontology": misunderstood(
        form("request", ADD, ontology="music/1.0", **REQUEST),
        "unsupported-value",
        f"ontology 'music/1.0' is not spoken here; {SPOKEN} are",
        "ontology",
        answered(ontology="music/1.0", **TO_REQUEST),
    ),
    "a newer minor version's action": misunderstood(
        form("request", '{"fly": {}}', ontology="sums/1.9", **REQUEST),
        "unsupported-act",
        "of ontology sums/1.9, sums/1.2 is spoken here; it has no term 'fly'",
        "fly",
        answered(ontology="sums/1.9", **TO_REQUEST),
    ),
    # The words of the answer are JSON, and it says so.
    "another content language": misunderstood(
        form("request", "(add 2 3)", language="fipa-sl", encoding="base64", **REQUEST),
        "unsupported-value",
        "language 'fipa-sl': only json is read here",
        "language",
        TOLD,
    ),
    "a million characters and one": misunderstood(
        form("request", "x" * 1_000_001, **REQUEST),
        "unsupported-value",
        "the content has 1,000,001 characters, 1,000,000 are read; send a reference to larger data "
        "(uri and sha256)",
        None,
        TOLD,
        times=12,
    ),
    "a protocol without a conversation-id": misunderstood(
        form("request", ADD, **{**REQUEST, "conversation_id": None}),
        "unrecognised-parameter-value",
        "a message under protocol 'fipa-request' needs a conversation-id (FIPA00061, 2.5.1)",
        None,
        answered(in_reply_to="r1"),
    ),
    "a conversation-id of a conversation under way": again("under way", "S2"),
    "a conversation-id of a conversation that is over": again("over", "DONE"),
    "an agree to nobody": dropped("agree", "agree belongs to no conversation here", **REQUEST),
    "an inform to nobody": dropped("inform", "inform belongs to no conversation here", **REQUEST),
    "a failure to nobody": dropped("failure", "failure belongs to no conversation here", **REQUEST),
    "a refuse to nobody": dropped("refuse", "refuse belongs to no conversation here", in_reply_to="r0"),
    "an inform in reply to another conversation's message": dropped(
        "inform", "inform belongs to no conversation here", **{**REQUEST, "in_reply_to": "r0"}
    ),
    "a not-understood to nobody": dropped(
        "not-understood", "not-understood belongs to no conversation here", **REQUEST
    ),
    "a not-understood that cannot be read": Mistake(
        said=form("not-understood", SUM, reply_by="soon", **REQUEST),
        counted={"message not understood: unrecognised-parameter-value": TIMES},
        logged=f"{ADDER} did not understand a message of {PEER}: "
        "reply-by 'soon' is no time; write e.g. 2026-11-20T07:06:34.120Z",
    ),
    "an inform out of the blue": unexpected("inform", answered(in_reply_to="r1"), reply_with="r1"),
    "an act that does not open its protocol": unexpected("cfp", TOLD, **REQUEST),
    "an acceptance of what was never proposed": unexpected("accept-proposal", TOLD, **REQUEST),
    "a cancel of what was never asked": unexpected("cancel", TOLD, **REQUEST),
    "a proposal for a call that was never made": Mistake(
        said=form("propose", '{"price": {"amount": 1}}', **{**REQUEST, "protocol": "fipa-contract-net"}),
        answer=answered("reject-proposal", **{**TO_REQUEST, "protocol": "fipa-contract-net"}),
        reason=("late", "the proposal came after the call was over"),
        answers=TIMES,
        counted={"out of sequence": TIMES},
        logged=f"{ADDER} did not expect the propose of {PEER}: a proposal for a call that is over",
    ),
    "an action that the agent does not do": Mistake(
        said=form("request", '{"unknown": {}}', reply_with="r1"),
        answer=answered("refuse", in_reply_to="r1"),
        reason=("unsupported-function", "unknown is an action that adder does not do; it does add, forward"),
        answers=TIMES,
        counted={"conversation refused: unsupported-function": TIMES},
        logged=f"{ADDER} refused the request of {PEER}: "
        "unknown is an action that adder does not do; it does add, forward",
    ),
}

TROUBLES = ("message not understood", "out of sequence", "conversation refused", "handler failed")


def troubles(counts: Mapping[str, int]) -> dict[str, int]:
    """The troubles among what was counted."""
    return {kind: count for kind, count in counts.items() if kind.startswith(TROUBLES)}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_answered_counted_and_logged_once(
    watched: Watched, client: Client, name: str
) -> None:
    mistake = MISTAKES[name]
    under_way = await UnderWay.begin(watched, client)
    client.say("request", ADD, **{**REQUEST, "conversation_id": "over"})
    await client.until("inform", "over")
    for _again in range(mistake.times):
        client.write(mistake.said)
    answers = await client.said_meanwhile()
    if mistake.answer is not None:
        cause, text, *about = mistake.reason
        reason = {"cause": cause, "text": text, **({"about": about[0]} if about else {})}
        assert answers[0] == Heard(mistake.answer, {"reason": reason})
    assert len(answers) == mistake.answers
    assert troubles(watched.counted(ADDER)) == mistake.counted
    assert watched.lines == [mistake.logged]
    await under_way.end()
    in_all = "; ".join(f"{kind} ({count:,})" for kind, count in sorted(mistake.counted.items()))
    watched.telemetry.close()
    assert watched.lines[1:] == [f"{ADDER} had more troubles than were logged; in all: {in_all}"]


# -- the other role: an agent that has asked -----------------------------------------------------


@dataclass
class Asked:
    """Two requests of an agent to the client, neither of them answered yet."""

    adder: Adder
    asking: tuple[asyncio.Task[Outcome], asyncio.Task[Outcome]]
    requests: tuple[Heard, Heard]

    @classmethod
    async def begin(cls, watched: Watched, client: Client) -> Asked:
        """Be asked."""
        adder = await watched.start(Adder, "adder")
        first = asyncio.create_task(adder.request(PEER, Add(a=1)))
        one = await client.hear()
        second = asyncio.create_task(adder.request(PEER, Add(a=2)))
        return cls(adder, (first, second), (one, await client.hear()))

    def reply(self, number: int = 0) -> dict[str, str]:
        """The parameters of a good answer to one of them."""
        asked = self.requests[number].parameters
        return {
            "protocol": "fipa-request",
            "conversation_id": asked["conversation-id"],
            "in_reply_to": asked["reply-with"],
        }

    async def end(self, client: Client) -> None:
        """Answer both."""
        assert [each.state for each in self.adder.mailroom.conversations()] == ["S1", "S1"]
        for number in (0, 1):
            client.say("inform", f'{{"sum": {{"value": {number}}}}}', **self.reply(number))
        for number, outcome in enumerate(await asyncio.gather(*self.asking)):
            assert isinstance(outcome, Succeeded)
            assert outcome.result == Sum(value=number)


@pytest.mark.parametrize(
    ("act", "changed", "told"),
    [
        ("propose", {}, "propose from the participant is out of sequence in state S1 of fipa-request"),
        ("request", {}, "request from the participant is out of sequence in state S1 of fipa-request"),
        ("cancel", {}, "cancel from the participant is out of sequence in state S1 of fipa-request"),
        ("inform", {"in_reply_to": "r9"}, "in-reply-to 'r9' answers no message that awaits an answer"),
        ("inform", {"in_reply_to": "other's"}, "in-reply-to '{}' answers no message that awaits an answer"),
        (
            "not-understood",
            {"in_reply_to": "r9"},
            "in-reply-to 'r9' answers no message that awaits an answer",
        ),
        ("inform", {"conversation_id": "c9"}, "inform belongs to no conversation here"),
    ],
)
async def test_an_initiator_counts_and_drops(
    watched: Watched, client: Client, act: str, changed: dict[str, str], told: str
) -> None:
    asked = await Asked.begin(watched, client)
    others = asked.reply(1)["in_reply_to"]
    parameters = asked.reply() | {
        name: others if value == "other's" else value for name, value in changed.items()
    }
    for _again in range(TIMES):
        client.say(act, SUM, **parameters)
    assert await client.said_meanwhile() == []
    assert troubles(watched.counted(ADDER)) == {"out of sequence": TIMES}
    assert watched.lines == [f"{ADDER} did not expect the {act} of {PEER}: {told.format(others)}"]
    await asked.end(client)
    client.say("inform", SUM, **asked.reply())
    assert await client.said_meanwhile() == []
    assert troubles(watched.counted(ADDER)) == {"out of sequence": TIMES + 1}


# -- whose conversation it is --------------------------------------------------------------------


@pytest.mark.parametrize("act", ["agree", "inform", "refuse", "failure", "not-understood", "cancel"])
async def test_an_initiator_listens_to_nobody_but_the_one_it_asked(
    watched: Watched, client: Client, act: str
) -> None:
    asked = await Asked.begin(watched, client)
    async with entered(watched.world, "liar") as liar:
        for _again in range(TIMES):
            liar.say(act, SUM, **asked.reply())
        body = {"performative": "inform", "sender": PEER, "content": {"sum": {"value": 666}}}
        named = {name.replace("_", "-"): value for name, value in asked.reply().items()}
        liar.write(f"<body>{json.dumps(body | named)}</body>")
        answers = await liar.said_meanwhile()
    # To the liar a cancel is one of a conversation that it does not have.
    assert [each.act for each in answers] == ["not-understood"] * (10 if act == "cancel" else 0)
    assert watched.counted(ADDER)["out of sequence"] == TIMES + 1
    assert {each.peer for each in watched.world.of(OutOfSequence)} == {"liar@localhost"}
    await asked.end(client)


@pytest.mark.parametrize("act", ["cancel", "accept-proposal", "not-understood", "agree", "failure"])
async def test_a_participant_listens_to_nobody_but_the_one_that_asked(
    watched: Watched, client: Client, act: str
) -> None:
    under_way = await UnderWay.begin(watched, client)
    async with entered(watched.world, "liar") as liar:
        for _again in range(TIMES):
            liar.say(act, SUM, **{**REQUEST, "conversation_id": "under way"})
        answers = await liar.said_meanwhile()
    is_answered = act in {"cancel", "accept-proposal"}
    assert [each.act for each in answers] == ["not-understood"] * (10 if is_answered else 0)
    assert len(watched.lines) == 1
    assert not under_way.adder.was_cancelled.is_set()
    await under_way.end()


async def test_one_conversation_id_of_two_agents_is_two_conversations(world: World, client: Client) -> None:
    adder = await world.start(Adder, "adder")
    async with entered(world, "other") as other:
        for each, a in ((client, 1), (other, 2)):
            each.say("request", f'{{"add": {{"a": {a}, "manner": "agreeing"}}}}', **REQUEST)
            await each.until("agree", "c1")
        assert [(each.peer, each.conversation_id) for each in adder.mailroom.conversations()] == [
            (PEER, "c1"),
            ("other@localhost", "c1"),
        ]
        client.say("cancel", None, **{**REQUEST, "reply_with": "r2"})
        *_notices, done = await client.until("inform", "c1")
        assert (done.content, done.parameters["in-reply-to"]) == ({"done": {}}, "r2")
        adder.release.set()
        *_notices, told = await other.until("inform", "c1")
        assert told.content == {"sum": {"value": 4.0}}
    assert not world.of(OutOfSequence)
    ended = {each.peer: each.state for each in world.of(ConversationEnded, agent=ADDER)}
    assert ended == {PEER: "CANCELLED", "other@localhost": "DONE"}


async def test_an_acceptance_of_another_conversations_proposal_awards_nothing(
    watched: Watched, client: Client
) -> None:
    adder = await watched.start(Adder, "adder")
    proposals = []
    for conversation in ("c1", "c2"):
        call = {"protocol": "fipa-contract-net", "conversation_id": conversation, "reply_with": "r1"}
        client.say("cfp", ADD, **call)
        proposals.append(await client.hear())
    one, two = (each.parameters["reply-with"] for each in proposals)
    before = adder.mailroom.conversations()
    assert [each.state for each in before] == ["C2", "C2"]
    first = {"protocol": "fipa-contract-net", "conversation_id": "c1", "reply_with": "r2"}
    for _again in range(TIMES):
        client.say("accept-proposal", ADD, in_reply_to=two, **first)
    (answer,) = await client.said_meanwhile()
    assert answer.parameters == answered(protocol="fipa-contract-net", conversation_id="c1", in_reply_to="r2")
    text = f"in-reply-to '{two}' answers no message that awaits an answer"
    assert answer.content == {"reason": {"cause": "unexpected-act", "text": text}}
    assert watched.lines == [f"{ADDER} did not expect the accept-proposal of {PEER}: {text}"]
    assert adder.mailroom.conversations() == before
    client.say("accept-proposal", ADD, in_reply_to=one, **first)
    assert (await client.hear()).content == {"sum": {"value": 5.0}}
    await watched.world.fact(ConversationEnded, agent=ADDER, conversation_id="c1", state="DONE")
    assert adder.mailroom.conversations() == before[1:]


# -- what is understood, and what never arrives --------------------------------------------------


@pytest.mark.parametrize(
    ("ontology", "content"),
    [
        ("sums/1.9", '{"add": {"a": 2, "b": 3, "rounded": true}}'),
        ("sums/1.2", ADD),
        ("sums/1.0", ADD),
        ("sums/1", ADD),
        ("sums", ADD),
    ],
)
async def test_a_newer_minor_version_is_understood(
    watched: Watched, client: Client, ontology: str, content: str
) -> None:
    await watched.start(Adder, "adder")
    client.say("request", content, ontology=ontology, **REQUEST)
    answer = await client.hear()
    assert answer.content == {"sum": {"value": 5.0}}
    assert answer.parameters == {"performative": "inform", **TO_REQUEST, "ontology": ontology}
    assert watched.lines == []


async def test_a_million_characters_are_read(watched: Watched, client: Client) -> None:
    await watched.start(Adder, "adder")
    content = '{"add": {"a": 2, "b": 3, "manner": ""}}'
    client.say("request", content.replace('""', f'"{"x" * (1_000_000 - len(content))}"'), **REQUEST)
    assert (await client.hear()).content == {"sum": {"value": 5.0}}
    assert watched.lines == []


async def test_what_is_too_large_for_the_server_comes_back_and_the_agent_hears_nothing_of_it(
    watched: Watched, client: Client
) -> None:
    under_way = await UnderWay.begin(watched, client)
    before = len(watched.world.of(MessageReceived, agent=ADDER))
    for _again in range(3):
        client.say("request", "\N{EURO SIGN}" * 1_000_000, **REQUEST)
        assert "<policy-violation" in await client.error()
    assert await client.said_meanwhile() == []
    assert len(watched.world.of(MessageReceived, agent=ADDER)) == before + 1
    await under_way.end()
    assert watched.lines == []


@pytest.mark.parametrize(
    "inner",
    [
        form("not-understood"),
        form("not-understood", "what?", reply_with="r1"),
        form("not-understood", "what?", **REQUEST),
        form("not-understood", "what?", **{**REQUEST, "protocol": "fipa-chat"}),
        form("not-understood", "what?", protocol="fipa-request"),
        form("NOT-UNDERSTOOD", "what?", reply_by="soon"),
        form("not-understood", "what?", **{"X-about": "c1"}),
        form("not-understood", "what?", ontology="o" * 2000),
        '<body>{"performative": "not-understood", "protocol": "fipa-request"}</body>',
        '<body>{"performative": "Not-Understood", "colour": "red"}</body>',
        '<body>{"performative": "not-understood", </body>',
        "<body>(not-understood :colour red)</body>",
        "<body> ( NOT-UNDERSTOOD :sender</body>",
        '<body>&lt;fipa-message act="not-understood"></body>',
        "<body>&lt;fipa-message act='not-understood'>&lt;colour/>&lt;/fipa-message></body>",
    ],
)
async def test_a_not_understood_is_never_answered(watched: Watched, client: Client, inner: str) -> None:
    under_way = await UnderWay.begin(watched, client)
    for _again in range(20):
        client.write(inner)
    assert await client.said_meanwhile() == []
    assert set(troubles(watched.counted(ADDER)).values()) == {20}
    assert len(watched.lines) == 1
    await under_way.end()


async def test_a_request_is_no_notice_whatever_its_metadata(world: World, client: Client) -> None:
    await world.start(Adder, "adder")
    client.say("request", ADD, about="the weather", conversation_id="c1")
    *_before, answer = await client.until("inform", "c1")
    assert answer.content == {"sum": {"value": 5.0}}


# -- the log of a broken peer --------------------------------------------------------------------


async def test_a_thousand_different_mistakes_do_not_fill_the_log(watched: Watched, client: Client) -> None:
    under_way = await UnderWay.begin(watched, client)
    for number in range(TIMES):
        client.say("request", ADD, **{**REQUEST, "protocol": f"chat-{number}"})
    await client.said_meanwhile()
    assert len(watched.lines) == OF_A_KIND
    assert watched.counted(ADDER)["message not understood: unsupported-value"] == TIMES
    watched.telemetry.close()
    assert watched.lines[-1].endswith("in all: message not understood: unsupported-value (1,000)")
    await under_way.end()
