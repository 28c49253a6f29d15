"""Laws over every table of the registry, and that each of them can be broken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ontology.acl import Performative
from protocols.registry import ALIASES as ALIASED
from protocols.registry import PROTOCOLS, TABLES
from protocols.table import PARTIES, Protocol, Role
from tests.protocols.laws import (
    ACTS,
    cells,
    grid_faults,
    is_astray,
    kinds_that_matter,
    reference_faults,
    structural_faults,
)
from tests.protocols.reference import ALIASES, REFERENCES
from tests.protocols.samples import EACH_TABLE

I, P = Role.INITIATOR, Role.PARTICIPANT  # noqa: E741 - the specification's letters

BASE = PROTOCOLS["fipa-request"]


def test_every_protocol_has_a_reference():
    assert [each.name for each in TABLES] == list(REFERENCES)


def test_the_registry_goes_by_the_protocols_own_names_and_by_fipas_other_ones():
    assert dict(PROTOCOLS) == {each.name: each for each in TABLES} | ALIASED
    assert dict(ALIASED) == {name: PROTOCOLS[own] for name, own in ALIASES.items()}


@pytest.mark.parametrize("name", REFERENCES)
def test_every_difference_from_the_specification_is_one_and_says_why(name):
    reference = REFERENCES[name]
    for difference in reference.differences:
        assert len(difference.reason) > 40
        assert difference.fipa or difference.ours or difference.live or difference.deadlines
        assert difference.fipa.items() <= reference.drawn.items()
        assert not difference.ours.keys() & reference.drawn.keys()
        assert difference.live <= reference.drawn_terminal
    assert len(reference.steps) == len({step for each in reference.differences for step in each.ours}) + len(
        reference.drawn.keys() - {step for each in reference.differences for step in each.fipa}
    )


@EACH_TABLE
def test_the_table_is_sound(protocol):
    assert structural_faults(protocol) == []


@EACH_TABLE
def test_the_table_is_the_specifications(protocol):
    assert reference_faults(protocol, REFERENCES[protocol.name]) == []


@EACH_TABLE
@pytest.mark.parametrize("role", PARTIES)
def test_the_engine_runs_the_table_whichever_role_we_play(protocol, role):
    assert list(grid_faults(protocol, REFERENCES[protocol.name], role)) == []


@pytest.mark.parametrize("role", PARTIES)
def test_the_grid_leaves_out_no_cell(role):
    # state x last speaker x speaker x act x kind of content
    assert len(list(cells(BASE, role, {"S0", "S1"}, ("done", "result")))) == 2 * 2 * 3 * 22 * 2


def test_the_grid_looks_at_the_kinds_of_content_that_fipa_tells_apart():
    assert kinds_that_matter(REFERENCES["fipa-request"]) == ("done", "result")
    assert kinds_that_matter(REFERENCES["fipa-brokering"]) == ("done", "result", "brokering", "no-match")
    assert kinds_that_matter(REFERENCES["fipa-recruiting"]) == ("done", "result", "no-match")


@EACH_TABLE
def test_it_opens_with_the_acts_that_leave_the_start(protocol):
    opening = {act for state, _role, act in protocol.transitions if state == protocol.start}
    assert {act.value for act in Performative if protocol.opens_with(act)} == opening


def mutants(protocol: Protocol) -> Iterator[tuple[str, Protocol]]:
    """Every table that differs from this one in one step."""
    for key, following in protocol.transitions.items():
        state, role, act = key
        others = {each: end for each, end in protocol.transitions.items() if each != key}
        name = f"{state} {role} {act}"
        yield f"{name} left out", replace(protocol, transitions=others)
        yield (
            f"{name} by the other",
            replace(protocol, transitions={**others, (state, role.other, act): following}),
        )
        yield (
            f"{name} as disconfirm",
            replace(protocol, transitions={**others, (state, role, "disconfirm"): following}),
        )
        for end in sorted(protocol.states - {following}):
            yield f"{name} to {end}", replace(protocol, transitions={**others, key: end})
    for state in sorted(protocol.terminal):
        yield f"{state} not over", replace(protocol, terminal=protocol.terminal - {state})


MUTANTS = {f"{each.name}: {what}": mutant for each in TABLES for what, mutant in mutants(each)}


def test_every_table_that_differs_in_one_step_is_found():
    unseen = [name for name, each in MUTANTS.items() if not reference_faults(each, REFERENCES[each.name])]
    assert len(MUTANTS) > 1000
    assert unseen == []


@EACH_TABLE
def test_the_engine_shows_each_of_them(protocol):
    reference = REFERENCES[protocol.name]
    unseen = []
    for name, mutant in mutants(protocol):
        # In the very cells of the step that differs; where that is of any act, and at an end, in all acts.
        state, speaker, act = name.split()[:3]
        acts = tuple({act.partition("/")[0]} & set(ACTS)) or ACTS
        unseen += [
            f"{name}, by the {role}"
            for role in PARTIES
            if not is_astray(speaker, role)
            and not any(grid_faults(mutant, reference, role, frozenset({state}), acts))
        ]
    assert unseen == []


@pytest.mark.parametrize(
    "name",
    [
        "fipa-request: S1 participant agree left out",
        "fipa-request: S2 participant inform to S1",
        "fipa-request: S0 initiator request by the other",
        "fipa-contract-net: C1 participant propose to C3",
        "fipa-contract-net: C2 initiator reject-proposal as disconfirm",
        "fipa-contract-net: LATE initiator reject-proposal left out",
        "fipa-contract-net: EXPIRED not over",
    ],
)
def test_the_grid_finds_a_table_that_differs(name):
    mutant = MUTANTS[name]
    for role in PARTIES:
        assert any(grid_faults(mutant, REFERENCES[mutant.name], role))


@pytest.mark.parametrize(
    ("law", "changes"),
    [
        ("none of the 22 acts", {"transitions": {**BASE.transitions, ("S2", P, "inform-done"): "DONE"}}),
        ("none of the 22 acts", {"transitions": {**BASE.transitions, ("S2", P, "inform/"): "DONE"}}),
        ("opened by", {"transitions": {**BASE.transitions, ("S0", P, "propose"): "S1"}}),
        ("opened by", {"transitions": {}}),
        ("over before it starts", {"terminal": BASE.terminal | {"S0"}}),
        ("leads where any inform", {"transitions": {**BASE.transitions, ("S2", P, "inform/done"): "DONE"}}),
        ("S9 is never reached", {"transitions": {**BASE.transitions, ("S9", P, "inform"): "DONE"}}),
        ("SOLD is never reached", {"terminal": BASE.terminal | {"SOLD"}}),
        ("S9 never ends", {"transitions": {**BASE.transitions, ("S2", P, "confirm"): "S9"}}),
        ("S9 never ends", {"deadlines": {"S2": "S9"}}),
        ("DONE is over and goes on", {"transitions": {**BASE.transitions, ("DONE", P, "inform"): "DONE"}}),
        ("is the engine's own", {"transitions": {**BASE.transitions, ("S2", I, "cancel"): "CANCELLING"}}),
    ],
)
def test_each_law_can_be_broken(law, changes):
    assert any(law in fault for fault in structural_faults(replace(BASE, **changes)))
