"""`behaviours.signing` and `behaviours.vouching`: who has said it, in every form, and not twice."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given
from hypothesis import strategies as st

from behaviours.authorising import Authority
from behaviours.authority import Policy, Rule
from behaviours.events import ConversationRefused, MessageDisbelieved, RecordNotKept
from behaviours.handlers import Handlers
from behaviours.outcomes import Answer
from behaviours.participating import Participation
from behaviours.signing import SIGNATURE, SIGNED_AT, SigningKey, is_by, is_key, is_signed, signed_at
from behaviours.vouching import WINDOW, KeyRing, Replays, Vouching, nobody
from behaviours.wire import SPADE, Received, render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.codecs import FORMATS
from ontology.management import MANAGEMENT, DfAgentDescription, Modify, Register, Search
from protocols.request import REQUEST
from resilience.memory import MemoryRecords
from resilience.records import RecordsError
from tests.behaviours.fakes import ME, Scene, incoming
from tests.behaviours.samples import Add, Price, Sum
from tests.conftest import ManualClock
from tests.ontology.strategies import EXAMPLES, agents, messages

ANN = AgentIdentifier.of("ann@here/1")
KEY = SigningKey(SigningKey.new())
OTHER = SigningKey(SigningKey.new())
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

REQUESTED = AclMessage(
    performative=Performative.REQUEST,
    content='{"add": {"a": 1, "b": 2}}',
    protocol="fipa-request",
    conversation_id="c1",
    reply_with="r1",
)


def signed(message: AclMessage = REQUESTED, key: SigningKey = KEY, **changes: Any) -> AclMessage:
    fields: dict[str, Any] = {"stanza_id": "id1", "sender": ANN, "receiver": ME, "now": NOW}
    return key.sign(message, **{**fields, **changes})


def is_anns(message: AclMessage, public: str = KEY.public, **changes: Any) -> bool:
    fields: dict[str, Any] = {"stanza_id": "id1", "sender": ANN, "receiver": ME}
    return is_by(public, message, **{**fields, **changes})


# -- what is signed --------------------------------------------------------------------------


@pytest.mark.parametrize("form", [SPADE, *FORMATS])
@EXAMPLES
@given(message=messages(agents.filter(lambda agent: " " not in agent.jid)))
def test_a_signature_survives_every_form(form: str, message: AclMessage) -> None:
    said = signed(message)
    try:
        stanza = render(said, "me@here/1", "id1", form)
    except ValueError:
        assume(False)
    received = incoming(stanza, "ann@here/other")
    assume(isinstance(received, Received))
    assert isinstance(received, Received)
    assert is_anns(received.message)
    assert signed_at(received.message) == NOW


def test_an_object_may_be_written_anew_on_its_way() -> None:
    said = signed()
    content = json.dumps(dict(reversed(json.loads(said.content or "").items())), indent=2)
    assert is_anns(said.model_copy(update={"content": content}))


@pytest.mark.parametrize(
    "change",
    [
        {"performative": Performative.CFP},
        {"content": '{"add": {"a": 1, "b": 3}}'},
        {"content": None},
        {"content": "[1]"},
        {"protocol": "fipa-query"},
        {"conversation_id": "c2"},
        {"reply_with": None},
        {"in_reply_to": "r1"},
        {"ontology": "sums/1.0"},
        {"language": "json"},
        {"encoding": "x"},
        {"reply_by": NOW},
        {"reply_to": (AgentIdentifier.of("eve@here"),)},
        {"user_parameters": {"X-price": "7"}},
    ],
)
def test_whatever_is_changed_is_noticed(change: dict[str, Any]) -> None:
    said = signed()
    assert is_anns(said)
    if "user_parameters" in change:
        change = {"user_parameters": {**said.user_parameters, **change["user_parameters"]}}
    assert not is_anns(said.model_copy(update=change))


def test_a_signature_is_of_one_message_between_two() -> None:
    said = signed()
    assert is_anns(said, sender=AgentIdentifier.of("ann@here/elsewhere"))
    assert not is_anns(said, sender=AgentIdentifier.of("eve@here"))
    assert not is_anns(said, receiver=AgentIdentifier.of("you@here"))
    assert not is_anns(said, stanza_id="id2")
    assert not is_anns(said, public=OTHER.public)
    later = {**said.user_parameters, SIGNED_AT: "2026-11-20T12:00:01.000Z"}
    assert not is_anns(said.model_copy(update={"user_parameters": later}))


def test_texts_and_objects_are_not_mistaken_for_each_other() -> None:
    said = signed(REQUESTED.model_copy(update={"content": '{"a":1}'}))
    assert not is_anns(said.model_copy(update={"content": '{"object": "{\\"a\\":1}"}'}))


def test_signing_anew_replaces_the_signature() -> None:
    said = signed(signed(now=NOW - timedelta(days=1)))
    assert is_anns(said)
    assert set(said.user_parameters) == {SIGNATURE, SIGNED_AT}


@given(st.text())
@EXAMPLES
def test_what_is_no_signature_or_key_breaks_nothing(text: str) -> None:
    parameters = {SIGNATURE: text, SIGNED_AT: text}
    said = REQUESTED.model_copy(update={"user_parameters": parameters})
    assert is_signed(said)
    assert signed_at(said) is None
    assert not is_anns(said)
    assert not is_anns(signed(), public=text)
    assert not is_anns(signed(), public="ed25519:" + text)
    assert not is_key(text)
    with pytest.raises(ValueError, match="this is no secret key: 32 bytes in base64 are"):
        SigningKey(text)


def test_a_content_of_great_depth_is_signed_as_it_stands() -> None:
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    said = signed(REQUESTED.model_copy(update={"content": deep}))
    assert is_anns(said)


def test_a_key_is_what_others_understand_by_ed25519() -> None:
    private = Ed25519PrivateKey.generate()
    key = SigningKey(base64.b64encode(private.private_bytes_raw()).decode())
    assert key.public == "ed25519:" + base64.b64encode(private.public_key().public_bytes_raw()).decode()
    assert is_key(key.public)
    assert SigningKey.new() != SigningKey.new()


# -- whom it is believed of ------------------------------------------------------------------


def ring(records: Any = None, known: Any = nobody, facts: Any = None) -> KeyRing:
    return KeyRing(ME.name, known, records or MemoryRecords(), (facts if facts is not None else []).append)


def test_the_first_key_is_kept_and_another_is_not_believed() -> None:
    records = MemoryRecords()
    keys = ring(records)
    assert keys.find("ann@here") is None
    assert not keys.is_another("ann@here", KEY.public)
    keys.pin("ann@here", KEY.public)
    keys.pin("ann@here", OTHER.public)
    assert keys.find("ann@here") == KEY.public
    assert keys.is_another("ann@here", OTHER.public)
    assert keys.is_another("ann@here", None)
    assert not keys.is_another("ann@here", KEY.public)
    assert ring(records).find("ann@here") == KEY.public, "a restart must not forget it"


def test_what_the_operator_says_stands_above_what_was_found_out() -> None:
    keys = ring(known={"ann@here": OTHER.public}.get)
    keys.pin("ann@here", KEY.public)
    assert keys.find("ann@here") == OTHER.public
    records = MemoryRecords()
    ring(records).pin("ann@here", KEY.public)
    assert ring(records, {"ann@here": OTHER.public}.get).find("ann@here") == OTHER.public


def test_a_key_that_cannot_be_written_down_holds_all_the_same() -> None:
    class Full(MemoryRecords):
        def put(self, collection: str, key: str, text: str) -> None:
            raise RecordsError("the disk is full")

    facts: list[Any] = []
    keys = ring(Full(), facts=facts)
    keys.pin("ann@here", KEY.public)
    assert keys.find("ann@here") == KEY.public
    assert [fact.key for fact in facts if isinstance(fact, RecordNotKept)] == ["ann@here"]


def vouching(clock: ManualClock) -> Vouching:
    return Vouching(ME, ring(known={"ann@here": KEY.public}.get), clock)


def received(message: AclMessage, stanza_id: str = "id1") -> Received:
    return Received(message=message, stanza_id=stanza_id, is_stored=False)


@pytest.mark.parametrize("minutes", [-9.9, 0, 9.9])
def test_clocks_may_differ_by_ten_minutes(minutes: float) -> None:
    clock = ManualClock(NOW + timedelta(minutes=minutes))
    assert vouching(clock).fault(received(signed()), ANN) is None


@pytest.mark.parametrize(("minutes", "told"), [(11, "660 s ago"), (-11, "660 s from now")])
def test_a_clock_that_is_eleven_minutes_off_is_told_so(minutes: float, told: str) -> None:
    clock = ManualClock(NOW + timedelta(minutes=minutes))
    fault = vouching(clock).fault(received(signed()), ANN)
    assert fault is not None
    assert fault == (f"this was signed {told}, and 600 s are allowed: it took too long, or our clocks differ")


def test_every_fault_is_told_as_what_it_is() -> None:
    checks = vouching(ManualClock(NOW))
    unsigned = "ann@here has to sign what it says to me, and this is not signed"
    assert checks.fault(received(REQUESTED), ANN) == unsigned
    assert checks.fault(received(signed(stanza_id=""), ""), ANN) == unsigned
    other = "this is not signed by the key that ann@here is known by, or was changed on its way"
    assert checks.fault(received(signed(key=OTHER)), ANN) == other
    assert checks.fault(received(signed().model_copy(update={"content": "{}"})), ANN) == other
    assert checks.fault(received(signed()), AgentIdentifier.of("eve@here")) == (
        "the key of eve@here, which has signed this, is not known here: it stands neither in "
        "[authority.keys] nor in the directory"
    )
    assert checks.fault(received(signed()), ANN) is None
    again = "this message of ann@here has come before: somebody has sent it again"
    assert checks.fault(received(signed()), ANN) == again
    assert checks.fault(received(signed()), AgentIdentifier.of("ann@here/other")) == again
    assert checks.fault(received(signed(stanza_id="id2"), "id2"), ANN) is None


def test_what_its_sender_signs_again_is_no_replay() -> None:
    checks = vouching(ManualClock(NOW))
    assert checks.fault(received(signed()), ANN) is None
    assert checks.fault(received(signed(now=NOW + timedelta(seconds=1))), ANN) is None
    assert checks.fault(received(signed()), ANN) is not None


def test_a_forged_copy_does_not_spoil_the_true_message() -> None:
    checks = vouching(ManualClock(NOW))
    assert checks.fault(received(signed(key=OTHER)), ANN) is not None
    assert checks.fault(received(signed()), ANN) is None


@pytest.mark.parametrize("ahead", [-500.0, 0.0, 500.0])
def test_nothing_is_taken_twice_as_long_as_its_signature_holds(ahead: float) -> None:
    clock = ManualClock(NOW)
    checks = vouching(clock)
    said = received(signed(now=NOW + timedelta(seconds=ahead)))
    assert checks.fault(said, ANN) is None
    while clock.now <= NOW + timedelta(seconds=ahead + WINDOW + 5):
        assert checks.fault(said, ANN) is not None
        clock.advance(7)


def test_what_can_no_longer_be_replayed_is_forgotten() -> None:
    replays = Replays()
    for second in range(3000):
        at = NOW + timedelta(seconds=second)
        assert not replays.is_second("ann@here", str(second), at, at)
    assert len(replays._seen) == len(replays._by_time) == WINDOW + 1


def test_too_many_messages_shrink_the_window_and_let_none_through_twice() -> None:
    replays = Replays(most=10)
    times = [NOW + timedelta(seconds=each) for each in range(15)]
    assert not any(replays.is_second("ann@here", str(at), at, NOW) for at in times)
    assert all(replays.is_second("ann@here", str(at), at, NOW) for at in times)
    assert replays.is_second("ann@here", "new, and signed too early", times[4], NOW)
    assert not replays.is_second("ann@here", "new, and signed later", times[5], NOW)


# -- a registration brings its key -----------------------------------------------------------


def registering(key: SigningKey, name: str = "ann@here", kind: Any = Register) -> AclMessage:
    description = DfAgentDescription(name=AgentIdentifier(name=name), key=key.public)
    content = MANAGEMENT.render(kind(description=description))
    return REQUESTED.model_copy(update={"content": content, "ontology": MANAGEMENT.label})


@pytest.mark.parametrize("kind", [Register, Modify])
def test_who_is_not_known_yet_may_register_with_the_key_that_it_signs_with(kind: Any) -> None:
    checks = Vouching(ME, ring(), ManualClock(NOW))
    assert checks.fault(received(signed(registering(KEY, kind=kind), OTHER)), ANN) is not None
    assert checks.fault(received(signed(registering(KEY, "eve@here", kind=kind))), ANN) is not None
    assert checks.fault(received(signed(registering(KEY, kind=kind))), ANN) is None


def test_who_is_known_may_not_register_with_another_key() -> None:
    checks = vouching(ManualClock(NOW))
    assert checks.fault(received(signed(registering(OTHER), OTHER)), ANN) is not None


def test_other_actions_bring_no_key() -> None:
    checks = Vouching(ME, ring(), ManualClock(NOW))
    search = Search(template=DfAgentDescription(name=AgentIdentifier(name=ANN.name), key=KEY.public))
    for content in (MANAGEMENT.render(search), '{"register": {"key": 1}}', "key", None):
        said = REQUESTED.model_copy(update={"content": content})
        assert checks.fault(received(signed(said)), ANN) is not None


# -- a mailroom that believes nobody ---------------------------------------------------------


async def add(action: Add, task: Participation) -> Answer:
    """Add at once."""
    return Sum(value=action.a + action.b)


async def offer(action: Add, task: Participation) -> Answer:
    """Offer to add."""
    return Price(amount=1)


class Room:
    """A mailroom that wants signatures, and a way to speak to it as Ann."""

    def __init__(self, policy: Policy) -> None:
        self.facts: list[Any] = []
        self.clock = ManualClock(NOW)
        keys = {"ann@here": KEY.public}.get
        authority = Authority(ME, policy, ring(known=keys), hook=self.facts.append, clock=self.clock)
        self.scene = Scene(Handlers(on={Add: add}, bids={Add: offer}), authority=authority, clock=self.clock)
        self._count = 0

    async def hear(
        self, message: AclMessage, key: SigningKey | None = KEY, sender: AgentIdentifier = ANN
    ) -> list[AclMessage]:
        self._count += 1
        stanza_id = f"id{self._count}"
        said = message if key is None else signed(message, key, stanza_id=stanza_id, now=self.clock.now)
        return await self.scene.hear_stanza(render(said, "me@here/1", stanza_id), sender)

    def doubts(self) -> list[str]:
        return [each.text for each in self.facts if isinstance(each, MessageDisbelieved)]


@pytest.fixture
async def strict() -> AsyncIterator[Room]:
    """Give a mailroom that wants everything signed."""
    room = Room(Policy(rules=(Rule(who=("*",)),), require_signature=True))
    yield room
    await room.scene.close()


async def test_what_opens_is_refused_without_a_signature_and_counted(strict: Room) -> None:
    (answer,) = await strict.hear(REQUESTED, None)
    assert answer.performative is Performative.REFUSE
    assert "has to sign" in (answer.content or "")
    (fact,) = [each for each in strict.scene.facts if isinstance(each, ConversationRefused)]
    assert fact.cause == "unauthorised"
    (answer,) = await strict.hear(REQUESTED.model_copy(update={"conversation_id": "c2"}))
    assert answer.performative is Performative.INFORM


async def test_what_goes_on_is_dropped_without_a_signature_and_counted(strict: Room) -> None:
    call = REQUESTED.model_copy(update={"performative": Performative.CFP, "protocol": "fipa-contract-net"})
    (proposal,) = await strict.hear(call)
    accept = call.model_copy(
        update={
            "performative": Performative.ACCEPT_PROPOSAL, "in_reply_to": proposal.reply_with, "content": None
        }
    )  # fmt: skip
    for key in (None, OTHER):
        assert await strict.hear(accept, key) == []
    assert len(strict.doubts()) == 2
    (result,) = await strict.hear(accept)
    assert result.performative is Performative.INFORM


async def test_answers_to_us_are_dropped_without_a_signature_where_everything_has_to_be_signed(
    strict: Room,
) -> None:
    seat = strict.scene.mailroom.open(REQUEST, REQUESTED, ANN)
    agree = REQUESTED.reply(Performative.AGREE, receiver=(ME,))
    await strict.hear(agree, None)
    assert not seat.has_steps
    await strict.hear(agree)
    assert seat.has_steps
    assert len(strict.doubts()) == 1


async def test_what_is_no_message_at_all_is_nobodys(strict: Room) -> None:
    offered: list[Any] = []
    strict.scene.mailroom._otherwise = lambda stanza: bool(offered.append(stanza)) or True
    await strict.scene.hear_stanza("<message><body>hello</body></message>", ANN)
    assert offered == []


async def test_a_rule_that_wants_no_signature_looks_at_none() -> None:
    room = Room(
        Policy(
            rules=(
                Rule(who=("*",), protocols=frozenset({"fipa-request"})),
                Rule(who=("*",), protocols=frozenset({"fipa-contract-net"}), require_signature=True),
            )
        )
    )
    (answer,) = await room.hear(REQUESTED, OTHER)
    assert answer.performative is Performative.INFORM
    call = {"performative": Performative.CFP, "protocol": "fipa-contract-net", "conversation_id": "c2"}
    (answer,) = await room.hear(REQUESTED.model_copy(update=call), OTHER)
    assert answer.performative is Performative.REFUSE
    seat = room.scene.mailroom.open(REQUEST, REQUESTED.model_copy(update={"conversation_id": "c3"}), ANN)
    await room.hear(REQUESTED.reply(Performative.AGREE, receiver=(ME,), conversation_id="c3"), None)
    assert seat.has_steps
    assert room.doubts() == []
    await room.scene.close()
