"""`behaviours.fencing`: a leader of the past is not obeyed, whatever it goes on to say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from behaviours.events import ConversationRefused, MessageDisbelieved
from behaviours.fencing import GROUP, MOST_GROUPS, TERM, Fence, Office, acting, office_of
from behaviours.handlers import Handlers
from behaviours.outcomes import Answer
from behaviours.participating import Participation
from behaviours.receipts import MARK
from behaviours.wire import render
from ontology.acl import AclMessage, Performative
from ontology.aid import AgentIdentifier
from ontology.content import LANGUAGE
from protocols.request import REQUEST
from resilience.memory import MemoryJournal
from tests.behaviours.fakes import ME, PEER, Scene
from tests.behaviours.samples import SUMS, Add, Price, Sum

OTHER = AgentIdentifier.of("other@here/1")


async def add(action: Add, task: Participation) -> Answer:
    """Add at once."""
    return Sum(value=action.a + action.b)


async def offer(action: Add, task: Participation) -> Answer:
    """Offer to add."""
    return Price(amount=1)


HANDLERS = Handlers(on={Add: add}, bids={Add: offer})


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene(HANDLERS)
    yield scene
    await scene.close()


def said(
    act: Performative = Performative.REQUEST,
    term: object | None = 1,
    group: str | None = "g",
    **fields: Any,
) -> AclMessage:
    """What a leader says."""
    parameters = {name: str(value) for name, value in ((GROUP, group), (TERM, term)) if value is not None}
    protocol = "fipa-request" if act is Performative.REQUEST else "fipa-contract-net"
    told = {"content": SUMS.render(Add()), "language": LANGUAGE, "ontology": SUMS.label}
    told |= {"protocol": protocol, "conversation_id": "c"}
    return AclMessage(performative=act, user_parameters=parameters, **{**told, **fields})


def request(number: int, term: object | None, **fields: Any) -> AclMessage:
    """A request of a leader."""
    return said(term=term, conversation_id=f"c{number}", reply_with=f"r{number}", **fields)


async def test_the_leader_of_a_later_term_is_obeyed_and_the_earlier_one_no_more(scene: Scene) -> None:
    (first,) = await scene.hear(request(1, 5))
    assert first.performative is Performative.INFORM
    (second,) = await scene.hear(request(2, 6), OTHER)
    assert second.performative is Performative.INFORM
    (third,) = await scene.hear(request(3, 5))
    assert third.performative is Performative.REFUSE
    reason = SUMS.parse(third.content)
    assert (reason.cause, reason.text) == (  # type: ignore[attr-defined]
        "unauthorised",
        "the leader of g in term 5 was followed by that of term 6: only the present one is obeyed",
    )
    (fact,) = [each for each in scene.facts if isinstance(each, ConversationRefused)]
    assert fact.peer == PEER.name
    (fourth,) = await scene.hear(request(4, 6), OTHER)
    assert fourth.performative is Performative.INFORM


async def test_groups_have_terms_of_their_own_and_what_is_said_in_no_office_is_taken(scene: Scene) -> None:
    for number, (group, term) in enumerate([("g", 9), ("h", 1), (None, None), ("g", 9)]):
        (answer,) = await scene.hear(request(number, term, group=group))
        assert answer.performative is Performative.INFORM


async def test_an_award_of_a_leader_of_the_past_changes_nothing(scene: Scene) -> None:
    """It was frozen between the proposals and the award; its successor has called meanwhile."""
    (proposal,) = await scene.hear(said(Performative.CFP, 1, conversation_id="old", reply_with="r1"))
    assert proposal.performative is Performative.PROPOSE
    (again,) = await scene.hear(said(Performative.CFP, 2, conversation_id="new", reply_with="r2"), OTHER)
    assert again.performative is Performative.PROPOSE
    award = proposal.reply(Performative.ACCEPT_PROPOSAL, content=SUMS.render(Add()))
    assert await scene.hear(Office(group="g", term=1).stamped(award)) == []
    (doubt,) = [each for each in scene.facts if isinstance(each, MessageDisbelieved)]
    assert doubt.performative == "accept-proposal"
    award = again.reply(Performative.ACCEPT_PROPOSAL, content=SUMS.render(Add()))
    (result,) = await scene.hear(Office(group="g", term=2).stamped(award), OTHER)
    assert result.performative is Performative.INFORM


@pytest.mark.parametrize(
    ("group", "term", "told"),
    [
        ("g", None, "X-group and X-term go together"),
        (None, "1", "X-group and X-term go together"),
        ("g" * 101, "1", "X-group is the name of a group, of at most 100 characters"),
        ("g", "0", "X-term is a whole number above 0, not '0'"),
        ("g", "-1", "X-term is a whole number above 0, not '-1'"),
        ("g", "1.5", "not '1.5'"),
        ("g", "\u0661", "X-term is a whole number above 0"),
        ("g", "9" * 5000, "X-term is a whole number above 0"),
        ("g", str(2**63), "X-term is a whole number above 0"),
    ],
)
async def test_what_is_no_office_is_refused(
    scene: Scene, group: str | None, term: str | None, told: str
) -> None:
    (answer,) = await scene.hear(request(1, term, group=group))
    assert answer.performative is Performative.REFUSE
    assert told in SUMS.parse(answer.content).text  # type: ignore[attr-defined]


async def test_what_has_been_heard_of_outlives_the_process() -> None:
    journal = MemoryJournal()
    first = Scene(HANDLERS, journal=journal)
    await first.hear_stanza(render(request(1, 7), "me@here/1", "m1", mark=MARK))
    await first.close()
    second = Scene(HANDLERS, journal=journal)
    await second.mailroom.restore()
    (answer,) = await second.hear(request(2, 6), OTHER)
    assert answer.performative is Performative.REFUSE
    await second.close()


async def test_whoever_acts_in_an_office_says_so_in_all_that_it_says(scene: Scene) -> None:
    token = acting.set(Office(group="g", term=3))
    seat = scene.mailroom.open(REQUEST, request(1, None, group=None), PEER)
    acting.reset(token)
    other = scene.mailroom.open(REQUEST, request(2, None, group=None), PEER)
    seat.say(request(1, None, group=None).model_copy(update={"performative": Performative.CANCEL}))
    await scene.enduring.journaling.settled()
    offices = [(each.conversation_id, office_of(each)) for each in scene.transport.said()]
    mine = Office(group="g", term=3)
    assert sorted(offices, key=str) == [("c1", mine), ("c1", mine), ("c2", None)]
    assert (seat.office, other.office) == (mine, None)


def test_groups_are_not_forgotten_for_others() -> None:
    fence = Fence(ME.name)
    for number in range(MOST_GROUPS):
        assert fence.objection(said(term=2, group=f"{number}")) is None
    assert "there are 1,000 groups already" in (fence.objection(said(group="one more")) or "")
    assert fence.objection(said(term=1, group="0")) is not None
    assert fence.objection(said(term=3, group="0")) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), max_size=30))
def test_nothing_is_obeyed_after_something_later(terms: list[tuple[str, int]]) -> None:
    fence, highest = Fence(ME.name), {"a": 0, "b": 0}
    for group, term in terms:
        assert (fence.objection(said(group=group, term=term)) is None) == (term >= highest[group])
        highest[group] = max(term, highest[group])
