"""`behaviours.replaying` and `behaviours.burying`: what a letter says, and what may still be done with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from behaviours.handlers import Handlers
from behaviours.outcomes import Answer, Fail
from behaviours.participating import Participation
from behaviours.wire import Received, parse
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import from_json, to_json
from ontology.content import Reason
from ontology.errors import Cause
from ontology.management import Replayed
from protocols.contract_net import CONTRACT_NET
from protocols.request import REQUEST
from resilience.dead_letters import ORIGINAL_LIMIT, DeadLetter
from resilience.journal import CLOCK_ERROR, Effects
from resilience.memory import MemoryJournal
from resilience.outbox import Retrying, posted
from tests.behaviours.fakes import ME, PEER, Scene, element, turns
from tests.behaviours.samples import SUMS, Add, Sum
from tests.conftest import PATIENCE

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Counted:
    """Adds, and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    async def add(self, action: Add, _task: Participation) -> Answer:
        self.times += 1
        return Sum(value=action.a + action.b)


@pytest.fixture
def adder() -> Counted:
    return Counted()


@pytest.fixture
async def scene(adder: Counted) -> AsyncIterator[Scene]:
    scene = Scene(Handlers(on={Add: adder.add}), clock=lambda: NOW)
    yield scene
    await scene.close()


def said(act: Performative, **parameters: Any) -> AclMessage:
    """Something of ours in a conversation that is over."""
    fields = {"protocol": REQUEST.name, "conversation_id": "c1", "sender": ME, "receiver": (PEER,)}
    return AclMessage(performative=act, **{**fields, **parameters})


def heard(act: Performative, **parameters: Any) -> AclMessage:
    """Something of the peer's."""
    return said(act, **{"sender": PEER, "receiver": (ME,), **parameters})


def request(**parameters: Any) -> AclMessage:
    content = SUMS.render(Add(a=1, b=1))
    return heard(Performative.REQUEST, content=content, ontology=SUMS.label, reply_with="r", **parameters)


def letter(message: AclMessage | str, *, is_inbound: bool = False, **fields: Any) -> DeadLetter:
    original = message if isinstance(message, str) else to_json(message)
    known = {"id": "the-letter", "agent": ME.name, "peer": PEER.name, "cause": "unreachable", "text": "gone"}
    known |= {"attempts": 5, "when": NOW, "made": NOW - timedelta(minutes=1)}
    return DeadLetter(is_inbound=is_inbound, original=original, **{**known, **fields})


async def replay(
    scene: Scene,
    *letters: DeadLetter,
    id: str = "the-letter",  # noqa: A002 - as the field is called
    again: bool = False,
) -> Answer:
    for each in letters:
        scene.letters.add(each)
    answer = await scene.mailroom.replaying.replay(ME.name, id, again=again)
    await turns()
    return answer


def ids(scene: Scene) -> list[str]:
    """The ids under which stanzas went out."""
    found = [parse(element(each, PEER.jid)) for each in scene.transport.sent]
    return [each.stanza_id for each in found if isinstance(each, Received)]


def done(answer: Answer) -> str:
    assert isinstance(answer, Replayed), answer
    assert "\n" not in answer.text
    return answer.done


# -- what a letter says ---------------------------------------------------------------------------


async def lost(scene: Scene) -> DeadLetter:
    """Have the last message come back."""
    sent = parse(element(scene.transport.sent[-1], PEER.jid))
    assert isinstance(sent, Received)
    bounce = (
        f'<message type="error" id="{sent.stanza_id}"><error type="cancel">'
        '<service-unavailable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></message>'
    )
    await scene.hear_stanza(bounce)
    (found,) = scene.letters.list()
    return found


async def test_what_came_back_says_where_its_conversation_stood_and_how_often_it_was_sent(
    scene: Scene,
) -> None:
    scene.mailroom.open(REQUEST, request().model_copy(update={"sender": None, "receiver": ()}), PEER)
    await turns()
    (message_id,) = ids(scene)
    found = await lost(scene)
    assert (found.id, found.is_inbound, found.cause) == (message_id, False, "unreachable")
    assert (found.conversation_id, found.protocol, found.state) == ("c1", REQUEST.name, "S1")
    assert found.attempts == 1
    assert from_json(found.original).performative is Performative.REQUEST


async def test_what_is_sent_outside_any_conversation_is_a_letter_too(scene: Scene) -> None:
    outside = AclMessage(performative=Performative.INFORM, content="x", receiver=(PEER,))
    sending = asyncio.create_task(scene.mailroom.send(outside))
    await turns()
    found = await lost(scene)
    await sending
    assert (found.conversation_id, found.protocol, found.state, found.attempts) == ("", "", "", 1)


async def test_what_cannot_be_handled_says_whose_it_was(scene: Scene, monkeypatch) -> None:
    def stumble(*_arguments: object) -> None:
        raise RuntimeError("stumbled")

    with monkeypatch.context() as patch:
        patch.setattr(scene.mailroom, "_serve", stumble)
        await scene.hear(request())
    (found,) = scene.letters.list()
    assert (found.is_inbound, found.conversation_id, found.protocol) == (True, "c1", REQUEST.name)
    assert found.id


# -- what we had said ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        AclMessage(performative=Performative.INFORM, content="x", sender=ME, receiver=(PEER,)),
        said(Performative.INFORM, content="x"),
        said(Performative.FAILURE, content="x"),
        said(Performative.PROPOSE, protocol=CONTRACT_NET.name),
        said(Performative.REJECT_PROPOSAL, protocol=CONTRACT_NET.name),
    ],
)
async def test_what_somebody_may_still_wait_for_goes_again_under_the_same_id(
    scene: Scene, message: AclMessage
) -> None:
    assert done(await replay(scene, letter(message))) == "sent"
    assert ids(scene) == ["the-letter"]
    (again,) = scene.transport.said()
    assert (again.performative, again.content) == (message.performative, message.content)
    assert [each.id for each in await scene.journal.outgoing(ME.name)] == ["the-letter"]
    assert scene.letters.list() == ()


async def test_asked_for_twice_it_is_sent_once(scene: Scene) -> None:
    lying = letter(said(Performative.INFORM))
    assert done(await replay(scene, lying)) == "sent"
    assert done(await replay(scene, lying)) == "sent"
    assert ids(scene) == ["the-letter"]
    answer = await replay(scene)
    assert isinstance(answer, Fail)
    assert "me@here has no dead letter 'the-letter'; it may have been replayed" in answer.text


async def test_what_fails_again_is_a_letter_again(scene: Scene) -> None:
    await replay(scene, letter(said(Performative.INFORM)))
    found = await lost(scene)
    assert (found.id, found.attempts) == ("the-letter", 1)


@pytest.mark.parametrize("act", [Performative.ACCEPT_PROPOSAL, Performative.CANCEL])
async def test_what_nobody_waits_for_any_more_is_called_off(scene: Scene, act: Performative) -> None:
    award = said(act, protocol=CONTRACT_NET.name, reply_with="a", content="x", reply_by=NOW)
    assert done(await replay(scene, letter(award))) == "cancelled"
    (cancel,) = scene.transport.said()
    assert (cancel.performative, cancel.protocol) == (Performative.CANCEL, CONTRACT_NET.name)
    assert (cancel.conversation_id, cancel.content) == ("c1", None)
    assert scene.letters.list() == ()
    # Whatever the peer says to that is expected, and no trouble.
    told = heard(Performative.INFORM, protocol=CONTRACT_NET.name, in_reply_to=cancel.reply_with)
    assert await scene.hear(told) == []


@pytest.mark.parametrize("act", [Performative.REQUEST, Performative.CFP])
async def test_what_began_a_conversation_that_is_over_stays_a_letter(scene: Scene, act: Performative) -> None:
    name = CONTRACT_NET.name if act is Performative.CFP else REQUEST.name
    answer = await replay(scene, letter(said(act, protocol=name)))
    assert isinstance(answer, Fail)
    assert "its conversation is over: nobody waits for an answer" in answer.text
    assert scene.transport.sent == []
    assert len(scene.letters.list()) == 1


async def test_in_an_open_conversation_anything_goes_again(scene: Scene) -> None:
    opening = said(Performative.REQUEST, content="x")
    scene.mailroom.open(REQUEST, opening, PEER)
    await turns()
    assert done(await replay(scene, letter(opening))) == "sent"
    assert ids(scene)[1:] == ["the-letter"]
    await scene.hear_stanza(
        '<message type="error" id="the-letter"><error type="cancel">'
        '<item-not-found xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/></error></message>'
    )
    assert scene.mailroom.conversations() == []


async def test_after_its_reply_by_nothing_is_said_again(scene: Scene) -> None:
    late = said(Performative.INFORM, reply_by=NOW - timedelta(seconds=1))
    answer = await replay(scene, letter(late))
    assert isinstance(answer, Fail)
    assert (answer.cause, "reply-by of the inform has passed" in answer.text) == (Cause.LATE, True)
    assert scene.transport.sent == []


RETENTION = timedelta(seconds=MemoryJournal().policy.terms.retention)
REMEMBERED = RETENTION - timedelta(seconds=CLOCK_ERROR)
"""How long after it was made a message can be said again, while its receiver knows whether it has come."""


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (NOW - REMEMBERED, "may have come to peer@here at 2026-11-20T10:10:00+00:00 already"),
        (None, "may have come to peer@here already"),
    ],
)
async def test_what_its_receiver_may_have_forgotten_is_not_said_again_unasked(
    scene: Scene, made: datetime | None, told: str
) -> None:
    answer = await replay(scene, letter(said(Performative.INFORM), made=made))
    assert isinstance(answer, Fail)
    assert answer.cause == Cause.LATE
    assert told in answer.text
    assert "remembers for 2 h only, so it could take effect twice" in answer.text
    assert "to send it all the same" in answer.text
    assert "--again" in answer.text
    assert "\n" not in answer.text
    assert scene.transport.sent == []
    assert len(scene.letters.list()) == 1
    for _time in range(2):
        assert done(await replay(scene, again=True)) == "sent"
        scene.letters.add(letter(said(Performative.INFORM), made=made))  # as if asked for twice at once
    assert ids(scene) == ["the-letter"]


async def test_what_was_never_sent_is_said_whenever_that_is_asked_for(scene: Scene) -> None:
    unsent = letter(said(Performative.INFORM), made=NOW - 10 * RETENTION, attempts=0)
    assert done(await replay(scene, unsent)) == "sent"
    (record,) = await scene.journal.outgoing(ME.name)
    assert record.expires == NOW + timedelta(seconds=scene.journal.policy.retrying.life)


async def test_of_a_letter_that_does_not_say_when_it_was_made_nobody_knows_whether_it_was_sent(
    scene: Scene,
) -> None:
    answer = await replay(scene, letter(said(Performative.INFORM), made=None, attempts=0))
    assert isinstance(answer, Fail)
    assert "it could take effect twice" in answer.text


async def test_nothing_is_said_again_later_than_its_receiver_remembers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = NOW - REMEMBERED + timedelta(seconds=1)
    assert done(await replay(scene, letter(said(Performative.INFORM), made=made))) == "sent"
    (record,) = await scene.journal.outgoing(ME.name)
    assert (record.made, record.expires) == (made, made + REMEMBERED)


async def test_what_is_lost_again_says_when_it_was_sent_first(scene: Scene) -> None:
    made = NOW - timedelta(hours=1)
    await replay(scene, letter(said(Performative.INFORM), made=made))
    assert (await lost(scene)).made == made
    await replay(scene, again=True)
    (record,) = await scene.journal.outgoing(ME.name)
    assert record.made == made
    assert record.expires == NOW + timedelta(seconds=scene.journal.policy.retrying.life)


@pytest.mark.parametrize("is_left", [False, True])
async def test_a_letter_tells_whether_its_message_may_have_been_sent(scene: Scene, is_left: bool) -> None:
    message = said(Performative.INFORM)
    record = posted(
        agent=ME.name, id="x", to=PEER.name, message=to_json(message), now=NOW, retrying=Retrying()
    )
    reason = Reason(cause="expired", text="its time was over")
    scene.mailroom._burying.lost(message, PEER, record, reason, is_left=is_left)
    (found,) = scene.letters.list()
    # What a former process has left it may have sent, without having counted that.
    assert (found.attempts, found.made) == (1 if is_left else 0, NOW)


async def test_what_a_former_process_has_left_it_may_have_sent() -> None:
    journal = MemoryJournal()
    record = posted(
        agent=ME.name,
        id="x",
        to=PEER.name,
        message=to_json(said(Performative.INFORM)),
        now=NOW - timedelta(hours=3),
        retrying=Retrying(),
        replica="main",
    )
    await journal.commit(Effects(agent=ME.name, send=(record,)))
    scene = Scene(journal=journal, clock=lambda: NOW)
    await scene.mailroom.restore()
    async with asyncio.timeout(PATIENCE):
        while not scene.letters.list():  # noqa: ASYNC110 - it is due at once
            await asyncio.sleep(0)
    (found,) = scene.letters.list()
    assert (record.attempts, found.attempts, found.made) == (0, 1, record.made)
    answer = await replay(scene, id="x")
    assert isinstance(answer, Fail)
    assert "it could take effect twice" in answer.text
    await scene.close()


# -- what had been said to us ----------------------------------------------------------------------


async def test_what_was_not_handled_is_handled_now_and_only_once(scene: Scene, adder: Counted) -> None:
    lying = letter(request(), is_inbound=True)
    assert done(await replay(scene, lying)) == "handled"
    (answer,) = scene.transport.said()
    assert SUMS.parse(answer.content) == Sum(value=2)
    assert (answer.conversation_id, answer.in_reply_to, adder.times) == ("c1", "r", 1)
    assert scene.letters.list() == ()
    await replay(scene, lying)
    assert adder.times == 1


async def test_what_belongs_to_no_conversation_is_handled_only_once_as_well(
    scene: Scene, adder: Counted
) -> None:
    lying = letter(request(protocol=None, conversation_id=None), is_inbound=True)
    for _time in range(2):
        assert done(await replay(scene, lying)) == "handled"
    assert adder.times == 1
    assert scene.letters.list() == ()


async def test_a_late_proposal_is_rejected(scene: Scene) -> None:
    late = heard(Performative.PROPOSE, protocol=CONTRACT_NET.name, reply_with="p", content="{}")
    assert done(await replay(scene, letter(late, is_inbound=True))) == "handled"
    (answer,) = scene.transport.said()
    assert (answer.performative, answer.in_reply_to) == (Performative.REJECT_PROPOSAL, "p")


async def test_what_came_as_another_form_or_under_another_name_is_the_stamped_peers(scene: Scene) -> None:
    claims = request().model_copy(update={"sender": AgentIdentifier.of("victim@here/1")})
    assert done(await replay(scene, letter(claims, is_inbound=True))) == "handled"
    assert [f'to="{PEER.name}"' in each for each in scene.transport.sent] == [True]


async def test_what_the_rules_do_not_allow_is_not_handled(scene: Scene, adder: Counted) -> None:
    foreign = letter(request(), is_inbound=True, peer="peer@elsewhere")
    answer = await replay(scene, foreign)
    assert isinstance(answer, Fail)
    assert (answer.cause, adder.times) == (Cause.UNAUTHORISED, 0)
    assert len(scene.letters.list()) == 1


async def test_after_its_reply_by_nobody_waits_for_what_was_asked(scene: Scene, adder: Counted) -> None:
    answer = await replay(scene, letter(request(reply_by=NOW - timedelta(seconds=1)), is_inbound=True))
    assert isinstance(answer, Fail)
    assert (answer.cause, adder.times, scene.transport.sent) == (Cause.LATE, 0, [])


@pytest.mark.parametrize(
    ("original", "told"),
    [("hello", "cannot be read as a message:"), ("x" * ORIGINAL_LIMIT, "as only its beginning was kept")],
)
async def test_what_is_no_message_is_one_sentence(scene: Scene, original: str, told: str) -> None:
    answer = await replay(scene, letter(original, is_inbound=True))
    assert isinstance(answer, Fail)
    assert told in answer.text
    assert "\n" not in answer.text


async def test_another_agents_letter_is_none_of_ours(scene: Scene) -> None:
    answer = await replay(scene, letter(said(Performative.INFORM), agent="other@here"))
    assert isinstance(answer, Fail)
    assert len(scene.letters.list()) == 1


async def test_a_reason_is_kept_with_the_letter(scene: Scene) -> None:
    scene.mailroom._burying.lost(said(Performative.INFORM), PEER, None, Reason(cause="late", text="a\x01b"))
    (found,) = scene.letters.list()
    assert (found.cause, found.text, found.attempts) == ("late", "a\ufffdb", 1)  # a notice was sent once
    assert found.made == NOW
