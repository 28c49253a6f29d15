"""`behaviours.delivery` over a connection in memory: whoever sends learns what became of it."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from datetime import timedelta

import pytest

from behaviours import delivery as module
from behaviours.delivery import Delivered, Delivery, Undelivered
from behaviours.events import BounceDisbelieved, Fact, MessageSent, MessageUndelivered
from behaviours.wire import Bounced
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import Reason
from ontology.errors import Cause
from tests.behaviours.fakes import ME, PEER, FakeTransport, turns
from tests.conftest import ManualClock

SHORT = 0.02


@pytest.fixture
def facts() -> list[Fact]:
    return []


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def delivery(transport: FakeTransport, facts: list[Fact], manual_clock: ManualClock) -> Delivery:
    return Delivery(ME, transport, facts.append, patience=SHORT, clock=manual_clock)


def hello(number: int = 0, **parameters: object) -> AclMessage:
    """Make a message to the peer."""
    fields = {"receiver": (PEER,), "content": str(number), **parameters}
    return AclMessage(performative=Performative.INFORM, **fields)  # type: ignore[arg-type]


def bounce(transport: FakeTransport, delivery: Delivery, condition: str, text: str = "") -> None:
    """Return the last stanza."""
    stanza_id = transport.sent[-1].partition(' id="')[2].partition('"')[0]
    delivery.bounced(Bounced(stanza_id=stanza_id, peer=PEER.name, condition=condition, text=text))


def reason(result: object) -> Reason:
    """The reason why something was not delivered."""
    assert isinstance(result, Undelivered)
    return result.reason


async def test_a_message_that_the_server_confirms_is_delivered(
    delivery: Delivery, transport: FakeTransport, facts: list[Fact]
) -> None:
    assert await delivery.send(hello()) == Delivered()
    assert [message.content for message in transport.said()] == ["0"]
    assert facts == [MessageSent(agent="me@here", performative="inform", protocol="", peer="peer@here")]


async def test_a_message_goes_to_every_receiver(delivery: Delivery, transport: FakeTransport) -> None:
    several = (PEER, AgentIdentifier(name="b@here"))
    assert await delivery.send(hello(receiver=several)) == Delivered()
    assert [stanza.split('"')[3] for stanza in transport.sent] == ["peer@here/1", "b@here"]


async def test_a_message_to_nobody_is_a_mistake_of_the_caller(delivery: Delivery) -> None:
    with pytest.raises(ValueError, match="no receiver"):
        await delivery.send(hello(receiver=()))


async def test_a_character_that_cannot_be_sent_is_a_mistake_of_the_caller(
    delivery: Delivery, transport: FakeTransport
) -> None:
    traced: list[AgentIdentifier] = []
    with pytest.raises(ValueError, match=r"U\+0000"):
        await delivery.send(hello(content="\0"), trace=lambda _message, to: traced.append(to))
    assert transport.sent == []
    assert traced == []


async def test_each_copy_is_traced_before_it_is_handed_over(
    delivery: Delivery, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    monkeypatch.setattr(transport, "hand_over", lambda _stanza: happened.append("handed over"))
    await delivery.send(
        hello(receiver=(PEER, AgentIdentifier(name="b@here"))),
        trace=lambda _message, to: happened.append(f"to {to}"),
    )
    assert happened == ["to peer@here", "handed over", "to b@here", "handed over"]


@pytest.mark.parametrize(
    ("condition", "text", "told"),
    [
        ("service-unavailable", "", "peer@here: there is no such agent, or it is offline"),
        ("remote-server-not-found", "", "peer@here: its domain is not served here"),
        ("policy-violation", "too big", "peer@here: the server refused the message (too big)"),
        ("something-new", "", "peer@here: something-new"),
    ],
)
async def test_what_comes_back_is_reported_in_words(
    delivery: Delivery, transport: FakeTransport, facts: list[Fact], condition: str, text: str, told: str
) -> None:
    sending = asyncio.ensure_future(delivery.send(hello()))
    await asyncio.sleep(0)
    bounce(transport, delivery, condition, text)
    why = reason(await sending)
    assert why.cause == Cause.UNREACHABLE
    assert why.text.startswith(told)
    assert why.about == "peer@here"
    assert isinstance(facts[-1], MessageUndelivered)


async def test_a_bounce_is_told_once_and_those_of_others_not_at_all(
    delivery: Delivery, transport: FakeTransport
) -> None:
    lost: list[Reason] = []
    delivery.post(hello(), PEER, lost.append)
    delivery.bounced(Bounced(stanza_id="another", peer="x@here", condition="gone", text=""))
    assert lost == []
    bounce(transport, delivery, "gone")
    bounce(transport, delivery, "gone")
    assert len(lost) == 1


@pytest.mark.parametrize("is_marked", [True, False])
async def test_what_comes_back_from_a_session_that_was_replaced_may_have_arrived(
    delivery: Delivery, transport: FakeTransport, facts: list[Fact], *, is_marked: bool
) -> None:
    """Prosody returns all that a killed session had not acknowledged: whoever can, asks after it."""
    lost: list[Reason] = []
    delivery.post(hello(), PEER, lost.append, message_id="m" if is_marked else None)
    bounce(transport, delivery, "recipient-unavailable")
    assert bool(lost) is not is_marked
    assert any(isinstance(fact, MessageUndelivered) for fact in facts) is not is_marked
    transport.is_online = False
    transport.is_online = True
    delivery.came_online()
    assert len(transport.sent) == 1, "it is not in doubt any more"


BEHIND = AgentIdentifier(name="alias", addresses=("xmpp:Real@There/x",))
"""An agent whose address has nothing to do with its name."""


@pytest.mark.parametrize(
    ("to", "returner"),
    [
        (PEER, "peer@here"),
        (PEER, "here"),
        (PEER, "me@here"),
        (AgentIdentifier(name="b@there"), "b@there"),
        (AgentIdentifier(name="b@there"), "there"),
        (AgentIdentifier(name="b@there"), "here"),
        (BEHIND, "real@there"),
        (BEHIND, "there"),
    ],
)
async def test_a_bounce_is_believed_from_the_addressee_and_from_the_servers_on_the_way(
    delivery: Delivery, to: AgentIdentifier, returner: str
) -> None:
    lost: list[Reason] = []
    stanza_id = delivery.post(hello(), to, lost.append)
    delivery.bounced(Bounced(stanza_id=stanza_id, peer=returner, condition="item-not-found", text=""))
    assert [why.text for why in lost] == [f"{to}: there is no such agent"]


@pytest.mark.parametrize(
    ("to", "returner"),
    [
        (PEER, "liar@here"),
        (PEER, "peer@elsewhere"),
        (PEER, "elsewhere"),
        (AgentIdentifier(name="b@there"), "b@here"),
        (AgentIdentifier(name="b@there"), "me@there"),
        (BEHIND, "alias"),
    ],
)
async def test_a_bounce_from_anybody_else_is_not_believed_and_told_of(
    delivery: Delivery, facts: list[Fact], to: AgentIdentifier, returner: str
) -> None:
    lost: list[Reason] = []
    stanza_id = delivery.post(hello(), to, lost.append)
    forged = Bounced(stanza_id=stanza_id, peer=returner, condition="item-not-found", text="")
    delivery.bounced(forged)
    assert lost == []
    assert facts[1:] == [BounceDisbelieved(agent="me@here", peer=returner, addressee=to.name)]
    delivery.bounced(dataclasses.replace(forged, peer="here"))  # the true one is still waited for
    assert len(lost) == 1


async def test_nobody_knows_when_the_server_does_not_confirm(
    delivery: Delivery, transport: FakeTransport
) -> None:
    transport.confirms = False
    why = reason(await delivery.send(hello()))
    assert "nobody knows whether it arrived" in why.text


async def test_while_disconnected_a_message_is_given_up_after_a_while_and_never_sent(
    delivery: Delivery, transport: FakeTransport, facts: list[Fact]
) -> None:
    transport.is_online = False
    why = reason(await delivery.send(hello()))
    assert why.text == "no connection to the server within 0.02 s; it was not sent"
    assert [type(fact) for fact in facts] == [MessageUndelivered]
    transport.is_online = True
    delivery.came_online()
    assert transport.sent == []


async def test_waiting_messages_go_out_in_order_when_the_connection_is_back(
    transport: FakeTransport, facts: list[Fact]
) -> None:
    delivery = Delivery(ME, transport, facts.append)
    transport.is_online = False
    sending = [asyncio.ensure_future(delivery.send(hello(number))) for number in range(20)]
    await asyncio.sleep(0)
    assert transport.sent == []
    transport.is_online = True
    delivery.came_online()
    delivery.post(hello(20), PEER, lambda _reason: None)
    assert [message.content for message in transport.said()] == [str(number) for number in range(21)]
    assert set(await asyncio.gather(*sending)) == {Delivered()}


async def test_what_is_posted_behind_waiting_messages_waits_as_well(
    transport: FakeTransport, facts: list[Fact]
) -> None:
    delivery = Delivery(ME, transport, facts.append)
    transport.breaks = True  # the connection is broken, and nobody has noticed yet
    delivery.post(hello(0), PEER, lambda _reason: None)
    transport.breaks = False
    delivery.post(hello(1), PEER, lambda _reason: None)
    assert transport.sent == []
    delivery.came_online()
    assert [message.content for message in transport.said()] == ["0", "1"]
    delivery.close()


async def test_a_connection_that_breaks_again_while_catching_up_keeps_order_and_does_not_spin(
    transport: FakeTransport, facts: list[Fact]
) -> None:
    delivery = Delivery(ME, transport, facts.append)
    transport.is_online = False
    for number in range(3):
        delivery.post(hello(number), PEER, lambda _reason: None)
    transport.is_online = transport.breaks = True
    delivery.came_online()
    assert transport.sent == []
    transport.breaks = False
    delivery.came_online()
    assert [message.content for message in transport.said()] == ["0", "1", "2"]


async def test_a_message_that_was_never_handed_over_is_taken_back_and_said_so(
    delivery: Delivery, transport: FakeTransport
) -> None:
    transport.breaks, transport.confirms = True, False
    assert reason(await delivery.send(hello())).text.endswith("it was not sent")
    transport.breaks = False
    delivery.came_online()
    assert transport.sent == []


async def test_no_message_waits_beyond_its_reply_by(
    transport: FakeTransport, facts: list[Fact], manual_clock: ManualClock
) -> None:
    delivery = Delivery(ME, transport, facts.append, patience=60, clock=manual_clock)
    transport.is_online = False
    loop = asyncio.get_running_loop()
    started = loop.time()
    soon = hello(reply_by=manual_clock.now + timedelta(seconds=0.2))
    why = reason(await delivery.send(soon))
    assert loop.time() - started < 0.2  # in time for the sender to hear of it
    assert "0.19 s" in why.text
    past = hello(reply_by=manual_clock.now - timedelta(seconds=1))
    assert isinstance(await delivery.send(past), Undelivered)


async def test_too_many_waiting_messages_are_reported_but_not_within_the_call(
    delivery: Delivery, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    transport.is_online = False
    lost: list[tuple[int, Reason]] = []

    def note(number: int, why: Reason) -> None:
        lost.append((number, why))

    for number in range(3):
        delivery.post(hello(number), PEER, functools.partial(note, number))
    assert lost == []
    await turns()
    assert [(number, why.cause) for number, why in lost] == [(2, Cause.OVERLOADED)]
    await asyncio.sleep(SHORT * 3)
    assert [number for number, _why in lost] == [2, 0, 1]


async def test_messages_whose_bounce_is_awaited_are_let_go_of(
    delivery: Delivery, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WATCHED", 3)
    for number in range(10):
        delivery.post(hello(number), PEER, lambda _reason: None)
    assert len(delivery._watched) == 3
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.0)
    await asyncio.sleep(0.01)
    delivery.post(hello(11), PEER, lambda _reason: None)
    assert len(delivery._watched) == 1


async def test_stopping_reports_what_waits_and_what_comes_after(
    delivery: Delivery, transport: FakeTransport
) -> None:
    transport.is_online = False
    before = asyncio.ensure_future(delivery.send(hello(0)))
    await asyncio.sleep(0)
    delivery.close()
    assert reason(await before).text == "the agent was stopped before it was sent"
    assert reason(await delivery.send(hello(1))).text == "the agent was stopped"


async def test_stopping_leaves_nobody_waiting_for_a_confirmation(
    transport: FakeTransport, facts: list[Fact], monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = Delivery(ME, transport, facts.append)
    never = asyncio.Event()

    async def confirm(timeout: float) -> bool:
        await never.wait()
        return True

    monkeypatch.setattr(transport, "confirm", confirm)
    sending = [asyncio.ensure_future(delivery.send(hello(0)))]
    await turns(3)
    sending.append(asyncio.ensure_future(delivery.send(hello(1))))
    await turns(3)
    delivery.close()
    assert all("nobody knows" in reason(result).text for result in await asyncio.gather(*sending))


async def test_one_confirmation_serves_all_that_were_sent_before_it(
    delivery: Delivery, transport: FakeTransport
) -> None:
    results = await asyncio.gather(*(delivery.send(hello(number)) for number in range(50)))
    assert set(results) == {Delivered()}
    assert transport.confirmations <= 2


async def test_sending_may_be_cancelled(delivery: Delivery, transport: FakeTransport) -> None:
    transport.is_online = False
    before = asyncio.all_tasks()
    sending = asyncio.ensure_future(delivery.send(hello()))
    await asyncio.sleep(0)
    sending.cancel()
    await turns()
    assert asyncio.all_tasks() == before
    delivery.close()


async def test_what_a_broken_connection_may_have_swallowed_is_sent_again_first_and_in_order(
    delivery: Delivery, transport: FakeTransport
) -> None:
    for number in range(2):
        delivery.post(hello(number), PEER, lambda _reason: None)
    transport.is_online = False
    delivery.post(hello(2), PEER, lambda _reason: None)
    before = list(transport.sent)
    transport.is_online = True
    delivery.came_online()
    assert transport.sent[2:4] == before  # the very same stanzas, with their ids: a mailroom drops the second
    assert [message.content for message in transport.said()] == ["0", "1", "0", "1", "2"]
    delivery.close()


async def test_what_the_server_has_confirmed_is_not_sent_again(
    delivery: Delivery, transport: FakeTransport
) -> None:
    delivery.post(hello(), PEER, lambda _reason: None)
    assert await delivery.send(hello(1)) == Delivered()  # its confirmation is one for both
    transport.is_online = False
    transport.is_online = True
    delivery.came_online()
    assert len(transport.sent) == 2
    delivery.close()


async def test_what_is_in_doubt_is_asked_about_soon(
    delivery: Delivery, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLE_AFTER", 0.0)
    asked = asyncio.Event()

    async def confirm(timeout: float) -> bool:
        asked.set()
        return True

    monkeypatch.setattr(transport, "confirm", confirm)
    delivery.post(hello(), PEER, lambda _reason: None)
    await asyncio.wait_for(asked.wait(), 5)
    await turns()
    delivery.came_online()
    assert len(transport.sent) == 1
    delivery.close()


async def test_what_was_reported_as_unknown_is_not_sent_again(
    delivery: Delivery, transport: FakeTransport
) -> None:
    transport.confirms = False
    result = await delivery.send(hello())
    assert "nobody knows" in reason(result).text
    delivery.came_online()
    assert len(transport.sent) == 1
    delivery.close()


async def test_a_loss_comes_with_the_failure_that_fipa_has_for_it(
    delivery: Delivery, transport: FakeTransport
) -> None:
    sending = asyncio.ensure_future(delivery.send(hello(reply_with="r1", conversation_id="c1")))
    await asyncio.sleep(0)
    bounce(transport, delivery, "service-unavailable")
    result = await sending
    assert isinstance(result, Undelivered)
    failure = result.failure
    assert failure.performative is Performative.FAILURE
    assert failure.sender == AgentIdentifier(name="ams@here")
    assert failure.receiver == (ME,)
    assert (failure.in_reply_to, failure.conversation_id) == ("r1", "c1")
    assert "there is no such agent, or it is offline" in (failure.content or "")
