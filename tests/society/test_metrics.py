"""`society.metrics`: facts become series of few names and labels, whatever strangers write into them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from behaviours import events
from behaviours.events import (
    BehaviourGivenUp,
    ConversationEnded,
    ConversationRefused,
    DuplicateDropped,
    Fact,
    LeaderDeposed,
    LeaderElected,
    MessageAcknowledged,
    MessageAskedAfter,
    MessageReceived,
    MessageSent,
    MessageUndelivered,
    OutOfSequence,
    RowsTrained,
    StoreDown,
    TrainingEnded,
)
from ontology.acl import Performative
from protocols.registry import TABLES
from resilience.breakers import Circuit
from society.health import Health, Membership
from society.metrics import GROUPS, Metrics

ME, PEER = "me@localhost", "stranger@elsewhere"
WELL = Health(letters=0)


def series(metrics: Metrics, health: Health = WELL) -> dict[str, float]:
    """What is scraped: each series as it is written, and its value."""
    lines = metrics.text(health).decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def told(*facts: Fact) -> dict[str, float]:
    metrics = Metrics()
    for fact in facts:
        metrics(fact)
    return series(metrics)


def acts(found: dict[str, float]) -> dict[tuple[str, ...], float]:
    labels = re.compile(
        r'locution_acts_total{direction="(.*)",outcome="(.*)",performative="(.*)",protocol="(.*)"}'
    )
    return {match.groups(): value for name, value in found.items() if (match := labels.match(name))}


# -- facts ------------------------------------------------------------------------------------------


def test_acts_are_counted_by_protocol_performative_direction_and_outcome():
    say = {"agent": ME, "performative": "request", "protocol": "fipa-request", "peer": PEER}
    trouble = {**say, "text": "no"}
    found = told(
        MessageSent(**say),
        MessageSent(**say),
        MessageSent(**{**say, "performative": "inform", "protocol": ""}),
        MessageAcknowledged(**say),
        MessageUndelivered(**trouble, cause="unreachable"),
        MessageReceived(**say),
        ConversationRefused(**trouble, cause="overloaded"),
        OutOfSequence(**trouble),
    )
    assert acts(found) == {
        ("out", "sent", "request", "fipa-request"): 2,
        ("out", "sent", "inform", "none"): 1,
        ("out", "acknowledged", "request", "fipa-request"): 1,
        ("out", "undelivered", "request", "fipa-request"): 1,
        ("in", "received", "request", "fipa-request"): 1,
        ("in", "refused", "request", "fipa-request"): 1,
        ("in", "out-of-sequence", "request", "fipa-request"): 1,
    }


def test_both_names_of_an_auction_are_one():
    say = {"agent": ME, "performative": "cfp", "peer": PEER}
    found = acts(told(*(MessageSent(**say, protocol=f"fipa-{name}") for name in (
        "english-auction", "auction-english"
    ))))  # fmt: skip
    assert found == {("out", "sent", "cfp", "fipa-english-auction"): 2}


def test_conversations_are_timed_by_protocol_role_and_end():
    ended = {"agent": ME, "conversation_id": "c", "peer": PEER, "role": "initiator"}
    found = told(
        ConversationEnded(**ended, protocol="fipa-request", state="DONE", seconds=0.3),
        ConversationEnded(**ended, protocol="fipa-request", state="NOT_UNDERSTOOD", seconds=-2.0),
        ConversationEnded(**ended, protocol="fipa-request", state="SOLD", seconds=1.0),
    )

    def of(what: str, outcome: str, more: str = "") -> float:
        labels = f'{more}outcome="{outcome}",protocol="fipa-request",role="initiator"'
        return found[f"locution_conversation_seconds_{what}{{{labels}}}"]

    assert (of("count", "done"), of("sum", "done")) == (1, 0.3)
    assert (of("bucket", "done", 'le="0.1",'), of("bucket", "done", 'le="0.5",')) == (0, 1)
    assert of("sum", "not-understood") == 0.0  # the clock was set back
    assert of("count", "other") == 1  # a request is not sold


def test_what_delivery_and_elections_do_is_counted():
    found = told(
        MessageAskedAfter(agent=ME, peer=PEER, attempt=2),
        DuplicateDropped(agent=ME, peer=PEER),
        DuplicateDropped(agent=ME, peer=PEER),
        LeaderElected(agent=ME, group="sums", term=3),
        LeaderDeposed(agent=ME, group="sums", term=3),
        StoreDown(agent=ME, text="gone"),
        BehaviourGivenUp(agent=ME, behaviour="b", text="broken"),
    )
    assert found["locution_retries_total"] == 1
    assert found["locution_duplicates_total"] == 2
    assert found['locution_elections_total{event="elected",group="sums"}'] == 1
    assert found['locution_elections_total{event="deposed",group="sums"}'] == 1
    assert found['locution_troubles_total{kind="store-down"}'] == 1
    assert found['locution_troubles_total{kind="behaviour-given-up"}'] == 1


def test_trainings_are_counted_and_bids_are_held_against_what_they_took():
    found = told(
        RowsTrained(agent=ME, rows=80),
        RowsTrained(agent=ME, rows=20),
        TrainingEnded(agent=ME, outcome="trained", seconds=6.0, promised=4.0),
        TrainingEnded(agent=ME, outcome="trained", seconds=5.0),
        TrainingEnded(agent=ME, outcome="cancelled", seconds=1.0, promised=400.0),
    )
    assert found["locution_training_rows_total"] == 100
    assert found['locution_training_seconds_count{outcome="trained"}'] == 2
    assert found['locution_training_seconds_sum{outcome="cancelled"}'] == 1.0
    assert found["locution_bid_promised_seconds_total"] == 4.0
    assert found["locution_bid_taken_seconds_total"] == 6.0
    assert (found["locution_bid_error_ratio_count"], found["locution_bid_error_ratio_sum"]) == (1, 0.5)


def test_a_trouble_of_a_users_own_is_counted_as_another():
    class HouseOnFire(Fact):
        is_trouble = True

    assert told(HouseOnFire(agent=ME))['locution_troubles_total{kind="other"}'] == 1


# -- health -----------------------------------------------------------------------------------------


def test_gauges_tell_how_the_process_stands():
    health = Health(
        dead=("a is dead",),
        faults=("a is dead", "b is away"),
        agents=3,
        connected=2,
        is_store_up=False,
        is_election_up=False,
        groups={"sums": Membership(is_leader=True, term=7)},
        outgoing=4,
        conversations=5,
        breakers={Circuit.OPEN: 2},
        letters=6,
        oldest_letter=8.5,
    )
    metrics = Metrics(lambda: {"0": (10, 100)})
    found = series(metrics, health)
    ours = {name: value for name, value in found.items() if name.startswith("locution_")}
    assert {name.removeprefix("locution_"): value for name, value in ours.items()} == {
        "live": 0, "ready": 0, "agents": 3, "agents_connected": 2, "store_up": 0, "election_up": 0,
        'is_leader{group="sums"}': 1, 'term{group="sums"}': 7, "outbox_depth": 4, "conversations_open": 5,
        'breakers{state="open"}': 2, 'breakers{state="half-open"}': 0, "dead_letters": 6,
        "dead_letters_oldest_age_seconds": 8.5, "retries_total": 0, "duplicates_total": 0,
        "training_rows_total": 0, "bid_promised_seconds_total": 0, "bid_taken_seconds_total": 0,
        **{f'bid_error_ratio_bucket{{le="{le}"}}': 0
           for le in ("0.05", "0.1", "0.25", "0.5", "0.75", "1.0", "2.0", "5.0", "+Inf")},
        "bid_error_ratio_count": 0, "bid_error_ratio_sum": 0,
        'gpu_memory_bytes{device="0",kind="used"}': 10, 'gpu_memory_bytes{device="0",kind="total"}': 100,
        next(name.removeprefix("locution_") for name in ours if "build_info" in name): 1,
    }  # fmt: skip
    well = series(metrics, Health(letters=0))
    assert (well["locution_live"], well["locution_ready"], well["locution_dead_letters"]) == (1, 1, 0)
    assert not any("sums" in name for name in well)  # it was left
    assert math.isnan(series(metrics, Health(letters=None))["locution_dead_letters"])


def test_groups_are_bounded_in_number():
    metrics = Metrics()
    for number in range(3 * GROUPS):
        metrics(LeaderElected(agent=ME, group=f"g{number}", term=1))
    groups = {f"g{number}": Membership(is_leader=True, term=1) for number in range(3 * GROUPS)}
    found = series(metrics, Health(groups=groups))
    for name in ("locution_elections_total", "locution_is_leader", "locution_term"):
        assert len([each for each in found if each.startswith(name)]) == GROUPS + 1
    assert found['locution_elections_total{event="elected",group="other"}'] == 2 * GROUPS


# -- strangers --------------------------------------------------------------------------------------

KINDS = [
    kind for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Fact) and kind is not Fact
]  # fmt: skip
SECRET = "c0nf1dential"
OWN_WORDS = [
    *(act.value for act in Performative), *(table.name for table in TABLES), "initiator", "DONE", "EXPIRED",
]  # fmt: skip
HOSTILE = st.one_of(
    st.sampled_from(OWN_WORDS),
    st.text(max_size=20).map(lambda text: SECRET + text),
    st.just(f'{SECRET}"}} 1\nlocution_ready 1'),
)
NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats(),
    "float | None": st.none() | st.floats(),
    "int": st.integers(),
}


def hostile(kind: type[Fact]) -> st.SearchStrategy[Fact]:
    """A fact of that kind with anything in it."""
    return st.builds(kind, **{each.name: NUMBERS.get(str(each.type), HOSTILE) for each in fields(kind)})


def most_series() -> int:
    """How many series there can be, from what is documented: the bound is ours, not the attacker's."""
    states = sum(len({*table.terminal, "CANCELLED", "NOT_UNDERSTOOD", "EXPIRED", "UNREACHABLE"}) + 1
                 for table in TABLES) + 2  # fmt: skip
    conversations = states * 3 * 13
    acts_ = (len(TABLES) + 2) * (len(Performative) + 1) * 7
    return conversations + acts_ + len(KINDS) + 1 + 2 * (GROUPS + 1) + 4 * 13 + 60


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of([hostile(kind) for kind in KINDS]), max_size=60))
def test_a_flood_of_hostile_facts_makes_no_series_of_its_own(facts):
    facts = [fact for fact in facts if not isinstance(fact, LeaderElected | LeaderDeposed)]  # groups are ours
    metrics = Metrics()
    for fact in facts:
        metrics(fact)
    found = series(metrics)
    assert SECRET not in " ".join(found)
    assert found["locution_ready"] == 1


def test_the_number_of_series_is_bounded_whatever_comes():
    metrics = Metrics()
    names = [*OWN_WORDS, *(table.name for table in TABLES), "", "a", "b", f'x"{SECRET}']
    states = {state for table in TABLES for state in table.terminal} | {
        "EXPIRED",
        "CANCELLED",
        "x",
        "y",
        SECRET,
    }
    kinds = (MessageSent, MessageReceived, MessageAcknowledged, MessageUndelivered, OutOfSequence)
    for protocol in names:
        for performative in names:
            for kind in kinds:
                given_ = {each.name: "t" for each in fields(kind)}
                metrics(kind(**{**given_, "protocol": protocol, "performative": performative}))
        for state in states:
            for role in ("initiator", "participant", SECRET):
                metrics(
                    ConversationEnded(
                        agent=ME, conversation_id=SECRET, protocol=protocol, role=role, peer=SECRET,
                        state=state, seconds=1.0,
                    )
                )  # fmt: skip
    for number in range(1000):
        metrics(LeaderElected(agent=ME, group=f"g{number}", term=number))
    found = series(metrics)
    assert SECRET not in " ".join(found)
    assert len(found) <= most_series()
    before = len(found)
    for number in range(1000):
        metrics(MessageSent(agent=ME, performative=f"p{number}", protocol=f"q{number}", peer=f"r{number}@x"))
    assert len(series(metrics)) <= before + 1


def test_a_fact_is_forgotten_once_it_is_counted():
    """What a stranger has written is kept nowhere: neither as a label, nor on the way to one."""
    metrics = Metrics()
    for number in range(100):
        metrics(MessageSent(agent=ME, performative=f"p{number}", protocol=f"q{number}", peer=PEER))
    assert len(metrics._acts._known) == 1


# -- what is documented -------------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


def documented() -> Iterable[tuple[str, str, tuple[str, ...]]]:
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `locution_") and len(cells) == 4:
            labels = tuple(re.findall(r"`([a-z_]+)`", cells[2]))
            yield cells[0].strip("`"), cells[1], labels


def test_the_documentation_lists_every_metric_and_no_other():
    there_are = {(each.name, each.kind, each.labels) for each in Metrics().described()}
    assert set(documented()) == there_are


def test_names_follow_the_conventions_of_prometheus():
    for each in Metrics().described():
        assert re.fullmatch("locution_[a-z][a-z_]*[a-z]", each.name)
        assert (each.kind == "counter") == each.name.endswith("_total"), each.name
        assert each.text.endswith(".")


@pytest.mark.parametrize("kind", [each for each in KINDS if each.is_trouble])
def test_every_trouble_has_a_label_of_its_own(kind):
    words = re.sub("([A-Z])", r"-\1", kind.__name__).lower().strip("-")
    fact = kind(**{each.name: 1 if str(each.type) in NUMBERS else "t" for each in fields(kind)})
    assert told(fact)[f'locution_troubles_total{{kind="{words}"}}'] == 1
